"""Training: the same to the bit when resumed, and clear about what it cannot train with."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import medsataug as msa

torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
from medsataug.train import Settings, checkpoint, items, load, loop, train  # noqa: E402
from tests.train.small import QUICK, assert_same_weights, case, cases  # noqa: E402

# PyTorch's own workers fork while threads of its own may run, and it closes pipes late.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def run(out: Path, given: Any = None, test: Any = (), resume: bool = False, **changes: Any) -> Any:
    settings = Settings(**QUICK | changes)
    return train(given or cases(4), out, settings, test=test, resume=resume, quiet=True)


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "log.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "deep_supervision": False},
        {"regions": ((1, 2), 2)},
        {"recipe": "nnunet", "patch": (8, 16, 16)},
    ],
    ids=["classes", "sgd", "regions", "volumes"],
)
def test_it_learns_and_says_so(tmp_path: Path, changes: dict[str, Any]) -> None:
    shape = (12, 30, 34)[-len(changes.get("patch", (0, 0))) :]
    given = cases(6, shape=shape)
    model = run(tmp_path, given[:4], given[4:], **{"epochs": 3, "steps": 8} | changes)
    log = rows(tmp_path)
    assert [int(r["epoch"]) for r in log] == [1, 2, 3]
    assert float(log[2]["loss"]) < float(log[0]["loss"])
    for row in log:
        assert math.isclose(
            float(row["loss"]), float(row["dice loss"]) + float(row["cross-entropy"]), rel_tol=1e-4
        )
        assert 0 < float(row["waiting seconds"]) < float(row["seconds"])
    names = ["dice 1+2", "dice 2"] if "regions" in changes else ["dice 1", "dice 2"]
    assert [n for n in log[2] if n.startswith("dice ") and n != "dice loss"] == names
    # What was saved predicts as what was trained, on the case's own grid.
    again = load(tmp_path).predict(given[4])
    np.testing.assert_array_equal(again.label, model.predict(given[4]).label)
    assert again.grid.shape == shape


def test_more_of_it_finds_the_ball(tmp_path: Path) -> None:
    given = cases(6)
    run(tmp_path, given[:4], given[4:], epochs=2, steps=40, features=(8, 16, 32), rate=0.01)
    assert min(float(rows(tmp_path)[-1][f"dice {k}"]) for k in (1, 2)) > 0.8


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_gives_the_same_weights(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole", epochs=3)
    real, seen = loop.Run.step, []

    def interrupted(self: Any, *given: Any) -> Any:
        seen.append(given)
        if len(seen) == 5:  # the second of the second epoch
            raise KeyboardInterrupt
        return real(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Run, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", epochs=3, workers=workers)
    assert len(rows(tmp_path / "parts")) == 1
    run(tmp_path / "parts", epochs=3, resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")
    a, b = (
        [{k: v for k, v in r.items() if "seconds" not in k} for r in rows(tmp_path / name)]
        for name in ("whole", "parts")
    )
    assert a == b


def test_a_process_killed_in_the_middle_of_an_epoch_loses_that_epoch_only(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from tests.train import small\n"
        "from medsataug.train import Settings, train\n"
        "settings = Settings(**small.QUICK | {'epochs': 300})\n"
        "train(small.cases(4), Path(sys.argv[1]), settings, quiet=True)\n"
    )
    root = Path(__file__).resolve().parents[2]
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", code, str(killed), str(root)])
    until = time.monotonic() + 120
    while not (killed / "checkpoint.pt").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = checkpoint.load(killed)["epoch"]
    assert 0 < done < 300
    settings = Settings(**QUICK | {"epochs": 300})

    real = loop.Run.step

    def one_more(out: Path, resume: bool) -> None:
        def step(self: Any, batch: Any, names: Any, epoch: int, number: int) -> Any:
            if epoch > done:
                raise KeyboardInterrupt
            return real(self, batch, names, epoch, number)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(loop.Run, "step", step)
            with pytest.raises(KeyboardInterrupt):
                train(cases(4), out, settings, resume=resume, quiet=True)

    one_more(killed, resume=True)
    one_more(tmp_path / "whole", resume=False)
    assert checkpoint.load(killed)["epoch"] == done + 1
    assert_same_weights(tmp_path / "whole", killed)


def test_a_run_is_not_written_over_nor_resumed_with_others(tmp_path: Path) -> None:
    run(tmp_path, epochs=1)
    with pytest.raises(msa.ConfigError, match=r"holds a run of 1 finished epochs; resume it"):
        run(tmp_path, epochs=1)
    with pytest.raises(msa.ConfigError, match=r"Settings.batch: 3, but the run was started with 2"):
        run(tmp_path, epochs=1, batch=3, resume=True)
    others = [*cases(3), case(9)]
    with pytest.raises(msa.ConfigError, match=r"not those .*\('ball 9', 'ball 3'\)"):
        run(tmp_path, others, epochs=1, resume=True)
    # Without settings they are those of the run.
    train(cases(4), tmp_path, resume=True, quiet=True)


def test_workers_change_no_weight(tmp_path: Path) -> None:
    for workers in (0, 2):
        run(tmp_path / str(workers), workers=workers)
    assert_same_weights(tmp_path / "0", tmp_path / "2")


def test_a_loss_that_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = loop.at_all_depths, []

    def broken(*given: Any, **options: Any) -> Any:
        count.append(1)
        return real(*given, **options) * (math.nan if len(count) == 5 else 1)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "at_all_depths", broken)
        with pytest.raises(
            msa.MedSatAugError,
            match=r"loss is nan at epoch 2, step 2, of a batch of the cases 'ball \d', 'ball \d'",
        ):
            run(tmp_path / "a")
    # The last finished epoch is kept, and goes on.
    assert checkpoint.load(tmp_path / "a")["epoch"] == 1
    run(tmp_path / "a", resume=True)
    run(tmp_path / "b")
    assert_same_weights(tmp_path / "a", tmp_path / "b")


def test_a_killed_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Any, index: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(items.Items, "__getitem__", killed)
    with pytest.raises(
        msa.MedSatAugError,
        match=r"epoch 1, step 1: a loading worker was killed while making .* 'ball \d', 'ball \d'",
    ):
        run(tmp_path, workers=1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_of_an_item_names_its_case(tmp_path: Path, workers: int) -> None:
    recipe = tmp_path / "turns.yaml"
    recipe.write_text("- patch: {size: [16, 24]}\n- rot90: {turns: [1]}\n")
    with pytest.raises(
        msa.ConfigError, match=r"^epoch 1, step 1: case 'ball \d': the recipe gives \[24, 16\]"
    ):
        run(tmp_path / "a", recipe=str(recipe), workers=workers)


def test_a_full_disk_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real, count = tmp_path / "a", os.fsync, []

    def full(file: int) -> None:
        count.append(1)
        if len(count) == 6:  # settings, recipe, (log, checkpoint), log
            raise OSError(28, "No space left on device")
        real(file)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(
            msa.FormatError,
            match=r"checkpoint.pt: cannot be written \(No space left on device\); the one before",
        ) as caught:
            run(out)
    assert caught.value.errno == 28
    assert sorted(p.name for p in out.iterdir()) == [
        "checkpoint.pt",
        "log.csv",
        "recipe.yaml",
        "settings.yaml",
    ]
    assert checkpoint.load(out)["epoch"] == 1
    run(out, resume=True)
    run(tmp_path / "b")
    assert_same_weights(out, tmp_path / "b")
    assert [r["epoch"] for r in rows(out)] == ["1", "2"]


def test_a_damaged_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\3\4 nothing")
    with pytest.raises(msa.FormatError, match=r"checkpoint.pt: damaged, or not a checkpoint"):
        run(tmp_path, resume=True)
    with pytest.raises(msa.FormatError, match="no epoch was finished"):
        load(tmp_path / "elsewhere")


def test_soft_labels_of_mixed_images(tmp_path: Path) -> None:
    recipe = tmp_path / "mixed.yaml"
    recipe.write_text("- patch: {size: 16}\n- mix_up: {classes: [0, 1, 2]}\n")
    with pytest.raises(msa.ConfigError, match=r"MixUp.classes: \[0, 1, 2\], but .* are \[0, 1\]"):
        run(tmp_path / "b", cases(4, classes=1), recipe=str(recipe))
    run(tmp_path / "a", recipe=str(recipe))
    assert np.isfinite(float(rows(tmp_path / "a")[1]["loss"]))


def test_ignored_values_are_learnt_from_by_nobody(tmp_path: Path) -> None:
    def marked(sample: msa.Sample) -> msa.Sample:
        label = sample.label.copy()
        label[:10] = 9
        return sample.replace(label=label)

    given = [marked(c) for c in cases(4)]
    for name, options in (("a", {}), ("b", {"regions": ((1, 2), 2)})):
        model = run(tmp_path / name, given[:3], given[3:], ignore=9, **options)
        assert 9 not in (model.settings.labels or ())


@pytest.mark.parametrize("regions", [None, ((1, 2), 2)])
def test_nothing_is_learnt_where_there_is_no_data(tmp_path: Path, regions: Any) -> None:
    """What the label says there, and what the image holds, changes no weight."""

    def blind(sample: msa.Sample, value: int) -> msa.Sample:
        valid = np.ones(sample.image.shape, bool)
        valid[:, :, 20:] = False
        image, label = sample.image.copy(), sample.label.copy()
        image[:, :, 20:], label[:, 20:] = value * 1000, value
        return sample.replace(image=image, label=label, valid=valid)

    recipe = tmp_path / "still.yaml"
    recipe.write_text("- patch: {size: [16, 24], foreground: 0}\n- flip: {axes: [y, x]}\n")
    for value in (1, 2):
        given = [blind(c, value) for c in cases(4)]
        run(tmp_path / str(value), given, recipe=str(recipe), regions=regions)
    assert_same_weights(tmp_path / "1", tmp_path / "2")


def test_values_become_classes_in_their_order(tmp_path: Path) -> None:
    given = [c.replace(label=(c.label > 0).astype(np.uint8) * 255) for c in cases(4)]
    model = run(tmp_path, given)
    assert model.settings.labels == (0, 255)
    assert set(np.unique(model.predict(given[0]).label)) <= {0, 255}
    assert "labels: [0, 255]" in (tmp_path / "settings.yaml").read_text()


def test_what_is_no_class_is_ignored() -> None:
    run_like = SimpleNamespace(settings=Settings(labels=(0, 7, 255)), device="cpu")
    label = torch.tensor([[0, 7, 255, 9, 300, -1]])
    assert loop.Run.target(run_like, label).tolist() == [[0, 1, 2, -1, -1, -1]]


def test_batches_take_each_case_once_a_round() -> None:
    batches = items.Batches(cases=5, steps=4, batch=3, seed=1)
    first = [n for batch in batches for n in batch]
    assert [len(batch) for batch in batches] == [3] * 4
    assert sorted(n // batches.repeat for n in first[:5]) == list(range(5))
    assert len(set(first)) == 12
    assert first == [n for batch in batches for n in batch]
    batches.epoch = 1
    assert first != [n for batch in batches for n in batch]


def test_schedules_follow_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, float]] = []
    monkeypatch.setattr(items.Items, "set_epoch", lambda self, *given: told.append(given))
    run(tmp_path, epochs=4, steps=1)
    assert told == [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75)]


def test_the_progress_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(cases(4), tmp_path, Settings(**QUICK | {"patch": None}), test=[case(7)])
    said = capsys.readouterr().err
    assert "patch 30×34: the median case is 30×34" in said
    assert "z-score of each channel by its case, added" in said
    assert "% of it waiting for augmentation  dice 1 " in said


def test_a_setting_that_is_none() -> None:
    with pytest.raises(msa.ConfigError, match=r"Settings.epoch: no such key; allowed: .*epochs"):
        Settings(epoch=3)
