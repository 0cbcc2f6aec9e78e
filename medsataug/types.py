"""What flows through a pipeline: the Sample, with its channels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeIs

from medsataug.errors import ConfigError, GeometryError
from medsataug.grid import Grid
from medsataug.shapes import read_boxes, read_points, read_polygons

if TYPE_CHECKING:
    from medsataug.facts import Facts

Array = NDArray[Any]
Window = tuple[slice, ...]
#: Rows of an array that its random numbers are keyed by.
_KEY_ROWS = 64


@dataclass(frozen=True)
class Channel:
    """One channel's name and, where known, what its numbers mean.

    ``wavelength_um`` is the band's centre; ``reflectance`` is ``(scale, offset)`` with
    reflectance = scale * stored + offset.
    """

    name: str
    wavelength_um: float | None = None
    reflectance: tuple[float, float] | None = None


@runtime_checkable
class LazyImage(Protocol):
    """An image read piece by piece: a raster larger than memory."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, window: Window) -> Array:
        """(C, *window) values."""
        ...

    def read_valid(self, window: Window) -> NDArray[np.bool_] | None:
        """(C or 1, *window) True where there is data, or None where all of it is."""
        ...


def is_lazy(part: object) -> TypeIs[LazyImage]:
    """Whether an image or label is read piece by piece; quick for arrays."""
    return not isinstance(part, np.ndarray) and isinstance(part, LazyImage)


def read_all(part: LazyImage) -> Array:
    """(C, [Z,] Y, X) values of all of it, in memory."""
    return part.read(tuple(slice(0, n) for n in part.shape[1:]))


def as_label(layers: Array) -> Array:
    """([L,] [Z,] Y, X) label of (L, [Z,] Y, X) layers: a single one has no axis of its own."""
    return layers[0] if len(layers) == 1 else layers


