"""Smooth random deformation that does not fold."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medsataug.draws import Draws
from medsataug.errors import ConfigError
from medsataug.maps import Displacement, SpatialMap
from medsataug.ranges import METRES, Length, PositiveLengthPerAxis, Range
from medsataug.transforms._lattice import FOLD_FREE, displacement, knots, layout, peak, unit_m
from medsataug.transforms.base import Cases, State, Step, Transform

#: Part of the fold-free limit that every draw can reach as its greatest displacement.
_REACH = 0.8
_TRIES = 64
#: Most steps of a composition that is asked for.
_MOST = 16


class Elastic(Transform):
    """Bend the content smoothly, like soft tissue or uneven terrain.

    A cubic B-spline of a coarse lattice of random control displacements that spans the frame.
    ``magnitude`` is the greatest displacement that occurs (Euclidean, in true lengths where voxel
    sizes are known). It cannot fold: control displacements stay below the bound of Choi and Lee.

    Parameters
    ----------
    spacing : length, or one for each of x, y, z
        Distance of control points, at least 2 voxels; large bends limbs, small ripples skin.
    magnitude : range of lengths
        The greatest displacement that occurs.
    in_plane : bool
        Whether a volume is deformed within its slices (y, x), all in the same way (for thick
        slices).
    compose : bool
        Reach magnitudes beyond the fold-free limit by several bounded steps.

    Raises
    ------
    ConfigError
        Where ``magnitude`` passes the largest allowed for this spacing, which it names.

    Source: Rueckert et al., IEEE TMI 18 (1999) for the lattice; Choi and Lee, Graphical Models
    62 (2000), for the bound; Rueckert et al., MICCAI (2006), for composition.
    """

    cases: ClassVar[Cases] = Cases(
        zero={"magnitude": 0}, full={"spacing": 8, "magnitude": 2, "compose": True}
    )

    spacing: PositiveLengthPerAxis = Range.of(32)
    magnitude: Length = Range.of((0, 5))
    in_plane: bool = False
    compose: bool = False

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw the controls, then scale them to the magnitude."""
        size = unit_m(state.grid)
        wanted = draws.draw("magnitude", self.magnitude)
        if self.magnitude.unit:
            if state.grid.spacing_m is None:
                state.voxels(self.magnitude, draws, "Elastic.magnitude")  # says what is missing
            in_size = METRES[self.magnitude.unit]
        else:
            in_size = float(size.min())  # a voxel is one of the finest axis
        spacing_vox = state.voxels(self.spacing, draws, "spacing")
        spacing_vox[spacing_vox == 0] = 32
        if spacing_vox.min() < 2 * (1 - 1e-6):
            raise ConfigError(
                f"Elastic.spacing: {self.spacing if isinstance(self.spacing, Range) else ''} is "
                f"{', '.join(f'{v:.3g}' for v in spacing_vox)} voxels along "
                f"{', '.join('zyx'[-state.ndim :])}; at least 2 voxels expected"
            )
        cells, origin, spacing = layout(state.grid.shape, spacing_vox)
        free = np.ones(state.ndim, bool)
        if self.in_plane and state.ndim == 3:
            free[0], cells = False, (1, *cells[1:])
            origin[0], spacing[0] = -0.5, state.grid.shape[0]
        limit = spacing / FOLD_FREE[state.ndim]
        # By the spacing asked, not the one that fits: what is allowed never depends on the frame.
        reach = _REACH * float((spacing_vox / FOLD_FREE[state.ndim] * size)[free].min())
        steps = self._check(reach / in_size)
        target = wanted * in_size
        if target == 0:
            return ()
        overhang = np.maximum((-0.5 - origin) / spacing, 0)
        controls = _controls(draws, cells, free, size, limit, overhang, target / steps)
        if steps > 1:
            tuned = _tuned(controls, origin, spacing, size, limit, overhang, steps, target)
            while tuned is None:  # content that moves away from the peak needs more steps
                steps += 1
                if steps > 2 * _MOST:
                    raise ConfigError(
                        f"Elastic.magnitude: {self.magnitude} is not reached by {steps - 1} steps "
                        "with this spacing; enlarge spacing or make the magnitude smaller"
                    )
                controls = _controls(draws, cells, free, size, limit, overhang, target / steps)
                tuned = _tuned(controls, origin, spacing, size, limit, overhang, steps, target)
            controls = tuned
        part = displacement(controls, origin, spacing)
        return (SpatialMap(state.grid.shape, (part,) * steps),)

    def _check(self, reach: float) -> int:
        """Count the steps for the greatest magnitude; an error where one is too few."""
        greatest = self.magnitude.bounds[1]
        steps = max(1, math.ceil(greatest / reach * (1 - 1e-9)))
        if steps > 1 and not self.compose:
            unit = self.magnitude.unit or " voxels"
            raise ConfigError(
                f"Elastic.magnitude: {self.magnitude} could fold with this spacing; the largest "
                f"allowed is {math.floor(reach * 1000) / 1000:g}{unit}. Enlarge spacing, or set "
                "compose=true to build it from several steps"
            )
        if not math.isfinite(greatest) or steps > _MOST:
            raise ConfigError(
                f"Elastic.magnitude: {self.magnitude} is more than {_MOST} steps of {reach:.4g}; "
                "enlarge spacing or make the magnitude smaller"
            )
        return steps


