"""Statistics of the image as it is now, kept until a step changes it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from medsataug import threads
from medsataug.facts import BLOCK, Distribution, distribution, kept
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
    first = int(np.argmax(keep)) if len(keep) else 0
    shift = float(values[first]) if len(keep) and keep[first] else 0.0
    shift = shift if math.isfinite(shift) else 0.0  # keeps squares small far from 0
    parts = np.empty((-(-len(values) // BLOCK), 5))

    def one(number: int) -> None:
        part = slice(number * BLOCK, (number + 1) * BLOCK)
        moments(values[part], keep[part], shift, parts[number])

    threads.run(one, range(len(parts)))
    count, total, squares, low, high = parts.T
    number = int(count.sum())
    if number == 0:
        return Distribution(0, 0.0, 0.0, np.zeros(2, np.float32))
    off = math.fsum(total) / number
    spread = math.sqrt(max(math.fsum(squares) / number - off * off, 0.0))
    ends = np.array([low.min(), high.max()], np.float32)
    return Distribution(number, off + shift, spread, ends)
