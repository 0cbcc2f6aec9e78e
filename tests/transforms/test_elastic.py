"""Elastic deformations: magnitude kept, never folding; and Simard's field as in the paper."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import medsataug as msa
from medsataug.types import Sample
from tests import phantoms


def blank(shape, spacing=None) -> Sample:
    axes = "ZYX"[-len(shape) :]
    return Sample(image=np.zeros(shape, np.float32), axes=axes, spacing=spacing, id="blank")


def field_of(plan):
    """The one displacement of a plan."""
    (part,) = plan.segments[0].spatial.parts
    return part


def dense_peak(plan, size) -> float:
    """Largest displacement, densely looked for, in the unit of ``size``."""
    part = field_of(plan)
    dense = part.dense(12)
    lengths = np.sqrt(np.einsum("k...,k->...", dense**2, np.square(size)))
    inside = []  # a lattice may reach beyond a small frame, where nothing is seen
    for k, n in enumerate(plan.source.shape):
        at = part.origin[k] + np.arange(lengths.shape[k]) / 12 * part.spacing[k]
        inside.append((at >= -0.5) & (at <= n - 0.5))
    return float(lengths[np.ix_(*inside)].max())


def dense_jacobian(plan, per_cell=8) -> float:
    smallest = np.inf
    for segment in plan.segments:
        for part in segment.spatial.parts:
            axes = [np.arange(c * per_cell + 1) / per_cell for c in part.cells]
            u = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
            det = np.linalg.det(part.jacobian(part.origin + u * part.spacing))
            smallest = min(smallest, float(det.min()))
    return smallest


CASES = [
    ((40, 52), None, 9, 2.0),
    ((64, 33), (2.0, 0.5), "8mm", "1.3mm"),
    ((20, 34, 27), None, 8, 1.9),
    ((13, 37, 25), (3.0, 1.0, 1.5), "9mm", "1.5mm"),
    ((13, 17, 11), (3.0, 1.0, 1.5), {"z": "12mm", "y": 6, "x": 5}, "1.2mm"),
]


@pytest.mark.parametrize(("shape", "spacing", "lattice", "magnitude"), CASES)
def test_magnitude_is_attained_and_nothing_folds(shape, spacing, lattice, magnitude):
    sample = blank(shape, spacing)
    pipeline = msa.Pipeline([msa.Elastic(spacing=lattice, magnitude=magnitude)])
    wanted = float(str(magnitude).removesuffix("mm"))
    size = np.ones(len(shape)) if spacing is None else np.array(spacing)
    for seed in range(12):
        plan = pipeline.plan(sample, seed)
        np.testing.assert_allclose(dense_peak(plan, size), wanted, rtol=0.05)
        assert dense_jacobian(plan, 4) > 0


def test_largest_allowed_is_named_works_and_does_not_fold():
    for shape in ((40, 52), (18, 24, 30)):
        sample = blank(shape, (1,) * len(shape))
        with pytest.raises(msa.ConfigError, match=r"transforms\[0\] Elastic.magnitude") as caught:
            msa.Elastic(spacing=8, magnitude=(0, "30mm"))(sample, seed=1)
        largest = float(re.search(r"largest allowed is ([\d.]+)mm", str(caught.value))[1])
        pipeline = msa.Pipeline([msa.Elastic(spacing=8, magnitude=f"{largest}mm")])
        for seed in range(8):
            plan = pipeline.plan(sample, seed)
            np.testing.assert_allclose(dense_peak(plan, np.ones(len(shape))), largest, rtol=0.05)
            assert dense_jacobian(plan) > 0
            assert plan.smallest_jacobian > 0
        with pytest.raises(msa.ConfigError):
            msa.Elastic(spacing=8, magnitude=f"{largest * 1.01}mm")(sample, seed=1)


@pytest.mark.parametrize("shape", [(40, 52), (18, 24, 30)])
def test_compose_reaches_beyond_the_limit(shape):
    sample, wanted = blank(shape), 7.0
    pipeline = msa.Pipeline([msa.Elastic(spacing=9, magnitude=wanted, compose=True)])
    at = phantoms.index(shape)
    for seed in range(6):
        plan = pipeline.plan(sample, seed)
        assert len(plan.segments[0].spatial.parts) > 1
        reached = np.linalg.norm(plan.source_positions(at) - at, axis=1).max()
        np.testing.assert_allclose(reached, wanted, rtol=0.05)
        assert dense_jacobian(plan) > 0


def test_in_plane_keeps_slices():
    sample = phantoms.sample(3)
    plan = msa.Pipeline([msa.Elastic(spacing=6, magnitude=0.8, in_plane=True)]).plan(sample, 1)
    at = phantoms.index(phantoms.SHAPES[3])
    source = plan.source_positions(at)
    np.testing.assert_array_equal(source[:, 0], at[:, 0])
    shifts = (source - at).reshape(*phantoms.SHAPES[3], 3)
    np.testing.assert_allclose(shifts, np.broadcast_to(shifts[:1], shifts.shape), atol=1e-12)
    assert np.abs(shifts).max() > 0.3
    image = np.broadcast_to(np.arange(13.0)[:, None, None], phantoms.SHAPES[3])
    heights = sample.replace(image=image[None].astype(np.float32), channels=("z",))
    elastic = msa.Elastic(spacing=6, magnitude=0.8, in_plane=True)
    out = msa.Pipeline([elastic], border="edge")(heights, seed=1)
    np.testing.assert_allclose(out.image[0], image, rtol=1e-6)


def test_lattice_spans_the_frame_not_the_patch():
    """A patch of a deformed volume is the deformed volume's patch."""
    sample = phantoms.sample(3)
    elastic = msa.Elastic(spacing=6, magnitude=1)
    whole = msa.Pipeline([elastic])(sample, seed=1)
    crop = msa.Crop(size=(5, 6, 4), start=(3, 4, 5))
    part = msa.Pipeline([elastic, crop])(sample, seed=1)
    np.testing.assert_allclose(part.image, whole.image[:, 3:8, 4:10, 5:9], atol=1e-4)


