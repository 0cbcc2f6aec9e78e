"""nnU-Net's rotation, scaling and deformation of a patch."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medsataug.maps import Affine, Displacement, Part, SpatialMap, basis_matrix
from medsataug.ranges import DegreesPerAxis, PerAxis, PositivePerAxis, Range, Spec
from medsataug.transforms._lattice import displacement, layout, peak
from medsataug.transforms._linear import is_thin, rotation, shown
from medsataug.transforms.base import (
    Cases,
    Draws,
    Probability,
    State,
    Step,
    Transform,
    drawn_per_axis,
)

PartOfSide = Annotated[Range, Spec(ge=0, le=1, what="part of the patch's side")]
Bend = Annotated[Range, Spec(("%",), ge=0, what="voxels, or '%' of the smoothing")]

#: Smoothing, in voxels, below which a field is no deformation any more but jitter.
FINEST = 4.0


class NnunetSpatial(Transform):
    """Turn, scale and bend a patch about its centre, as nnU-Net trains: in voxels.

    Place it after `Patch`: corners are then filled with what lies around the patch. The axes are
    those of the array, and voxels count as cubes: R = Rz · Ry · Rx, scaled before it is turned.
    Rotation, scaling and deformation are drawn independently.

    Parameters
    ----------
    degrees : range, or a range for each of x, y, z, optional
        By default nnU-Net's: ±30 about each axis of a volume; ±180 in a thin one and in an image,
        ±15 in an image whose longer side is more than 1.5 times the shorter.
    factor : range, or a range for each of x, y, z
        As nnU-Net counts: above 1 the content *shrinks*. One range gives one factor for all axes.
    rotation_p, scaling_p, elastic_p : float
        Probability of each.
    axis_p : float
        Probability of each axis to be turned about, once there is a rotation.
    elastic_scale : range
        Smoothing of the deformation, as part of the patch's side along each axis; at least 4
        voxels are taken.
    elastic_magnitude : range
        Greatest displacement along an axis, drawn for each: voxels, or ``"25%"`` of the smoothing.
    in_plane : {"auto", True, False}
        Whether a volume moves within its slices, all alike. ``"auto"``, as in nnU-Net: where its
        longest side is more than 3 times its first one.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), supplementary note 4; the
    deformation is that of batchgenerators 0.25, ``augment_spatial_2``.
    """

    cases: ClassVar[Cases] = Cases(
        zero={"degrees": 0, "factor": 1},
        full={"degrees": (20, 25), "factor": (1.1, 1.2), "rotation_p": 1, "scaling_p": 1},
    )

    degrees: DegreesPerAxis | None = None
    factor: PositivePerAxis = Range.of((0.7, 1.4))
    rotation_p: Probability = 0.2
    scaling_p: Probability = 0.2
    elastic_p: Probability = 0.0
    axis_p: Probability = 1.0
    elastic_scale: PartOfSide = Range.of((0, 0.2))
    elastic_magnitude: Bend = Range.of(("12.5%", "50%"))
    in_plane: bool | Literal["auto"] = "auto"

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw which of the three happen, then their numbers."""
        chances = (self.rotation_p, self.scaling_p, self.elastic_p)
        turns, scales, bends = [draws.uniform() < p for p in chances]
        shape = state.grid.shape
        thin = is_thin(shape) if self.in_plane == "auto" else self.in_plane and state.ndim == 3
        linear = np.eye(state.ndim)
        if turns:
            angles = [math.radians(v) for v in self._degrees(draws, shape, thin)]
            linear = rotation(angles, state.ndim).T
        if scales:
            linear = linear * self._factors(draws, state.ndim, thin)
        parts: list[Part] = []
        if bends:
            parts.append(self._bend(draws, shape, thin))
        if not np.array_equal(linear, np.eye(state.ndim)):
            turn = shown(state.grid, linear, "index").parts[0]
            assert isinstance(turn, Affine)
            parts.append(turn)
        return (SpatialMap(shape, tuple(parts)),) if parts else ()

    def _degrees(self, draws: Draws, shape: tuple[int, ...], thin: bool) -> list[float]:
        """Angles about z, y, x; an image and a thin volume turn about z alone."""
        planar = thin or len(shape) == 2
        given: PerAxis | None = self.degrees
        if given is None:
            oblong = len(shape) == 2 and max(shape) > 1.5 * min(shape)
            most = 15 if oblong else 180 if planar else 30
            given = Range.of((-most, most))
        if isinstance(given, Range):
            given = dict.fromkeys("z" if planar else "zyx", given)
        elif planar:
            given = {"z": given.get("z", Range.of(0))}
        if self.axis_p < 1:
            given = {axis: v for axis, v in given.items() if draws.uniform() < self.axis_p}
        return [v for _, v, _ in drawn_per_axis(given, draws, "degrees", 3, default=0.0)]

    def _factors(self, draws: Draws, ndim: int, thin: bool) -> NDArray[np.float64]:
        if isinstance(self.factor, Range):
            factors = np.full(ndim, draws.draw("factor", self.factor))
        else:
            drawn = drawn_per_axis(self.factor, draws, "factor", ndim, default=1.0)
            factors = np.array([v for _, v, _ in drawn])
        if thin:
            factors[0] = 1
        return factors

    def _bend(self, draws: Draws, shape: tuple[int, ...], thin: bool) -> Displacement:
        """Smoothed noise, scaled to its greatest displacement along each axis, without its mean."""
        n, side = len(shape), np.array(shape, dtype=np.float64)
        sigma = np.maximum(draws.draw("elastic scale", self.elastic_scale) * side, FINEST)
        cells, origin, spacing = layout(shape, sigma)
        # A cubic B-spline smooths by a variance of spacing² / 3; the controls by the rest.
        rest = np.sqrt(np.maximum(sigma**2 - spacing**2 / 3, 0)) / spacing
        if thin:  # one cell as deep as the volume: the same on every slice
            cells, origin[0], spacing[0], rest[0] = (1, *cells[1:]), -0.5, side[0], 0
        reach = np.ceil(4 * rest).astype(int).tolist()
        noise = draws.uniforms(n, *(c + 3 + 2 * r for c, r in zip(cells, reach, strict=True)))
        if thin:
            noise[:, :] = noise[:, :1]
        inside = tuple(slice(r, r + c + 3) for c, r in zip(cells, reach, strict=True))
        controls = np.zeros((n, *(c + 3 for c in cells)))
        overhang = np.maximum((-0.5 - origin) / spacing, 0)
        for axis in range(int(thin), n):
            greatest = draws.draw("elastic magnitude", self.elastic_magnitude)
            if self.elastic_magnitude.unit:
                greatest *= sigma[axis] / 100
            controls[axis] = gaussian_filter(noise[axis], rest, mode="wrap", truncate=4)[inside]
            along = np.eye(n)[axis]
            controls[axis] *= greatest / peak(controls, along, overhang)
        controls -= _mean(controls, cells).reshape(n, *[1] * n)
        return displacement(np.round(controls, 6), origin, spacing)


def _mean(controls: NDArray[np.float64], cells: tuple[int, ...]) -> NDArray[np.float64]:
    """(N,) mean displacement over the lattice."""
    for c in cells:
        controls = np.tensordot(controls, basis_matrix(c, 4).mean(axis=0), (1, 0))
    return controls
