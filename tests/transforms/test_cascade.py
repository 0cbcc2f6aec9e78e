"""An earlier network's segmentation as channels, with its errors; against nnU-Net's cascade."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

import medsataug as msa
from medsataug.errors import ConfigError
from medsataug.grid import Grid
from medsataug.io.georef import affine_from_transform
from medsataug.io.raster_source import open_raster
from medsataug.transforms import previous_stage as stage
from tests import phantoms

SHAPE = (14, 30, 26)
LABELS = (1, 2, 3)


def blobs(shape=SHAPE, seed=0):
    """Three classes that touch each other and the border, in many components."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.6)
    bounds = np.quantile(noise, [0.5, 0.75, 0.9])
    return np.digitize(noise, bounds).astype(np.uint8)


def case(shape=SHAPE, **changes):
    """Label and an earlier segmentation that differs from it."""
    made = msa.Sample(
        image=np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32),
        label=np.stack([blobs(shape), blobs(shape, 5)]),
        axes="C" + "ZYX"[-len(shape) :],
        spacing=(1,) * len(shape),
        channels=("flair", "t1"),
        id="a",
    )
    return made.replace(**changes)


def plain(**more):
    return msa.PreviousStage(labels=LABELS, morphology_p=0, removal_p=0, **more)


def one_hot(label):
    return np.stack([label == v for v in LABELS])


@pytest.mark.parametrize("shape", [SHAPE, (30, 26)])
def test_the_layer_moves_with_the_label_and_becomes_channels(shape):
    moving = [msa.Rotate(degrees=(20, 30)), msa.Patch(size=12), msa.Flip(axes=[0], p=1)]
    given = case(shape)
    before = msa.Pipeline(moving)(given, seed=3)
    after = msa.Pipeline([*moving, plain()])(given, seed=3)
    assert [c.name for c in after.channels] == ["flair", "t1"] + [f"previous {v}" for v in LABELS]
    np.testing.assert_array_equal(after.image[:2], before.image)
    np.testing.assert_array_equal(after.image[2:], one_hot(before.label[1]))
    np.testing.assert_array_equal(after.label, before.label[0])  # alone, it needs no axis
    kept = msa.Pipeline([*moving, plain(keep=True)])(given, seed=3)
    np.testing.assert_array_equal(kept.label, before.label)
    np.testing.assert_array_equal(kept.image, after.image)


def test_sometimes_nothing_is_shown():
    given, empty = case(), 0
    for i in range(200):
        out = msa.Pipeline([plain(p=0.7)])(given, seed=1, index=i)
        np.testing.assert_array_equal(out.label, given.label[0])
        shown = out.image[2:].any()
        np.testing.assert_array_equal(out.image[2:], shown * one_hot(given.label[1]))
        empty += not shown
    assert abs(empty - 60) < 4 * np.sqrt(200 * 0.7 * 0.3)


def test_what_is_left_of_the_label():
    given, first = case(), blobs(seed=9)
    three = given.replace(label=np.stack([given.label[0], given.label[1], first]))
    out = plain()(three, seed=1)
    np.testing.assert_array_equal(out.label, [three.label[0], first])
    alone = plain(layer=0)(given.replace(label=first), seed=1)
    assert alone.label is None
    np.testing.assert_array_equal(alone.image[2:], one_hot(first))
    both = msa.Pipeline([plain(), plain(layer=0)])(given, seed=1)
    assert both.image.shape[0] == 8
    assert both.label is None


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_channels_without_data_and_whole_numbers(dtype):
    valid = np.ones((2, *SHAPE), bool)
    valid[0, 3:6] = False
    given = case(image=phantoms.image(3, dtype, 2, SHAPE), valid=valid)
    out = plain()(given, seed=1)
    assert out.image.dtype == dtype
    np.testing.assert_array_equal(out.image[2:], one_hot(given.label[1]))
    np.testing.assert_array_equal(out.image[:2], given.image)
    np.testing.assert_array_equal(out.valid[:2], valid)
    assert out.valid[2:].all()


# ------------------------------------------------------------------ errors of networks


@pytest.mark.parametrize("shape", [SHAPE, (30, 26)])
@pytest.mark.parametrize("radius", [0.5, 1, 2.3, 4])
@pytest.mark.parametrize("way", range(4), ids=stage.WAYS)
@pytest.mark.parametrize("inner", [False, True])
def test_shapes_change_by_a_ball(shape, radius, way, inner):
    """Beyond the frame nothing grows, and nothing shrinks from there."""
    label = np.stack([blobs(shape), blobs(shape, 5)])
    if inner:  # away from the frame, where only a box around it is worked on
        label[0][..., :9] = 0
        label[0][..., 14:] = 0
    got = stage.reshaped(label, None, (2, way, radius), 0)
    far = int(radius)
    at = np.stack(np.meshgrid(*[np.arange(-far, far + 1)] * len(shape), indexing="ij"))
    ball = (at**2).sum(axis=0) <= radius**2
    before = np.pad(label[0] == 2, 2 * far + 1, mode="constant")
    frame = np.pad(np.ones(shape, bool), 2 * far + 1, mode="constant")
    if way in (0, 2):
        after = ndimage.binary_dilation(before, ball) & frame
    else:
        after = ndimage.binary_erosion(before | ~frame, ball) & frame
    if way == 2:
        after = ndimage.binary_erosion(after | ~frame, ball) & frame
    if way == 3:
        after = ndimage.binary_dilation(after, ball) & frame
    after = after[(slice(2 * far + 1, -2 * far - 1),) * len(shape)]
    want = label[0].copy()
    want[(want == 2) & ~after] = 0
    want[after] = 2
    np.testing.assert_array_equal(got[0], want)
    np.testing.assert_array_equal(got[1], label[1])


