"""Prediction of images larger than a patch: overlapping windows, weighted towards their middle."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medsataug.errors import ConfigError

Window = tuple[slice, ...]


def window_starts(size: int, patch: int, overlap: float) -> list[int]:
    """First voxel of each window along an axis: evenly spaced, the last at the end.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), methods (inference).
    """
    room = size - patch
    count = math.ceil(room / (patch * (1 - overlap))) + 1
    return [round(room * k / max(count - 1, 1)) for k in range(count)]


def gaussian(patch: Sequence[int]) -> NDArray[np.float32]:
    """([Z,] Y, X) weight of each voxel of a window: 1 in the middle, deviation an eighth of it.

    It is symmetric, so that mirrored images are predicted alike.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), methods (inference).
    """
    sides = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in patch]
    return np.asarray(reduce(np.multiply.outer, sides), dtype=np.float32)


class SlidingWindow:
    """A module as a network for `medsataug.inference.predict`, patch by patch.

    Parameters
    ----------
    module : torch.nn.Module
        Takes (B, C, [Z,] Y, X) float32; of several outputs the first counts. It is set to
        evaluation in each call, and back afterwards.
    patch : sequence of int
        Voxels along (z, y, x).
    overlap : float
        Part of a window that the next one shares, at least.
    batch : int
        Windows at once.
    device : str or torch.device, optional
        Where windows are predicted: by default where the module is.
    mixed : bool
        Whether half precision is used where it is exact enough; on a GPU only.

    Notes
    -----
    Called with a (C, [Z,] Y, X) float32 array, it returns (K, [Z,] Y, X) float32 mean scores. An
    image smaller than the patch is padded with 0. Memory, apart from the module's: 4 (K + 1) bytes
    a voxel of the image, not on the GPU.
    """

    def __init__(
        self,
        module: Any,
        patch: Sequence[int],
        overlap: float = 0.5,
        batch: int = 1,
        device: Any = None,
        mixed: bool = False,
    ) -> None:
        if not 0 <= overlap < 1:
            raise ConfigError(f"overlap: {overlap}; 0 or more, and less than 1 expected")
        self.module = module if device is None else module.to(device)
        first = next(module.parameters(), None)
        self.device = torch.device(device or (first.device if first is not None else "cpu"))
        self.patch, self.overlap, self.batch, self.mixed = tuple(patch), overlap, batch, mixed

    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """(K, [Z,] Y, X) scores of a (C, [Z,] Y, X) image."""
        if image.ndim != len(self.patch) + 1:
            raise ConfigError(
                f"SlidingWindow: a patch of {list(self.patch)} for an image of {list(image.shape)} "
                "(channels first); they differ in their axes"
            )
        shape = image.shape[1:]
        short = [max(p - n, 0) for n, p in zip(shape, self.patch, strict=True)]
        padded = np.pad(image, [(0, 0), *((s // 2, s - s // 2) for s in short)])
        inside = tuple(slice(s // 2, s // 2 + n) for s, n in zip(short, shape, strict=True))
        training = self.module.training
        try:
            with torch.inference_mode():
                return self._predicted(torch.from_numpy(padded))[(slice(None), *inside)]
        finally:
            self.module.train(training)

    def _predicted(self, image: torch.Tensor) -> NDArray[np.float32]:
        self.module.eval()
        weight = torch.from_numpy(gaussian(self.patch))
        total: Any = None
        weights = torch.zeros(image.shape[1:])
        half = torch.autocast(self.device.type, enabled=self.mixed and self.device.type == "cuda")
        windows = self._windows(image.shape[1:])
        while some := list(itertools.islice(windows, self.batch)):
            cut = torch.stack([image[(slice(None), *w)] for w in some])
            with half:
                scores = self.module(cut.to(self.device))
            scores = scores[0] if isinstance(scores, (tuple, list)) else scores
            for window, own in zip(some, scores.float().cpu(), strict=True):
                if total is None:
                    total = torch.zeros((len(own), *image.shape[1:]))
                total[(slice(None), *window)] += own * weight
                weights[window] += weight
        return np.asarray((total / weights).numpy())

    def _windows(self, shape: Sequence[int]) -> Iterator[Window]:
        starts = [window_starts(n, p, self.overlap) for n, p in zip(shape, self.patch, strict=True)]
        for at in itertools.product(*starts):
            yield tuple(slice(s, s + p) for s, p in zip(at, self.patch, strict=True))
