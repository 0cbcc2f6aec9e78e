"""A case into a folder: all of its files, or none of them."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medsataug.errors import FormatError
from medsataug.grid import MM, RAS_MM
from medsataug.io.registry import format_named, formats
from medsataug.io.stack import StackedImage
from medsataug.types import Channel, LazyImage, Sample

_FORMATS = {f.name for f in formats} - {"dicom"}
#: Keys of ``meta`` that belong to a Sample, not to one file.
_OF_THE_CASE = {"sources", "label_name", "label_format", "label_meta"}
_DO = "choose another folder, or make this one writable"


@dataclass(frozen=True)
class _File:
    """One file to be: its name, and what writes it to a given path."""

    name: str
    suffix: str
    write: Callable[..., object]


def save(sample: Sample, folder: str | os.PathLike[str], *, overwrite: bool = True) -> list[Path]:
    """Write a sample's image, label and record into ``folder``.

    One image file is written for each file that was loaded, in its format and dtype, where the
    channels still are what they were; else one file. DICOM is written as NIfTI. A sample made
    from arrays becomes NIfTI; GeoTIFF where its world is a CRS; PNG where it is 2D, of one or
    three 8- or 16-bit channels, and placed nowhere. What a pipeline changed in ``sample.meta``
    holds for every file. A GeoTIFF has one nodata value for all bands; where channels that a
    pipeline added hold it as a number, the file states another one that no channel holds: values
    and gaps are read back as they were.

    Files appear complete, by renaming, once all of them are written; a failure leaves none.

    Parameters
    ----------
    sample : Sample
    folder : path
        Created where it does not exist.
    overwrite : bool
        Replace files of the same names, else refuse.

    Returns
    -------
    list of Path
        The image files, the label, and ``record.json`` where the sample has a record.

    Raises
    ------
    FormatError
        A folder that cannot be written, a full disk, a file that is in the way, or what no
        format holds.
    """
    folder = Path(folder)
    files = _files(sample)
    made = [folder / (f.name + f.suffix) for f in files]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FormatError.of(
            f"{folder}: cannot be created ({error.strerror}); {_DO}", error
        ) from None
    taken = [] if overwrite else [path for path in made if path.exists()]
    if taken:
        raise FormatError(f"{taken[0]}: exists; use overwrite=True, or another folder")
    # The suffix stays, as it tells writers what to write; the dot hides what is not finished.
    token = secrets.token_hex(4)
    parts = [folder / f".{f.name}-{token}{f.suffix}" for f in files]
    try:
        for file, part, path in zip(files, parts, made, strict=True):
            with _told(part, path):
                file.write(path=part)
                _sync(part)
        for part, path in zip(parts, made, strict=True):
            with _told(part, path):
                part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return made


def file_names(sample: Sample) -> list[str]:
    """Return the names of the files that `save` writes for ``sample``, but for its record."""
    return [f.name + f.suffix for f in _files(sample) if f.name != "record"]


@contextmanager
def _told(part: Path, path: Path) -> Iterator[None]:
    """Tell a failure with the file's final name and what to do."""
    try:
        yield
    except FormatError as error:
        raise FormatError.of(str(error).replace(str(part), str(path)), error) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FormatError.of(
                f"{path}: the disk is full, and nothing was written; make room, or choose another "
                "folder",
                error,
            ) from None
        reason = error.strerror or type(error).__name__
        raise FormatError.of(f"{path}: cannot be written ({reason}); {_DO}", error) from None


