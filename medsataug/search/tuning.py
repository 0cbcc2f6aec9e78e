"""The whole of it: set cases aside, try recipe after recipe, and write what came out."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medsataug import recipes
from medsataug.cases import CaseSet
from medsataug.cases.splits import group_of, is_tile, split
from medsataug.errors import ConfigError, Diverged
from medsataug.search.outcome import Outcome
from medsataug.search.space import Space
from medsataug.search.study import Study, Trial, name_of
from medsataug.train.config import FREE, Settings
from medsataug.train.data import as_cases
from medsataug.train.options import suited
from medsataug.validate import design
from medsataug.validate.experiment import (
    Experiment,
    at_once,
    duration,
    mean_dice,
    prepare,
    say,
    workers,
)
from medsataug.whole import write_whole

#: Of the cases, where nothing is said of it: the part that is kept for the final test.
TEST = 1 / 5


def tune(
    cases: Sequence[Any],
    out: str | os.PathLike[str],
    domain: str = "medical",
    *,
    trials: int = 30,
    each: bool = False,
    folds: int = 3,
    test: int | None = None,
    settings: Settings | None = None,
    jobs: int | None = None,
    quiet: bool = False,
) -> Outcome:
    """Find the strengths of a policy that train best on these cases.

    Trial 0 has no augmentation, trial 1 the policy's defaults; the others are suggested by a
    tree-structured Parzen estimator from the trials before. The score of a trial is its mean
    foreground Dice over folds; one whose first folds are poor is stopped. Some cases are set aside
    before, which no trial sees.

    ``out`` gets ``best.yaml``, ``trials.csv``, ``search.png``, ``test_cases.txt`` and all runs. The
    same call goes on where it was interrupted, and a larger ``trials`` goes further.

    Parameters
    ----------
    cases : sequence
        A `medsataug.cases.CaseSet`, or as of `medsataug.train.train`; those of one ``group`` stay
        together.
    out : path
    domain : {"medical", "multispectral", "rgb", "sar"}
    trials : int
        How many, with the first two.
    each : bool
        Whether each operation gets a magnitude of its own.
    folds : int
        Trainings of a trial.
    test : int, optional
        Cases set aside; by default a fifth. Of tiles, the block whose size is nearest, and the
        tiles near it are used for nothing.
    settings : Settings, optional
        Of all trainings; its seed is that of the search, too.
    jobs : int, optional
        Folds at the same time; results do not depend on it.
    quiet : bool

    Returns
    -------
    Outcome

    Raises
    ------
    ConfigError, GeometryError, FormatError
        Before anything is trained, for what cannot be trained with; and for a folder that holds
        another search.
    MedSatAugError
        For a training that failed or was killed; what is finished is kept.

    Source: Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS (2011), section
    4, as in Optuna.
    """
    settings, space = settings or Settings(), Space(domain, each)
    if trials < 1:
        raise ConfigError(f"trials: {trials}; 1 or more expected")
    aside, kept = _parts(cases, test, settings.seed)
    names = None
    if isinstance(kept, CaseSet):
        names, settings = kept.named, suited(settings, kept)
    plan = prepare(
        kept, out, design.folds(kept, folds, 1, settings.seed), ("none",), settings, names=names
    )
    done = plan.task.settings
    assert done.patch is not None
    space.check_axes(len(done.patch))
    identity = {
        "domain": domain,
        "each": each,
        "folds": folds,
        **done.model_dump(mode="json", exclude={"recipe", *FREE}),
        "cases": dict(plan.task.digests),
        "set aside": aside,
    }
    study = Study(plan.folder, space, done.seed, folds, identity)
    study.resume()
    _write(plan.folder / "test_cases.txt", "".join(f"{name}\n" for name in aside))
    outcome = Outcome(plan.folder, study, tuple(aside))
    if study.trials and len(study.trials) < trials and not quiet:
        say(f"{len(study.trials)} of {trials} trials are there already")
    number = min(jobs or at_once(done), folds)
    started, before = time.perf_counter(), len(study.trials)
    with workers(plan.task, number) as pool:
        while len(study.trials) < trials:
            trial = _tried(study, plan, number, pool)
            study.tell(trial)
            outcome.write_trials()
            count = len(study.trials)
            left = (time.perf_counter() - started) / (count - before) * (trials - count)
            if not quiet:
                after = f"; about {duration(left)} left" if count < trials else ""
                say(f"[{count}/{trials}] {_told(study, trial)}{after}")
    outcome.write(done)
    return outcome


def _parts(cases: Sequence[Any], test: int | None, seed: int) -> tuple[list[str], Sequence[Any]]:
    """Ids of the cases set aside, and the others."""
    known = as_cases(cases)
    number = max(1, round(TEST * len(known))) if test is None else test
    if not 1 <= number <= len(known) - 2:
        raise ConfigError(
            f"test: {number} of {len(known)} cases; 1 or more expected, and two more to search with"
        )
    if any(map(is_tile, known)):
        blocks = len({group_of(case) for case in known})  # neighbouring tiles stay together
        rest, aside = split(cases, min(max(2, round(len(known) / number)), blocks), seed)[0]
    else:
        aside, rest = design.set_aside(known, number, seed)
    kept = cases.pick(rest) if isinstance(cases, CaseSet) else [known[i] for i in rest]
    return [known[i].id for i in aside], kept


def _tried(study: Study, plan: Experiment, jobs: int, pool: ProcessPoolExecutor) -> Trial:
    """Train the next trial on split after split, as many as worth it.

    Splits beyond the one that stopped it count for nothing, whether or not they were trained beside
    it: so results do not depend on ``jobs``.
    """
    params, number = study.ask(), len(study.trials)
    settings, splits = plan.task.settings, plan.design.splits
    recipe = study.space.recipe(params, settings.patch or (), settings.foreground)
    own = replace(plan, recipes={name_of(number): recipes.text(recipe)})
    dice: list[float] = []
    seconds = 0.0
    while len(dice) < len(splits):
        next_ = splits[: len(dice) + jobs]
        try:
            held = replace(own, design=replace(plan.design, splits=next_)).run(jobs, True, pool)
        except Diverged as error:  # so strong a policy cannot be trained with: as bad as can be
            say(f"trial {number}: {error}")
            return Trial(number, params, (0.0,), seconds, pruned=True)
        for one in next_[len(dice) :]:
            result = held[name_of(number), one.name]
            dice.append(mean_dice(result))
            seconds += result.training_seconds + result.scoring_seconds
            if study.poor(dice):
                return Trial(number, params, tuple(dice), seconds, pruned=True)
    if not np.isfinite(dice).any():
        raise ConfigError("search: no case has a class other than background to score")
    return Trial(number, params, tuple(dice), seconds)


def _told(study: Study, trial: Trial) -> str:
    told = f"{study.space.told(trial.params)}: mean Dice {trial.score:.3f}"
    if trial.number:
        told += f" ({study.gain(trial):+.3f})"
    done = f"{len(trial.dice)} of {study.splits} folds"
    return told + (f", stopped after {done}" if trial.pruned else "")


def _write(path: Path, text: str) -> None:
    write_whole(text.encode(), path, alone=True)
