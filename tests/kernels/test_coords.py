"""Positions of blocks against the definition, SimpleITK, and every way of splitting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK as sitk

from medsataug.kernels import coords, positions
from tests import naive

M3 = np.array([[0.9, 0.2, -0.1, 3.3], [-0.15, 1.1, 0.05, -2.2], [0.07, -0.3, -1.05, 20.4]])
M2 = np.array([[0.9, 0.2, 3.3], [-0.15, -1.1, 20.2]])
SHAPE3, SHAPE2 = np.array([9, 14, 23]), np.array([14, 23])
FAR = np.array([[-1e9, 1e9]] * 3)


def buffers(n: int, size):
    count = int(np.prod(size))
    return (
        np.full((n, count), 7, np.int32),
        np.empty((n, count), np.float32),
        np.full((n, 2), 7, np.int32),
    )


def joined(idx, frac):
    return idx + frac.astype(np.float64)


def indices(start, size):
    axes = [np.arange(a, a + n) for a, n in zip(start, size, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij")).reshape(len(axes), -1).astype(float)


def check(got, want, atol):
    idx, frac, extent = got
    np.testing.assert_allclose(joined(idx, frac), want, atol=atol)
    assert frac.min() >= 0
    assert frac.max() <= 1
    np.testing.assert_array_equal(extent, np.stack([idx.min(axis=1), idx.max(axis=1)], axis=1))


def lattice(shape, magnitude=2.0):
    rng = np.random.default_rng(len(shape))
    cells = (2, 3, 4)[-len(shape) :]
    controls = rng.uniform(-magnitude, magnitude, (len(shape), *(c + 3 for c in cells)))
    origin = np.array([-0.5, -0.7, -0.4])[: len(shape)]
    return controls.astype(np.float32), origin, np.asarray(shape) / np.asarray(cells)


def bent(controls, origin, spacing, points):
    found = [naive.displacement(controls, origin, spacing, p) for p in points.T]
    return np.stack(found).T


def test_affine_3d():
    start, size = (4, 2, 6), (2, 5, 11)
    got = buffers(3, size)
    coords.affine_3d(M3, start, size, FAR, *got)
    check(got, M3[:, :3] @ indices(start, size) + M3[:, 3:], 1e-6)


def test_affine_2d():
    start, size = (2, 5), (9, 11)
    got = buffers(2, size)
    coords.affine_2d(M2, start, size, FAR[:2], *got)
    check(got, M2[:, :2] @ indices(start, size) + M2[:, 2:], 1e-6)


@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (-1.0, 1.0, -0.7), (0.4, -1.3, 0.0)])
@pytest.mark.parametrize("size", [(1, 4, 17), (3, 3, 9), (9, 1, 1)])
def test_lattice_3d(scale, size):
    controls, origin, spacing = lattice(SHAPE3)
    start, move = (3, 5, 2), (np.array(scale), np.array([2.0, 1.0, 15.0]))
    got = buffers(3, size)
    args = (controls, move[0] / spacing, (move[1] - origin) / spacing, M3, M3[:, :3])
    coords.lattice_3d(*args, start, size, FAR, *got)
    out = indices(start, size)
    bend = bent(controls, origin, spacing, (out.T * move[0] + move[1]).T)
    check(got, M3[:, :3] @ (out + bend) + M3[:, 3:], 2e-6)


@pytest.mark.parametrize("scale", [(1.0, 1.0), (-1.0, -0.7), (1.3, 0.0), (0.0, 0.6)])
@pytest.mark.parametrize("size", [(4, 17), (14, 1)])
def test_lattice_2d(scale, size):
    controls, origin, spacing = lattice(SHAPE2)
    start, move = (5, 3), (np.array(scale), np.array([2.0, 15.0]))
    got = buffers(2, size)
    args = (controls, move[0] / spacing, (move[1] - origin) / spacing, M2, M2[:, :2])
    coords.lattice_2d(*args, start, size, FAR[:2], *got)
    out = indices(start, size)
    bend = bent(controls, origin, spacing, (out.T * move[0] + move[1]).T)
    check(got, M2[:, :2] @ (out + bend) + M2[:, 2:], 2e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_displace_is_itks_spline(ndim):
    shape = (SHAPE2, SHAPE3)[ndim - 2]
    controls, _, spacing = lattice(shape)
    origin = np.array([-0.5, -0.7, -0.4])[:ndim]
    cells = [n - 3 for n in controls.shape[1:]]
    itk = sitk.BSplineTransform(ndim, 3)
    itk.SetTransformDomainOrigin([float(o) for o in origin[::-1]])
    itk.SetTransformDomainMeshSize(cells[::-1])
    itk.SetTransformDomainPhysicalDimensions(
        [float(s * c) for s, c in zip(spacing[::-1], cells[::-1], strict=True)]
    )
    itk.SetParameters(controls[::-1].astype(float).ravel().tolist())
    inner = np.random.default_rng(3).uniform(0, 1, (50, ndim)) * 0.98 * spacing * cells + origin
    want = np.array([itk.TransformPoint(p[::-1].tolist())[::-1] for p in inner])
    pos = np.ascontiguousarray(inner.T)
    (coords.displace_2d, coords.displace_3d)[ndim - 2](controls, origin, spacing, pos)
    np.testing.assert_allclose(pos.T, want, atol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_displace_anywhere(ndim):
    shape = (SHAPE2, SHAPE3)[ndim - 2]
    controls, origin, spacing = lattice(shape)
    points = np.random.default_rng(4).uniform(-0.5, 1.5, (60, ndim)) * shape
    pos = np.ascontiguousarray(points.T)
    (coords.displace_2d, coords.displace_3d)[ndim - 2](controls, origin, spacing, pos)
    want = [p + naive.displacement(controls, origin, spacing, p) for p in points]
    np.testing.assert_allclose(pos.T, want, atol=1e-9)


@pytest.mark.parametrize("ndim", [2, 3])
def test_step_by_step_equals_aligned(ndim):
    shape, m = (SHAPE2, SHAPE3)[ndim - 2], (M2, M3)[ndim - 2]
    controls, origin, spacing = lattice(shape)
    start, size = (3, 5, 2)[-ndim:], (2, 4, 17)[-ndim:]
    direct, chain = buffers(ndim, size), buffers(ndim, size)
    args = (controls, 1 / spacing, -origin / spacing, m, np.ascontiguousarray(m[:, :ndim]))
    (coords.lattice_2d, coords.lattice_3d)[ndim - 2](*args, start, size, FAR[:ndim], *direct)
    pos = np.empty((ndim, int(np.prod(size))))
    positions.sub_positions(start, size, np.ones(ndim, np.int64), pos)
    np.testing.assert_array_equal(pos, indices(start, size))
    (coords.displace_2d, coords.displace_3d)[ndim - 2](controls, origin, spacing, pos)
    coords.transform(np.vstack([m, np.eye(ndim + 1)[ndim]]), pos)
    coords.split(pos, FAR[:ndim], *chain)
    np.testing.assert_allclose(joined(*direct[:2]), joined(*chain[:2]), atol=1e-6)
    np.testing.assert_array_equal(direct[2], chain[2])


@pytest.mark.parametrize("factors", [(1, 3), (2, 2), (2, 1, 3), (1, 1, 1)])
def test_sub_positions(factors):
    n = len(factors)
    start, size = (4, 7, 1)[:n], (3, 2, 5)[:n]
    pos = np.empty((n, int(np.prod(size) * np.prod(factors))))
    positions.sub_positions(start, size, np.array(factors), pos)
    want = []
    for voxel in itertools.product(*(range(a, a + s) for a, s in zip(start, size, strict=True))):
        for part in itertools.product(*(range(f) for f in factors)):
            places = zip(voxel, part, factors, strict=True)
            want.append([v + (p + 0.5) / f - 0.5 for v, p, f in places])
    np.testing.assert_allclose(pos.T, want, atol=1e-12)


def test_perspective():
    m = np.array([[1.1, 0.2, 3], [-0.1, 0.9, 1], [0.01, -0.02, 1.3]])
    points = np.random.default_rng(5).uniform(0, 20, (2, 40))
    pos = points.copy()
    coords.transform(m, pos)
    q = m @ np.vstack([points, np.ones(40)])
    np.testing.assert_allclose(pos, q[:2] / q[2])


@pytest.mark.parametrize("least", [-2.0, -1e9])
def test_far_infinite_and_nan_positions_are_kept_within_limits(least):
    pos = np.array([[1e300, -1e300, np.inf, -np.inf, np.nan, 3.25, -0.75]])
    got = buffers(1, (7,))
    coords.split(pos, np.array([[least, 10.0]]), *got)
    idx, frac, extent = got
    np.testing.assert_array_equal(idx[0], [10, least, 10, least, least, 3, -1])
    np.testing.assert_array_equal(frac[0], [0, 0, 0, 0, 0, 0.25, 0.25])
    np.testing.assert_array_equal(extent, [[least, 10]])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("elastic", [False, True])
def test_limits_hold_within_a_row(ndim, elastic):
    shape, m = (SHAPE2, SHAPE3)[ndim - 2], (M2 * 50, M3 * 50)[ndim - 2]
    controls, origin, spacing = lattice(shape)
    head = (controls, 0.9 / spacing, -origin / spacing, m, np.ascontiguousarray(m[:, :-1]))
    run = getattr(coords, f"{'lattice' if elastic else 'affine'}_{ndim}d")
    start, size = (0,) * ndim, tuple(int(n) for n in shape)
    limits = np.stack([np.full(ndim, -2.0), shape + 1.0], axis=1)
    free, kept = buffers(ndim, size), buffers(ndim, size)
    run(*(head if elastic else (m,)), start, size, FAR[:ndim], *free)
    run(*(head if elastic else (m,)), start, size, limits, *kept)
    want = np.clip(joined(*free[:2]), limits[:, :1], limits[:, 1:])
    check(kept, want, 1e-6)
    assert 0.3 < (kept[0] != free[0]).mean() < 1


def cuts(size):
    """Ways to cut a box in two, and into planes, rows and voxels."""
    for axis, n in enumerate(size):
        for cut in range(1, n):
            yield axis, [(0, cut), (cut, n - cut)]
        yield axis, [(a, 1) for a in range(n)]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["affine", "lattice", "mirrored", "chain"])
def test_any_split_into_boxes_gives_the_same_bytes(ndim, kind):
    shape, m = (SHAPE2, SHAPE3)[ndim - 2], (M2, M3)[ndim - 2]
    controls, origin, spacing = lattice(shape)
    sign = -0.7 if kind == "mirrored" else 0.9
    linear = np.ascontiguousarray(m[:, :-1])
    head = (controls, sign / spacing, (7 - origin) / spacing, m, linear)
    limits = np.stack([np.full(ndim, -2.0), shape + 1.0], axis=1)

    def block(start, size):
        got = buffers(ndim, size)
        if kind == "chain":
            pos = np.empty((ndim, int(np.prod(size))))
            positions.sub_positions(start, size, np.ones(ndim, np.int64), pos)
            coords.transform(np.vstack([m, np.eye(ndim + 1)[ndim]]), pos)
            (coords.displace_2d, coords.displace_3d)[ndim - 2](controls, origin, spacing, pos)
            coords.split(pos, limits, *got)
        else:
            name = "affine" if kind == "affine" else "lattice"
            given = (m,) if kind == "affine" else head
            getattr(coords, f"{name}_{ndim}d")(*given, start, size, limits, *got)
        return got[0].reshape(ndim, *size), got[1].reshape(ndim, *size), got[2]

    start, size = (1, 2, 3)[-ndim:], (3, 7, 37)[-ndim:]
    whole = block(start, size)
    for axis, pieces in cuts(size):
        parts = []
        for a, n in pieces:
            first, part = list(start), list(size)
            first[axis] += a
            part[axis] = n
            parts.append(block(tuple(first), tuple(part)))
        for k in (0, 1):
            rejoined = np.concatenate([p[k] for p in parts], axis=axis + 1)
            assert rejoined.tobytes() == whole[k].tobytes(), (axis, pieces)
        extents = np.stack([p[2] for p in parts])
        np.testing.assert_array_equal(extents[:, :, 0].min(axis=0), whole[2][:, 0])
        np.testing.assert_array_equal(extents[:, :, 1].max(axis=0), whole[2][:, 1])


def test_precision_at_index_20_000():
    shift = 0.123456789
    for start, size in (((20_000, 0), (1, 20_100)), ((20_000, 19_000), (2, 1_100))):
        got = buffers(2, size)
        m = np.array([[1.0, 0, shift], [0, 1.0, shift]])
        coords.affine_2d(m, start, size, FAR[:2], *got)
        np.testing.assert_array_equal(got[0], indices(start, size))
        np.testing.assert_allclose(got[1], shift, atol=1e-7)
