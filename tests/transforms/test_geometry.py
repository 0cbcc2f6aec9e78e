"""Symmetries, exchanged axes, resized boxes, distorted grids, perspective, motion, foreground."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

import medsataug as msa
from medsataug import maps
from medsataug.draws import Draws
from medsataug.grid import Grid
from medsataug.maps import Displacement
from medsataug.plan import Plan
from medsataug.transforms.base import State
from medsataug.types import Sample
from tests import naive, phantoms

ELEMENTS = {  # in a plane (y, x), x the first axis
    "e": lambda a: a,
    "r90": lambda a: np.rot90(a, 1, (-1, -2)),
    "r180": lambda a: np.rot90(a, 2, (-1, -2)),
    "r270": lambda a: np.rot90(a, 3, (-1, -2)),
    "h": lambda a: np.flip(a, -1),
    "v": lambda a: np.flip(a, -2),
    "t": lambda a: np.swapaxes(a, -1, -2),
    "hvt": lambda a: np.flip(np.swapaxes(a, -1, -2), (-1, -2)),
}
LANDMARKS = np.array([[3.0, 5, 4], [8, 12, 2], [5, 9, 9], [10, 3, 6]])


def cube(shape=(9, 9, 9), **given) -> Sample:
    return Sample(
        image=phantoms.image(3, "uint16", shape=shape), label=phantoms.label(3, shape=shape),
        axes="CZYX", spacing=(1, 1, 1), id="cube", **given,
    )  # fmt: skip


def displaced(plan: Plan) -> np.ndarray:
    """(N, …) source position minus output index of every voxel."""
    at = phantoms.index(plan.grid.shape)
    return (plan.source_positions(at) - at).T.reshape(-1, *plan.grid.shape)


def against_naive(plan: Plan, sample: Sample, *, positions=None, step: int = 7) -> None:
    """Image and label voxel by voxel from the plan's (or given) source positions."""
    out = plan(sample)
    at = phantoms.index(out.grid.shape)[::step]
    source = plan.source_positions(at) if positions is None else positions(at)
    source = np.where(np.isfinite(source), source, -1e6)
    pixels = tuple(at.astype(int).T)
    for c, channel in enumerate(sample.image):
        expected = [naive.linear(channel, p, naive.CONSTANT, 0.0) for p in source]
        np.testing.assert_allclose(out.image[(c, *pixels)], expected, atol=2e-3)
    expected = [naive.ballot(sample.label, [p], naive.CONSTANT, 0) for p in source]
    for got, votes in zip(out.label[pixels], expected, strict=True):
        assert votes.get(int(got), 0) > max(votes.values()) - 1e-4  # a tie in all but rounding
    assert set(np.unique(out.label)) <= set(np.unique(sample.label)) | {0}


def in_the_world(plan: Plan, sample: Sample) -> None:
    """``exact``: landmarks keep their world coordinates."""
    out = plan(sample.replace(points=LANDMARKS[:, -sample.ndim :]))
    assert out.grid.shape == out.image.shape[1:]
    np.testing.assert_allclose(
        out.grid.world_of(out.points), sample.grid.world_of(LANDMARKS[:, -sample.ndim :]), atol=1e-6
    )


# ------------------------------------------------------------------ D4, Transpose


@pytest.mark.parametrize("element", ELEMENTS)
def test_d4_moves_voxels_as_numpy_does(element):
    for ndim in (2, 3):
        sample = phantoms.sample(ndim, "uint16", "uint16")
        pipeline = msa.Pipeline([msa.D4(elements=[element])], geometry="exact")
        out = pipeline(sample, seed=1)
        np.testing.assert_array_equal(out.image, ELEMENTS[element](sample.image))
        np.testing.assert_array_equal(out.label, ELEMENTS[element](sample.label))
        in_the_world(pipeline.plan(sample, 1), sample)


