"""The algebra of coordinates: folding, inverting, and what a map needs of its input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsataug import maps
from medsataug.errors import ConfigError
from medsataug.maps import Affine, Displacement, SpatialMap
from tests import naive

SHAPES = {2: (14, 23), 3: (9, 14, 23)}
few = settings(max_examples=40, deadline=None)


@st.composite
def affines(draw, ndim):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    linear = np.eye(ndim) + rng.uniform(-0.3, 0.3, (ndim, ndim))
    return Affine(maps.homogeneous(linear, rng.uniform(-5, 5, ndim)))


@st.composite
def displacements(draw, ndim):
    """Bends that do not fold: every control stays under a quarter of the lattice spacing."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cells = rng.integers(1, 5, ndim)
    spacing = np.array(SHAPES[ndim]) / cells
    controls = rng.uniform(-0.25, 0.25, (ndim, *(cells + 3))) * spacing.reshape(-1, *[1] * ndim)
    return Displacement(controls.astype(np.float32), rng.uniform(-1, 0, ndim), spacing)


@st.composite
def spatial_maps(draw, ndim=None):
    ndim = ndim or draw(st.sampled_from([2, 3]))
    parts = draw(st.lists(st.one_of(affines(ndim), displacements(ndim)), max_size=4))
    return SpatialMap(SHAPES[ndim], tuple(parts))


@st.composite
def map_lists(draw, size):
    ndim = draw(st.sampled_from([2, 3]))
    return [draw(spatial_maps(ndim)) for _ in range(size)]


def points(ndim: int, count: int = 30) -> np.ndarray:
    return np.random.default_rng(7).uniform(-0.2, 1.2, (count, ndim)) * SHAPES[ndim]


@few
@given(map_lists(3))
def test_compose_is_associative(three):
    a, b, c = three
    left = maps.compose(maps.compose(a, b), c)
    right = maps.compose(a, maps.compose(b, c))
    p = points(len(a.out_shape))
    assert len(left.parts) == len(right.parts)
    np.testing.assert_allclose(left(p), right(p), atol=1e-9)


@few
@given(map_lists(2))
def test_compose_is_one_after_the_other(two):
    first, second = two
    p = points(len(first.out_shape))
    np.testing.assert_allclose(maps.compose(first, second)(p), first(second(p)), atol=1e-9)


@few
@given(spatial_maps())
def test_fold_equals_step_by_step(spatial):
    p = points(len(spatial.out_shape))
    folded = SpatialMap(spatial.out_shape, maps.fold(spatial.parts))
    np.testing.assert_allclose(folded(p), spatial(p), atol=1e-9)
    pairs = itertools.pairwise(folded.parts)
    assert not any(isinstance(a, Affine) and isinstance(b, Affine) for a, b in pairs)


@settings(max_examples=15, deadline=None)
@given(spatial_maps())
def test_inverse(spatial):
    p = points(len(spatial.out_shape))
    np.testing.assert_allclose(spatial.inverse_points(spatial(p)), p, atol=1e-3)


@few
@given(st.sampled_from([2, 3]).flatmap(lambda n: st.one_of(affines(n), displacements(n))))
def test_jacobian_is_the_slope(part):
    ndim = len(part.matrix) - 1 if isinstance(part, Affine) else len(part.controls)
    p, h = points(ndim), 1e-5
    columns = [(part(p + h * e) - part(p - h * e)) / (2 * h) for e in np.eye(ndim)]
    near = np.zeros(len(p), bool)
    if isinstance(part, Displacement):  # at the lattice's edge the slope jumps
        u = (p - part.origin) / part.spacing
        near = np.any((np.abs(u) < 1e-3) | (np.abs(u - part.cells) < 1e-3), axis=1)
    np.testing.assert_allclose(part.jacobian(p)[~near], np.stack(columns, 2)[~near], atol=1e-6)


