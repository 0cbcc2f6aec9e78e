"""Arrays on disk in compressed chunks, of which a patch reads its own.

The files are Blosc2's (``.b2nd``), mapped into memory.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from medsataug import threads
from medsataug.errors import ConfigError, FormatError
from medsataug.types import Array, LazyImage, Window, is_lazy

#: Voxels along each axis of a chunk and of the blocks in it, which are unpacked one by one. Of the
#: chunks, blocks and packings that ``tests/benchmarks/cases.py --chunks`` compares, a patch of
#: (4, 128, 128, 128) float32 brain MRI is read fastest so: 16 ms on one thread of an idle machine,
#: against 19 ms with blocks of 32 and 29 ms with Zstandard, whose files are a sixth smaller. For
#: planes the sizes are chosen alike, and not measured.
CHUNK = {2: (256, 256), 3: (64, 64, 64)}
BLOCK = {2: (128, 128), 3: (16, 16, 16)}
#: Files a process keeps open: far below the 1024 that systems allow.
OPEN = 128


def blosc2() -> ModuleType:
    """Return the library, which is needed by the cache alone.

    Raises
    ------
    ConfigError
        Where it is not installed.
    """
    try:
        import blosc2 as library
    except ImportError:
        raise ConfigError(
            "cache: Blosc2 is not installed; install medsataug[cache], or go without a cache"
        ) from None
    return library  # type: ignore[no-any-return]


def write(path: Path, part: Array | LazyImage) -> None:
    """Write (C, [Z,] Y, X) values; of a lazy image only a row of chunks is in memory at a time."""
    library, shape = blosc2(), tuple(part.shape)
    n = len(shape) - 1
    chunks = (1, *map(min, CHUNK[n], shape[1:]))
    blocks = (1, *map(min, BLOCK[n], shape[1:]))
    packing = library.CParams(
        codec=library.Codec.LZ4,
        clevel=1,
        filters=[library.Filter.SHUFFLE],
        nthreads=threads.count(),
    )
    made = library.empty(
        shape,
        dtype=part.dtype.newbyteorder("="),
        urlpath=str(path),
        chunks=chunks,
        blocks=blocks,
        cparams=packing,
        mode="w",
    )
    for start in range(0, shape[1], chunks[1]):
        rows = slice(start, min(start + chunks[1], shape[1]))
        window = (rows, *(slice(0, k) for k in shape[2:]))
        values = part.read(window) if is_lazy(part) else part[:, *window]
        made[:, *window] = np.ascontiguousarray(values, dtype=made.dtype)


class _Open:
    """Files that this process has open, the last used last; each with its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.files: OrderedDict[str, tuple[Any, threading.Lock]] = OrderedDict()


#: By process: a child leaves its parent's files alone, whose threads and locks it has not got.
_open: dict[int, _Open] = {}


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """File ``path``, which is this thread's as long as the context lasts.

    Raises
    ------
    FormatError
        Where it cannot be read.
    """
    own = _open.setdefault(os.getpid(), _Open())
    name = str(path)
    with own.lock:
        if name not in own.files:
            own.files[name] = (_mapped(path), threading.Lock())
        own.files.move_to_end(name)
        array, lock = own.files[name]
        while len(own.files) > OPEN:
            own.files.popitem(last=False)  # closed as soon as no thread reads it
    with lock:
        yield array


def _mapped(path: Path) -> Any:
    library = blosc2()
    try:
        unpacking = library.DParams(nthreads=1)  # two gained nothing, and would not cross a fork
        return library.open(str(path), mode="r", mmap_mode="r", dparams=unpacking)
    except (OSError, RuntimeError, ValueError) as error:
        raise FormatError(
            f"{path}: cannot be read ({error}); delete its folder, and it is made anew"
        ) from None


def read(path: Path, window: Window) -> Array:
    """(C, *window) values."""
    with opened(path) as array:
        try:
            return np.asarray(array[(slice(None), *window)])
        except (OSError, RuntimeError, ValueError) as error:
            raise FormatError(
                f"{path}: is damaged ({error}); delete its folder, and it is made anew"
            ) from None


def forget(folder: Path) -> None:
    """Close this process's files of a folder, which is about to change."""
    own = _open.setdefault(os.getpid(), _Open())
    with own.lock:
        for name in [name for name in own.files if Path(name).parent == folder]:
            del own.files[name]
