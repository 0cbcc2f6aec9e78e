"""Many cases, one after another: the next is read while one is worked on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from medsataug import threads
from medsataug.io.loading import load
from medsataug.types import Sample

PathLike = str | os.PathLike[str]
Case = PathLike | tuple[PathLike | Iterable[PathLike], PathLike | None]


def load_many(cases: Iterable[Case], **options: Any) -> Iterator[Sample]:
    """Load cases in order, each while the one before it is worked on.

    No more than two are in memory. Where one thread is all that may be used (`set_threads`, a
    loading worker), each is loaded when it is asked for.

    Parameters
    ----------
    cases : iterable of path, or (image path or paths, label path or None)
    **options
        As of `load`: ``series``, ``bands``, ``match``, ``lazy``.

    Yields
    ------
    Sample

    Raises
    ------
    MedSatAugError
        What `load` raises for a case, when that case's turn comes.
    """
    given = (case if isinstance(case, tuple) else (case, None) for case in cases)
    if threads.count() == 1:
        for image, label in given:
            yield load(image, label, **options)
        return
    coming: Future[Sample] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="medsataug-reader") as reader:
        for image, label in given:
            now, coming = coming, reader.submit(load, image, label, **options)
            if now is not None:
                yield now.result()
        if coming is not None:
            yield coming.result()
