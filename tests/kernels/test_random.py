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
def _logs(u, out):
    for i in range(u.shape[0]):
        out[i] = random._log(u[i])


@njit
def _turns(w, cosine, sine):
    for i in range(w.shape[0]):
        cosine[i], sine[i] = random._turn(w[i])


def normals(first: int, count: int, key: np.uint64 = KEY) -> np.ndarray:
    out = np.empty(count, np.float32)
    random.fill_normal(key, first, out)
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


@pytest.mark.parametrize("first", [0, 61, 64 * 16 - 5, 2**33 + 3])
def test_normals_are_box_muller_of_the_words(first):
    out = normals(first, 140)
    want = [naive.normal(int(KEY), n) for n in range(first, first + 140)]
    np.testing.assert_allclose(out, want, atol=2e-6)


@pytest.mark.parametrize("first", [0, 3, 64, 1000, 2**40 + 17])
def test_any_split_gives_the_same_bytes(first):
    whole = normals(first, 3000)
    rng = np.random.default_rng(1)
    for _ in range(10):
        cuts = np.concatenate([[0], np.sort(rng.integers(0, 3000, 5)), [3000]])
        parts = [normals(first + int(a), int(b - a)) for a, b in itertools.pairwise(cuts)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


@compiled
def test_keys_and_numbers_are_independent():
    a, b = normals(0, 2**18), normals(0, 2**18, KEY + np.uint64(1))
    for x, y in ((a, b), (a[:-1], a[1:]), (a[:-16], a[16:]), (a[:-64], a[64:])):
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
def test_tails_to_five_sigma():
    n, block = 2**26, 2**22
    beyond = dict.fromkeys((2, 3, 4, 5), 0)
    for first in range(0, n, block):
        x = np.abs(normals(first, block))
        for sigma in beyond:
            beyond[sigma] += int(np.count_nonzero(x > sigma))
    for sigma, count in beyond.items():
        expected = n * 2 * stats.norm.sf(sigma)
        assert abs(count - expected) < 5 * math.sqrt(expected), sigma


def test_logarithm():
    count = 200 if config.DISABLE_JIT else 200_000
    u = np.exp2(np.random.default_rng(0).uniform(-33, 0, count)).astype(np.float32)
    out = np.empty_like(u)
    _logs(u, out)
    want = np.log(u.astype(np.float64))
    ulps = np.abs(out - want) / np.spacing(np.abs(want).astype(np.float32))
    near_one = u > 0.9  # there it is the error relative to 1 − u that counts
    assert ulps[~near_one].max() <= 2.5
    np.testing.assert_allclose(out[near_one], want[near_one], rtol=1e-6, atol=1e-7)


def test_turn_all_around():
    count = 200 if config.DISABLE_JIT else 200_000
    steps = np.linspace(0, 2**32 - 1, count).astype(np.uint32)
    eighths = (np.arange(8, dtype=np.int64) * 2**29)[:, None] + np.array([-1, 0, 1])
    w = np.concatenate([steps, (eighths % 2**32).astype(np.uint32).ravel()])
    cosine, sine = np.empty(w.size, np.float32), np.empty(w.size, np.float32)
    _turns(w, cosine, sine)
    angle = 2 * np.pi * w.astype(np.float64) / 2**32
    np.testing.assert_allclose(cosine, np.cos(angle), atol=4e-7)
    np.testing.assert_allclose(sine, np.sin(angle), atol=4e-7)
