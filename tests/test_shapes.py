"""Points, boxes and polygons against dense masks that went through the same plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from skimage.draw import polygon2mask

import medsataug as msa
from medsataug import shapes, transforms
from medsataug.errors import ConfigError, MedSatAugError
from medsataug.maps import Affine, SpatialMap
from medsataug.plan import Segment
from tests.harness import full, moves, pipeline

SIZES = {2: (60, 84), 3: (24, 36, 42)}
#: These choose among others, which are tested by themselves.
CHOOSERS = ("one_of", "some_of", "schedule", "rand_augment", "trivial_augment")
#: Of what a folding field does a point knows one place only.
FOLDING = ("simard_elastic",)
NAMES = [n for n in transforms.builtin_names() if n not in CHOOSERS + FOLDING]


def case(ndim, label, shape=None, **more):
    shape = SIZES[ndim] if shape is None else shape
    image = np.random.default_rng(0).normal(100, 20, (1, *shape)).astype(np.float32)
    spacing = (1.0,) * ndim
    return msa.Sample(image=image, label=label, axes="CZYX"[:1] + "ZYX"[-ndim:], spacing=spacing,
                      id="a", **more)  # fmt: skip


def plans(ndim, given):
    """Plan of every transform that moves the whole image, at full strength."""
    for name in NAMES:
        kind = transforms.find(name)
        if ndim not in kind.cases.ndims:
            continue
        try:
            plan = pipeline(full(kind), label_interpolation="vote").plan(given, seed=4)
        except MedSatAugError:
            continue
        if moves(plan):
            yield name, plan


def blobs(ndim):
    """Label of small solid balls, and their centres: what a point's neighbourhood becomes."""
    centres = np.array([[0.3, 0.35, 0.4], [0.6, 0.5, 0.65], [0.45, 0.7, 0.3]])[:, -ndim:]
    centres = np.round(centres * SIZES[ndim])
    label, grid = np.zeros(SIZES[ndim], np.uint8), np.indices(SIZES[ndim])
    for value, centre in enumerate(centres, start=1):
        away = grid - centre.reshape(-1, *[1] * ndim)
        label[(away**2).sum(axis=0) <= 3.2**2] = value
    return label, centres


@pytest.mark.parametrize("ndim", [2, 3])
def test_points_are_where_their_voxels_went(ndim):
    label, centres = blobs(ndim)
    given = case(ndim, label, points=centres)
    seen = set()
    for name, plan in plans(ndim, given):
        out = plan(given)
        there = shapes.visible(out).points
        for value, (place, inside) in enumerate(zip(out.points, there, strict=True), start=1):
            margin = np.minimum(place, np.array(out.grid.shape) - 1 - place).min()
            if not inside or margin < 6:
                continue
            assert out.label[tuple(np.round(place).astype(int))] == value, name
            voxels = np.argwhere(out.label == value)
            if name == "slice_motion":  # which pulls a ball apart
                voxels = voxels[voxels[:, 0] == round(place[0])]
            # The middle of a ball that was bent is not its centre.
            tolerance = 0.75 if plan.elastic else 0.5
            assert np.abs(voxels.mean(axis=0) - place).max() < tolerance, name
            seen.add(name)
    assert len(seen) >= 10


