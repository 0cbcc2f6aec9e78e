"""What came out: scores by recipe, split, case and class, and how recipes compare."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import FormatError
from medsataug.train.log import NAME as LOG
from medsataug.validate import statistics
from medsataug.validate.experiment import Experiment, case_dice, mean_dice
from medsataug.validate.job import Result
from medsataug.validate.metrics import Calibration
from medsataug.validate.statistics import Test

Floats = NDArray[np.float64]
#: A mean Dice below this is of a network that learnt next to nothing.
LEARNT = 0.1


@dataclass(frozen=True)
class Comparison:
    """A recipe against the reference, on the primary endpoint: mean foreground Dice.

    Attributes
    ----------
    recipe, reference : str
    size : int or None
    means : (float, float)
        Of the recipe and of the reference, over splits.
    differences : {split: difference}
    test : Test or None
        Decides: corrected resampled t of folds, plain t of disjoint sets; None of blocks.
    low, high : float
        95 % interval: of that test, or of the crossed bootstrap (set and case) of sets.
    plain : Test or None
        Uncorrected, of folds.
    wilcoxon : float or None
        Over cases; it describes.
    adjusted : float or None
        Holm's probability, over the recipes of one size.
    """

    recipe: str
    reference: str
    size: int | None
    means: tuple[float, float]
    differences: Mapping[str, float]
    test: Test | None
    low: float
    high: float
    plain: Test | None
    wilcoxon: float | None
    adjusted: float | None = None

    @property
    def mean(self) -> float:
        """Mean difference."""
        return float(np.mean(list(self.differences.values())))

    @property
    def no_worse(self) -> bool:
        """Whether the interval excludes a loss of more than .01."""
        return self.low > statistics.MARGIN

    @property
    def verdict(self) -> str:
        """Say it in a word or two."""
        if self.adjusted is None:
            return "not tested"
        if max(self.means) < LEARNT:
            return "not learnt"
        if self.adjusted < 0.05 and self.low > 0:
            return "better"
        if self.adjusted < 0.05 and self.high < 0:
            return "worse"
        return "no worse" if self.no_worse else "not shown"


@dataclass(frozen=True)
class Results:
    """All results of an experiment."""

    experiment: Experiment
    held: Mapping[tuple[str, str], Result]

    @property
    def reference(self) -> str:
        """The recipe that others are compared with."""
        return next(iter(self.experiment.recipes))

    def table(self) -> str:
        """Tables for the terminal."""
        from medsataug.validate.sheets import text

        return text(self)

    def splits(self, size: int | None) -> list[str]:
        """Names of the splits of one size."""
        return [s.name for s in self.experiment.design.of(size)]

    @property
    def warning(self) -> str:
        """Say which trainings learnt next to nothing, so that they tell nothing; else empty."""
        lost = {
            name: [s for (n, s), r in self.held.items() if n == name and mean_dice(r) < LEARNT]
            for name in self.experiment.recipes
        }
        told = [f"{len(s)} with {name} ({', '.join(s[:4])})" for name, s in lost.items() if s]
        if not told:
            return ""
        return (
            f"Trainings that learnt next to nothing (mean Dice below {LEARNT}): {'; '.join(told)}. "
            "Train longer, or at another rate, before believing any difference."
        )

    def each(self, recipe: str, size: int | None, value: Callable[[Result], float]) -> Floats:
        """(J,) a number of each split's result."""
        return np.array([value(self.held[recipe, name]) for name in self.splits(size)])

    def measured(self, recipe: str, size: int | None, name: str, measure: str) -> Floats:
        """(J,) mean of a measure of a class over the cases whose truth has it."""

        def mean(result: Result) -> float:
            with_it = (own[name] for own in result.scores.values() if has(own[name]))
            found = [own[measure] for own in with_it]
            kept = [v for v in found if np.isfinite(v)]
            return float(np.mean(kept)) if kept else float("nan")

        return self.each(recipe, size, mean)

    def counts(self, recipe: str, size: int | None, name: str) -> tuple[int, int, int, int]:
        """Count tested cases with a class and without it, misses, and false alarms."""
        every = [
            own[name] for s in self.splits(size) for own in self.held[recipe, s].scores.values()
        ]
        there = [own for own in every if has(own)]
        missed = sum(not np.isfinite(own["precision"]) for own in there)
        alarms = sum(not has(own) and own["dice"] == 0 for own in every)
        return len(there), len(every) - len(there), missed, alarms

    def cases(self, recipe: str, size: int | None) -> dict[str, float]:
        """Mean foreground Dice of each case, over the splits that it was tested in."""
        found: dict[str, list[float]] = {}
        for name in self.splits(size):
            for case, own in self.held[recipe, name].scores.items():
                found.setdefault(case, []).append(case_dice(own))
        return {case: float(np.mean(values)) for case, values in found.items()}

    def calibration(self, recipe: str, size: int | None) -> Calibration | None:
        """Bins of confidence of all tested cases together."""
        total: Calibration | None = None
        for name in self.splits(size):
            own = self.held[recipe, name].calibration
            if own is not None:
                total = own if total is None else total + own
        return total

    def log(self, recipe: str, split: str) -> dict[str, Floats]:
        """Columns of a training's log; what was not measured is NaN."""
        folder = self.experiment.job(recipe, self.experiment.design.split(split)).folder
        try:
            with open(folder / LOG, encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except OSError as error:
            raise FormatError.of(
                f"{folder / LOG}: cannot be read ({error.strerror})", error
            ) from None
        return {k: np.array([float(r[k] or "nan") for r in rows]) for k in rows[0]}

    def cost(self, recipe: str, size: int | None) -> tuple[float, float]:
        """CPU seconds of a step: of augmentation, and of everything."""
        steps = self.experiment.task.settings.steps
        found = []
        for name in self.splits(size):
            log = self.log(recipe, name)
            # The first epoch compiles and warms up.
            rows = slice(1, None) if len(log["epoch"]) > 1 else slice(None)
            columns = ("augmentation cpu seconds", "cpu seconds")
            found.append([float(np.median(log[c][rows])) / steps for c in columns])
        own, every = np.median(found, axis=0)
        return float(own), float(every)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Every recipe but the first against the first, for each number of training cases."""
        out: list[Comparison] = []
        for size in self.experiment.design.sizes:
            found = [self._compare(name, size) for name in list(self.experiment.recipes)[1:]]
            tested = [c.test.p for c in found if c.test is not None]
            if len(tested) == len(found):
                adjusted = statistics.holm(tested)
                found = [replace(c, adjusted=p) for c, p in zip(found, adjusted, strict=True)]
            out += found
        return out

    def _compare(self, recipe: str, size: int | None) -> Comparison:
        one, other = (self.each(name, size, mean_dice) for name in (recipe, self.reference))
        apart, many = one - other, len(self.experiment.recipes) - 1
        mine, theirs = self.cases(recipe, size), self.cases(self.reference, size)
        by_case = np.array([mine[c] - theirs[c] for c in mine])
        kind = self.experiment.design.kind
        test = plain = None
        low = high = float("nan")
        described: float | None = statistics.wilcoxon(by_case)
        if kind == "folds":
            test = statistics.corrected_t(apart, self._ratio(size), comparisons=many)
            plain = statistics.paired_t(apart)
            low, high = test.low, test.high
        elif kind == "sets":
            test = statistics.paired_t(apart, comparisons=many)
            low, high = statistics.crossed_bootstrap(self._crossed(recipe, size))
        else:
            described = None
        return Comparison(
            recipe, self.reference, size, (float(one.mean()), float(other.mean())),
            dict(zip(self.splits(size), apart.tolist(), strict=True)),
            test, low, high, plain, described,
        )  # fmt: skip

    def _ratio(self, size: int | None) -> float:
        # Trainings with few of a fold's cases share less than those with all, never more.
        parts = self.experiment.design.of(size)
        return float(np.mean([len(s.test) / s.available for s in parts]))

    def _crossed(self, recipe: str, size: int | None) -> Floats:
        """Return (sets, cases) differences."""
        rows = []
        for name in self.splits(size):
            mine, theirs = self.held[recipe, name].scores, self.held[self.reference, name].scores
            rows.append([case_dice(mine[c]) - case_dice(theirs[c]) for c in mine])
        return np.array(rows)


def has(scores: Mapping[str, float]) -> bool:
    """Whether a case's truth has a class: recall is known of no other."""
    return bool(np.isfinite(scores["recall"]))
