"""Some of several."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from medsataug.errors import ConfigError
from medsataug.transforms.base import Cases, Draws, State, Step, Transform
from medsataug.transforms.one_of import Children, apply_children


class SomeOf(Transform):
    """Apply several of the given transforms, drawn without repetition, in the order given.

    Parameters
    ----------
    transforms : list of transforms
        Several of them are applied.
    count : int or (int, int)
        How many; of a pair, any number from the first to the second.
    """

    cases: ClassVar[Cases] = Cases(
        zero={"transforms": [{"gamma": {"exponent": 1}}, {"brightness": {"offset": 0}}]},
        full={"transforms": [{"gamma": {"exponent": 2}}, {"brightness": {"offset": "50%"}}]},
    )

    transforms: Annotated[Children, Field(min_length=1)]
    count: int | tuple[int, int] = (1, 2)

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw how many, and which."""
        low, high = (self.count,) * 2 if isinstance(self.count, int) else self.count
        n = len(self.transforms)
        if not 0 <= low <= high <= n:
            raise ConfigError(
                f"SomeOf.count: {self.count} of {n} transforms; 0 to {n} expected, rising"
            )
        count = low + draws.below(high - low + 1)
        order = sorted(range(n), key=lambda _: draws.uniform())
        return apply_children(draws, state, self.transforms, sorted(order[:count]))
