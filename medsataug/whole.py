"""Small files that appear whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medsataug.errors import ConfigError, FormatError


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other commands out of a folder while this one works there.

    The operating system lets go of it with the process, however that ends; where it knows no such
    locks, nothing is kept out.

    Raises
    ------
    ConfigError
        Where another command is at work.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise FormatError.of(f"{folder}: cannot be written to ({error.strerror})", error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ConfigError(
            f"{folder}: another command is at work there; wait for it, or choose another folder"
        ) from None
    try:
        yield
    finally:
        os.close(handle)


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
