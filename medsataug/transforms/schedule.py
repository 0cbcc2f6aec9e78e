"""What changes as training goes on."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, field_validator, model_validator

from medsataug.errors import ConfigError, MedSatAugError
from medsataug.ranges import Range, parsed, rounded, written
from medsataug.transforms.base import Cases, Draws, State, Step, Transform
from medsataug.transforms.one_of import Children, apply_children

KINDS = ("linear", "cosine", "step", "piecewise")


class Schedule(Transform):
    """Let fields of the given transforms follow the training's progress, from 0 to 1.

    All of the transforms are applied, in order. ``vary`` names fields that each of them has, such
    as ``p``, and how their values go:

    - ``{linear: [a, b]}`` from a at the start to b at the end;
    - ``{cosine: [a, b]}`` the same, slow at both ends;
    - ``{piecewise: {at: [0, 0.2, 1], values: [a, b, c]}}`` straight between points;
    - ``{step: {at: [0.3, 0.6], values: [a, b, c]}}`` a before .3, b before .6, then c.

    A value is whatever the field takes: a number, ``"2mm"``, a range, one for each axis. All of a
    schedule's have one form; with ``step`` they may be anything, words too.

    Parameters
    ----------
    transforms : list of transforms
        All of them are applied.
    vary : dict
        For each field the way its value goes.

    Source: Bengio et al., "Curriculum learning", ICML (2009), section 3; cosine: Loshchilov and
    Hutter, "SGDR", ICLR (2017), equation 5.
    """

    cases: ClassVar[Cases] = Cases(
        zero={
            "transforms": [{"brightness": {"offset": "50%"}}],
            "vary": {"p": {"linear": [0, 1]}},
        },
        full={
            "transforms": [{"gamma": {"exponent": 2}}],
            "vary": {"exponent": {"linear": [[1.8, 2], [2, 3]]}},
        },
    )

    transforms: Annotated[Children, Field(min_length=1)]
    vary: dict[str, dict[str, Any]]

    @field_validator("vary", mode="before")
    @classmethod
    def _as_written(cls, given: Any) -> Any:
        return _plain(given)

    @model_validator(mode="after")
    def _holds_everywhere(self) -> Schedule:
        """Make the transforms at every point at which a way bends."""
        for field, way in self.vary.items():
            _check(field, way)
            for at in _points(way):
                self.at(at)
            for at in _between_points(way):
                try:
                    self.at(at)
                except ConfigError as error:
                    raise ConfigError(
                        f"{error}; whole numbers and words go by 'step' alone"
                    ) from None
        return self

    @property
    def stages(self) -> tuple[Transform, ...]:
        """Return the transforms as they are at every such point."""
        points = {at for way in self.vary.values() for at in _points(way)}
        return tuple(child for at in sorted(points) for child in self.at(at))

    def at(self, progress: float) -> tuple[Transform, ...]:
        """Return the transforms as they are at ``progress``."""
        return tuple(self._made(child, progress) for child in self.transforms)

    def _made(self, child: Transform, progress: float) -> Transform:
        name = type(child).__name__
        now = {field: _value(way, progress) for field, way in self.vary.items()}
        for field in now:
            if field not in type(child).model_fields:
                known = ", ".join(sorted(type(child).model_fields))
                raise ConfigError(f"Schedule.vary: {name} has no field {field!r}; allowed: {known}")
        given = child.model_dump(mode="json", exclude_unset=True)
        try:
            return type(child)(**given | now)
        except MedSatAugError as error:
            raise ConfigError(f"Schedule.vary: at progress {progress:g}, {error}") from None

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw for all, as they are now."""
        draws.note("progress", float(state.progress))
        now = self.at(min(max(state.progress, 0.0), 1.0))
        return apply_children(draws, state, now, list(range(len(now))))


