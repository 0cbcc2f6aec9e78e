"""The experiment on tiny cases: resumable, the same however many train at once, clear."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
pytest.importorskip("monai", reason="MONAI is not installed (medsataug[validate])")
from medsataug.cases import find  # noqa: E402
from medsataug.errors import ConfigError, FormatError, MedSatAugError  # noqa: E402
from medsataug.grid import Grid  # noqa: E402
from medsataug.train import Settings  # noqa: E402
from medsataug.validate import Results, compare, experiment, folds, sets  # noqa: E402
from medsataug.validate.job import NAME  # noqa: E402
from medsataug.whole import alone  # noqa: E402
from tests.commands import ROOT, call  # noqa: E402
from tests.train.small import QUICK, case, cases  # noqa: E402

SETTINGS = {k: v for k, v in QUICK.items() if k != "recipe"}


def run(out: Path, given: Any = None, recipes: Any = ("none", "microscopy"), **options: Any) -> Any:
    given = given or cases(6)
    design = options.pop("design", None) or folds(given, 2)
    settings = Settings(**SETTINGS | options.pop("settings", {}))
    return compare(given, out, design, recipes, settings, quiet=True, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    out = tmp_path_factory.mktemp("experiment") / "a"
    return out, run(out, jobs=2)


def stored(folder: Path, count: int) -> None:
    for k, one in enumerate(cases(count)):
        for part, image in (("images", one.image[0]), ("labels", one.label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            write_image(np.asarray(image), folder / part / f"ball {k}.png")


def write_image(pixels: Any, path: Path) -> None:
    from skimage.io import imsave

    imsave(path, np.clip(pixels, 0, 255).astype(np.uint8), check_contrast=False)


def contents(out: Path) -> dict[str, Any]:
    return {
        p.parent.relative_to(out).as_posix(): json.loads(p.read_text())["scores"]
        for p in sorted(out.glob(f"runs/*/*/{NAME}"))
    }


def test_it_writes_every_score(made: tuple[Path, Results]) -> None:
    out, results = made
    assert list(contents(out)) == [
        "runs/microscopy/r1f1", "runs/microscopy/r1f2", "runs/none/r1f1", "runs/none/r1f2"
    ]  # fmt: skip
    with open(out / "cases.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # Each of 6 cases once for each of 2 recipes, with two classes.
    assert len(rows) == 6 * 2 * 2
    own = [float(r["dice"]) for r in rows if r["recipe"] == "none" and r["split"] == "r1f1"]
    mean = experiment.mean_dice(results.held["none", "r1f1"])
    assert mean == pytest.approx(np.mean(own), abs=1e-5)
    (one,) = results.comparisons
    apart = [results.each("microscopy", None, experiment.mean_dice)
             - results.each("none", None, experiment.mean_dice)]  # fmt: skip
    assert list(one.differences.values()) == pytest.approx(np.ravel(apart).tolist())
    assert one.test is not None
    assert one.plain is not None
    assert one.test.p > one.plain.p  # the corrected one claims less
    assert one.verdict in ("better", "worse", "no worse", "not shown", "not learnt")


def test_weights_begin_alike(made: tuple[Path, Results]) -> None:
    out, _ = made
    seeds = {
        (p.parts[-3], p.parts[-2]): Settings.load(p).seed
        for p in out.glob("runs/*/*/settings.yaml")
    }
    assert seeds["none", "r1f1"] == seeds["microscopy", "r1f1"]
    assert seeds["none", "r1f1"] != seeds["none", "r1f2"]


def test_how_many_train_at_once_changes_nothing(made: tuple[Path, Results], tmp_path: Path) -> None:
    run(tmp_path / "b", jobs=1)
    assert contents(tmp_path / "b") == contents(made[0])


def test_a_killed_experiment_goes_on_to_the_same(
    made: tuple[Path, Results], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    stored(data, 6)
    text = "import sys; from medsataug.__main__ import main; sys.exit(main())"
    command = [
        sys.executable, "-c", text, "validate", str(data), "--recipes", "none,microscopy",
        "--folds", "2", "--epochs", "2", "--steps", "3", "--batch", "2", "--patch", "16,24",
        "--features", "4,8", "--validate-every", "1", "--jobs", "1", "--out", str(tmp_path / "c"),
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, env=env, start_new_session=True, **quiet)  # type: ignore[call-overload]
    deadline = time.monotonic() + 120
    while not contents(tmp_path / "c") and time.monotonic() < deadline:
        time.sleep(0.02)
    first.kill()
    first.wait()
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "c").glob(f"runs/*/*/{NAME}")}
    assert 1 <= len(kept) < 4
    deadline = time.monotonic() + 30  # the others end by themselves
    while _alive(first.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(first.pid)
    again = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert f"{len(kept)} of 4 trainings are there already" in again.stderr
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items())
    assert "mean Dice" in again.stdout
    whole = contents(tmp_path / "c")
    run(tmp_path / "d", given=find(data), jobs=1)
    assert whole == contents(tmp_path / "d")


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_sets_are_compared_by_their_means_and_by_crossed_intervals(tmp_path: Path) -> None:
    given = cases(7)
    results = run(tmp_path, given, design=sets(given, 2, 3))
    (one,) = results.comparisons
    assert one.plain is None
    assert one.test is not None
    assert one.test.df == 1
    table = np.array(list(one.differences.values()))
    assert one.mean == pytest.approx(table.mean())
    assert one.low <= one.mean <= one.high


def test_blocks_are_not_tested_and_shown_one_by_one(tmp_path: Path) -> None:
    given = cases(6)
    results = run(tmp_path, given, design=folds(given, 2, ordered=True),
                  settings={"regions": ((1, 2), 2)})  # fmt: skip
    (one,) = results.comparisons
    assert (one.test, one.adjusted, one.verdict) == (None, None, "not tested")
    text = results.table()
    assert "r1f1" in text
    assert "p (Holm)" not in text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "How sure the networks were" not in page  # regions may overlap
    assert "class 1+2" in page


def test_leave_one_out_compares_a_recipe_without_each_transform(tmp_path: Path) -> None:
    recipe = tmp_path / "two.yaml"
    recipe.write_text(
        "- flip: {axes: [x, y]}\n- gamma: {exponent: [0.8, 1.2]}\n- normalize: {method: zscore}\n"
    )
    results = run(tmp_path / "out", recipes=("none", str(recipe)), leave_one_out=True)
    assert tuple(results.experiment.recipes) == ("two", "two without flip", "two without gamma")
    assert [c.adjusted is not None for c in results.comparisons] == [True, True]
    text = (tmp_path / "out" / "recipes" / "two-without-flip.yaml").read_text()
    assert "flip" not in text
    assert "gamma" in text
    assert "normalize" in text


def test_the_report_needs_nothing_else(made: tuple[Path, Results]) -> None:
    page = (made[0] / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    assert page.count("data:image/png;base64,") >= 1
    # Namespaces are names; nothing is loaded.
    loaded = re.findall(r"""(?:src|href)=["'](?!data:|#)([^"']+)""", page)
    assert loaded == []
    for said in ("Nadeau and Bengio", "HD95", "Empty masks", "Settings of every training",
                 "Examples: none and microscopy", "corrected resampled"):  # fmt: skip
        assert said in page
    names = {case for own in made[1].held.values() for case in own.scores}
    assert any(f"{name} (r1f" in page for name in names)


def test_another_experiment_is_not_mixed_in(made: tuple[Path, Results]) -> None:
    out, _ = made
    before = contents(out)
    with pytest.raises(ConfigError, match=r"was made with other settings \(steps: 3 then, 4 now\)"):
        run(out, settings={"steps": 4})
    with pytest.raises(ConfigError, match="was made with another tolerance"):
        run(out, tolerance=2.5)
    with pytest.raises(ConfigError, match="was made with other folds, or other contents"):
        run(out, given=[*cases(5), case(9).replace(id="ball 5")])
    assert contents(out) == before


def test_a_damaged_result_is_told(tmp_path: Path) -> None:
    run(tmp_path)
    path = next(tmp_path.glob(f"runs/none/r1f1/{NAME}"))
    path.write_text(path.read_text()[:100])
    with pytest.raises(FormatError, match="damaged; delete it"):
        run(tmp_path)
    path.unlink()
    run(tmp_path)


def test_what_cannot_be_compared_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="recipes: one alone"):
        run(tmp_path, recipes=("none",))
    with pytest.raises(ConfigError, match="names that differ"):
        run(tmp_path, recipes=("none", "none"))
    with pytest.raises(ConfigError, match="case 'ball 3': without its label"):
        run(tmp_path, given=[*cases(3), case(3).replace(label=None)])
    lone = [*cases(5, classes=1), case(5)]
    with pytest.raises(
        ConfigError, match=r"^r1f\d: class\(es\) \[2\]: no voxel in any of the 3 training cases, "
        r"only in the test case\(s\) 'ball 5'",
    ):  # fmt: skip
        run(tmp_path, given=lone)
    with pytest.raises(ConfigError, match="leave-one-out: none has 0 transform"):
        run(tmp_path, recipes=("microscopy", "none"), leave_one_out=True)
    assert not list(tmp_path.glob("runs/*"))


