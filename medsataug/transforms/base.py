"""What a transform is: named distributions, and one method that draws steps from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medsataug.draws import Draws
from medsataug.errors import ConfigError, MedSatAugError
from medsataug.grid import Grid
from medsataug.maps import SpatialMap
from medsataug.ranges import METRES, PerAxis, Range
from medsataug.types import Channel, Sample
from medsataug.values import Barrier, ChannelAffine, Number, Stat, Tile, ValueStep

if TYPE_CHECKING:
    from medsataug.company import Company
    from medsataug.facts import Facts

Step = SpatialMap | ValueStep | Barrier
Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Cases:
    """What zero and full strength mean, so that every transform is tested the same way.

    ``zero`` and ``full`` are field values; ``zero`` is None where there is no zero strength,
    and ``why`` then says why. ``ndims`` are the dimensions it works in.
    """

    zero: dict[str, Any] | None
    full: dict[str, Any]
    why: str = ""
    ndims: tuple[int, ...] = (2, 3)


@dataclass
class State:
    """What is known where a transform stands in its pipeline: the frame after the steps before.

    Attributes
    ----------
    grid : Grid
        Of the array as it is now; what is written with it.
    exact : (W + 1, N + 1) array
        Matrix that follows every matrix, whatever ``geometry`` says: affine, but where a
        perspective is among them. The grid then follows what touches it at the centre.
    path : list of SpatialMap
        The maps so far.
    channels : tuple of Channel
    facts : Facts
        Of the source, whose grid is ``source``.
    progress : float
        Of the training, 0 to 1.
    before : tuple of (stream, transform)
        What stands before, and the name its random numbers are keyed by.
    company : Company or None
        Other samples to mix with.
    guest : bool
        Whether the sample is itself to be mixed into another: then nothing is mixed into it.
    """

    grid: Grid
    exact: NDArray[np.float64]
    channels: tuple[Channel, ...]
    facts: Facts
    has_label: bool
    geometry: Literal["moved", "exact"]
    progress: float = 0.0
    ignore: tuple[int, ...] = ()
    path: list[SpatialMap] = field(default_factory=list)
    before: tuple[Named, ...] = ()
    company: Company | None = None
    guest: bool = False
    source: Grid | None = None
    has_soft: bool = False

    @classmethod
    def of(cls, sample: Sample, geometry: Literal["moved", "exact"], progress: float) -> State:
        """State before the first transform."""
        return cls(
            grid=sample.grid,
            exact=sample.grid.affine,
            channels=tuple(sample.channels),  # type: ignore[arg-type]
            facts=sample.facts,
            has_label=sample.label is not None,
            geometry=geometry,
            progress=progress,
            source=sample.grid,
            has_soft=sample.soft is not None,
        )

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return self.grid.ndim

    def follow(self, step: Step) -> None:
        """Take in what ``step`` changes."""
        if isinstance(step, SpatialMap):
            if step.channels is not None:
                return
            matrix = step.matrix
            if step.regrids or self.geometry == "exact":
                self.grid = self.grid.moved(step.tangent, step.out_shape)
            elif step.out_shape != self.grid.shape:
                self.grid = Grid(
                    step.out_shape, self.grid.affine, self.grid.world, self.grid.metres
                )
            self.exact = self.exact @ matrix
            self.path = [*self.path, step]
        else:
            self.channels = channels_after(self.channels, step)

    def seen(self, place: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where (P, N) places of the source are in the current frame; NaN where unknown."""
        for spatial in self.path:
            place = spatial.inverse_points(place)
        return place

    def voxels(self, given: PerAxis, draws: Draws, name: str) -> NDArray[np.float64]:
        """(N,) lengths drawn from ``given`` for each axis, in voxels; axes not named get 0."""
        size_m = self.grid.spacing_m
        out = np.zeros(self.ndim)
        for k, value, unit in drawn_per_axis(given, draws, name, self.ndim, default=0.0):
            if not unit:
                out[k] = value
            elif size_m is None:
                raise ConfigError(
                    f"{name}: a length in {unit} needs voxels of known size; load a file that "
                    "states it, give spacing=, or write the length in voxels (no unit)"
                )
            else:
                out[k] = value * METRES[unit] / size_m[k]
        return out


def channels_after(channels: tuple[Channel, ...], step: ValueStep | Barrier) -> tuple[Channel, ...]:
    """Channels after a value step: renamed, or no longer in the unit they were stored in."""
    if isinstance(step, Tile) and step.unit_changes:
        return tuple(Channel(c.name, c.wavelength_um) for c in channels)
    if isinstance(step, ChannelAffine) and step.names is not None:
        known = {c.name: c for c in channels}
        return tuple(known.get(n, Channel(n)) for n in step.names)
    return channels


def drawn_per_axis(
    given: PerAxis, draws: Draws, name: str, ndim: int, default: float
) -> list[tuple[int, float, str]]:
    """(axis, value, unit) for each array axis: one range for all, or one for each named axis."""
    if isinstance(given, Range) and given.kind == "fixed":
        value = draws.draw(name, given)  # said once, the same for all axes
        return [(k, value, given.unit) for k in range(ndim)]
    out = []
    for k, axis in enumerate("zyx"[-ndim:]):
        if isinstance(given, dict):
            if axis not in given:
                out.append((k, default, ""))
                continue
            value = given[axis].at(draws.uniform())
            draws.note(name, f"{axis} {value:.4g}{given[axis].unit}")
            out.append((k, value, given[axis].unit))
        else:
            out.append((k, draws.draw(name, given), given.unit))
    return out