def test_jacobian_of_a_perspective():
    part = Affine(np.array([[1.1, 0.2, 3], [-0.1, 0.9, 1], [0.003, -0.002, 1.3]]))
    p, h = points(2), 1e-5
    columns = [(part(p + h * e) - part(p - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(part.jacobian(p), np.stack(columns, 2), atol=1e-6)
    q = SpatialMap(SHAPES[2], (part,))
    np.testing.assert_allclose(q.inverse_points(q(p)), p, atol=1e-9)


@few
@given(st.sampled_from([2, 3]).flatmap(displacements))
def test_displacement_is_the_definition(part):
    p = points(len(part.controls), 8)
    want = [q + naive.displacement(part.controls, part.origin, part.spacing, q) for q in p]
    np.testing.assert_allclose(part(p), want, atol=1e-9)
    assert np.all(np.abs(part(p) - p) <= part.bound + 1e-9)


@few
@given(st.sampled_from([2, 3]).flatmap(displacements))
def test_dense_is_the_spline_at_even_steps(part):
    axes = [np.arange(c * 3 + 1) / 3 for c in part.cells]
    u = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    p = part.origin + u * part.spacing
    dense = part.dense(3).reshape(len(axes), -1).T
    np.testing.assert_allclose(dense, part(p) - p, atol=1e-9)


def test_a_folding_displacement_gives_nan_rather_than_a_wrong_point():
    controls = np.random.default_rng(0).uniform(-40, 40, (2, 8, 8)).astype(np.float32)
    part = Displacement(controls, np.zeros(2), np.array([3.0, 5.0]))
    spatial = SpatialMap((14, 23), (part,))
    target = points(2, 200)
    found = spatial.inverse_points(target)
    good = ~np.isnan(found).any(axis=1)
    np.testing.assert_allclose(spatial(found[good]), target[good], atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_double_flip_is_nothing(axis):
    shape = SHAPES[3]
    signs, offset = np.ones(3), np.zeros(3)
    signs[axis], offset[axis] = -1, shape[axis] - 1
    flip = SpatialMap(shape, (Affine(maps.homogeneous(np.diag(signs), offset)),))
    assert maps.is_identity(maps.compose(flip, flip), shape)
    assert not maps.is_identity(flip, shape)
    assert maps.is_identity(maps.identity(shape), shape)


def test_fold_drops_what_does_nothing():
    still = Displacement(np.zeros((2, 4, 5), np.float32), np.zeros(2), np.ones(2))
    turn = Affine(maps.homogeneous(np.array([[0.0, 1], [-1, 0]]), 3.0))
    back = Affine(np.linalg.inv(turn.matrix))
    assert maps.fold([still]) == ()
    assert maps.fold([turn, still, back]) == ()


def test_maps_of_different_channels_do_not_fold():
    one = SpatialMap((4, 5), (), channels=(0,))
    with pytest.raises(ConfigError, match="channels"):
        maps.compose(one, maps.identity((4, 5)))


@pytest.mark.parametrize("ndim", [2, 3])
def test_signed_permutations(ndim):
    shape = SHAPES[ndim]
    src = np.arange(np.prod(shape)).reshape(shape)
    for axes in itertools.permutations(range(ndim)):
        for signs in itertools.product((1, -1), repeat=ndim):
            linear = np.zeros((ndim, ndim))
            for k in range(ndim):
                linear[k, axes[k]] = signs[k]
            offset = [0 if s > 0 else n - 1 for s, n in zip(signs, shape, strict=True)]
            found = maps.signed_permutation(maps.homogeneous(linear, np.array(offset)))
            assert found == (list(axes), list(signs), offset)
            out_shape = [shape[axes.index(a)] for a in range(ndim)]
            index = np.indices(out_shape).reshape(ndim, -1)
            at = linear.astype(int) @ index + np.array(offset)[:, None]
            want = np.flip(src, [k for k in range(ndim) if signs[k] < 0])
            want = want.transpose(np.argsort(axes))
            np.testing.assert_array_equal(src[tuple(at)].reshape(out_shape), want)


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, 0.5], [0, 1, 0], [0, 0, 1]],
        [[1, 0.1, 0], [0, 1, 0], [0, 0, 1]],
        [[1, 0, 0], [1, 0, 0], [0, 0, 1]],
        [[2, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 1, 0], [0.1, 0, 1]],
    ],
)
def test_other_maps_are_no_signed_permutation(matrix):
    assert maps.signed_permutation(np.array(matrix, float)) is None


@few
@given(spatial_maps(), st.integers(0, 3))
def test_input_box_holds_all_that_is_needed(spatial, margin):
    ndim = len(spatial.out_shape)
    shape = tuple(n + 4 for n in spatial.out_shape)
    box = maps.input_box(spatial, shape, margin)
    index = np.indices(spatial.out_shape).reshape(ndim, -1).T.astype(float)
    p = spatial(index)
    for k, (start, stop) in enumerate(box):
        assert 0 <= start < stop <= shape[k]
        taps = np.concatenate([np.floor(p[:, k]) - margin, np.floor(p[:, k]) + margin + 1])
        taps = taps[(taps >= 0) & (taps < shape[k])]
        assert taps.size == 0 or (start <= taps.min() and taps.max() < stop)


def test_input_box_of_a_patch_is_small():
    patch = SpatialMap((4, 5), (Affine(maps.homogeneous(np.eye(2), np.array([20.0, 30.0]))),))
    assert maps.input_box(patch, (100, 200), 1) == ((18, 26), (28, 37))


@pytest.mark.parametrize(
    ("norm", "parts"), [(0.4, 1), (1.0, 1), (1.5, 1), (1.51, 2), (2.0, 2), (2.01, 3), (4.0, 4)]
)
def test_shrink_factors(norm, parts):
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    linear = turn @ np.diag([norm, 1.0])
    assert maps.shrink_factors(SpatialMap((4, 5), (Affine(maps.homogeneous(linear)),))) == (
        parts,
        1,
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_smallest_jacobian(ndim):
    assert maps.smallest_jacobian(maps.identity(SHAPES[ndim])) == 1
    spacing = np.array([4.0, 5.0, 6.0])[:ndim]
    index = np.indices((7,) * ndim)[0]
    for slope in (0.5, -0.75, -1.25):  # x → x + slope · x: the spline gives a ramp back as it is
        controls = np.zeros((ndim, *(7,) * ndim), np.float32)
        controls[0] = slope * spacing[0] * (index - 1)
        part = Displacement(controls, np.zeros(ndim), spacing)
        found = maps.smallest_jacobian(SpatialMap(SHAPES[ndim], (part,)))
        np.testing.assert_allclose(found, min(1 + slope, 1), atol=1e-5)
