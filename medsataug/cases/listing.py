"""Files of a folder in natural order, and what their channels are called."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medsataug.errors import FormatError
from medsataug.io import describe, formats
from medsataug.io.base import stem_of

#: Files that some formats keep beside an image.
_BESIDE = (".img", ".raw", ".zraw", ".aux.xml", ".tfw", ".ovr", ".msk", ".json", ".txt", ".csv")


def natural(text: str) -> tuple[Any, ...]:
    """Sort key in which 2 comes before 10."""
    parts = re.split(r"(\d+)", text)
    return (*(int(p) if p.isdigit() else p.lower() for p in parts), text)


def entries(folder: Path, *, folders: bool) -> list[Path]:
    """Readable files of a folder, or its folders; hidden ones apart, in natural order."""
    shown = [p for p in folder.iterdir() if not p.name.startswith((".", "__", "~"))]
    wanted = [p for p in shown if (p.is_dir() if folders else is_readable(p))]
    return sorted(wanted, key=lambda p: natural(p.name))


def is_readable(path: Path) -> bool:
    """Whether some format may read a file, by its name or first bytes."""
    if not path.is_file() or path.name.lower().endswith(_BESIDE):
        return False
    try:
        return any(f.may_match(path) for f in formats)
    except OSError:
        return True  # reading it will say what is wrong


def by_stem(folder: Path) -> dict[str, Path]:
    """Images of a folder by their names without suffix; a folder of DICOM slices is one.

    Raises
    ------
    FormatError
        Where two files bear one name.
    """
    found: dict[str, Path] = {}
    for path in [*entries(folder, folders=False), *entries(folder, folders=True)]:
        stem = path.name if path.is_dir() else stem_of(path)
        if stem in found:
            raise FormatError(
                f"{folder}: {found[stem].name} and {path.name} bear one name; move one of them away"
            )
        found[stem] = path
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def read_json(path: Path) -> dict[str, Any]:
    """Return an object in a JSON file.

    Raises
    ------
    FormatError
        For a file that cannot be read, or holds something else.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FormatError.of(f"{path}: cannot be read ({error.strerror})", error) from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: is not JSON ({error}); correct it") from None
    if not isinstance(held, dict):
        raise FormatError(f"{path}: an object in braces expected, got a {type(held).__name__}")
    return held


def channel_names(images: Sequence[Path], parts: Sequence[str]) -> tuple[str, ...]:
    """Names of one case's channels, of its headers alone.

    A file of one channel is called as ``parts`` says; channels of one file keep their names,
    behind the part's where files share some.
    """
    owns = [list(describe(path).get("channels") or ["grey"]) for path in images]
    names = [[p] if len(own) == 1 else own for own, p in zip(owns, parts, strict=True)]
    every = [name for own in names for name in own]
    if len(set(every)) == len(every):
        return tuple(every)
    pairs = zip(names, parts, strict=True)
    return tuple(n if len(own) == 1 else f"{p} {n}" for own, p in pairs for n in own)
