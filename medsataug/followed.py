"""What is known of the case's values after some steps, without looking at a voxel again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.facts import Distribution, Facts
from medsataug.kernels.pointwise import NOWHERE, scale_shift
from medsataug.values import Where


@dataclass(frozen=True)
class Pass:
    """One pointwise step with its numbers resolved: for each channel, or None.

    ``number`` is the step's place among those of its segment.
    """

    kernel: Callable[..., None]
    params: tuple[NDArray[np.float64] | None, ...]
    key: int
    where: Where
    number: int = 0


class CaseStatistics:
    """Statistics of the stored case, followed through the steps as the image itself is.

    Moments are exact for affine steps; other steps move them by what happens to the case's
    quantiles.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._known: dict[tuple[int, Where], tuple[Distribution, int]] = {}
        self._passes: list[Pass] = []
        self._mixed = False

    def of(self, channel: int, where: Where) -> Distribution:
        """Distribution of a channel as it is now."""
        if self._mixed:
            raise ConfigError(
                "statistics of scope 'case' are not known after channels were mixed; use "
                "scope='output'"
            )
        key = (channel, where)
        if key not in self._known:
            # A copy: what the facts keep stays as stored.
            d = self._facts.distribution(channel, where)
            self._known[key] = Distribution(d.count, d.mean, d.std, d.values.copy()), 0
        known, seen = self._known[key]
        for done in self._passes[seen:]:
            _follow(known, done, channel, where)
        self._known[key] = known, len(self._passes)
        return known

    def follow(self, done: Pass) -> None:
        """Take in a step that was carried out; what it does is worked out when asked for."""
        if not done.key:  # noise widens nothing that later steps refer to
            self._passes.append(done)

    def lose(self) -> None:
        """Channels were mixed: nothing is known of them."""
        self._mixed = True


def _follow(known: Distribution, done: Pass, channel: int, where: Where) -> None:
    params = done.params[channel]
    # Whether the step changes some of these voxels only.
    partly = done.where not in ("valid", "all", where)
    if params is None or (partly and isinstance(done.where, tuple)):
        return
    if done.kernel is scale_shift and not partly:
        gain, bias = params
        known.mean, known.std = known.mean * gain + bias, known.std * abs(gain)
        scale_shift(known.values, params, NOWHERE, np.uint64(0))
        return
    before = known.values.copy()
    done.kernel(known.values, params, NOWHERE, np.uint64(0))
    if partly:
        np.copyto(known.values, before, where=before == 0)
    old, new = (v[1:-1].astype(np.float64) for v in (before, known.values))
    known.mean += float(new.mean() - old.mean())
    spread = float(old.std())
    known.std = known.std * float(new.std()) / spread if spread else float(new.std())