def test_elastic_says_what_it_needs():
    with pytest.raises(msa.ConfigError, match="at least 2 voxels"):
        msa.Elastic(spacing=1, magnitude=0.1)(blank((30, 30)), seed=1)
    with pytest.raises(msa.ConfigError, match="known size"):
        msa.Elastic(spacing=9, magnitude="1mm")(blank((30, 30)), seed=1)
    with pytest.raises(msa.ConfigError, match="16 steps"):
        msa.Elastic(spacing=4, magnitude=500, compose=True)(blank((30, 30)), seed=1)


# ------------------------------------------------------------------ Simard


@pytest.mark.parametrize(
    ("shape", "sigma", "count"),
    [((72, 60), 4.0, 150), ((60, 72), 3.3, 150), ((26, 30, 34), 3.0, 40)],
)
def test_simard_matches_the_papers_statistics(shape, sigma, count):
    """RMS α √(1/3) (2 σ √π)^(−N/2) and correlation exp(−d² / 4σ²), within 5 %."""
    alpha, n = 20.0, len(shape)
    pipeline = msa.Pipeline([msa.SimardElastic(alpha=alpha, sigma=sigma)])
    sample = blank(shape)
    at = phantoms.index(shape)
    squares, products = [], {d: [] for d in (2, 4, 6)}
    for seed in range(count):
        plan = pipeline.plan(sample, seed)
        field = (plan.source_positions(at) - at).reshape(*shape, n)
        squares.append(np.square(field).mean())
        for d, found in products.items():
            for k in range(n):
                a = np.take(field, range(d, shape[k]), axis=k)
                b = np.take(field, range(shape[k] - d), axis=k)
                found.append((a * b).mean())
    rms = np.sqrt(np.mean(squares))
    expected = alpha * np.sqrt(1 / 3) * (2 * sigma * np.sqrt(np.pi)) ** (-n / 2)
    np.testing.assert_allclose(rms, expected, rtol=0.05)
    for d, found in products.items():
        np.testing.assert_allclose(
            np.mean(found) / rms**2, np.exp(-(d**2) / (4 * sigma**2)), atol=0.05
        )
    # Correlation length: where the correlation falls to 1/e, 2σ.
    value = np.mean(products[4]) / rms**2
    np.testing.assert_allclose(4 / np.sqrt(-np.log(value)), 2 * sigma, rtol=0.05)


def test_simard_matches_a_direct_simulation():
    alpha, sigma, shape = 34.0, 4.0, (400, 400)
    rng = np.random.default_rng(1)
    direct = alpha * gaussian_filter(rng.uniform(-1, 1, shape), sigma, mode="wrap")
    squares = []
    for seed in range(6):
        plan = msa.Pipeline([msa.SimardElastic(alpha=alpha, sigma=sigma)]).plan(
            blank((200, 210)), seed
        )
        dense = field_of(plan).dense(4)
        squares.append(np.square(dense).mean())
    np.testing.assert_allclose(np.sqrt(np.mean(squares)), direct.std(), rtol=0.05)


def test_simard_says_when_it_folds():
    plan = msa.Pipeline([msa.SimardElastic(alpha=300, sigma=4)]).plan(blank((60, 60)), 1)
    assert plan.smallest_jacobian < 0
    assert "it folds" in plan.explain()
    with pytest.raises(msa.ConfigError, match="at least 2"):
        msa.SimardElastic(sigma=1)(blank((60, 60)), seed=1)
