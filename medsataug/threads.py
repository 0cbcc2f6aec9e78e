"""The pool that compiled kernels run in: they hold no lock, so threads share the cores.

It belongs to one process (a forked child makes its own) and is not used within loading workers,
where the cores are taken already. Results never depend on it: every block of work is the same
whoever does it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from medsataug.errors import ConfigError

_chosen: dict[int, int] = {}
_own = threading.local()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def set_threads(number: int) -> None:
    """Use ``number`` threads in this process; results stay the same."""
    if number < 1:
        raise ConfigError(f"set_threads: {number}; at least 1 expected")
    _chosen[os.getpid()] = int(number)


def work_alone() -> None:
    """Let what this thread calls run in it alone: other threads have work of their own."""
    _own.alone = True


def count() -> int:
    """Threads in use: as set, else ``MEDSATAUG_THREADS``, else 1 in a worker, else all cores."""
    if getattr(_own, "alone", False):
        return 1
    if os.getpid() in _chosen:
        return _chosen[os.getpid()]
    if text := os.environ.get("MEDSATAUG_THREADS"):
        if not text.isdecimal() or int(text) < 1:
            raise ConfigError(f"MEDSATAUG_THREADS: a number of threads expected, got {text!r}")
        return int(text)
    if multiprocessing.parent_process() is not None:
        return 1
    return cores()


def cores() -> int:
    """Cores that this process may use."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


def run(work: Callable[[Any], object], parts: Iterable[Any]) -> None:
    """Call ``work`` with each of ``parts``, on all threads; this one takes its share."""
    items, number = list(parts), count()
    number = min(number, len(items))
    if number < 2:
        for item in items:
            work(item)
        return
    key = (os.getpid(), number)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(number - 1, thread_name_prefix="medsataug")
    # All take from one iterator, whose next() is atomic: a task for each part would cost more
    # than many parts do.
    shared = iter(items)

    def share() -> None:
        for item in shared:
            work(item)

    others = [_pools[key].submit(share) for _ in range(number - 1)]
    try:
        share()
    finally:
        for other in others:
            other.result()
