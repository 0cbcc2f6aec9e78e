"""Blur, low resolution and median against their definitions, SciPy and torch."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medsataug.kernels.blur import gaussian, reach
from medsataug.kernels.lowres import coarsen
from medsataug.kernels.median import median, networks
from tests import naive

SHAPES = [(13, 17, 11), (1, 19, 23), (2, 3, 5), (1, 1, 9), (3, 40, 300)]


def volume(shape, gaps=0.0, seed=0):
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=shape) * 30 + 50).astype(np.float32)
    values[rng.random(shape) < gaps] = np.nan
    if gaps and shape[1] > 10:
        values[:, : shape[1] // 2, : shape[2] // 3] = np.nan  # wider than the kernels
    return values


def run(kernel, source, *p):
    """Whole channel at once; cut in any way it is the same."""
    p = np.array(p, np.float64)
    before = source.copy()
    out = np.full_like(source, 7)
    kernel(source, p, 0, 0, out)
    np.testing.assert_array_equal(source, before)
    parts = np.full_like(source, 7)
    nz, ny, _ = source.shape
    for z in range(nz):
        for y in range(0, ny, 3):
            kernel(source, p, z, y, parts[z : z + 1, y : y + 3])
    np.testing.assert_array_equal(parts, out)
    if nz > 2:
        kernel(source, p, 1, 0, parts[1:])
        np.testing.assert_array_equal(parts, out)
    return out


def agrees(got, expected, source):
    """NaN stays where it is, and nowhere else is any."""
    np.testing.assert_array_equal(np.isnan(expected), np.isnan(source))
    seen = ~np.isnan(source)
    np.testing.assert_allclose(got[seen], expected[seen], atol=2e-4)


@pytest.mark.parametrize("gaps", [0, 0.02, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [(0.5, 0.5, 0.5), (0, 1.3, 0.7), (2.2, 0, 4), (0, 0, 0)])
def test_gaussian(shape, sigma, gaps):
    source = volume(shape, gaps)
    matrices = [naive.gaussian_matrix(n, s) for n, s in zip(shape, sigma, strict=True)]
    agrees(run(gaussian, source, *sigma), naive.normalised(source, matrices), source)


@pytest.mark.parametrize("sigma", [0.3, 1, 2.5])
def test_gaussian_is_scipys(sigma):
    source = volume((21, 30, 26))
    expected = ndimage.gaussian_filter(source.astype(float), sigma, radius=reach(sigma))
    np.testing.assert_allclose(run(gaussian, source, sigma, sigma, sigma), expected, atol=1e-4)
    wider = ndimage.gaussian_filter(source.astype(float), sigma, truncate=8)
    np.testing.assert_allclose(run(gaussian, source, sigma, sigma, sigma), wider, atol=0.02)


@pytest.mark.parametrize("sigma", np.geomspace(0.1, 40, 60))
def test_what_the_kernel_leaves_out(sigma):
    offsets = np.arange(0, 1000)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    total = 2 * weights.sum() - 1
    assert 2 * weights[reach(sigma) + 1 :].sum() / total < 1e-4


def test_gaussian_keeps_sum_and_infinity():
    source = np.zeros((15, 16, 17), np.float32)
    source[4, 9, 2] = 1
    assert abs(run(gaussian, source, 1, 2, 0.7).sum(dtype=float) - 1) < 1e-5
    source[4, 9, 2] = np.inf
    out = run(gaussian, source, 0.5, 0.5, 0.5)
    assert np.isposinf(out[4, 9, 2])
    assert out[12, 2, 12] == 0


@pytest.mark.parametrize("gaps", [0, 0.02, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("scale", [0.31, 0.5, 0.77, 1])
def test_coarsen(shape, scale, mean, gaps):
    source = volume(shape, gaps)
    sizes = [max(1, round(n * scale)) for n in shape]
    matrices = [naive.coarse_matrix(n, m, mean) for n, m in zip(shape, sizes, strict=True)]
    expected = naive.normalised(source, matrices)
    got = run(coarsen, source, *sizes, mean)
    got[np.isnan(source)] = np.nan  # what the caller does: not all voxels are looked at
    agrees(got, expected, source)


def test_coarsen_of_some_axes():
    source = volume((9, 14, 12))
    got = run(coarsen, source, 9, 7, 12, False)
    matrices = [np.eye(9), naive.coarse_matrix(14, 7, False), np.eye(12)]
    agrees(got, naive.normalised(source, matrices), source)
    np.testing.assert_array_equal(run(coarsen, source, 9, 14, 12, True), source)


@pytest.mark.parametrize("shape", [(24, 31, 40), (1, 64, 37)])
@pytest.mark.parametrize("scale", [0.5, 0.63, 0.8, 0.97])
def test_coarsen_is_torchs(shape, scale):
    torch = pytest.importorskip("torch")
    from torch.nn.functional import interpolate

    source = volume(shape)
    sizes = [max(1, round(n * scale)) for n in shape]
    down = interpolate(torch.from_numpy(source)[None, None], sizes, mode="nearest-exact")
    expected = interpolate(down, shape, mode="trilinear")[0, 0].numpy()
    np.testing.assert_allclose(
        run(coarsen, source, *sizes, False), expected, atol=1e-5 * np.ptp(source)
    )


@pytest.mark.parametrize("gaps", [0, 0.02, 0.5])
@pytest.mark.parametrize("shape", SHAPES[:-1])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_median(shape, size, gaps):
    source = volume(shape, gaps)
    window = [1 if shape[0] == 1 else size, size, size]
    agrees(run(median, source, size, 0), naive.median(source, window), source)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_median_is_scipys(size):
    source = volume((6, 40, 300))
    for flat in (0, 1):
        window = (1 if flat else size, size, size)
        expected = ndimage.median_filter(source, window)
        np.testing.assert_array_equal(run(median, source, size, flat), expected)


@pytest.mark.parametrize(("size", "column"), [(3, 3), (5, 5), (7, 7), (3, 9), (5, 25)])
def test_networks_select_the_median(size, column):
    """On zeros and ones: a network that is right for them is right for all (Knuth 5.3.4)."""
    sorting, merging, wanted = networks(size, column)
    rng = np.random.default_rng(1)
    chance = rng.random(4000)
    wires = (rng.random((size * column, 4000)) < chance).astype(int)
    expected = np.median(wires, axis=0)
    parts = wires.reshape(size, column, -1)
    for pairs, of in ((sorting, parts.swapaxes(0, 1)), (merging, wires)):
        for a, b in pairs:
            of[a], of[b] = np.minimum(of[a], of[b]), np.maximum(of[a], of[b])
    np.testing.assert_array_equal(wires[wanted], expected)
