"""In which order items come."""

from __future__ import annotations

from functools import lru_cache

from medsataug import draws

#: Orders are asked for again and again, by every batch or item of an epoch.
shuffled = lru_cache(maxsize=8)(draws.shuffled)


def numbers(
    count: int, seed: int, epoch: int, *, shuffle: bool = True, rank: int = 0, ranks: int = 1
) -> list[int]:
    """Return the numbers of an epoch's items, in an order that (seed, epoch) draws.

    Of several ``ranks`` that train together each gets every so-manieth, and all get as many.
    """
    order = shuffled(count, "items", seed, epoch) if shuffle else list(range(count))
    return order[rank : count - count % ranks : ranks]


def batches(order: list[int], size: int, drop_last: bool) -> list[list[int]]:
    """Cut an order into batches; what fills none is left out, or is a smaller one."""
    stop = len(order) - (len(order) % size if drop_last else 0)
    return [order[k : min(k + size, stop)] for k in range(0, stop, size)]


def count_batches(items: int, size: int, drop_last: bool) -> int:
    """How many batches `batches` cuts so many items into."""
    return items // size if drop_last else -(-items // size)
