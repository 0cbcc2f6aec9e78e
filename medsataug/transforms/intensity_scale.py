"""Gain, offset and a smooth shading: another scanner, another field strength."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medsataug.kernels.jit import inline
from medsataug.kernels.jit import kernel as compiled
from medsataug.kernels.pointwise import scale_shift as kernel
from medsataug.kernels.power import exp2
from medsataug.kernels.vectors import wide_vectors
from medsataug.ranges import Amount, NonNegative, Positive, Range, rounded
from medsataug.transforms.base import Cases, Draws, State, Step, ValueTransform, amount
from medsataug.values import Number

__all__ = ["IntensityScale", "kernel", "shade"]

#: Degree of the shading's polynomial, and points an axis where its peak is looked for.
ORDER, POINTS = 3, 7


class IntensityScale(ValueTransform):
    """Scale, shift and shade the intensities, as another MRI field strength or coil would.

    y = gain · x · exp(b) + offset, where b is a random polynomial of degree 3 in the position,
    without constant, whose greatest magnitude over the frame is ln(1 + field): the shading
    multiplies by 1 / (1 + field) to 1 + field.

    Parameters
    ----------
    gain : range
        Factor of all values.
    offset : range of amounts
        Stored units, ``"10%"`` of the channel's standard deviation, or ``"0.01rho"``.
    field : range
        Strength of the shading; 0.3 is that of a 3 T head scan, 0 is none.

    Source: Van Leemput et al., IEEE TMI 18 (1999) 885, section III (polynomial log-field);
    Sudre et al., MIDL workshop SASHIMI (2017), for its use in augmentation.
    """

    cases: ClassVar[Cases] = Cases(
        zero={"gain": 1, "offset": 0, "field": 0},
        full={"gain": (1.3, 1.4), "offset": "20%", "field": 0.4},
    )

    gain: Positive = Range.of((0.9, 1.1))
    offset: Amount = Range.of(("-5%", "5%"))
    field: NonNegative = Range.of((0, 0.3))

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw gain, offset and the field's coefficients."""

        def draw():  # type: ignore[no-untyped-def]
            gain = draws.draw("gain", self.gain)
            offset, unit = draws.draw("offset", self.offset), self.offset.unit
            same = gain == 1 and offset == 0
            return lambda c: (
                None if same else (gain, amount(offset, unit, c, "IntensityScale.offset"))
            )

        frame = (1,) * (3 - state.ndim) + state.grid.shape

        def shading():  # type: ignore[no-untyped-def]
            strength = draws.draw("field", self.field)
            drawn = draws.uniforms(len(exponents(state.ndim)))
            coefficients = _scaled(drawn, state.ndim, math.log1p(strength))
            return lambda _: (*map(float, frame), *coefficients) if strength else None

        shades = self.tile("intensity_scale:shade", self.for_each(draws, state, shading))
        return (*shades, *self.tile("intensity_scale", self.for_each(draws, state, draw)))


@lru_cache
def exponents(ndim: int) -> tuple[tuple[int, ...], ...]:
    """Exponents (z, y, x) of the polynomial's terms; 2D has no z."""
    powers = itertools.product(range(ORDER + 1), repeat=ndim)
    return tuple(p for p in powers if 0 < sum(p) <= ORDER)


@lru_cache
def _basis(ndim: int) -> NDArray[np.float64]:
    axis = np.linspace(-1, 1, POINTS)
    grids = np.meshgrid(*[axis] * ndim, indexing="ij")
    terms = [
        np.prod([g**e for g, e in zip(grids, p, strict=True)], axis=0) for p in exponents(ndim)
    ]
    return np.stack([t.reshape(-1) for t in terms], axis=1)


def _scaled(drawn: NDArray[np.float64], ndim: int, peak: float) -> tuple[Number, ...]:
    greatest = float(np.abs(_basis(ndim) @ drawn).max())
    return tuple(rounded(c) for c in (drawn * (peak / greatest)).tolist())


@compiled
def shade(x, p, first, key):  # type: ignore[no-untyped-def]
    """Multiply by exp of the polynomial with coefficients ``p[3:]`` in a frame of ``p[:3]`` voxels.

    In a plane it is a bicubic in (y, x), in a row a cubic in x: their coefficients are summed up
    first. Values without a place (``first`` below 0) stay as they are.
    """
    wide_vectors()
    if first < 0:
        return
    nz, ny, nx = int(p[0]), int(p[1]), int(p[2])
    row, i = first // nx, first % nx
    k, j = row // ny % nz, row % ny
    plane = np.empty((4, 4))
    _sum_plane(p, _position(k, nz), plane)
    scale, base = np.float32(2 / max(nx - 1, 1)), np.float32(0 if nx == 1 else -1)
    n, start = x.shape[0], 0
    while start < n:
        y = _position(j, ny)
        c0 = np.float32(((plane[3, 0] * y + plane[2, 0]) * y + plane[1, 0]) * y + plane[0, 0])
        c1 = np.float32((plane[2, 1] * y + plane[1, 1]) * y + plane[0, 1])
        c2, c3 = np.float32(plane[1, 2] * y + plane[0, 2]), np.float32(plane[0, 3])
        part = x[start : min(start + nx - i, n)]
        for m in range(part.shape[0]):
            u = np.float32(np.int32(np.int32(i) + np.int32(m))) * scale + base
            part[m] *= exp2(((c3 * u + c2) * u + c1) * u + c0, np.float32(0))
        start += part.shape[0]
        i, j = 0, j + 1
        if j == ny:
            j, k = 0, (k + 1) % nz
            _sum_plane(p, _position(k, nz), plane)


@inline
def _position(i, n):  # type: ignore[no-untyped-def]
    """Place of voxel ``i`` of ``n``: −1 … 1, and 0 where there is one only."""
    return 0.0 if n == 1 else 2.0 * i / (n - 1) - 1


@inline
def _sum_plane(p, z, plane):  # type: ignore[no-untyped-def]
    """Coefficients of y^b x^c at ``z``, of powers of 2: (4, 4) ``plane``."""
    planar = p.shape[0] < 3 + 19
    plane[:] = 0
    at, power = 3, math.log2(math.e)
    for a in range(1 if planar else 4):
        for b in range(4 - a):
            for c in range(4 - a - b):
                if a + b + c > 0:
                    plane[b, c] += p[at] * power
                    at += 1
        power *= z
