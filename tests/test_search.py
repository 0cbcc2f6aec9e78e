"""Policy search: what it tries, that it goes on after any end, and that it keeps off the test."""

from __future__ import annotations

import csv
import json
import math
import time
from importlib import util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
pytest.importorskip("monai", reason="MONAI is not installed (medsataug[validate])")
pytest.importorskip("optuna", reason="Optuna is not installed (medsataug[search])")

from PIL import Image

import medsataug as msa
from medsataug import cases as data_sets
from medsataug import search
from medsataug.errors import ConfigError
from medsataug.search import Space, Trial
from medsataug.search.study import NAME, WHOLE, Study, mean
from medsataug.search.tuning import _parts
from medsataug.validate import design
from tests.commands import Result, call, process
from tests.train.small import case

QUICK = ["--trials", 7, "--folds", 2, "--test", 2, "--epochs", 2, "--steps", 3, "--patch", "16,24",
         "--features", "4,8", "--rate", 5e-3, "--seed", 3]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small cases; those that are set aside cannot even be read."""
    folder = tmp_path_factory.mktemp("search") / "balls"
    for number in range(8):
        sample = case(number)
        for name, array in (("images", sample.image[0]), ("labels", sample.label)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            pixels = Image.fromarray(np.clip(array, 0, 255).astype(np.uint8))
            pixels.save(folder / name / f"ball{number}.png")
    for name in aside(folder):
        for part in ("images", "labels"):
            (folder / part / f"{name}.png").write_bytes(b"nobody looks here")
    return folder


@pytest.fixture(scope="module")
def found(data: Path) -> tuple[Path, Result]:
    """A search that was left alone, two folds at once."""
    out = data.parent / "whole"
    return out, call("search", data, "--out", out, "--jobs", 2, *QUICK)


def aside(folder: Path) -> list[str]:
    listed = data_sets.find(folder)
    return [listed[i].id for i in design.set_aside(listed, 2, 3)[0]]


def rows(out: Path) -> list[dict[str, str]]:
    """Trials without their time."""
    with open(out / "trials.csv", encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def study(space: Space | None = None, seed: int = 0, splits: int = 2, folder: str = "") -> Study:
    return Study(Path(folder), space or Space("medical"), seed, splits, {"seed": seed})


def test_no_magnitude_is_no_augmentation() -> None:
    for each in (False, True):
        space = Space("medical", each)
        (alone,) = space.recipe(space.none, (16, 24), 0.5).transforms
        assert alone == msa.Patch(size=(16, 24), foreground=0.5, empty="random")
        assert space.told(space.none) == "none"


def test_defaults_are_those_of_the_policy() -> None:
    space = Space("rgb")
    made = space.recipe(space.default, (16, 24), 0.5).transforms[1]
    assert made == msa.RandAugment(domain="rgb")
    assert set(Space("rgb", each=True).default.values()) == {2, 5}


def test_each_operation_has_its_strength_and_zero_leaves_it_out() -> None:
    space = Space("medical", each=True)
    params = space.none | {"n": 3, "gamma": 10, "brightness": 2}
    assert space.told(params) == "n 3, brightness 2, gamma 10"
    pipeline = space.recipe(params, (16, 24), 0.5)
    some = pipeline.transforms[1]
    assert [(t.operations, t.m) for t in some.transforms] == [
        (("brightness",), msa.RandAugment(domain="medical", m=2).m),
        (("gamma",), msa.RandAugment(domain="medical", m=10).m),
    ]
    assert some.count == 2  # no more than are left
    before = case(0).image[0]
    after = pipeline.changed(transforms=[some])(case(0), seed=1).image[0]
    # Gamma 10 and a shift by a tenth of the standard deviation: both are seen.
    straight = np.polyfit(before.ravel(), after.ravel(), 1)
    assert np.abs(np.polyval(straight, before) - after).max() > 1
    assert not math.isclose(before.min(), after.min(), abs_tol=0.5)


@pytest.mark.parametrize("each", [False, True])
def test_what_is_asked_follows_from_seed_and_trials(each: bool, tmp_path: Path) -> None:
    def asked(seed: int, folder: str) -> list[dict[str, float]]:
        one, out = study(Space("sar", each), seed, folder=str(tmp_path / folder)), []
        for number in range(14):
            if number % 3 == 0:  # as after a kill
                one = study(Space("sar", each), seed, folder=str(tmp_path / folder))
                one.resume()
            params = one.ask()
            assert one.ask() == params
            out.append(params)
            score = 1 - sum(abs(v - 3) for v in params.values()) / 1000
            pruned = number % 4 == 3
            one.tell(Trial(number, params, (score,) * (1 if pruned else 2), 0.0, pruned))
        return out

    first = asked(0, "a")
    assert asked(0, "b") == first
    other = asked(1, "c")  # not the same ones one trial later, either
    assert sum(a == b for k in (2, 3) for a, b in zip(other[2:], first[k:], strict=False)) < 4
    assert first[:2] == [Space("sar", each).none, Space("sar", each).default]


def test_it_comes_nearer_to_what_is_good(tmp_path: Path) -> None:
    one = study(folder=str(tmp_path))
    for number in range(40):
        params = one.ask()
        score = 1 - abs(params["m"] - 8) / 10 - abs(params["n"] - 1) / 10
        one.tell(Trial(number, params, (score, score), 0.0))
    scores = [t.score for t in one.trials]
    assert np.mean(scores[-10:]) > np.mean(scores[2:12]) + 0.1
    assert one.best.score > 0.95


def test_a_trial_stops_below_the_median_of_whole_ones() -> None:
    one = study(splits=3)
    one.trials = [
        Trial(k, one.space.none, (0.1 * k, 0.5, 0.5), 0.0) for k in range(WHOLE)
    ]  # the median of the first split is .2, that of two .35
    assert one.poor([0.19])
    assert not one.poor([0.2])
    assert one.poor([0.2, 0.4])
    assert not one.poor([0.2, 0.6])
    assert not one.poor([0.0, 0.0, 0.0])  # nothing is left to save
    assert not one.poor([math.nan])
    one.trials.pop()
    assert not one.poor([0.0])


def test_gains_are_those_on_the_same_splits() -> None:
    one = study()
    one.trials = [Trial(0, one.space.none, (0.2, 0.6), 0.0)]
    stopped = Trial(1, one.space.none, (0.3,), 0.0, pruned=True)
    assert one.gain(stopped) == pytest.approx(0.1)
    assert one.gain(Trial(2, one.space.none, (0.3, math.nan), 0.0)) == pytest.approx(0.1)


def test_a_stopped_trial_is_never_the_best() -> None:
    one, none = study(), Space("medical").none
    one.trials = [
        Trial(0, none, (0.5, 0.5), 0.0),
        Trial(1, none, (0.9,), 0.0, pruned=True),
        Trial(2, none, (0.6, math.nan), 0.0),
        Trial(3, none, (0.6, 0.6), 0.0),
    ]
    assert one.best.number == 2
    assert mean([math.nan, 0.25]) == 0.25


def test_scores_that_are_not_known_are_kept(tmp_path: Path) -> None:
    one = study(folder=str(tmp_path))
    one.tell(Trial(0, one.ask(), (0.1 + 0.2, math.nan), 1.5))
    again = study(folder=str(tmp_path))
    again.resume()
    assert again.trials[0].dice[0] == 0.1 + 0.2
    assert math.isnan(again.trials[0].dice[1])
    (tmp_path / NAME).write_text("{")
    with pytest.raises(msa.errors.FormatError, match="damaged"):
        again.resume()


def test_the_command_finds_a_recipe(found: tuple[Path, Result], data: Path) -> None:
    out, told = found
    assert told.code == 0, told.err
    lines = [line for line in told.err.splitlines() if line.startswith("[")]
    assert len(lines) == 7
    assert "none" in lines[0]
    assert "n 2, m 5: " in lines[1]
    table = rows(out)
    assert [row["trial"] for row in table] == [str(k) for k in range(7)]
    whole = [row for row in table if row["stopped early"] == "no"]
    for row in whole:
        folds = [float(row["fold 1"]), float(row["fold 2"])]
        assert float(row["score"]) == pytest.approx(np.mean(folds), abs=1e-5)
    best = max(whole, key=lambda row: float(row["score"]))
    recipe = msa.Pipeline.load(out / "best.yaml")
    assert "optimistic" in recipe.description
    if float(best["m"]):
        policy = recipe.transforms[1]
        given = {"n": int(best["n"]), "m": float(best["m"])}
        assert policy == msa.RandAugment(domain="medical", **given)
        assert f"medsataug validate {data} --sets 5 --test 2" in told.out
    assert told.out.splitlines()[2].startswith(best["trial"])
    with Image.open(out / "search.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_no_trial_sees_what_is_set_aside(found: tuple[Path, Result], data: Path) -> None:
    out = found[0]
    kept = (out / "test_cases.txt").read_text(encoding="utf-8").split()
    assert kept == aside(data)
    results = list(out.glob("runs/*/*/result.json"))
    assert len(results) >= 7
    seen = set()
    for path in results:
        identity = json.loads(path.read_text(encoding="utf-8"))["identity"]
        seen |= set(identity["training"]) | set(identity["test"])
    assert seen == {f"ball{k}" for k in range(8)} - set(kept)
    # The command that settles it tests with these very cases.
    settled = design.sets(data_sets.find(data), 3, len(kept), 3)
    assert list(settled.splits[0].test) == kept


def test_tiles_set_aside_are_apart(samples: Path) -> None:
    scene = samples / "multispectral" / "scene.tif"
    found = data_sets.scene(scene, samples / "multispectral" / "landcover.tif", tile=64, folds=5)
    names, kept = _parts(found, None, 0)
    tiles = {case.id: case for case in found}
    assert 0.1 < len(names) / len(found) < 0.3
    assert len(kept) > len(found) / 3
    for own in kept:
        assert own.id not in names
        for other in (tiles[name].window for name in names):
            gaps = [
                max(a.start - b.stop, b.start - a.stop)
                for a, b in zip(own.window, other, strict=True)
            ]
            assert max(gaps) >= found.buffer > 0


def test_a_killed_search_goes_on_to_the_same_end(found: tuple[Path, Result], data: Path) -> None:
    out = data.parent / "killed"
    with process("search", data, "--out", out, "--jobs", 1, *QUICK) as running:
        until = time.monotonic() + 120
        while running.poll() is None and time.monotonic() < until:
            if (out / "trials.csv").is_file() and len(rows(out)) >= 3:
                break
            time.sleep(0.02)
        running.kill()
    before = rows(out)
    assert 3 <= len(before) < 7
    held = (out / NAME).read_bytes()
    told = call("search", data, "--out", out, "--jobs", 1, *QUICK, "--folds", 3)
    assert told.code == 2
    assert told.err == (
        f"error: {out}: holds another search (folds: 2 then, 3 now); give the same as then, or "
        "another --out\n"
    )
    assert (out / NAME).read_bytes() == held
    told = call("search", data, "--out", out, "--jobs", 1, *QUICK)
    assert told.code == 0, told.err
    assert "of 7 trials are there already" in told.err
    assert rows(out) == rows(found[0])
    assert (out / "best.yaml").read_bytes() == (found[0] / "best.yaml").read_bytes()


def test_a_finished_search_is_told_again(found: tuple[Path, Result], data: Path) -> None:
    out, told = found
    again = call("search", data, "--out", out, *QUICK)
    assert (again.code, again.out, again.err) == (0, told.out, "")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--domain", "xray"], "domain: 'xray'; allowed: medical, multispectral, rgb, sar"),
        (["--test", 7], "test: 7 of 8 cases; 1 or more expected, and two more to search with"),
        (["--folds", 9], "folds: 9 for 6 groups of 6 cases"),
        (["--patch", "16,16,16"], "Settings.patch: [16, 16, 16]; 2 numbers"),
    ],
)
def test_mistakes_are_told_in_a_line(
    given: list[object], said: str, data: Path, tmp_path: Path
) -> None:
    told = call("search", data, "--out", tmp_path / "out", *QUICK, *given)
    assert told.code == 2
    assert told.err.startswith(f"error: {said}")
    assert told.err.count("\n") == 1
    assert not list(tmp_path.glob("out/**/*.json"))


def test_volumes_have_no_policy_of_images() -> None:
    Space("medical").check_axes(3)
    with pytest.raises(ConfigError, match="'rgb' is for 2D images, these cases have 3 axes"):
        Space("rgb").check_axes(3)


def test_without_optuna_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    known = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "optuna" else known(name))
    told = call("search", data, "--out", tmp_path / "out")
    assert (told.code, told.err) == (
        2, "error: medsataug.search: optuna not installed; install medsataug[search]\n",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"install medsataug\[search\]"):
        _ = search.tune
