"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from medsataug.errors import ConfigError

Images = Annotated[
    list[Path],
    typer.Argument(help="Image file(s) of one case, or a DICOM folder.", metavar="IMAGE"),
]
Label = Annotated[Path | None, typer.Option("--label", "-l", help="The mask.")]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe", "-r", help="A packaged recipe (see 'medsataug recipes'), or a YAML file."
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same copies.")]
Count = Annotated[int, typer.Option("--count", "-n", min=1, help="Number of copies.")]
Series = Annotated[str | None, typer.Option(help="Which DICOM series of a folder.")]
Bands = Annotated[str | None, typer.Option(help="Bands of a raster, by number or name: 4,3,2.")]
Match = Annotated[
    str | None,
    typer.Option(help="Where grids differ: 'first' resamples to the first, 'ignore' accepts."),
]
Patch = Annotated[
    str | None,
    typer.Option(help="Cut a random patch of this size, such as 256 or 32,128,128 (z,y,x)."),
]
Partners = Annotated[
    list[Path] | None,
    typer.Option(
        help="Image(s) to mix with, or a folder of them: as many files a case as IMAGE. Repeatable."
    ),
]
PartnerLabels = Annotated[
    list[Path] | None, typer.Option(help="Their masks, or a folder of them, in the same order.")
]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable results.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Default: all cores.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]


def picked(bands: str | None) -> list[int | str] | None:
    """Read ``4,3,nir``."""
    if bands is None:
        return None
    names = [b.strip() for b in bands.split(",") if b.strip()]
    return [int(b) if b.isdecimal() else b for b in names]


def numbers(text: str, option: str, example: str) -> tuple[int, ...]:
    """Read ``32,128,128``, or ``32x128x128``."""
    parts = [part.strip() for part in text.replace("x", ",").split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"{option} {text}: whole numbers expected, such as {example}")
    return tuple(map(int, parts))


def partners_of(
    paths: list[Path] | None,
    labels: list[Path] | None,
    images: Sequence[Path],
    bands: str | None,
    match: str | None,
) -> Any:
    """Return the samples to mix with, which are loaded as the images are; None where none are."""
    if not paths and not labels:
        return None
    from medsataug.partners import listed

    return listed(paths or [], labels or [], len(images), bands=picked(bands), match=match)