def test_recipes_are_tried_before_anything_is_trained(tmp_path: Path) -> None:
    unknown = [one.replace(grid=Grid(one.grid.shape, np.eye(3))) for one in cases(6)]
    with pytest.raises(ConfigError, match=r"^recipe mri, case 'ball 0': .*voxels of known size"):
        run(tmp_path / "out", unknown, recipes=("none", "mri"))
    for name, text in (("a b", "- flip: {axes: [x]}\n"), ("A-B", "- gamma: {exponent: 1.2}\n")):
        (tmp_path / f"{name}.yaml").write_text(text)
    both = [str(tmp_path / f"{name}.yaml") for name in ("a b", "A-B")]
    with pytest.raises(ConfigError, match="recipes: a b, A-B; names that differ in letters"):
        run(tmp_path / "out", recipes=both)
    assert not (tmp_path / "out").exists()


def test_a_mended_grid_is_another_case(made: tuple[Path, Results]) -> None:
    moved = []
    for one in cases(6):
        affine = one.grid.affine.copy()
        affine[0, -1] += 5
        grid = Grid(one.grid.shape, affine, one.grid.world, one.grid.metres)
        moved.append(one.replace(grid=grid))
    with pytest.raises(ConfigError, match="was made with other folds, or other contents"):
        run(made[0], moved)


