"""How good a prediction is, class by class.

Empty masks: where neither truth nor prediction has a class, that is right: Dice and surface
distance are 1, HD95 is 0. Where one of them has it alone, Dice, surface distance and what can be
computed are 0, and HD95 is the image's diagonal, the worst there is. So these three always have a
value, and two networks are compared on the same cases. Precision without a prediction and recall
without a truth are NaN.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsataug.types import Array

Mask = NDArray[np.bool_]
#: Label values of each class by its name; a region has several.
Classes = Mapping[str, int | Sequence[int]]
NAMES = ("dice", "nsd", "hd95", "precision", "recall")
#: Bins of confidence, and how far from the foreground calibration is looked at, in voxels.
BINS, NEAR = 15, 3


@dataclass(frozen=True)
class Calibration:
    """Voxels, summed confidence and hits of each bin of confidence; several cases add up."""

    count: NDArray[np.float64]
    confidence: NDArray[np.float64]
    hits: NDArray[np.float64]

    def __add__(self, other: Calibration) -> Calibration:
        return Calibration(
            self.count + other.count, self.confidence + other.confidence, self.hits + other.hits
        )

    @property
    def error(self) -> float:
        """Expected calibration error: mean |hits − confidence| of the bins, by their voxels."""
        total = self.count.sum()
        return float(np.abs(self.hits - self.confidence).sum() / total) if total else math.nan


def score(
    truth: Array,
    prediction: Array,
    classes: Classes,
    spacing: Sequence[float],
    tolerance: float,
    ignore: Sequence[int] = (),
) -> dict[str, dict[str, float]]:
    """Score one case.

    Parameters
    ----------
    truth, prediction : ([Z,] Y, X) integer arrays
    classes : {name: label value or values}
    spacing : sequence of float
        Of each axis, in the unit of ``tolerance`` (mm, metres or pixels).
    tolerance : float
        Surfaces no farther apart count as agreeing in the normalised surface distance.
    ignore : sequence of label values
        Voxels with such a truth count nowhere.

    Returns
    -------
    {class: {"dice", "nsd", "hd95", "precision", "recall"}}

    Source: Dice: Dice (1945); normalised surface distance: Nikolov et al., J. Med. Internet Res. 23
    (2021) e26151, appendix; choices: Maier-Hein et al., "Metrics reloaded", Nature Methods 21
    (2024). Surface distances are MONAI's.
    """
    seen = ~np.isin(truth, list(ignore)) if ignore else np.ones(truth.shape, bool)
    return {
        name: _scores(_mask(truth, values) & seen, _mask(prediction, values) & seen, spacing,
                      tolerance)
        for name, values in classes.items()
    }  # fmt: skip


def _mask(label: Array, values: int | Sequence[int]) -> Mask:
    return np.isin(label, values)


def _scores(
    truth: Mask, found: Mask, spacing: Sequence[float], tolerance: float
) -> dict[str, float]:
    both, true, positive = (int(m.sum()) for m in (truth & found, truth, found))
    if not true and not positive:
        return {"dice": 1.0, "nsd": 1.0, "hd95": 0.0, "precision": math.nan, "recall": math.nan}
    near, far = 0.0, math.hypot(*(n * s for n, s in zip(truth.shape, spacing, strict=True)))
    if true and positive:
        near, far = _surfaces(truth, found, spacing, tolerance)
    return {
        "dice": 2 * both / (true + positive),
        "nsd": near,
        "hd95": far,
        "precision": both / positive if positive else math.nan,
        "recall": both / true if true else math.nan,
    }


def _surfaces(
    truth: Mask, found: Mask, spacing: Sequence[float], tolerance: float
) -> tuple[float, float]:
    """Normalised surface distance, and the greater of both directed 95th percentiles."""
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    (box,) = ndimage.find_objects((truth | found).astype(np.uint8))
    wide = [slice(max(b.start - 1, 0), b.stop + 1) for b in box]
    given = [
        torch.from_numpy(m[tuple(wide)][None, None].astype(np.float32)) for m in (found, truth)
    ]
    options: dict[str, Any] = {"include_background": True, "spacing": [float(s) for s in spacing]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own use of PyTorch
        nsd = compute_surface_dice(*given, [tolerance], use_subvoxels=True, **options)
        hd = compute_hausdorff_distance(*given, percentile=95, **options)
    return float(nsd), float(hd)


def calibration(
    truth: Array, probabilities: NDArray[np.float32], values: Sequence[int],
    ignore: Sequence[int] = (), background: bool = True,
) -> Calibration:  # fmt: skip
    """Confidence against hits near the foreground.

    Where nearly all is background, a network is always right there, and a mean over all voxels
    says nothing. Counted are voxels within `NEAR` of what is foreground in truth or prediction.

    Parameters
    ----------
    truth : ([Z,] Y, X) integer array
    probabilities : (K, [Z,] Y, X) float32
        Voxels where all are 0, of which the network says nothing, do not count.
    values : (K,) label values
        Of each class; the first is the background.
    ignore : sequence of label values
        Voxels with such a truth count nowhere.
    background : bool
        False where no class is the background: then all voxels count.

    Source: Guo et al., "On calibration of modern neural networks", ICML (2017), section 2.
    """
    found = np.asarray(values)[probabilities.argmax(0)]
    front = np.isin(truth, values[1:]) | (found != values[0])
    near = ndimage.binary_dilation(front, iterations=NEAR) if front.any() else front
    near = near if background else np.ones_like(near)
    near &= ~np.isin(truth, list(ignore)) & probabilities.any(axis=0)
    confidence = probabilities.max(0)[near].astype(np.float64)
    hits = (found == truth)[near].astype(np.float64)
    at = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)

    def binned(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(at, weights=weights, minlength=BINS).astype(np.float64)

    return Calibration(binned(np.ones(len(at))), binned(confidence), binned(hits))
