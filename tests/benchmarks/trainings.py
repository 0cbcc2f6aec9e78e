"""Whether augmentation helps, on real data: trainings on this machine's processor.

    MEDSATAUG_REAL_DATA=… python tests/benchmarks/trainings.py --out FOLDER [--only hippocampus]
        [--jobs 2] [--write]

Small networks, each trained for a minute or so on one thread; what is finished is not made again.
``--write`` puts the table into TRAININGS.md and the README. Those of the hippocampus are run by
``medsataug validate`` as well; each says how.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(1, str(HERE.parents[1]))  # the checkout, where not installed
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parents[1])])  # of other processes
os.environ.setdefault("OMP_NUM_THREADS", "1")

#: The recipe `nnunet` as batchgeneratorsv2 carries it out.
PEER = "nnunet by batchgeneratorsv2"
HIPPOCAMPUS = {"epochs": 10, "steps": 14, "validate_every": 2, "features": (16, 32),
               "rate": 5e-3}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One experiment: a folder of the data, a design, recipes, settings, and what it is called."""

    name: str
    data: str
    title: str
    recipes: tuple[str, ...]
    settings: dict[str, Any]
    sets: tuple[int, int] | None = None
    folds: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, int] | None = None
    peer: bool = False
    command: str = ""


def _sets(number: int, peer: bool = False) -> Trial:
    size = 144 // number
    options = "--epochs 10 --steps 14 --validate-every 2 --features 16,32 --rate 5e-3"
    return Trial(
        f"hippo_{number}", "mri_hippocampus",
        f"hippocampus, MRI 3D: {number} disjoint sets of {size} cases, 51 test cases",
        ("none", "mri", "nnunet"), HIPPOCAMPUS, sets=(number, 51), peer=peer,
        command=f"medsataug validate mri_hippocampus --recipes none,mri,nnunet --test 51 "
                f"--sets {number} {options}",
    )  # fmt: skip


TRIALS = (
    _sets(12, peer=True),
    _sets(6),
    _sets(3),
    Trial(
        "membrane", "em_membrane",
        "membranes, electron microscopy 2D: 22 or 23 sections, tested on 6 neighbours, 5 times",
        (str(HERE / "microscopy-rigid.yaml"), "microscopy", "none"),
        {"epochs": 10, "steps": 30, "batch": 2, "validate_every": 2, "features": (16, 32, 64),
         "rate": 5e-3, "patch": (192, 192), "regions": (0,)},
        folds={"number": 5, "ordered": True, "buffer": 1},
        labels={"membrane": 0, "cell": 255},
    ),
    Trial(
        "sentinel2", "geo_sentinel2",
        "land cover, Sentinel-2 L1C + L2A: two scenes, tested on the third, 3 times",
        ("none", "multispectral"),
        {"epochs": 10, "steps": 30, "batch": 2, "validate_every": 2, "features": (16, 32, 64),
         "rate": 5e-3, "patch": (96, 96), "regions": (1, 2, 4, 5, 9)},
        folds={"number": 3, "ordered": True, "buffer": 0},
    ),
)  # fmt: skip


def main() -> None:
    """Run what is asked for, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="part of the names of experiments")
    parser.add_argument("--jobs", type=int, default=None)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    data = Path(os.environ["MEDSATAUG_REAL_DATA"])
    lines: list[str] = []
    rows: list[list[str]] = []
    notes: list[str] = []
    for trial in TRIALS:
        if args.only in trial.name:
            results, peer = experiment(trial, data, args.out, args.jobs)
            lines += table(trial, results, peer)
            rows += brief(trial, results)
            notes += against(peer) if peer else []
    text = "\n".join([*lines, made_with()])
    print(text)
    if args.write:
        (HERE / "TRAININGS.md").write_text(f"{HEAD}\n{text}\n", encoding="utf-8")
        write_brief([*_markdown((BRIEF, rows)), *notes, made_with()])


def experiment(trial: Trial, data: Path, out: Path, jobs: int | None) -> Any:
    """Train what is not trained yet, and compare: results, and those with the peer's feed."""
    from medsataug import cases
    from medsataug.train import Settings
    from medsataug.validate import compare, design

    found = cases.find(data / trial.data)
    if trial.labels:
        found = cases.CaseSet(found.cases, name=found.name, channels=found.channels,
                              labels=trial.labels, buffer=found.buffer)  # fmt: skip
    chosen = design.sets(found, *trial.sets) if trial.sets else design.folds(found, **trial.folds)
    folder = out / trial.name
    results = compare(found, folder, chosen, trial.recipes, Settings(**trial.settings), jobs=jobs)
    return results, with_peer(results, folder, jobs or 2) if trial.peer else None


