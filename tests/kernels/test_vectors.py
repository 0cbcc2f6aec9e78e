"""Short vectors against plain sums: every dtype, and nothing read or written beside them."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from medsataug.kernels import vectors
from medsataug.kernels.vectors import LANES, RUN

IMAGES = (np.float32, np.uint8, np.int16, np.uint16)
LABELS = (np.uint8, np.int16, np.uint16, np.int32)
DY, DZ, AT = 13, 71, 5

bilinear, trilinear = vectors.bilinear, vectors.trilinear
lanes_2d = {LANES: vectors.bilinear_4, 2 * LANES: vectors.bilinear_8}
lanes_3d = {LANES: vectors.trilinear_4, 2 * LANES: vectors.trilinear_8}
alike_4, alike_8, move, prefetch = vectors.alike_4, vectors.alike_8, vectors.move, vectors.prefetch


@numba.njit
def run_bilinear(src, o, dy, fy, fx):
    return bilinear(src, o, dy, fy, fx)


@numba.njit
def run_trilinear(src, o, dz, dy, fz, fy, fx):
    return trilinear(src, o, dz, dy, fz, fy, fx)


def lanes_of(lanes, axes):
    call = (lanes_2d, lanes_3d)[axes - 2][lanes]
    if axes == 2:

        @numba.njit
        def run(src, o, dz, dy, dx, fz, fy, fx, out, at):
            call(src, o, dy, dx, fy, fx, out, at)

    else:

        @numba.njit
        def run(src, o, dz, dy, dx, fz, fy, fx, out, at):
            call(src, o, dz, dy, dx, fz, fy, fx, out, at)

    return run


@numba.njit
def run_alike(src, o, dz, dy):
    return alike_4(src, o, dz, dy), alike_8(src, o, dz, dy)


@numba.njit
def run_move(src, i, out, at):
    prefetch(src, i)
    move(src, i, out, at)


def numbers(dtype, n=200):
    """Numbers of the whole range of a type, and not all of one sign."""
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1000, n).astype(dtype)
    far = np.iinfo(dtype)
    return rng.integers(far.min, far.max, n, dtype, endpoint=True)


def lerp(a, b, f):
    """In float32 as the vectors; a multiply and add may be one rounding."""
    a, b = np.float64(a), np.float64(b)
    return a + np.float64(f) * (b - a)


def plain(src, o, dz, dy, dx, fz, fy, fx, axes):
    def column(i):
        return lerp(src[i], src[i + dz], fz) if axes == 3 else np.float64(src[i])

    rows = [lerp(column(o + k), column(o + dy + k), fy) for k in (0, dx)]
    return lerp(*rows, fx)


FRACTIONS = [(0.0, 0.0, 0.0), (0.25, 0.5, 0.75), (1.0, 1.0, 1.0), (0.1, 0.9, 0.3)]


@pytest.mark.parametrize("dtype", IMAGES)
@pytest.mark.parametrize("fractions", FRACTIONS)
def test_neighbours(dtype, fractions):
    src, (fz, fy, fx) = numbers(dtype), map(np.float32, fractions)
    for o in (0, AT, len(src) - DZ - DY - 2):
        got = run_bilinear(src, o, DY, fy, fx)
        want = plain(src, o, DZ, DY, 1, fz, fy, fx, 2)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-2)
        got = run_trilinear(src, o, DZ, DY, fz, fy, fx)
        want = plain(src, o, DZ, DY, 1, fz, fy, fx, 3)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("lanes", [LANES, 2 * LANES])
@pytest.mark.parametrize("dtype", IMAGES)
def test_lanes(dtype, lanes, axes):
    src, run, dx = numbers(dtype, 400), lanes_of(lanes, axes), 11
    for fractions in FRACTIONS:
        fz, fy, fx = map(np.float32, fractions)
        for o in (0, AT, len(src) - DZ - DY - dx - lanes):
            out = np.full(lanes + 6, 77, np.float32)
            run(src, o, DZ, DY, dx, fz, fy, fx, out, 3)
            want = [plain(src, o + c, DZ, DY, dx, fz, fy, fx, axes) for c in range(lanes)]
            np.testing.assert_allclose(out[3:-3], want, rtol=1e-5, atol=1e-2)
            assert np.all(out[:3] == 77)
            assert np.all(out[-3:] == 77)
            if not numba.config.DISABLE_JIT:  # the same bytes as one channel alone
                alone = [src[o + c :].copy() for c in range(lanes)]
                pairs = [gathered(a, DZ, DY, dx, fz, fy, fx, axes) for a in alone]
                assert out[3:-3].tobytes() == np.array(pairs, np.float32).tobytes()


def gathered(src, dz, dy, dx, fz, fy, fx, axes):
    """Value of a position of which the neighbours along x have been laid side by side."""
    rows = [src[[k, k + dx]] for k in (0, dy, dz, dz + dy)]
    if axes == 2:
        return run_bilinear(np.concatenate(rows[:2]), 0, 2, fy, fx)
    return run_trilinear(np.concatenate(rows), 0, 4, 2, fz, fy, fx)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # without JIT
def test_nan_and_infinity_are_seen():
    half = np.float32(0.5)
    for value in (np.nan, np.inf, -np.inf):
        for k in (0, 1, 2, 3, 4, 5, 6, 7):
            src = np.ones(8, np.float32)
            src[k] = value
            assert not np.isfinite(run_trilinear(src, 0, 4, 2, half, half, half))
            if k < 4:
                assert not np.isfinite(run_bilinear(src, 0, 2, half, half))


@pytest.mark.parametrize("dtype", [*LABELS, np.int64])
def test_alike(dtype):
    for odd in (None, *range(8)):
        for o in (0, 3):
            src = np.full(o + DZ + DY + 2, 5, dtype)
            corners = [o + x + y + z for z in (0, DZ) for y in (0, DY) for x in (0, 1)]
            if odd is not None:
                src[corners[odd]] = np.iinfo(dtype).max
            four, eight = run_alike(src, o, DZ, DY)
            assert bool(eight) == (odd is None)
            assert bool(four) == (odd is None or odd >= 4)
            src[:] = np.iinfo(dtype).min  # what lies beside takes no part
            assert all(run_alike(src, o, DZ, DY))
            src[[k for k in range(len(src)) if k not in corners]] = 3
            assert all(run_alike(src, o, DZ, DY))


@pytest.mark.parametrize("dtype", sorted({*IMAGES, *LABELS}, key=str))
def test_move(dtype):
    src = numbers(dtype, 40)
    kinds = (np.float32, dtype) if dtype in IMAGES else (dtype,)
    for into in kinds:
        for i, at in ((0, 0), (3, 5), (40 - RUN, 7)):
            out = np.full(20, 77, into)
            run_move(src, i, out, at)
            want = np.full(20, 77, into)
            want[at : at + RUN] = src[i : i + RUN]
            assert out.tobytes() == want.tobytes()
