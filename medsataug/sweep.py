"""Steps on values: pointwise chains over slices that stay in cache, and the barriers between.

The image is float32 here and NaN where there is no data, which every kernel keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medsataug import threads, timing, transforms
from medsataug.facts import kept
from medsataug.followed import CaseStatistics, Pass
from medsataug.kernels.pointwise import (
    NOWHERE,
    has_nan,
    mix_channels,
    scale_shift,
    scale_shift_limit,
    stretch,
)
from medsataug.measured import Measured
from medsataug.mixing import changed_label, changed_soft, mix_in
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
#: Slices and rows of a channel (Z, Y, X).
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Source:
    """Where the first pass reads an image from: (n,) arrays of any type, and what is valid."""

    channels: Sequence[Array]
    valid: Sequence[NDArray[np.bool_] | None]

    def read(self, channel: int, start: int, out: NDArray[np.float32]) -> None:
        """Fill (n,) ``out`` with a slice of a channel, NaN where it is not valid."""
        part = slice(start, start + len(out))
        out[:] = self.channels[channel][part]
        valid = self.valid[channel]
        if valid is not None:
            np.copyto(out, np.float32(np.nan), where=~valid[part])


@dataclass
class Work:
    """What steps change: the image, its labels, and the fill that stands for the border.

    ``image`` holds nothing yet where there is a ``source``. ``whole`` is whether no NaN is known
    to be in it. Class probabilities (``soft``) are of ``classes``; ``nothing`` are label values
    that are none. ``measured`` is what is known of the image as it is now.
    """

    image: Volume
    label: Array | None
    fills: NDArray[np.float32]
    statistics: CaseStatistics
    partner: Callable[[Mix], Sample]
    source: Source | None = None
    whole: bool = False
    soft: NDArray[np.float32] | None = None
    classes: tuple[int, ...] = ()
    nothing: tuple[int, ...] = ()
    measured: Measured = field(default_factory=Measured)


def sweep(work: Work, steps: Sequence[ValueStep]) -> None:
    """Carry out ``steps`` on ``work`` in order."""
    pending: list[Pass] = []
    clock, steps = timing.clock(), list(steps)
    for at, step in enumerate(steps):
        following = steps[at + 1] if at + 1 < len(steps) else None
        if isinstance(following, Tile) and _asks(following, lambda stat: stat.before):
            if _needs_output(following):
                _run(work, pending)
                pending = []
            steps[at + 1] = _remembering(following, work)
        if isinstance(step, (Tile, ChannelAffine)) and not _is_mixing(step):
            if _needs_output(step):
                _run(work, pending)
                pending = []
            clock.turn(at)
            done = _resolved(step, at, work)
            pending.append(done)
            work.statistics.follow(done)
            _follow_fills(work.fills, done)
            continue
        _run(work, pending)
        pending, work.whole = [], False
        clock.turn(at)
        if isinstance(step, ChannelAffine):
            _mix(work, step)
        elif isinstance(step, Stencil):
            _neighbours(work, step)
        elif isinstance(step, Whole):
            _whole(work, step)
        elif isinstance(step, Mix):
            work.label, work.soft = mix_in(
                work.image, work.label, work.soft, step, work.partner(step), work.classes,
                work.nothing,
            )  # fmt: skip
        else:
            assert isinstance(step, LabelStep)
            before, work.label = work.label, changed_label(work.image, work.label, step)
            if work.soft is not None:
                work.soft = changed_soft(
                    work.soft, before, work.label, step, work.classes, work.nothing
                )
        work.measured.forget()
    _run(work, pending)


def _is_mixing(step: Tile | ChannelAffine) -> bool:
    return isinstance(step, ChannelAffine) and (not step.diagonal or step.names is not None)


def _needs_output(step: Tile | ChannelAffine) -> bool:
    if isinstance(step, ChannelAffine):
        return False
    return _asks(step, lambda stat: stat.scope == "output")


def _asks(step: Tile, what: Callable[[Stat], bool]) -> bool:
    return any(isinstance(v, Stat) and what(v) for p in step.params if p for v in p)


def _remembering(step: Tile, work: Work) -> Tile:
    """Step whose statistics of before are looked up, while they still can be."""

    def known(value: Number, c: int) -> Number:
        kept = isinstance(value, Stat) and value.before
        return number(value, c, step.where, work) if kept else value

    params = enumerate(step.params)
    found = tuple(None if p is None else tuple(known(v, c) for v in p) for c, p in params)
    return replace(step, params=found)


def _resolved(step: Tile | ChannelAffine, at: int, work: Work) -> Pass:
    if isinstance(step, ChannelAffine):
        pairs = np.stack([step.gain, step.bias], axis=1)
        return Pass(scale_shift, tuple(pairs), 0, step.where, at)
    params = tuple(_numbers(step, c, work) for c in range(len(step.params)))
    return Pass(transforms.function(step.kernel), params, step.key, step.where, at)


def _numbers(step: Tile | Stencil | Whole, c: int, work: Work) -> NDArray[np.float64] | None:
    """Parameters of channel ``c`` with their statistics looked up; None leaves it alone."""
    given = step.params[c]
    if given is None:
        return None
    return np.array([number(v, c, step.where, work) for v in given], dtype=np.float64)


def number(value: Number, channel: int, where: Where, work: Work) -> float:
    """Value of a parameter: itself, or of a statistic."""
    if not isinstance(value, Stat):
        return float(value)
    if value.scope == "case":
        known = work.statistics.of(channel, where)
    else:
        flat = work.image[channel].reshape(-1)
        label = None if work.label is None else work.label[0].reshape(-1)
        known = work.measured.of(channel, where, value.name, flat, label)
    return known.stat(value.name) * value.times + value.plus


def _follow_fills(fills: NDArray[np.float32], done: Pass) -> None:
    if done.key or isinstance(done.where, tuple):
        return
    for c, params in enumerate(done.params):
        if params is not None and not (done.where == "nonzero" and fills[c] == 0):
            one = fills[c : c + 1].copy()
            done.kernel(one, params, NOWHERE, np.uint64(0))
            fills[c] = one[0]


def _run(work: Work, passes: Sequence[Pass]) -> None:
    """Run pointwise passes slice by slice.

    While it is in cache, a slice is read from the source, goes through all passes and is searched
    for NaN: each of these over the whole image would cost as much as a kernel.
    """
    source, work.source = work.source, None
    if not passes and source is None:
        return
    work.measured.forget()
    passes = _folded(passes)
    channels, size = len(work.image), math.prod(work.image.shape[1:])
    flat = work.image.reshape(channels, size)
    labels = None if work.label is None else work.label[0].reshape(-1)
    parts = [(c, start) for c in range(channels) for start in range(0, size, SLICE)]
    gaps: list[bool] = []
    clock = timing.clock()
    clock.turn("slices")
    read = None if source is None else clock.of("in", source.read)
    changes = [clock.of(done.number, partial(_change, done)) for done in passes]
    search = clock.of("search", has_nan)

    def one(part: tuple[int, int]) -> None:
        c, start = part
        x = flat[c, start : start + SLICE]
        near = None if labels is None else labels[start : start + SLICE]
        if read is not None:
            read(c, start, x)
        for change in changes:
            change(x, c, c * size + start, near)
        gaps.append(search(x))

    threads.run(one, parts)
    work.whole = not any(gaps)


def _change(done: Pass, x: NDArray[np.float32], c: int, first: int, near: Array | None) -> None:
    """Carry a step out on a slice of channel ``c``; ``near`` are the labels there."""
    params, key = done.params[c], np.uint64(done.key)
    if params is None:
        return
    if done.where in ("valid", "all"):
        done.kernel(x, params, first, key)
        return
    keep = kept(x, None, near, done.where)
    if keep.any():
        changed = x.copy()
        done.kernel(changed, params, first, key)
        np.copyto(x, changed, where=keep)


def _folded(passes: Sequence[Pass]) -> list[Pass]:
    """Take gains and biases into the like step that comes next."""
    out: list[Pass] = []
    for done in passes:
        before = out[-1] if out else None
        if (
            before is not None
            and before.kernel is scale_shift
            and done.kernel in (scale_shift, stretch)
            and before.where == done.where
            and done.where in ("valid", "all")
        ):
            limited = done.kernel is stretch
            pairs = zip(before.params, done.params, strict=True)
            params = tuple(_after(first, second, limited) for first, second in pairs)
            kernel = scale_shift_limit if limited else scale_shift
            out[-1] = Pass(kernel, params, 0, done.where, done.number)
        else:
            out.append(done)
    return out


def _after(
    first: NDArray[np.float64] | None, second: NDArray[np.float64] | None, limited: bool
) -> NDArray[np.float64] | None:
    """Gain and bias of a channel, and limits, where ``second`` comes after ``first``."""
    if first is None and second is None:
        return None
    gain, bias = (1.0, 0.0) if first is None else first
    if not limited:
        then, plus = (1.0, 0.0) if second is None else second
        return np.array([then * gain, then * bias + plus])
    factor, centre, low, high = (1.0, 0.0, -math.inf, math.inf) if second is None else second
    return np.array([factor * gain, factor * (bias - centre) + centre, low, high])


def _mix(work: Work, step: ChannelAffine) -> None:
    """Make channels of all channels; one that only keeps another, or is constant, costs a copy."""
    shape, matrix = work.image.shape, np.ascontiguousarray(step.matrix, dtype=np.float64)
    bias, out = np.asarray(step.bias, np.float64), np.empty((len(matrix), *shape[1:]), np.float32)
    x, made = work.image.reshape(shape[0], -1), out.reshape(len(out), -1)
    plain = np.array([not row.any() or _keeps(row, b) for row, b in zip(matrix, bias, strict=True)])

    def one(a: int) -> None:
        made[a] = x[matrix[a].argmax()] if matrix[a].any() else bias[a]

    threads.run(one, np.flatnonzero(plain).tolist())
    if not plain.all():
        mixed = made if not plain.any() else np.empty((np.sum(~plain), x.shape[1]), np.float32)
        mix_channels(np.ascontiguousarray(x), matrix[~plain], bias[~plain], mixed)
        if mixed is not made:
            made[~plain] = mixed
    fills = [row[row != 0] @ work.fills[row != 0] for row in matrix]  # no NaN that has no weight
    work.image, work.fills = out, (np.array(fills) + bias).astype(np.float32)
    work.statistics.lose()


def _keeps(row: NDArray[np.float64], bias: float) -> bool:
    """Whether a row of a matrix is one channel as it is."""
    return bias == 0 and np.count_nonzero(row) == 1 and row.max() == 1


def _boxes(volume: tuple[int, ...]) -> list[Box]:
    """Cut (Z, Y, X) into whole slices, or slices into rows, so that all threads have enough."""
    (nz, ny, nx), number = volume, threads.count()
    wanted = 1 if number == 1 else min(4 * number, -(-nz * ny * nx // SLICE))
    if nz >= wanted:
        step = -(-nz // wanted)
        return [(slice(z, min(z + step, nz)), slice(0, ny)) for z in range(0, nz, step)]
    step = -(-nz * ny // wanted)
    return [
        (slice(z, z + 1), slice(y, min(y + step, ny)))
        for z in range(nz)
        for y in range(0, ny, step)
    ]


def _neighbours(work: Work, step: Stencil) -> None:
    """Run a kernel that needs neighbours: box by box, with one channel of room for all."""
    shape = work.image.shape[1:]
    volume = shape if len(shape) == 3 else (1, *shape)
    labels = None if work.label is None else work.label[0].reshape(volume)
    made, boxes = np.empty(volume, np.float32), _boxes(volume)
    for c in range(len(step.params)):
        params = _numbers(step, c, work)
        if params is None:
            continue
        channel = work.image[c].reshape(volume)
        _stencil(step, params, channel, labels, made, boxes)
        if len(work.image) == 1:
            work.image = made.reshape(work.image.shape)
        else:
            _copy(made, channel, boxes)


def _stencil(
    step: Stencil,
    params: NDArray[np.float64],
    channel: Volume,
    labels: Array | None,
    made: Volume,
    boxes: Sequence[Box],
) -> None:
    """Fill (Z, Y, X) ``made`` with what becomes of ``channel``."""
    kernel = transforms.function(step.kernel)

    def one(box: Box) -> None:
        before, out = channel[box], made[box]
        kernel(channel, params, box[0].start, box[1].start, out)
        keep = ~np.isnan(before) if has_nan(before.reshape(-1)) else None
        if step.where not in ("valid", "all"):
            keep = kept(before, keep, None if labels is None else labels[box], step.where)
        if keep is not None:
            np.copyto(out, before, where=~keep)

    threads.run(one, boxes)


def _copy(source: Volume, out: Volume, boxes: Sequence[Box]) -> None:
    threads.run(lambda box: np.copyto(out[box], source[box]), boxes)


def _whole(work: Work, step: Whole) -> None:
    """Run a kernel that needs all of a channel, channel by channel."""
    kernel = transforms.function(step.kernel)
    labels = None if work.label is None else work.label[0]
    shape = work.image.shape[1:]
    volume = shape if len(shape) == 3 else (1, *shape)
    numbers = [_numbers(step, c, work) for c in range(len(step.params))]

    def one(c: int) -> None:
        params = numbers[c]
        if params is None:
            return
        channel, out = work.image[c].reshape(volume), np.empty(volume, np.float32)
        kernel(channel, params, np.uint64(step.key), out)
        keep = ~np.isnan(work.image[c])
        if step.where not in ("valid", "all"):
            keep &= kept(work.image[c], None, labels, step.where)
        np.copyto(work.image[c], out.reshape(shape), where=keep)

    threads.run(one, range(len(work.image)))
