"""Crops, pads, patches and other grids: which voxels, where in the world, how often."""

from __future__ import annotations

import numpy as np
import pytest

import medsataug as msa
from medsataug.types import Sample
from tests import phantoms

SHAPE = np.array(phantoms.SHAPES[3])


def corners(sample: Sample) -> np.ndarray:
    """World positions of the two outermost corners, half a voxel beyond the centres."""
    ends = np.array([[-0.5] * sample.ndim, np.array(sample.grid.shape) - 0.5])
    return sample.grid.world_of(ends)


def test_crop_keeps_voxels_and_their_place():
    sample = phantoms.sample(3, "int16")
    out = msa.Crop(size=(5, 6, 7), start=(1, 2, 3))(sample, seed=1)
    np.testing.assert_array_equal(out.image, sample.image[:, 1:6, 2:8, 3:10])
    np.testing.assert_array_equal(out.label, sample.label[1:6, 2:8, 3:10])
    np.testing.assert_allclose(
        out.grid.world_of(np.zeros((1, 3))), sample.grid.world_of(np.array([[1.0, 2, 3]]))
    )
    out = msa.Crop(size=(5, 6, 7))(sample, seed=1)
    np.testing.assert_array_equal(out.image, sample.image[:, 4:9, 5:11, 2:9])
    for wrong in ({"size": 14}, {"size": 5, "start": (9, 0, 0)}, {"size": (5, 5)}):
        with pytest.raises(msa.ConfigError, match=r"transforms\[0\] Crop"):
            msa.Crop(**wrong)(sample, seed=1)


@pytest.mark.parametrize(
    ("border", "mode"), [("constant", "constant"), ("edge", "edge"), ("reflect", "symmetric")]
)
def test_pad_is_numpy_pad(border, mode):
    sample = phantoms.sample(3, "int16")
    out = msa.Pipeline([msa.Pad(margin=(2, 3, 20))], border=border)(sample, seed=1)
    wide = [(2, 2), (3, 3), (20, 20)]
    np.testing.assert_array_equal(out.image, np.pad(sample.image, [(0, 0), *wide], mode))
    np.testing.assert_array_equal(out.label, np.pad(sample.label, wide, mode))
    np.testing.assert_allclose(
        out.grid.world_of(np.array([[2.0, 3, 20]])), sample.grid.world_of(np.zeros((1, 3)))
    )
    out = msa.Pad(size=(20, 4, 12))(sample, seed=1)
    assert out.image.shape[1:] == (20, 17, 12)
    np.testing.assert_array_equal(out.image[:, 3:16, :, :11], sample.image)


def test_fill_by_kind_of_data():
    pad = msa.Pad(margin=1)
    ct = phantoms.sample(3, "int16", meta={"modality": "CT"})
    assert np.all(pad(ct, seed=1).image[:, 0] == -1000)
    assert np.all(msa.Pipeline([pad], fill=42, label_fill=9)(ct, seed=1).image[:, 0] == 42)
    assert np.all(msa.Pipeline([pad], fill=42, label_fill=9)(ct, seed=1).label[0] == 9)
    scene = phantoms.sample(2, "uint16", meta={"nodata": 65535})
    out = pad(scene, seed=1)
    assert np.all(out.image[:, 0] == 65535)
    assert not out.valid[:, 0].any()
    assert out.valid[:, 1:-1, 1:-1].all()
    assert np.all(out.label[0] == 255)
    floats = pad(phantoms.sample(2), seed=1)
    assert np.isnan(floats.image[:, 0]).all()
    binary = phantoms.sample(2, label=np.where(phantoms.label(2) > 0, 255, 0).astype(np.uint8))
    with pytest.raises(msa.ConfigError, match="label_fill"):
        pad(binary, seed=1)


@pytest.mark.parametrize("size", [(26, 34, 22), (7, 20, 11), (5, 5, 5)])
def test_resize_keeps_the_outer_extent(size):
    sample = phantoms.sample(3)
    out = msa.Resize(size=size)(sample, seed=1)
    assert out.image.shape[1:] == size
    np.testing.assert_allclose(corners(out), corners(sample), atol=1e-9)
    np.testing.assert_allclose(out.grid.spacing, sample.grid.spacing * SHAPE / np.array(size))


def test_resize_to_half_is_the_mean_of_blocks():
    shape = (6, 8, 10)
    sample = Sample(
        image=phantoms.image(3, shape=shape, channels=2), label=phantoms.label(3, shape=shape),
        axes="CZYX", spacing=(1, 1, 1),
    )  # fmt: skip
    out = msa.Resize(size=(3, 4, 5))(sample, seed=1)
    blocks = sample.image.reshape(2, 3, 2, 4, 2, 5, 2)
    np.testing.assert_allclose(out.image, blocks.mean(axis=(2, 4, 6)), rtol=1e-5)
    votes = sample.label.reshape(3, 2, 4, 2, 5, 2)
    counts = np.stack([(votes == c).sum(axis=(1, 3, 5)) for c in (0, 1, 4)])
    np.testing.assert_array_equal(out.label, np.array([0, 1, 4])[counts.argmax(axis=0)])
    single = msa.Pipeline([msa.Resize(size=(3, 4, 5))], antialias=False)(sample, seed=1)
    np.testing.assert_allclose(single.image, out.image, rtol=1e-4)  # half-way lies the same mean


