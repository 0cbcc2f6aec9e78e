"""Augmented copies on disk: a folder each, complete or absent, resumed and replayed by record."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medsataug import __version__, io, recipes
from medsataug.errors import ConfigError, FormatError
from medsataug.pipeline import Pipeline
from medsataug.plan import Plan
from medsataug.types import Sample

RECORD = "record.json"
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
) -> dict[str, Any]:
    """Write ``count`` copies into ``out/copy_0000`` …; finished ones of the same settings stay.

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
    made, shown = [], []
    for index in _progress(range(count), quiet):
        folder, started = out / f"copy_{index:04d}", time.perf_counter()
        plan = pipeline.plan(sample, seed, index)
        record = _record(plan, pipeline, sample)
        finished = _finished(folder, record)
        if finished is False and not overwrite:
            raise FormatError(
                f"{folder}: holds a copy made with other settings or from another image; choose "
                "another --out, or give --overwrite"
            )
        if finished is not True or (preview and len(shown) < SHOWN):
            with _compiling(quiet):
                result = plan(sample)
            result.record = record
            if preview and len(shown) < SHOWN:
                shown.append((result, plan))
            if finished is not True:
                _write_whole(result, folder)
        files = sorted(str(p) for p in folder.iterdir())
        made.append(
            {
                "folder": str(folder),
                "files": files,
                "index": index,
                "seed": seed,
                "skipped": finished is True,
                "seconds": round(time.perf_counter() - started, 3),
            }
        )
    picture_path = None
    if preview:
        picture_path = str(_draw(sample, shown, out / "preview.png", pipeline))
    return {"copies": made, "preview": picture_path}


def summary(result: dict[str, Any]) -> str:
    """Say what `write` did, in a few lines."""
    copies = result["copies"]
    new = [c for c in copies if not c["skipped"]]
    lines = []
    if new:
        names = ", ".join(Path(f).name for f in new[0]["files"])
        lines.append(f"wrote {len(new)} copies to {Path(new[0]['folder']).parent}: {names} each")
    if len(new) < len(copies):
        lines.append(f"kept {len(copies) - len(new)} finished copies")
    if result["preview"]:
        lines.append(f"picture: {result['preview']}")
    return "\n".join(lines)


def picture(sample: Sample, pipeline: Pipeline, path: Path, *, count: int, seed: int) -> Path:
    """Draw original and copies, and write nothing else."""
    shown = []
    for index in range(count):
        plan = pipeline.plan(sample, seed, index)
        with _compiling(False):
            shown.append((plan(sample), plan))
    return _draw(sample, shown, path, pipeline)


def replay(record: Path, sample: Sample, out: Path) -> list[Path]:
    """Make the copy of a record again from its image.

    Raises
    ------
    ConfigError
        Where the record is none, or the image is another than the copy was made from.
    """
    try:
        given = json.loads(Path(record).read_text(encoding="utf-8"))
        plan = Plan.from_json(json.dumps(given["plan"]))
        digest = given["digest"]
    except FileNotFoundError:
        raise FormatError(f"{record}: there is no such file") from None
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        if isinstance(error, ConfigError):
            raise ConfigError(f"{record}: {error}") from None
        raise ConfigError(f"{record}: not the record of a copy (record.json)") from None
    if sample.digest != digest:
        raise ConfigError(
            f"{record}: this copy was made from another image or label (content digest {digest}, "
            f"given {sample.digest}); give the same files in the same order"
        )
    result = plan(sample)
    result.record = given
    return io.save(result, out)


def _record(plan: Plan, pipeline: Pipeline, sample: Sample) -> dict[str, Any]:
    from medsataug.execute import record

    return record(plan, sample) | {
        "digest": sample.digest,
        "recipe_text": recipes.text(pipeline),
        "plan": json.loads(plan.to_json()),
    }


def _finished(folder: Path, record: dict[str, Any]) -> bool | None:
    """Whether the folder holds this very copy; None where there is no folder."""
    if not folder.exists():
        return None
    try:
        known = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    same = json.loads(json.dumps(record, default=str))
    return bool(known == same)


def _write_whole(result: Sample, folder: Path) -> None:
    """Write a copy beside its place, then rename the folder: it appears whole or not at all."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        io.save(result, part)
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    except OSError as error:
        if isinstance(error, FormatError):
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full" if full else f"cannot be written ({error.strerror})"
        told = FormatError(f"{folder}: {what}; nothing of this copy was kept")
        told.errno = error.errno
        raise told from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _draw(
    sample: Sample, shown: list[tuple[Sample, Plan]], path: Path, pipeline: Pipeline
) -> Path:
    from medsataug.preview import draw

    path.parent.mkdir(parents=True, exist_ok=True)
    return draw(
        sample,
        [result for result, _ in shown],
        path,
        positions=[plan.source_positions for _, plan in shown],
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


@contextmanager
def _compiling(quiet: bool) -> Iterator[None]:
    """Say that the first run compiles, and for how long it did."""
    from medsataug.kernels.jit import is_warm

    if quiet or is_warm():
        yield
        return
    print("compiling kernels for this machine (the first run only) …", file=sys.stderr)
    started = time.perf_counter()
    yield
    print(f"compiled in {time.perf_counter() - started:.0f} s", file=sys.stderr)
