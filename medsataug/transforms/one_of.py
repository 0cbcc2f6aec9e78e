"""One of several."""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PlainSerializer

from medsataug.errors import ConfigError
from medsataug.transforms.base import Cases, Draws, State, Step, Transform


def _read(given: Any) -> Any:
    from medsataug.recipes import read_transforms

    return read_transforms(given, "transforms")


def _write(given: Any) -> Any:
    from medsataug.recipes import plain_transform

    return [plain_transform(t) for t in given]


Children = Annotated[
    tuple[Transform, ...],
    BeforeValidator(_read),
    PlainSerializer(_write),
]


class OneOf(Transform):
    """Apply one of the given transforms, drawn anew each time.

    Parameters
    ----------
    transforms : list of transforms
        One of them is applied.
    weights : list of float, optional
        Relative chances; by default all alike.
    """

    cases: ClassVar[Cases] = Cases(
        zero={"transforms": [{"gamma": {"exponent": 1}}, {"brightness": {"offset": 0}}]},
        full={"transforms": [{"gamma": {"exponent": 2}}, {"brightness": {"offset": "50%"}}]},
    )

    transforms: Annotated[Children, Field(min_length=1)]
    weights: tuple[float, ...] | None = None

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw which."""
        weights = self.weights or (1.0,) * len(self.transforms)
        if len(weights) != len(self.transforms) or min(weights) < 0 or sum(weights) <= 0:
            raise ConfigError(
                f"OneOf.weights: {list(weights)} for {len(self.transforms)} transforms; as many "
                "numbers of at least 0 expected, one of them more"
            )
        u, ends = draws.uniform() * sum(weights), list(accumulate(weights))
        number = min(bisect(ends, u), len(ends) - 1)
        return apply_children(draws, state, self.transforms, [number])


def apply_children(
    draws: Draws, state: State, children: tuple[Transform, ...], chosen: list[int]
) -> tuple[Step, ...]:
    """Return the steps of the chosen children, each with its own stream and the state before it."""
    from copy import copy

    steps: list[Step] = []
    now = copy(state)
    for number in chosen:
        child = children[number]
        name = type(child).__name__
        own = draws.keyed(child.key) if child.key else draws.child(f"{name} {number}")
        made = child.steps(own, now)
        for step in made:
            now.follow(step)
        now.before = (*now.before, (own.parts[-1], child))
        steps += made
        draws.note("chose", name)
        for field, text in own.log.items():
            draws.note(f"{name} {field}", text)
    return tuple(steps)
