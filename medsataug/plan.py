"""A plan: what will be done to one sample, with every number drawn. Printable and replayable."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug import maps, values
from medsataug.errors import ConfigError, GeometryError
from medsataug.grid import Grid
from medsataug.maps import Points, SpatialMap
from medsataug.partners import Partners
from medsataug.roles import Roles
from medsataug.types import Sample
from medsataug.values import Barrier, ValueStep, fold_values

FORMAT = 1
Step = SpatialMap | ValueStep | Barrier


@dataclass(frozen=True, eq=False)
class Segment:
    """One resampling (or none), then steps on values."""

    spatial: SpatialMap | None
    steps: tuple[ValueStep, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """What happens to one sample; made by `Pipeline.plan`, carried out by calling it.

    Attributes
    ----------
    segments : tuple of Segment
    drawn : tuple of (name, {parameter: text})
        What each transform drew, in order; transforms that did nothing are absent.
    source, grid : Grid
        Of the input and of the output.
    exact : (W + 1, N + 1) array
        Matrix that follows every matrix of the maps, a perspective's included.
    classes : tuple of int
        Label values of the class probabilities that the result holds; none where it holds none.
    partners : mapping of id to Sample, or None
        Who may be mixed in; not saved with the plan.
    """

    segments: tuple[Segment, ...]
    source: Grid
    grid: Grid
    exact: NDArray[np.float64]
    channels: tuple[str, ...]
    sample: str
    seed: int
    index: int
    roles: Roles = field(default_factory=Roles)
    drawn: tuple[tuple[str, dict[str, str]], ...] = ()
    geometry: str = "moved"
    georef: str = "auto"
    recipe: str = ""
    changes_unit: bool = False
    progress: float = 0.0
    classes: tuple[int, ...] = ()
    partners: Mapping[str, Sample] | None = field(
        default=None, repr=False, metadata={"saved": False}
    )

    def __call__(
        self, sample: Sample, partners: Any = None, into: NDArray[np.float32] | None = None
    ) -> Sample:
        """Carry the plan out; ``sample`` stays as it is.

        A plan that mixes and was read from JSON needs its ``partners``: ``{id: sample}``, or the
        list it was made with. ``into`` is C-contiguous memory, such as a place in a batch, that
        the image is made in where it has this shape and is float32; ``result.image is into`` then.
        """
        from medsataug.execute import execute

        return execute(self, sample, Partners.of(partners) or self.partners or {}, into)

    @property
    def path(self) -> list[SpatialMap]:
        """Maps of image and label in order; what moves single channels moves no label."""
        found = [segment.spatial for segment in self.segments]
        return [s for s in found if s is not None and s.channels is None]

    def source_positions(self, points: Points) -> Points:
        """(P, N) input positions that (P, N) output positions show."""
        for spatial in reversed(self.path):
            points = spatial(points)
        return points

    def output_positions(self, points: Points) -> Points:
        """(P, N) output positions of (P, N) input positions: the inverse; NaN where none is."""
        for spatial in self.path:
            points = spatial.inverse_points(points)
        return points

    def back(self, array: NDArray[Any], **options: Any) -> NDArray[Any]:
        """Bring an array on the output's grid back to the input's; see `inference.back`."""
        from medsataug.inference.inverse import back

        return back(self, array, **options)

    @property
    def elastic(self) -> bool:
        """Whether there is a deformation that no matrix describes."""
        return any(s.spatial is not None and s.spatial.elastic for s in self.segments)

    @property
    def straight(self) -> bool:
        """Whether straight lines stay straight, as they do in a perspective too."""
        return not any(isinstance(p, maps.Displacement) for s in self.path for p in s.parts)

    @property
    def smallest_jacobian(self) -> float:
        """Smallest sampled Jacobian determinant of the elastic parts; 1 where there are none."""
        spatial = [s.spatial for s in self.segments if s.spatial is not None]
        return min((maps.smallest_jacobian(s) for s in spatial if s.elastic), default=1.0)

    def to_json(self) -> str:
        """Return the plan as JSON; `from_json` gives the same plan back, bit for bit."""
        return json.dumps(
            {"medsataug_plan": FORMAT, **_plain(self)}, indent=1, sort_keys=True, allow_nan=False
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote.

        Raises
        ------
        ConfigError
            For text that is not a plan of this version's kind.
        """
        try:
            given = json.loads(text)
            if given.pop("medsataug_plan", None) != FORMAT:
                raise ValueError(f"no medsataug plan of format {FORMAT}")
            plan = _read(given)
            if not isinstance(plan, cls):
                raise ValueError("not a plan")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"plan: cannot be read ({error})") from None
        return plan

    def explain(self, time: Sample | None = None) -> str:
        """Say in words what will happen.

        Parameters
        ----------
        time : Sample, optional
            Carry the plan out on it, several times, and say what each pass and step took.
        """
        from medsataug.explain import explain
        from medsataug.timing import measure

        return explain(self, None if time is None else measure(lambda: self(time)))

    def __str__(self) -> str:
        return self.explain()

    def check(self, sample: Sample) -> None:
        """Refuse a sample that the plan was not made for."""
        if sample.grid.shape != self.source.shape:
            raise GeometryError(
                f"plan: made for an image of {list(self.source.shape)}, got "
                f"{list(sample.grid.shape)}"
            )
        apart = self.source.mismatch(sample.grid)
        if apart:
            raise GeometryError(f"plan: made for an image that lies elsewhere: {apart}")
        if len(sample.channels) != len(self.channels):
            raise ConfigError(
                f"plan: made for {len(self.channels)} channels, got {len(sample.channels)}"
            )


