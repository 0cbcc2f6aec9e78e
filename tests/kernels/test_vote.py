"""Labels against the definition; ties, mirrors, borders, and every way of splitting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from medsataug.arrays import memory
from medsataug.kernels import box, coords, edges, gather, vote
from tests import naive

DTYPES = (np.uint8, np.int16, np.uint16, np.int32)
SHAPES = {2: (7, 11), 3: (5, 7, 11)}
NX = 12
MODES = (box.CONSTANT, box.EDGE, box.REFLECT)


def labels(ndim: int, dtype=np.uint8, classes: int = 5) -> np.ndarray:
    names = np.array([0, 3, 7, 90, 120, 4, 5, 6, 8])[:classes]
    if np.dtype(dtype).itemsize > 1:
        names = names * (260 if np.dtype(dtype).itemsize == 2 else 300_000)
    return names[np.random.default_rng(ndim).integers(0, classes, SHAPES[ndim])].astype(dtype)


def points(ndim: int, rows: int = 8) -> np.ndarray:
    shape = np.array(SHAPES[ndim])[:, None, None]
    p = np.random.default_rng(1).uniform(-0.1, 1.1, (ndim, rows, NX)) * (shape - 1)
    p[:, 5] = np.round(p[:, 5])
    p[:, 6] = np.round(p[:, 6]) + 0.5  # ties everywhere
    p[:, 7] = np.round(p[:, 7] * 4) / 4
    return p.reshape(ndim, -1)


def split(p, shape):
    idx, frac = np.empty(p.shape, np.int32), np.empty(p.shape, np.float32)
    extent, limits = np.empty((len(p), 2), np.int32), np.array([[-1e9, 1e9]] * len(p))
    coords.split(np.ascontiguousarray(p), limits, idx, frac, extent)
    return idx, frac, extent


def packed(src, p, mode, fill):
    """Copy of a label around positions: memory, at, frac, steps."""
    idx, frac, extent = split(p, src.shape)
    low, size = extent[:, 0], extent[:, 1] - extent[:, 0] + 2
    flat = src.ndim == 2
    start, count = ((0, *low.tolist()), (1, *size.tolist())) if flat else (low, size)
    start, count = tuple(map(int, start)), tuple(map(int, count))
    room = np.empty(math.prod(count), src.dtype)
    where = (np.zeros(1, np.int64), start, count, mode, np.array([fill], src.dtype))
    box.pack(*memory(src[None]), *where, room)
    steps, at = (count[1] * count[2], count[2], 1), np.empty(p.shape[1], np.int32)
    high = tuple((low + size).tolist())
    box.addresses(idx, tuple(low.tolist()), high, steps[-src.ndim :], at)
    return room, at, frac, steps


def run(src, p, mode=0, fill=0, owner=1):
    out = np.full(p.shape[1] // owner, 77, src.dtype)
    kernel = (vote.vote_2d, vote.vote_3d)[src.ndim - 2]
    kernel(*packed(src, p, mode, fill), owner, out)
    return out


def run_nearest(src, p, mode=0, fill=0):
    room, at, frac, steps = packed(src, p, mode, fill)
    out, only = np.full(p.shape[1], 77, src.dtype), np.zeros(1, np.int64)
    gather.nearest(room, only, at, frac, steps, NX, out, only, (len(at) // NX, 0, NX, 1))
    return out


def clear(src, p, mode, fill, owner=1):
    """Where the two best votes are not within 1e-5 without being equal."""
    sure = []
    for q in p.T.reshape(-1, owner, src.ndim):
        votes = sorted(naive.ballot(src, q, mode, fill).values())
        gap = votes[-1] - votes[-2] if len(votes) > 1 else 1.0
        sure.append(gap < 1e-9 or gap > 1e-5 * owner)
    assert np.mean(sure) > 0.98
    return np.array(sure)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_vote(ndim, mode, dtype, classes):
    src, p = labels(ndim, dtype, classes), points(ndim)
    want = np.array([naive.vote(src, [q], mode, 9) for q in p.T])
    sure = clear(src, p, mode, 9)
    np.testing.assert_array_equal(run(src, p, mode, 9)[sure], want[sure])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("owner", [2, 3, 6])
@pytest.mark.parametrize("mode", MODES)
def test_vote_of_sub_positions(ndim, owner, mode):
    src, p = labels(ndim), points(ndim)
    want = np.array([naive.vote(src, q, mode, 9) for q in p.T.reshape(-1, owner, ndim)])
    sure = clear(src, p, mode, 9, owner)
    np.testing.assert_array_equal(run(src, p, mode, 9, owner)[sure], want[sure])


def test_many_sub_positions_do_not_overflow():
    src = labels(3)
    p = np.random.default_rng(5).uniform(0, 4, (3, NX * 150))
    np.testing.assert_array_equal(run(src, p, owner=NX * 150), [naive.vote(src, p.T, 0, 0)])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nearest(ndim, mode, dtype):
    src, p = labels(ndim, dtype), points(ndim)
    want = [naive.nearest(src, q, mode, 9) for q in p.T]
    np.testing.assert_array_equal(run_nearest(src, p, mode, 9), want)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("classes", [2, 3, 9])
def test_mirrored_input_gives_the_mirrored_output(ndim, classes):
    src, p = labels(ndim, classes=classes), points(ndim)
    p = np.concatenate([p, np.round(p * 3) / 3, np.round(p * 10) / 10], axis=1)
    want = run(src, p, 0, 2)
    for axes in itertools.chain.from_iterable(
        itertools.combinations(range(ndim), r) for r in range(1, ndim + 1)
    ):
        q = p.copy()
        for k in axes:
            q[k] = src.shape[k] - 1 - q[k]
        mirrored = np.ascontiguousarray(np.flip(src, axes))
        np.testing.assert_array_equal(run(mirrored, q, 0, 2), want)


def cells(ndim, names, count=256):
    """Every way, or ``count`` of them, to give one of ``names`` to each corner of a cell."""
    ways = itertools.product(names, repeat=2**ndim)
    for way in itertools.islice(ways, 0, None, max(1, len(names) ** 2**ndim // count)):
        yield np.array(way).reshape((2,) * ndim)


def exact(src, q, unit=2**18):
    """Winner among the labels at the corners, counted in exact integers."""
    votes: dict[int, int] = {}
    up = [round(float(v) * unit) for v in q]
    for corner in np.ndindex(src.shape):
        w = math.prod(f if c else unit - f for c, f in zip(corner, up, strict=True))
        if w:
            votes[int(src[corner])] = votes.get(int(src[corner]), 0) + w
    most = max(votes.values())
    return min(label for label, v in votes.items() if v == most)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("names", [(1, 2), (2, 1), (-5, 7), (1, 2, 3)])
@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_every_cell_votes_exactly(ndim, names, dtype):
    """Two labels take a short cut, three do not; ties are exact, and the smallest wins."""
    some = np.array(list(itertools.product((0, 0.25, 0.5, 0.6), repeat=ndim))).T
    p = np.concatenate([some, np.random.default_rng(2).random((ndim, 8))], axis=1)
    p = p.astype(np.float32).astype(np.float64)
    for cell in cells(ndim, names):
        src = cell.astype(dtype)
        want = [exact(src, q) for q in p.T]
        np.testing.assert_array_equal(run(src, p), want)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_short_cut_equals_the_general_ballot(ndim):
    """A position counted twice takes no short cut, and wins as it does alone."""
    p = points(ndim)
    for classes in (2, 3, 9):
        src = labels(ndim, classes=classes)
        twice = np.repeat(p, 2, axis=1)
        assert run(src, p, 0, 9).tobytes() == run(src, twice, 0, 9, owner=2).tobytes()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_borders_done_anew_equal_a_packed_copy(ndim, mode, dtype):
    src, p = labels(ndim, dtype), np.concatenate([points(ndim), 3 * points(ndim)], axis=1)
    idx, frac, _ = split(p, src.shape)
    which = np.empty(p.shape[1] + 1, np.int64)
    which = which[: edges.beyond(idx, src.shape, which)]
    assert 20 < len(which) < p.shape[1]
    out = np.full(p.shape[1], 77, dtype)
    edges.vote(*memory(src[None]), idx, frac, which, mode, dtype(9), out)
    want = np.full(p.shape[1], 77, dtype)
    want[which] = run(src, p, mode, 9)[which]
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("ndim", [2, 3])
def test_labels_come_from_the_input(ndim):
    src, p = labels(ndim, np.int32), points(ndim)
    assert set(run(src, p, 0, -1)) <= set(src.ravel()) | {-1}


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kernel", [run, run_nearest])
def test_any_split_gives_the_same_bytes(ndim, kernel):
    src, p = labels(ndim), points(ndim)
    whole = kernel(src, p)
    for cut in range(1, 8):
        parts = [kernel(src, q) for q in np.split(p, [cut * NX], axis=1)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
