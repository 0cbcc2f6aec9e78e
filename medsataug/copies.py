"""Augmented copies on disk: a folder each, complete or absent, resumed and replayed by record."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medsataug import __version__, io, recipes, threads
from medsataug.errors import ConfigError, FormatError, MedSatAugWarning
from medsataug.io.saving import file_names
from medsataug.partners import Partners
from medsataug.pipeline import Pipeline
from medsataug.plan import Plan
from medsataug.roles import ignored
from medsataug.types import Sample
from medsataug.warm import compiling

RECORD = "record.json"
_SOFT = (
    "class probabilities (soft) are not written to files; the label holds the likelier class of "
    "two that were mixed. medsataug.torch.Dataset gives both"
)
#: Copies shown in one picture.
SHOWN = 4


def write(
    sample: Sample,
    pipeline: Pipeline,
    out: Path,
    *,
    count: int,
    seed: int,
    preview: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    partners: Partners | None = None,
) -> dict[str, Any]:
    """Write ``count`` copies into ``out/copy_0000`` …; finished ones of the same settings stay.

    ``partners`` are other samples that a pipeline may mix in.

    Returns
    -------
    dict
        ``copies`` (folder, files, index, seed, skipped, seconds) and ``preview``.

    Raises
    ------
    FormatError
        Where nothing can be written, or a folder holds a copy of other settings.
    """
    out = Path(out)
    made: list[dict[str, Any]] = []
    shown: list[tuple[Sample, Plan]] = []
    with _prepared(out), compiling(), _Behind() as behind:
        for index in _progress(range(count), quiet):
            folder, started = out / f"copy_{index:04d}", time.perf_counter()
            plan = pipeline.plan(sample, seed, index, partners=partners)
            record = _record(plan, pipeline, sample)
            finished = _finished(folder, record, overwrite)
            drawn = preview and len(shown) < SHOWN
            if drawn or not finished:
                result = plan(sample)
                _warn_of_loss(sample, result, plan)
                if result.soft is not None and not made:
                    warnings.warn(_SOFT, MedSatAugWarning, stacklevel=2)
                result.record = record | {"output": result.digest, "files": file_names(result)}
                if drawn:
                    shown.append((result, plan))
                if not finished:
                    behind.do(partial(_write_whole, result, folder))
            seconds = round(time.perf_counter() - started, 3)
            made.append(
                {
                    "folder": str(folder),
                    "files": [],
                    "index": index,
                    "seed": seed,
                    "skipped": finished,
                    "seconds": seconds,
                }
            )
    for copy in made:
        copy["files"] = sorted(str(p) for p in Path(copy["folder"]).iterdir())
    drawing = str(_draw(sample, shown, out / "preview.png", pipeline)) if preview else None
    return {"copies": made, "preview": drawing}


class _Behind:
    """Does one thing on a thread of its own while the next is prepared: writes what is made.

    A new one waits until the one before is done, so that no more than two copies are in memory and
    they appear in order. What went wrong is raised in the thread that gave it, and before anything
    that went wrong there meanwhile. Where one thread is all that may be used, nothing is put off.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="medsataug-writer")
        self._doing: Future[None] | None = None

    def do(self, task: Callable[[], None]) -> None:
        """Start ``task`` once the one before is done."""
        self._wait()
        if threads.count() == 1:
            task()
        else:
            self._doing = self._pool.submit(task)

    def _wait(self) -> None:
        doing, self._doing = self._doing, None
        if doing is not None:
            doing.result()

    def __enter__(self) -> _Behind:
        return self

    def __exit__(self, *_: object) -> None:
        with self._pool:
            self._wait()


def _warn_of_loss(sample: Sample, result: Sample, plan: Plan) -> None:
    """Say when most of what is labelled has left the frame."""
    if sample.label is None or result.label is None or plan.grid.shape != plan.source.shape:
        return
    nothing = (0, *ignored(sample))
    before = sum(n for value, n in sample.facts.classes.items() if value not in nothing)
    after = int(np.count_nonzero(~np.isin(np.asarray(result.label), nothing)))
    if after < before / 2:
        warnings.warn(
            f"copy {plan.index}: {1 - after / before:.0%} of the labelled voxels left the image; "
            "for stacks of few slices use a recipe that stays within them (mri_thick), else "
            "turn, scale or shift less",
            MedSatAugWarning,
            stacklevel=3,
        )


def summary(result: dict[str, Any]) -> str:
    """Say what `write` did, in a few lines."""
    copies = result["copies"]
    new = [c for c in copies if not c["skipped"]]
    lines = []
    if new:
        names = ", ".join(Path(f).name for f in new[0]["files"])
        each = " each" if len(new) > 1 else ""
        lines.append(f"wrote {_copies(len(new))} to {Path(new[0]['folder']).parent}: {names}{each}")
    if len(new) < len(copies):
        lines.append(f"kept {_copies(len(copies) - len(new))}, finished before")
    folder = Path(copies[0]["folder"]).parent
    other = sorted(
        {p.name for p in folder.glob("copy_*")} - {Path(c["folder"]).name for c in copies}
    )
    if other:
        lines.append(f"left alone, of an earlier run: {', '.join(other)}")
    if result["preview"]:
        lines.append(f"picture: {result['preview']}")
    return "\n".join(lines)


def _copies(number: int) -> str:
    return "1 copy" if number == 1 else f"{number} copies"


