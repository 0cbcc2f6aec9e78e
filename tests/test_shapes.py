"""Points, boxes and polygons against dense masks that went through the same plan."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import polygon2mask

import medsataug as msa
from medsataug import shapes, transforms
from medsataug.errors import ConfigError, MedSatAugError
from tests.harness import full, moves, pipeline

SIZES = {2: (60, 84), 3: (24, 36, 42)}
#: Of what a folding field does a point knows one place only.
LEFT_OUT = ("one_of", "some_of", "schedule", "simard_elastic")
NAMES = [n for n in transforms.builtin_names() if n not in LEFT_OUT]


def case(ndim, label, **more):
    image = np.random.default_rng(0).normal(100, 20, (1, *SIZES[ndim])).astype(np.float32)
    spacing = (1.0,) * ndim
    return msa.Sample(image=image, label=label, axes="CZYX"[:1] + "ZYX"[-ndim:], spacing=spacing,
                      id="a", **more)  # fmt: skip


def plans(ndim, label):
    """Plan of every transform that moves the whole image, at full strength."""
    given = case(ndim, label)
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
    seen = set()
    for name, plan in plans(ndim, label):
        if name == "slice_motion":
            continue  # which pulls a ball apart
        out = plan(case(ndim, label, points=centres))
        inside = shapes.visible(out).points
        for value, (place, there) in enumerate(zip(out.points, inside, strict=True), start=1):
            voxels = np.argwhere(out.label == value)
            margin = np.minimum(place, np.array(out.grid.shape) - 1 - place).min()
            if not there or margin < 6 or len(voxels) < 20:
                continue
            tolerance = 0.75 if plan.elastic else 0.5  # a bent ball's centre is not its middle
            assert np.abs(voxels.mean(axis=0) - place).max() < tolerance, name
            seen.add(name)
    assert len(seen) >= 10


@pytest.mark.parametrize("ndim", [2, 3])
def test_boxes_are_tight_around_what_they_became(ndim):
    low, high = (np.round(np.array(SIZES[ndim]) * f).astype(int) for f in (0.3, 0.6))
    label = np.zeros(SIZES[ndim], np.uint8)
    label[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = 1
    box = np.stack([low - 0.5, high + 0.5])[None]
    seen = 0
    for name, plan in plans(ndim, label):
        out = plan(case(ndim, label, boxes=box))
        got = shapes.clipped(out.boxes, out.grid.shape)[0]
        voxels = np.argwhere(out.label == 1)
        if not len(voxels):
            assert shapes.visible(out).boxes[0] < 0.2, name
            continue
        dense = np.stack([voxels.min(axis=0) - 0.5, voxels.max(axis=0) + 0.5])
        # A corner that sticks out less than half into a voxel leaves none.
        assert np.all(got[0] <= dense[0] + 0.51), name
        assert np.all(got[1] >= dense[1] - 0.51), name
        slack = 1.6 if not plan.elastic else 2.5
        np.testing.assert_allclose(got, dense, atol=slack, err_msg=name)
        seen += 1
    assert seen >= 10


def test_polygons_are_the_masks_that_they_enclose():
    ring = np.array([[12.0, 20.0], [18.0, 61.0], [44.0, 66.0], [49.0, 33.0], [30.0, 40.0]])
    label = polygon2mask(SIZES[2], ring).astype(np.uint8)
    seen = 0
    for name, plan in plans(2, label):
        out = plan(case(2, label, polygons=[ring]))
        new, share = out.polygons[0], shapes.visible(out).polygons[0]
        if not np.isfinite(new).all() or share < 0.3:
            continue
        mask = polygon2mask(out.grid.shape, new)
        both, either = (mask & (out.label == 1)).sum(), (mask | (out.label == 1)).sum()
        assert both / either > 0.92, (name, both / either)
        seen += 1
    assert seen >= 10


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


def test_corner_counts():
    boxes = [[3, 1, 10, 5]]
    made = shapes.from_xyxy(boxes)
    assert made.tolist() == [[[0.5, 2.5], [4.5, 9.5]]]  # rows 1 to 4, columns 3 to 9
    assert shapes.to_xyxy(made).tolist() == boxes


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
    ],
)
def test_mistakes_are_named(given, message):
    with pytest.raises(ConfigError, match=message):
        case(2, None, **given)
