"""What is mixed in: against formulas and slow obvious versions, and never where data lack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage, special, stats

import medsataug as msa
from medsataug.maps import SpatialMap
from medsataug.types import Sample
from medsataug.values import Mix
from tests import phantoms

ALL = [msa.MixUp(classes=5), msa.CutMix(), msa.ClassMix(), msa.Mosaic(), msa.CopyPaste(),
       msa.CarveMix()]  # fmt: skip


def names(given: Any) -> str:
    return type(given).__name__


def pair(ndim: int = 3, dtype: str = "float32") -> tuple[Sample, Sample]:
    sample = phantoms.sample(ndim, dtype)
    partner = phantoms.partners(sample)[0]
    if dtype == "float32":
        partner.image = partner.image + 1000  # no voxel is the same in both
    return sample, partner


def mixes(plan: msa.Plan) -> list[Mix]:
    return [s for segment in plan.segments for s in segment.steps if isinstance(s, Mix)]


def mixed(transform: Any, sample: Sample, partner: Sample, seed: int = 1) -> tuple[Any, ...]:
    plan = msa.Pipeline([transform]).plan(sample, seed, partners=[partner])
    return plan(sample), mixes(plan)[0]


def source(out: Sample, sample: Sample, partner: Sample) -> Any:
    """True where a voxel is the partner's in every channel and in the label, else it is ours."""
    theirs = (out.image == partner.image).all(axis=0)
    np.testing.assert_array_equal(out.image, np.where(theirs, partner.image, sample.image))
    np.testing.assert_array_equal(out.label, np.where(theirs, partner.label, sample.label))
    return theirs


def test_mix_up_is_its_formula():
    sample, partner = pair()
    classes = np.array([0, 1, 4])
    seen = set()
    for seed in range(6):
        out, step = mixed(msa.MixUp(alpha=1, classes=[0, 1, 4]), sample, partner, seed)
        plan = msa.Pipeline([msa.MixUp(alpha=1, classes=5)]).plan(sample, seed, partners=[partner])
        part = 1 - step.params[0]
        np.testing.assert_allclose(part, float(plan.drawn[0][1]["lambda"]), rtol=1e-3)
        expected = part * sample.image + (1 - part) * partner.image
        np.testing.assert_allclose(out.image, expected, rtol=1e-5)
        a, b = (s.label == classes[:, None, None, None] for s in (sample, partner))
        np.testing.assert_allclose(out.soft, part * a + (1 - part) * b, atol=1e-6)
        np.testing.assert_array_equal(out.label, (sample if part >= 0.5 else partner).label)
        seen.add(part > 0.5)
    assert seen == {True, False}


def test_mix_up_draws_from_beta():
    sample, partner = pair(2)
    pipeline = msa.Pipeline([msa.MixUp(alpha=0.4, classes=5)])
    plans = (pipeline.plan(sample, 1, i, partners=[partner]) for i in range(400))
    drawn = [1 - mixes(plan)[0].params[0] for plan in plans]
    assert stats.kstest(drawn, stats.beta(0.4, 0.4).cdf).pvalue > 0.01


def test_probabilities_are_there_whether_mixed_or_not():
    sample, partner = pair(2)
    pipeline = msa.Pipeline([msa.MixUp(p=0.5, classes=5), msa.CutMix(p=0.5)])
    plans = [pipeline.plan(sample, 1, i, partners=[partner]) for i in range(20)]
    assert len({names(p.drawn[0][0]) if p.drawn else "" for p in plans}) == 2
    for plan in plans:
        out = plan(sample)
        assert out.soft.shape == (5, *sample.grid.shape)
        np.testing.assert_allclose(out.soft.sum(axis=0), 1, atol=1e-6)
        clear = np.abs(out.soft - 0.5).min(axis=0) > 1e-6
        np.testing.assert_array_equal(out.soft.argmax(axis=0)[clear], out.label[clear])


def test_ignored_values_have_no_probability():
    sample, partner = pair(2)
    sample.label[0, 0] = 255  # a raster's label that is no class
    out, step = mixed(msa.MixUp(classes=5), sample, partner)
    np.testing.assert_allclose(out.soft[:, 0, 0].sum(), step.params[0], atol=1e-6)
    with pytest.raises(msa.ConfigError, match=r"holds \[4\]"):
        mixed(msa.MixUp(classes=4), sample, partner)
    with pytest.raises(msa.ConfigError, match="how many classes"):
        mixed(msa.MixUp(), sample, partner)
    out, _ = mixed(msa.MixUp(), sample.replace(label=None), partner)
    assert (out.label, out.soft) == (None, None)


