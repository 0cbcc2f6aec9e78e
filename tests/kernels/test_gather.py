"""Interpolated values against the definitions, SciPy, and every way of splitting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medsataug.kernels import coords, gather
from tests import naive

DTYPES = (np.float32, np.uint8, np.int16, np.uint16)
SHAPES = {2: (7, 11), 3: (5, 7, 11)}
MODES = {gather.CONSTANT: "constant", gather.EDGE: "nearest", gather.REFLECT: "reflect"}
NX = 13


def image(ndim: int, dtype=np.float32) -> np.ndarray:
    values = np.random.default_rng(ndim).uniform(0, 200, SHAPES[ndim])
    return (values if np.dtype(dtype).kind == "u" else values - 90).astype(dtype)


def points(ndim: int, rows: int = 9, seed: int = 0) -> np.ndarray:
    """Rows inside, rows across the border, far rows, whole and half positions."""
    rng = np.random.default_rng(seed)
    shape = np.array(SHAPES[ndim])[:, None, None]
    p = rng.uniform(0, 1, (ndim, rows, NX)) * (shape - 1.001)
    p[:, 3:6] = rng.uniform(-1.2, 1.2, (ndim, 3, NX)) * shape
    p[:, 6] = np.round(p[:, 6])
    p[:, 7] = np.round(p[:, 7]) + 0.5
    p[:, 8] = p[:, 5] * 3
    return p.reshape(ndim, -1)


def block(p: np.ndarray, ndim: int):
    idx, frac = np.empty(p.shape, np.int32), np.empty(p.shape, np.float32)
    inside = np.empty(p.shape[1] // NX, np.uint8)
    coords.split(p, NX, np.array(SHAPES[ndim]), idx, frac, inside)
    return idx, frac, inside


def run(name: str, src, p, mode=0, fill=0.0):
    idx, frac, inside = block(p, src.ndim)
    out = np.empty(p.shape[1], np.float32)
    kernel = getattr(gather, f"{name}_{src.ndim}d")
    kernel(src, idx, frac, NX, inside, mode, np.float32(fill), out)
    return out


def run_masked(src, valid, p, mode=0, fill=0.0, fill_weight=0.0):
    idx, frac, _ = block(p, src.ndim)
    out, weight = np.empty(p.shape[1], np.float32), np.empty(p.shape[1], np.float32)
    kernel = getattr(gather, f"masked_{src.ndim}d")
    kernel(src, valid, idx, frac, NX, mode, np.float32(fill), np.float32(fill_weight), out, weight)
    return out, weight


def spoiled(ndim: int) -> np.ndarray:
    src = image(ndim)
    src[np.random.default_rng(8).random(src.shape) < 0.15] = np.nan
    return src


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["linear", "cubic"])
def test_values(name, ndim, mode, dtype):
    src, p = image(ndim, dtype), points(ndim)
    want = [getattr(naive, name)(src, q, mode, -7.5) for q in p.T]
    np.testing.assert_allclose(run(name, src, p, mode, -7.5), want, atol=1e-3)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_linear_is_scipys(ndim, mode):
    src, p = image(ndim), points(ndim)
    if mode == gather.CONSTANT:  # SciPy's own constant mode does not blend with the border
        padded = np.pad(src, 60, constant_values=-7.5)
        want = ndimage.map_coordinates(padded, p + 60, order=1)
    else:
        want = ndimage.map_coordinates(src, p, order=1, mode=MODES[mode])
    np.testing.assert_allclose(run("linear", src, p, mode, -7.5), want, atol=1e-3)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["linear", "cubic"])
def test_nan_does_not_spread(name, ndim, mode):
    src, p = spoiled(ndim), points(ndim)
    want = np.array([getattr(naive, name)(src, q, mode, 4.0) for q in p.T])
    assert 0 < np.isnan(want).mean() < 0.4
    np.testing.assert_allclose(run(name, src, p, mode, 4.0), want, atol=2e-3)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # without JIT
@pytest.mark.parametrize("name", ["linear", "cubic"])
def test_infinity_stays_where_it_weighs(name):
    src = image(2)
    src[3, 4] = np.inf
    p = np.tile(np.array([[3.0, 3, 3, 2.5], [4.0, 3, 5, 4.5]]), NX)
    out = run(name, src, p)[:4]
    np.testing.assert_array_equal(out, [np.inf, src[3, 3], src[3, 5], np.inf])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill_weight", [0.0, 1.0])
def test_masked(ndim, mode, dtype, fill_weight):
    src, p = image(ndim, dtype), points(ndim)
    valid = np.random.default_rng(6).random(src.shape) > 0.2
    out, weight = run_masked(src, valid, p, mode, -7.5, fill_weight)
    want = [naive.masked(src, valid, q, mode, -7.5, fill_weight) for q in p.T]
    np.testing.assert_allclose(weight, [w for _, w in want], atol=2e-6)
    sure = np.abs(weight - 0.5) > 1e-5
    np.testing.assert_allclose(out[sure], np.array([v for v, _ in want])[sure], atol=2e-3)


@pytest.mark.parametrize("ndim", [2, 3])
def test_masked_with_all_valid_is_linear(ndim):
    src, p = image(ndim), points(ndim)[:, : 3 * NX]
    out, weight = run_masked(src, np.ones(src.shape, bool), p)
    np.testing.assert_array_equal(weight, 1)
    np.testing.assert_array_equal(out, run("linear", src, p))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", ["linear", "cubic", "masked"])
def test_a_ramp_comes_through(name, ndim):
    slopes, p = np.array([5.0, -3, 2])[-ndim:], points(ndim)[:, : 3 * NX]
    if name == "cubic":  # a clamped border is no ramp any more
        p = np.clip(p, 1, np.array(SHAPES[ndim])[:, None] - 2.001)
    ramp = np.tensordot(slopes, np.indices(SHAPES[ndim]), 1).astype(np.float32)
    if name == "masked":
        out = run_masked(ramp, np.ones(ramp.shape, bool), p)[0]
    else:
        out = run(name, ramp, p)
    np.testing.assert_allclose(out, slopes @ p, atol=2e-4)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", ["linear", "cubic", "masked"])
def test_any_split_into_rows_gives_the_same_bytes(name, ndim):
    src, p = spoiled(ndim), points(ndim)
    valid = np.random.default_rng(6).random(src.shape) > 0.2

    def go(q):
        return run_masked(src, valid, q)[0] if name == "masked" else run(name, src, q)

    whole = go(p)
    for cut in range(1, 9):
        parts = [go(np.ascontiguousarray(q)) for q in np.split(p, [cut * NX], axis=1)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", ["linear", "cubic"])
def test_identity_is_exact(name, ndim):
    src = image(ndim)
    flat = np.indices(src.shape).reshape(ndim, -1).astype(float)
    size = flat.shape[1] // NX * NX
    out = run(name, src, np.ascontiguousarray(flat[:, :size]))
    np.testing.assert_array_equal(out, src.ravel()[:size])


def test_single_voxel_axes():
    src = np.array([[[3.0, 5.0]]], np.float32)
    idx, frac, inside = np.empty((3, 4), np.int32), np.empty((3, 4), np.float32), np.empty(1, "u1")
    p = np.array([[0.0, 0, 0.25, 0], [0, 0, 0, -0.25], [0, 0.5, 0, 1]])
    coords.split(p, 4, np.array(src.shape), idx, frac, inside)
    out = np.empty(4, np.float32)
    gather.linear_3d(src, idx, frac, 4, inside, gather.EDGE, np.float32(0), out)
    np.testing.assert_allclose(out, [3, 4, 3, 5])
    gather.linear_3d(src, idx, frac, 4, inside, gather.CONSTANT, np.float32(1), out)
    np.testing.assert_allclose(out, [3, 4, 2.5, 4])