def fold(steps: list[Step], shape: tuple[int, ...]) -> tuple[Segment, ...]:
    """Segments of a flat list of steps for an image of ``shape``.

    Adjacent maps compose, adjacent channel affines multiply, what does nothing is dropped.
    Nothing is reordered.
    """
    segments: list[Segment] = []
    spatial: SpatialMap | None = None
    pending: list[Any] = []

    def close() -> None:
        nonlocal spatial, pending, shape
        folded = tuple(fold_values(pending))
        if spatial is not None:
            spatial = None if maps.is_identity(spatial, shape) else spatial
            shape = shape if spatial is None else spatial.out_shape
        if spatial is not None or folded:
            segments.append(Segment(spatial, folded))
        spatial, pending = None, []

    for step in steps:
        if isinstance(step, Barrier):
            close()
        elif isinstance(step, SpatialMap):
            own = step.channels is not None
            if pending or (spatial is not None and (own or spatial.channels is not None)):
                close()
            spatial = step if spatial is None else maps.compose(spatial, step)
        else:
            pending.append(step)
    close()
    return tuple(segments)


_TYPES = {
    t.__name__: t
    for t in (
        Plan, Segment, Roles, Grid, SpatialMap, maps.Affine, maps.Displacement, values.Stat,
        values.ChannelAffine, values.Tile, values.Stencil, values.Whole, values.LabelStep,
        values.Mix,
    )
}  # fmt: skip


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        own = {
            f.name: _plain(getattr(value, f.name))
            for f in fields(value)
            if f.metadata.get("saved", True)
        }
        return {"type": type(value).__name__, **own}
    if isinstance(value, np.ndarray):
        if value.dtype == np.float64 and value.size <= 64:
            return {"type": "float64", "values": value.tolist()}
        data = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        text = base64.b64encode(data.tobytes()).decode()
        return {"type": "array", "dtype": value.dtype.name, "shape": list(value.shape),
                "base64": text}  # fmt: skip
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"type": "float", "value": repr(value)}  # JSON has no infinity
    return value


def _read(given: Any) -> Any:
    if isinstance(given, list):
        return tuple(_read(v) for v in given)
    if not isinstance(given, dict):
        return given
    kind = given.get("type")
    if kind == "float":
        return float(given["value"])
    if kind == "float64":
        return np.array(given["values"], dtype=np.float64)
    if kind == "array":
        dtype = np.dtype(given["dtype"])
        data = np.frombuffer(base64.b64decode(given["base64"]), dtype.newbyteorder("<"))
        return data.astype(dtype).reshape(given["shape"])
    if kind in _TYPES:
        return _TYPES[kind](**{k: _read(v) for k, v in given.items() if k != "type"})
    return {k: _read(v) for k, v in given.items()}