def test_nobody_else_may_work_in_the_folder(tmp_path: Path) -> None:
    with (
        alone(tmp_path),
        pytest.raises(ConfigError, match="another command is at work there"),
    ):
        run(tmp_path)
    run(tmp_path, settings={"epochs": 1, "steps": 1})


def test_one_that_fails_keeps_the_others(tmp_path: Path) -> None:
    recipe = tmp_path / "turned.yaml"  # its patches come out on their side
    recipe.write_text("- patch: {size: 16}\n- rot90: {turns: [1]}\n")
    with pytest.raises(
        ConfigError,
        match=r"^recipe turned, r1f1: .*case 'ball \d'.*\(and 1 more\); the 4 finished trainings",
    ):
        run(tmp_path / "out", recipes=("none", "microscopy", str(recipe)), jobs=2)
    assert len(contents(tmp_path / "out")) == 4
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "microscopy: mean foreground Dice" in page  # what can be compared, is
    assert "turned" not in page


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_killed_training_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing
    import threading

    def kill() -> None:
        while not list(tmp_path.glob("runs/*/*/log.csv")):
            time.sleep(0.01)
        for process in multiprocessing.active_children():
            os.kill(process.pid or 0, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(MedSatAugError, match="a training was killed; most often memory ran out"):
        run(tmp_path, settings={"epochs": 200}, jobs=1)
    assert list(tmp_path.glob("runs/*/*/log.csv"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sets", "3"), "--sets and --test go together"),
        (("--sets", "3", "--test", "2", "--repeats", "2"), "--sets does not go with --sizes"),
        (("--sizes", "2,x"), "--sizes 2,x: whole numbers expected"),
        (
            ("--folds", "3", "--recipes", "none,nothing"),
            "recipe 'nothing': neither a packaged recipe",
        ),
        (("--folds", "9"), "folds: 9 for 3 groups"),
    ],
)
def test_the_command_line_says_what_it_cannot_do(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    stored(tmp_path / "data", 3)
    told = call("validate", tmp_path / "data", "--out", tmp_path / "out", *options)
    assert told.code == 2
    assert told.err.startswith(f"error: {said}")
    assert told.err.count("\n") == 1
    assert not (tmp_path / "out" / "runs").exists()