def test_d4_in_other_planes_and_its_turns_are_rot90():
    sample = phantoms.sample(3, "uint16")
    for plane, (turns, element) in itertools.product(
        ("xy", "xz", "yz"), enumerate(("e", "r90", "r180", "r270"))
    ):
        got, expected = (
            msa.Pipeline([t], geometry="exact")(sample, seed=1)
            for t in (msa.D4(elements=[element], plane=plane),
                      msa.Rot90(turns=[turns], plane=plane))
        )  # fmt: skip
        np.testing.assert_array_equal(got.image, expected.image)
        np.testing.assert_array_equal(got.grid.affine, expected.grid.affine)


def test_d4_draws_all_eight_alike_and_refuses_to_deform():
    plans = [msa.Pipeline([msa.D4()]).plan(phantoms.sample(2), 1, i) for i in range(800)]
    drawn = [dict(p.drawn).get("D4", {"element": "e"})["element"] for p in plans]
    counts = np.array([drawn.count(e) for e in ELEMENTS])
    assert counts.sum() == 800
    assert np.all(np.abs(counts - 100) < 4 * np.sqrt(100))
    for seed in range(4):  # whatever is drawn
        with pytest.raises(msa.GeometryError, match="would deform anatomy"):
            msa.D4()(phantoms.sample(3), seed=seed)
    msa.D4(elements=["e", "r180", "h", "v"])(phantoms.sample(3), seed=1)
    with pytest.raises(msa.ConfigError, match="empty list"):
        msa.D4(elements=[])(phantoms.sample(2), seed=1)


def test_transpose_draws_every_other_order_of_equal_axes():
    sample = cube()
    orders = [o for o in itertools.permutations(range(3)) if o != (0, 1, 2)]
    seen = []
    for i in range(300):
        plan = msa.Pipeline([msa.Transpose()]).plan(sample, 1, i)
        order = tuple("zyx".index(k) for k in dict(plan.drawn)["Transpose"]["order"].split())
        seen.append(order)
        if i < 12:
            out = plan(sample)
            np.testing.assert_array_equal(
                out.image, sample.image.transpose(0, *(k + 1 for k in order))
            )
            np.testing.assert_array_equal(out.label, sample.label.transpose(order))
    counts = np.array([seen.count(o) for o in orders])
    assert counts.sum() == 300
    assert np.all(np.abs(counts - 60) < 4 * np.sqrt(60))


def test_transpose_takes_only_axes_that_fit():
    sample = cube((9, 12, 9))
    out = msa.Transpose()(sample, seed=1)
    np.testing.assert_array_equal(out.image, sample.image.transpose(0, 3, 2, 1))
    out = msa.Transpose(axes=("y", "x"), unequal=True)(sample, seed=1)
    np.testing.assert_array_equal(out.image, sample.image.transpose(0, 1, 3, 2))
    assert out.grid.shape == (9, 9, 12)
    with pytest.raises(msa.GeometryError, match="no two axes"):
        msa.Transpose(axes=("y", "x"))(sample, seed=1)
    with pytest.raises(msa.GeometryError, match="no two axes"):  # voxels are oblong
        msa.Transpose(unequal=True)(phantoms.sample(3), seed=1)
    with pytest.raises(msa.GeometryError, match="twice"):
        msa.Transpose(axes=("x", -1))(sample, seed=1)
    oblong = phantoms.sample(3)
    for seed in range(6):
        pipeline = msa.Pipeline([msa.Transpose(unequal=True)], geometry="exact")
        in_the_world(pipeline.plan(oblong, seed), oblong)


# ------------------------------------------------------------------ Scale, Flip


def test_scale_each_axis_by_its_own_factor():
    sample = phantoms.sample(3)
    plan = msa.Pipeline([msa.Scale(factor={"z": 1.3, "y": 0.8, "x": 1.1})]).plan(sample, 1)
    middle = (np.array(phantoms.SHAPES[3]) - 1) / 2
    against_naive(
        plan, sample, positions=lambda at: middle + (at - middle) / np.array([1.3, 0.8, 1.1])
    )
    many = msa.Pipeline([msa.Scale(factor=(0.5, 2), isotropic=False)])
    drawn = [1 / np.diag(many.plan(sample, 1, i).segments[0].spatial.matrix)[:3] for i in range(80)]
    assert np.all((np.min(drawn, axis=0) < 0.7) & (np.max(drawn, axis=0) > 1.8))
    apart = np.corrcoef(np.transpose(drawn))[np.triu_indices(3, 1)]
    assert np.abs(apart).max() < 4 / np.sqrt(80)


