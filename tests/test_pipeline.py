"""Pipelines: folding, plans in words, recipes, errors that name the place, lazy rasters, points."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import medsataug as msa
from medsataug import recipes, transforms
from medsataug.maps import Affine
from medsataug.pipeline import Pipeline
from medsataug.plan import Plan
from tests import harness, phantoms

TURN = msa.Rotate(degrees={"z": 20})


# ------------------------------------------------------------------ folding


def test_adjacent_maps_become_one_resampling():
    pipeline = msa.Pipeline(
        [msa.Crop(size=8), TURN, msa.Flip(axes="x", p=1), msa.Scale(factor=1.1), msa.Patch(size=6)]
    )
    plan = pipeline.plan(phantoms.sample(3), seed=1)
    (segment,) = plan.segments
    assert [type(p) for p in segment.spatial.parts] == [Affine]
    assert segment.spatial.out_shape == (6, 6, 6)
    assert "interpolated" not in plan.explain()


def test_a_crop_in_a_fold_does_not_erase_and_a_barrier_does():
    sample = phantoms.sample(3, image=1 + phantoms.image(3))
    box = (13, 7, 7)
    folded = msa.Pipeline([msa.Crop(size=box), TURN])(sample, seed=1)
    assert np.all(folded.image > 0)  # what the crop cut off turns back into view
    cut = msa.Pipeline([msa.Crop(size=box), msa.Barrier(), TURN])(sample, seed=1)
    assert np.any(cut.image == 0)
    whole = msa.Pipeline([TURN])(sample, seed=1)
    np.testing.assert_allclose(folded.image, whole.image[:, :, 5:12, 2:9], atol=1e-3)


@pytest.mark.parametrize("ndim", [2, 3])
def test_fused_equals_step_by_step(ndim):
    """Where the image is smooth, one interpolation and several differ by little."""
    shape = (40, 48, 44)[-ndim:]
    smooth = gaussian_filter(np.random.default_rng(1).normal(size=shape), 4)
    smooth = (100 * smooth / smooth.std()).astype(np.float32)
    label = (smooth > 30).astype(np.uint8)
    sample = msa.Sample(image=smooth, label=label, axes="ZYX"[-ndim:], spacing=(1,) * ndim, id="s")
    chain = [
        TURN, msa.Scale(factor=1.1), msa.Elastic(spacing=16, magnitude=2),
        msa.Translate(offset=0.7),
    ]  # fmt: skip
    apart: list[Any] = []
    for transform in chain:
        apart += [transform, msa.Barrier()]
    once = msa.Pipeline(chain)(sample, seed=1)
    plan = msa.Pipeline(apart).plan(sample, seed=1)
    assert len(plan.segments) == 4
    often = plan(sample)
    inner = (..., *[slice(12, -12)] * ndim)
    assert np.abs(once.image - often.image)[inner].max() < 12
    assert np.abs(once.image - often.image)[inner].mean() < 2
    assert np.mean(once.label[inner] != often.label[inner]) < 0.06


def test_turns_and_crops_fold_exactly():
    chain = [
        msa.Flip(axes="y", p=1), msa.Rot90(turns=[3], plane="xz"), msa.Crop(size=(9, 12, 10)),
        msa.Pad(margin=2), msa.Flip(axes=("z", "x"), p=1), msa.Crop(size=(7, 9, 8)),
    ]  # fmt: skip
    apart = [t for transform in chain for t in (transform, msa.Barrier())]
    sample = phantoms.sample(3, "int16")
    once, often = (harness.pipeline(*c)(sample, seed=1) for c in (chain, apart))
    harness.assert_same(once, often)


def test_flipping_twice_gives_every_bit_back():
    sample = phantoms.sample(3)
    for chain in ([msa.Flip(axes="x", p=1)] * 2, [msa.Rot90(turns=[1], plane="xy")] * 4):
        out = harness.pipeline(*chain)(sample, seed=1)
        assert out.image.tobytes() == sample.image.tobytes()
        assert harness.pipeline(*chain).plan(sample, 1).segments == ()


@pytest.mark.parametrize("border", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("how", ["linear", "cubic", "nearest"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_way_of_resampling_is_independent_of_threads_and_of_nodata(ndim, how, border):
    chain = [msa.Scale(factor=0.4), TURN, msa.Elastic(spacing=6, magnitude=1)]
    pipeline = harness.pipeline(*chain, interpolation=how, border=border)
    valid = phantoms.holes(ndim)
    values = phantoms.image(ndim, "int16")
    results = []
    for junk in (-9999, 30000):
        values[:, ~valid[0]] = junk
        sample = phantoms.sample(ndim, "int16", image=values.copy(), valid=valid)
        results.append(pipeline(sample, seed=1))
        for number in (1, 3):
            with harness.small_blocks(number):
                harness.assert_same(pipeline(sample, seed=1), results[-1])
    one, two = results
    np.testing.assert_array_equal(one.valid, two.valid)
    seen = np.broadcast_to(one.valid, one.image.shape)
    assert seen.any()
    np.testing.assert_array_equal(one.image[seen], two.image[seen])
    assert np.abs(one.image[seen].astype(int)).max() < 9999  # what was stored there stays out
    if border != "constant":
        assert set(np.unique(one.label)) <= {0, 1, 4}


# ------------------------------------------------------------------ plans


def test_explain_mentions_a_second_resampling():
    chain = [TURN, msa.Gamma(exponent=1.3), msa.Scale(factor=1.2)]
    text = msa.Pipeline(chain).plan(phantoms.sample(3), seed=1).explain()
    assert "interpolated 2 times" in text
    assert "spatial transforms first" in text
    for word in ("seed 1", "Rotate", "z 20", "Gamma: exponent 1.3", "resample to 13 x 17 x 11"):
        assert word in text, word
    text = msa.Pipeline([]).plan(phantoms.sample(3), seed=1).explain()
    assert "a copy" in text


def test_seed_none_is_drawn_and_recorded():
    pipeline, sample = msa.Pipeline([msa.GaussianNoise(std=5)]), phantoms.sample(3)
    first, second = pipeline(sample), pipeline(sample)
    assert first.record["seed"] != second.record["seed"]
    harness.assert_same(pipeline(sample, seed=first.record["seed"]), first)
    assert first.record["index"] == 0
    assert json.dumps(first.record)


def test_the_sample_counts_by_its_content_or_its_id():
    noise = msa.Pipeline([msa.GaussianNoise(std=5)])
    bare = phantoms.sample(3).replace(id="")
    added = noise(bare, seed=1).image - bare.image
    same = noise(bare.replace(image=bare.image.copy()), seed=1).image - bare.image
    np.testing.assert_array_equal(added, same)
    other = bare.replace(image=bare.image[:, ::-1])
    assert not np.allclose(noise(other, seed=1).image - other.image, added, atol=0.1)
    named = noise(other.replace(id="phantom"), seed=1).image - other.image
    np.testing.assert_allclose(
        named, noise(phantoms.sample(3), seed=1).image - phantoms.image(3), atol=1e-4
    )


def test_plans_refuse_what_they_were_not_made_for():
    plan = msa.Pipeline([TURN]).plan(phantoms.sample(3), seed=1)
    with pytest.raises(msa.GeometryError, match="made for an image of"):
        plan(phantoms.sample(2))
    with pytest.raises(msa.ConfigError, match="3 channels"):
        plan(phantoms.sample(3, image=phantoms.image(3)[:1], channels=("one",)))
    for text in ("", "{}", "[]", '{"medsataug_plan": 1}', '{"medsataug_plan": 99}'):
        with pytest.raises(msa.ConfigError, match="plan: cannot be read"):
            Plan.from_json(text)


def test_arrays_in_arrays_out():
    image, label = phantoms.image(2), phantoms.label(2)
    out = msa.Pipeline([TURN])(image=np.moveaxis(image, 0, -1), label=label, axes="YXC", seed=1)
    sample = msa.Sample(image=image, label=label, axes="CYX")
    harness.assert_same(msa.Pipeline([TURN])(sample, seed=1), out)
    for wrong, message in (
        (lambda: TURN(), "needed"),
        (lambda: TURN(sample, image=image), "not both"),
        (lambda: TURN(image=image), "axes"),
    ):
        with pytest.raises(msa.ConfigError, match=message):
            wrong()


def test_points_follow_and_stay_countable():
    points = np.array([[6.0, 8.0, 5.0], [0.0, 0.0, 0.0], [12.0, 16.0, 10.0]])
    sample = phantoms.sample(3, points=points)
    chain = [TURN, msa.Elastic(spacing=6, magnitude=1), msa.Flip(axes="x", p=1), msa.Crop(size=6)]
    plan = msa.Pipeline(chain).plan(sample, seed=2)
    out = plan(sample)
    assert out.points.shape == (3, 3)
    assert np.isfinite(out.points).all()
    np.testing.assert_allclose(plan.source_positions(out.points), points, atol=1e-3)
    assert np.all((out.points[0] > -0.5) & (out.points[0] < 5.5))
    flipped = msa.Flip(axes="x", p=1)(sample, seed=1).points
    np.testing.assert_array_equal(flipped, np.column_stack([points[:, :2], 10 - points[:, 2]]))


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"rotate": {}}, {"scale": {}}, {"gamma": {"exponent": -1}}],
         r"transforms\[2\] Gamma\.exponent: -1 is out of range; allowed: more than 0"),
        ([{"gamma": {"exponnt": 1}}], r"transforms\[0\] Gamma\.exponnt: .*allowed: .*exponent"),
        ([{"gama": {}}], r"transforms\[0\] no transform 'gama'; did you mean gamma"),
        ([{"gamma": {"exponent": [2, 1]}}], r"Gamma\.exponent: .*the low end comes first"),
        ([{"gamma": {"p": 2}}], r"transforms\[0\] Gamma\.p"),
        ([{"brightness": {"offset": "5mm"}}], r"Brightness\.offset: unit 'mm'.*%, rho"),
        ([{"translate": {"offset": ["1mm", "2cm"]}}], "one unit"),
        ([{"crop": {}}], r"Crop\.size"),
        (["gamma", 5], r"transforms\[1\]: one transform expected"),
        ([{"one_of": {"transforms": [{"gamma": {"exponent": 0}}]}}],
         r"transforms\[0\].*Gamma\.exponent"),
        ("gamma", "a list of transforms expected"),
    ],
)  # fmt: skip
def test_errors_name_the_place(given, message):
    with pytest.raises(msa.ConfigError, match=message) as caught:
        msa.Pipeline(given)
    assert "\n" not in str(caught.value)


def test_unknown_settings_list_the_valid_ones():
    with pytest.raises(msa.ConfigError, match=r"Pipeline\.interpolaton: .*interpolation"):
        msa.Pipeline([], interpolaton="cubic")
    with pytest.raises(msa.ConfigError, match=r"Pipeline\.border"):
        msa.Pipeline([], border="wrap")


def test_errors_while_planning_name_the_place():
    with pytest.raises(msa.ConfigError, match=r"transforms\[1\] Crop"):
        msa.Pipeline([TURN, msa.Crop(size=99)]).plan(phantoms.sample(3), seed=1)


# ------------------------------------------------------------------ recipes


@pytest.mark.parametrize("name", recipes.packaged())
def test_packaged_recipes_load_and_round_trip(name, tmp_path):
    pipeline = msa.Pipeline.load(name)
    assert pipeline.name == name
    assert pipeline.description
    again = msa.Pipeline.load(pipeline.save(tmp_path / f"{name}.yaml"))
    assert again == pipeline


def test_packaged_recipes_satisfy_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    yaml = pytest.importorskip("yaml")
    schema = recipes.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for name in recipes.packaged():
        given = yaml.safe_load((recipes.FOLDER / f"{name}.yaml").read_text())
        assert list(validator.iter_errors(given)) == []
    for kind in map(transforms.find, transforms.names()):
        for case in (kind.cases.full, kind.cases.zero or {}):
            made = recipes.plain_transform(kind(**kind.cases.full | case))
            assert list(validator.iter_errors([made])) == [], made
    for wrong in (
        [{"gamma": {"exponnt": 1}}], [{"gama": {}}], {"transforms": [], "x": 1},
        [{"gamma": {"exponent": "5mm"}}], [{"rotate": {"degrees": {"w": 1}}}], 7,
    ):  # fmt: skip
        assert list(validator.iter_errors(wrong)), wrong


SHAPE = {2: (96, 80), 3: (20, 60, 60)}
LOCAL = (msa.BlankRectangle, msa.BrightnessGradient, msa.LocalGamma)


def stored(name: str) -> msa.Sample:
    """Data as a recipe meets them: HU, MRI counts, digital numbers 0 to 10 000."""
    ndim = 2 if name in ("multispectral", "microscopy", "nnunet-2d", "aerial-rgb") else 3
    image = phantoms.image(ndim, shape=SHAPE[ndim])
    if name in ("microscopy", "aerial-rgb"):
        return msa.Sample(image=(image * 2).astype(np.uint8), axes="CYX", id="micrograph")
    if name == "ct":
        return phantoms.sample(
            3, image=(image * 20 - 1000).astype(np.int16), label=None,
            grid=phantoms.grid(3, SHAPE[3]), meta={"modality": "CT"},
        )  # fmt: skip
    return phantoms.sample(
        ndim, image=(image * 100).astype(np.uint16), grid=phantoms.grid(ndim, SHAPE[ndim]),
        label=None,
    )  # fmt: skip


@pytest.mark.parametrize("name", recipes.packaged())
def test_every_part_of_a_packaged_recipe_does_something(name):
    """The median copy differs from what is stored by at least a unit, for each transform alone."""
    sample, recipe = stored(name), msa.Pipeline.load(name)
    for transform in (c for t in recipe.transforms for c in getattr(t, "transforms", (t,))):
        given = {n: getattr(transform, n) for n in transform.model_fields_set}
        chances = [n for n in type(transform).model_fields if n == "p" or n.endswith("_p")]
        always = type(transform)(**given | dict.fromkeys(chances, 1.0))
        changes = []
        for index in range(9):
            out = msa.Pipeline([always], geometry=recipe.geometry)(
                sample, seed=1, index=index
            ).image
            if out.shape != sample.image.shape or out.dtype != sample.image.dtype:
                changes.append(np.inf)
                continue
            apart = np.abs(out.astype(float) - sample.image.astype(float))
            # What acts in one place leaves most as it is.
            changes.append(np.percentile(apart, 100 if isinstance(always, LOCAL) else 75))
        assert np.median(changes) >= 1, transform


# ------------------------------------------------------------------ lazy rasters


class Lazy:
    """An array that is read piece by piece, and remembers which."""

    def __init__(self, array, valid=None):
        self.array, self.valid, self.windows = array, valid, []
        self.shape, self.dtype, self.digest = array.shape, array.dtype, "lazy"

    def read(self, window):
        self.windows.append(window)
        return self.array[(slice(None), *window)].copy()

    def read_valid(self, window):
        return None if self.valid is None else self.valid[(slice(None), *window)].copy()

    def read_area(self):
        return max((np.prod([s.stop - s.start for s in w]) for w in self.windows), default=0)


CHAINS = {
    "patch": [msa.Patch(size=24)],
    "turned": [msa.Rotate(degrees=(20, 40)), msa.Scale(factor=0.8), msa.Patch(size=24)],
    "bent": [msa.Elastic(spacing=20, magnitude=4), msa.Rotate(degrees=30), msa.Patch(size=24)],
    "foreground": [msa.Flip(axes=("x", "y")), msa.Patch(size=(20, 24), foreground=1)],
    "values": [msa.Rotate(degrees=9), msa.Patch(size=24), msa.Brightness(offset=4),
               msa.GaussianNoise(std=3)],
}  # fmt: skip
WIDE = (150, 130)


@pytest.mark.parametrize("border", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("name", CHAINS)
def test_lazy_equals_in_memory_and_reads_only_what_it_needs(name, border):
    image, label = phantoms.image(2, "uint16", shape=WIDE), phantoms.label(2, shape=WIDE)
    valid = phantoms.holes(2, shape=WIDE)
    common = {"grid": phantoms.grid(2, WIDE), "channels": phantoms.channels(2), "id": "scene",
              "meta": {"format": "geotiff", "nodata": 0}}  # fmt: skip
    pipeline = msa.Pipeline(CHAINS[name], border=border)
    for index in range(4):
        source, mask = Lazy(image, valid), Lazy(label[None])
        lazy = msa.Sample(image=source, label=mask, **common)
        memory = msa.Sample(image=image, label=label, valid=valid, **common)
        plan = pipeline.plan(lazy, seed=1, index=index)
        source.windows.clear()
        got = plan(lazy)
        expected = pipeline.plan(memory, seed=1, index=index)(memory)
        harness.assert_same(got, expected)
        if border == "constant":
            assert source.read_area() < 0.35 * np.prod(WIDE)


def test_lazy_statistics_are_those_of_the_case():
    image = phantoms.image(2, "uint16", shape=WIDE)
    common = {"grid": phantoms.grid(2, WIDE), "id": "scene"}
    pipeline = msa.Pipeline([msa.Crop(size=30), msa.Normalize()])
    lazy = pipeline(msa.Sample(image=Lazy(image), **common), seed=1)
    memory = pipeline(msa.Sample(image=image, **common), seed=1)
    np.testing.assert_allclose(lazy.image, memory.image, rtol=1e-6)


def test_patches_beyond_the_edge_of_a_lazy_raster_mirror_it():
    """Reflection needs more of the image than lies under the patch."""
    image = phantoms.image(2, "uint16", shape=WIDE)
    pipeline = msa.Pipeline(
        [msa.Translate(offset={"x": 60, "y": -70}), msa.Crop(size=(40, 50), start=(100, 0))],
        border="reflect",
    )
    common = {"grid": phantoms.grid(2, WIDE), "id": "scene"}
    source = Lazy(image)
    lazy = pipeline(msa.Sample(image=source, **common), seed=1)
    harness.assert_same(lazy, pipeline(msa.Sample(image=image, **common), seed=1))


def test_recipes_are_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    given = msa.Pipeline([msa.Gamma(exponent=2)])
    path = given.save(tmp_path / "new" / "mine.yaml")
    assert [p.name for p in path.parent.iterdir()] == ["mine.yaml"]
    assert Pipeline.load(path) == given.changed(name="mine")
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(msa.FormatError, match=r"mine\.yaml: cannot be written \(No space"):
        given.changed(name="other").save(path)
    assert [p.name for p in path.parent.iterdir()] == ["mine.yaml"]
    assert path.read_bytes() == before
    with pytest.raises(msa.FormatError, match="cannot be written"):
        given.save(path / "below.yaml")
