"""Powers against float64: accuracy, what is exact, and what is no number."""

from __future__ import annotations

import numpy as np
import pytest
from numba import config, njit

from medsataug.kernels import power
from medsataug.kernels.jit import FASTMATH

COUNT = 100 if config.DISABLE_JIT else 500_000


@njit(fastmath=FASTMATH, error_model="numpy")
def _powers(t, exponent, out):
    for i in range(t.shape[0]):
        out[i] = power.power(t[i], exponent)


@njit(fastmath=FASTMATH, error_model="numpy")
def _exp2(x, out):
    for i in range(x.shape[0]):
        out[i] = power.exp2(x[i], np.float32(0))


def powers(t, exponent):
    t = np.asarray(t, np.float32)
    out = np.empty_like(t)
    _powers(t, np.float32(exponent), out)
    return out


SPREAD = np.concatenate(
    [
        np.linspace(0, 1, COUNT),
        np.linspace(0.5, 2, COUNT),
        np.exp2(np.linspace(-40, 5, COUNT)),
    ]
).astype(np.float32)


@pytest.mark.parametrize("exponent", [0.1, 0.5, 0.7, 0.99, 1.01, 1.5, 1.8, 2, 3, 5, 10])
def test_powers(exponent):
    want = SPREAD.astype(np.float64) ** np.float64(np.float32(exponent))
    seen = want > 2.0**-125
    got = powers(SPREAD, exponent)[seen]
    np.testing.assert_allclose(got, want[seen], rtol=2e-7 + 1e-7 * max(exponent - 2, 0))


@pytest.mark.parametrize("exponent", [0.3, 1, 1.7, 2, 40])
def test_what_is_exact_and_what_is_no_number(exponent):
    given = np.array([0, 1, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(powers(given, exponent), given)


def test_exponent_one_changes_no_bit():
    assert powers(SPREAD, 1).tobytes() == SPREAD.tobytes()


@pytest.mark.parametrize("exponent", [0.7, 1.5, 3])
def test_order_is_kept(exponent):
    t = np.sort(SPREAD)
    got = powers(t, exponent).astype(np.float64)
    assert (np.diff(got) >= -2e-7 * (1 + exponent) * got[1:]).all()


@pytest.mark.skipif(config.DISABLE_JIT, reason="the interpreter warns of overflow")
def test_too_small_is_zero_and_too_large_infinite():
    np.testing.assert_array_equal(powers([1e-38, 1e-30, 1e30, 3e38], 9), [0, 0, np.inf, np.inf])


def test_slices_give_the_same_bytes():
    whole = powers(SPREAD[:1000], 1.3)
    for start in (1, 7, 500):
        assert powers(SPREAD[start:1000], 1.3).tobytes() == whole[start:].tobytes()


def test_exp2():
    x = np.linspace(-120, 120, COUNT).astype(np.float32)
    out = np.empty_like(x)
    _exp2(x, out)
    np.testing.assert_allclose(out, np.exp2(x.astype(np.float64)), rtol=1.2e-7)
    whole = np.arange(-126, 128, dtype=np.float32)
    out = np.empty_like(whole)
    _exp2(whole, out)
    np.testing.assert_array_equal(out, np.ldexp(np.float32(1), whole.astype(int)))