@dataclass(eq=False)
class Sample:
    """An image, its label, and where both are in the world.

    What is known of the content (`key`, `digest`, `facts`) is computed once and kept: change
    arrays before, or make a new sample.

    Parameters
    ----------
    image : (C, [Z,] Y, X) array or LazyImage
        Any integer or float dtype. ``axes`` may state another order.
    label : ([L,] [Z,] Y, X) integer array, LazyImage of one or more channels, or None
    axes : str
        The image's axes in order: ``"CZYX"``, ``"ZYX"``, ``"CYX"``, ``"YX"``, ``"YXC"``, ….
        Only for constructing; a Sample always stores channels first.
    spacing : sequence of float, optional
        Millimetres along (Z, Y, X); a `grid` says more.
    grid : Grid, optional
    soft : (K, [Z,] Y, X) float32 class probabilities, or None
    valid : bool array of the image's shape, or with one channel, or None
        False where there is no data.
    channels : sequence of str or Channel
    points : (N, D) array or None
        In index coordinates, in the order of the axes given; kept in array order.
    boxes : (N, 2, D) array or None
        Lowest and highest corner of each, in the same coordinates; see `medsataug.shapes`.
    polygons : sequence of (P, D) arrays, or None
        Rings of corners, in the same coordinates.
    id : str
        The user's name for it; by default a digest of the content.
    meta : dict
        What a writer needs (``meta["format"]``, ``meta["nodata"]`` …); never identity.
    record : dict
        How it came to be; filled by a pipeline.

    Raises
    ------
    ConfigError
        For axes, dtypes or shapes that do not fit.
    """

    image: Array | LazyImage
    label: Array | LazyImage | None = None
    axes: str | None = None
    spacing: Sequence[float] | None = None
    grid: Grid = None  # type: ignore[assignment]
    soft: NDArray[np.float32] | None = None
    valid: NDArray[np.bool_] | None = None
    channels: Sequence[str | Channel] = ()
    points: NDArray[np.float64] | None = None
    boxes: NDArray[np.float64] | None = None
    polygons: Sequence[NDArray[np.float64]] | None = None
    id: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_lazy(self.image):
            self.image = np.asarray(self.image)
        if self.label is not None and not is_lazy(self.label):
            self.label = np.asarray(self.label)
        if self.axes is not None:
            self._arrange(self.axes)
            self.axes = None
        elif self.grid is None:
            letters = " or ".join(_likely_axes(self.image.shape))
            raise ConfigError(
                f"axes: state the order of the image's axes (shape {self.image.shape}), "
                f"for example axes={letters}; they are not guessed"
            )
        if self.grid is None:
            self.grid = Grid.regular(self.image.shape[1:], self.spacing)
        self.spacing = None
        self._check()
        self.channels = tuple(
            c if isinstance(c, Channel) else Channel(str(c))
            for c in (self.channels or [f"channel {i}" for i in range(self.image.shape[0])])
        )
        if len(self.channels) != self.image.shape[0]:
            raise ConfigError(
                f"channels: {len(self.channels)} names for {self.image.shape[0]} channels"
            )

    def _arrange(self, axes: str) -> None:
        """Bring the image to (C, [Z,] Y, X) and the label to ([L,] [Z,] Y, X)."""
        given = axes.upper()
        spatial = "ZYX" if "Z" in given else "YX"
        if sorted(given.replace("C", "")) != sorted(spatial) or given.count("C") > 1:
            raise ConfigError(f"axes: {axes!r} is not an order of C (optional), Z (optional), Y, X")
        image = self.image
        if is_lazy(image):
            raise ConfigError("axes: a lazy image already is (C, [Z,] Y, X); leave axes out")
        if image.ndim != len(given):
            raise ConfigError(
                f"axes: {axes!r} names {len(given)} axes, the image has {image.ndim}: {image.shape}"
            )
        order = [given.index(a) for a in ("C" + spatial if "C" in given else spatial)]
        image = image.transpose(order)
        self.image = image if "C" in given else image[None]
        if self.label is not None and not is_lazy(self.label):
            own = [a for a in given if a != "C"]
            if self.label.ndim == len(own):
                self.label = self.label.transpose([own.index(a) for a in spatial])
            elif self.label.ndim == len(given) and "C" in given:
                self.label = self.label.transpose(order)
        if self.valid is not None:
            if self.valid.ndim == len(given) and "C" in given:
                self.valid = self.valid.transpose(order)
            else:
                own = [a for a in given if a != "C"]
                self.valid = self.valid.transpose([own.index(a) for a in spatial])[None]
        turn = [given.replace("C", "").index(a) for a in spatial]
        if self.points is not None:
            self.points = read_points(self.points, len(turn))[:, turn]
        if self.boxes is not None:
            self.boxes = read_boxes(self.boxes, len(turn))[:, :, turn]
        if self.polygons is not None:
            self.polygons = tuple(p[:, turn] for p in read_polygons(self.polygons, len(turn)))

    def _check(self) -> None:
        shape = tuple(self.image.shape)
        if len(shape) not in (3, 4):
            raise ConfigError(f"image: (C, Y, X) or (C, Z, Y, X) expected, got shape {shape}")
        if min(shape) < 1:
            raise ConfigError(f"image: shape {shape} has no voxels")
        if self.image.dtype.kind == "b" and isinstance(self.image, np.ndarray):
            self.image = self.image.view(np.uint8)
        if self.image.dtype.kind not in "iuf":
            raise ConfigError(f"image: a real numeric dtype is needed, got {self.image.dtype}")
        if self.grid.shape != shape[1:]:
            raise GeometryError(f"grid: shape {self.grid.shape}, but the image is {shape[1:]}")
        if self.label is not None:
            if tuple(self.label.shape[-len(shape) + 1 :]) != shape[1:]:
                raise GeometryError(
                    f"label: shape {tuple(self.label.shape)} does not fit the image's {shape[1:]}"
                )
            if self.label.dtype.kind == "b" and not is_lazy(self.label):
                self.label = self.label.view(np.uint8)
            if self.label.dtype.kind not in "iu":
                raise ConfigError(
                    f"label: integers expected, got {self.label.dtype}; class probabilities "
                    "belong in soft="
                )
        if self.soft is not None:
            self.soft = np.asarray(self.soft, dtype=np.float32)
            if self.soft.ndim != len(shape) or self.soft.shape[1:] != shape[1:]:
                raise GeometryError(f"soft: shape {self.soft.shape} does not fit image {shape}")
        ndim = len(shape) - 1
        if self.points is not None:
            self.points = read_points(self.points, ndim)
        if self.boxes is not None:
            self.boxes = read_boxes(self.boxes, ndim)
        if self.polygons is not None:
            self.polygons = read_polygons(self.polygons, ndim)
        if self.valid is not None:
            self.valid = np.asarray(self.valid, dtype=bool)
            if self.valid.ndim == len(shape) - 1:
                self.valid = self.valid[None]
            if self.valid.shape[1:] != shape[1:] or self.valid.shape[0] not in (1, shape[0]):
                raise GeometryError(f"valid: shape {self.valid.shape} does not fit image {shape}")

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return self.grid.ndim

    @property
    def key(self) -> str:
        """What random numbers are keyed by: the id, or a digest of the image's content.

        The label has no part in it: a second label gets the same draws as the first. Of a large
        array only evenly spaced rows are read, so that it costs less than the augmentation;
        `digest` reads everything.
        """
        return self.id or self.content

    @cached_property
    def content(self) -> str:
        """What `key` is of a sample without an id, whatever its id."""
        state = hashlib.blake2b(digest_size=8)
        part = self.image
        if is_lazy(part):
            state.update(str(getattr(part, "digest", "")).encode())
            return state.hexdigest()
        state.update(f"{part.shape}{part.dtype.newbyteorder('=').str}".encode())
        rows = math.prod(part.shape[:-1])
        for k in range(min(rows, _KEY_ROWS)):
            row = part[np.unravel_index(k * rows // min(rows, _KEY_ROWS), part.shape[:-1])]
            state.update(np.ascontiguousarray(row, row.dtype.newbyteorder("=")).data)
        return state.hexdigest()

    @cached_property
    def digest(self) -> str:
        """BLAKE2b-64 of the voxels, labels, shapes and dtypes, in hexadecimal."""
        state = hashlib.blake2b(digest_size=8)
        for part in (self.image, self.label, self.valid, self.soft):
            if part is None:
                continue
            if is_lazy(part):
                state.update(str(getattr(part, "digest", "")).encode())
                continue
            state.update(f"{part.shape}{part.dtype.newbyteorder('=').str}".encode())
            state.update(np.ascontiguousarray(part, part.dtype.newbyteorder("=")).data)
        return state.hexdigest()

    @cached_property
    def facts(self) -> Facts:
        """What a plan may know of the voxels; computed when asked, then kept.

        A lazy image that knows them already has a method ``facts``, which takes the sample.
        """
        from medsataug.facts import Facts

        known: Any = getattr(self.image, "facts", None)
        return Facts(self) if known is None else known(self)

    def replace(self, **changes: Any) -> Sample:
        """Return a copy with some fields changed."""
        return replace(self, **changes)


def _likely_axes(shape: Sequence[int]) -> list[str]:
    return {2: ['"YX"'], 3: ['"CYX"', '"ZYX"', '"YXC"'], 4: ['"CZYX"', '"ZYXC"']}.get(
        len(shape), ['"CZYX"']
    )
