"""The experiment: each recipe trained on each split, from the same initial weights."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medsataug import recipes as packaged
from medsataug import threads
from medsataug.errors import ConfigError, MedSatAugError, told
from medsataug.pipeline import Pipeline
from medsataug.train.config import Settings
from medsataug.train.data import Survey, as_cases, contents, survey
from medsataug.train.model import device_of
from medsataug.train.prepare import check_classes, for_prediction, for_training, normalised
from medsataug.transforms import recipe_name
from medsataug.transforms.patch import Patch
from medsataug.types import Sample
from medsataug.validate.design import Design, Split
from medsataug.validate.job import Job, Result, Task, start, work
from medsataug.validate.scoring import class_names
from medsataug.whole import write_whole

#: Plans that a recipe is tried with, since some transforms are drawn seldom.
TRIED = 16


@dataclass(frozen=True)
class Experiment:
    """Recipes that are compared, the first of which is the one that others are compared with.

    Attributes
    ----------
    folder : Path
        Gets ``recipes/``, and ``runs/RECIPE/SPLIT/`` of each training.
    design : Design
    recipes : {name: text}
        As YAML.
    task : Task
    unit : str
        Of lengths: the tolerance of surfaces, and their distances.
    notes : tuple of str
        How the settings were completed.
    name : str
        Of the data set.
    """

    folder: Path
    design: Design
    recipes: Mapping[str, str]
    task: Task
    unit: str
    notes: tuple[str, ...]
    name: str = ""

    @property
    def jobs(self) -> list[Job]:
        """All trainings, those of one split beside each other."""
        return [self.job(name, split) for split in self.design.splits for name in self.recipes]

    def job(self, recipe: str, split: Split) -> Job:
        """One training."""
        name = _folder(recipe)
        file = self.folder / "recipes" / f"{name}.yaml"
        text = self.recipes[recipe]
        return Job(recipe, split, self.folder / "runs" / name / split.name, file, text)

    def complete(self) -> Experiment:
        """Return the experiment of those recipes that are trained on every split."""
        lacking = {j.recipe for j in self.jobs if j.result(self.task) is None}
        return replace(self, recipes={n: t for n, t in self.recipes.items() if n not in lacking})

    def run(
        self, jobs: int | None = None, quiet: bool = False, pool: ProcessPoolExecutor | None = None
    ) -> dict[tuple[str, str], Result]:
        """Train what is not trained yet.

        Parameters
        ----------
        jobs : int, optional
            Trainings at the same time, each on one thread, so that results do not depend on it;
            by default one for each core, or one where there is a GPU.
        quiet : bool
        pool : ProcessPoolExecutor, optional
            Of `workers` of this task, which several runs may share; by default one of its own.

        Returns
        -------
        {(recipe, split): Result}

        Raises
        ------
        MedSatAugError
            After everything else is done, the first that went wrong, with recipe, split and case;
            or at once where a process was killed. What is finished is kept, and the same call goes
            on. `Diverged` where the loss of some training was no number.
        """
        wanted = self.jobs
        done = {(j.recipe, j.split.name): r for j in wanted if (r := j.result(self.task))}
        open_ = [j for j in wanted if (j.recipe, j.split.name) not in done]
        if done and open_ and not quiet:
            say(f"{len(done)} of {len(wanted)} trainings are there already")
        if not open_:
            return done
        for job in {j.recipe: j for j in open_}.values():
            write_whole(job.text.encode(), job.recipe_file, alone=True)
        number = min(jobs or at_once(self.task.settings), len(open_))
        wrong: list[MedSatAugError] = []
        started = time.perf_counter()
        with nullcontext(pool) if pool else workers(self.task, number) as working:
            for count, (job, result) in enumerate(_finished(working, open_), start=1):
                left = (time.perf_counter() - started) / count * (len(open_) - count)
                line = f"[{len(done) + 1 + len(wrong)}/{len(wanted)}] {job.recipe}, "
                line += f"{job.split.name}: "
                if isinstance(result, MedSatAugError):
                    wrong.append(result)
                    line += "failed"
                else:
                    done[job.recipe, job.split.name] = result
                    line += f"mean Dice {mean_dice(result):.3f} ({result.training_seconds:.0f} s)"
                if not quiet:
                    say(line + (f"; about {duration(left)} left" if left else ""))
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            wrong[0].args = (f"{wrong[0]}{more}; the {len(done)} finished trainings are kept",)
            raise wrong[0]
        return done


def prepare(
    cases: Sequence[Any],
    out: str | os.PathLike[str],
    design: Design,
    recipes: Sequence[str] = ("none", "mri"),
    settings: Settings | None = None,
    *,
    leave_one_out: bool = False,
    tolerance: float | None = None,
    names: Mapping[str, Any] | None = None,
) -> Experiment:
    """Look through the cases and the recipes; nothing is written or trained yet.

    Parameters
    ----------
    cases : sequence
        As of `medsataug.train.train`.
    out : path
    design : Design
    recipes : sequence of str
        Packaged recipes or YAML files.
    settings : Settings, optional
        Of all trainings; what it leaves open is derived from all cases at once. Its recipe and
        seed are those of each training.
    leave_one_out : bool
        Compare the last recipe with itself less one transform, for each that draws.
    tolerance : float, optional
        Of the normalised surface distance, in the unit of the cases' grid; by default the longest
        side of a voxel.
    names : {name: label value or values}, optional
        Of the classes.

    Raises
    ------
    ConfigError, GeometryError, FormatError
        For cases that cannot be trained with, naming them: without label, or a class that some
        training part has no voxel of; and for recipes that do not suit them.
    """
    folder = Path(out).resolve()
    given = {_short(name): Pipeline.load(name) for name in recipes}
    if len(given) < len(recipes):
        raise ConfigError(f"recipes: {', '.join(recipes)}; names that differ expected")
    known = as_cases(cases)
    settings = settings or Settings()
    first = normalised(next(iter(given.values())))[0]
    found = survey(known, [], first, settings.ignore)
    settings, notes = settings.completed(found)
    _check_parts(found, design, settings)
    if leave_one_out:
        name, full = list(given.items())[-1]
        given = {name: full} | _without_each(name, full, found.training[0])
    _check_recipes(given, found, settings)
    if tolerance is None:  # of the cases as they are: a recipe may resample
        tolerance = float(np.median([s.grid.spacing for s in found.training], axis=0).max())
    task = Task(
        {case.id: case for case in known},
        settings,
        class_names(settings, names),
        float(tolerance),
        {s.id or "": contents(s) for s in found.training},
        device_of(settings.device).type,
    )
    unit, title = _unit(found.training), str(getattr(cases, "name", ""))
    texts = {name: packaged.text(pipeline) for name, pipeline in given.items()}
    return Experiment(folder, design, texts, task, unit, tuple(notes), title)


@contextmanager
def workers(task: Task, number: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes that train, each on one thread; they end with the block, whatever ends it.

    Raises
    ------
    MedSatAugError
        Where one was killed.
    """
    strangers = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(number, context, start, (task,))
    began = False
    try:
        pool.submit(int).result()
        began = True
        yield pool
    except BrokenProcessPool:
        if not began:
            raise MedSatAugError(
                "the processes that train could not start: a script needs its calls under "
                "if __name__ == '__main__':, and classes of cases of your own must come from a "
                "module, not from a notebook's cell"
            ) from None
        raise MedSatAugError(
            f"a training was killed; most often memory ran out: use --jobs {max(1, number - 1)} or "
            "a smaller patch, and give the same command again, which goes on"
        ) from None
    finally:  # after an error or an interrupt, too, nobody waits for what is under way
        for process in set(multiprocessing.active_children()) - strangers:
            process.terminate()
        pool.shutdown(cancel_futures=True)