def _check(field: str, way: Mapping[str, Any]) -> None:
    """Refuse what is no way a value can go."""
    place = f"Schedule.vary.{field}"
    if len(way) != 1 or (kind := next(iter(way))) not in KINDS:
        raise ConfigError(f"{place}: one of {', '.join(KINDS)} expected as key, got {dict(way)!r}")
    given = way[kind]
    if kind in ("linear", "cosine"):
        if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 2:
            raise ConfigError(f"{place}: {kind} goes from one value to another, got {given!r}")
    else:
        more = 1 if kind == "step" else 0
        if not isinstance(given, Mapping) or set(given) != {"at", "values"}:
            raise ConfigError(f"{place}: {kind} takes 'at' and 'values', got {given!r}")
        at, values = given["at"], given["values"]
        if not all(isinstance(v, (list, tuple)) for v in (at, values)):
            raise ConfigError(f"{place}: 'at' and 'values' are lists, got {dict(given)!r}")
        if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in at):
            raise ConfigError(f"{place}: 'at' lists numbers from 0 to 1, got {list(at)!r}")
        rising = all(a < b for a, b in pairwise(at))
        within = bool(at) and 0 <= at[0] and at[-1] <= 1  # which NaN is not
        if not within or len(values) != len(at) + more or not rising:
            many = "one value more than points" if more else "a value for each point"
            raise ConfigError(
                f"{place}: 'at' rises between 0 and 1, with {many}; got {at} and {len(values)} "
                "values"
            )
    if kind != "step":
        for before, after in pairwise(_ends(way)):
            _between(before, after, 0.5, place)


def _ends(way: Mapping[str, Any]) -> list[Any]:
    kind, given = next(iter(way.items()))
    return list(given["values"] if kind in ("step", "piecewise") else given)


def _points(way: Mapping[str, Any]) -> list[float]:
    """Progress at which values are given, and half-way between: what holds there holds always."""
    kind, given = next(iter(way.items()))
    at = [0.0, *(() if kind in ("linear", "cosine") else map(float, given["at"])), 1.0]
    return [*at, *((a + b) / 2 for a, b in pairwise(at))]


def _between_points(way: Mapping[str, Any]) -> list[float]:
    """Progress between two points at no simple part of the way: no number is whole there."""
    return [a + (b - a) / math.e for a, b in pairwise(sorted(set(_points(way))))]


def _plain(given: Any) -> Any:
    """Numbers, words and lists of them, as a recipe writes them."""
    if isinstance(given, Range):
        return given.plain()
    if isinstance(given, (np.ndarray, np.generic)):
        return given.tolist()
    if isinstance(given, Mapping):
        return {key: _plain(value) for key, value in given.items()}
    if isinstance(given, (list, tuple)):
        return [_plain(value) for value in given]
    if given is not None and not isinstance(given, (bool, int, float, str)):
        raise ConfigError(
            f"Schedule.vary: numbers, words, and lists of them expected, got {type(given).__name__}"
        )
    return given


def _value(way: Mapping[str, Any], progress: float) -> Any:
    """Value at ``progress`` in [0, 1], as a recipe writes it."""
    kind, given = next(iter(way.items()))
    if kind == "step":
        return given["values"][bisect(given["at"], progress)]
    if kind == "piecewise":
        at, values = list(given["at"]), list(given["values"])
        k = min(max(bisect(at, progress) - 1, 0), max(len(at) - 2, 0))
        if len(at) == 1 or progress <= at[0]:
            return values[0]
        part = min((progress - at[k]) / (at[k + 1] - at[k]), 1.0)
        return _between(values[k], values[k + 1], part, kind)
    part = (1 - math.cos(math.pi * progress)) / 2 if kind == "cosine" else progress
    return _between(given[0], given[1], part, kind)


def _between(a: Any, b: Any, part: float, place: str) -> Any:
    """Value ``part`` of the way from a to b, two of one form."""
    if isinstance(a, Mapping) and isinstance(b, Mapping) and set(a) == set(b):
        return {key: _between(a[key], b[key], part, place) for key in a}
    listed = isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b)
    if listed:
        return [_between(u, v, part, place) for u, v in zip(a, b, strict=True)]
    numbers = (int, float, str)
    if isinstance(a, numbers) and isinstance(b, numbers) and not isinstance(a, bool):
        try:
            (u, unit), (v, other) = parsed(a), parsed(b)
        except ValueError as error:
            raise ConfigError(f"{place}: {error}; with 'step' values may be words") from None
        # As in a range, 0 needs no unit, and nothing else may lack it.
        if unit == other or (not unit and not u) or (not other and not v):
            return written(rounded(u + (v - u) * part), unit or other)
    raise ConfigError(f"{place}: {a!r} and {b!r} are not of one form and unit")
