"""Small phantoms without any symmetry: shape, spacing, content, orientation and holes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug.grid import RAS_MM, Grid
from medsataug.types import Channel, Sample

SHAPES = {2: (17, 11), 3: (13, 17, 11)}
SPACINGS = {2: (1.0, 1.5), 3: (3.0, 1.0, 1.5)}
#: Class values of a label, by dtype: far apart, so that a blend of two is none of them.
CLASSES = {
    "uint8": (0, 1, 4),
    "int16": (0, -3, 900),
    "uint16": (0, 7, 60_000),
    "int32": (0, 5, 70_000),
}
#: Largest value of an image, by dtype.
TOPS = {"uint8": 250, "int16": 3000, "uint16": 40_000, "int32": 100_000}


def grid(ndim: int, shape: tuple[int, ...] | None = None) -> Grid:
    """An oblique left-anterior-superior volume in millimetres, or a north-up raster in metres."""
    shape = SHAPES[ndim] if shape is None else shape
    if ndim == 2:
        dy, dx = SPACINGS[2]
        affine = np.array([[0, dx, 500_000], [-dy, 0, 5_000_000], [0, 0, 1.0]])
        return Grid(shape, affine, "EPSG:32633", (1.0, 1.0))
    affine = np.eye(4)
    angle = np.radians(7)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    axes = np.array([[0, 0, -1.0], [0, 1, 0], [1, 0, 0]])  # z up, y to the front, x to the left
    affine[:3, :3] = turn @ axes * SPACINGS[3]
    affine[:3, 3] = (40, -20, 7)
    return Grid(shape, affine, RAS_MM, (1e-3,) * 3)


def index(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """(P, N) index coordinates of every voxel in C order."""
    return (
        np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
        .reshape(-1, len(shape))
        .astype(np.float64)
    )


def image(
    ndim: int, dtype: str = "float32", channels: int = 3, shape: tuple[int, ...] | None = None
) -> NDArray[Any]:
    """(C, …) structured values with texture, different in every channel, some of them 0."""
    shape = SHAPES[ndim] if shape is None else shape
    rng = np.random.default_rng(ndim)
    at = index(shape) / np.array(shape)
    planes = []
    for c in range(channels):
        blob = np.exp(-20 * ((at - (0.3 + 0.1 * c, 0.6, 0.45)[-ndim:]) ** 2).sum(axis=1))
        value = 0.2 + 0.4 * blob + at @ np.array([0.05, 0.1, 0.2])[-ndim:]
        value += 0.05 * rng.random(len(at))
        value[(at[:, -1] < 0.2) & (at[:, 0] > 0.5)] = 0
        planes.append(value.reshape(shape))
    stack = np.stack(planes)
    if dtype.startswith("float"):
        return (stack * 100 - 7 * (stack > 0)).astype(dtype)
    return np.round(stack * TOPS[dtype]).astype(dtype)


def label(ndim: int, dtype: str = "uint8", shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Three classes: background, a box, and a blob that touches it."""
    shape = SHAPES[ndim] if shape is None else shape
    at = index(shape) / np.array(shape)
    number = np.zeros(len(at), int)
    number[np.all((at > 0.2) & (at < (0.5, 0.7, 0.6)[-ndim:]), axis=1)] = 1
    number[((at - 0.6) ** 2).sum(axis=1) < 0.04] = 2
    return np.array(CLASSES[dtype], dtype)[number].reshape(shape)


def holes(ndim: int, channels: int = 1, shape: tuple[int, ...] | None = None) -> NDArray[np.bool_]:
    """(channels, …) validity: a missing corner, a missing box and single missing voxels."""
    shape = SHAPES[ndim] if shape is None else shape
    rng = np.random.default_rng(5)
    valid = rng.random((channels, *shape)) > 0.04
    valid[(slice(None), *[slice(0, 4)] * ndim)] = False
    valid[(0, *[slice(7, 10)] * ndim)] = False
    return valid


def channels(ndim: int) -> tuple[Channel, ...]:
    """Three channels: of a scanner, or bands with wavelength and reflectance."""
    if ndim == 3:
        return Channel("flair"), Channel("t1"), Channel("t2")
    return tuple(
        Channel(name, um, (0.01, -0.1))
        for name, um in (("green", 0.56), ("red", 0.665), ("nir", 0.842))
    )


def sample(
    ndim: int,
    dtype: str = "float32",
    label_dtype: str = "uint8",
    valid: NDArray[np.bool_] | None = None,
    **changes: Any,
) -> Sample:
    """Sample of three channels with a label of three classes; no holes unless given."""
    made = Sample(
        image=image(ndim, dtype),
        label=label(ndim, label_dtype),
        grid=grid(ndim),
        valid=valid,
        channels=channels(ndim),
        id="phantom",
    )
    return made.replace(**changes) if changes else made


def partners(given: Sample) -> list[Sample]:
    """Two samples to mix with ``given``: as it is in everything but their content."""
    ndim, shape = given.ndim, given.grid.shape
    dtype = given.image.dtype.newbyteorder("=").name
    stored = np.uint8 if given.label is None else given.label.dtype.newbyteorder("=")
    layers = () if given.label is None else given.label.shape[: given.label.ndim - ndim]
    values = np.array(CLASSES[np.dtype(stored).name])
    made = []
    for n in (0, 1):
        own = np.flip(label(ndim, np.dtype(stored).name, shape), n)
        soft = np.stack([own == v for v in values]) if given.soft is not None else None
        made.append(
            Sample(
                image=np.flip(image(ndim, dtype, len(given.channels), shape), n + 1),
                label=None if given.label is None else np.broadcast_to(own, (*layers, *shape)),
                grid=given.grid,
                soft=soft,
                channels=given.channels,
                meta=given.meta,
                id=f"partner {n}",
            )
        )
    return made


def ramp(ndim: int, slopes: tuple[float, ...] = (3.0, -2.0, 5.0)) -> NDArray[np.float32]:
    """(1, …) linear ramp, different along every axis."""
    values = index(SHAPES[ndim]) @ np.array(slopes[-ndim:])
    return values.reshape(1, *SHAPES[ndim]).astype(np.float32)


def on_ramp(points: NDArray[np.float64], slopes: tuple[float, ...] = (3.0, -2.0, 5.0)) -> Any:
    """Ramp's value at (P, N) positions."""
    return points @ np.array(slopes[-points.shape[1] :])
