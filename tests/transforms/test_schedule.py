"""Schedules: values that follow training, draws that do not."""

from __future__ import annotations

import numpy as np
import pytest

import medsataug as msa
from medsataug.errors import ConfigError
from medsataug.ranges import Range
from tests import phantoms
from tests.harness import assert_same


def schedule(child, **vary):
    return msa.Schedule(transforms=[child], vary=vary)


def field(way, progress, name="exponent"):
    (made,) = schedule({"gamma": {}}, **{name: way}).at(progress)
    return made.model_dump(mode="json")[name]


@pytest.mark.parametrize(
    ("way", "at", "value"),
    [
        ({"linear": [0.3, 1.0]}, 0, 0.3),
        ({"linear": [0.3, 1.0]}, 0.5, 0.65),
        ({"linear": [0.3, 1.0]}, 1, 1.0),
        ({"cosine": [0, 1]}, 0.25, (1 - np.cos(np.pi / 4)) / 2),
        ({"piecewise": {"at": [0.2, 0.4], "values": [0.1, 0.9]}}, 0.1, 0.1),
        ({"piecewise": {"at": [0.2, 0.4], "values": [0.1, 0.9]}}, 0.3, 0.5),
        ({"piecewise": {"at": [0.2, 0.4], "values": [0.1, 0.9]}}, 0.7, 0.9),
        ({"piecewise": {"at": [0.5], "values": [0.2]}}, 0.7, 0.2),
        ({"step": {"at": [0.3, 0.6], "values": [0, 0.5, 1]}}, 0.29, 0),
        ({"step": {"at": [0.3, 0.6], "values": [0, 0.5, 1]}}, 0.3, 0.5),
        ({"step": {"at": [0.3, 0.6], "values": [0, 0.5, 1]}}, 1, 1),
    ],
)
def test_ways(way, at, value):
    assert field(way, at, "p") == pytest.approx(value, abs=1e-9)


def test_ranges_and_units_go_too():
    assert field({"linear": [[0.9, 1.1], [0.5, 2]]}, 0.5) == [0.7, 1.55]
    way = {"linear": [["0mm", "1mm"], ["0mm", "2mm"]]}
    made = msa.Schedule(transforms=[{"elastic": {"spacing": "16mm"}}], vary={"magnitude": way})
    assert made.at(0.5)[0].model_dump(mode="json")["magnitude"] == ["0mm", "1.5mm"]
    spread = {"linear": [{"z": [-5, 5]}, {"z": [-30, 30]}]}
    made = msa.Schedule(transforms=[{"rotate": {}}], vary={"degrees": spread})
    assert made.at(0.2)[0].model_dump(mode="json")["degrees"] == {"z": [-10, 10]}


def test_only_values_follow_progress_not_draws():
    sample = phantoms.sample(2)
    made = msa.Pipeline(
        [
            schedule({"gamma": {}}, exponent={"linear": [[1, 2], [2, 4]]}),
            msa.GaussianNoise(std=1),
        ]
    )
    early, late = (made.plan(sample, seed=3, progress=t) for t in (0, 1))
    first, last = (plan.segments[0].steps[0].params[0][0] for plan in (early, late))
    assert last == pytest.approx(2 * first)  # the same uniform number in a range twice as large
    assert early.drawn[1] == late.drawn[1]
    off = msa.Pipeline([schedule({"gamma": {}}, p={"linear": [0, 1]}), msa.GaussianNoise(std=1)])
    alone = msa.Pipeline([msa.GaussianNoise(std=1)])
    assert_same(off(sample, seed=3, progress=0), alone(sample, seed=3))
    assert np.any(off(sample, seed=3, progress=1).image != alone(sample, seed=3).image)


def test_p_is_the_share_of_copies_that_are_flipped():
    sample, n = phantoms.sample(2), 2000
    made = msa.Pipeline([schedule({"flip": {"axes": "x"}}, p={"linear": [0.3, 1.0]})])
    for progress, p in ((0, 0.3), (0.5, 0.65), (1, 1.0)):
        hits = sum(bool(made.plan(sample, 1, i, progress).segments) for i in range(n))
        assert abs(hits / n - p) <= 4 * np.sqrt(p * (1 - p) / n)


def test_several_transforms_are_varied_at_once():
    made = msa.Schedule(
        transforms=[{"gamma": {"exponent": 2}}, {"brightness": {"offset": 5}}],
        vary={"p": {"step": {"at": [0.5], "values": [0, 1]}}},
    )
    sample = phantoms.sample(2)
    assert not msa.Pipeline([made]).plan(sample, 1, progress=0.4).segments
    assert len(msa.Pipeline([made]).plan(sample, 1, progress=0.5).segments[0].steps) == 2


