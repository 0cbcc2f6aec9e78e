"""Positions of blocks against the definition, SimpleITK, and every way of splitting."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from medsataug.kernels import coords
from tests import naive

M3 = np.array([[0.9, 0.2, -0.1, 3.3], [-0.15, 1.1, 0.05, -2.2], [0.07, -0.3, -1.05, 20.4]])
M2 = np.array([[0.9, 0.2, 3.3], [-0.15, -1.1, 20.2]])
SHAPE3, SHAPE2 = np.array([9, 14, 23]), np.array([14, 23])


def buffers(n: int, rows: int, nx: int):
    idx = np.full((n, rows * nx), 7, np.int32)
    return idx, np.empty((n, rows * nx), np.float32), np.full(rows, 7, np.uint8)


def positions(idx, frac):
    return idx + frac.astype(np.float64)


def expected_inside(idx, nx, shape):
    ok = np.all((idx >= 0) & (idx <= shape[:, None] - 2), axis=0)
    return ok.reshape(-1, nx).all(axis=1)


def indices(*starts_and_sizes):
    axes = [np.arange(a, a + n) for a, n in starts_and_sizes]
    return np.stack(np.meshgrid(*axes, indexing="ij")).reshape(len(axes), -1).astype(float)


def lattice(shape, magnitude=2.0):
    rng = np.random.default_rng(len(shape))
    cells = (2, 3, 4)[-len(shape) :]
    controls = rng.uniform(-magnitude, magnitude, (len(shape), *(c + 3 for c in cells)))
    origin = np.array([-0.5, -0.7, -0.4])[: len(shape)]
    return controls.astype(np.float32), origin, np.asarray(shape) / np.asarray(cells)


def test_affine_3d():
    idx, frac, inside = buffers(3, 5, 11)
    coords.affine_3d(M3, 4, 2, 11, SHAPE3, idx, frac, inside)
    want = M3[:, :3] @ indices((4, 1), (2, 5), (0, 11)) + M3[:, 3:]
    np.testing.assert_allclose(positions(idx, frac), want, atol=1e-6)
    np.testing.assert_array_equal(inside, expected_inside(idx, 11, SHAPE3))
    assert 0 < inside.sum() < 5
    assert frac.min() >= 0
    assert frac.max() <= 1


def test_affine_2d():
    idx, frac, inside = buffers(2, 9, 11)
    coords.affine_2d(M2, 2, 11, SHAPE2, idx, frac, inside)
    want = M2[:, :2] @ indices((2, 9), (0, 11)) + M2[:, 2:]
    np.testing.assert_allclose(positions(idx, frac), want, atol=1e-6)
    np.testing.assert_array_equal(inside, expected_inside(idx, 11, SHAPE2))
    assert 0 < inside.sum() < 9


@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (-1.0, 1.0, -0.7), (0.4, 1.3, 0.0)])
def test_lattice_3d(scale):
    controls, origin, spacing = lattice(SHAPE3)
    move = np.array([*scale]), np.array([2.0, 1.0, 15.0])  # output index → lattice's index
    idx, frac, inside = buffers(3, 4, 17)
    args = (controls, move[0] / spacing, (move[1] - origin) / spacing, M3, M3[:, :3])
    coords.lattice_3d(*args, 3, 5, 17, SHAPE3, idx, frac, inside)
    out = indices((3, 1), (5, 4), (0, 17))
    bend = np.stack(
        [naive.displacement(controls, origin, spacing, p) for p in out.T * move[0] + move[1]]
    ).T
    want = M3[:, :3] @ (out + bend) + M3[:, 3:]
    np.testing.assert_allclose(positions(idx, frac), want, atol=2e-6)
    np.testing.assert_array_equal(inside, expected_inside(idx, 17, SHAPE3))


@pytest.mark.parametrize("scale", [(1.0, 1.0), (-1.0, -0.7), (1.3, 0.0)])
def test_lattice_2d(scale):
    controls, origin, spacing = lattice(SHAPE2)
    move = np.array([*scale]), np.array([2.0, 15.0])
    idx, frac, inside = buffers(2, 4, 17)
    args = (controls, move[0] / spacing, (move[1] - origin) / spacing, M2, M2[:, :2])
    coords.lattice_2d(*args, 5, 17, SHAPE2, idx, frac, inside)
    out = indices((5, 4), (0, 17))
    bend = np.stack(
        [naive.displacement(controls, origin, spacing, p) for p in out.T * move[0] + move[1]]
    ).T
    want = M2[:, :2] @ (out + bend) + M2[:, 2:]
    np.testing.assert_allclose(positions(idx, frac), want, atol=2e-6)


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


def test_step_by_step_equals_aligned():
    controls, origin, spacing = lattice(SHAPE3)
    direct, chain = buffers(3, 4, 17), buffers(3, 4, 17)
    args = (controls, 1 / spacing, -origin / spacing, M3, M3[:, :3])
    coords.lattice_3d(*args, 3, 5, 17, SHAPE3, *direct)
    pos = np.empty((3, 4 * 17))
    coords.index_positions(np.array([3, 5, 0]), 17, pos)
    np.testing.assert_array_equal(pos, indices((3, 1), (5, 4), (0, 17)))
    coords.displace_3d(controls, origin, spacing, pos)
    coords.transform(np.vstack([M3, [0, 0, 0, 1]]), pos)
    coords.split(pos, 17, SHAPE3, *chain)
    np.testing.assert_allclose(positions(*direct[:2]), positions(*chain[:2]), atol=1e-6)
    np.testing.assert_array_equal(direct[2], chain[2])


def test_perspective():
    m = np.array([[1.1, 0.2, 3], [-0.1, 0.9, 1], [0.01, -0.02, 1.3]])
    points = np.random.default_rng(5).uniform(0, 20, (2, 40))
    pos = points.copy()
    coords.transform(m, pos)
    q = m @ np.vstack([points, np.ones(40)])
    np.testing.assert_allclose(pos, q[:2] / q[2])


def test_far_infinite_and_nan_positions_are_outside():
    pos = np.array([[1e300, -1e300, np.inf, -np.inf, np.nan, 3.25]])
    idx, frac, inside = buffers(1, 1, 6)
    coords.split(pos, 6, np.array([9]), idx, frac, inside)
    assert idx[0, 5] == 3
    assert frac[0, 5] == 0.25
    assert np.all((idx[0, :5] < -1) | (idx[0, :5] > 10))
    assert np.isfinite(frac).all()
    assert not inside[0]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("elastic", [False, True])
def test_any_split_into_rows_gives_the_same_bytes(ndim, elastic):
    shape = (SHAPE2, SHAPE3)[ndim - 2]
    m = (M2, M3)[ndim - 2]
    controls, origin, spacing = lattice(shape)
    head = (controls, 0.9 / spacing, -origin / spacing, m, m[:, :-1]) if elastic else (m,)
    run = getattr(coords, f"{'lattice' if elastic else 'affine'}_{ndim}d")
    plane = (3,) if ndim == 3 else ()

    def block(y0, rows, nx):
        idx, frac, inside = buffers(ndim, rows, nx)
        run(*head, *plane, y0, nx, shape, idx, frac, inside)
        return idx.reshape(ndim, rows, nx), frac.reshape(ndim, rows, nx), inside

    whole = block(2, 7, 37)
    for cut in range(1, 7):
        parts = block(2, cut, 37), block(2 + cut, 7 - cut, 37)
        for k in range(3):
            joined = np.concatenate([p[k] for p in parts], axis=1 if k < 2 else 0)
            assert joined.tobytes() == whole[k].tobytes()
    for nx in range(1, 37):  # the last voxels of a row leave the vector loop
        shorter = block(2, 7, nx)
        np.testing.assert_array_equal(shorter[0], whole[0][:, :, :nx])
        np.testing.assert_array_equal(shorter[1], whole[1][:, :, :nx])


def test_precision_at_index_20_000():
    shift = 0.123456789
    idx, frac, inside = buffers(2, 1, 20_100)
    m = np.array([[1.0, 0, shift], [0, 1.0, shift]])
    coords.affine_2d(m, 20_000, 20_100, np.array([30_000, 30_000]), idx, frac, inside)
    np.testing.assert_array_equal(idx[1], np.arange(20_100))
    np.testing.assert_allclose(frac, shift, atol=1e-7)
    assert inside[0]
