"""A PyTorch dataset: cases in, augmented tensors out, the same whatever the workers.

PyTorch is imported here, and by `inference.torch_network` when called; install it with
``medsataug[torch]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from medsataug import shapes, targets
from medsataug.errors import ConfigError
from medsataug.io import load
from medsataug.partners import Partners
from medsataug.pipeline import Pipeline
from medsataug.types import Array, Sample

#: What a case may be given as: a sample, an image path, or (image path(s), label path).
Case = Sample | str | tuple[Any, Any]


class Dataset(TorchDataset[dict[str, Any]]):
    """Augmented cases for a `torch.utils.data.DataLoader`.

    What an item is depends on (seed, epoch, index) alone: neither the number of workers nor the
    order in which they ask changes a byte.

    Parameters
    ----------
    cases : sequence of Sample, path, or (image path or paths, label path)
        Paths are loaded when asked for, in the worker that asks.
    pipeline : Pipeline, str or None
        A pipeline, or a recipe's name or file; None gives the cases as they are.
    seed : int
    repeat : int
        Items of one case in an epoch, such as patches of one volume.
    cache : bool
        Keep loaded cases (and what is known of them) in memory.
    partners : list of cases, ``{id: case}`` or Partners, optional
        What a pipeline that mixes draws from; by default the other cases.
    regions : list of label values, or of lists of them, optional
        The label becomes one layer for each, 1 inside; see `medsataug.targets.regions`.
    deep_supervision : list of scales, optional
        Label and class probabilities become lists of them at these resolutions, such as
        ``[1, 0.5, 0.25]``; see `medsataug.targets.deep_supervision`.

    Notes
    -----
    An item is ``{"image": (C, [Z,] Y, X) float32, "label": ([L,] [Z,] Y, X) int64}``, and
    ``"valid"`` (bool, of the image's shape) where the case may lack data, ``"soft"`` (K, [Z,] Y, X)
    where there are class probabilities, as with `medsataug.MixUp`. A case's points, boxes and
    polygons are ``"points"`` (N, D), ``"boxes"`` (N, 2, D) and ``"polygons"`` (a list), float32 in
    index coordinates, with what `medsataug.shapes.visible` says of them as ``"points_visible"`` and
    so on; where their numbers differ, a loader needs a ``collate_fn``. Call `set_epoch` before each
    epoch; workers see it, persistent ones too.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        pipeline: Pipeline | str | None = None,
        *,
        seed: int = 0,
        repeat: int = 1,
        cache: bool = True,
        partners: Any = None,
        regions: Sequence[int | Sequence[int]] | None = None,
        deep_supervision: Sequence[targets.Scale] | None = None,
    ) -> None:
        if not cases or repeat < 1:
            raise ConfigError(f"Dataset: {len(cases)} cases, repeat={repeat}; 1 or more each")
        self.cases = list(cases)
        self.pipeline = Pipeline.load(pipeline) if isinstance(pipeline, str) else pipeline
        self.seed, self.repeat, self.cache = seed, repeat, cache
        self.regions, self.deep_supervision = regions, deep_supervision
        self._given_partners = Partners.of(partners)
        # In shared memory, since persistent workers keep the data set they were started with.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._progress = torch.zeros(1, dtype=torch.float64).share_memory_()
        self._kept: dict[int, Sample] = {}

    def set_epoch(self, epoch: int, progress: float = 0.0) -> None:
        """Other draws for every item; ``progress`` of the training, 0 to 1, is for schedules."""
        self._epoch[0] = epoch
        self._progress[0] = progress

    @property
    def epoch(self) -> int:
        """Number of the epoch, as last set."""
        return int(self._epoch[0])

    def __len__(self) -> int:
        return len(self.cases) * self.repeat

    def sample(self, index: int) -> Sample:
        """Return the augmented sample of an item, with its grid and record."""
        return self._augmented(self._case(index), index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        case = self._case(index)
        out = self._augmented(case, index)
        image = np.ascontiguousarray(np.asarray(out.image), dtype=np.float32)
        if self.pipeline is None:  # a kept case must not change with its item
            image = image.copy()
        item: dict[str, Any] = {"image": torch.from_numpy(image)}
        if out.label is not None:
            item["label"] = self._target(np.asarray(out.label), out.ndim)
        if out.soft is not None:
            soft = np.array(out.soft) if self.pipeline is None else out.soft
            item["soft"] = self._at_scales(soft, out.ndim)
        if out.valid is not None or _may_lack_data(case):
            valid = np.ones(image.shape, bool) if out.valid is None else out.valid
            item["valid"] = torch.from_numpy(np.array(np.broadcast_to(valid, image.shape)))
        return item | _shapes(out)

    def _target(self, label: Array, ndim: int) -> torch.Tensor | list[torch.Tensor]:
        """Label as the loss takes it."""
        if self.regions is not None:
            first = label.reshape(-1, *label.shape[-ndim:])[0]
            label = targets.regions(first, self.regions)
        return self._at_scales(label.astype(np.int64), ndim)

    def _at_scales(self, target: Array, ndim: int) -> torch.Tensor | list[torch.Tensor]:
        """Target itself, or a list of it at the resolutions asked for."""
        if self.deep_supervision is None:
            return torch.from_numpy(target)
        parts = targets.deep_supervision(target, self.deep_supervision, ndim)
        return [torch.from_numpy(part) for part in parts]

    @cached_property
    def partners(self) -> Partners | None:
        """Who may be mixed in: as given, else all cases, where the pipeline mixes."""
        if self._given_partners is not None or self.pipeline is None or not self.pipeline.mixes:
            return self._given_partners
        named = [c.id if isinstance(c, Sample) else "" for c in self.cases]
        return Partners(
            [partial(self._loaded, number) for number in range(len(self.cases))],
            [name or f"case {number}" for number, name in enumerate(named)],
        )

    def _augmented(self, case: Sample, index: int) -> Sample:
        if self.pipeline is None:
            return case
        number = self.epoch * len(self) + index
        now = float(self._progress[0])
        return self.pipeline(
            case, seed=self.seed, index=number, progress=now, partners=self.partners
        )

    def _case(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        return self._loaded(index // self.repeat)

    def _loaded(self, number: int) -> Sample:
        if number in self._kept:
            return self._kept[number]
        case = self.cases[number]
        if not isinstance(case, Sample):
            image, label = case if isinstance(case, tuple) else (case, None)
            # Its number is its name: another folder or machine gives the same draws.
            case = load(image, label, id=f"case {number}")
        elif not case.id:
            case = case.replace(id=f"case {number}")
        if self.cache:
            self._kept[number] = case
        return case


def _shapes(out: Sample) -> dict[str, Any]:
    """Points, boxes and polygons, and how much of them is in the frame."""
    item: dict[str, Any] = {}
    seen = shapes.visible(out)
    for name in ("points", "boxes", "polygons"):
        given = getattr(out, name)
        if given is None:
            continue
        made = [torch.from_numpy(np.array(part, dtype=np.float32)) for part in given]
        item[name] = made if name == "polygons" else torch.from_numpy(given.astype(np.float32))
        item[f"{name}_visible"] = torch.from_numpy(getattr(seen, name))
    return item


def _may_lack_data(case: Sample) -> bool:
    """Whether all items of a case say where there is data, so that they can be batched."""
    return case.valid is not None or case.meta.get("nodata") is not None
