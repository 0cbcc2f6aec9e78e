"""Small files that appear whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from medsataug.errors import FormatError


def write_whole(data: bytes | memoryview, path: Path, *, alone: bool = False) -> None:
    """Write to a temporary name beside ``path``, bring that to the disk, then rename it.

    Parameters
    ----------
    data : bytes
    path : Path
    alone : bool
        Whether nobody else writes this file: the temporary name is always the same then, so that
        writers which are killed leave one file behind, and the next one uses it.

    Raises
    ------
    FormatError
        Naming the file that cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if alone:
            temporary = str(path.with_name(f"{path.name}.part"))
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        else:
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