@pytest.mark.parametrize("letters", list(itertools.permutations((0, 1, 2))))
def test_flip_swaps_sides_on_whatever_axis_they_lie(letters):
    """However the volume is stored, only the mirror of left and right swaps paired labels."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(letters)] * (3, 1, 1.5)
    shape = phantoms.SHAPES[3]
    sample = phantoms.sample(3, grid=Grid(shape, affine, "RAS+ mm", (1e-3,) * 3))
    sides = letters.index(0)
    table = np.array([0, 4, 2, 3, 1], np.uint8)
    for axis in range(3):
        out = msa.Flip(axes=axis, p=1, swap={1: 4})(sample, seed=1)
        expected = table[sample.label] if axis == sides else sample.label
        np.testing.assert_array_equal(out.label, np.flip(expected, axis))
        np.testing.assert_array_equal(out.image, np.flip(sample.image, axis + 1))
    out = msa.Flip(axes="left-right", p=1, swap={1: 4})(sample, seed=1)
    np.testing.assert_array_equal(out.label, np.flip(table[sample.label], sides))


# ------------------------------------------------------------------ RandomResizedCrop


@pytest.mark.parametrize(
    ("shape", "size"), [((40, 60), (24, 24)), ((40, 60), (20, 33)), ((20, 40, 30), (12, 20, 25))]
)
def test_random_resized_crop_draws_share_and_aspect(shape, size):
    n = len(shape)
    sample = Sample(image=np.zeros(shape, np.float32), axes="ZYX"[-n:], id="blank")
    transform = msa.RandomResizedCrop(size=size, area=(0.1, 0.4))
    shares, aspects, starts = [], [], []
    for i in range(300):
        plan = msa.Pipeline([transform], geometry="exact").plan(sample, 1, i)
        matrix = plan.segments[0].spatial.matrix
        step = np.diag(matrix)[:n]
        box = step * size
        edge = matrix[:n, n] + 0.5 - step / 2
        assert np.all(edge >= -1e-9)
        assert np.all(edge + box <= np.array(shape) + 1e-6)
        shares.append(box.prod() / np.prod(shape))
        aspects.append(np.log(step[-1] / step[-2]))
        starts.append(edge / (np.array(shape) - box))
        assert plan.grid.shape == size
    np.testing.assert_allclose([min(shares), max(shares)], [0.1, 0.4], atol=0.02)
    assert abs(np.mean(shares) - 0.25) < 4 * 0.3 / np.sqrt(12 * 300)
    # Log-uniform between 3/4 and 4/3.
    most = np.log(4 / 3)
    assert np.abs(aspects).max() <= most + 1e-9
    assert abs(np.mean(np.square(aspects)) - most**2 / 3) < 0.005
    np.testing.assert_allclose(np.mean(starts, axis=0), 0.5, atol=4 / np.sqrt(12 * 300))


def test_random_resized_crop_that_never_fits_is_the_largest_in_the_middle_range():
    """As torchvision's last resort: the frame's own proportions, held within the range."""
    sample = Sample(image=np.zeros((20, 100), np.float32), axes="YX", id="blank")
    plan = msa.Pipeline([msa.RandomResizedCrop(size=16, area=1, aspect=(0.75, 4 / 3))]).plan(
        sample, 1
    )
    step = np.diag(plan.segments[0].spatial.matrix)[:2]
    np.testing.assert_allclose(step * 16, [20, 20 * 4 / 3])
    whole = msa.RandomResizedCrop(size=(20, 100), area=1, aspect=1)
    np.testing.assert_array_equal(whole(sample, seed=1).image, sample.image)
    with pytest.raises(msa.ConfigError, match="at most 1"):
        msa.RandomResizedCrop(size=8, area=(0.5, 2))(sample, seed=1)


def test_random_resized_crop_is_one_map_and_changes_the_grid():
    sample = phantoms.sample(3)
    transform = msa.RandomResizedCrop(size=(10, 12, 11), area=(0.3, 0.5))
    for geometry in ("moved", "exact"):
        plan = msa.Pipeline([transform], geometry=geometry, antialias=False).plan(sample, 4)
        assert len(plan.segments) == 1
        in_the_world(plan, sample)
    against_naive(plan, sample)


# ------------------------------------------------------------------ GridDistortion


@pytest.mark.parametrize(("shape", "cells"), [((40, 55), 5), ((30, 24, 41), (3, 4, 6))])
def test_grid_distortion_puts_lines_where_they_are_drawn(shape, cells):
    """Cells of 1 ± strength, brought to the frame's length as Albumentations normalises them."""
    n = len(shape)
    sample = Sample(image=np.zeros(shape, np.float32), axes="ZYX"[-n:], id="blank")
    counts = (cells,) * n if isinstance(cells, int) else cells
    for seed in range(12):
        plan = msa.Pipeline([msa.GridDistortion(cells=cells, strength=0.33)]).plan(sample, seed)
        (part,) = plan.segments[0].spatial.parts
        for k, count in enumerate(counts):
            lines = np.full((count + 1, n), 7.3)
            lines[:, k] = np.linspace(-0.5, shape[k] - 0.5, count + 1)
            widths = np.diff(part(lines)[:, k]) / (shape[k] / count)
            np.testing.assert_allclose(widths.sum(), count, atol=1e-5)
            scale = widths / widths.mean()
            assert scale.max() / scale.min() <= (1.33 / 0.67) * (1 + 1e-5)
            assert np.ptp(scale) > 0.05
            ends = part(lines[[0, -1]])[:, k]
            np.testing.assert_allclose(ends, [-0.5, shape[k] - 0.5], atol=1e-5)
        assert plan.smallest_jacobian > 0


