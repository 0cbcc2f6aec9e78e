"""Streams deflated by ISA-L whose bytes depend on their data alone.

At a stream's first byte, ISA-L's fast loop (2.32's too) hashes a register that still holds the
address of the stream where it should hash the third byte and the next. So the bytes depend on
where a stream lies in memory (on which thread's stack, in which process), once in thousands. Its
loop for the last bytes has no such fault: a head that is flushed goes through that one, for about
20 bytes more.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from isal import isal_zlib

from medsataug.types import Array

#: Bytes flushed apart: more than the shortest match, no more than ISA-L's last loop takes.
_HEAD = 16


def deflate(values: Array, level: int) -> bytes:
    """Return the zlib stream of contiguous ``values``."""
    data = values.reshape(-1).view(np.uint8)
    stream = isal_zlib.compressobj(level)
    head = stream.compress(data[:_HEAD]) + stream.flush(isal_zlib.Z_SYNC_FLUSH)
    return b"".join((head, stream.compress(data[_HEAD:]), stream.flush()))


def write_first(stream: BinaryIO, data: bytes | memoryview) -> None:
    """Write the first ``data`` of a gzip stream."""
    stream.write(data[:_HEAD])
    stream.flush()
    stream.write(data[_HEAD:])
