"""In which order items come, and where a stopped epoch goes on."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from medsataug.errors import ConfigError
from medsataug.feed import batches, count_batches, numbers
from medsataug.torch.dataset import Dataset


class Order(Sampler[int]):
    """Numbers of a `Dataset`'s items, shuffled anew in each epoch by the data set's seed.

    The order depends on (seed, epoch) alone. Give it to a `torch.utils.data.DataLoader` as
    ``sampler``.

    Parameters
    ----------
    dataset : Dataset
        Its `Dataset.set_epoch` counts here, too.
    shuffle : bool
    start : int
        Items that were seen already when an epoch was stopped; the next epoch has all again.
    rank, ranks : int
        Which of several processes that train together this is: each gets every ``ranks``-th item,
        and all get as many.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        shuffle: bool = True,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if not 0 <= rank < ranks or not 0 <= start <= len(dataset) // ranks:
            raise ConfigError(
                f"Order: rank={rank} of {ranks}, start={start} of {len(dataset) // max(ranks, 1)} "
                "items; a rank below their number and a start within the epoch expected"
            )
        self.dataset, self.shuffle, self.start = dataset, shuffle, start
        self.rank, self.ranks, self._first = rank, ranks, dataset.epoch

    def __iter__(self) -> Iterator[int]:
        order = numbers(
            len(self.dataset), self.dataset.seed, self.dataset.epoch, shuffle=self.shuffle,
            rank=self.rank, ranks=self.ranks,
        )  # fmt: skip
        yield from order[self._seen :]

    def __len__(self) -> int:
        return len(self.dataset) // self.ranks - self._seen

    @property
    def _seen(self) -> int:
        return self.start if self.dataset.epoch == self._first else 0


class Batches(Sampler[list[int]]):
    """Numbers of the items of each batch of an epoch, in the order of `Order`.

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
        self, dataset: Dataset, batch_size: int, *, shuffle: bool, drop_last: bool, start: int
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}; at least 1 expected")
        self.order = Order(dataset, shuffle=shuffle, start=start * batch_size)
        self.size, self.drop_last = batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        yield from batches(list(self.order), self.size, self.drop_last)

    def __len__(self) -> int:
        return count_batches(len(self.order), self.size, self.drop_last)