class Transform(BaseModel):
    """Base of all transforms.

    Parameters
    ----------
    p : float
        Probability of being applied.
    key : str, optional
        Name of its stream of random numbers, to keep it while a recipe is edited.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False
    )

    p: Probability = 1.0
    key: str | None = None

    #: Zero and full strength, for the tests.
    cases: ClassVar[Cases]
    #: Whether the result is no longer in stored units and therefore float32.
    changes_unit: ClassVar[bool] = False

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise config_error(type(self), error) from None

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the steps of one application."""
        raise NotImplementedError(f"{type(self).__name__}.sample")

    def steps(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Return the steps with probability `p`, else none."""
        return self.sample(draws, state) if draws.uniform() < self.p else ()

    def __call__(self, sample: Sample | None = None, **arguments: Any) -> Sample:
        """Apply alone: a pipeline of one. Arguments as for `medsataug.Pipeline`."""
        from medsataug.pipeline import Pipeline

        return Pipeline([self])(sample, **arguments)

    @classmethod
    def summary(cls) -> str:
        """First line of the description."""
        return (cls.__doc__ or "").strip().splitlines()[0]


def config_error(model: type[BaseModel], error: ValidationError) -> MedSatAugError:
    """One line for the first thing that is wrong: where, what was given, what is allowed."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, MedSatAugError):
        return cause
    place = ".".join([model.__name__, *(str(p) for p in first["loc"])])
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(model.model_fields))
        return ConfigError(f"{place}: no such key; allowed: {known}")
    message = str(cause) if cause else f"{first['msg']}, got {first['input']!r}"
    return ConfigError(f"{place}: {message}")


#: A transform, and the name that its random numbers are keyed by.
Named = tuple[str, Transform]
WhereField = Literal["valid", "nonzero", "all"] | tuple[int, ...]


class ValueTransform(Transform):
    """Base of transforms of values.

    Parameters
    ----------
    where : {"valid", "nonzero", "all"} or label values
        The voxels that change. Nodata never does.
    per_channel : bool
        Whether each channel draws its own numbers.
    channels : list of str or int, optional
        Names or numbers of the channels that change; by default all.
    """

    where: WhereField = "valid"
    per_channel: bool = False
    channels: tuple[str | int, ...] | None = None

    def picked(self, state: State) -> list[int]:
        """Numbers of the channels that change."""
        names = [c.name for c in state.channels]
        if self.channels is None:
            return list(range(len(names)))
        picked = []
        for channel in self.channels:
            number = names.index(channel) if channel in names else channel
            if not isinstance(number, int) or not 0 <= number < len(names):
                raise ConfigError(
                    f"{type(self).__name__}.channels: {channel!r} is not a channel; allowed: "
                    f"{', '.join(names)}, or 0 to {len(names) - 1}"
                )
            picked.append(number)
        return picked

    def for_each(
        self, draws: Draws, state: State, draw: Any
    ) -> tuple[tuple[Number, ...] | None, ...]:
        """Parameters of each channel by ``draw(channel)``: drawn anew, or one set for all.

        ``draw`` is called for every channel whose numbers are its own.
        """
        picked = self.picked(state)
        out: list[tuple[Number, ...] | None] = [None] * len(state.channels)
        drawn: Any = None
        for c in picked:
            if drawn is None or self.per_channel:
                drawn = draw()
            out[c] = drawn(state.channels[c])
        return tuple(out)

    def tile(self, kernel: str, params: Any, key: int = 0) -> tuple[Step, ...]:
        """Return a Tile step, or none where no channel changes."""
        if all(p is None for p in params):
            return ()
        return (Tile(kernel, tuple(params), key, self.where, type(self).changes_unit),)


def amount(value: float, unit: str, channel: Channel, place: str) -> Number:
    """Return a drawn amount in stored units, for one channel."""
    if unit == "%":
        return Stat("std", value / 100) if value else 0.0
    if unit == "rho":
        if channel.reflectance is None:
            raise ConfigError(
                f"{place}: 'rho' needs the band's reflectance scale, and {channel.name!r} states "
                "none; write the amount in '%' or in stored units"
            )
        return value / channel.reflectance[0]
    return value


def plus(a: Number, b: Number) -> Number:
    """Sum of a number and a number or statistic."""
    if isinstance(a, Stat):
        if isinstance(b, Stat):
            raise TypeError("two statistics do not add up to one")
        return Stat(a.name, a.times, a.plus + b, a.scope)
    return plus(b, a) if isinstance(b, Stat) else a + b


def sizes(given: int | Sequence[int], ndim: int, place: str) -> tuple[int, ...]:
    """One whole number for each axis."""
    out = (given,) * ndim if isinstance(given, int) else tuple(given)
    if len(out) != ndim:
        raise ConfigError(
            f"{place}: {list(out)} has {len(out)} numbers, the image has {ndim} axes "
            f"({', '.join('zyx'[-ndim:])})"
        )
    return out


__all__ = ["Cases", "Draws", "State", "Step", "Transform"]