def picture(
    sample: Sample,
    pipeline: Pipeline,
    path: Path,
    *,
    count: int,
    seed: int,
    partners: Partners | None = None,
) -> Path:
    """Draw original and copies, and write nothing else."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"{path}: the picture is a PNG; end --out in .png")
    with compiling():
        plans = [pipeline.plan(sample, seed, i, partners=partners) for i in range(count)]
        shown = [(plan(sample), plan) for plan in plans]
    return _draw(sample, shown, path, pipeline)


def replay(record: Path, sample: Sample, out: Path, partners: Partners | None = None) -> list[Path]:
    """Make the copy of a record again from its image, and from those that were mixed in.

    Raises
    ------
    ConfigError
        Where the record is none, or the image is another than the copy was made from.
    """
    try:
        given = json.loads(Path(record).read_text(encoding="utf-8"))
        plan = Plan.from_json(json.dumps(given["plan"]))
        digest, output = given["digest"], given["output"]
    except OSError as error:
        raise FormatError.of(f"{record}: cannot be read ({error.strerror})", error) from None
    except ConfigError as error:
        raise ConfigError(f"{record}: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise ConfigError(
            f"{record}: not the record of a copy that `medsataug augment` made; a record of "
            "msa.save holds no plan (keep plan.to_json() beside it, and apply it with "
            "msa.Plan.from_json)"
        ) from None
    if sample.digest != digest:
        raise ConfigError(
            f"{record}: this copy was made from another image or label (content digest {digest}, "
            f"given {sample.digest}); give the same files in the same order"
        )
    with _prepared(Path(out)), compiling():
        result = plan(sample, partners)
    if result.digest != output:
        warnings.warn(
            f"{record}: the copy differs in its last digits from the one recorded (digest "
            f"{output}, now {result.digest}): it was made by another version or processor",
            MedSatAugWarning,
            stacklevel=2,
        )
    result.record = given
    return io.save(result, out)


def _record(plan: Plan, pipeline: Pipeline, sample: Sample) -> dict[str, Any]:
    from medsataug.execute import record

    return record(plan, sample) | {
        "smallest_jacobian": round(plan.smallest_jacobian, 4),
        "digest": sample.digest,
        "recipe_text": recipes.text(pipeline),
        "plan": json.loads(plan.to_json()),
    }


def _finished(folder: Path, record: dict[str, Any], overwrite: bool) -> bool:
    """Whether the folder holds this very copy.

    Raises
    ------
    FormatError
        Where it holds something else, unless that is to be replaced.
    """
    if not folder.exists():
        return False
    try:
        known = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        same = bool({k: known[k] for k in record} == json.loads(json.dumps(record)))
        whole = all((folder / name).is_file() for name in known["files"])
    except (OSError, ValueError, KeyError, TypeError):
        same = whole = False
    if not same and not overwrite:
        raise FormatError(
            f"{folder}: holds a copy made with other settings or from another image; choose "
            "another --out, or give --overwrite"
        )
    return same and whole


@contextmanager
def _prepared(out: Path) -> Iterator[None]:
    """Create the folder of the copies, without what a killed run left half written.

    A failure leaves no empty folder behind.
    """
    new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        left = [p for p in out.glob(".copy_*") if p.is_dir() and not _is_at_work(p)]
    except (FileExistsError, NotADirectoryError):
        raise FormatError(f"{out}: a file is in the way; choose another --out") from None
    except OSError as error:
        raise FormatError.of(
            f"{out}: cannot be created ({error.strerror}); choose another --out, or make its "
            "folder writable",
            error,
        ) from None
    for part in left:
        shutil.rmtree(part, ignore_errors=True)
    try:
        yield
    except BaseException:
        if new:
            with suppress(OSError):  # it holds finished copies
                out.rmdir()
        raise


def _is_at_work(part: Path) -> bool:
    """Whether the process that writes ``.copy_0000.PID`` still runs, and is not this one."""
    number = part.name.split(".")[2:3]
    if not number or not number[0].isdecimal():
        return True  # not of our making
    try:
        os.kill(int(number[0]), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return int(number[0]) != os.getpid()


def _write_whole(result: Sample, folder: Path) -> None:
    """Write a copy beside its place, then rename the folder: it appears whole or not at all."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        io.save(result, part)
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    except FormatError as error:
        # It is about the final place that the user must know.
        raise FormatError.of(str(error).replace(str(part), str(folder)), error) from None
    except OSError as error:
        raise FormatError.of(
            f"{folder}: cannot be written ({error.strerror}); nothing of this copy was kept", error
        ) from None
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _draw(sample: Sample, shown: list[tuple[Sample, Plan]], path: Path, pipeline: Pipeline) -> Path:
    from medsataug.preview import draw

    return draw(
        sample,
        [result for result, _ in shown],
        path,
        # A grid that nothing bends or turns would only hide the picture.
        positions=[
            plan.source_positions if any(s.spatial for s in plan.segments) else None
            for _, plan in shown
        ],
        title=f"medsataug {__version__}, recipe {pipeline.name or 'of your own'}",
    )


def _progress(items: range, quiet: bool) -> Iterator[int]:
    """Show a bar on a terminal, and nothing elsewhere."""
    if quiet or not sys.stderr.isatty() or len(items) < 2:
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("augmenting", total=len(items))
        for item in items:
            yield item
            bar.advance(task)
