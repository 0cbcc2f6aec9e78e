"""Batches made ahead by threads of this process."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from medsataug import threads as cores
from medsataug.errors import ConfigError
from medsataug.torch.batch import Memory, collate, pinned, places
from medsataug.torch.dataset import Dataset
from medsataug.torch.order import Batches

Item = dict[str, Any]


class Loader:
    """The batches of an epoch, made by threads while the network trains on earlier ones.

    For cases in memory, or in a cache on disk: compiled kernels hold no lock, so threads do what
    worker processes do, and a batch is made where it stays, in pinned memory where a GPU reads it.
    Which thread makes what changes no byte.

    Parameters
    ----------
    dataset : Dataset
    batch_size : int
    shuffle : bool
    drop_last : bool
        Whether what is left of an epoch and fills no batch is left out.
    start : int
        Batches of the first epoch that were seen already.
    threads : int, optional
        By default all that medsataug may use (`medsataug.set_threads`).
    ahead : int
        Batches that are made or wait while one is in use.
    pin_memory : bool
        Whether batches lie in pinned memory.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        shuffle: bool = True,
        drop_last: bool = True,
        start: int = 0,
        threads: int | None = None,
        ahead: int = 2,
        pin_memory: bool = False,
    ) -> None:
        if ahead < 1 or (threads is not None and threads < 1):
            raise ConfigError(f"threads={threads}, ahead={ahead}; at least 1 each expected")
        self.dataset = dataset
        self.batches = Batches(
            dataset, batch_size, shuffle=shuffle, drop_last=drop_last, start=start
        )
        self.threads, self.ahead = threads, ahead
        self._memory: Memory = pinned if pin_memory else _Kept()

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        numbers = iter(self.batches)
        waiting: deque[list[Future[Item]]] = deque()
        pool = ThreadPoolExecutor(
            self.threads or cores.count(), "medsataug-feed", initializer=cores.work_alone
        )
        epoch = self.dataset.now
        try:
            while True:
                while len(waiting) <= self.ahead and (batch := next(numbers, None)):
                    room = places(self.dataset.form, len(batch), self._memory)
                    waiting.append(
                        [pool.submit(self.dataset.item, i, at, epoch)
                         for i, at in zip(batch, room, strict=True)]
                    )  # fmt: skip
                if not waiting:
                    return
                yield collate([made.result() for made in waiting.popleft()])
        finally:
            pool.shutdown(cancel_futures=True)


class _Kept:
    """Memory that is used again once its batch is gone: fresh memory costs more than a copy."""

    def __init__(self) -> None:
        self._free: dict[int, list[np.ndarray[Any, Any]]] = {}

    def __call__(self, size: int) -> torch.UntypedStorage:
        free = self._free.setdefault(size, [])
        memory = free.pop() if free else np.empty(size, np.uint8)
        lent = memory.view(_Lent)
        weakref.finalize(lent, free.append, memory)
        return torch.from_numpy(lent).untyped_storage()


class _Lent(np.ndarray[Any, Any]):
    """A view of memory that says when it is gone."""
