"""Options of a training on the command line, and the settings they make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medsataug.options import numbers

Data = Annotated[
    Path,
    typer.Argument(
        help="A data set: nnU-Net raw, Decathlon, a folder for each case, images/ and labels/, "
        "or a table.",
        metavar="DATA",
    ),
]
Epochs = Annotated[int | None, typer.Option(min=1, help="50 unless given.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Batches of an epoch; 100.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Patches of a batch; 2.")]
PatchSize = Annotated[
    str | None, typer.Option(help="Voxels of a patch, 256 or 32,128,128 (z,y,x); by the cases.")
]
Features = Annotated[str | None, typer.Option(help="Channels of the stages; 16,32,64,128.")]
Optimizer = Annotated[str | None, typer.Option(help="adamw (as a rule) or sgd.")]
Rate = Annotated[float | None, typer.Option(help="At the start; adamw 2e-3, sgd 1e-2.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; by default a GPU.")]
Seed = Annotated[int | None, typer.Option(help="The same seed trains the same way; 0.")]


def given(patch: str | None, features: str | None, **others: Any) -> dict[str, Any]:
    """Fields of `medsataug.train.Settings` that the command line gives."""
    fields = {name: value for name, value in others.items() if value is not None}
    for name, text in {"patch": patch, "features": features}.items():
        if text is not None:
            fields[name] = numbers(text, f"--{name}", "16,32,64")
    return fields


def suited(settings: Any, found: Any) -> Any:
    """Return settings with what a data set says of itself, and a patch of as many axes.

    Parameters
    ----------
    settings : Settings
    found : CaseSet
    """
    if settings.labels is None and settings.regions is None and found.regions is not None:
        settings = settings.changed(regions=found.regions)
    if settings.ignore is None and found.ignore is not None:
        settings = settings.changed(ignore=found.ignore)
    if settings.patch is not None and len(settings.patch) == 1:
        settings = settings.changed(patch=settings.patch * found[0].load().ndim)
    return settings
