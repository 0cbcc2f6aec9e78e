"""Small files that appear whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from medsataug.errors import FormatError


def write_whole(data: bytes, path: Path) -> None:
    """Write to a temporary name beside ``path``, bring that to the disk, then rename it.

    Raises
    ------
    FormatError
        Naming the file that cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=f"{path.suffix}.part")
    except OSError as error:
        raise FormatError.of(f"{path}: cannot be written ({error.strerror})", error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise FormatError.of(f"{path}: cannot be written ({error.strerror})", error) from error