def _sync(path: Path) -> None:
    """Bring a file to the disk, so that a rename never points at an empty one."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _files(sample: Sample) -> list[_File]:
    """Everything that is to be written, in order."""
    files = []
    for name, part in _images(sample):
        kind = format_named(_format(part))
        files.append(_File(name, kind.suffix(part), partial(kind.write, part, role="image")))
    if sample.label is not None:
        assert sample.grid is not None
        meta = dict(sample.meta.get("label_meta") or {})
        name = _safe(sample.meta.get("label_name") or "label")
        if name.lower() in {f.name.lower() for f in files}:
            name += "_label"
        label = sample.label
        planes = label if isinstance(label, LazyImage) else label.reshape(-1, *sample.grid.shape)
        # As an image of its own, a label chooses format and suffix by the same rules.
        alone = Sample(planes, grid=sample.grid, meta=meta | {"dtype": label.dtype.name})
        kind = format_named(_format(alone))
        files.append(_File(name, kind.suffix(alone), partial(kind.write, sample, role="label")))
    if sample.record:
        text = json.dumps(sample.record, sort_keys=True, indent=1, default=_plain) + "\n"
        files.append(_File("record", ".json", partial(_write_text, text)))
    return files


def _images(sample: Sample) -> Iterator[tuple[str, Sample]]:
    """Yield a name and the part of the sample that one image file holds."""
    meta = {k: v for k, v in sample.meta.items() if k not in _OF_THE_CASE}
    sources = sample.meta.get("sources") or []
    channels = [c if isinstance(c, Channel) else Channel(c) for c in sample.channels]
    names = [c.name for c in channels]
    stated = [name for source in sources for name in source["channel_names"]]
    alone = sample.replace(label=None, soft=None, meta=meta)
    parts = sample.image.parts if isinstance(sample.image, StackedImage) else None
    one = isinstance(sample.image, LazyImage) and parts is None
    if len(sources) == 1:
        yield _safe(sources[0]["name"]), alone
    elif not sources or one or stated != names:
        # Several files became one: none of their dtypes is its own.
        own = ("dtype", "scl_dtype", "scl_slope", "scl_inter") if sources else ()
        yield "image", alone.replace(meta={k: v for k, v in meta.items() if k not in own})
    else:
        start = 0
        for number, source in enumerate(sources):
            stop = start + int(source["channels"])
            if isinstance(sample.image, LazyImage):
                assert parts is not None
                image, valid = parts[number].image, parts[number].valid
            else:
                image, valid = sample.image[start:stop], sample.valid
            if valid is not None and len(valid) == len(channels):
                valid = valid[start:stop]
            yield (
                _safe(source["name"]),
                alone.replace(
                    image=image,
                    valid=valid,
                    # The file's own names, by which writers find the facts of each band.
                    channels=[
                        replace(c, name=name)
                        for c, name in zip(channels[start:stop], source["own_names"], strict=True)
                    ],
                    meta=_changed(source["meta"], sources[0]["meta"], meta),
                ),
            )
            start = stop


def _changed(
    own: Mapping[str, Any], first: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a file's own meta with what has changed, since loading, in the sample's."""
    gone = first.keys() - now.keys()
    kept = {k: v for k, v in own.items() if k not in gone}
    # repr, since NaN is not equal to itself and arrays have no single truth.
    return kept | {k: v for k, v in now.items() if repr(first.get(k)) != repr(v)}


def _format(sample: Sample) -> str:
    """Return the name of the format that a sample with one file's meta is written in."""
    grid = sample.grid
    assert grid is not None
    named = str(sample.meta.get("format") or "")
    if isinstance(sample.image, LazyImage):
        return "geotiff"
    if named in _FORMATS and not (named == "geotiff" and grid.ndim != 2):
        return named
    if grid.ndim == 2 and grid.world not in (None, MM, RAS_MM):
        return "geotiff"
    if grid.ndim == 2 and grid.world is None and len(sample.image) in (1, 3):
        return "image" if sample.image.dtype.name in ("uint8", "uint16") else "nifti"
    return "nifti"


def _safe(name: Any) -> str:
    """Return a name that cannot leave the folder."""
    return Path(str(name)).name.lstrip(".") or "image"


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return NumPy's numbers and arrays as JSON can hold them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"record: a {type(value).__name__} cannot be written as JSON")