@pytest.mark.parametrize("ndim", [2, 3])
def test_cut_mix_is_a_box_of_its_part(ndim):
    shape = {2: (300, 200), 3: (60, 50, 40)}[ndim]
    sample = phantoms.sample(ndim, image=np.zeros((1, *shape), np.float32), channels=(),
                             label=None, grid=phantoms.grid(ndim, shape))  # fmt: skip
    partner = sample.replace(image=sample.image + 1, id="ones")
    whole = 0
    for seed in range(30):
        out, step = mixed(msa.CutMix(), sample, partner, seed)
        ends = np.array(step.params, int).reshape(-1, 2)
        box = tuple(slice(a, b) for a, b in ends)
        assert out.image[0][box].all()
        assert out.image.sum() == np.prod(ends[:, 1] - ends[:, 0])
        inside = np.all(ends[:, 0] > 0) and np.all(ends[:, 1] < shape)
        if inside:
            plan = msa.Pipeline([msa.CutMix()]).plan(sample, seed, partners=[partner])
            part = float(plan.drawn[0][1]["lambda"])
            np.testing.assert_allclose(out.image.mean(), 1 - part, atol=0.02)
            whole += 1
    assert whole > 1


def test_class_mix_pastes_half_of_the_classes_whole():
    sample, partner = pair()
    sets = set()
    for seed in range(12):
        out, _ = mixed(msa.ClassMix(), sample, partner, seed)
        theirs = source(out, sample, partner)
        pasted = {c for c in (0, 1, 4) if theirs[partner.label == c].all()}
        np.testing.assert_array_equal(theirs, np.isin(partner.label, [*pasted]))
        assert len(pasted) == 2  # half of three, rounded up
        sets.add(frozenset(pasted))
    assert len(sets) == 3
    out, _ = mixed(msa.ClassMix(classes=[4]), sample, partner)
    np.testing.assert_array_equal(source(out, sample, partner), partner.label == 4)


def test_mosaic_shows_a_quarter_of_each():
    shape = (3, 40, 30)
    made = [msa.Sample(image=np.full(shape, n, np.uint8), axes="ZYX", id=f"{n}") for n in range(5)]
    corners = set()
    for seed in range(20):
        plan = msa.Pipeline([msa.Mosaic()]).plan(made[0], seed, partners=made[1:])
        out = plan(made[0]).image[0]
        assert (out == out[0]).all()
        used = [int(step.partner) for step in mixes(plan)]
        y, x = map(int, mixes(plan)[0].params[1:])
        assert 10 <= y <= 30
        assert 7 <= x <= 23
        quarters = [out[0, :y, :x], out[0, :y, x:], out[0, y:, :x], out[0, y:, x:]]
        assert all((q == q[0, 0]).all() for q in quarters)
        shown = [int(q[0, 0]) for q in quarters]
        assert [n for n in shown if n] == used
        corners.add(shown.index(0))
    assert corners == {0, 1, 2, 3}


def scattered() -> tuple[Sample, Sample]:
    """Six objects of two classes on an empty background, some of which touch at corners."""
    label = np.zeros((6, 30, 30), np.uint8)
    for n, at in enumerate([(1, 2, 2), (1, 2, 9), (3, 12, 4), (1, 20, 20), (2, 5, 20)]):
        label[tuple(slice(a, a + 3) for a in at)] = 1 + n % 2
    label[4:6, 23:25, 23:25] = 1  # hangs together with one by a corner
    rng = np.random.default_rng(3)
    image = rng.random(label.shape).astype(np.float32)
    partner = msa.Sample(image=image + 5, label=label, axes="ZYX", spacing=(3, 1, 1), id="b")
    sample = msa.Sample(image=image, label=label[:, ::-1], axes="ZYX", spacing=(3, 1, 1), id="a")
    return sample, partner


def test_copy_paste_pastes_whole_objects():
    sample, partner = scattered()
    objects, count = ndimage.label(partner.label > 0, np.ones((3, 3, 3)))
    assert count == 5
    numbers = []
    for seed in range(40):
        out, _ = mixed(msa.CopyPaste(), sample, partner, seed)
        theirs = (out.image == partner.image)[0]
        pasted = np.unique(objects[theirs])
        np.testing.assert_array_equal(theirs, np.isin(objects, pasted))
        np.testing.assert_array_equal(out.label, np.where(theirs, partner.label, sample.label))
        numbers.append(len(pasted))
    assert min(numbers) >= 1
    assert 2 < np.mean(numbers) < 3.2  # half of five
    out, _ = mixed(msa.CopyPaste(classes=[2], objects=1), sample, partner)
    np.testing.assert_array_equal((out.image == partner.image)[0], partner.label == 2)


