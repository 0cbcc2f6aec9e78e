"""Policies: what they draw, in which order it acts, and that a magnitude shows as much in all."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import medsataug as msa
from medsataug.maps import SpatialMap
from medsataug.transforms import _policies as policies
from medsataug.transforms import recipe_name
from medsataug.values import Stencil, Tile
from tests import phantoms
from tests.benchmarks import calibrate
from tests.harness import assert_same, steps_of

SPACES = [(d, n) for d in policies.DOMAINS for n in ((2, 3) if d == "medical" else (2,))]


@pytest.mark.parametrize(("domain", "ndim"), SPACES)
def test_tables_are_whole(domain, ndim):
    asked = calibrate.STEP * np.arange(policies.MOST + 1)
    for name, operation in policies.space(domain).items():
        strengths, changes = operation.strengths[ndim], np.array(operation.changes[ndim])
        assert len(strengths) == len(changes) == policies.MOST + 1
        assert strengths[0] == 0, name
        assert np.all(np.diff(strengths) >= 0), name
        assert strengths[-1] <= operation.limit
        capped = np.array(strengths) >= operation.limit
        free = ~capped & (np.array(strengths) > 0)
        # What is written was measured on draws that the strengths were not found with.
        # Low resolution goes by whole voxels.
        near = calibrate.TOO_MUCH - 1 if name == "low_resolution" else 0.3
        np.testing.assert_allclose(changes[free], asked[free], rtol=near, atol=0.03, err_msg=name)
        assert np.all(changes[capped] < 1.3 * asked[capped]), name


@pytest.mark.parametrize(("domain", "name", "m"), [
    ("rgb", "rotate", 7), ("rgb", "gamma", 4), ("sar", "gaussian_noise", 6),
    ("sar", "translate", 8), ("multispectral", "gaussian_blur", 5), ("medical", "contrast", 8),
    ("medical", "elastic", 5),
])  # fmt: skip
def test_what_is_written_is_what_is_measured(domain, name, m):
    operation = policies.space(domain)[name]
    got = calibrate.change(operation, domain, 2, operation.strengths[2][m], calibrate.UNSEEN)
    assert got == pytest.approx(operation.changes[2][m], rel=0.02, abs=0.002)
    other = calibrate.change(operation, domain, 2, operation.strengths[2][m], first=500, draws=4)
    assert other == pytest.approx(calibrate.STEP * m, rel=0.35)


def test_visible_change_is_that_of_a_shift_and_of_nothing():
    sample, front = calibrate.samples("rgb", 2)[0]
    assert calibrate.visible(sample, sample, front) == 0
    grey = sample.replace(image=np.asarray(sample.image, np.float32))
    shifted = msa.Brightness(offset="30%")(grey, seed=1)
    assert calibrate.visible(grey, shifted, front) == pytest.approx(0.3, abs=0.005)


def large(ndim, dtype="uint8"):
    shape = (56, 72, 80)[-ndim:]
    return phantoms.sample(
        ndim, dtype, image=phantoms.image(ndim, dtype, shape=shape),
        grid=phantoms.grid(ndim, shape), label=phantoms.label(ndim, shape=shape),
    )  # fmt: skip


@pytest.mark.parametrize(("domain", "ndim"), SPACES)
def test_every_operation_acts_at_any_magnitude_and_none_at_zero(domain, ndim):
    sample = large(ndim)
    for name, operation in policies.space(domain).items():
        assert not steps_of(operation.at(0, ndim), sample), name
        for m in (5, 7.5, 10):
            made = operation.at(m, ndim)
            assert recipe_name(type(made).__name__) == next(iter(operation.transform))
            assert steps_of(made, sample), name


def test_between_rows_strengths_lie_between():
    operation = policies.space("rgb")["gaussian_blur"]
    low, high = operation.strengths[2][4:6]
    assert operation.at(4.5, 2).sigma.values[0] == pytest.approx((low + high) / 2, rel=1e-6)


@pytest.mark.parametrize("kind", [msa.RandAugment, msa.TrivialAugment])
def test_each_is_drawn_as_often(kind):
    sample, n = large(2), 1200
    names = policies.space("sar")
    made = msa.Pipeline([kind(domain="sar", m=1)])
    drawn = Counter()
    for index in range(n):
        for _, log in made.plan(sample, seed=1, index=index).drawn:
            drawn.update(log["chose"].split(", "))
    count = 2 if kind is msa.RandAugment else 1
    p = 1 / (len(names) + 1)  # identity is one more
    assert len(drawn) == len(names)
    assert abs(drawn.total() - count * n * (1 - p)) < 4 * np.sqrt(count * n * p * (1 - p))
    for name, found in drawn.items():
        assert abs(found - count * n * p) < 4 * np.sqrt(count * n * p * (1 - p)), name


def test_geometry_acts_first_and_noise_last():
    """Whatever is drawn: one resampling, and statistics of the case that hold."""
    sample = phantoms.sample(2)
    names = [n for n in policies.space("rgb") if n != "elastic"]
    made = msa.RandAugment(domain="rgb", n=20, m=4, operations=names)
    found = set()
    for index in range(4):
        plan = msa.Pipeline([made]).plan(sample, seed=1, index=index)
        (segment,) = plan.segments
        assert isinstance(segment.spatial, SpatialMap)
        ranks = [
            2 if isinstance(s, Stencil) else 3 if s.kernel == "gaussian_noise" else 1
            for s in segment.steps
            if isinstance(s, (Tile, Stencil))
        ]
        assert ranks == sorted(ranks)
        found |= {*ranks}
    assert found == {1, 2, 3}


def test_one_drawn_twice_draws_twice():
    made = msa.RandAugment(domain="sar", n=8, m=6, operations=["gaussian_noise"])
    keys = [s.key for s in steps_of(made, phantoms.sample(2))]
    assert len(set(keys)) == 8


def test_other_magnitude_same_draws():
    sample = phantoms.sample(2)
    names = [n for n in policies.space("rgb") if n != "elastic"]
    logs = [
        dict(msa.Pipeline([msa.RandAugment(domain="rgb", n=5, m=m, operations=names)])
             .plan(sample, seed=5).drawn)["RandAugment"]
        for m in (1, 9)
    ]  # fmt: skip
    assert logs[0]["chose"] == logs[1]["chose"]
    assert logs[0] != logs[1]


def test_magnitude_follows_training():
    sample = phantoms.sample(2)
    made = msa.Schedule(
        transforms=[{"rand_augment": {"domain": "rgb", "operations": ["contrast"]}}],
        vary={"m": {"linear": [0, 8]}},
    )
    off = msa.Pipeline([made])(sample, seed=2, progress=0)
    assert_same(off, msa.Pipeline([])(sample, seed=2))
    plan = msa.Pipeline([made]).plan(sample, seed=2, progress=0.5)
    assert dict(plan.drawn)["Schedule"]["RandAugment m"] == "4"


@pytest.mark.parametrize("domain", policies.DOMAINS)
def test_labels_keep_their_values_and_zero_is_the_identity(domain):
    sample = large(2)
    strong = msa.Pipeline([msa.RandAugment(domain=domain, n=4, m=10)])
    for index in range(4):
        out = strong(sample, seed=1, index=index)
        assert set(np.unique(out.label)) <= {0, 255, *np.unique(sample.label)}
        assert np.any(out.image != sample.image)
        assert_same(strong.plan(sample, 1, index)(sample), out)
    none = msa.Pipeline([msa.RandAugment(domain=domain, n=4, m=0)])(sample, seed=1)
    assert_same(none, msa.Pipeline([])(sample, seed=1))


def test_an_empty_background_stays_empty_and_water_does_not():
    rng = np.random.default_rng(0)
    stripped = np.zeros((1, 40, 40), np.float32)
    stripped[0, 8:30, 10:32] = rng.normal(100, 20, (22, 22))
    scan = rng.normal(0, 300, (1, 40, 40)).round().astype(np.float32)  # 0 is a value like others
    made = msa.RandAugment(domain="medical", n=2, m=8, operations=["brightness"])
    for image, empty in ((stripped, True), (scan, False)):
        for seed in range(6):
            out = made(image=image, axes="CYX", seed=seed)
            if np.array_equal(out.image, image):
                continue  # once up, once down
            assert (not out.image[image == 0].any()) == empty


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"domain": "mri"}, r"RandAugment\.domain: .*'medical', 'multispectral', 'rgb' or 'sar'"),
        ({}, r"RandAugment\.domain: Field required"),
        ({"domain": "sar", "operations": ["rotate"]}, r"no operation 'rotate' in domain 'sar'"),
        ({"domain": "sar", "m": 11}, r"RandAugment\.m: 11 is out of range"),
        ({"domain": "sar", "operations": []}, r"RandAugment\.operations"),
    ],
)
def test_mistakes_are_named(given, message):
    with pytest.raises(msa.ConfigError, match=message):
        msa.RandAugment(**given)


@pytest.mark.parametrize("kind", [msa.RandAugment, msa.TrivialAugment])
@pytest.mark.parametrize("domain", ["rgb", "multispectral", "sar"])
def test_domains_of_images_are_not_for_volumes(kind, domain):
    for given in ({"p": 1}, {"p": 1e-9}, {"m": 0}):
        with pytest.raises(msa.ConfigError, match=rf"domain: '{domain}' is for 2D.*medical"):
            msa.Pipeline([kind(domain=domain, **given)]).plan(phantoms.sample(3), 1)
        assert msa.Pipeline([kind(domain=domain, **given)]).plan(phantoms.sample(2), 1)