def test_a_small_component_is_lost():
    label = np.zeros((2, 10, 20, 20), np.uint8)
    label[0, 0, 0, 0] = label[0, 1, 1, 1] = 1  # touch by a corner: one component
    label[0, 5, 5:8, 5] = 1
    label[0, 2:9, 9:19, 9:19] = 1  # 700 of 4000 voxels
    for which, gone in ((0, (0, 0, 0)), (0.49, (1, 1, 1)), (0.5, (5, 6, 5)), (0.99, (5, 7, 5))):
        got = stage.robbed(label, None, (1, 0.15, which), 0)
        assert got[0][gone] == 0
        assert (got != label).sum() == (2 if which < 0.5 else 3)
    got = stage.robbed(label, None, (1, 0.2, 0.5), 0)
    assert (got != label).sum() == 700
    got = stage.robbed(label, None, (1, 700 / 4000, 0.5), 0)
    assert (got != label).sum() == 3  # as large as that is too large


def test_how_often():
    given = case()
    plans = [msa.PreviousStage(labels=LABELS), msa.PreviousStage(labels=LABELS, label_p=1)]
    for transform, share in zip(plans, (1 - 0.5**3, 1), strict=True):
        names, ways, radii, orders = [], [], [], set()
        for i in range(600):
            plan = msa.Pipeline([transform]).plan(given, seed=1, index=i)
            steps = {s.function: s.params for s in plan.segments[0].steps if hasattr(s, "function")}
            names += [n.partition(":")[2] for n in steps]
            reshaped = steps.get("previous_stage:reshaped", ())
            ways += reshaped[1::3]
            radii += reshaped[2::3]
            orders.add(reshaped[::3])
        for name, p in (("reshaped", 0.4), ("robbed", 0.2)):
            p *= share
            assert abs(names.count(name) - 600 * p) < 4 * np.sqrt(600 * p * (1 - p))
        counts = np.bincount(np.array(ways, int), minlength=4)
        assert np.all(np.abs(counts - counts.mean()) < 4 * np.sqrt(counts.mean()))
        assert min(radii) >= 1
        assert max(radii) <= 8
        assert abs(np.mean(radii) - 4.5) < 4 * 7 / np.sqrt(12 * len(radii))
        assert len({o for o in orders if len(o) == 3}) == 6


@pytest.mark.parametrize(
    ("change", "match"),
    [({"layer": 2}, "transforms.0. PreviousStage.layer: 2.*2 layer"),
     ({"radius": -1}, "radius")],
)  # fmt: skip
def test_mistakes_are_named(change, match):
    with pytest.raises(ConfigError, match=match):
        msa.PreviousStage(labels=LABELS, **change)(case(), seed=1)


def test_without_a_label_it_says_so():
    with pytest.raises(ConfigError, match="stack"):
        msa.PreviousStage(labels=LABELS)(case(label=None), seed=1)


# ------------------------------------------------------------------ batchgeneratorsv2


def peers():
    pytest.importorskip("batchgeneratorsv2", reason="batchgeneratorsv2 is not installed")
    from batchgeneratorsv2.transforms.nnunet import random_binary_operator, seg_to_onehot

    return SimpleNamespace(operator=random_binary_operator, channels=seg_to_onehot)


def test_channels_and_shapes_are_theirs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    peer = peers()
    operators = [
        getattr(peer.operator, f"binary_{n}_torch")
        for n in ("dilation", "erosion", "closing", "opening")
    ]
    rng = np.random.default_rng(2)
    for shape in (SHAPE, (30, 26)):
        given = case(shape)
        shown = peer.channels.MoveSegAsOneHotToDataTransform(1, LABELS)(
            image=torch.from_numpy(given.image.copy()),
            segmentation=torch.from_numpy(given.label.astype(np.int16)),
        )
        for _ in range(4):
            order = rng.permutation(3).tolist()
            ways, radii = rng.integers(0, 4, 3).tolist(), rng.integers(1, 5, 3).tolist()
            transform = peer.operator.ApplyRandomBinaryOperatorTransform([-3, -2, -1])
            want = transform._apply_to_image(
                shown["image"].clone(),
                apply_to_channels=[k - 3 for k in order],
                operators=[operators[w] for w in ways],
                strel_size=radii,
            ).numpy()
            params = zip((LABELS[k] for k in order), ways, radii, strict=True)
            flat = tuple(float(v) for three in params for v in three)
            got = stage.reshaped(given.label[1:], None, flat, 0)
            np.testing.assert_array_equal(one_hot(got[0]), want[2:])
            np.testing.assert_array_equal(plain()(given, seed=1).image[:2], want[:2])