def test_grid_distortion_cannot_fold_in_the_worst_case():
    from medsataug.transforms.grid_distortion import _controls

    for count in range(2, 40):
        for sign in (1, -1):
            widths = 1 + 0.33 * sign * (-1.0) ** np.arange(count)
            controls = _controls(widths)
            wide = np.zeros((2, count + 3, 4), np.float32)
            wide[0] = controls[:, None]
            part = Displacement(wide, np.zeros(2), np.ones(2))
            along = np.zeros((40 * count + 1, 2))
            along[:, 0] = np.arange(40 * count + 1) / 40
            assert np.diff(part(along)[:, 0]).min() > 0


def test_grid_distortion_keeps_lines_straight_and_slices_in_place():
    sample = phantoms.sample(3)
    plan = msa.Pipeline([msa.GridDistortion(cells=4, strength=0.3, axes="yx")]).plan(sample, 3)
    shift = displaced(plan)
    assert not shift[0].any()
    assert np.abs(shift[1:]).max() > 0.3
    for k in (1, 2):
        other = tuple(a for a in range(3) if a != k)
        assert np.ptp(shift[k], axis=other).max() < 1e-12
    against_naive(plan, sample)
    with pytest.raises(msa.ConfigError, match=r"at most 0\.33"):
        msa.GridDistortion(strength=0.5)


# ------------------------------------------------------------------ Perspective


def test_perspective_takes_corners_where_they_are_drawn():
    sample = phantoms.sample(2)
    shape = np.array(phantoms.SHAPES[2], dtype=float)
    ends = np.array([[-0.5, -0.5], [-0.5, shape[1] - 0.5], shape - 0.5, [shape[0] - 0.5, -0.5]])
    draws = Draws(1, "a", 0, "T")
    (step,) = msa.Perspective(corners=0.2).sample(draws, State.of(sample, "exact", 0.0))
    again = Draws(1, "a", 0, "T")
    again.uniform()
    away = np.array([0.2 * (2 * again.uniform() - 1) for _ in range(8)]).reshape(4, 2) * shape
    np.testing.assert_allclose(step(ends) - ends, away, atol=1e-6)


