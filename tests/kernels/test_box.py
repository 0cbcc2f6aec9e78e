"""Memory of arrays, addresses in it, and packed copies against plain indexing."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from medsataug.arrays import memory
from medsataug.kernels import box
from medsataug.kernels.vectors import RUN
from tests import naive

IMAGES = (np.float32, np.uint8, np.int16, np.uint16)
LABELS = (np.uint8, np.int16, np.uint16, np.int32)
MODES = (box.CONSTANT, box.EDGE, box.REFLECT)
SHAPES = {2: (3, 7, 21), 3: (3, 5, 7, 21)}
FILLS = np.array([-7.5, np.nan, 3.25], np.float32)
#: First voxel and size along z, y, x of boxes in 5 × 7 × 21: inside, across, around, far away.
BOXES = {
    "inside": ((1, 2, 3), (2, 3, 11)),
    "whole": ((0, 0, 0), (5, 7, 21)),
    "one voxel": ((4, 6, 20), (1, 1, 1)),
    "one run": ((1, 2, 3), (2, 2, RUN)),
    "runs": ((1, 2, 3), (2, 2, 2 * RUN)),
    "just below a run": ((1, 2, 3), (2, 2, RUN - 1)),
    "before": ((-2, -3, -4), (4, 5, 19)),
    "after": ((3, 5, 9), (4, 5, 25)),
    "around": ((-2, -2, -3), (9, 11, 27)),
    "beyond along x": ((1, 2, 21), (2, 2, 9)),
    "far before along x": ((1, 2, -70), (2, 2, 9)),
    "beyond along y": ((1, 9, 2), (2, 2, 9)),
    "beyond along z": ((-9, 1, 2), (2, 2, 9)),
    "far": ((-50, 60, 900), (2, 2, 9)),
}


def image(ndim: int, dtype=np.float32) -> np.ndarray:
    values = np.random.default_rng(ndim).uniform(0, 200, SHAPES[ndim])
    return (values if np.dtype(dtype).kind == "u" else values - 90).astype(dtype)


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    """The same numbers, with other memory behind them."""
    if layout == "channels last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 0, -1)), -1, 0)
    if layout == "window":
        large = np.full([n + 5 for n in array.shape], 99, array.dtype)
        within = large[tuple(slice(2, 2 + n) for n in array.shape)]
        within[...] = array
        return within
    if layout == "every other":
        large = np.full([2 * n for n in array.shape], 99, array.dtype)
        large[tuple(slice(None, None, 2) for _ in array.shape)] = array
        return large[tuple(slice(None, None, 2) for _ in array.shape)]
    if layout == "turned":
        return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "mirrored":
        return np.ascontiguousarray(array[..., ::-1])[..., ::-1]
    if layout == "read-only":
        array = array.copy()
        array.flags.writeable = False
    return array


LAYOUTS = ("planar", "channels last", "window", "every other", "turned", "mirrored", "read-only")


def three(given, missing):
    return tuple(given) if len(given) == 3 else (missing, *given)


def pack(array, channels, low, size, mode, fills, dtype=np.float32, mask=None):
    """`box.pack`, and `box.blank` where there is a mask, into guarded memory."""
    n, guard = len(channels) * math.prod(size), 16
    room = np.full(n + 2 * guard, 77, dtype)
    where = (np.array(channels, np.int64), three(low, 0), three(size, 1), mode)
    box.pack(*memory(array), *where, fills, room[guard : guard + n])
    if mask is not None:
        given = memory(np.broadcast_to(mask, array.shape).view(np.uint8))
        box.blank(*given, *where, room[guard : guard + n])
    assert np.all(room[:guard] == 77)
    assert np.all(room[guard + n :] == 77)
    return room[guard : guard + n].reshape(len(channels), *size)


def expected(array, channels, low, size, mode, fills):
    out = np.empty((len(channels), *size), np.float64)
    for c, *at in np.ndindex(out.shape):
        index = [a + i for a, i in zip(low, at, strict=True)]
        out[(c, *at)] = naive.tap(array[channels[c]], index, mode, fills[channels[c]])
    return out


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory(ndim, layout):
    array = laid_out(image(ndim), layout)
    flat, strides, shape = memory(array)
    assert flat.ndim == 1
    assert flat.flags.c_contiguous
    assert flat.flags.writeable
    assert shape == three(array.shape[1:], 1)
    wide = array if ndim == 3 else array[:, None]
    at = np.tensordot(strides, np.indices(wide.shape), 1)
    assert at.min() == 0
    assert at.max() < len(flat)
    np.testing.assert_array_equal(flat[at], wide)
    assert np.shares_memory(flat, array) == (layout != "mirrored")


@pytest.mark.parametrize("shape", [(4, 5, 7, 21), (3, 5, 7, 21)])
def test_memory_of_one_mask_for_all_channels(shape):
    mask = np.random.default_rng(0).random((1, *shape[1:])) > 0.5
    wide = np.broadcast_to(mask, shape)
    flat, strides, size = memory(wide.view(np.uint8))
    assert strides == (0, 147, 21, 1)
    assert size == shape[1:]
    assert len(flat) == 5 * 7 * 21
    np.testing.assert_array_equal(flat.reshape(shape[1:]), mask[0])


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 1, 1), (1, 4, 1, 6), (2, 1, 5)])
def test_memory_of_single_voxel_axes(shape):
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    for given in (array, laid_out(array, "window"), laid_out(array, "channels last")):
        flat, strides, size = memory(given)
        wide = given if len(shape) == 4 else given[:, None]
        assert size == wide.shape[1:]
        at = np.tensordot(strides, np.indices(wide.shape), 1)
        assert at.max() < len(flat)
        np.testing.assert_array_equal(flat[at], wide)


@pytest.mark.parametrize("ndim", [2, 3])
def test_addresses(ndim):
    low, size = np.array([-3, 4, 2])[-ndim:], np.array([5, 6, 7])[-ndim:]
    idx = np.random.default_rng(0).integers(0, size[:, None], (ndim, 37), np.int32)
    idx += low[:, None].astype(np.int32)
    steps = np.array([1000, 31, 3])[-ndim:]
    at = np.full(37, -1, np.int32)
    inner = tuple(low.tolist()), tuple((low + size).tolist())
    box.addresses(idx, *inner, tuple(steps.tolist()), at)
    np.testing.assert_array_equal(at, steps @ (idx - low[:, None]))
    kept = np.full(37, -1, np.int32)
    low, high = low + 1, low + size - 2
    box.addresses(idx, tuple(low.tolist()), tuple(high.tolist()), tuple(steps.tolist()), kept)
    want = np.clip(idx, low[:, None], high[:, None]) - low[:, None]
    np.testing.assert_array_equal(kept, steps @ want)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", BOXES)
def test_pack(name, mode):
    low, size = BOXES[name]
    for ndim, layout in itertools.product((2, 3), ("planar", "channels last")):
        array = laid_out(image(ndim), layout)
        where = ([0, 1, 2], low[-ndim:], size[-ndim:], mode)
        got = pack(array, *where, FILLS)
        np.testing.assert_array_equal(got, expected(array, *where, FILLS))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", IMAGES)
def test_pack_of_any_layout(ndim, layout, dtype):
    array = laid_out(image(ndim, dtype), layout)
    for mode, name in itertools.product(MODES, ("inside", "around")):
        low, size = (v[-ndim:] for v in BOXES[name])
        got = pack(array, [0, 1, 2], low, size, mode, FILLS)
        np.testing.assert_array_equal(got, expected(array, [0, 1, 2], low, size, mode, FILLS))


@pytest.mark.parametrize("layout", ["planar", "channels last"])
@pytest.mark.parametrize("channels", [[1], [2, 0], [0, 2], [2, 1, 0]])
def test_pack_of_some_channels(channels, layout):
    array = laid_out(image(3), layout)
    where = (channels, *BOXES["before"], box.CONSTANT)
    np.testing.assert_array_equal(pack(array, *where, FILLS), expected(array, *where, FILLS))


@pytest.mark.parametrize("dtype", LABELS)
def test_pack_of_labels(dtype):
    far = np.iinfo(dtype)
    array = np.random.default_rng(1).integers(far.min, far.max, (1, 5, 7, 21), dtype)
    fills = np.array([9], dtype)
    for mode, (low, size) in itertools.product(MODES, BOXES.values()):
        got = pack(array, [0], low, size, mode, fills, dtype)
        assert got.dtype == dtype
        want = expected(array, [0], low, size, mode, fills)
        np.testing.assert_array_equal(got.astype(np.int64), want.astype(np.int64))


@pytest.mark.parametrize("nx", range(1, 3 * RUN + 2))
def test_pack_of_rows_of_any_length(nx):
    array = np.arange(2 * 1 * 40, dtype=np.float32).reshape(1, 2, 40)
    for first in (-3, 0, 5, 40 - nx, 37):
        for mode in MODES:
            where = ([0], (0, first), (2, nx), mode)
            got = pack(array, *where, FILLS[:1])
            np.testing.assert_array_equal(got, expected(array, *where, FILLS[:1]))


def test_a_packed_box_keeps_nan_and_infinity():
    array = image(2)
    array[0, 2, 3:6] = np.nan, np.inf, -np.inf
    got = pack(array, [0], (0, 0), (7, 21), box.EDGE, FILLS)
    assert got.tobytes() == array[:1].tobytes()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("planes", [1, 3])
def test_blank(ndim, mode, planes):
    array, rng = image(ndim), np.random.default_rng(5)
    mask = rng.random((planes, *array.shape[1:])) > 0.3
    wide, unsure = np.broadcast_to(mask, array.shape), np.zeros(3)
    for low, size in BOXES.values():
        low, size = low[-ndim:], size[-ndim:]
        for given in (mask, laid_out(mask, "channels last"), laid_out(mask, "window")):
            got = pack(array, [2, 0], low, size, mode, unsure, mask=given)
            want = expected(array, [2, 0], low, size, mode, unsure)
            known = expected(wide, [2, 0], low, size, mode, np.ones(3))  # a fill is data
            np.testing.assert_array_equal(got, np.where(known == 1, want, np.nan))


def test_blank_counts_every_number_but_0_as_data():
    mask = np.arange(21, dtype=np.uint8).reshape(1, 1, 21)
    packed = np.ones(21, np.float32)
    where = (np.zeros(1, np.int64), (0, 0, 0), (1, 1, 21), box.CONSTANT)
    box.blank(*memory(mask), *where, packed)
    np.testing.assert_array_equal(np.isnan(packed), mask.ravel() == 0)
