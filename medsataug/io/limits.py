"""How much a file may make this process allocate: the file's size and a cap decide.

Headers lie. What they declare is checked here before anything of that size is allocated.
"""

from __future__ import annotations

import os
from pathlib import Path

from medsataug.errors import ConfigError, FormatError

DEFAULT_MAX_BYTES = 64 * 2**30
#: Deflate makes at most 1032 bytes of one. Source: zlib technical details, maximum expansion.
DEFLATE_RATIO = 1032


def max_bytes() -> int:
    """Largest array read into memory at once: ``MEDSATAUG_MAX_BYTES`` or 64 GiB."""
    text = os.environ.get("MEDSATAUG_MAX_BYTES", "")
    if not text:
        return DEFAULT_MAX_BYTES
    if not text.isdecimal():
        raise ConfigError(f"MEDSATAUG_MAX_BYTES: a whole number of bytes expected, got {text!r}")
    return int(text)


def check_cap(path: Path, declared: int) -> None:
    """Refuse more than `max_bytes`.

    Raises
    ------
    FormatError
        Naming the file, both sizes and the variable that raises the cap.
    """
    cap = max_bytes()
    if declared > cap:
        raise FormatError(
            f"{path}: the headers declare {declared} bytes of pixels, more than the cap of {cap}; "
            "if that is right, raise the environment variable MEDSATAUG_MAX_BYTES"
        )


def check_size(path: Path, declared: int, *, stored: int, ratio: int = 1) -> None:
    """Refuse what ``stored`` bytes cannot hold, when each makes at most ``ratio`` bytes.

    Raises
    ------
    FormatError
        Naming the file and both sizes.
    """
    if declared > stored * ratio:
        packed = " even when it is compressed" if ratio > 1 else ""
        raise FormatError(
            f"{path}: truncated: the header declares {declared} bytes of voxels, which the "
            f"{stored} bytes stored cannot hold{packed}; copy the file again"
        )
    check_cap(path, declared)
