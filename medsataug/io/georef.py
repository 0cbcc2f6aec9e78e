"""Where a raster is: corner-based transforms, centre-based grids, and what may be written.

A geotransform maps pixel *corners* (column, row) to the world; a `Grid` maps pixel *centres*
(row, column). Every conversion between them happens here, and so does the rule for what
georeference an augmented raster may carry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine, from_gcps

from medsataug.errors import ConfigError
from medsataug.grid import MM, RAS_MM, Grid

Matrix = NDArray[np.float64]
#: ``(a, b, c, d, e, f)``: x = a·column + b·row + c, y = d·column + e·row + f, pixel corners.
Transform = tuple[float, float, float, float, float, float]
#: ``(row, column, x, y)`` with row and column counted from the first pixel's outer corner.
ControlPoint = tuple[float, float, float, float]

IDENTITY: Transform = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
#: The world of a raster that is placed, in a system that the file does not name.
LOCAL = "local"
#: Tags that keep the truth where the georeference itself would break readers.
NAMESPACE = "MEDSATAUG"
GEOREF_MODES = ("auto", "exact", "drop", "gcps")

_SWAP = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
_WGS84_A_M, _WGS84_E2 = 6_378_137.0, 6.694_379_990_14e-3


def _shift(by: float) -> Matrix:
    return np.array([[1.0, 0.0, by], [0.0, 1.0, by], [0.0, 0.0, 1.0]])


def matrix_of(transform: Sequence[float]) -> Matrix:
    """(3, 3) matrix of a transform's six numbers."""
    matrix: Matrix = np.array([*transform[:6], 0.0, 0.0, 1.0], dtype=np.float64).reshape(3, 3)
    return matrix


def affine_from_transform(transform: Sequence[float]) -> Matrix:
    """(3, 3) map of pixel centres (row, column) to the world, from a corner-based transform."""
    affine: Matrix = matrix_of(transform) @ _shift(0.5) @ _SWAP
    return affine


def transform_from_affine(affine: Matrix) -> Transform:
    """Corner-based transform of a (3, 3) map of pixel centres (row, column) to the world."""
    a, b, c, d, e, f = (affine @ _SWAP @ _shift(-0.5))[:2].ravel().tolist()
    return a, b, c, d, e, f


def transform_from_grid(grid: Grid) -> Transform:
    """Corner-based transform of a 2D grid."""
    return transform_from_affine(grid.affine)


def corner_map(src_from_dst: Matrix) -> Matrix:
    """(3, 3) map of corner coordinates (column, row) that moves as ``src_from_dst`` does.

    ``src_from_dst`` maps centre indices (row, column), as every plan does.
    """
    moved: Matrix = _shift(0.5) @ _SWAP @ src_from_dst @ _SWAP @ _shift(-0.5)
    return moved


def world_name(crs: CRS | None) -> str | None:
    """``"EPSG:32633"`` where an authority's code means exactly ``crs``, else its WKT."""
    if not crs:
        return None
    # rasterio matches at 70 % confidence: a code that means something else is not accepted.
    authority = crs.to_authority()
    if authority is not None and CRS.from_authority(*authority) == crs:
        return ":".join(authority)
    return str(crs.to_wkt())


def crs_of(world: str | None) -> CRS | None:
    """CRS that a grid's world names, or None where it names none."""
    if world in (None, LOCAL, MM, RAS_MM):
        return None
    try:
        return CRS.from_user_input(world)
    except CRSError as error:
        raise ConfigError(f"grid: the world {world!r} is not a CRS that PROJ knows") from error


def metres_per_unit(
    crs: CRS | None, affine: Matrix, shape: Sequence[int]
) -> tuple[float, ...] | None:
    """Metres in one unit of x and of y at the raster's centre; None where the unit is unknown."""
    if not crs:
        return None
    try:
        unit, factor = crs.units_factor
    except CRSError:
        return None
    if not crs.is_geographic:
        known = unit != "unknown" and factor > 0
        return (float(factor), float(factor)) if known else None
    centre = affine @ [(shape[0] - 1) / 2, (shape[1] - 1) / 2, 1.0]
    # Capped short of the pole, where a degree of longitude has no length.
    latitude = min(abs(float(centre[1]) * factor), math.radians(89.99))
    w = 1 - _WGS84_E2 * math.sin(latitude) ** 2
    # Radii of curvature of the ellipsoid: along the parallel, and along the meridian.
    x = _WGS84_A_M * math.cos(latitude) / math.sqrt(w)
    y = _WGS84_A_M * (1 - _WGS84_E2) / w**1.5
    return x * factor, y * factor


