"""Whole batches one after the other, for loops that ask for no numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from medsataug.torch.batch import collate
from medsataug.torch.dataset import Dataset
from medsataug.torch.order import Batches


class Stream(IterableDataset[dict[str, Any]]):
    """The batches of an epoch, the same whatever the workers.

    Give it to a `torch.utils.data.DataLoader` with ``batch_size=None``: each worker makes whole
    batches in turn. ``set_epoch`` of the data set belongs before each epoch.

    Parameters
    ----------
    dataset : Dataset
    batch_size : int
    shuffle : bool
    drop_last : bool
        Whether what is left of an epoch and fills no batch is left out.
    start : int
        Batches of the first epoch that were seen already.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        shuffle: bool = True,
        drop_last: bool = True,
        start: int = 0,
    ) -> None:
        self.dataset = dataset
        self.batches = Batches(
            dataset, batch_size, shuffle=shuffle, drop_last=drop_last, start=start
        )

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for numbers in itertools.islice(self.batches, first, None, step):
            yield collate(self.dataset.__getitems__(numbers))
