"""Feeding a training: batches a second from memory, by threads and by worker processes.

The peer is what nnU-Net trains with: batchgeneratorsv2's chain in the worker processes of
batchgenerators' ``NonDetMultiThreadedAugmenter``, each of one thread, fed by a loader that cuts
out what a turned patch may need.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import recipes
import workloads
from turns import OURS, table, why_not

#: Samples of a batch; batches that start a feed, and those that are timed, in each of the rounds.
BATCH, WARM, TIMED, ROUNDS = 2, 6, 20, 2
CASES = 2
#: What the project asks: our best in samples a second, times the peer's best.
ASKED = 6
Feed = Iterator[Any]


def row(args: argparse.Namespace) -> Iterator[str]:
    """Samples a second of each feed."""
    work = workloads.volume()
    feeds: dict[str, Callable[[], Feed]] = {
        f"{OURS}, Loader, {n} thread{'s' * (n > 1)}": lambda n=n: ours(work, "loader", n)
        for n in (1, 2)
    }
    for n in (0, 1, 2, 4):
        feeds[f"{OURS}, DataLoader, {n} workers"] = lambda n=n: ours(work, "workers", n)
    for n in (1, 2, 3, 4):
        feeds[f"nnU-Net's loader, batchgeneratorsv2, {n} workers"] = lambda n=n: theirs(work, n)
    rates: dict[str, list[float]] = {name: [] for name in feeds}
    absent: dict[str, str] = {}
    for _ in range(ROUNDS):
        for name, feed in feeds.items():
            if name in absent:
                continue
            try:
                rates[name].append(rate(feed()))
            except Exception as error:
                absent[name] = why_not(error)
    middle = {name: statistics.median(r) for name, r in rates.items() if r}
    best = {side: max((v for n, v in middle.items() if n.startswith(side)), default=0)
            for side in (OURS, "nnU-Net")}  # fmt: skip
    yield f"### Feed: recipe `nnunet`, batches of {BATCH} × (4, 128, 128, 128) from {work.name}\n"
    rows = [
        [name, f"{found:.1f}", f"{found / best['nnU-Net']:.2f}" if best["nnU-Net"] else "",
         ", ".join(f"{r:.1f}" for r in rates[name])]
        for name, found in middle.items()
    ]  # fmt: skip
    yield from table(["feed", "samples a second", "÷ best of nnU-Net's", "rounds"], rows)
    if best["nnU-Net"]:
        yield f"Best against best: {best[OURS] / best['nnU-Net']:.2f}, asked {ASKED}.\n"
    for name, why in absent.items():
        yield f"- {name}: {why}"
    yield ""


def rate(feed: Feed) -> float:
    """Samples a second, once the feed has started."""
    for _ in range(WARM):
        next(feed)
    start = time.perf_counter()
    for _ in range(TIMED):
        next(feed)
    seconds = time.perf_counter() - start
    feed.close() if hasattr(feed, "close") else None
    return TIMED * BATCH / seconds


def ours(work: workloads.Workload, kind: str, number: int) -> Feed:
    """Endless batches by threads or by workers."""
    import torch.utils.data

    import medsataug as msa
    from medsataug.torch import Dataset, Loader, Order, collate

    cases = [msa.Sample(image=work.image, label=work.label, axes=work.axes,
                        spacing=(1,) * work.ndim, id=f"case {k}")
             for k in range(CASES)]  # fmt: skip
    for case in cases:
        for channel in range(len(work.image)):
            case.facts.distribution(channel, "valid")
    dataset = Dataset(cases, "nnunet", length=(WARM + TIMED) * BATCH * 2)
    if kind == "loader":
        loader: Any = Loader(dataset, BATCH, threads=number)
    else:
        # Where no worker is, the process has all threads; a worker has one.
        loader = torch.utils.data.DataLoader(
            dataset, BATCH, sampler=Order(dataset), num_workers=number, collate_fn=collate
        )
    warnings.filterwarnings("ignore", message=".*worker processes in total.*")
    return iter(batch for batch in loader)


def theirs(work: workloads.Workload, workers: int) -> Feed:
    """Endless batches by worker processes."""
    from batchgenerators.dataloading.nondet_multi_threaded_augmenter import (
        NonDetMultiThreadedAugmenter,
    )

    feed = NonDetMultiThreadedAugmenter(
        _Cut(work), None, workers, num_cached=max(6, workers // 2), wait_time=0.002
    )

    def batches() -> Feed:
        try:
            while True:
                yield next(feed)
        finally:
            feed._finish()

    return batches()


class _Cut:
    """Batches of nnU-Net: a third of the patches about a labelled voxel, cut with room to turn."""

    def __init__(self, work: workloads.Workload) -> None:
        self.work = work
        self.places = [np.argwhere(work.label == c) for c in np.unique(work.label)[1:]]
        self.transforms = recipes.chain()

    def set_thread_id(self, number: int) -> None:
        self.rng = np.random.default_rng(number)

    def __next__(self) -> dict[str, Any]:
        import torch

        with torch.no_grad():
            made = [self._sample(k >= round(BATCH * (1 - 0.33))) for k in range(BATCH)]
        return {name: torch.stack([m[name] for m in made]) for name in ("image", "segmentation")}

    def _sample(self, foreground: bool) -> dict[str, Any]:
        import torch

        shape = self.work.label.shape
        room = (recipes.ROOM,) * len(shape)
        if foreground:
            found = self.places[self.rng.integers(len(self.places))]
            start = found[self.rng.integers(len(found))] - np.array(room) // 2
        else:
            start = np.array([self.rng.integers(min(0, n - r), max(0, n - r) + 1)
                              for n, r in zip(shape, room, strict=True)])  # fmt: skip
        box = [slice(max(s, 0), min(s + r, n))
               for s, r, n in zip(start, room, shape, strict=True)]  # fmt: skip
        pads = [(max(-s, 0), max(s + r - n, 0)) for s, r, n in zip(start, room, shape, strict=True)]
        image = np.pad(self.work.image[(slice(None), *box)], [(0, 0), *pads])
        label = np.pad(self.work.label[None][(slice(None), *box)].astype(np.int16),
                       [(0, 0), *pads], constant_values=-1)  # fmt: skip
        data = {"image": torch.from_numpy(image), "segmentation": torch.from_numpy(label)}
        for step in self.transforms:
            data = step(**data)
        return data


if __name__ == "__main__":
    print("\n".join(row(argparse.Namespace())))