@pytest.mark.parametrize("ndim", [2, 3])
def test_boxes_are_tight_around_what_they_became(ndim):
    low, high = (np.round(np.array(SIZES[ndim]) * f).astype(int) for f in (0.3, 0.6))
    label = np.zeros(SIZES[ndim], np.uint8)
    label[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = 1
    box = np.stack([low - 0.5, high + 0.5])
    given = case(ndim, label, boxes=box[None])
    seen = set()
    for name, plan in plans(ndim, given):
        out = plan(given)
        got = shapes.clipped(out.boxes, out.grid.shape)[0]
        dense = shapes.boxes_of(out.label, [1])[0]
        if np.isnan(dense).any():
            assert shapes.visible(out).boxes[0] < 0.2, name
            continue
        # A corner that sticks out less than half into a voxel leaves none.
        assert np.all(got[0] <= dense[0] + 0.51), name
        assert np.all(got[1] >= dense[1] - 0.51), name
        # The map itself says the same between the voxels, where no label is: half a voxel apart
        # in volumes, a quarter in images.
        pitch = 0.25 if ndim == 2 else 0.5
        fine = np.stack(
            np.meshgrid(*[np.arange(-0.5, n - 0.4, pitch) for n in out.grid.shape], indexing="ij"),
            axis=-1,
        ).reshape(-1, ndim)
        source = plan.source_positions(fine)
        held = fine[((source >= box[0]) & (source <= box[1])).all(axis=1)]
        assert np.all(got[0] <= held.min(axis=0) + 0.02), name
        assert np.all(got[1] >= held.max(axis=0) - 0.02), name
        if shapes.visible(out).boxes[0] == 1:
            np.testing.assert_allclose(got, [held.min(axis=0), held.max(axis=0)], atol=1,
                                       err_msg=name)  # fmt: skip
            seen.add(name)
    assert len(seen) >= 8


def test_polygons_are_the_masks_that_they_enclose():
    ring = np.array([[24.0, 40.0], [36.0, 122.0], [88.0, 132.0], [98.0, 66.0], [60.0, 80.0]])
    label = polygon2mask((120, 168), ring).astype(np.uint8)
    given = case(2, label, (120, 168), polygons=[ring])
    seen = set()
    for name, plan in plans(2, given):
        out = plan(given)
        new, share = out.polygons[0], shapes.visible(out).polygons[0]
        mask, dense = polygon2mask(out.grid.shape, new), out.label == 1
        if dense.sum() < 1000:
            continue
        assert (mask & dense).sum() / (mask | dense).sum() > 0.95, name
        if dense[1:-1, 1:-1].sum() == dense.sum():
            assert share > 0.99, name
        assert len(new) == len(ring) if plan.straight else len(ring) < len(new) < 300, name
        seen.add(name)
    assert len(seen) >= 10


@pytest.mark.parametrize("ndim", [2, 3])
def test_bent_edges_are_followed(ndim):
    ring = np.array([[5, 12, 20], [9, 30, 34], [18, 27, 8]], float)[:, -ndim:]
    given = case(ndim, None, polygons=[ring])
    plan = msa.Pipeline([msa.Elastic(spacing=14, magnitude=3)]).plan(given, seed=3)
    new = plan(given).polygons[0]
    share = np.linspace(0, 1, 200, endpoint=False)[:, None]
    ends = zip(ring, np.roll(ring, -1, axis=0), strict=True)
    true = plan.output_positions(np.concatenate([a + share * (b - a) for a, b in ends]))
    chord = np.roll(new, -1, axis=0) - new
    rel = true[:, None] - new
    along = np.clip((rel * chord).sum(-1) / (chord**2).sum(-1), 0, 1)[..., None]
    away = np.linalg.norm(rel - along * chord, axis=-1).min(axis=1)
    assert away.max() < shapes.TOLERANCE + 0.02
    for corner in plan.output_positions(ring):
        assert np.abs(new - corner).max(axis=1).min() < 1e-9


def test_bent_boxes_hold_everything_of_theirs():
    given = case(2, None, boxes=[[[9.5, 9.5], [50.5, 70.5]]])
    plan = msa.Pipeline([msa.Elastic(spacing=20, magnitude=6)]).plan(given, seed=3)
    got = plan(given).boxes[0]
    grid = np.stack(np.meshgrid(np.linspace(9.5, 50.5, 160), np.linspace(9.5, 70.5, 240),
                                indexing="ij"), axis=-1).reshape(-1, 2)  # fmt: skip
    there = plan.output_positions(grid)
    np.testing.assert_allclose(got, [there.min(axis=0), there.max(axis=0)], atol=0.02)


def test_what_leaves_is_flagged_and_kept_in_its_place():
    given = case(
        2,
        None,
        points=[[5, 5], [30, 40], [59.4, 83.4]],
        boxes=[[[0.5, 0.5], [10.5, 20.5]], [[20.5, 30.5], [40.5, 50.5]], [[50, 60], [59, 80]]],
        polygons=[[[0, 0], [0, 19], [9, 19], [9, 0]], [[25, 35], [25, 45], [35, 45], [35, 35]]],
    )
    out = msa.Crop(size=(30, 40), start=(5, 10))(given)
    seen = shapes.visible(out)
    assert seen.points.tolist() == [False, True, False]
    np.testing.assert_array_equal(out.points[0], [0, -5])
    # Rows 4.5 to 10.5 of 0.5 to 10.5, columns 9.5 to 20.5 of 0.5 to 20.5.
    np.testing.assert_allclose(seen.boxes, [6 * 11 / (10 * 20), 14 * 19 / (20 * 20), 0], atol=1e-9)
    np.testing.assert_allclose(seen.polygons, [4.5 * 9.5 / (9 * 19), 0.95], atol=1e-9)
    assert len(out.points) == len(out.boxes) == 3
    np.testing.assert_array_equal(
        shapes.clipped(out.boxes, out.grid.shape)[0], [[-0.5] * 2, [5.5, 10.5]]
    )


def test_arrays_in_another_order_of_axes():
    image = np.zeros((8, 5, 6, 2), np.float32)  # x, z, y, channels
    out = msa.Pipeline([])(
        image=image, axes="XZYC", spacing=(1, 1, 1), points=[[7, 4, 5]], seed=1,
        boxes=[[[0, 1, 2], [3, 4, 5]]], polygons=[[[0, 1, 2], [3, 4, 5]]],
    )  # fmt: skip
    assert out.points.tolist() == [[4, 5, 7]]
    assert out.boxes.tolist() == [[[1, 2, 0], [4, 5, 3]]]
    assert out.polygons[0].tolist() == [[1, 2, 0], [4, 5, 3]]


def test_flips_move_boxes_by_whole_voxels():
    given = case(2, None, boxes=[[[1.5, 2.5], [4.5, 9.5]]])
    out = msa.Pipeline([msa.Flip(axes="x", p=1)])(given, seed=1)
    assert out.boxes.tolist() == [[[1.5, 73.5], [4.5, 80.5]]]


def test_what_has_no_place_is_nan_and_flagged():
    horizon = np.array([[1, 0, 0], [0, 1, 0], [0, -0.02, 1.0]])
    step = SpatialMap(SIZES[2], (Affine(np.linalg.inv(horizon)),))
    bend = msa.Elastic(spacing=20, magnitude=2)
    # Columns from 50 on lie behind it.
    given = case(2, None, points=[[5, 5], [5, 60]], boxes=[[[1, 1], [5, 9]], [[1, 55], [5, 70]]],
                 polygons=[[[1, 55], [5, 70], [9, 55]], [[1, 1], [1, 9], [9, 5]]])  # fmt: skip
    for name, later in {"straight": (), "bent": (bend,)}.items():
        plan = msa.Pipeline(later).plan(given, seed=1)
        bent = [s.spatial for s in plan.segments]
        plan = replace(plan, segments=tuple(Segment(s, ()) for s in (step, *bent)))
        out = plan(given)
        seen = shapes.visible(out)
        assert seen.points.tolist() == [True, False], name
        assert np.isnan(out.points[1]).all()
        assert np.isnan(out.boxes[1]).all()
        assert np.isnan(out.polygons[0]).all()
        np.testing.assert_allclose(seen.boxes, [1, 0], atol=0.05, err_msg=name)
        np.testing.assert_allclose(seen.polygons, [0, 1], atol=0.05, err_msg=name)
        back = plan.source_positions(out.points)
        np.testing.assert_allclose(back, [[5, 5], [np.nan] * 2], atol=1e-3)
        again = msa.Pipeline([bend])(out, seed=2)
        assert np.isnan(again.points[1]).all()
        assert np.isfinite(again.points[0]).all()
        assert np.isnan(again.boxes[1]).all()


def test_in_folds_a_point_has_one_of_its_places_or_none():
    points = np.random.default_rng(1).uniform(0, SIZES[2], (400, 2))
    given = case(2, None, points=points)
    plan = msa.Pipeline([msa.SimardElastic(alpha=120, sigma=4)]).plan(given, seed=1)
    assert plan.smallest_jacobian < -1
    out = plan(given)
    known = np.isfinite(out.points).all(axis=1)
    assert 0.8 < known.mean() < 1
    assert not shapes.visible(out).points[~known].any()
    np.testing.assert_allclose(plan.source_positions(out.points[known]), points[known], atol=1e-3)


def test_one_channel_that_moves_takes_no_shapes_with_it():
    given = case(2, None, points=[[5, 5]], boxes=[[[1, 1], [5, 9]]],
                 polygons=[[[1, 1], [1, 9], [9, 5]]])  # fmt: skip
    shift = Affine(np.array([[1, 0, 3], [0, 1, 2], [0, 0, 1.0]]))
    plan = msa.Pipeline([]).plan(given, seed=1)
    plan = replace(plan, segments=(Segment(SpatialMap(SIZES[2], (shift,), channels=(0,)), ()),))
    out = plan(given)
    assert np.any(out.image != given.image)
    np.testing.assert_array_equal(out.points, given.points)
    np.testing.assert_array_equal(out.boxes, given.boxes)
    np.testing.assert_array_equal(out.polygons[0], given.polygons[0])


def test_boxes_around_polygons_and_labels():
    ring = np.array([[2.5, 3], [9, 4.25], [4, 11]])
    assert shapes.boxes_around([ring, ring * np.nan])[0].tolist() == [[2.5, 3], [9, 11]]
    assert np.isnan(shapes.boxes_around([ring, ring * np.nan])[1]).all()
    label = np.zeros((6, 8, 9), np.uint8)
    label[1:3, 4:8, 0] = 7
    made = shapes.boxes_of(label, [7, 5])
    assert made[0].tolist() == [[0.5, 3.5, -0.5], [2.5, 7.5, 0.5]]
    assert np.isnan(made[1]).all()


def test_what_has_no_extent_is_there_or_not():
    flat = case(2, None, boxes=[[[5, 5], [5, 5]], [[5, -9], [5, 9]], [[5, 90], [5, 99]]],
                polygons=[[[5, 5]], [[5, -10.5], [5, 9.5]]])  # fmt: skip
    seen = shapes.visible(flat)
    np.testing.assert_allclose(seen.boxes, [1, 9.5 / 18, 0])
    np.testing.assert_allclose(seen.polygons, [1, 0.5], atol=0.03)


def test_corner_counts():
    boxes = [[3, 1, 10, 5]]
    made = shapes.from_xyxy(boxes)
    assert made.tolist() == [[[0.5, 2.5], [4.5, 9.5]]]  # rows 1 to 4, columns 3 to 9
    assert shapes.to_xyxy(made).tolist() == boxes
    assert shapes.from_xywh([[3, 1, 7, 4]]).tolist() == made.tolist()
    assert shapes.to_xywh(made).tolist() == [[3, 1, 7, 4]]
    assert shapes.from_xy([3, 1, 10, 5]).tolist() == [[0.5, 2.5], [4.5, 9.5]]
    assert shapes.to_xy(made[0]).tolist() == [[3, 1], [10, 5]]
    assert shapes.from_xyxy([]).shape == (0, 2, 2)
    assert shapes.to_xywh(shapes.from_xywh([])).shape == (0, 4)


def test_nothing_given_stays_nothing():
    out = msa.Rotate(degrees=10)(case(2, None, points=[], boxes=[], polygons=[]), seed=1)
    assert out.points.shape == (0, 2)
    assert out.boxes.shape == (0, 2, 2)
    assert len(out.polygons) == 0
    assert shapes.visible(out).boxes.shape == (0,)
    plain = shapes.visible(msa.Rotate(degrees=10)(case(2, None), seed=1))
    assert plain == shapes.Visible(None, None, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"boxes": [[1, 2, 3, 4]]}, r"boxes: \(N, 2, 2\) expected"),
        ({"boxes": [[[5, 5], [1, 9]]]}, r"boxes\[0\].*lowest corner comes first"),
        ({"points": [[1, 2, 3]]}, r"points: \(N, 2\) index coordinates"),
        ({"polygons": [[1, 2]]}, r"polygons\[0\]: \(N, 2\)"),
        ({"points": [[1, 2], [3]]}, r"points: \(N, 2\) index coordinates expected"),
    ],
)
def test_mistakes_are_named(given, message):
    with pytest.raises(ConfigError, match=message):
        case(2, None, **given)