def test_perspective_against_naive_and_its_horizon_never_in_view():
    sample = phantoms.sample(2, label=phantoms.label(2))
    for seed in range(200):
        pipeline = msa.Pipeline([msa.Perspective(corners=0.24)], fill=0, label_fill=0)
        plan = pipeline.plan(sample, seed)
        matrix = plan.segments[0].spatial.matrix
        shape = phantoms.SHAPES[2]
        corners = np.array(list(itertools.product(*[(-0.5, n - 0.5) for n in shape])))
        assert (np.c_[corners, np.ones(4)] @ matrix[2]).min() > 0
        assert np.linalg.det(matrix) > 0
        if seed < 3:
            assert matrix[2, :2].any()

            def through(at, matrix=matrix):
                q = np.c_[at, np.ones(len(at))] @ matrix.T
                return q[:, :2] / q[:, 2:]

            against_naive(plan, sample, positions=through, step=1)
            expected = ndimage.map_coordinates(
                np.pad(sample.image[0], 2), through(phantoms.index(shape)).T + 2, order=1
            )
            np.testing.assert_allclose(plan(sample).image[0].ravel(), expected, atol=2e-3)


def test_nothing_shows_from_behind_the_horizon():
    """What a wide pad takes in beyond the horizon is fill, and points there are lost."""
    sample = phantoms.sample(2)
    chain = [msa.Affine(matrix=[[1, 0, 0], [0, 1, 0], [0.04, 0.02, 1]]), msa.Pad(margin=60)]
    pipeline = msa.Pipeline(chain, fill=-1, label_fill=9)
    plan = pipeline.plan(sample, 1)
    matrix = plan.segments[0].spatial.matrix
    at = phantoms.index(plan.grid.shape)
    behind = (np.c_[at, np.ones(len(at))] @ matrix[2] <= 0).reshape(plan.grid.shape)
    assert 0.1 < behind.mean() < 0.9
    out = plan(sample)
    assert np.all(out.image[:, behind] == -1)
    assert np.all(out.label[behind] == 9)
    assert np.all(np.isnan(plan.source_positions(at)[behind.ravel()]))
    # Shrinking is measured at the centre; across a horizon nothing is averaged.
    halves = maps.Affine(np.diag([6.0, 6, 3]))
    near = maps.Affine(np.array([[2.0, 0, 0], [0, 2, 0], [0.02, 0, 0.8]]))
    assert maps.shrink_factors(maps.SpatialMap((21, 21), (halves,))) == (2, 2)
    assert maps.shrink_factors(maps.SpatialMap((21, 21), (near,))) == (2, 2)
    assert maps.shrink_factors(plan.segments[0].spatial) == (1, 1)
    # A matrix is the same map whatever it is multiplied by.
    twin = msa.Affine(matrix=(-3 * np.array(chain[0].matrix)).tolist())
    np.testing.assert_allclose(
        msa.Pipeline([twin])(sample, seed=1).image, msa.Pipeline(chain[:1])(sample, seed=1).image,
        rtol=1e-5,
    )  # fmt: skip


def test_perspective_is_recorded_as_what_no_affine_describes():
    points = LANDMARKS[:, 1:]
    sample = phantoms.sample(2, points=points)
    chain = [msa.Perspective(corners=0.2), msa.Crop(size=(12, 9), start=(3, 1)), msa.D4()]
    plan = msa.Pipeline(chain).plan(sample, 5)
    assert plan.geometry == "exact"
    assert plan.elastic
    assert np.array_equal(plan.grid.affine[2], [0, 0, 1])
    out = plan(sample)
    record = out.record["geometry"]
    assert record["elastic"]
    # The record's matrix is the whole truth …
    exact = np.array(record["exact_affine"])
    assert exact[2, :2].any()
    q = np.c_[out.points, np.ones(len(points))] @ exact.T
    np.testing.assert_allclose(q[:, :2] / q[:, 2:], sample.grid.world_of(points), atol=1e-6)
    # … and so are the control points; the grid's affine touches it at the centre.
    row, column, x, y = np.array(out.meta["gcps"]).T
    at = np.stack([row, column], 1) - 0.5
    expected = sample.grid.world_of(plan.source_positions(at))
    np.testing.assert_allclose(np.stack([x, y], 1), expected, atol=1e-6)
    alone = msa.Pipeline(chain[:1]).plan(sample, 5)
    middle = (np.array(alone.grid.shape) - 1)[None] / 2
    for near in (middle, middle + 1e-4 * np.eye(2)):
        np.testing.assert_allclose(
            alone.grid.world_of(near), sample.grid.world_of(alone.source_positions(near)), atol=1e-6
        )
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()
    still = msa.Pipeline(chain[:1], geometry="moved").plan(sample, 5)
    np.testing.assert_array_equal(still.grid.affine, sample.grid.affine)
    with pytest.raises(msa.ConfigError, match="2D"):
        msa.Perspective()(phantoms.sample(3), seed=1)