def test_copy_paste_moves_by_voxels_and_lengths():
    sample, partner = scattered()
    out, _ = mixed(msa.CopyPaste(objects=1, shift={"x": 4, "z": "3mm"}), sample, partner)
    moved = np.zeros_like(partner.image)
    moved[:, 1:, :, 4:] = partner.image[:, :-1, :, :-4]
    objects = np.zeros_like(partner.label)
    objects[1:, :, 4:] = partner.label[:-1, :, :-4]
    np.testing.assert_array_equal(out.label, np.where(objects, objects, sample.label))
    np.testing.assert_array_equal(out.image, np.where(objects, moved, sample.image))


def test_soft_edges_are_those_of_a_blurred_step():
    label = np.zeros((40, 40), np.uint8)
    label[:, 20:] = 1
    label[5, 5] = 1
    zeros = np.zeros((40, 40), np.float32)
    sample = msa.Sample(image=zeros, label=label * 0, axes="YX", spacing=(1, 1), id="a")
    partner = msa.Sample(image=zeros + 1, label=label, axes="YX", spacing=(1, 1), id="b")
    for edge in (1.5, "1.5mm"):
        out, _ = mixed(msa.CopyPaste(objects=1, edge=edge), sample, partner)
        expected = special.ndtr((np.arange(12, 40) - 19.5) / 1.5)
        np.testing.assert_allclose(out.image[0, 30, 12:], expected, atol=1e-4)
        np.testing.assert_array_equal(out.label, label)  # sharp, the single voxel too
        assert 0.5 < out.image[0, 5, 5] < 1


@pytest.mark.parametrize("spacing", [(1, 1, 1), (3, 1, 1.5)])
def test_carve_mix_is_a_level_of_the_signed_distance(spacing):
    label = np.zeros((20, 40, 40), np.uint8)
    label[5:12, 8:20, 8:18] = 1
    label[14:16, 30:34, 30:33] = 2
    image = np.random.default_rng(0).random(label.shape).astype(np.float32)
    sample = msa.Sample(image=image, label=label[:, ::-1], axes="ZYX", spacing=spacing, id="a")
    partner = msa.Sample(image=image + 5, label=label, axes="ZYX", spacing=spacing, id="b")
    lesion, parts = label > 0, []
    inside = ndimage.distance_transform_edt(lesion, sampling=spacing)
    signed = np.where(lesion, -inside, ndimage.distance_transform_edt(~lesion, sampling=spacing))
    for seed in range(20):
        out, step = mixed(msa.CarveMix(), sample, partner, seed)
        parts.append(step.params[0])
        expected = signed < parts[-1] * inside.max()
        theirs = (out.image == partner.image)[0]
        np.testing.assert_array_equal(theirs, expected)
        np.testing.assert_array_equal(out.label, np.where(theirs, label, sample.label))
    parts = np.array(parts)
    assert -0.5 <= parts.min() < -0.3
    assert 0.6 < parts.max() <= 1
    assert 4 <= (parts < 0).sum() <= 16  # even odds


@pytest.mark.parametrize("transform", ALL, ids=names)
def test_nothing_changes_where_data_lack(transform):
    sample, partner = pair()
    holes, gaps = phantoms.holes(3), np.zeros((3, *phantoms.SHAPES[3]), bool)
    gaps[1, :, 8] = True  # in one channel alone
    sample.valid, partner.image[gaps] = holes, np.nan
    before = partner.image.copy(), partner.label.copy()
    out, _ = mixed(transform, sample, partner)
    np.testing.assert_array_equal(np.broadcast_to(out.valid, holes.shape), holes)
    lacking = ~holes[0] | gaps.any(axis=0)
    np.testing.assert_array_equal(out.image[:, lacking], sample.image[:, lacking])
    np.testing.assert_array_equal(out.label[lacking], sample.label[lacking])
    assert np.isfinite(out.image).all()
    assert (out.image != sample.image).any()
    np.testing.assert_array_equal(partner.image, before[0])
    np.testing.assert_array_equal(partner.label, before[1])


def test_integers_without_data_are_never_pasted():
    sample, partner = pair(3, "int16")
    partner.valid, partner.image = phantoms.holes(3), partner.image + 9000
    out, _ = mixed(msa.CutMix(alpha=5), sample, partner)
    gaps = ~partner.valid[0]
    np.testing.assert_array_equal(out.image[:, gaps], sample.image[:, gaps])
    assert out.valid is None
    assert (out.image > 8000).any()