def test_pictures_show_them_where_they_are():
    from matplotlib.figure import Figure

    from medsataug.preview import overlays
    from medsataug.preview.raster import raster_columns
    from medsataug.preview.volume import volume_columns

    ring = np.array([[10, 20], [30, 25], [15, 60]])
    given = case(2, None, points=[[0, 0], [59, 83]], boxes=[[[-0.5, -0.5], [59.5, 83.5]]],
                 polygons=[ring])  # fmt: skip
    ax = Figure().add_subplot()
    overlays.draw_shapes(ax, raster_columns([given], [(0,)])[0].panels[0], given, 1)
    first, last, box, outline = (line.get_xydata() for line in ax.lines)
    # From the middle of the picture in metres, across and down.
    np.testing.assert_allclose(first, [[-0.0415, -0.0295]], atol=1e-9)
    np.testing.assert_allclose(last, [[0.0415, 0.0295]], atol=1e-9)
    np.testing.assert_allclose([box.min(axis=0), box.max(axis=0)], [[-0.042, -0.03], [0.042, 0.03]])
    np.testing.assert_allclose(outline[:3], (ring[:, ::-1] - [41.5, 29.5]) / 1000)

    given = case(3, None, points=[[12, 5, 6], [14, 5, 6]], boxes=[[[3, 3, 3], [12, 9, 9]]])
    ax = Figure().add_subplot()
    panel = volume_columns([given], [0])[0].panels[0]  # the plane z = 12
    overlays.draw_shapes(ax, panel, given, 1)
    here, away, box = (line.get_xydata() for line in ax.lines)
    np.testing.assert_allclose(np.abs(here), [[0.0145, 0.0125]], atol=1e-9)
    assert np.isnan(away).all()
    assert len(box) == 5