def with_peer(results: Any, folder: Path, jobs: int) -> Any:
    """Add the same trainings fed by nnU-Net's steps in batchgeneratorsv2, against ours."""
    from medsataug.validate.job import start
    from medsataug.validate.report import write_report
    from medsataug.validate.results import Results

    text = results.experiment.recipes["nnunet"]
    plan = replace(results.experiment, recipes={"nnunet": text, PEER: text})
    wanted = [plan.job(PEER, split) for split in plan.design.splits]
    wanted[0].recipe_file.write_text(text, encoding="utf-8")  # by which cases are prepared
    held = dict(results.held)
    held |= {(PEER, j.split.name): r for j in wanted if (r := j.result(plan.task))}
    open_ = [j for j in wanted if (PEER, j.split.name) not in held]
    if open_:
        pool = ProcessPoolExecutor(jobs, get_context("spawn"), start, (plan.task,))
        with pool:
            futures = {pool.submit(fed_by_peer, job): job for job in open_}
            for future in as_completed(futures):
                name = futures[future].split.name
                held[PEER, name] = future.result()
                print(f"{PEER}, {name}: {held[PEER, name].training_seconds:.0f} s", file=sys.stderr)
    both = Results(plan, held)
    write_report(both, folder / "report-peer.html")
    return both


def fed_by_peer(job: Any) -> Any:
    """Train with the peer's feed in place of ours."""
    from peer_feed import PeerFeed

    from medsataug.train import loop
    from medsataug.validate.job import work

    loop.Feed = PeerFeed
    return work(job)


def table(trial: Trial, results: Any, peer: Any) -> list[str]:
    """Markdown of one experiment, and of the same trainings fed by the peer, if any."""
    from medsataug.validate import sheets
    from medsataug.validate.report import sentence

    lines = [f"### {trial.title}\n", *_markdown(sheets.summary(results))]
    if trial.folds:
        lines += _markdown(sheets.per_split(results, None))
    lines += _markdown(sheets.classes(results, None))
    if results.experiment.design.kind != "blocks":
        lines += _markdown(sheets.tests(results))
    lines += [f"- {sentence(c)}" for c in results.comparisons]
    if peer is not None:
        lines += ["", *_markdown(sheets.summary(peer)), *against(peer)]
    seconds = [r.training_seconds for r in results.held.values()]
    count = f"{len(seconds)} trainings, {min(seconds):.0f} to {max(seconds):.0f} s each"
    lines.append(f"\n{count}." + (f" `{trial.command}`" if trial.command else ""))
    return [*lines, ""]


BRIEF = ("data", "trained with", "recipe", "mean Dice", "difference (95 % interval)", "p (Holm)")


def brief(trial: Trial, results: Any) -> list[list[str]]:
    """Rows of the README's table."""
    import numpy as np

    from medsataug.validate import sheets
    from medsataug.validate.experiment import mean_dice

    rows = []
    made = {c.recipe: c for c in results.comparisons}
    for name in results.experiment.recipes:
        own = made.get(name)
        apart = p = ""
        if own is not None:
            apart = f"{own.mean:+.3f}"
            if np.isfinite(own.low):
                apart += f" ({own.low:+.3f} to {own.high:+.3f})"
            p = "not tested" if own.adjusted is None else sheets.probability(own.adjusted)
        dice = np.nanmean(results.each(name, None, mean_dice))
        first = (trial.title.split(":")[0], trial.title.split(": ")[1]) if own is None else ("", "")
        rows.append([*first, f"`{name}`", f"{dice:.3f}", apart, p])
    return rows


def against(peer: Any) -> list[str]:
    """Say how the same network does, fed by the peer, with 12 cases."""
    from medsataug.validate.report import sentence

    rates = ", ".join(f"{feed_rate(peer, name):.0f} by {name}" for name in peer.experiment.recipes)
    return [
        f"The same networks fed by nnU-Net's crops and steps: {sentence(peer.comparisons[0])} "
        f"Samples a second from one thread: {rates}.\n"
    ]


def write_brief(lines: Sequence[str]) -> None:
    """Put the table between its marks in the README."""
    path = HERE.parents[1] / "README.md"
    start, end = "<!-- trainings -->", "<!-- /trainings -->"
    before, rest = path.read_text(encoding="utf-8").split(start)
    after = rest.split(end)[1]
    text = "\n".join(lines)
    path.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def feed_rate(results: Any, recipe: str) -> float:
    """Median over trainings of the samples a second that augmentation made, on its thread."""
    import numpy as np

    settings = results.experiment.task.settings
    each = []
    for split in results.splits(None):
        log = results.log(recipe, split)
        each.append(settings.steps * settings.batch / np.median(log["augmentation seconds"][1:]))
    return float(np.median(each))


def _markdown(sheet: tuple[Sequence[str], Sequence[Sequence[str]]]) -> list[str]:
    head, rows = sheet
    return [f"| {' | '.join(r)} |" for r in [head, ["---"] * len(head), *rows]] + [""]


def made_with() -> str:
    """Date and versions."""
    from importlib.metadata import PackageNotFoundError, version

    import medsataug

    def of(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"{name} not installed"

    libraries = ", ".join(of(n) for n in ("torch", "monai", "numba", "batchgeneratorsv2"))
    return (
        f"{datetime.date.today().isoformat()}; medsataug {medsataug.__version__}, {libraries}, "
        f"Python {platform.python_version()}; {os.cpu_count()} cores."
    )


HEAD = """# Whether augmentation helps, on real data

Written by `python tests/benchmarks/trainings.py --write`. Small networks, trained for a minute or
so on one thread of a processor: differences between recipes, not records.
"""

if __name__ == "__main__":
    main()
