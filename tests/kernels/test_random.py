"""Numbers by counter: the published words, and distribution, accuracy and independence."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numba import config, njit
from scipy import stats

from medsataug.kernels import random
from tests import naive

KEY = np.uint64(0x0123456789ABCDEF)
compiled = pytest.mark.skipif(config.DISABLE_JIT, reason="too many numbers for the interpreter")


@njit
def _radii(w, out):
    for i in range(w.shape[0]):
        out[i] = random._radius(w[i])


@njit
def _directions(w, x, y):
    for i in range(w.shape[0]):
        x[i], y[i] = random._direction(w[i])


def normals(first: int, count: int, key: np.uint64 = KEY) -> np.ndarray:
    out = np.zeros(count, np.float32)
    random.add_normal(key, first, np.float32(1), out)
    return out


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_reference_gives_the_published_words(counter, key, words):
    assert [f"{w:08x}" for w in naive.philox(counter, key)] == words.split()


@pytest.mark.parametrize("first", [0, 7, 2**32 - 1, 2**61])
@pytest.mark.parametrize("key", [0, 1, 2**32, int(KEY), 2**64 - 1])
def test_words(first, key):
    out = np.empty(11, np.uint32)
    random.philox_words(np.uint64(key), first, out)
    want = [
        naive.philox([c % 2**32, c >> 32, 0, 0], [key % 2**32, key >> 32])
        for c in range(first, first + 3)
    ]
    np.testing.assert_array_equal(out, np.concatenate(want)[:11])


@pytest.mark.parametrize("first", [0, 61, 250, 1024 - 5, 2**33 + 3])
def test_normals_are_box_muller_of_the_words(first):
    out = normals(first, 140)
    want = [naive.normal(int(KEY), n) for n in range(first, first + 140)]
    np.testing.assert_allclose(out, want, atol=2e-6)


@pytest.mark.parametrize("first", [0, 3, 64, 1000, 2**40 + 17])
def test_any_split_gives_the_same_bytes(first):
    rng = np.random.default_rng(1)
    values = rng.normal(100, 20, 3000).astype(np.float32)
    std = np.float32(7.3)
    whole = values.copy()
    random.add_normal(KEY, first, std, whole)
    for _ in range(1 if config.DISABLE_JIT else 10):
        out = values.copy()
        cuts = np.concatenate([[0], np.sort(rng.integers(0, 3000, 5)), [3000]])
        for a, b in itertools.pairwise(cuts.tolist()):
            random.add_normal(KEY, first + a, std, out[a:b])
        assert out.tobytes() == whole.tobytes()


@compiled
def test_keys_and_numbers_are_independent():
    a, b = normals(0, 2**18), normals(0, 2**18, KEY + np.uint64(1))
    pairs = [(a, b), *((a[:-lag], a[lag:]) for lag in (1, 256, 512, 1024))]
    for x, y in pairs:
        assert abs(np.corrcoef(x, y)[0, 1]) < 5 / math.sqrt(2**18)
        assert abs(np.corrcoef(x**2, y**2)[0, 1]) < 5 / math.sqrt(2**18)


@compiled
def test_moments_and_distribution():
    n = 2**22
    x = normals(12345, n).astype(np.float64)
    assert abs(x.mean()) < 5 / math.sqrt(n)
    assert abs(x.var() - 1) < 5 * math.sqrt(2 / n)
    assert abs(stats.skew(x)) < 5 * math.sqrt(6 / n)
    assert abs(stats.kurtosis(x)) < 5 * math.sqrt(24 / n)
    assert stats.kstest(x[: 2**20], "norm").pvalue > 1e-3


@compiled
@pytest.mark.slow
def test_tails_and_distribution_of_many():
    """Counts beyond 3 to 5 sigma on either side, and of 200 equally likely classes."""
    n, block = 2**27, 2**22
    sigmas = np.array([3, 4, 4.5, 5])
    above, below = np.zeros(4), np.zeros(4)
    edges = stats.norm.ppf(np.arange(1, 200) / 200)
    classes = np.zeros(200)
    for first in range(0, n, block):
        x = np.sort(normals(first, block))
        assert np.isfinite(x).all()
        above += block - np.searchsorted(x, sigmas.astype(np.float32), "right")
        below += np.searchsorted(x, -sigmas.astype(np.float32))
        classes += np.diff(np.searchsorted(x, edges), prepend=0, append=block)
    expected = n * stats.norm.sf(sigmas)
    for count in (above, below):
        assert (np.abs(count - expected) < 4 * np.sqrt(expected)).all(), (count, expected)
    assert stats.chisquare(classes).pvalue > 1e-3


@compiled
@pytest.mark.slow
def test_pairs_are_independent():
    """The two values of a pair share a radius; all around, their directions are equally many."""
    x = normals(0, 2**24).reshape(-1, 4, 256)
    for a, b in ((x[:, 0], x[:, 1]), (x[:, 2], x[:, 3]), (x[:, 0], x[:, 2])):
        angle = np.arctan2(a, b).ravel()
        counts, _ = np.histogram(angle, 64, (-np.pi, np.pi))
        assert stats.chisquare(counts).pvalue > 1e-3
        assert abs(np.corrcoef(np.hypot(a, b).ravel(), angle)[0, 1]) < 5 / math.sqrt(angle.size)


def words(count: int) -> np.ndarray:
    """Words of all sizes, and the extremes."""
    count = 200 if config.DISABLE_JIT else count
    spread = np.linspace(0, 2**32 - 1, count).astype(np.uint32)
    small = np.exp2(np.linspace(0, 31.99, count)).astype(np.uint32)
    eighths = (np.arange(8, dtype=np.int64) * 2**29)[:, None] + np.array([-1, 0, 1])
    return np.concatenate([spread, small, (eighths % 2**32).astype(np.uint32).ravel()])


def test_radius():
    w = words(200_000)
    out = np.empty(w.size, np.float32)
    _radii(w, out)
    want = np.sqrt(-2 * np.log((w + 0.5) / 2**32))
    near = w < 2**31
    np.testing.assert_allclose(out[near], want[near], rtol=4e-7)
    # Of words near the greatest, float32 keeps 24 bits: the radius there is small.
    np.testing.assert_allclose(out[~near], want[~near], atol=4e-4)
    np.testing.assert_allclose(out[[0]], math.sqrt(66 * math.log(2)), rtol=2e-7)
    assert np.isfinite(out).all()
    assert (out >= 0).all()


def test_direction():
    w = words(200_000)
    x, y = np.empty(w.size, np.float32), np.empty(w.size, np.float32)
    _directions(w, x, y)
    np.testing.assert_allclose(np.hypot(x, y), 1, atol=2e-7)
    angle = (w << np.uint32(2)).astype(np.uint32).view(np.int32) * (np.pi / 2**33)
    mirrored, swapped = (w >> 31).astype(bool), (w >> 30 & 1).astype(bool)
    cosine = np.where(mirrored, -1, 1) * np.cos(angle)
    np.testing.assert_allclose(np.where(swapped, y, x), cosine, atol=2e-7)
    np.testing.assert_allclose(np.where(swapped, x, y), np.sin(angle), atol=2e-7)
