"""Labels against the definition; ties, mirrors, and every way of splitting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medsataug.kernels import coords, vote
from tests import naive

DTYPES = (np.uint8, np.int16, np.uint16, np.int32)
SHAPES = {2: (7, 11), 3: (5, 7, 11)}
NX = 12
MODES = (0, 1, 2)


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


def block(p: np.ndarray, shape):
    idx, frac = np.empty(p.shape, np.int32), np.empty(p.shape, np.float32)
    inside = np.empty(p.shape[1] // NX, np.uint8)
    coords.split(p, NX, np.array(shape), idx, frac, inside)
    return idx, frac, inside


def run(src, p, mode=0, fill=0, owner=1):
    idx, frac, inside = block(p, src.shape)
    out = np.empty(p.shape[1] // owner, src.dtype)
    kernel = (vote.vote_2d, vote.vote_3d)[src.ndim - 2]
    kernel(src, idx, frac, NX, inside, mode, src.dtype.type(fill), owner, out)
    return out


def run_nearest(src, p, mode=0, fill=0):
    idx, frac, _ = block(p, src.shape)
    out = np.empty(p.shape[1], src.dtype)
    kernel = (vote.nearest_2d, vote.nearest_3d)[src.ndim - 2]
    kernel(src, idx, frac, mode, src.dtype.type(fill), out)
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
def test_vote(ndim, mode, dtype):
    src, p = labels(ndim, dtype), points(ndim)
    want = np.array([naive.vote(src, [q], mode, 9) for q in p.T])
    sure = clear(src, p, mode, 9)
    np.testing.assert_array_equal(run(src, p, mode, 9)[sure], want[sure])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("owner", [2, 3, 6])
def test_vote_of_sub_positions(ndim, owner):
    src, p = labels(ndim), points(ndim)
    want = np.array([naive.vote(src, q, 0, 9) for q in p.T.reshape(-1, owner, ndim)])
    sure = clear(src, p, 0, 9, owner)
    np.testing.assert_array_equal(run(src, p, 0, 9, owner)[sure], want[sure])


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


@pytest.mark.parametrize("ndim", [2, 3])
def test_labels_come_from_the_input(ndim):
    src, p = labels(ndim, np.int32), points(ndim)
    assert set(run(src, p, 0, -1)) <= set(src.ravel()) | {-1}


@pytest.mark.parametrize("ndim", [2, 3])
def test_any_split_into_rows_gives_the_same_bytes(ndim):
    src, p = labels(ndim), points(ndim)
    whole = run(src, p)
    for cut in range(1, 8):
        parts = [run(src, np.ascontiguousarray(q)) for q in np.split(p, [cut * NX], axis=1)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
