"""Gain, offset and a smooth shading: another scanner, another field strength."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medsataug.kernels.jit import kernel as compiled
from medsataug.kernels.pointwise import scale_shift as kernel
from medsataug.ranges import Amount, NonNegative, Positive, Range
from medsataug.transforms.base import Cases, Draws, State, Step, ValueTransform, amount
from medsataug.values import Number, Whole

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

        def shading():  # type: ignore[no-untyped-def]
            strength = draws.draw("field", self.field)
            drawn = draws.uniforms(len(exponents(state.ndim)))
            coefficients = _scaled(drawn, state.ndim, math.log1p(strength))
            return lambda _: coefficients if strength else None

        steps: list[Step] = []
        fields = self.for_each(draws, state, shading)
        if any(f is not None for f in fields):
            steps.append(Whole("intensity_scale:shade", fields, 0, self.where))
        return (*steps, *self.tile("intensity_scale", self.for_each(draws, state, draw)))


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
    return tuple(float(f"{c:.9g}") for c in (drawn * (peak / greatest)).tolist())


@compiled
def shade(channel, p, key, out):  # type: ignore[no-untyped-def]
    """Multiply (Z, Y, X) ``channel`` by exp of the polynomial with coefficients ``p``.

    Along a row the polynomial is a cubic in x, whose four coefficients are summed up first.
    """
    planar = p.shape[0] < 19
    nz, ny, nx = channel.shape
    row = np.empty(4)
    for k in range(nz):
        z = 0.0 if nz == 1 else 2.0 * k / (nz - 1) - 1
        for j in range(ny):
            y = 0.0 if ny == 1 else 2.0 * j / (ny - 1) - 1
            row[:] = 0
            at = 0
            for a in range(1 if planar else 4):
                for b in range(4):
                    for c in range(4):
                        if 0 < a + b + c <= 3:
                            row[c] += p[at] * z**a * y**b
                            at += 1
            step = 0.0 if nx == 1 else 2.0 / (nx - 1)
            for i in range(nx):
                x = np.float32(step * i - 1)
                log = ((np.float32(row[3]) * x + np.float32(row[2])) * x + np.float32(row[1])) * x
                out[k, j, i] = channel[k, j, i] * np.exp(log + np.float32(row[0]))