def test_training_items_have_them():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
    from medsataug.torch import Dataset

    given = case(2, None, points=[[5, 6]], boxes=[[[1, 1], [5, 9]], [[30, 30], [40, 40]]],
                 polygons=[[[1, 1], [1, 9], [9, 5]]])  # fmt: skip
    item = Dataset([given], msa.Pipeline([msa.Crop(size=20, start=(4, 4))]))[0]
    assert item["points"].tolist() == [[1, 2]]
    assert item["points_visible"].tolist() == [True]
    assert item["boxes"].dtype == torch.float32
    assert item["boxes"].tolist() == [[[-3, -3], [1, 5]], [[26, 26], [36, 36]]]
    np.testing.assert_allclose(item["boxes_visible"], [1.5 * 5.5 / 32, 0])
    assert item["polygons"][0].tolist() == [[-3, -3], [-3, 5], [5, 1]]
    assert 0 < item["polygons_visible"][0] < 1
    assert not {"points", "boxes", "polygons"} & Dataset([case(2, None)])[0].keys()


def test_boxes_around_nothing():
    ring = np.array([[2.5, 3], [9, 4.25], [4, 11]])
    made = shapes.boxes_around([np.zeros((0, 2)), ring])
    assert np.isnan(made[0]).all()
    assert made[1].tolist() == [[2.5, 3], [9, 11]]
    assert shapes.boxes_around([]).shape == (0, 2, 2)
    assert shapes.boxes_around((), ndim=3).shape == (0, 2, 3)


def test_polygons_are_a_list():
    with pytest.raises(ConfigError, match=r"polygons: a list of \(P, 2\) arrays expected, got 5"):
        msa.Sample(np.zeros((4, 4)), axes="YX", polygons=5)