def at_once(settings: Settings) -> int:
    """Trainings at the same time where nothing is said: one a core, or one on a GPU."""
    return threads.cores() if device_of(settings.device).type == "cpu" else 1


def mean_dice(result: Result) -> float:
    """Mean foreground Dice: of each case the mean over its classes, then the mean over cases."""
    return float(np.mean([case_dice(own) for own in result.scores.values()]))


def case_dice(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Mean Dice of a case's classes; one that is neither there nor predicted has 1."""
    return float(np.mean([m["dice"] for m in scores.values()]))


def _check_parts(found: Survey, design: Design, settings: Settings) -> None:
    """Refuse a training part that lacks a class, before anything is computed."""
    number = {s.id: k for k, s in enumerate(found.training)}
    for split in design.splits:
        part, rest = ([number[i] for i in ids] for ids in (split.training, split.test))
        own = replace(
            found,
            training=[found.training[k] for k in part],
            test=[found.training[k] for k in rest],
            counts=[found.counts[k] for k in (*part, *rest)],
        )
        try:
            own.check_classes(settings.targets, settings.regions is not None)
        except ConfigError as error:
            raise ConfigError(
                f"{split.name}: {error}; another number of folds, or another seed, may do"
            ) from None


def _check_recipes(given: Mapping[str, Pipeline], found: Survey, settings: Settings) -> None:
    """Plan some copies by each recipe: what cannot be done is told before anything is trained."""
    folders = [_folder(name).lower() for name in given]
    if len(set(folders)) < len(folders):
        raise ConfigError(f"recipes: {', '.join(given)}; names that differ in letters expected")
    case = found.training[0]
    for name, pipeline in given.items():
        check_classes(pipeline, settings.labels, settings.targets)
        whole = for_training(normalised(pipeline)[0], settings.patch or (), settings.foreground)
        try:
            for seed in range(0 if pipeline.mixes else TRIED):
                whole.plan(case, seed)
        except MedSatAugError as error:
            raise told(error, f"recipe {name}, case {case.id!r}: {error}") from None


def _without_each(name: str, pipeline: Pipeline, sample: Sample) -> dict[str, Pipeline]:
    """Recipes without one transform each, for those that leave something to chance."""
    still = {id(t) for t in for_prediction(pipeline, sample, None).transforms}
    steps = [
        k
        for k, t in enumerate(pipeline.transforms)
        if id(t) not in still and not isinstance(t, Patch)
    ]
    if len(steps) < 2:
        raise ConfigError(
            f"leave-one-out: {name} has {len(steps)} transform(s) that draw; 2 or more expected"
        )
    out: dict[str, Pipeline] = {}
    called = [recipe_name(type(pipeline.transforms[k]).__name__) for k in steps]
    for k, own in zip(steps, called, strict=True):
        twice = f" ({k + 1})" if called.count(own) > 1 else ""
        kept = (t for i, t in enumerate(pipeline.transforms) if i != k)
        out[f"{name} without {own}{twice}"] = pipeline.changed(transforms=tuple(kept))
    return out


def _finished(pool: ProcessPoolExecutor, jobs: Sequence[Job]) -> Any:
    """Yield (job, its result or what went wrong) as they come."""
    futures = {pool.submit(work, job): job for job in jobs}
    for future in as_completed(futures):
        error = future.exception()
        if error is not None and not isinstance(error, MedSatAugError):
            raise error
        yield futures[future], error or future.result()


def _unit(samples: Sequence[Sample]) -> str:
    """Name of the unit that lengths along the grids are in."""
    known = {s.grid.metres[0] if s.grid.metres else s.grid.world for s in samples}
    unit = next(iter(known)) if len(known) == 1 else "mixed"
    noun = "voxels" if samples[0].ndim == 3 else "pixels"
    return {1e-3: "mm", 1.0: "m", None: noun}.get(unit, "world units")  # type: ignore[arg-type]


def _short(recipe: str) -> str:
    return Path(recipe).stem if Path(recipe).is_file() else recipe


def _folder(recipe: str) -> str:
    return recipe.replace(" ", "-").replace("(", "").replace(")", "")


def duration(seconds: float) -> str:
    """Return a time as it is printed."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def say(text: str) -> None:
    """Tell how far it is, beside the output."""
    print(text, file=sys.stderr, flush=True)
