"""``medsataug train``: a folder of cases in, a run out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medsataug.errors import ConfigError
from medsataug.options import numbers

_SIZE = "Voxels of a patch, such as 256 or 32,128,128 (z,y,x)."


def train(
    data: Annotated[
        Path,
        typer.Argument(
            help="A data set: nnU-Net raw, Decathlon, a folder for each case, images/ and labels/, "
            "or a table.",
            metavar="DATA",
        ),
    ],
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="A packaged recipe, or a YAML file.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")] = Path("run"),
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Batches of an epoch.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Patches of a batch.")] = None,
    patch: Annotated[str | None, typer.Option(help=_SIZE)] = None,
    features: Annotated[
        str | None, typer.Option(help="Channels of the stages: 16,32,64,128.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw or sgd.")] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate at the start.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed trains the same way.")] = None,
    folds: Annotated[int, typer.Option(min=1, help="Parts of the cases; 1 tests with none.")] = 5,
    fold: Annotated[int, typer.Option(min=0, help="The part to test with.")] = 0,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that augment.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default a GPU.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")] = False,
) -> None:
    """Train a U-Net on a folder of cases; OUT gets settings, a log and a checkpoint."""
    from medsataug.train import require_torch

    require_torch()
    from medsataug import cases
    from medsataug.train import loop
    from medsataug.train.config import Settings
    from medsataug.warm import compiling

    asked: dict[str, Any] = {
        "recipe": recipe, "epochs": epochs, "steps": steps, "batch": batch, "rate": rate,
        "optimizer": optimizer, "seed": seed, "workers": workers, "device": device,
    }  # fmt: skip
    asked = {name: value for name, value in asked.items() if value is not None}
    sizes = {"patch": patch, "features": features}
    for name, text in sizes.items():
        if text is not None:
            asked[name] = numbers(text, f"--{name}", "16,32,64")
    kept = out / "settings.yaml"
    before = Settings.load(kept).model_dump() if resume and kept.is_file() else {}
    settings = Settings(**before | asked)
    found = cases.find(data)
    training, test = _parts(found, folds, fold, settings.seed)
    if settings.labels is None and settings.regions is None and found.regions is not None:
        settings = settings.changed(regions=found.regions)
    if settings.ignore is None and found.ignore is not None:
        settings = settings.changed(ignore=found.ignore)
    if settings.patch is not None and len(settings.patch) == 1:
        settings = settings.changed(patch=settings.patch * training[0].load().ndim)
    with compiling():
        loop.train(training, out, settings, test=test, resume=resume)
    print(out / "checkpoint.pt")


def _parts(found: Any, folds: int, fold: int, seed: int) -> tuple[Any, Any]:
    """Cases to train with, and those of one fold to test with; a single fold leaves none."""
    from medsataug import cases

    if not 0 <= fold < folds:
        raise ConfigError(f"--fold {fold} of {folds}: folds are counted from 0")
    if folds == 1:
        return found, []
    training, test = cases.split(found, folds, seed)[fold]
    return found.pick(training), found.pick(test)