@pytest.mark.parametrize("spacing", ["1mm", "2.3mm", 0.7, {"z": "1mm"}, {"x": 2}])
def test_resample_gives_the_spacing_about_the_same_centre(spacing):
    sample = phantoms.sample(3)
    out = msa.Resample(spacing=spacing)(sample, seed=1)
    own = sample.grid.spacing
    if isinstance(spacing, str):
        expected = np.full(3, float(spacing[:-2]))
    elif isinstance(spacing, float):
        expected = own * spacing
    else:
        expected = np.array([1, own[1], own[2]]) if "z" in spacing else own * (1, 1, 2)
    np.testing.assert_allclose(out.grid.spacing, expected)
    size = np.ceil(SHAPE * own / expected - 1e-6).astype(int)
    assert out.image.shape[1:] == tuple(size)
    middle = [s.grid.world_of((np.array(s.grid.shape)[None] - 1) / 2) for s in (sample, out)]
    np.testing.assert_allclose(middle[1], middle[0], atol=1e-9)


def test_regridding_keeps_content_in_the_world():
    sample = phantoms.sample(3, image=phantoms.ramp(3), channels=("ramp",))
    back = np.linalg.inv(sample.grid.affine)
    for transform in (msa.Resize(size=(9, 30, 14)), msa.Resample(spacing="1.2mm")):
        out = transform(sample, seed=1)
        world = out.grid.world_of(phantoms.index(out.grid.shape))
        at = world @ back[:3, :3].T + back[:3, 3]
        inside = np.all((at >= 1) & (at <= SHAPE - 2), axis=1)
        np.testing.assert_allclose(
            out.image.reshape(-1)[inside], phantoms.on_ramp(at[inside]), atol=1e-3
        )


# ------------------------------------------------------------------ patches


def drawn(pipeline, sample, count):
    plans = [pipeline.plan(sample, 1, i) for i in range(count)]
    return plans, [dict(p.drawn)["Patch"] for p in plans]


def test_patch_foreground_frequency():
    """Of 600 patches a third is centred on a class: within four standard errors (.077)."""
    sample = phantoms.sample(3)
    _, logs = drawn(msa.Pipeline([msa.Patch(size=5, foreground=0.33)]), sample, 600)
    around = [log.get("around class") for log in logs]
    assert abs(sum(a is not None for a in around) / 600 - 0.33) < 0.077
    each = [around.count(c) for c in ("1", "4")]
    assert sum(each) == sum(a is not None for a in around)
    assert abs(each[0] - each[1]) < 4 * np.sqrt(sum(each))


@pytest.mark.parametrize("before", [[], [msa.Scale(factor=1.2), msa.Flip(axes="x", p=1)]])
def test_patch_contains_the_class_it_was_drawn_for(before):
    label = np.zeros(phantoms.SHAPES[3], np.uint8)
    label[5:8, 7:10, 4:7], label[8, 11, 7] = 1, 0
    label[8:11, 3:6, 3:6] = 3
    sample = phantoms.sample(3, label=label)
    plans, logs = drawn(msa.Pipeline([*before, msa.Patch(size=5, foreground=1)]), sample, 25)
    for plan, log in zip(plans, logs, strict=True):
        assert int(log["around class"]) in plan(sample).label
    assert {log["around class"] for log in logs} == {"1", "3"}


def test_patch_is_anywhere_alike():
    sample = phantoms.sample(2)
    _, logs = drawn(msa.Pipeline([msa.Patch(size=(15, 9))]), sample, 450)
    starts = [log["start"] for log in logs]
    counts = np.array([starts.count(f"[{y}, {x}]") for y in range(3) for x in range(3)])
    assert counts.sum() == 450
    assert np.all(np.abs(counts - 50) < 4 * np.sqrt(50))


def test_patch_voxels_and_centre():
    sample = phantoms.sample(2, "int16")
    plan = msa.Pipeline([msa.Patch(size=(6, 5))]).plan(sample, 3)
    y, x = map(int, dict(plan.drawn)["Patch"]["start"].strip("[]").split(","))
    np.testing.assert_array_equal(plan(sample).image, sample.image[:, y : y + 6, x : x + 5])
    out = msa.Patch(size=(7, 5), mode="center")(sample, seed=1)
    np.testing.assert_array_equal(out.image, sample.image[:, 5:12, 3:8])


def test_patch_larger_than_the_volume():
    sample = phantoms.sample(3, "int16")
    out = msa.Patch(size=(17, 20, 4), foreground=1)(sample, seed=1)
    assert out.image.shape[1:] == (17, 20, 4)
    inner = out.image[:, 2:15, 1:18]
    assert any(np.array_equal(inner, sample.image[:, :, :, x : x + 4]) for x in range(8))
    assert not out.image[:, :2].any()
    assert not out.image[:, 15:].any()
    with pytest.raises(msa.ConfigError, match="larger than the image"):
        msa.Patch(size=(17, 20, 4), pad=False)(sample, seed=1)


def test_patch_without_foreground_says_so():
    bare = phantoms.sample(3, label=np.zeros(phantoms.SHAPES[3], np.uint8))
    for sample in (bare, phantoms.sample(3, label=None)):
        plan = msa.Pipeline([msa.Patch(size=5, foreground=1, empty="random")]).plan(sample, 1)
        assert "none is labelled" in plan.explain()
        for chance in (1, 0.001):
            with pytest.raises(msa.ConfigError, match=r"Patch.foreground.*empty: random"):
                msa.Patch(size=5, foreground=chance)(sample, seed=1)
        assert plan(sample).image.shape[1:] == (5, 5, 5)
    # Ignored values are no class to look for.
    only = phantoms.sample(2, label=np.full(phantoms.SHAPES[2], 255, np.uint8))
    plan = msa.Pipeline([msa.Patch(size=5, foreground=1, empty="random")]).plan(only, 1)
    assert "none is labelled" in plan.explain()