def control_points(
    affine: Matrix,
    shape: Sequence[int],
    src_from_dst: Callable[[Matrix], Matrix] | None = None,
    count: int = 5,
) -> list[ControlPoint]:
    """``count``² ground control points over an output of ``shape``, its outer corners included.

    Parameters
    ----------
    affine : (3, 3) array
        Pixel centres (row, column) to the world: of the output, or of the source where
        ``src_from_dst`` is given.
    src_from_dst : callable, optional
        (P, 2) output index coordinates to (P, 2) source index coordinates: the whole map with
        its elastic part.
    """
    rows, columns = (np.linspace(0.0, n, count) for n in shape)
    corner = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    index = corner - 0.5
    if src_from_dst is not None:
        index = np.asarray(src_from_dst(index), dtype=np.float64)
    world = np.c_[index, np.ones(len(index))] @ affine.T
    return [
        (float(r), float(c), float(x), float(y))
        for (r, c), (x, y) in zip(corner, world[:, :2] / world[:, 2:], strict=True)
    ]


def fit_control_points(points: Sequence[ControlPoint]) -> Transform | None:
    """Transform that meets every point within half a pixel, or None where there is none."""
    if len(points) < 3:
        return None
    fit = from_gcps([GroundControlPoint(r, c, x, y) for r, c, x, y in points])
    if not all(map(math.isfinite, fit)) or abs(fit.determinant) < 1e-300:
        return None
    row, column, x, y = np.array(points, dtype=np.float64).T
    found = np.linalg.solve(matrix_of(fit), np.stack([x, y, np.ones_like(x)]))
    apart = np.hypot(found[0] - column, found[1] - row)
    a, b, c, d, e, f = (float(v) for v in fit[:6])
    return (a, b, c, d, e, f) if apart.max() <= 0.5 else None


@dataclass(frozen=True)
class Placement:
    """The georeference a file is written with; ``moved`` says that its geometry changed."""

    crs: CRS | None = None
    transform: Transform | None = None
    gcps: list[ControlPoint] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    moved: bool = True

    def profile(self) -> dict[str, Any]:
        """Arguments of ``rasterio.open(..., "w")``."""
        if self.gcps:
            points = [
                GroundControlPoint(r, c, x, y, id=str(i + 1), info="")
                for i, (r, c, x, y) in enumerate(self.gcps)
            ]
            return {"gcps": points, "crs": self.crs}
        profile: dict[str, Any] = {} if self.crs is None else {"crs": self.crs}
        if self.transform is not None:
            profile["transform"] = Affine(*self.transform)
        return profile


