"""Spectral jitter: correlated by wavelength, in reflectance, and indices stay sane."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

import medsataug as msa
from medsataug.transforms.spectral_jitter import correlations
from medsataug.types import Channel, Sample
from tests import phantoms

WAVELENGTHS = (0.49, 0.56, 0.665, 0.842, 1.61, None)


def scene(reflectance=None) -> Sample:
    bands = [Channel(f"b{i}", um, reflectance) for i, um in enumerate(WAVELENGTHS)]
    values = 1000 + 500 * phantoms.image(2, channels=len(bands)) / 100
    return Sample(image=values.astype(np.float32), grid=phantoms.grid(2), channels=bands, id="s")


def gains(transform, sample, count):
    """(count, bands) gains drawn, read back from the values."""
    out = []
    for index in range(count):
        image = transform(sample, seed=1, index=index).image
        out.append((image / sample.image).mean(axis=(1, 2)))
    return np.array(out)


def test_gains_correlate_by_wavelength():
    """correlation^(Δ / .1 µm), measured over 1500 draws: standard error .026."""
    transform = msa.SpectralJitter(gain=(0.9, 1.1), offset=0, contrast=1, correlation=0.8)
    drawn = gains(transform, scene(), 1500)
    assert drawn.min() >= 0.9 - 1e-6
    assert drawn.max() <= 1.1 + 1e-6
    assert np.all(np.abs(drawn.mean(axis=0) - 1) < 4 * 0.2 / np.sqrt(12 * 1500))
    normal = norm.ppf(np.clip((drawn - 0.9) / 0.2, 1e-4, 1 - 1e-4))
    got = np.corrcoef(normal.T)
    known = np.array(WAVELENGTHS[:-1])
    um = np.array([*known, known.mean()])  # no wavelength: amid the others, half a step aside
    apart = np.abs(um[:, None] - um) / 0.1
    apart[-1, :-1] += 0.5
    apart[:-1, -1] += 0.5
    expected = 0.8**apart
    np.testing.assert_allclose(got, expected, atol=0.1)


@pytest.mark.parametrize("reflectance", [None, (1e-4, 0.0), (1e-4, -0.1)])
def test_formula_in_reflectance(reflectance):
    """ρ' = gain · (contrast · (ρ − mean) + mean) + offset, whatever the stored scale."""
    sample = scene(reflectance)
    scale, base = reflectance or (1.0, 0.0)
    rho = scale * sample.image.astype(float) + base
    mean = rho.mean(axis=(1, 2), keepdims=True)
    offset, written = (20.0, 20) if reflectance is None else (0.002, "0.002rho")
    expected = 1.2 * (0.7 * (rho - mean) + mean) + offset
    out = msa.SpectralJitter(gain=1.2, contrast=0.7, offset=written)(sample, seed=1).image
    np.testing.assert_allclose((scale * out + base), expected, rtol=2e-5)
    out = msa.SpectralJitter(gain=1, contrast=1, offset="10%")(sample, seed=1).image
    std = sample.image.std(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(out, sample.image + 0.1 * std, rtol=1e-5)


def test_bands_without_wavelengths_correlate_alike():
    matrix = correlations([Channel("a"), Channel("b"), Channel("c")], 0.7)
    np.testing.assert_allclose(matrix, 0.7 + 0.3 * np.eye(3), atol=1e-8)
    for correlation in (0.0, 0.5, 1.0):
        mixed = [Channel("a", w) for w in (0.49, None, 0.51, None, 2.2)]
        assert np.linalg.eigvalsh(correlations(mixed, correlation)).min() > 0


def test_ndvi_stays_sane():
    """One gain for all bands leaves NDVI alone; near bands drift less apart than free ones."""
    sample = phantoms.sample(2, channels=(
        Channel("red", 0.665, (1e-4, -0.1)), Channel("edge", 0.705, (1e-4, -0.1)),
        Channel("nir", 0.842, (1e-4, -0.1))), image=1500 + 30 * phantoms.image(2))  # fmt: skip

    def ndvi(image):
        rho = 1e-4 * image.astype(float) - 0.1
        return (rho[2] - rho[0]) / (rho[2] + rho[0])

    def change(correlation):
        transform = msa.SpectralJitter(gain=(0.8, 1.2), offset=0, correlation=correlation)
        return max(
            np.abs(ndvi(transform(sample, seed=s).image) - ndvi(sample.image)).max()
            for s in range(30)
        )

    assert change(1.0) < 1e-4
    assert change(1.0) < change(0.8) < change(0.0)
    assert change(0.8) < 0.2


def test_jitter_leaves_nodata_exactly():
    valid = phantoms.holes(2)
    values = phantoms.image(2, "uint16")
    values[np.broadcast_to(~valid, values.shape)] = 0
    sample = phantoms.sample(2, "uint16", image=values, valid=valid, meta={"nodata": 0})
    out = msa.SpectralJitter(gain=(0.5, 0.6), offset=-2000)(sample, seed=1)
    np.testing.assert_array_equal(out.image[:, ~valid[0]], 0)
    assert np.all(out.image[:, valid[0]] > 0)  # what lands on the nodata value is nudged
    np.testing.assert_array_equal(np.broadcast_to(out.valid, valid.shape), valid)