def test_what_is_lost_is_theirs(monkeypatch):
    pytest.importorskip("acvl_utils", reason="acvl_utils is not installed")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    peers()
    from batchgeneratorsv2.transforms.nnunet import remove_connected_components as removal

    transform = removal.RemoveRandomConnectedComponentFromOneHotEncodingTransform(
        [0, 1, 2], fill_with_other_class_p=0, dont_do_if_covers_more_than_x_percent=0.01
    )
    for seed in range(4):
        label = blobs(seed=seed)
        for which in (0.0, 0.3, 0.7, 0.999):
            monkeypatch.setattr(np.random, "choice", lambda ids, u=which: ids[int(u * len(ids))])
            image = torch.from_numpy(one_hot(label).astype(np.float32))
            want = transform._apply_to_image(image, apply_to_channels=[2, 0, 1]).numpy()
            flat = (3, 0.01, which, 1, 0.01, which, 2, 0.01, which)
            got = stage.robbed(label[None], None, flat, 0)
            np.testing.assert_array_equal(one_hot(got[0]), want)
            assert (got != label).any()


@pytest.mark.parametrize("kind", ["int16", "float32"])
def test_channels_of_classes_are_not_moved_off_the_nodata_value(kind):
    given = case((20, 24))
    given = given.replace(
        image=(np.abs(given.image * 9) + 1).astype(kind),
        meta={"format": "geotiff", "nodata": 0, "label_meta": {"nodata": 0}},
        valid=np.ones((1, 20, 24), bool),
    )
    out = msa.Pipeline([msa.Rotate(degrees=5), plain()])(given, seed=1)
    turned = msa.Rotate(degrees=5)(given, seed=1)
    np.testing.assert_array_equal(out.image[2:], one_hot(turned.label[1]))
    assert not out.valid.all()
    assert (out.image[:2][turned.valid.repeat(2, axis=0)] != 0).all()


@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
@pytest.mark.parametrize(
    ("kind", "highest", "stored", "nodata"),
    [
        ("int16", 99, "int16", -32768),
        ("uint16", 65534, "uint16", 65535),
        ("uint16", 65535, "uint16", 3),
        ("uint8", 99, "uint8", 255),
        ("uint8", 255, "uint16", 65535),  # each of the 256 values is one
        ("float32", 99, "float32", np.nan),
    ],
)
def test_a_geotiff_holds_channels_of_classes_as_they_are(
    tmp_path, kind, highest, stored, nodata, gaps
):
    values = np.linspace(1, highest, 480).round().reshape(1, 20, 24).astype(kind)
    values[0, 0, :3] = 1, 2, 4  # of a wide range, 3 is the first that is missing
    valid = np.ones((1, 20, 24), bool)
    if gaps:
        valid[0, 4:7, 3:9] = False
        values[~valid] = 0
        values[0, 8:20] = np.linspace(1, highest, 288).round().reshape(12, 24)
    given = case((20, 24)).replace(
        image=values,
        channels=("red",),
        valid=valid,
        grid=Grid((20, 24), affine_from_transform((10, 0, 3e5, 0, -10, 5e6)), "EPSG:32633"),
        meta={"format": "geotiff", "nodata": 0, "names": ["red"]},
    )
    out = plain()(given, seed=1)
    again = msa.Flip(axes=(0,), p=1)(out, seed=1)  # another pipeline knows what was added, too
    for number, made in enumerate((out, again)):
        image, *_ = msa.save(made, tmp_path / str(number))
        with open_raster(image) as dataset:
            np.testing.assert_equal(dataset.nodata, nodata)
        read = msa.load(image)
        assert read.image.dtype == stored
        shown = np.broadcast_to(True if made.valid is None else made.valid, made.image.shape)
        known = np.broadcast_to(True if read.valid is None else read.valid, made.image.shape)
        np.testing.assert_array_equal(known, shown)
        np.testing.assert_array_equal(read.image[known], made.image[known])
        assert (read.valid is not None) == gaps
    np.testing.assert_array_equal(out.image[1:], one_hot(given.label[1]))


def test_a_geotiff_keeps_its_nodata_value_where_added_channels_do_not_hold_it(tmp_path):
    given = case((20, 24)).replace(
        image=np.full((2, 20, 24), 7, np.int16), meta={"format": "geotiff", "nodata": -1}
    )
    image, *_ = msa.save(plain()(given, seed=1), tmp_path)
    with open_raster(image) as dataset:
        assert dataset.nodata == -1
