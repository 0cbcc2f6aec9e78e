"""Results that once were wrong in a way no single contract shows."""

from __future__ import annotations

import json

import numpy as np
import pytest

import medsataug as msa
from medsataug.facts import Facts
from tests import phantoms


def volume(image: np.ndarray, **more) -> msa.Sample:
    return msa.Sample(image=image, axes="CZYX", id="v", **more)


@pytest.mark.parametrize(
    "transforms",
    [
        [msa.Crop(size=(3, 12, 10), start=(2, 0, 0))],
        [msa.Flip(axes="z", p=1)],
        [msa.Pad(margin=0), msa.Brightness(offset=1.0)],
        [msa.Crop(size=(3, 12, 10), start=(2, 0, 0)), msa.Brightness(offset=1.0)],
    ],
)
@pytest.mark.parametrize("shape", [(1, 8, 12, 10), (3, 3, 12, 10)])
def test_a_result_shares_no_memory_with_its_input(transforms, shape):
    if shape[1] < 5 and isinstance(transforms[0], msa.Crop):
        transforms = [msa.Crop(size=shape[1:]), *transforms[1:]]
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    label = (image[0] % 3).astype(np.uint8)
    soft = np.stack([label == k for k in range(3)]).astype(np.float32)
    points = np.array([[2.0, 3, 4]])
    valid = image[:1] % 7 > 0
    sample = volume(image, label=label, soft=soft, points=points, valid=valid)
    before = image.copy()
    pipeline = msa.Pipeline(transforms)
    first = pipeline(sample, seed=1)
    second = pipeline(sample, seed=1)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(first.image, second.image)
    for part in ("image", "label", "soft", "points", "valid"):
        made, given = getattr(first, part), getattr(sample, part)
        assert made is None or not np.shares_memory(made, given), part


def test_quantiles_do_not_alias_with_rows():
    image = np.zeros((1, 128, 128, 64), np.float32)
    image[..., 8:56] = np.linspace(1000, 1100, 48)
    known = Facts(volume(image)).distribution(0)
    for percent in (1, 20, 50, 80, 99):
        exact = np.percentile(image, percent)
        assert abs(known.stat(f"q{percent}") - exact) < 12, percent
    label = np.zeros((1000, 400), np.uint8)
    label[:, 100:200] = 1
    sample = msa.Sample(image=np.zeros((1, 1000, 400), np.uint8), label=label, axes="CYX", id="s")
    columns = np.unique(sample.facts.places(1)[:, 1])
    assert len(columns) == 100


def test_infinities_do_not_count():
    image = np.random.default_rng(0).normal(5, 2, (1, 400, 400)).astype(np.float32)
    image[0, 0, 0], image[0, 399, 399] = np.inf, -np.inf
    known = Facts(msa.Sample(image=image, axes="CYX", id="s")).distribution(0)
    inner = image[np.isfinite(image)]
    assert known.mean == pytest.approx(inner.mean(), abs=1e-4)
    assert known.stat("max") == inner.max()


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
def test_values_without_data_need_not_be_exact_in_float32(dtype):
    far = np.iinfo(dtype).max
    image = (np.arange(900).reshape(1, 30, 30) % 251).astype(dtype)
    valid = np.ones((1, 30, 30), bool)
    image[0, 10:14, 10:14], valid[0, 10:14, 10:14] = far, False
    meta = {"nodata": int(far)}
    sample = msa.Sample(image=image, valid=valid, axes="CYX", id="s", meta=meta)
    out = msa.Rotate(degrees=20)(sample, seed=1)
    assert out.image.dtype == dtype
    assert out.image[np.broadcast_to(out.valid, out.image.shape)].max() <= 251
    assert set(out.image[np.broadcast_to(~out.valid, out.image.shape)].tolist()) == {int(far)}
    with pytest.raises(msa.ConfigError, match="24 bits"):
        msa.Rotate(degrees=20)(msa.Sample(image=image, axes="CYX", id="s"), seed=1)


@pytest.mark.parametrize("transform", [msa.Flip(axes="x", p=1), msa.Rotate(degrees=9),
                                       msa.Brightness(offset=3)])  # fmt: skip
def test_nodata_that_float32_cannot_hold(transform):
    nodata = -1.7976931348623157e308
    image = np.arange(400.0).reshape(1, 20, 20) + 1
    image[0, :4] = nodata
    sample = msa.Sample(image=image, valid=image > 0, axes="CYX", id="s", meta={"nodata": nodata})
    out = transform(sample, seed=1)
    seen = out.image[np.broadcast_to(out.valid, out.image.shape)]
    assert len(seen) > 200
    assert np.isfinite(seen).all()
    assert seen.max() > 300


def test_nearest_labels_stand_where_the_image_does():
    columns = np.broadcast_to(np.arange(64, dtype=np.uint8), (64, 64))
    for axis, label in ((1, columns), (0, columns.T)):
        out = msa.Pipeline([msa.Resize(size=16)], label_interpolation="nearest")(
            image=label[None].astype(np.float32), label=label, axes="CYX", seed=1, id="s"
        )
        line = np.moveaxis(out.image[0], axis, 0)[:, 8], np.moveaxis(out.label, axis, 0)[:, 8]
        assert np.abs(line[0] - line[1]).max() <= 0.5


