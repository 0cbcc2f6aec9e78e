"""Noise: its distribution, and that a voxel's noise is its number's alone."""

from __future__ import annotations

import numpy as np

import medsataug as msa
from medsataug.types import Sample


def sample(values, channels=1, shape=(40, 50, 60)) -> Sample:
    rng = np.random.default_rng(1)
    image = (
        np.zeros((channels, *shape)) if values is None else rng.normal(*values, (channels, *shape))
    )
    return Sample(image=image.astype(np.float32), axes="CZYX", id="noise")


def test_noise_is_normal_with_the_std_asked():
    noise = msa.GaussianNoise(std=3)(sample(None), seed=1).image.ravel().astype(float)
    n = noise.size
    assert abs(noise.mean()) < 4 * 3 / np.sqrt(n)
    np.testing.assert_allclose(noise.std(), 3, rtol=4 / np.sqrt(2 * n))
    z = noise / 3
    assert abs((z**3).mean()) < 4 * np.sqrt(15 / n)
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / n)
    shares = [np.mean(z < q) for q in (-1.6449, 0, 0.6745)]
    np.testing.assert_allclose(shares, (0.05, 0.5, 0.75), atol=0.006)


def test_noise_is_independent_between_voxels_and_channels():
    noise = msa.GaussianNoise(std=1)(sample(None, channels=2), seed=1).image.astype(float)
    limit = 4.5 / np.sqrt(noise[0].size)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < limit
    for lag in (1, 2, 16, 32, 48, 64, 60, 3000):
        flat = noise[0].ravel()
        assert abs(np.corrcoef(flat[lag:], flat[:-lag])[0, 1]) < limit


def test_std_in_percent_of_the_channel():
    given = sample((50, 20))
    noise = msa.GaussianNoise(std="10%")(given, seed=1).image - given.image
    np.testing.assert_allclose(noise.std(), 2, rtol=0.02)


def test_noise_depends_on_the_voxels_number_only():
    """Not on the values, the other channels, or where slices are cut."""
    zero = msa.GaussianNoise(std=1)(sample(None), seed=1).image
    given = sample((1, 0.1))
    np.testing.assert_allclose(
        msa.GaussianNoise(std=1)(given, seed=1).image - given.image, zero, atol=1e-6
    )
    two = msa.GaussianNoise(std=1)(sample(None, channels=2), seed=1).image
    np.testing.assert_array_equal(two[0], zero[0])
    # The number is the flat index: another shape of the same size has the same noise.
    other = msa.GaussianNoise(std=1)(sample(None, shape=(50, 60, 40)), seed=1).image
    np.testing.assert_array_equal(other.ravel(), zero.ravel())
    for index, seed in ((1, 1), (0, 2)):
        changed = msa.GaussianNoise(std=1)(sample(None), seed=seed, index=index).image
        assert abs(np.corrcoef(changed.ravel(), zero.ravel())[0, 1]) < 0.02
