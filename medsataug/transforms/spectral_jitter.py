"""Another atmosphere, another calibration: bands drift, neighbours together."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from medsataug.draws import Draws
from medsataug.kernels.pointwise import stretch as kernel
from medsataug.ranges import Amount, NonNegative, Positive, Range
from medsataug.transforms.base import Cases, Probability, State, Step, ValueTransform, amount, plus
from medsataug.types import Channel
from medsataug.values import Number, Stat, Tile

__all__ = ["SpectralJitter", "kernel"]

#: Difference of wavelength, µm, at which bands correlate by ``correlation``.
STEP_UM = 0.1


class SpectralJitter(ValueTransform):
    """Change gain, offset and contrast of each band, alike in bands of near wavelength.

    In reflectance ρ: ρ' = gain · (contrast · (ρ − mean) + mean) + offset. What is stored,
    (ρ − scale offset) / scale, follows; bands without a scale are taken as they are stored.
    Nodata stays as it is.

    Parameters
    ----------
    gain, contrast : range
        Factors of all values, and of their distance from the band's mean.
    offset : range of amounts
        ``"0.01rho"`` in reflectance, ``"5%"`` of the band's standard deviation, or stored units.
    correlation : float
        Of two bands .1 µm apart; at a distance of Δ it is correlation^(Δ / .1 µm). Where no band
        states a wavelength, of any two; one band that does not stands amid the others.

    Source: gain ±5 % and offset ±.01 in reflectance: radiometric uncertainty of Sentinel-2
    (ESA, Sentinel-2 Calibration and Validation Plan). Correlated draws: Gaussian copula
    (Nelsen, An Introduction to Copulas, section 2.3).
    """

    cases: ClassVar[Cases] = Cases(
        zero={"gain": 1, "offset": 0, "contrast": 1},
        full={"gain": (1.2, 1.4), "offset": ("20%", "30%"), "contrast": (0.6, 0.7)},
    )

    gain: Positive = Range.of((0.95, 1.05))
    offset: Amount = Range.of(("-5%", "5%"))
    contrast: NonNegative = Range.of(1)
    correlation: Probability = 0.8
    per_channel: bool = True

    def sample(self, draws: Draws, state: State) -> tuple[Step, ...]:
        """Draw correlated numbers for all bands."""
        picked = self.picked(state)
        bands = [state.channels[c] for c in picked]
        correlation = self.correlation if self.per_channel else 1.0
        root = np.asarray(np.linalg.cholesky(correlations(bands, correlation)))
        gains, offsets, contrasts = (
            _correlated(draws, name, given, root, bands)
            for name, given in (
                ("gain", self.gain),
                ("offset", self.offset),
                ("contrast", self.contrast),
            )
        )
        params: list[tuple[Number, ...] | None] = [None] * len(state.channels)
        for c, g, o, s, band in zip(picked, gains, offsets, contrasts, bands, strict=True):
            if (g, o, s) == (1, 0, 1):
                continue
            scale, base = band.reflectance or (1.0, 0.0)
            shift = amount(o, self.offset.unit, band, "SpectralJitter.offset")
            # Stored x: ρ = scale · x + base, so gain moves x by (gain − 1) · base / scale too.
            params[c] = (g, plus(shift, (g - 1) * base / scale), s, Stat("mean") if s != 1 else 0.0)
        out: list[Step] = []
        stretches = [None if p is None or p[2] == 1 else (p[2], p[3], -math.inf, math.inf)
                     for p in params]  # fmt: skip
        if any(p is not None for p in stretches):
            out.append(Tile("spectral_jitter", tuple(stretches), 0, self.where))
        scaled = tuple(None if p is None else p[:2] for p in params)
        return (*out, *self.tile("brightness", scaled))


def correlations(bands: list[Channel], correlation: float) -> NDArray[np.float64]:
    """(C, C) correlation of the bands' jitter."""
    um = np.array([np.nan if b.wavelength_um is None else b.wavelength_um for b in bands])
    unknown = np.isnan(um)
    # Amid the others, and half a step to the side: the matrix stays positive definite.
    um[unknown] = 0.0 if unknown.all() else um[~unknown].mean()
    aside = unknown / 2
    apart = np.abs(um[:, None] - um) / STEP_UM + aside[:, None] + aside
    np.fill_diagonal(apart, 0.0)
    matrix = np.maximum(correlation, 1e-12) ** apart
    return np.asarray(matrix * (1 - 1e-9) + 1e-9 * np.eye(len(bands)))


def _correlated(
    draws: Draws, name: str, given: Range, root: NDArray[np.float64], bands: list[Channel]
) -> list[float]:
    # Exact quantiles of whole uniforms, so that one band more changes no other's stream.
    normals = [Range("normal", (0.0, 1.0)).at(draws.uniform()) for _ in bands]
    uniform = ndtr(root @ np.array(normals))
    values = [given.at(float(u)) for u in uniform]
    draws.note(
        name, " ".join(f"{b.name} {v:.3g}{given.unit}" for b, v in zip(bands, values, strict=True))
    )
    return values