# ------------------------------------------------------------------ SliceMotion


@pytest.mark.parametrize("axis", ["z", "y", "x"])
def test_slice_motion_is_a_shift_of_every_slice(axis):
    """Against SciPy's shift, slice by slice: exact, and nothing of another slice."""
    sample = phantoms.sample(3)
    k = "zyx".index(axis)
    plan = msa.Pipeline([msa.SliceMotion(shift=3, axis=axis)]).plan(sample, 2)
    out, shift = plan(sample), displaced(plan)
    assert not shift[k].any()
    wild = []
    for i in range(phantoms.SHAPES[3][k]):
        own = np.take(shift, i, axis=k + 1)
        flat = own.reshape(3, -1)
        assert np.ptp(flat, axis=1).max() < 1e-12
        offset = -np.delete(flat[:, 0], k)
        wild.append(offset)
        for c in range(3):
            source = np.pad(np.take(sample.image[c], i, axis=k), 5)
            expected = ndimage.shift(source, offset, order=1)[5:-5, 5:-5]
            np.testing.assert_allclose(np.take(out.image[c], i, axis=k), expected, atol=1e-3)
        label = np.take(sample.label, i, axis=k)
        classes = np.unique(sample.label)
        weights = [
            ndimage.shift(np.pad((label == v).astype(float), 5, constant_values=v == 0), offset,
                          order=1, mode="nearest")[5:-5, 5:-5]
            for v in classes
        ]  # fmt: skip
        top = np.sort(weights, axis=0)
        clear = top[-1] - top[-2] > 1e-4
        expected = classes[np.argmax(weights, axis=0)]
        np.testing.assert_array_equal(np.take(out.label, i, axis=k)[clear], expected[clear])
    assert np.abs(np.diff(wild, axis=0)).max() > 2  # neighbours really are apart


def test_slice_motion_shifts_are_those_drawn():
    """In passes, in millimetres, by chance of their own."""
    sample = phantoms.sample(3)
    plan = msa.Pipeline([msa.SliceMotion(shift={"y": "3mm"}, passes=2)]).plan(sample, 1)
    shift = displaced(plan)[:, :, 0, 0]
    np.testing.assert_allclose(shift[:, ::2], np.repeat(shift[:, :1], 7, axis=1), atol=1e-6)
    np.testing.assert_allclose(shift[:, 1::2], np.repeat(shift[:, 1:2], 6, axis=1), atol=1e-6)
    assert abs(shift[1, 0] - shift[1, 1]) > 0.1
    assert not shift[[0, 2]].any()
    many = [displaced(msa.Pipeline([msa.SliceMotion(shift="3mm", share=0.4)]).plan(sample, 1, i))
            [:, :, 0, 0] for i in range(60)]  # fmt: skip
    shifts = np.stack(many)[:, 1:].transpose(1, 0, 2).reshape(2, -1)  # (y, x), all slices
    moved = np.abs(shifts) > 1e-5
    assert abs(moved[0].mean() - 0.4) < 4 * np.sqrt(0.24 / moved[0].size)
    np.testing.assert_array_equal(moved[0], moved[1])
    most = np.abs(shifts).max(axis=1)
    assert np.all((most <= [3 + 1e-5, 2 + 1e-5]) & (most > [2.9, 1.9]))  # voxels of 1 and 1.5 mm
    with pytest.raises(msa.ConfigError, match="y and x"):
        msa.SliceMotion(shift={"z": 1})
    with pytest.raises(msa.ConfigError, match="volumes"):
        msa.SliceMotion()(phantoms.sample(2), seed=1)
    one = phantoms.sample(2)
    thin = Sample(image=one.image[:, None], axes="CZYX", spacing=(1, 1, 1), id="thin")
    assert msa.SliceMotion(shift=2)(thin, seed=1).image.shape == thin.image.shape