def test_a_plan_is_for_its_own_place():
    sample = phantoms.sample(3)
    plan = msa.Pipeline([msa.Flip(axes="x", p=1)]).plan(sample, 1)
    moved = sample.grid.moved(np.eye(4) + np.array([[0, 0, 0, 5.0]] + [[0] * 4] * 3), (13, 17, 11))
    assert moved.shape == sample.grid.shape
    with pytest.raises(msa.GeometryError, match="lies elsewhere"):
        plan(sample.replace(grid=moved))


@pytest.mark.parametrize("value", [0.1, 1000.3, 60000.0])
def test_shrinking_a_constant_keeps_it(value):
    image = np.full((1, 512, 512), value, np.float32)
    out = msa.Pipeline([msa.Resize(size=4)])(image=image, axes="CYX", seed=1, id="s")
    np.testing.assert_allclose(out.image, value, rtol=2e-7)


def test_shrinking_to_one_voxel_votes_for_the_majority():
    label = np.ones((130, 130, 130), np.uint8)
    label[:3] = 0
    out = msa.Pipeline([msa.Resize(size=1)])(
        image=label[None].astype(np.float32), label=label, axes="CZYX", seed=1, id="s"
    )
    assert out.label.item() == 1


def test_shrinking_too_far_is_refused():
    image = np.zeros((1, 64, 64, 64), np.float32)
    with pytest.raises(msa.ConfigError, match="shrink less"):
        msa.Pipeline([msa.Scale(factor=0.001)])(image=image, axes="CZYX", seed=1, id="s")


@pytest.mark.parametrize(("fill", "expected"), [(-1, 0), (300, 255), (7.6, 8)])
def test_a_fill_is_rounded_and_saturated(fill, expected):
    image = np.full((1, 4, 4), 9, np.uint8)
    out = msa.Pipeline([msa.Pad(margin=1)], fill=fill)(image=image, axes="CYX", seed=1, id="s")
    assert out.image[0, 0, 0] == expected


def test_pairs_to_swap_are_pairs():
    with pytest.raises(msa.ConfigError, match="one pair only"):
        msa.Flip(axes="x", swap={1: 2, 2: 3})
    sample = msa.Sample(
        image=np.zeros((1, 4, 4), np.uint8), label=np.ones((4, 4), np.uint8), axes="CYX", id="s"
    )
    with pytest.raises(msa.ConfigError, match="does not fit"):
        msa.Flip(axes="x", p=1, swap={1: 300})(sample, seed=1)


def test_numbers_are_finite_and_plans_are_json():
    for build in (
        lambda: msa.Scale(factor="1e999"),
        lambda: msa.Clip(low=float("nan")),
        lambda: msa.OneOf(transforms=[msa.Gamma()], weights=(float("nan"),)),
        lambda: msa.Affine(matrix=((float("nan"), 0, 0), (0, 1, 0))),
    ):
        with pytest.raises(msa.ConfigError, match="finite"):
            build()
    plan = msa.Pipeline([msa.Clip(low=0.2)]).plan(phantoms.sample(2), 1)
    text = plan.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert msa.Plan.from_json(text).to_json() == text


def test_shapes_are_checked():
    image = np.zeros((1, 8, 8), np.float32)
    with pytest.raises(msa.ConfigError, match="no voxels"):
        msa.Sample(image=image[:, :0], axes="CYX")
    with pytest.raises(msa.GeometryError, match="soft"):
        msa.Sample(image=image, axes="CYX", soft=np.zeros((2, 4, 4), np.float32))
    with pytest.raises(msa.ConfigError, match="points"):
        msa.Sample(image=image, axes="CYX", points=np.zeros((3, 3)))


def test_a_bent_raster_stays_bent():
    sample = phantoms.sample(2)
    once = msa.Elastic(spacing=8, magnitude=1)(sample, seed=1)
    assert len(once.meta["gcps"]) == 25
    again = msa.Flip(axes="x", p=1)(once, seed=2)
    assert again.record["geometry"]["elastic"]
    assert len(again.meta["gcps"]) == 25
    width = once.grid.shape[1]
    for (r, c, x, y), (r2, c2, x2, y2) in zip(once.meta["gcps"], again.meta["gcps"], strict=True):
        np.testing.assert_allclose((r2, c2, x2, y2), (r, width - c, x, y), atol=1e-6)


def test_a_key_does_not_count_and_seeds_are_whole():
    sample = phantoms.sample(2)
    alone = msa.Pipeline([msa.Gamma()]).plan(sample, 7).drawn[0]
    beside = msa.Pipeline([msa.Gamma(key="new"), msa.Gamma()]).plan(sample, 7).drawn[1]
    assert alone == beside
    for seed in (7.0, True, "7"):
        with pytest.raises(msa.ConfigError, match="whole number"):
            msa.Pipeline([]).plan(sample, seed)
    assert msa.Pipeline([msa.Gamma()]).plan(sample, np.int64(7)).drawn[0] == alone


def test_the_horizon_of_a_perspective_is_in_view():
    image = np.random.default_rng(1).random((1, 60, 60), dtype=np.float32)
    matrix = ((1, 0, 0), (0, 1, 0), (0, -1 / 20, 1))
    plane = msa.Affine(matrix=matrix)
    flat = msa.Pipeline([plane])(image=image, axes="CYX", seed=1, id="s")
    deep = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, -1 / 20, 1))
    whole = msa.Pipeline([msa.Affine(matrix=deep)])(
        image=image[:, None], axes="CZYX", seed=1, id="s"
    )
    np.testing.assert_allclose(flat.image, whole.image[:, 0], atol=1e-5)
