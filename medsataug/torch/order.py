"""In which order items come, and where a stopped epoch goes on."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from medsataug.draws import shuffled
from medsataug.errors import ConfigError
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

    def numbers(self) -> list[int]:
        """Numbers of this epoch's items, those seen already too."""
        n = len(self.dataset)
        numbers = (
            shuffled(n, "items", self.dataset.seed, self.dataset.epoch)
            if self.shuffle
            else range(n)
        )
        return list(numbers)[self.rank : n - n % self.ranks : self.ranks]

    def __iter__(self) -> Iterator[int]:
        yield from self.numbers()[self._seen :]

    def __len__(self) -> int:
        return len(self.dataset) // self.ranks - self._seen

    @property
    def _seen(self) -> int:
        return self.start if self.dataset.epoch == self._first else 0
