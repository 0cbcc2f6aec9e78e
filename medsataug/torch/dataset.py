"""A PyTorch dataset of augmented tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import get_worker_info

from medsataug.feed import Items
from medsataug.partners import Partners
from medsataug.torch.batch import Form, form_of, move, own, places, shared
from medsataug.types import Sample

Item = dict[str, Any]


class Dataset(TorchDataset[Item]):
    """Augmented cases for a `torch.utils.data.DataLoader`, for `Loader` or `Stream`.

    What an item is depends on (seed, epoch, index) alone: neither the number of workers, nor how
    they start, nor the order in which they ask changes a byte.

    Parameters
    ----------
    cases, pipeline, **options
        Cases, what is done to them, and ``seed``, ``repeat``, ``length``, ``cache``, ``partners``,
        ``regions``, ``one_hot``, ``deep_supervision``: see `medsataug.feed.Items`.

    Notes
    -----
    An item is ``{"image": (C, [Z,] Y, X) float32, "label": ([L,] [Z,] Y, X) int64}``, and
    ``"valid"`` (bool, of the image's shape) where the case may lack data, ``"soft"`` (K, [Z,] Y, X)
    where there are class probabilities, as with `medsataug.MixUp`. A case's points, boxes and
    polygons are ``"points"`` (N, D), ``"boxes"`` (N, 2, D) and ``"polygons"`` (a list), float32 in
    index coordinates, with what `medsataug.shapes.visible` says of them as ``"points_visible"`` and
    so on. Where their numbers differ, `collate` leaves a list. Call `set_epoch` before each epoch;
    workers see it, persistent ones too.
    """

    def __init__(self, cases: Sequence[Any], pipeline: Any = None, **options: Any) -> None:
        self.items = Items(cases, pipeline, **options)
        # In shared memory, since persistent workers keep the data set they were started with.
        self._now = torch.zeros(2, dtype=torch.float64).share_memory_()
        #: What the last item's tensors were like: the next ones' places are made so.
        self.form: Form = {}

    def set_epoch(self, epoch: int, progress: float = 0.0) -> None:
        """Other draws for every item; ``progress`` of the training, 0 to 1, is for schedules."""
        self._now[0], self._now[1] = epoch, progress

    @property
    def now(self) -> tuple[int, float]:
        """Epoch and progress, as last set."""
        return int(self._now[0]), float(self._now[1])

    @property
    def epoch(self) -> int:
        """Number of the epoch, as last set."""
        return self.now[0]

    @property
    def seed(self) -> int:
        """Seed of all draws."""
        return self.items.seed

    @property
    def partners(self) -> Partners | None:
        """Who may be mixed in: as given, else all cases, where the pipeline mixes."""
        return self.items.partners

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, index: int) -> Sample:
        """Return the augmented sample of an item, with its grid and record."""
        return self.items.sample(index, *self.now)

    def __getitem__(self, index: int) -> Item:
        return self.item(index)

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Items of one batch, side by side in memory; a `DataLoader` asks for them so."""
        memory = own if get_worker_info() is None else shared
        # What the first item ever is like shows once it is there.
        first = [] if self.form else [self.item(indices[0])]
        room = places(self.form, len(indices), memory)
        first = [{k: move(k, v, room[0]) for k, v in item.items()} for item in first]
        rest = zip(indices[len(first) :], room[len(first) :], strict=True)
        return first + [self.item(i, place) for i, place in rest]

    def item(
        self,
        index: int,
        place: Mapping[str, torch.Tensor] | None = None,
        now: tuple[int, float] | None = None,
    ) -> Item:
        """Return an item; its tensors lie in ``place`` as far as they fit.

        ``now`` is the epoch and the progress that count, by default those last set.
        """
        room = {name: tensor.numpy() for name, tensor in (place or {}).items()}
        made = self.items.item(index, *(now or self.now), room)
        known = {id(room[name]): tensor for name, tensor in (place or {}).items()}
        item = {name: _tensors(value, known) for name, value in made.items()}
        self.form = form_of(item)
        return item


def _tensors(value: Any, known: Mapping[int, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_tensors(part, known) for part in value]
    if id(value) in known:
        return known[id(value)]
    return torch.from_numpy(np.asarray(value))
