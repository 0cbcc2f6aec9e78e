"""``medsataug validate``: which of some recipes is best on these cases, and how sure one can be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medsataug.errors import ConfigError
from medsataug.options import numbers
from medsataug.train import options

#: Of a learning curve, where nothing is said.
POINTS = 5


def validate(
    data: options.Data,
    recipes: Annotated[
        str,
        typer.Option("--recipes", "-r", help="Names or files; the first is the reference."),
    ] = "none,mri",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the experiment.")] = Path(
        "validation"
    ),
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cases; each tests once.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="Times that folds are drawn anew.")] = 1,
    sizes: Annotated[
        str | None, typer.Option(help="Train with so many cases only, such as 6,12,24.")
    ] = None,
    ordered: Annotated[
        bool, typer.Option("--ordered", help="Cases are a series: folds are runs of neighbours.")
    ] = False,
    buffer: Annotated[
        int | None, typer.Option(min=0, help="Neighbours left out about a tested run.")
    ] = None,
    sets: Annotated[
        int | None,
        typer.Option(min=2, help="Instead of folds: disjoint training sets; needs --test."),
    ] = None,
    test: Annotated[int | None, typer.Option(min=1, help="Cases that all sets test with.")] = None,
    leave_one_out: Annotated[
        bool,
        typer.Option("--leave-one-out", help="Compare the last recipe without each transform."),
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Of surfaces, in the grid's unit; by default a voxel."),
    ] = None,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    batch: options.Batch = None,
    patch: options.PatchSize = None,
    features: options.Features = None,
    optimizer: options.Optimizer = None,
    rate: options.Rate = None,
    validate_every: Annotated[
        int | None, typer.Option(min=1, help="Epochs between points of the learning curve.")
    ] = None,
    seed: options.Seed = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Trainings at once; results do not depend on it.")
    ] = None,
    device: options.Device = None,
) -> None:
    """Train each recipe on the same splits, and tell which is better: table, CSV and a report.

    The same command goes on where it was interrupted.
    """
    from medsataug.validate import require

    require()
    from medsataug import cases
    from medsataug.train.config import Settings
    from medsataug.validate import compare, design

    settings = Settings(**options.given(
        patch, features, epochs=epochs, steps=steps, batch=batch, rate=rate, optimizer=optimizer,
        seed=seed, device=device, validate_every=validate_every,
    ))  # fmt: skip
    if validate_every is None:
        settings = settings.changed(validate_every=max(1, settings.epochs // POINTS))
    found = cases.find(data)
    if (sets is None) != (test is None):
        raise ConfigError("--sets and --test go together: disjoint training sets, and cases to "
                          "test all of them with")  # fmt: skip
    if sets is not None and test is not None:
        if sizes or ordered or buffer is not None or repeats > 1:
            raise ConfigError("--sets does not go with --sizes, --ordered, --buffer or --repeats")
        chosen = design.sets(found, sets, test, settings.seed)
    else:
        few: Any = numbers(sizes, "--sizes", "6,12,24") if sizes else ()
        chosen = design.folds(
            found, folds, repeats, settings.seed, sizes=few, ordered=ordered, buffer=buffer
        )
    results = compare(
        found,
        out,
        chosen,
        [name.strip() for name in recipes.split(",") if name.strip()],
        options.suited(settings, found),
        leave_one_out=leave_one_out,
        tolerance=tolerance,
        jobs=jobs,
    )
    print(results.table())
    print(out / "report.html")
