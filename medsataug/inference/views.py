"""Views that a network looks at in turn, and the check that nothing is left to chance."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.draws import Draws
from medsataug.errors import ConfigError, GeometryError, MedSatAugError
from medsataug.grid import Grid
from medsataug.pipeline import Pipeline
from medsataug.transforms.base import Transform
from medsataug.transforms.flip import Flip
from medsataug.transforms.rot90 import Rot90
from medsataug.types import Sample

#: Sets of views by name.
SETS = ("none", "flips", "turns", "d4")
#: Numbers that show whether something draws: the ends of every range, and its middle.
_SHARES = (2.0**-20, 0.5, 1 - 2.0**-20)
_SEEDS = range(4)


def named_views(
    given: str | Sequence[Any],
    grid: Grid,
    axes: Sequence[str | int] | None = None,
    swap: Mapping[int, int] | None = None,
) -> list[Pipeline]:
    """Pipelines of a set of views; the first of a named set is the image as it is.

    Parameters
    ----------
    given : {"none", "flips", "turns", "d4"} or list
        ``flips``: every combination of mirrored axes, 4 in 2D and 8 in 3D. ``turns``: the four
        quarter turns of a plane. ``d4``: its eight symmetries. Or a list of pipelines,
        transforms and recipes' names.
    grid : Grid
        Of the image that is looked at.
    axes : list of str or int, optional
        Axes that are mirrored (by default all), or the two of the plane (by default x and y).
    swap : dict, optional
        Classes that trade places when left and right do, as in `Flip`.

    Raises
    ------
    ConfigError, GeometryError
        For an unknown set, or a turn of a plane whose voxels are not square.
    """
    if isinstance(given, (list, tuple)) and given:
        return [_pipeline(view, f"views[{number}]") for number, view in enumerate(given)]
    if not isinstance(given, str):
        return _unknown(given)
    if given not in SETS:
        return _unknown(given)
    mirrored: Sequence[str | int] = tuple("zyx"[-grid.ndim :]) if axes is None else tuple(axes)
    lists: list[tuple[Transform, ...]] = [()]
    if given == "flips":
        chosen = itertools.product((False, True), repeat=len(mirrored))
        names = [tuple(itertools.compress(mirrored, picks)) for picks in chosen]
        lists = [_flips(a, swap) for a in names]
    elif given != "none":
        plane: Any = _plane(grid, axes)
        turns = [(Rot90(turns=(n,), plane=plane),) if n else () for n in (0, 1, 2, 3)]
        mirrors = [(), _flips((plane[0],), swap)] if given == "d4" else [()]
        lists = [(*mirror, *turn) for mirror in mirrors for turn in turns]
    # Prediction is of anatomy or ground as stored: turned within its grid, whatever it lies on.
    return [Pipeline(steps, geometry="moved") for steps in lists]


def _flips(axes: tuple[str | int, ...], swap: Mapping[int, int] | None) -> tuple[Transform, ...]:
    return (Flip(p=1, axes=axes, swap=None if swap is None else dict(swap)),) if axes else ()


def _plane(grid: Grid, axes: Sequence[str | int] | None) -> str:
    numbers = sorted({grid.axis(a) for a in (("x", "y") if axes is None else axes)}, reverse=True)
    if len(numbers) != 2:
        raise GeometryError(f"views: turns need the two axes of a plane, got axes={axes!r}")
    a, b = ("zyx"[-grid.ndim :][k] for k in numbers)
    return a + b


def _pipeline(view: Any, place: str) -> Pipeline:
    if isinstance(view, Transform):
        return Pipeline([view], geometry="moved")
    if not isinstance(view, (Pipeline, str, os.PathLike)):
        raise ConfigError(
            f"{place}: a pipeline, a transform or a recipe's name expected, got "
            f"{type(view).__name__} {view!r}"
        )
    return view if isinstance(view, Pipeline) else Pipeline.load(view)


def _unknown(given: Any) -> list[Pipeline]:
    raise ConfigError(
        f"views: {given!r}; allowed: {', '.join(SETS)}, or a list of pipelines with one or more"
    )


class _Constant(Draws):
    """A stream in which every number is the same."""

    def __init__(self, share: float) -> None:
        super().__init__("constant", share)
        self._share = share

    def child(self, name: str) -> Draws:
        return _Constant(self._share)

    def keyed(self, key: str) -> Draws:
        return _Constant(self._share)

    def words(self, count: int) -> NDArray[np.uint32]:
        return np.full(count, int(self._share * 2**32), np.uint32)

    def uniform(self) -> float:
        return self._share


def refuse_chance(pipeline: Pipeline, sample: Sample, what: str) -> None:
    """Refuse a pipeline whose plan for ``sample`` depends on random numbers, or on other samples.

    Plans of several seeds, and of streams that give the ends and the middle of every range, must
    be one and the same.

    Raises
    ------
    ConfigError
        Naming the first transform that draws.
    """
    if pipeline.mixes:
        raise ConfigError(f"{what}: it mixes in other samples, which a prediction cannot have")
    streams: list[Callable[[str], Draws]] = [
        *(lambda own, seed=seed: Draws(seed, "", 0, own) for seed in _SEEDS),
        *(lambda _, share=share: _Constant(share) for share in _SHARES),
    ]
    if not _differ(pipeline, sample, streams):
        return
    known = pipeline.transforms
    counts = range(1, len(known) + 1)
    first = next(n for n in counts if _differ(_start(pipeline, n), sample, streams)) - 1
    raise ConfigError(
        f"{what}: transforms[{first}] {type(known[first]).__name__} draws random numbers, on which "
        "a prediction must not depend; give it p 0 or 1 and single values instead of ranges, or "
        "leave it out"
    )


def _start(pipeline: Pipeline, count: int) -> Pipeline:
    return pipeline.changed(transforms=pipeline.transforms[:count])


def _differ(pipeline: Pipeline, sample: Sample, streams: Sequence[Callable[[str], Draws]]) -> bool:
    """Whether two streams lead to two plans."""
    first: Any = None
    for number, stream in enumerate(streams):
        try:
            plan = pipeline.plan_from(sample, stream, progress=1.0)
        except MedSatAugError:
            if number == 0:
                raise  # whatever is drawn, it cannot be carried out
            return True
        segments = json.loads(plan.to_json())["segments"]
        first = segments if number == 0 else first
        if segments != first:
            return True
    return False
