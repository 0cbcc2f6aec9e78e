"""A training's feed as nnU-Net makes it: its crops, and its steps in batchgeneratorsv2."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import recipes
import torch

from medsataug import targets
from medsataug.draws import stream_key

#: Of nnU-Net's larger first crop: turns of 30 degrees about each axis, and its smallest scale.
TURN, SMALLEST = np.pi / 6, 0.85
FOREGROUND = 0.33


class PeerFeed:
    """Takes the place of `medsataug.train.items.Feed`: the same batches' cases, in the same order.

    What differs is who cuts and augments: of nnU-Net's batch of two, one patch lies about a class;
    of ours each with a chance of a third.
    """

    def __init__(self, items: Any, batches: Any, workers: int, pinned: bool) -> None:
        self.items, self.batches = items, batches
        self.patch = items.patch
        recipes.PATCH = self.patch
        self.steps = recipes.chain()
        self.room = room(self.patch)
        self.cases = [_Case(sample) for sample in items.data.items.cases]
        self.waited = self.made = self.cpu = 0.0

    def epoch(self, number: int, progress: float) -> Iterator[tuple[Any, list[str]]]:
        self.batches.epoch, self.waited, self.made, self.cpu = number, 0.0, 0.0, 0.0
        for step, indices in enumerate(self.batches):
            started = time.perf_counter(), time.process_time()
            key = stream_key("peer", self.batches.seed, number, step)
            np.random.seed(key % 2**32)  # noqa: NPY002  what batchgeneratorsv2 draws with
            self.rng = np.random.default_rng(key)
            torch.manual_seed(key >> 1)
            size = len(indices)
            made = [
                self._sample(
                    self.cases[i // self.batches.repeat], k >= round(size * (1 - FOREGROUND))
                )
                for k, i in enumerate(indices)
            ]
            batch = {
                "image": torch.stack([image for image, _ in made]),
                "label": [torch.stack(part) for part in zip(*(p for _, p in made), strict=True)],
            }
            spent = time.perf_counter() - started[0]
            self.waited, self.made = self.waited + spent, self.made + spent
            self.cpu += time.process_time() - started[1]
            yield batch, [self._case(i).name for i in indices]

    def _case(self, index: int) -> _Case:
        return self.cases[index // self.batches.repeat]

    def _sample(self, case: _Case, foreground: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        image, label = case.crop(self.room, self.patch, foreground, self.rng)
        data = {"image": torch.from_numpy(image), "segmentation": torch.from_numpy(label)}
        with torch.no_grad():
            for step in self.steps:
                data = step(**data)
        plain = data["segmentation"][0].clamp(min=0).numpy().astype(np.uint8)
        scales = self.items.data.items.deep_supervision or [1.0]
        parts = targets.deep_supervision(plain, scales, plain.ndim)
        return data["image"], [torch.from_numpy(np.ascontiguousarray(p)) for p in parts]


class _Case:
    """A case as nnU-Net's preprocessing leaves it: z-scores of the whole, places of each class."""

    def __init__(self, sample: Any) -> None:
        self.name = sample.id
        image = np.asarray(sample.image, dtype=np.float32)
        axes = tuple(range(1, image.ndim))
        mean, std = image.mean(axes, keepdims=True), image.std(axes, keepdims=True)
        self.image = (image - mean) / np.maximum(std, 1e-8)
        self.label = np.asarray(sample.label).astype(np.int16)[None]
        self.places = [np.argwhere(self.label[0] == c) for c in np.unique(self.label)[1:]]

    def crop(
        self,
        size: tuple[int, ...],
        patch: tuple[int, ...],
        foreground: bool,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cut a box anywhere, or about a voxel of a class; beyond the case is 0, and −1.

        Source: ``get_bbox`` of nnU-Net 2 (training/dataloading).
        """
        shape = self.label.shape[1:]
        lacks = [s - min(p, n) for s, p, n in zip(size, patch, shape, strict=True)]
        low = [-lack // 2 for lack in lacks]
        high = [n + k // 2 + k % 2 - s for n, k, s in zip(shape, lacks, size, strict=True)]
        if foreground and self.places:
            found = self.places[rng.integers(len(self.places))]
            voxel = found[rng.integers(len(found))]
            start = [max(a, int(v) - s // 2) for a, v, s in zip(low, voxel, size, strict=True)]
        else:
            start = [rng.integers(a, b + 1) for a, b in zip(low, high, strict=True)]
        box = [slice(max(a, 0), max(min(a + s, n), 0))
               for a, s, n in zip(start, size, shape, strict=True)]  # fmt: skip
        pads = [(0, 0), *((max(-a, 0), max(a + s - n, 0))
                          for a, s, n in zip(start, size, shape, strict=True))]  # fmt: skip
        inside = (slice(None), *box)
        return np.pad(self.image[inside], pads), np.pad(
            self.label[inside], pads, constant_values=-1
        )


def room(patch: tuple[int, ...]) -> tuple[int, ...]:
    """Side lengths that a patch of a volume may need once it is turned about one axis and scaled.

    Source: ``get_patch_size`` of nnU-Net 2 (training/data_augmentation).
    """
    side = np.array(patch, dtype=float)
    largest = side.copy()
    for axis in range(3):
        a, b = (k for k in range(3) if k != axis)
        turned = side.copy()
        turned[a] = abs(side[a] * np.cos(TURN)) + abs(side[b] * np.sin(TURN))
        turned[b] = abs(side[b] * np.cos(TURN)) + abs(side[a] * np.sin(TURN))
        largest = np.maximum(largest, turned)
    return tuple(int(n) for n in largest / SMALLEST)
