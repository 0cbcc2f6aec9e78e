"""What transforms share that bring in another sample: whom, after what, and which voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medsataug.draws import Draws, stream_key
from medsataug.errors import ConfigError
from medsataug.ranges import rounded
from medsataug.transforms.base import Named, State, Step, Transform
from medsataug.types import Array
from medsataug.values import Mix


class MixingTransform(Transform):
    """Base of transforms that mix another sample in.

    Where it stands matters: the other sample, the partner, first goes through what stands before,
    with numbers of its own (mixes apart). Both then need one shape. Where either has no data,
    everything stays as it was. Points stay the sample's own.
    """

    #: Whether the partner's label says what is brought in.
    by_label: ClassVar[bool] = False

    def mix(
        self,
        draws: Draws,
        state: State,
        function: str,
        params: Sequence[float],
        number: int = 0,
        then: tuple[Named, ...] = (),
    ) -> tuple[Step, ...]:
        """Draw a partner, and return the step that brings it in; none for what is a partner itself.

        ``number`` tells several partners apart; ``then`` is for the partner alone, at the end.
        """
        name = type(self).__name__
        if state.guest:
            return ()
        if state.company is None:
            raise ConfigError(f"{name}: it mixes samples; plan it with Pipeline.plan(partners=…)")
        key, partner, plan = state.company.invite(draws, state, name, number, then)
        if self.by_label and partner.label is None:
            raise ConfigError(
                f"{name}: partner {key!r} has no label, which says what is brought in; give it one"
            )
        return (Mix(function, key, partner.digest, tuple(params), plan),)


def beta(draws: Draws, name: str, alpha: float) -> float:
    """Draw from Beta(α, α) by its quantile function, to nine digits as a `Range` does."""
    from scipy import special  # slow to import, and needed where samples are mixed alone

    value = rounded(special.betaincinv(alpha, alpha, draws.uniform()))
    draws.note(name, value)
    return value


def named_classes(classes: Sequence[int] | None, state: State) -> tuple[float, ...]:
    """Parameters that say which label values count: those listed, or all but those that do not.

    `are_named` reads them. By default background and ignored values do not count.
    """
    if classes is not None:
        return (1.0, *map(float, classes))
    return (0.0, 0.0, *map(float, state.ignore))


def are_named(label: Array, params: Sequence[float]) -> NDArray[np.bool_]:
    """Where a label's values are among `named_classes`; of several layers, in the first."""
    values = np.array(params[1:], dtype=np.int64)
    return np.isin(label[0], values, invert=not params[0])


def objects_in(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Find what hangs together, corners counting: (…) numbers from 1, 0 outside; and how many."""
    from scipy import ndimage

    found, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return found, int(count)


def boxes(
    found: NDArray[np.int32], numbers: Sequence[int], room: NDArray[np.float64]
) -> Iterator[tuple[tuple[slice, ...], NDArray[np.bool_]]]:
    """Box about each object, ``room`` voxels larger on every side, and True where the object is.

    Distances to the edge of an object are those to the edge of all: two that touched would be one.
    """
    from scipy import ndimage

    around = ndimage.find_objects(found)
    more = np.ceil(room).astype(int).tolist()
    for number in numbers:
        sides = zip(around[number - 1], more, strict=True)
        box = tuple(slice(max(side.start - m, 0), side.stop + m) for side, m in sides)
        yield box, found[box] == number


def fraction(word: float, number: int) -> float:
    """Make a number in [0, 1) for one of many, such as an object, from a word drawn once."""
    return stream_key(int(word), number) / 2**64


def word(draws: Draws) -> float:
    """Draw a 32-bit number, which `fraction` makes many of."""
    return float(draws.words(1)[0])
