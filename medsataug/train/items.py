"""What a network is fed: augmented patches in an order that follows from seed and epoch alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from medsataug import targets
from medsataug.draws import shuffled
from medsataug.errors import ConfigError, MedSatAugError
from medsataug.torch import Dataset
from medsataug.train.data import listed
from medsataug.types import Sample

#: Label value of voxels without data; none of the classes.
NO_CLASS = torch.iinfo(torch.int64).min


class Items(TorchDataset[Any]):
    """Patches of one size: image, label and perhaps class probabilities, and what they cost.

    What goes wrong is an item as well, so that it crosses from a worker as one line.

    Parameters
    ----------
    samples : sequence of Sample
        Each with an id.
    patch : tuple of int
    **options
        As of `medsataug.torch.Dataset`; resolutions are needed, and the last of the regions, if
        any, is where nothing is known.
    """

    def __init__(self, samples: Sequence[Sample], patch: Sequence[int], **options: Any) -> None:
        self.data, self.patch = Dataset(samples, **options), tuple(patch)

    def __len__(self) -> int:
        return len(self.data)

    def set_epoch(self, epoch: int, progress: float) -> None:
        """Other draws for every item, in workers that are there already, too."""
        self.data.set_epoch(epoch, progress)

    def name(self, index: int) -> str:
        """Return the name of an item's case."""
        made = self.data.items
        case = made.cases[index // made.repeat]
        return case.id if isinstance(case, Sample) else str(case)

    def __getitem__(self, index: int) -> Any:
        started = time.perf_counter(), time.process_time()
        try:
            item = self.data[index]
        except MedSatAugError as error:
            return error
        image, valid = item["image"], item.get("valid")
        if tuple(image.shape[1:]) != self.patch:
            return ConfigError(
                f"case {self.name(index)!r}: the recipe gives {list(image.shape[1:])}, not the "
                f"patch of {list(self.patch)}; quarter turns swap sides: choose a patch of equal "
                "sides, or put the recipe's patch after its last spatial transform"
            )
        if valid is not None:
            image = image.where(valid, 0)
            self._forget(item["label"], ~valid.any(dim=0))
        spent = (time.perf_counter() - started[0], time.process_time() - started[1])
        kept = {k: item[k] for k in ("label", "soft") if k in item}
        # What lacks is 0 to a network, in training as in prediction.
        return kept | {"image": image.nan_to_num(0.0), "spent": torch.tensor(spent)}

    def _forget(self, labels: list[torch.Tensor], lacking: torch.Tensor) -> None:
        """Let nothing be learnt of voxels without data, at any resolution."""
        ndim = lacking.ndim
        made = self.data.items
        parts = targets.deep_supervision(lacking.numpy(), made.deep_supervision or [1.0], ndim)
        for label, part in zip(labels, map(torch.from_numpy, parts), strict=True):
            if made.regions is None:
                label[part] = NO_CLASS
            else:
                label[-1][part] = 1


def collate(items: list[Any]) -> Any:
    """Return the batch, or what went wrong in one of its items."""
    return next((i for i in items if isinstance(i, Exception)), None) or default_collate(items)


class Batches:
    """Numbers of the items of each batch, for a loader: in every round each case once.

    Parameters
    ----------
    cases, steps, batch, seed : int
    """

    def __init__(self, cases: int, steps: int, batch: int, seed: int) -> None:
        self.cases, self.steps, self.batch, self.seed, self.epoch = cases, steps, batch, seed, 0

    @property
    def repeat(self) -> int:
        """Items of one case in an epoch, at most."""
        return -(-self.steps * self.batch // self.cases)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        every = [
            case * self.repeat + turn
            for turn in range(self.repeat)
            for case in shuffled(self.cases, "order", self.seed, self.epoch, turn)
        ]
        for step in range(self.steps):
            yield every[step * self.batch : (step + 1) * self.batch]


class Feed:
    """Batches of one epoch after another, how long one waited for them, and what they cost.

    Parameters
    ----------
    items : Items
    batches : Batches
    workers : int
        Processes that make items; 0 makes them in this one, while it waits.
    pinned : bool
        Whether memory is prepared for a GPU.

    Attributes
    ----------
    waited, made, cpu : float
        Seconds of this epoch: waiting for batches; making them, summed over workers; and of
        processor time spent on that.
    """

    def __init__(self, items: Items, batches: Batches, workers: int, pinned: bool) -> None:
        self.items, self.batches, self.workers = items, batches, workers
        self.waited = self.made = self.cpu = 0.0
        self._loader: DataLoader[Any] = DataLoader(
            items,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=collate,
            persistent_workers=workers > 0,
            pin_memory=pinned,
            generator=torch.Generator(),  # so that loading draws nothing from the global one
        )

    def epoch(self, number: int, progress: float) -> Iterator[tuple[Any, list[str]]]:
        """Yield each batch, and the names of its cases.

        Raises
        ------
        MedSatAugError
            For what went wrong in a worker, or where one was killed; it names the cases.
        """
        self.items.set_epoch(number, progress)
        self.batches.epoch, self.waited, self.made, self.cpu = number, 0.0, 0.0, 0.0
        started = time.perf_counter()
        found = iter(self._loader)
        for step, indices in enumerate(self.batches):
            names = [self.items.name(i) for i in indices]
            try:
                batch = self._next(found, names)
            except MedSatAugError as error:
                raise type(error)(f"epoch {number + 1}, step {step + 1}: {error}") from None
            made, cpu = batch.pop("spent").sum(dim=0).tolist()
            self.made, self.cpu = self.made + made, self.cpu + cpu
            self.waited += time.perf_counter() - started
            yield batch, names
            started = time.perf_counter()

    def _next(self, found: Iterator[Any], names: Sequence[str]) -> Any:
        try:
            batch = next(found)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise MedSatAugError(
                f"a loading worker was killed while making a batch of the cases {listed(names)}; "
                "most often memory ran out: use fewer workers or a smaller patch, and resume"
            ) from None
        if isinstance(batch, Exception):
            raise batch
        return batch