def place(grid: Grid, meta: Mapping[str, Any], record: Mapping[str, Any]) -> Placement:
    """Decide what georeference may be written (reference: rasters, ``georef``).

    Crops, pads and resizes keep CRS and transform. A truthful flipped or rotated transform
    breaks readers (rasterio.merge rejects it, rio-tiler misplaces pixels silently), so by
    default neither is written and both are kept in tags. An elastic result has no transform:
    ground control points where the pipeline gives them, else the tags.

    Parameters
    ----------
    grid : Grid
        The output's, exact.
    meta : mapping
        ``"transform"`` is that of the array as loaded; ``"gcps"`` are the pipeline's points for
        an elastic result; ``"source_gcps"`` those of the input.
    record : mapping
        ``"georef"``: ``"auto"`` (default), ``"exact"``, ``"drop"`` or ``"gcps"``;
        ``"geometry"``: ``exact_affine``, ``elastic``, ``rotated_or_flipped``.
    """
    mode = record.get("georef") or "auto"
    if mode not in GEOREF_MODES:
        raise ConfigError(f"georef: {mode!r} is not known; allowed: {', '.join(GEOREF_MODES)}")
    geometry = record.get("geometry") or {}
    given = geometry.get("exact_affine")
    affine = np.asarray(grid.affine if given is None else given, dtype=np.float64)
    if affine.shape != (3, 3):
        return Placement()
    projective = not np.allclose(affine[2], (0, 0, 1))
    bent = bool(geometry.get("elastic")) or projective
    source = tuple(meta["transform"]) if meta.get("transform") is not None else None
    same = source is not None and np.array_equal(affine, affine_from_transform(source))
    # What has not moved keeps its numbers bit for bit, not through half a pixel and back.
    transform = source if same and source is not None else transform_from_affine(affine)
    moved = bent or not same or list(grid.shape) != list(meta.get("shape", grid.shape))
    if meta.get("source_gcps"):
        return _place_control_points(meta, mode, source or IDENTITY, affine, bent, moved)
    crs = crs_of(grid.world)
    if grid.world in (None, MM, RAS_MM):
        return Placement(moved=moved)
    upright = _is_upright(affine, source) and not geometry.get("rotated_or_flipped")
    upright = upright and not meta.get("dropped_georef")
    points = _points(meta.get("gcps")) if bent else []
    if mode == "gcps" and not bent:
        points = control_points(affine, grid.shape)
    if points and mode in ("auto", "exact", "gcps"):
        return Placement(crs, gcps=points, moved=moved)
    if not bent and (mode == "exact" or (mode == "auto" and upright)):
        return Placement(crs, transform, moved=moved)
    if mode == "drop":
        return Placement(moved=moved)
    tags = {"TRUE_CRS": str(grid.world)}
    if not projective:
        tags["TRUE_TRANSFORM"] = ",".join(repr(float(v)) for v in transform)
    if bent:
        tags["ELASTIC"] = "YES"
    return Placement(tags=tags, moved=moved)


def restore(tags: Mapping[str, str]) -> tuple[str, Transform] | None:
    """World and transform kept in tags by `place`; None where they are not the whole truth."""
    try:
        numbers = tuple(float(v) for v in tags["TRUE_TRANSFORM"].split(","))
        world = tags["TRUE_CRS"]
        crs_of(world)
    except (KeyError, ValueError):
        return None
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)) or "ELASTIC" in tags:
        return None
    return world, numbers


def _place_control_points(
    meta: Mapping[str, Any],
    mode: str,
    source: Transform,
    affine: Matrix,
    bent: bool,
    moved: bool,
) -> Placement:
    """Move the input's own control points with the pixels they name; exact for any affine map."""
    points = meta["source_gcps"]
    if bent:
        points = meta.get("gcps") or ()
    elif moved:
        # T_new = T_old·M, so a pixel of the old raster is M⁻¹ of it in the new one.
        dst_from_src = np.linalg.inv(matrix_of(transform_from_affine(affine))) @ matrix_of(source)
        points = [(*(dst_from_src @ (c, r, 1.0))[1::-1].tolist(), x, y) for r, c, x, y in points]
    if mode == "drop" or not points:
        return Placement(moved=moved)
    crs = meta.get("gcps_crs")
    return Placement(
        CRS.from_user_input(crs) if crs else None,
        gcps=_points(points),
        moved=moved,
    )


def _points(given: Sequence[Sequence[float]] | None) -> list[ControlPoint]:
    return [(float(p[0]), float(p[1]), float(p[2]), float(p[3])) for p in given or ()]


def _is_upright(affine: Matrix, source: Transform | None) -> bool:
    """Whether the pixels' axes point where the source's do (north up where it is unknown)."""
    linear = matrix_of(transform_from_affine(affine))[:2, :2]
    if source is None:
        step = linear * np.array([[1.0], [-1.0]])
    else:
        step = np.linalg.solve(matrix_of(source)[:2, :2], linear)
    skew = max(abs(step[0, 1]), abs(step[1, 0]))
    return bool(skew <= 1e-7 * np.abs(step).max() and step[0, 0] > 0 and step[1, 1] > 0)
