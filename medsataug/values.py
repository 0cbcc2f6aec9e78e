"""The algebra of values: what happens to numbers once they are where they belong.

A closed set of steps. `ChannelAffine` steps multiply together; a `Tile` runs voxel by voxel
over slices that stay in cache; a `Stencil` needs neighbours and a `Whole` needs the whole
channel. Numbers that depend on the data are `Stat`s: they are drawn as multiples and resolved
when the statistics are known, so that chance never depends on intermediate voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Where = str | tuple[int, ...]


@dataclass(frozen=True)
class Stat:
    """``times`` × statistic ``name`` + ``plus``, of one channel.

    ``name``: mean, std, min, max, one, or ``q<percent>`` such as ``q0.5``. ``scope`` is
    ``case`` (the stored image, followed through the steps) or ``output`` (as it is now).
    ``before`` where it is meant as it was before the step that precedes.
    """

    name: str
    times: float = 1.0
    plus: float = 0.0
    scope: str = "case"
    before: bool = False


Number = float | Stat


@dataclass(frozen=True, eq=False)
class ChannelAffine:
    """y = ``gain`` · x + ``bias``, for each channel or mixing them.

    ``gain`` is (C,) or (C', C), ``bias`` (C,) or (C',); ``names`` rename the result.
    """

    gain: NDArray[np.float64]
    bias: NDArray[np.float64]
    names: tuple[str, ...] | None = None
    where: Where = "valid"

    @property
    def diagonal(self) -> bool:
        """Whether channels stay apart."""
        return self.gain.ndim == 1

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(C', C) form of ``gain``."""
        return np.diag(self.gain) if self.diagonal else self.gain


@dataclass(frozen=True)
class Tile:
    """Pointwise: ``kernel(x, parameters, first voxel number, key)`` in place on float32 slices.

    ``params`` holds one tuple of numbers a channel (None leaves that channel alone). ``key``
    keys the noise. ``unit_changes`` where the result no longer is in stored units.
    """

    kernel: str
    params: tuple[tuple[Number, ...] | None, ...]
    key: int = 0
    where: Where = "valid"
    unit_changes: bool = False


@dataclass(frozen=True)
class Stencil:
    """Needs neighbours: ``kernel(source, parameters, z, y, out)`` fills a box of a channel.

    ``source`` is the whole channel (Z, Y, X) as it was, ``out`` (Z', Y', X) the box of it that
    begins at row ``y`` of slice ``z``. A voxel depends on those within ``halo`` (z, y, x) alone.
    """

    kernel: str
    params: tuple[tuple[Number, ...] | None, ...]
    halo: tuple[int, ...]
    where: Where = "valid"


@dataclass(frozen=True)
class Whole:
    """Needs a whole channel at once: ``kernel(channel, parameters, key, out)``."""

    kernel: str
    params: tuple[tuple[Number, ...] | None, ...]
    key: int = 0
    where: Where = "valid"


@dataclass(frozen=True)
class LabelStep:
    """Changes labels: ``function(label, image, parameters, key)`` returns the new label.

    ``kind`` says what class probabilities do. ``values``: a new label follows from the old one
    alone, and probabilities follow it. ``layers``: layers beside the classes change, and
    probabilities stay. ``voxels``: they become 0 and 1 where the label changes.
    """

    function: str
    params: tuple[float, ...] = ()
    key: int = 0
    kind: str = "voxels"


@dataclass(frozen=True)
class Mix:
    """Another sample seen in this one: ``function(label, shape, params)`` says where, how much.

    It gets the partner's label ([L,] of ``shape``) or None, and returns the partner's share: a
    number of 0 to 1, or one for every voxel of ``shape`` (bool or float32). ``partner`` is its id
    and ``digest`` that of its content; ``plan``, a `medsataug.plan.Plan`, is carried out on it
    first.
    """

    function: str
    partner: str
    digest: str
    params: tuple[float, ...] = ()
    plan: Any = None


@dataclass(frozen=True)
class Barrier:
    """Materialise here: what is cropped before is gone after."""


ValueStep = ChannelAffine | Tile | Stencil | Whole | LabelStep | Mix


def fold_values(steps: list[Any]) -> list[Any]:
    """Multiply adjacent channel affines of the same voxels; drop those that change nothing."""
    folded: list[Any] = []
    for step in steps:
        last = folded[-1] if folded else None
        if (
            isinstance(step, ChannelAffine)
            and isinstance(last, ChannelAffine)
            and step.where == last.where
            and step.where in ("valid", "all")
        ):
            folded[-1] = _multiply(last, step)
        else:
            folded.append(step)
    return [s for s in folded if not _does_nothing(s)]


def _multiply(first: ChannelAffine, second: ChannelAffine) -> ChannelAffine:
    names = second.names or first.names
    if first.diagonal and second.diagonal:
        return ChannelAffine(
            second.gain * first.gain, second.gain * first.bias + second.bias, names, second.where
        )
    gain = second.matrix @ first.matrix
    return ChannelAffine(gain, second.matrix @ first.bias + second.bias, names, second.where)


def _does_nothing(step: Any) -> bool:
    if not isinstance(step, ChannelAffine) or step.names is not None:
        return False
    if np.any(step.bias):
        return False
    if step.diagonal:
        return bool(np.all(step.gain == 1))
    return step.gain.shape[0] == step.gain.shape[1] and np.array_equal(
        step.gain, np.eye(len(step.gain))
    )
