"""One training of the experiment, in a process of its own, and what it wrote."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medsataug.errors import ConfigError, FormatError, MedSatAugError, told
from medsataug.train.config import FREE
from medsataug.types import Sample
from medsataug.validate.design import Split
from medsataug.validate.metrics import Calibration
from medsataug.validate.scoring import Scores
from medsataug.whole import write_whole

NAME = "result.json"
#: Test cases whose Dice is followed while training; the end is scored with all of them.
FOLLOWED = 4


@dataclass(frozen=True)
class Task:
    """What all trainings of an experiment share.

    Attributes
    ----------
    cases : {id: Case}
    settings : Settings
        Completed, so that all networks are the same.
    classes : {name: label value or values}
    tolerance : float
    digests : {id: digest of the case's contents}
    device : str
        Kind of processor: half precision makes another network.
    """

    cases: Mapping[str, Any]
    settings: Any
    classes: Mapping[str, Any]
    tolerance: float
    digests: Mapping[str, str]
    device: str


@dataclass(frozen=True)
class Job:
    """One recipe on one split; ``folder`` gets the run and its result.

    The recipe is in ``recipe_file`` for training to read, and its ``text`` here, so that a file
    that is changed meanwhile is not mistaken for it.
    """

    recipe: str
    split: Split
    folder: Path
    recipe_file: Path
    text: str

    def identity(self, task: Task) -> dict[str, Any]:
        """All that its result depends on."""
        parts = {"training": self.split.training, "test": self.split.test}
        contents = {part: {i: task.digests[i] for i in ids} for part, ids in parts.items()}
        settings = task.settings.changed(recipe=self.recipe, seed=self.split.seed)
        fields = settings.model_dump(mode="json", exclude=set(FREE))
        return {
            "settings": fields,
            "recipe": self.text,
            "device": task.device,
            "tolerance": task.tolerance,
            "classes": json.loads(json.dumps(dict(task.classes))),
            **contents,
        }

    def result(self, task: Task) -> Result | None:
        """Return its result, or None where it is not finished.

        Raises
        ------
        ConfigError
            Where the folder holds the result of something else.
        """
        path = self.folder / NAME
        if not path.is_file():
            return None
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            before, made = held.pop("identity"), Result.of(held)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise FormatError(f"{path}: damaged; delete it, and run the same again") from None
        now = self.identity(task)
        for name in now:
            if before.get(name) != now[name]:
                what = differing(before.get(name), now[name])
                if name in ("training", "test"):
                    raise ConfigError(
                        f"{self.folder}: was made with other folds, or other contents of the "
                        f"{name} cases{what}; give the same as then, or another --out"
                    )
                raise ConfigError(
                    f"{self.folder}: was made with {'another' if not what else 'other'} {name}"
                    f"{what}; give the same as then, or another --out"
                )
        return made

    def run(self, task: Task, held: Mapping[str, Sample]) -> Result:
        """Train, or go on training, and score the end with every test case."""
        from medsataug.train import train
        from medsataug.validate.scoring import score_case

        settings = task.settings.changed(
            recipe=str(self.recipe_file),
            seed=self.split.seed,
            workers=0 if task.device == "cpu" else task.settings.workers,
        )
        training, test = ([held[i] for i in ids] for ids in (self.split.training, self.split.test))
        identity, started = self.identity(task), time.perf_counter()
        if self.recipe_file.read_text(encoding="utf-8") != self.text:
            raise ConfigError(f"{self.recipe_file}: was changed; nothing else may write there")
        model = train(
            training, self.folder, settings, test=test[:FOLLOWED], resume=True, quiet=True
        )
        trained = time.perf_counter() - started
        scores, bins = {}, None
        for case in test:
            scores[str(case.id)], own = score_case(model, case, task.classes, task.tolerance)
            bins = own if bins is None else bins + own if own is not None else None
        made = Result(scores, bins, trained, time.perf_counter() - started - trained)
        text = json.dumps({"identity": identity} | made.plain(), indent=1)
        write_whole(text.encode(), self.folder / NAME, alone=True)
        return made


@dataclass(frozen=True)
class Result:
    """Scores of each test case, confidence over all of them, and seconds (of the last session)."""

    scores: dict[str, Scores]
    calibration: Calibration | None
    training_seconds: float
    scoring_seconds: float

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it: NaN is null."""
        bins = self.calibration
        return {
            "scores": _each(self.scores, lambda v: None if math.isnan(v) else v),
            "calibration": bins and {k: v.tolist() for k, v in vars(bins).items()},
            "training_seconds": self.training_seconds,
            "scoring_seconds": self.scoring_seconds,
        }

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Result:
        """Read what `plain` gave."""
        bins = fields["calibration"]
        scores = _each(fields["scores"], lambda v: math.nan if v is None else v)
        made = None if bins is None else Calibration(**{k: np.array(v) for k, v in bins.items()})
        return cls(scores, made, fields["training_seconds"], fields["scoring_seconds"])


def _each(scores: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Scores of every case, class and measure, changed one by one."""
    return {
        case: {name: {m: change(v) for m, v in own.items()} for name, own in classes.items()}
        for case, classes in scores.items()
    }


class Loaded(Mapping[str, Sample]):
    """Cases that stay in memory once they were loaded."""

    def __init__(self, cases: Mapping[str, Any]) -> None:
        self._cases, self._loaded = cases, dict[str, Sample]()

    def __getitem__(self, name: str) -> Sample:
        if name not in self._loaded:
            self._loaded[name] = self._cases[name].load().replace(id=name)
        return self._loaded[name]

    def __iter__(self) -> Any:
        return iter(self._cases)

    def __len__(self) -> int:
        return len(self._cases)


#: Of a process that works for an experiment.
_shared: list[tuple[Task, Loaded]] = []


def start(task: Task) -> None:
    """Make this process one that trains: with one thread, so that results are those of any other.

    It ends with the process that began it, whatever ended that.
    """
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    torch.set_num_threads(1)
    parent: Any = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    _shared[:] = [(task, Loaded(task.cases))]


def work(job: Job) -> Result:
    """Do one job in a process that `start` prepared."""
    task, held = _shared[0]
    try:
        return job.run(task, held)
    except MedSatAugError as error:
        raise told(error, f"recipe {job.recipe}, {job.split.name}: {error}") from None


def differing(before: Any, now: Any) -> str:
    """Say the first field in which two differ, where they have fields."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return ""
    names: Sequence[str] = [k for k in {**before, **now} if before.get(k) != now.get(k)]
    name = names[0]
    if name not in now or name not in before or len(str(now[name])) > 60:
        return f" ({name})"
    return f" ({name}: {before[name]} then, {now[name]} now)"
