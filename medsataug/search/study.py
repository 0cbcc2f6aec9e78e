"""The trials of a search, kept in its folder, and which comes next.

Which numbers are tried follows from the seed and the finished trials alone: for each question
Optuna gets a new study with those trials, and a sampler with a seed of its own. So a search goes on
after any end, and nothing of Optuna's has to be kept: its own storages would leave a lock, and half
a trial, behind a process that was killed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medsataug.draws import stream_key
from medsataug.errors import ConfigError, FormatError
from medsataug.search.space import Params, Space
from medsataug.validate.job import differing
from medsataug.whole import write_whole

NAME = "study.json"
#: Whole trials before the first is stopped early.
WHOLE = 5


@dataclass(frozen=True)
class Trial:
    """A recipe that was trained.

    Attributes
    ----------
    number : int
        0 is no augmentation, 1 the policy's defaults.
    params : {name: number}
    dice : tuple of float
        Mean foreground Dice of each split, NaN where its test cases have no foreground.
    seconds : float
        Of training and scoring.
    pruned : bool
        Whether it was stopped before its last split.
    """

    number: int
    params: Params
    dice: tuple[float, ...]
    seconds: float
    pruned: bool = False

    @property
    def name(self) -> str:
        """What its recipe and its runs are called."""
        return name_of(self.number)

    @property
    def score(self) -> float:
        """Mean over its splits."""
        return mean(self.dice)


@dataclass
class Study:
    """Finished trials, and the one that is under way.

    Attributes
    ----------
    folder : Path
    space : Space
    seed : int
    splits : int
        Of a whole trial.
    identity : {name: value}
        All that the trials depend on.
    trials : list of Trial
    asked : {name: number} or None
        Of the trial that is under way.
    """

    folder: Path
    space: Space
    seed: int
    splits: int
    identity: Mapping[str, Any]
    trials: list[Trial] = field(default_factory=list)
    asked: Params | None = None

    def resume(self) -> None:
        """Take up what the folder holds.

        Raises
        ------
        ConfigError
            Where that is another search.
        FormatError
            Where the file is damaged.
        """
        path = self.folder / NAME
        if not path.is_file():
            return
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            before = held["identity"]
            trials = [Trial(**t | {"dice": tuple(map(_read, t["dice"]))}) for t in held["trials"]]
            asked = held["asked"]
        except (OSError, ValueError, KeyError, TypeError):
            raise FormatError(f"{path}: damaged; delete it, and run the same again") from None
        now = json.loads(json.dumps(self.identity))
        if before != now:
            raise ConfigError(
                f"{self.folder}: holds another search{differing(before, now)}; give the same as "
                "then, or another --out"
            )
        self.trials, self.asked = trials, asked

    def ask(self) -> Params:
        """Numbers of the next trial; the same until `tell` has its scores."""
        if self.asked is None:
            first = (self.space.none, self.space.default)
            number = len(self.trials)
            self.asked = first[number] if number < len(first) else self._suggested()
            self._save()
        return self.asked

    def tell(self, trial: Trial) -> None:
        """Keep a finished trial."""
        self.trials.append(trial)
        self.asked = None
        self._save()

    def poor(self, dice: Sequence[float]) -> bool:
        """Whether a trial of these first scores is not worth its other splits.

        That is so if their mean is below the median of what whole trials had by then.

        Source: the median stopping rule of Golovin et al., "Google Vizier", KDD (2017), section
        3.2, here over splits instead of epochs.
        """
        done = len(dice)
        others = [mean(t.dice[:done]) for t in self.trials if not t.pruned]
        early = done < self.splits and len(others) >= WHOLE
        return early and bool(mean(dice) < np.median(others))

    @property
    def best(self) -> Trial:
        """The whole trial of the highest score; of equal ones the first."""
        return max((t for t in self.trials if not t.pruned), key=lambda t: (t.score, -t.number))

    def gain(self, trial: Trial) -> float:
        """Mean Dice of a trial less that of no augmentation, over the splits that it has."""
        none = self.trials[0].dice[: len(trial.dice)]
        return mean([own - other for own, other in zip(trial.dice, none, strict=True)])

    def _suggested(self) -> Params:
        import optuna

        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own lines tell of the trials
        own = stream_key(self.seed, "suggest", len(self.trials)) % 2**32
        sampler = optuna.samplers.TPESampler(seed=own)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        open_ = self.space.distributions()
        optuna.logging.set_verbosity(before)
        study.add_trials([self._frozen(t, open_) for t in self.trials])
        return {name: round(value, 1) for name, value in study.ask(open_).params.items()}

    @staticmethod
    def _frozen(trial: Trial, distributions: Mapping[str, Any]) -> Any:
        """Return a trial as Optuna knows it."""
        from optuna.trial import TrialState, create_trial

        return create_trial(
            params=dict(trial.params),
            distributions=dict(distributions),
            state=TrialState.PRUNED if trial.pruned else TrialState.COMPLETE,
            value=None if trial.pruned else trial.score,
            intermediate_values={len(trial.dice): trial.score},
        )

    def _save(self) -> None:
        trials = [
            asdict(t) | {"dice": [None if np.isnan(d) else d for d in t.dice]} for t in self.trials
        ]
        text = json.dumps(
            {"identity": self.identity, "trials": trials, "asked": self.asked}, indent=1
        )
        write_whole(text.encode(), self.folder / NAME, alone=True)


def name_of(number: int) -> str:
    """Return what a trial's recipe and its runs are called."""
    return f"trial-{number:03d}"


def mean(dice: Sequence[float]) -> float:
    """Mean of the scores that are known."""
    known = [d for d in dice if np.isfinite(d)]
    return float(np.mean(known)) if known else float("nan")


def _read(value: float | None) -> float:
    return float("nan") if value is None else value
