"""What `explain` says of time: every part is there, and the parts make up the whole."""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import medsataug as msa
from medsataug import costs, explain, threads, timing
from medsataug.kernels import gather
from medsataug.plan import Plan, Segment
from medsataug.transforms.base import Cases, Transform
from medsataug.types import Sample
from medsataug.values import ChannelAffine, Mix
from tests import harness
from tests.commands import call, volume

CHAIN = [
    {"elastic": {"spacing": 16, "magnitude": 2}},
    {"intensity_scale": {"gain": 1.1, "field": 0}},
    {"gamma": {"exponent": 0.8}},
    {"gaussian_noise": {"std": 1}},
]


def brain(side: int = 72) -> Sample:
    rng = np.random.default_rng(0)
    image = rng.normal(100, 20, (3, side, side, side)).astype(np.float32)
    label = (image[0] > 110).astype(np.uint8)
    return Sample(image=image, label=label, axes="CZYX", spacing=(1, 1, 1), id="brain")


def watched(
    plan: Plan, sample: Sample, partners: Any = None
) -> tuple[timing.Stopwatch, float, Sample]:
    """What a clock heard, the seconds by another, and the result."""
    started, watch = time.perf_counter(), timing.Stopwatch()
    with timing.listening(watch):
        result = plan(sample, partners)
    watch.turn("end")
    return watch, time.perf_counter() - started, result


