"""Statistics of the image as it is now, kept until a step changes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medsataug import threads
from medsataug.facts import BLOCK, Distribution, distribution, kept, start_of, summed
from medsataug.kernels.stats import moments
from medsataug.types import Array
from medsataug.values import Where

Channel = NDArray[np.float32]


class Measured:
    """What is known of each channel; quantiles, which take longest, only once they are asked for.

    It measures in all threads, so it must not be asked from within one.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, Where, bool], Distribution] = {}

    def of(
        self, channel: int, where: Where, name: str, values: Channel, label: Array | None
    ) -> Distribution:
        """Distribution of a channel's (n,) ``values`` that knows the statistic ``name``."""
        quantiles = name.startswith("q")
        key = (channel, where, quantiles)
        if key not in self._known:
            measure = distribution if quantiles else _moments
            self._known[key] = measure(values, kept(values, None, label, where))
        return self._known[key]

    def forget(self) -> None:
        """Image or label were changed."""
        self._known.clear()


def _moments(values: Channel, keep: NDArray[np.bool_]) -> Distribution:
    """Distribution of (n,) ``values`` where ``keep``, without quantiles."""
    shift = start_of(values, keep)
    parts = np.empty((-(-len(values) // BLOCK), 5))

    def one(number: int) -> None:
        part = slice(number * BLOCK, (number + 1) * BLOCK)
        moments(values[part], keep[part], shift, parts[number])

    threads.run(one, range(len(parts)))
    count, mean, std, low, high = summed(parts, shift)
    return Distribution(count, mean, std, np.array([low, high], np.float32))