def _controls(
    draws: Draws,
    cells: tuple[int, ...],
    free: NDArray[np.bool_],
    size: NDArray[np.float64],
    limit: NDArray[np.float64],
    overhang: NDArray[np.float64],
    target: float,
) -> NDArray[np.float64]:
    """(N, …) controls in voxels under ``limit`` whose peak is ``target``.

    Where scaling alone would pass the limit, controls at the limit are held there and the rest
    grow on; a draw that cannot reach the target at all is drawn again.
    """
    n = len(cells)
    wide = (-1, *[1] * n)
    bound = (limit * (1 - 1e-6)).reshape(wide)
    for _ in range(_TRIES):
        unit = draws.uniforms(n, *(c + 3 for c in cells))
        if not free[0]:
            unit[:, :] = unit[:, :1]  # the same on every slice
        unit[~free] = 0
        unit /= size.reshape(wide)
        scale = target / peak(unit, size, overhang)
        controls = unit * scale
        if np.all(np.abs(controls) <= bound):
            return _rounded(controls)
        most = np.clip(unit * 1e12, -bound, bound)
        if peak(most, size, overhang) < target:
            continue
        for _ in range(40):
            controls = np.clip(unit * scale, -bound, bound)
            short = target / peak(controls, size, overhang)
            scale *= short * math.sqrt(short)
            if abs(short - 1) < 2e-3:
                return _rounded(controls)
    raise ConfigError(
        "Elastic: this lattice is too small for the magnitude asked; make spacing or magnitude "
        "smaller"
    )


def _rounded(controls: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round controls to a millionth of a voxel: the same on every machine."""
    return np.asarray(np.round(controls, 6))


def _tuned(
    controls: NDArray[np.float64],
    origin: NDArray[np.float64],
    spacing: NDArray[np.float64],
    size: NDArray[np.float64],
    limit: NDArray[np.float64],
    overhang: NDArray[np.float64],
    steps: int,
    target: float,
) -> NDArray[np.float64] | None:
    """Scale controls so that ``steps`` of them in a row displace by ``target`` at most.

    None where they would pass the limit first.
    """
    cells = [m - 3 for m in controls.shape[1:]]
    axes = [knots(c, o, 2) for c, o in zip(cells, overhang.tolist(), strict=True)]
    start = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    start = origin + start * spacing
    bound = (limit * (1 - 1e-6)).reshape(-1, *[1] * len(limit))
    scale = 1.0
    for _ in range(12):
        scaled = np.clip(controls * scale, -bound, bound)
        part: Displacement = displacement(scaled, origin, spacing)
        points = start
        for _ in range(steps):
            points = part(points)
        short = target / float(np.linalg.norm((points - start) * size, axis=1).max())
        if abs(short - 1) < 2e-3:
            return _rounded(scaled)
        scale *= short * math.sqrt(short)
    return None
