"""What a file format offers: recognise, read, write, describe.

Formats are plain objects in one ordered tuple (`medsataug.io.formats`); the first that
recognises a path reads it. x-y-z order exists only inside this package: what leaves it is
in array order (C, Z, Y, X).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medsataug.grid import Grid
from medsataug.types import Array, Channel, LazyImage, Sample


@dataclass(frozen=True)
class ReadOptions:
    """How to read.

    ``series`` picks one DICOM series; ``role`` is ``"image"`` or ``"label"`` (a label must be
    integral); ``bands`` picks bands of a raster by number (from 1) or name; ``lazy`` lets a
    raster be read window by window.
    """

    role: str = "image"
    series: str | None = None
    bands: tuple[int | str, ...] | None = None
    lazy: bool = True


def stem_of(path: Path) -> str:
    """Return the file's name without its suffix, ``.gz`` included."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return Path(name).stem


@dataclass
class Loaded:
    """What one path held, in array order.

    ``meta`` is what the same format needs to write a like file (dtype, nodata, scl_slope, tags
    …), and nothing that identifies a person.
    """

    image: Array | LazyImage
    grid: Grid
    channels: tuple[Channel, ...]
    valid: NDArray[np.bool_] | None = None
    meta: dict[str, Any] = field(default_factory=dict)


class Format(Protocol):
    """A file format."""

    name: str

    def matches(self, path: Path) -> bool:
        """Whether this format reads ``path`` (by suffix, magic number or folder content)."""
        ...

    def read(self, path: Path, options: ReadOptions) -> Loaded:
        """Read ``path``. Raises FormatError or GeometryError naming the file."""
        ...

    def suffix(self, sample: Sample) -> str:
        """Return the suffix of a file written for ``sample``, such as ``".nii.gz"``."""
        ...

    def write(self, sample: Sample, path: Path, role: str) -> None:
        """Write the image or the label (``role``) of ``sample`` to exactly ``path``.

        The caller gives a temporary name beside the final one and renames it.
        """
        ...

    def describe(self, path: Path) -> dict[str, Any]:
        """Facts for ``medsataug info``, from headers as far as possible; no identity."""
        ...
