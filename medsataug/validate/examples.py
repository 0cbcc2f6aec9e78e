"""Cases that show what a recipe changed: image, truth, and predictions without and with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medsataug.preview import side_by_side
from medsataug.train import load
from medsataug.types import Sample, as_label, is_lazy, read_all
from medsataug.validate.experiment import case_dice, mean_dice
from medsataug.validate.results import LEARNT, Results
from medsataug.validate.scoring import Scores


@dataclass(frozen=True)
class Example:
    """A picture, and what it is of."""

    what: str
    png: bytes


def examples(results: Results, recipe: str) -> list[Example]:
    """Draw the test cases of the last size with the greatest gain, the middle one, and the loss.

    Parameters
    ----------
    results : Results
    recipe : str
        Against the reference.
    """
    size = results.experiment.design.sizes[-1]
    apart = [
        (case_dice(own) - case_dice(results.held[results.reference, split].scores[case]), split,
         case)
        for split in results.splits(size)
        for case, own in results.held[recipe, split].scores.items()
    ]  # fmt: skip
    names = (results.reference, recipe)
    learnt = {
        s for s in results.splits(size)
        if all(mean_dice(results.held[name, s]) >= LEARNT for name in names)
    }  # fmt: skip
    ranked = sorted((a for a in apart if a[1] in learnt or not learnt), key=lambda a: a[0])
    chosen = {
        "most gained": ranked[-1],
        "the middle": ranked[len(ranked) // 2],
        "most lost": ranked[0],
    }
    seen: dict[tuple[float, str, str], str] = {}
    for what, one in chosen.items():
        seen.setdefault(one, what)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as they were scored; small networks are slower on more
    try:
        return [_drawn(results, recipe, *one, what) for one, what in seen.items()]
    finally:
        torch.set_num_threads(threads)


def _drawn(
    results: Results, recipe: str, change: float, split: str, case: str, what: str
) -> Example:
    plan = results.experiment
    sample = plan.task.cases[case].load()
    if is_lazy(sample.label):
        sample = sample.replace(label=as_label(read_all(sample.label)))
    own = plan.design.split(split)
    shown = [_truth(sample, plan.task.settings)]
    notes: list[tuple[str, ...]] = [("as labelled",)]
    for name in (results.reference, recipe):
        model = load(plan.job(name, own).folder, "cpu")
        shown.append(sample.replace(label=model.predict(sample).label))
        scores = results.held[name, split].scores[case]
        notes.append((f"mean Dice {case_dice(scores):.3f}", *_lines(scores)))
    heads = ("truth", f"trained with {results.reference}", f"trained with {recipe}")
    title = f"{case} ({split}): {what}, {change:+.3f}"
    return Example(title, side_by_side(shown, heads, notes, title))


def _truth(sample: Sample, settings: Any) -> Sample:
    """Sample whose label has the layers that a prediction has."""
    if settings.regions is None:
        return sample
    label = np.asarray(sample.label)
    layers = [np.isin(label, region) for region in settings.regions]
    return sample.replace(label=np.stack(layers).astype(np.uint8))


def _lines(scores: Scores) -> list[str]:
    return [f"{name}: {own['dice']:.3f}" for name, own in scores.items()]