def test_slice_motion_stays_exact_behind_a_rotation_and_before_a_mirror():
    """Content turned first and then acquired: the turned volume, shifted slice by slice."""
    sample = phantoms.sample(3, image=phantoms.ramp(3), channels=("ramp",))
    chain = [msa.Rotate(degrees=(9, 12)), msa.SliceMotion(shift=2), msa.Flip(axes=("z", "x"), p=1)]
    plan = msa.Pipeline(chain).plan(sample, 3)
    assert len(plan.segments) == 1
    at = phantoms.index(phantoms.SHAPES[3])
    turned = msa.Pipeline(chain[:1]).plan(sample, 3)
    motion = msa.Pipeline(chain[1:2]).plan(sample, 3)
    mirrored = at.copy()
    mirrored[:, [0, 2]] = np.array(phantoms.SHAPES[3])[[0, 2]] - 1 - mirrored[:, [0, 2]]
    shifts = displaced(motion)[:, :, 0, 0].T[mirrored[:, 0].astype(int)]
    np.testing.assert_allclose(
        plan.source_positions(at), turned.source_positions(mirrored + shifts), atol=1e-5
    )


# ------------------------------------------------------------------ CropForeground


def box_of(mask: np.ndarray) -> tuple[slice, ...]:
    """Slices around what is True."""
    return ndimage.find_objects(mask.astype(int))[0]


def test_crop_foreground_is_the_box_of_the_classes():
    sample = phantoms.sample(3, "int16", "int16")
    for classes, mask in (
        (None, sample.label != 0), ((-3,), sample.label == -3), ((900,), sample.label == 900),
    ):  # fmt: skip
        out = msa.CropForeground(classes=classes)(sample, seed=1)
        box = box_of(mask)
        np.testing.assert_array_equal(out.image, sample.image[(slice(None), *box)])
        np.testing.assert_array_equal(out.label, sample.label[box])
        first = np.array([[float(s.start) for s in box]])
        np.testing.assert_allclose(
            out.grid.world_of(np.zeros((1, 3))), sample.grid.world_of(first), atol=1e-9
        )
    out = msa.CropForeground(margin={"z": 1, "x": "1.6mm"}, classes=(-3,))(sample, seed=1)
    z, y, x = box_of(sample.label == -3)
    expected = sample.label[z.start - 1 : z.stop + 1, y, max(x.start - 2, 0) : x.stop + 2]
    np.testing.assert_array_equal(out.label, expected)
    assert msa.CropForeground(margin=99)(sample, seed=1).grid.shape == sample.grid.shape


def test_crop_foreground_by_image_layers_and_nothing():
    shape = phantoms.SHAPES[3]
    image, valid = np.zeros((2, *shape), np.float32), np.ones((2, *shape), bool)
    image[0, 4, 5, 6], image[1, 9, 3, 2], image[0, 12, 16, 10] = 1, -2, np.nan
    image[1, 0, 0, 0], valid[1, 0, 0, 0] = 5, False
    sample = Sample(image=image, valid=valid, axes="CZYX", spacing=(1, 1, 1), id="spots")
    out = msa.CropForeground(by="image")(sample, seed=1)
    np.testing.assert_array_equal(out.image, image[:, 4:10, 3:6, 2:7])
    with pytest.raises(msa.ConfigError, match="there is no label"):
        msa.CropForeground()(sample, seed=1)
    assert msa.CropForeground(empty="keep")(sample, seed=1).grid.shape == shape
    layers = np.zeros((2, *shape), np.uint8)
    layers[0, 3:5, 3:6, 2], layers[1, 7:9, 4, 5:7] = 1, 1
    sample = phantoms.sample(3, label=layers)
    assert msa.CropForeground()(sample, seed=1).grid.shape == (6, 3, 5)
    assert msa.CropForeground(layer=1)(sample, seed=1).grid.shape == (2, 1, 2)
    with pytest.raises(msa.ConfigError, match="layers 0 to 1"):
        msa.CropForeground(layer=2)(sample, seed=1)
    with pytest.raises(msa.ConfigError, match="no voxel is labelled as 3"):
        msa.CropForeground(classes=(3,))(sample, seed=1)
    scene = phantoms.sample(2)  # 255 is the value of what is not known
    scene.label[0, 0] = 255
    assert msa.CropForeground()(scene, seed=1).grid.shape == msa.CropForeground(classes=(1, 4))(
        phantoms.sample(2), seed=1
    ).grid.shape  # fmt: skip