@pytest.mark.parametrize("number", [1, 3])
def test_parts_make_up_the_whole(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSATAUG_THREADS", str(number))
    sample = brain()
    plan = msa.Pipeline(CHAIN).plan(sample, seed=1)
    plain = plan(sample)
    watch, wall, result = watched(plan, sample)
    of_passes = {part: s for part, s in watch.seconds.items() if part[0] == 1}
    names = {name for _, name in of_passes}
    assert names >= {"positions", "image", "label", 0, 1, 2, "search"}
    assert min(of_passes[1, name] for name in ("positions", "image", "label", 0, 1, 2)) > 0
    assert math.isclose(sum(watch.seconds.values()), wall, rel_tol=0.05)
    assert sum(of_passes.values()) > 0.8 * sum(watch.seconds.values())
    np.testing.assert_array_equal(result.image, plain.image)
    np.testing.assert_array_equal(result.label, plain.label)


def test_every_line_has_its_time_and_lines_add_up() -> None:
    sample = brain(40)
    chain = [*CHAIN, {"gaussian_blur": {"sigma": 1}}, {"rotate": {"degrees": 9}}, *CHAIN[2:]]
    plan = msa.Pipeline(chain).plan(sample, seed=1)
    cost = timing.measure(lambda: plan(sample))
    told = explain.as_json(plan, cost)["cost"]
    lines = told["lines"]
    passes = [line for line in lines if line["level"] == 0 and line["text"].startswith("pass")]
    assert [line["text"] for line in passes] == ["pass 1", "pass 2"]
    whole = sum(line["ms"] for line in lines if line["level"] == 0)
    assert 0.8 * told["total_ms"] < whole <= 1.001 * told["total_ms"]
    first, second = (lines.index(line) for line in passes)
    for start, stop in ((first, second), (second, len(lines))):
        own = [line for line in lines[start + 1 : stop] if line["level"] == 1]
        assert math.isclose(sum(x["ms"] for x in own), lines[start]["ms"], rel_tol=0.02)
    # Every step of the plan has a line, in the plan's words.
    for line in plan.explain().split("drawn:")[1].splitlines():
        if line.startswith(("pass", "  scale", "  gamma", "  gaussian", "  resample")):
            assert line.strip().rstrip(":") in [told["text"] for told in lines]
    values_out = math.prod(plan.grid.shape) * 3
    last = passes[-1]
    assert math.isclose(last["ns_per_value"], last["ms"] * 1e6 / values_out, rel_tol=1e-2)


def test_a_number_a_voxel_counts_channels_after_mixing() -> None:
    sample = brain(24)
    mixing = ChannelAffine(np.ones((1, 3)), np.zeros(1), ("sum",))
    plan = replace(msa.Pipeline([]).plan(sample, seed=1), segments=(Segment(None, (mixing,)),))
    told = explain.as_json(plan, timing.Cost({(1, 0): 1e-3}, 2e-3, 1, 1.0, 1))["cost"]
    line = next(line for line in told["lines"] if line["text"].startswith("mix 3 channels"))
    assert (line["ms"], line["share"]) == (1, 0.5)
    assert math.isclose(line["ns_per_value"], 1e6 / 24**3, rel_tol=1e-3)


def test_plan_explains_with_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = brain(24)
    plan = msa.Pipeline(CHAIN).plan(sample, seed=1)
    monkeypatch.setenv("MEDSATAUG_THREADS", "2")
    text = plan.explain(time=sample)
    assert text.startswith(plan.explain().split("pass 1")[0])
    assert "on 2 threads" in text
    rows = [line for line in text.splitlines() if re.match(r" +\d+\.\d\d ", line)]
    assert len(rows) >= 9
    for row in rows:  # in columns
        assert re.fullmatch(r"[ \d]{7}\.\d\d[ \d]{7}\.\d\d[ \d]{5}\.\d%    .+", row)


def test_nobody_listens_unless_asked() -> None:
    off = timing.clock()
    assert type(off) is timing.Clock
    assert off.of("image", gather.linear_3d) is gather.linear_3d
    with timing.listening(timing.Stopwatch()):
        assert type(timing.clock()) is timing.Stopwatch
        with timing.listening():
            assert type(timing.clock()) is timing.Clock
    assert type(timing.clock()) is timing.Clock


def test_a_turn_is_shared_out_in_proportion() -> None:
    watch = timing.Stopwatch()
    watch.enter(1)
    short, long = (watch.of(name, time.sleep) for name in ("short", "long"))
    watch.turn("both")
    threads.run(lambda seconds: (long if seconds > 0.01 else short)(seconds), [0.005, 0.02] * 2)
    watch.turn("end")
    assert (1, "both") not in watch.seconds
    assert watch.seconds[1, "long"] > watch.seconds[1, "short"] > 0


def test_a_partner_is_timed_as_its_step() -> None:
    class Probe(Transform):
        cases: ClassVar[Cases] = Cases(None, {}, why="a probe")

        def sample(self, draws: Any, state: Any) -> Any:
            return (step,)

        @staticmethod
        def first(label: Any, shape: Any, params: Any) -> Any:
            return 1.0

    sample = brain(24)
    inner = msa.Pipeline(CHAIN).plan(sample, seed=1)
    step = Mix("probe:first", "brain", "", (), inner)
    with harness.registered(Probe):
        plan = msa.Pipeline(["probe"]).plan(sample, seed=1)
        watch, _, result = watched(plan, sample, {"brain": sample})
    np.testing.assert_array_equal(result.image, inner(sample).image)
    heard = {name for number, name in watch.seconds if number == 1}
    assert heard <= {"map", "in", "slices", "search", 0}
    assert watch.seconds[1, 0] > 0.5 * sum(watch.seconds.values())


def test_a_copy_costs_reading_planning_and_writing(tmp_path: Path) -> None:
    image, label, recipe = volume(tmp_path)
    pipeline, sample = msa.Pipeline.load(recipe), msa.load(image, label)
    plan = pipeline.plan(sample, seed=3)
    cost = costs.of_copy(pipeline, plan, sample, lambda: msa.load(image, label))
    assert [*cost.around] == [
        "read the files, once a case", "facts of the case, and a plan", "write a copy"
    ]  # fmt: skip
    assert min(cost.around.values()) > 0
    assert cost.first > 0
    text = explain.explain(plan, cost)
    for name in cost.around:
        assert re.search(rf"^ +\d+\.\d\d {{22}}{name}$", text, re.MULTILINE)


def test_explain_time_on_the_command_line(tmp_path: Path) -> None:
    image, label, recipe = volume(tmp_path)
    before = sorted(tmp_path.iterdir())
    asked = ("explain", image, "-l", label, "-r", recipe, "--seed", 4, "--time")
    said = call(*asked)
    assert (said.code, "ns/value" in said.out, "write a copy" in said.out) == (0, True, True)
    told = call(*asked, "--json", "--threads", 1).json
    assert told["plan"]["seed"] == 4
    assert Plan.from_json(json.dumps(told["plan"])).seed == 4
    assert told["cost"]["threads"] == 1
    assert told["cost"]["lines"][0]["ms"] >= 0
    assert sorted(tmp_path.iterdir()) == before
