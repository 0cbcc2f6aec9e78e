"""Interpolated values against the definitions, SciPy, and every way of reading and writing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from medsataug.arrays import memory
from medsataug.kernels import bands, box, coords, edges, gather
from medsataug.kernels.vectors import LANES
from tests import naive

DTYPES = (np.float32, np.uint8, np.int16, np.uint16)
SHAPES = {2: (7, 11), 3: (5, 7, 11)}
MODES = {box.CONSTANT: "constant", box.EDGE: "nearest", box.REFLECT: "reflect"}
NX = 13


def image(ndim: int, dtype=np.float32) -> np.ndarray:
    values = np.random.default_rng(ndim).uniform(0, 200, SHAPES[ndim])
    return (values if np.dtype(dtype).kind == "u" else values - 90).astype(dtype)


def spoiled(ndim: int) -> np.ndarray:
    src = image(ndim)
    src[np.random.default_rng(8).random(src.shape) < 0.15] = np.nan
    return src


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


def split(p, shape, mode):
    far = np.full(len(p), 1e9)
    ends = (-far, far) if mode == box.REFLECT else (0 * far - 2, np.array(shape) + 1.0)
    idx, frac = np.empty(p.shape, np.int32), np.empty(p.shape, np.float32)
    extent = np.empty((len(p), 2), np.int32)
    coords.split(np.ascontiguousarray(p), np.stack(ends, axis=1), idx, frac, extent)
    return idx, frac, extent


def three(given, missing):
    return tuple(int(v) for v in given) if len(given) == 3 else (missing, *map(int, given))


def address(idx, low, steps):
    at, n = np.empty(idx.shape[1], np.int32), len(idx)
    high = tuple(int(v) + 2**20 for v in low)
    box.addresses(idx, tuple(map(int, low)), high, steps[-n:], at)
    return at


def packed(channels, p, mode, fill, valid=None):
    """Copy of (C, …) ``channels`` around positions: memory, first, at, frac, steps."""
    idx, frac, extent = split(p, channels.shape[1:], mode)
    low, size = extent[:, 0] - 1, extent[:, 1] - extent[:, 0] + 4  # what cubic needs
    count, voxels = len(channels), math.prod(size.tolist())
    where = (np.arange(count), three(low, 0), three(size, 1), mode)
    room = np.empty(count * voxels, np.float32)
    box.pack(*memory(channels), *where, np.full(count, fill, np.float32), room)
    if valid is not None:
        box.blank(*memory(valid.view(np.uint8)), *where, room)
    steps = (where[2][1] * where[2][2], where[2][2], 1)
    return room, np.arange(count) * voxels, address(idx, low, steps), frac, steps


def kernel_of(name, ndim):
    return getattr(gather, f"linear_{ndim}d" if name == "linear" else name)


def run(name, src, p, mode=0, fill=0.0, valid=None):
    given = packed(src[None], p, mode, fill, None if valid is None else valid[None])
    out, nx = np.empty(p.shape[1], np.float32), min(NX, p.shape[1])
    rows = (p.shape[1] // nx, 0, nx, 1)
    nan = kernel_of(name, src.ndim)(*given, nx, out, np.zeros(1, np.int64), rows)
    assert bool(nan) == bool(np.isnan(out).any())
    return out


def nearest(src, q, mode, fill):
    return float(naive.tap(src, [math.floor(v + 0.5) for v in q], mode, fill))


REFERENCES = {"linear": naive.linear, "cubic": naive.cubic, "nearest": nearest}


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REFERENCES)
def test_values(name, ndim, mode, dtype):
    src, p = image(ndim, dtype), points(ndim)
    want = [REFERENCES[name](src, q, mode, -7.5) for q in p.T]
    np.testing.assert_allclose(run(name, src, p, mode, -7.5), want, atol=1e-3)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_linear_is_scipys(ndim, mode):
    src, p = image(ndim), points(ndim)
    if mode == box.CONSTANT:  # SciPy's own constant mode does not blend with the border
        padded = np.pad(src, 60, constant_values=-7.5)
        want = ndimage.map_coordinates(padded, p + 60, order=1)
    else:
        want = ndimage.map_coordinates(src, p, order=1, mode=MODES[mode])
    np.testing.assert_allclose(run("linear", src, p, mode, -7.5), want, atol=1e-3)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", REFERENCES)
def test_nan_does_not_spread(name, ndim, mode):
    src, p = spoiled(ndim), points(ndim)
    want = np.array([REFERENCES[name](src, q, mode, 4.0) for q in p.T])
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
@pytest.mark.parametrize("fill", [-7.5, np.nan])
def test_masked(ndim, mode, dtype, fill):
    src, p = image(ndim, dtype), points(ndim)
    valid = np.random.default_rng(6).random(src.shape) > 0.2
    out = run("linear", src, p, mode, fill, valid)
    known = float(not np.isnan(fill))  # a fill that is a number is data
    want = np.array([naive.masked(src, valid, q, mode, fill, known) for q in p.T])
    weight = want[:, 1]
    sure = np.abs(weight - 0.5) > 1e-5
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(np.isnan(out[sure]), weight[sure] < 0.5)
    there = sure & (weight > 0.5)
    np.testing.assert_allclose(out[there], want[there, 0], atol=2e-3)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", REFERENCES)
def test_masked_with_all_valid_is_unmasked(name, ndim):
    src, p = image(ndim), points(ndim)
    masked = run(name, src, p, valid=np.ones(src.shape, bool))
    assert masked.tobytes() == run(name, src, p).tobytes()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", ["linear", "cubic", "masked"])
def test_a_ramp_comes_through(name, ndim):
    slopes, p = np.array([5.0, -3, 2])[-ndim:], points(ndim)[:, : 3 * NX]
    if name == "cubic":  # a clamped border is no ramp any more
        p = np.clip(p, 1, np.array(SHAPES[ndim])[:, None] - 2.001)
    ramp = np.tensordot(slopes, np.indices(SHAPES[ndim]), 1).astype(np.float32)
    valid = np.ones(ramp.shape, bool) if name == "masked" else None
    out = run("cubic" if name == "cubic" else "linear", ramp, p, valid=valid)
    np.testing.assert_allclose(out, slopes @ p, atol=2e-4)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", [*REFERENCES, "masked"])
def test_any_split_gives_the_same_bytes(name, ndim):
    src, p = spoiled(ndim), points(ndim)
    valid = np.random.default_rng(6).random(src.shape) > 0.2 if name == "masked" else None

    def go(q):
        return run("linear" if name == "masked" else name, src, q, valid=valid)

    whole = go(p)
    for cut in range(1, 9):
        parts = [go(q) for q in np.split(p, [cut * NX], axis=1)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    single = [go(p[:, k : k + 1]) for k in range(0, p.shape[1], 7)]
    assert np.concatenate(single).tobytes() == whole[::7].tobytes()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", REFERENCES)
def test_identity_is_exact(name, ndim):
    src = image(ndim)
    flat = np.indices(src.shape).reshape(ndim, -1).astype(float)
    size = flat.shape[1] // NX * NX
    np.testing.assert_array_equal(run(name, src, flat[:, :size]), src.ravel()[:size])


def test_single_voxel_axes():
    src = np.array([[[3.0, 5.0]]], np.float32)
    p = np.array([[0.0, 0, 0.25, 0], [0, 0, 0, -0.25], [0, 0.5, 0, 1]])
    np.testing.assert_allclose(run("linear", src, p, box.EDGE), [3, 4, 3, 5])
    np.testing.assert_allclose(run("linear", src, p, box.CONSTANT, 1), [3, 4, 2.5, 4])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", REFERENCES)
def test_values_go_where_strides_say(name, ndim):
    """Three planes of three rows, of two channels, in the middle of larger memory."""
    channels = np.stack([image(ndim), spoiled(ndim) + 1000])
    p = points(ndim)
    want = np.stack([run(name, c, p, fill=2.0) for c in channels]).reshape(2, 3, 3, NX)
    given = packed(channels, p, 0, 2.0)
    planar = np.full((2, 5, 4, NX + 2), 77, np.float32)
    last = np.full((5, 4, NX + 2, 2), 77, np.float32)
    for room, view in ((planar, planar), (last, np.moveaxis(last, -1, 0))):
        of_channel, *steps = (s // 4 for s in view.strides)
        start = steps[0] + steps[1] + steps[2]
        to = np.arange(2) * of_channel + start
        kernel_of(name, ndim)(*given, NX, room.reshape(-1), to, (3, *steps))
        inner = view[:, 1:4, 1:4, 1 : NX + 1]
        assert np.ascontiguousarray(inner).tobytes() == want.tobytes()
        inner[...] = 77
        assert np.all(room == 77)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # without JIT
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8, 9, 13, 16])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bands_have_the_bytes_of_single_channels(ndim, count, dtype):
    shape, rng = SHAPES[ndim], np.random.default_rng(count)
    channels = np.stack([np.roll(image(ndim, dtype), c) for c in range(count)])
    if dtype == np.float32:
        channels[rng.random(channels.shape) < 0.1] = np.nan
        channels[rng.random(channels.shape) < 0.02] = np.inf
    p = rng.uniform(0, 1, (ndim, 6 * NX)) * (np.array(shape)[:, None] - 1.001)
    p[:, :NX] = np.floor(p[:, :NX])
    idx, frac, _ = split(p, shape, 0)
    extra = np.full(LANES, np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else np.nan, dtype)
    beside = np.concatenate([np.moveaxis(channels, 0, -1).ravel(), extra])
    steps = tuple(int(np.prod((*shape, count)[k:])) for k in range(1, ndim + 1))
    into = np.full(6 * NX * count + 2, 77, np.float32)
    together = getattr(bands, f"linear_bands_{ndim}d")
    at, low = address(idx, (0,) * ndim, three(steps, 0)), np.arange(count)
    rows = (2, 2 * NX * count, NX * count, count)
    nan = together(beside, low, at, frac, three(steps, 0), NX, into, low + 1, rows)
    assert into[0] == into[-1] == 77
    steps = three([s // count for s in steps], 0)
    at, each = address(idx, (0,) * ndim, steps), math.prod(shape)
    alone = np.empty(count * 6 * NX, np.float32)
    given = (channels.reshape(-1), low * each, at, frac, steps, NX)
    same = kernel_of("linear", ndim)(*given, alone, low * 6 * NX, (6, 0, NX, 1))
    assert into[1:-1].reshape(-1, count).T.tobytes() == alone.tobytes()
    assert bool(nan) == bool(same) == bool(np.isnan(alone).any())


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", [-7.5, np.nan])
def test_borders_done_anew_have_the_bytes_of_a_packed_copy(ndim, mode, dtype, fill):
    src, p = image(ndim, dtype), points(ndim)
    if dtype == np.float32:
        src = spoiled(ndim)
    want = run("linear", src, p, mode, fill)
    idx, frac, _ = split(p, src.shape, mode)
    which = np.empty(p.shape[1] + 1, np.int64)
    which = which[: edges.beyond(idx, src.shape, which)]
    inside = np.all((idx >= 0) & (idx <= np.array(src.shape)[:, None] - 2), axis=0)
    np.testing.assert_array_equal(which, np.flatnonzero(~inside))
    assert 20 < len(which) < len(inside)
    channels, fills = np.array([1]), np.array([99, fill], np.float32)
    both = np.stack([np.zeros_like(src), src])
    out = np.full(p.shape[1], 77, np.float32)
    rows = (np.zeros(1, np.int64), (9, 0, NX, 1))
    where = (channels, idx, frac, which, mode, fills, NX, out, *rows)
    nan = edges.linear(*memory(both), *where)
    assert out[which].tobytes() == want[which].tobytes()
    assert bool(nan) == bool(np.isnan(out).any())
    assert np.all(out[inside] == 77)


@pytest.mark.parametrize("owner", [1, 2, 5, 6])
def test_mean_of(owner):
    rng = np.random.default_rng(owner)
    fine = rng.normal(0, 9, (3, 12 * owner)).astype(np.float32)
    fine[rng.random(fine.shape) < 0.45] = np.nan
    groups = fine.astype(np.float64).reshape(3, 12, owner)
    known = ~np.isnan(groups)
    sums, count = np.where(known, groups, 0).sum(axis=2), known.sum(axis=2)
    want = np.where(2 * count >= owner, sums / np.maximum(count, 1), np.nan)
    assert 0 < np.isnan(want).mean() < 0.6
    planar, last = np.full((3, 12), 77, np.float32), np.full((12, 3), 77, np.float32)
    gather.mean_of(fine, owner, 4, planar.reshape(-1), np.arange(3) * 12, (3, 0, 4, 1))
    gather.mean_of(fine, owner, 4, last.reshape(-1), np.arange(3), (3, 0, 12, 3))
    np.testing.assert_allclose(planar, want, rtol=1e-5)
    assert np.ascontiguousarray(last.T).tobytes() == planar.tobytes()
