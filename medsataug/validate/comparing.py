"""The whole of it: prepare, train, compare, and write what came out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medsataug.cases import CaseSet
from medsataug.errors import ConfigError, MedSatAugError
from medsataug.train.config import Settings
from medsataug.validate import experiment
from medsataug.validate.design import Design
from medsataug.validate.results import Results
from medsataug.validate.sheets import write_sheets
from medsataug.whole import alone


def compare(
    cases: Sequence[Any],
    out: str | os.PathLike[str],
    design: Design,
    recipes: Sequence[str] = ("none", "mri"),
    settings: Settings | None = None,
    *,
    leave_one_out: bool = False,
    tolerance: float | None = None,
    jobs: int | None = None,
    quiet: bool = False,
) -> Results:
    """Train each recipe on the same splits from the same weights, and compare them.

    ``out`` gets ``report.html``, ``cases.csv`` (every score), ``splits.csv``, ``comparison.csv``
    and all runs. The same call goes on where it was interrupted.

    Parameters
    ----------
    cases : sequence
        A `medsataug.cases.CaseSet`, or as of `medsataug.train.train`.
    out : path
    design : Design
        Of `folds` or `sets`.
    recipes : sequence of str
        Names or files; the first is the reference.
    settings : Settings, optional
        Of all trainings; the recipe and the seed are those of each.
    leave_one_out : bool
        Compare the last recipe with itself less one transform, for each that draws.
    tolerance : float, optional
        Of surfaces, in the unit of the cases' grid; by default the longest side of a voxel.
    jobs : int, optional
        Trainings at the same time; results do not depend on it.
    quiet : bool

    Returns
    -------
    Results

    Raises
    ------
    ConfigError, GeometryError, FormatError
        Before anything is computed, for what cannot be trained with, naming the case; and for a
        folder that holds results of other settings or cases.
    MedSatAugError
        For trainings that failed or were killed; what is finished is kept.
    """
    from medsataug.validate.report import write_report

    if len(recipes) + leave_one_out < 2:
        raise ConfigError("recipes: one alone; two or more are compared, such as none,mri")
    names = cases.named if isinstance(cases, CaseSet) else None
    plan = experiment.prepare(
        cases, out, design, recipes, settings,
        leave_one_out=leave_one_out, tolerance=tolerance, names=names,
    )  # fmt: skip

    def written(own: experiment.Experiment) -> Results:
        results = Results(own, own.run(jobs, quiet))
        if not quiet:
            experiment.say("drawing the report")
        write_sheets(results, Path(out))
        write_report(results, Path(out) / "report.html")
        return results

    if not quiet:
        for line in (*plan.notes, f"{design.sentence}; recipes {', '.join(plan.recipes)}"):
            experiment.say(line)
    with alone(Path(out)):
        try:
            return written(plan)
        except MedSatAugError:
            rest = plan.complete()
            if 1 < len(rest.recipes) < len(plan.recipes):
                written(rest)  # of what can be compared
            raise