def test_the_partner_goes_through_what_stands_before():
    sample, partner = pair(3, "uint8")

    def shown(*before: Any) -> msa.Plan:
        """Plan by which the lower right quarter, the partner's, is the whole image."""
        return msa.Pipeline([*before, msa.Mosaic(centre=0)]).plan(sample, 3, partners=[partner])

    plan = shown(msa.Flip(axes="z", p=1), msa.Brightness(offset=3))
    assert mixes(plan)[-1].params[0] == 3
    np.testing.assert_array_equal(plan(sample).image, partner.image[:, ::-1] + 3)
    np.testing.assert_array_equal(plan(sample).label, partner.label[::-1])
    # By its own statistics, and with numbers of its own.
    alone = msa.Normalize()(partner, seed=0)
    np.testing.assert_allclose(shown(msa.Normalize())(sample).image, alone.image, rtol=1e-5)
    plan = shown(msa.Translate(offset=(-3, 3)))
    inner = [step.plan.segments[0].spatial.matrix for step in mixes(plan)]
    assert not np.array_equal(inner[0], plan.segments[0].spatial.matrix)
    assert not np.array_equal(inner[0], inner[1])
    # Values are rounded once, at the end.
    faint = msa.Brightness(offset=0.3)
    pipeline = msa.Pipeline([faint, msa.Mosaic(centre=0), faint])
    out = pipeline(sample, seed=3, partners=[partner])
    np.testing.assert_array_equal(out.image, partner.image + 1)


def test_mixes_before_a_mix_are_not_for_the_partner():
    sample, partner = pair()
    chain = [msa.Mosaic(), {"one_of": {"transforms": [{"cut_mix": {}}]}}, msa.MixUp(classes=5)]
    plan = msa.Pipeline(chain).plan(sample, 1, partners=[partner])
    found = mixes(plan)
    assert len(found) == 5
    assert all(not mixes(step.plan) for step in found)
    assert plan(sample).soft is not None


def test_in_a_choice_the_partner_goes_through_the_children_before():
    sample, partner = pair(2)
    children = [{"crop": {"size": 9}}, {"normalize": {}}, {"mix_up": {"classes": 5}}]
    pipeline = msa.Pipeline([{"some_of": {"transforms": children, "count": 3}}])
    plan = pipeline.plan(sample, 1, partners=[partner])
    inner = mixes(plan)[0].plan
    assert inner.grid.shape == (9, 9)
    assert [name for name, _ in inner.drawn] == ["Crop", "Normalize"]
    assert isinstance(inner.segments[0].spatial, SpatialMap)
    assert plan(sample).image.shape == (3, 9, 9)


def test_probabilities_given_are_mixed_as_they_are():
    sample, partner = pair(2)
    soft = np.random.default_rng(0).dirichlet([1, 1], sample.grid.shape).transpose(2, 0, 1)
    sample.soft, partner.soft = soft.astype(np.float32), soft[::-1].astype(np.float32)
    out, step = mixed(msa.MixUp(), sample, partner)
    share = step.params[0]
    np.testing.assert_allclose(out.soft, (1 - share) * soft + share * soft[::-1], atol=1e-6)
    out, _ = mixed(msa.CutMix(), sample, partner)
    theirs = (out.image == partner.image).all(axis=0)
    np.testing.assert_array_equal(out.soft, np.where(theirs, partner.soft, sample.soft))
    assert not np.shares_memory(msa.Gamma()(sample, seed=1).soft, sample.soft)
    with pytest.raises(msa.ConfigError, match="classes"):
        mixed(msa.CutMix(), sample, partner.replace(soft=None))
    with pytest.raises(msa.ConfigError, match="same classes"):
        mixed(msa.CutMix(), sample, partner.replace(soft=partner.soft[:1]))


def test_label_values_that_do_not_fit_are_refused():
    sample, partner = pair(2)
    wide = partner.replace(label=partner.label.astype(np.int32) * 100)
    with pytest.raises(msa.ConfigError, match="uint8"):
        mixed(msa.CopyPaste(), sample, wide)
    fitting = partner.replace(label=partner.label.astype(np.int32))
    out, _ = mixed(msa.CopyPaste(), sample, fitting)
    assert out.label.dtype == np.uint8


def test_a_class_stands_once_among_the_probabilities():
    with pytest.raises(msa.ConfigError, match=r"MixUp.classes.*\[0, 0, 1\]: each label value"):
        msa.MixUp(classes=[0, 0, 1])
