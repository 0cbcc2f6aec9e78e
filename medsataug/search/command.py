"""``medsataug search``: the strengths of augmentation that suit a data set."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from medsataug.train import options

#: Training sets of the final test, where there are cases for so many.
SETS = 5


def search(
    data: options.Data,
    domain: Annotated[
        str, typer.Option(help="medical, multispectral, rgb or sar: the operations of RandAugment.")
    ] = "medical",
    trials: Annotated[int, typer.Option(min=1, help="Recipes to try, the first two fixed.")] = 30,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the search.")] = Path(
        "search"
    ),
    each: Annotated[
        bool,
        typer.Option("--each", help="A magnitude for each operation; takes many more trials."),
    ] = False,
    folds: Annotated[int, typer.Option(min=2, help="Trainings of a trial.")] = 3,
    test: Annotated[
        int | None,
        typer.Option(min=1, help="Cases set aside for the final test; by default a fifth."),
    ] = None,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    batch: options.Batch = None,
    patch: options.PatchSize = None,
    features: options.Features = None,
    optimizer: options.Optimizer = None,
    rate: options.Rate = None,
    seed: options.Seed = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Folds at once; results do not depend on it.")
    ] = None,
    device: options.Device = None,
) -> None:
    """Tune a policy of augmentation on folds; OUT gets the best recipe, a table and a picture.

    The same command goes on where it was interrupted.
    """
    from medsataug.search import require

    require()
    from medsataug import cases
    from medsataug.search.space import Space
    from medsataug.search.tuning import tune
    from medsataug.train.config import Settings

    Space(domain)  # an unknown one is told before anything is read
    asked: dict[str, Any] = {
        "epochs": epochs, "steps": steps, "batch": batch, "patch": patch, "features": features,
        "optimizer": optimizer, "rate": rate, "seed": seed, "device": device,
    }  # fmt: skip
    found = cases.find(data)
    outcome = tune(
        found,
        out,
        domain,
        trials=trials,
        each=each,
        folds=folds,
        test=test,
        settings=Settings(**options.given(**asked)),
        jobs=jobs,
    )
    print(outcome.table())
    print(f"\nThe best of {len(outcome.study.trials)} trials is {out / 'best.yaml'}.", end=" ")
    if not outcome.best.number:
        print("No policy did better than no augmentation.")
        return
    print(_advice(data, out, outcome, found, asked))


def _advice(data: Path, out: Path, outcome: Any, found: Any, asked: dict[str, Any]) -> str:
    """Say how far to trust the best, and the command that settles it."""
    from medsataug.cases.splits import group_of

    aside = set(outcome.aside)
    told = (
        "Its score is optimistic, since it was chosen by it; what it is worth, the "
        f"{len(aside)} cases set aside ({out / 'test_cases.txt'}) tell"
    )
    if any(case.window is not None for case in found):
        return f"{told}: tiles of which no training has come near."
    left = len({group_of(case) for case in found if case.id not in aside})
    number = min(SETS, left)
    told += f", if trained with {(len(found) - len(aside)) // number} cases a set"
    words: dict[str, Any] = {
        "sets": number,
        "test": len(aside),
        "recipes": f"none,{out / 'best.yaml'}",
        "out": out / "final",
    }
    words |= {name: value for name, value in asked.items() if value is not None}
    given = [part for name, value in words.items() for part in (f"--{name}", str(value))]
    command = shlex.join(["medsataug", "validate", str(data), *given])
    return f"{told}:\n  {command}"