def test_crop_foreground_follows_what_came_before():
    """Exactly for mirrors, turns and crops; else nothing labelled is cut away."""
    sample = phantoms.sample(3)
    exact = [msa.Flip(axes=("x",), p=1), msa.Crop(size=(11, 15, 10), start=(1, 1, 0)),
             msa.D4(elements=["r90"])]  # fmt: skip
    before = msa.Pipeline(exact, geometry="exact")(sample, seed=1)
    out = msa.Pipeline([*exact, msa.CropForeground()], geometry="exact")(sample, seed=1)
    np.testing.assert_array_equal(
        out.image, before.image[(slice(None), *box_of(before.label != 0))]
    )
    bent = [msa.Rotate(degrees=(-20, 20)), msa.Elastic(spacing=6, magnitude=1), msa.Scale()]
    for seed in range(12):
        whole = msa.Pipeline(bent)(sample, seed=seed)
        part = msa.Pipeline([*bent, msa.CropForeground()])(sample, seed=seed)
        for value in (1, 4):
            assert (part.label == value).sum() == (whole.label == value).sum()
        assert part.label.size < whole.label.size


def test_boxes_of_lazy_rasters_are_found_in_strips(monkeypatch):
    from medsataug import facts

    class Lazy:
        def __init__(self, array, valid=None):
            self.array, self.valid, self.reads = array, valid, 0
            self.shape, self.dtype = array.shape, array.dtype

        def read(self, window):
            self.reads += 1
            return self.array[(slice(None), *window)]

        def read_valid(self, window):
            return None if self.valid is None else self.valid[(slice(None), *window)]

    image = np.zeros((2, 40, 30), np.uint16)
    image[0, 7, 3], image[1, 31, 20], image[0, 39, 29] = 5, 6, 7
    valid = np.ones((1, 40, 30), bool)
    valid[0, 39, 29] = False
    label = np.zeros((1, 40, 30), np.uint8)
    label[0, 11:33, 8:9] = 2
    monkeypatch.setattr(facts, "BLOCK", 12)  # strips of 6 rows
    grid = phantoms.grid(2, (40, 30))
    source = Lazy(image, valid)
    sample = Sample(image=source, label=Lazy(label), grid=grid, id="lazy")
    np.testing.assert_array_equal(sample.facts.nonzero_box, [[7, 32], [3, 21]])
    assert source.reads == 7
    np.testing.assert_array_equal(sample.facts.box((2, 3)), [[11, 33], [8, 9]])
    assert sample.facts.box((3,)) is None
    out = msa.CropForeground()(sample, seed=1)
    np.testing.assert_array_equal(out.image, image[:, 11:33, 8:9])


def test_a_followed_box_holds_what_maps_make_of_its_content():
    """Part after part in the order of the data: a shift of 3 in a magnified frame, then halving."""
    from medsataug.transforms.crop_foreground import followed

    controls = np.broadcast_to(np.array([3.0, -2, 1])[:, None, None, None], (3, 4, 4, 4))
    shift = Displacement(controls.astype(np.float32), np.full(3, -0.5), np.full(3, 40.0))
    parts = (shift, maps.Affine(maps.homogeneous(np.diag([2.0, 2, 2]), 1.0)))
    path = [maps.SpatialMap((40, 40, 40), parts)]
    low, high = np.array([10.0, 12, 20]), np.array([18.0, 14, 31])
    edges = followed(path, low, high)
    inside = np.array(list(itertools.product(*zip(low, high, strict=True))))
    reached = path[0].inverse_points(inside)
    assert np.all((reached >= edges[0] - 1e-6) & (reached <= edges[1] + 1e-6))
    np.testing.assert_allclose(edges[1] - edges[0], (high - low) / 2 + [6, 4, 2])
