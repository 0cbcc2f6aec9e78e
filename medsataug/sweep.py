"""Steps on values: pointwise chains over slices that stay in cache, and the barriers between.

The image is float32 here and NaN where there is no data, which every kernel keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsataug import threads, transforms
from medsataug.errors import ConfigError
from medsataug.facts import Distribution, Facts, distribution, kept
from medsataug.kernels.pointwise import mix_channels, scale_shift
from medsataug.mixing import blended, changed_label
from medsataug.types import Array, Sample
from medsataug.values import (
    ChannelAffine,
    LabelStep,
    Mix,
    Number,
    Stat,
    Stencil,
    Tile,
    ValueStep,
    Where,
    Whole,
)

#: Voxels of a slice: 256 KiB of float32 stay in the second-level cache.
SLICE = 2**16
Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Pass:
    """One pointwise step with its numbers resolved: for each channel, or None."""

    kernel: Callable[..., None]
    params: tuple[NDArray[np.float64] | None, ...]
    key: int
    where: Where


class CaseStatistics:
    """Statistics of the stored case, followed through the steps as the image itself is.

    Moments are exact for affine steps; other steps move them by what happens to the case's
    quantiles.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._known: dict[tuple[int, Where], Distribution] = {}
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
            self._known[key] = Distribution(d.count, d.mean, d.std, d.values.copy())
            for done in self._passes:
                _follow(self._known[key], done, channel, where)
        return self._known[key]

    def follow(self, done: Pass) -> None:
        """Take in a step that was carried out."""
        if done.key:  # noise widens nothing that later steps refer to
            return
        self._passes.append(done)
        for (channel, where), known in self._known.items():
            _follow(known, done, channel, where)

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
        scale_shift(known.values, params, 0, np.uint64(0))
        return
    before = known.values.copy()
    done.kernel(known.values, params, 0, np.uint64(0))
    if partly:
        np.copyto(known.values, before, where=before == 0)
    old, new = (v[1:-1].astype(np.float64) for v in (before, known.values))
    known.mean += float(new.mean() - old.mean())
    spread = float(old.std())
    known.std = known.std * float(new.std()) / spread if spread else float(new.std())


@dataclass
class Work:
    """What steps change: the image, its labels, and the fill that stands for the border."""

    image: Volume
    label: Array | None
    fills: NDArray[np.float32]
    statistics: CaseStatistics
    partner: Callable[[Mix], Sample]


def sweep(work: Work, steps: Sequence[ValueStep]) -> None:
    """Carry out ``steps`` on ``work`` in order."""
    pending: list[Pass] = []
    for step in steps:
        if isinstance(step, (Tile, ChannelAffine)) and not _is_mixing(step):
            if _needs_output(step):
                _run(work, pending)
                pending = []
            done = _resolved(step, work)
            pending.append(done)
            work.statistics.follow(done)
            _follow_fills(work.fills, done)
            continue
        _run(work, pending)
        pending = []
        if isinstance(step, ChannelAffine):
            _mix(work, step)
        elif isinstance(step, (Stencil, Whole)):
            _neighbours(work, step)
        elif isinstance(step, Mix):
            work.image, work.label = blended(work.image, work.label, step, work.partner(step))
        else:
            assert isinstance(step, LabelStep)
            work.label = changed_label(work.image, work.label, step)
    _run(work, pending)


def _is_mixing(step: Tile | ChannelAffine) -> bool:
    return isinstance(step, ChannelAffine) and (not step.diagonal or step.names is not None)


def _needs_output(step: Tile | ChannelAffine) -> bool:
    if isinstance(step, ChannelAffine):
        return False
    return any(isinstance(v, Stat) and v.scope == "output" for p in step.params if p for v in p)


def _resolved(step: Tile | ChannelAffine, work: Work) -> Pass:
    if isinstance(step, ChannelAffine):
        pairs = np.stack([step.gain, step.bias], axis=1)
        return Pass(scale_shift, tuple(pairs), 0, step.where)
    params = tuple(
        None
        if given is None
        else np.array([number(v, c, step.where, work) for v in given], dtype=np.float64)
        for c, given in enumerate(step.params)
    )
    return Pass(transforms.function(step.kernel), params, step.key, step.where)


def number(value: Number, channel: int, where: Where, work: Work) -> float:
    """Value of a parameter: itself, or of a statistic."""
    if not isinstance(value, Stat):
        return float(value)
    if value.scope == "case":
        known = work.statistics.of(channel, where)
    else:
        flat = work.image[channel].reshape(-1)
        label = None if work.label is None else work.label[0].reshape(-1)
        known = distribution(flat, kept(flat, None, label, where))
    return known.stat(value.name) * value.times + value.plus


def _follow_fills(fills: NDArray[np.float32], done: Pass) -> None:
    if done.key or isinstance(done.where, tuple):
        return
    for c, params in enumerate(done.params):
        if params is not None and not (done.where == "nonzero" and fills[c] == 0):
            one = fills[c : c + 1].copy()
            done.kernel(one, params, 0, np.uint64(0))
            fills[c] = one[0]


def _run(work: Work, passes: Sequence[Pass]) -> None:
    """Run pointwise passes slice by slice: a slice goes through all of them while in cache."""
    if not passes:
        return
    channels, size = len(work.image), math.prod(work.image.shape[1:])
    flat = work.image.reshape(channels, size)
    labels = None if work.label is None else work.label[0].reshape(-1)
    parts = [(c, start) for c in range(channels) for start in range(0, size, SLICE)]

    def one(part: tuple[int, int]) -> None:
        c, start = part
        x = flat[c, start : start + SLICE]
        for done in passes:
            params = done.params[c]
            if params is None:
                continue
            key, first = np.uint64(done.key), c * size + start
            if done.where in ("valid", "all"):
                done.kernel(x, params, first, key)
                continue
            near = None if labels is None else labels[start : start + SLICE]
            keep = kept(x, None, near, done.where)
            if keep.any():
                changed = x.copy()
                done.kernel(changed, params, first, key)
                np.copyto(x, changed, where=keep)

    threads.run(one, parts)


def _mix(work: Work, step: ChannelAffine) -> None:
    shape = work.image.shape
    out = np.empty((len(step.matrix), *shape[1:]), np.float32)
    mix_channels(
        np.ascontiguousarray(work.image.reshape(shape[0], -1)),
        np.ascontiguousarray(step.matrix, dtype=np.float64),
        np.ascontiguousarray(step.bias, dtype=np.float64),
        out.reshape(len(out), -1),
    )
    fills = (step.matrix @ work.fills + step.bias).astype(np.float32)
    work.image, work.fills = out, fills
    work.statistics.lose()


def _neighbours(work: Work, step: Stencil | Whole) -> None:
    """Run a kernel that needs more than its own voxel, channel by channel."""
    kernel = transforms.function(step.kernel)
    labels = None if work.label is None else work.label[0]
    shape = work.image.shape[1:]
    volume = shape if len(shape) == 3 else (1, *shape)

    def one(c: int) -> None:
        given = step.params[c]
        if given is None:
            return
        params = np.array([number(v, c, step.where, work) for v in given], dtype=np.float64)
        channel, out = work.image[c].reshape(volume), np.empty(volume, np.float32)
        if isinstance(step, Stencil):
            kernel(channel, params, out)
        else:
            kernel(channel, params, np.uint64(step.key), out)
        flat = out.reshape(shape)
        keep = ~np.isnan(work.image[c])
        if step.where not in ("valid", "all"):
            keep &= kept(work.image[c], None, labels, step.where)
        np.copyto(work.image[c], flat, where=keep)

    threads.run(one, range(len(work.image)))
