"""From a recipe to two pipelines: what training sees, and what prediction sees of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile
from typing import Any

from medsataug.errors import ConfigError, MedSatAugError
from medsataug.inference.views import refuse_chance
from medsataug.pipeline import Pipeline
from medsataug.transforms.base import Transform
from medsataug.transforms.normalize import Normalize
from medsataug.transforms.pad import Pad
from medsataug.transforms.patch import Patch
from medsataug.types import Sample


def normalised(pipeline: Pipeline) -> tuple[Pipeline, bool]:
    """Return the pipeline, with z-scores at its end if it never normalises, and whether it did."""
    if any(isinstance(t, Normalize) for t in pipeline.transforms):
        return pipeline, True
    zscore = Normalize(method="zscore")
    return pipeline.changed(transforms=(*pipeline.transforms, zscore)), False


def check_classes(pipeline: Pipeline, labels: Sequence[int] | None, targets: Sequence[Any]) -> None:
    """Refuse a recipe that mixes other classes than are trained."""
    if pipeline.classes and pipeline.classes != labels:
        raise ConfigError(
            f"MixUp.classes: {list(pipeline.classes)}, but the classes of the training are "
            f"{list(labels or targets)}; list the same (regions cannot be mixed)"
        )


def for_training(pipeline: Pipeline, patch: Sequence[int], foreground: float) -> Pipeline:
    """Return the pipeline with patches of this size, where it cuts them or after its last map.

    Parameters
    ----------
    pipeline : Pipeline
    patch : sequence of int
    foreground : float
        Part of the patches that lie around a class, where the recipe says nothing of it.
    """
    size = tuple(patch)
    if not any(isinstance(t, Patch) for t in pipeline.transforms):
        own = Patch(size=size, foreground=foreground, empty="random")
        return _replaced(pipeline.with_patch(size), own)
    return pipeline.changed(
        transforms=[_resized(t, size) if isinstance(t, Patch) else t for t in pipeline.transforms]
    )


def for_prediction(pipeline: Pipeline, sample: Sample, patch: Sequence[int] | None) -> Pipeline:
    """Return what of the pipeline leaves nothing to chance, such as resampling and normalising.

    Parameters
    ----------
    pipeline : Pipeline
    sample : Sample
        A case that it is tried on.
    patch : sequence of int, optional
        Smaller images are filled up to it, with what training fills patches.
    """
    case = sample.replace(label=None, soft=None, points=None, boxes=None, polygons=None)
    kept: list[Transform] = []
    for transform in pipeline.transforms:
        if isinstance(transform, Patch):
            continue
        try:
            tried = pipeline.changed(transforms=(*kept, transform))
            refuse_chance(tried, case, "recipe")
        except MedSatAugError:
            continue
        kept.append(transform)
    if patch is not None:
        values = list(dropwhile(lambda t: not isinstance(t, Normalize), kept))
        kept = [*kept[: len(kept) - len(values)], Pad(size=tuple(patch)), *values]
    return pipeline.changed(transforms=tuple(kept))


def _replaced(pipeline: Pipeline, own: Patch) -> Pipeline:
    return pipeline.changed(
        transforms=[own if isinstance(t, Patch) else t for t in pipeline.transforms]
    )


def _resized(transform: Patch, size: tuple[int, ...]) -> Patch:
    fields = {name: getattr(transform, name) for name in transform.model_fields_set}
    return Patch(**fields | {"size": size, "pad": True})
