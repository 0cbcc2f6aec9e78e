"""``medsataug train``: a folder of cases in, a run out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from medsataug.errors import ConfigError
from medsataug.train import options


def train(
    data: options.Data,
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="A packaged recipe, or a YAML file.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")] = Path("run"),
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    batch: options.Batch = None,
    patch: options.PatchSize = None,
    features: options.Features = None,
    optimizer: options.Optimizer = None,
    rate: options.Rate = None,
    seed: options.Seed = None,
    folds: Annotated[int, typer.Option(min=1, help="Parts of the cases; 1 tests with none.")] = 5,
    fold: Annotated[int, typer.Option(min=0, help="The part to test with.")] = 0,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that augment.")] = None,
    device: options.Device = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")] = False,
) -> None:
    """Train a U-Net on a folder of cases; OUT gets settings, a log and a checkpoint."""
    from medsataug.train import require_torch

    require_torch()
    from medsataug import cases
    from medsataug.train import loop
    from medsataug.train.config import Settings
    from medsataug.warm import compiling

    asked = options.given(
        patch, features, recipe=recipe, epochs=epochs, steps=steps, batch=batch, rate=rate,
        optimizer=optimizer, seed=seed, workers=workers, device=device,
    )  # fmt: skip
    kept = out / "settings.yaml"
    before = Settings.load(kept).model_dump() if resume and kept.is_file() else {}
    settings = Settings(**before | asked)
    found = cases.find(data)
    training, test = _parts(found, folds, fold, settings.seed)
    settings = options.suited(settings, found)
    _leave_room(settings)
    with compiling():
        loop.train(training, out, settings, test=test, resume=resume)
    print(out / "checkpoint.pt")


def _leave_room(settings: Any) -> None:
    """Leave cores to the processes that augment, unless the user says how many PyTorch takes.

    Its threads wait for one another at every layer, and are many times slower where others work.
    """
    import torch

    from medsataug import threads
    from medsataug.train.model import device_of

    if "OMP_NUM_THREADS" not in os.environ and device_of(settings.device).type == "cpu":
        torch.set_num_threads(max(1, threads.count() - settings.workers))


def _parts(found: Any, folds: int, fold: int, seed: int) -> tuple[Any, Any]:
    """Cases to train with, and those of one fold to test with; a single fold leaves none."""
    from medsataug import cases

    if not 0 <= fold < folds:
        raise ConfigError(f"--fold {fold} of {folds}: folds are counted from 0")
    if folds == 1:
        return found, []
    training, test = cases.split(found, folds, seed)[fold]
    return found.pick(training), found.pick(test)