def test_unit_change_of_a_child_is_seen():
    made = msa.Pipeline([schedule({"normalize": {}}, p={"linear": [0, 1]})])
    assert made(phantoms.sample(2), seed=1).image.dtype == np.float32


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"exponnt": {"linear": [1, 2]}}, "Gamma has no field 'exponnt'; allowed: "),
        ({"exponent": {"linear": [1]}}, "linear goes from one value to another"),
        ({"exponent": {"quadratic": [1, 2]}}, "one of linear, cosine, step, piecewise"),
        ({"exponent": {"linear": [1, -2]}}, "at progress 1, Gamma.exponent: -2 is out of range"),
        ({"exponent": {"linear": [1, [1, 2]]}}, "are not of one form"),
        ({"exponent": {"step": {"at": [0.5], "values": [1]}}}, "one value more than points"),
        ({"exponent": {"piecewise": {"at": [0.5, 0.2], "values": [1, 2]}}}, "'at' rises"),
        ({"scope": {"linear": ["case", "output"]}}, "with 'step' values may be words"),
    ],
)
def test_mistakes_are_named(vary, message):
    with pytest.raises(ConfigError, match=r"Schedule\.vary") as error:
        msa.Schedule(transforms=[{"gamma": {}}], vary=vary)
    assert message in str(error.value)


def test_a_mix_that_comes_later_is_seen_from_the_start():
    """Probabilities are in every result, or batches of an epoch would differ."""
    sample = phantoms.sample(2)
    mix = schedule({"mix_up": {"p": 0, "classes": [0, 1, 4]}}, p={"linear": [0, 1]})
    for progress in (0, 1):
        partners = phantoms.partners(sample)
        out = msa.Pipeline([mix])(sample, seed=1, progress=progress, partners=partners)
        assert out.soft is not None


@pytest.mark.parametrize("progress", [-0.1, 1.5, float("nan"), "half", None])
def test_progress_is_from_0_to_1(progress):
    with pytest.raises(ConfigError, match="progress: a number from 0 to 1"):
        msa.Pipeline([]).plan(phantoms.sample(2), 1, progress=progress)


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ({"piecewise": {"at": 0.5, "values": [1]}}, "are lists"),
        ({"step": {"at": [0.3], "values": 5}}, "are lists"),
        ({"step": {"at": [0.3, "x"], "values": [0, 1, 1]}}, "numbers from 0 to 1"),
    ],
)
def test_points_that_are_none_are_refused(way, message):
    with pytest.raises(ConfigError, match=message):
        schedule({"flip": {"axes": "x"}}, p=way)


@pytest.mark.parametrize(
    ("child", "vary"),
    [
        ({"rand_augment": {"domain": "medical"}}, {"n": {"linear": [1, 3]}}),
        ({"patch": {"size": 8}}, {"size": {"linear": [8, 16]}}),
        ({"patch": {"size": 8}}, {"size": {"piecewise": {"at": [0.5, 1], "values": [8, 12]}}}),
    ],
)
def test_whole_numbers_go_by_step_alone(child, vary):
    with pytest.raises(ConfigError, match=r"Schedule\.vary: at progress .*'step' alone"):
        schedule(child, **vary)
    name = next(iter(vary))
    assert schedule(child, **{name: {"step": {"at": [0.5], "values": [8, 16]}}})
    assert schedule(child, **{name: {"linear": [8, 8]}})


@pytest.mark.parametrize("ends", [["0%", 5], [5, "0%"], [[0, "0%"], [0, 5]], ["0%", "1rho"]])
def test_only_a_bare_0_lacks_a_unit(ends):
    with pytest.raises(ConfigError, match="one form and unit"):
        schedule({"gaussian_noise": {}}, std={"linear": ends})


def test_a_bare_0_goes_with_every_unit():
    way = {"piecewise": {"at": [0, 0.5, 1], "values": ["5%", 0, "10%"]}}
    (made,) = schedule({"gaussian_noise": {}}, std=way).at(0.75)
    assert made.model_dump(mode="json")["std"] == "5%"
    way = {"piecewise": {"at": [0, 0.5, 1], "values": [0, "5%", 5]}}
    with pytest.raises(ConfigError, match="one form and unit"):
        schedule({"gaussian_noise": {}}, std=way)


@pytest.mark.parametrize("kind", ["step", "piecewise"])
def test_points_that_are_nan_are_refused(kind):
    values = [0, 1] if kind == "step" else [1]
    with pytest.raises(ConfigError, match="'at' rises between 0 and 1"):
        schedule({"gamma": {}}, p={kind: {"at": [float("nan")], "values": values}})


def test_numbers_of_numpy_are_kept_as_plain_ones(tmp_path):
    values = [np.float32(0.25), np.float64(0.75)]
    given = msa.Pipeline(
        [
            schedule({"gamma": {}}, p={"step": {"at": np.array([0.5]), "values": values}}),
            schedule({"gamma": {}}, exponent={"linear": [(1, np.float32(2)), np.array([2, 3])]}),
            schedule(
                {"gamma": {}}, exponent={"step": {"at": [0.5], "values": [Range.of((1, 2)), 3]}}
            ),
        ]
    )
    again = msa.Pipeline.load(given.save(tmp_path / "r.yaml"))
    assert again.transforms == given.transforms
    assert again.transforms[0].at(0)[0].p == 0.25
    with pytest.raises(ConfigError, match="numbers, words, and lists of them expected, got object"):
        schedule({"gamma": {}}, p={"step": {"at": [0.5], "values": [0, object()]}})
