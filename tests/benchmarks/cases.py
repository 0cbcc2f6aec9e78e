"""Reading a patch of a stored case against reading the case's files.

``python tests/benchmarks/cases.py`` prints both, and what a patch costs with nnU-Net's recipe;
``--chunks`` compares chunks, blocks and packings, of which `medsataug.cases.chunked` names the
fastest.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import nibabel
import numpy as np

import medsataug as msa
from medsataug import cases
from medsataug.cases import chunked

SHAPE, SIZE = (155, 240, 240), 128


def brain(folder: Path) -> cases.CaseSet:
    """Write four sequences and a label in BraTS's frame; real ones where they are given."""
    data = os.environ.get("MEDSATAUG_REAL_DATA")
    if data:
        given = cases.find(Path(data) / "mri_ms_brain")[0].load()
        stack, label = np.asarray(given.image), np.asarray(given.label)
    else:
        rng = np.random.default_rng(0)
        stack = rng.gamma(4, 60, (4, 182, 218, 182)).astype(np.float32)
        grid = np.stack(
            np.meshgrid(*[np.linspace(-1, 1, n) for n in stack.shape[1:]], indexing="ij")
        )
        stack[:, (grid**2).sum(axis=0) > 0.6] = 0
        label = (rng.random(stack.shape[1:]) < 0.01).astype(np.uint8)
    for number, values in enumerate([*stack, label]):
        framed = np.zeros(SHAPE, values.dtype)
        framed[:, 11:229, 29:211] = values[13:168]
        name = "case-seg" if number == 4 else f"case-s{number}"
        path = folder / "case" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(framed.T, np.eye(4)), path)
    return cases.find(folder)


def windows(count: int) -> list[tuple[slice, ...]]:
    """Where patches lie."""
    rng = np.random.default_rng(1)
    starts = rng.integers(0, np.array(SHAPE) - SIZE + 1, (count, 3)).tolist()
    return [tuple(slice(a, a + SIZE) for a in start) for start in starts]


def timed(calls: dict[str, Callable[[int], Any]], repeats: int) -> dict[str, float]:
    """Median milliseconds of calls that take turns; the first of each warms up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number, (name, call) in itertools.product(range(repeats + 1), calls.items()):
        start = time.perf_counter()
        call(number)
        if number:
            taken[name].append((time.perf_counter() - start) * 1e3)
    return {name: median(times) for name, times in taken.items()}


def row(args: argparse.Namespace) -> Iterator[str]:
    """Yield a Markdown table for each number of threads."""
    with tempfile.TemporaryDirectory() as name:
        found = brain(Path(name) / "files")
        start = time.perf_counter()
        kept = cases.cached(found, Path(name) / "cache")
        stored_s = time.perf_counter() - start
        size = sum(f.stat().st_size for f in (Path(name) / "cache").rglob("*") if f.is_file())
        files = sum(f.stat().st_size for f in (Path(name) / "files").rglob("*.gz"))
        memory, lazy = found[0].load(), kept[0].load()
        places, recipe = windows(args.repeats + 1), msa.Pipeline.load("nnunet")
        for where in places[:3]:
            np.testing.assert_array_equal(lazy.image.read(where), memory.image[:, *where])

        def augmented(case: Callable[[], msa.Sample], number: int) -> None:
            recipe(case(), seed=0, index=number)

        yield f"### A patch (4, {SIZE}, {SIZE}, {SIZE}) of a case (4, 155, 240, 240)\n"
        yield "| job | threads | ms | files ÷ it |"
        yield "| --- | --- | --- | --- |"
        for threads in args.threads:
            msa.set_threads(threads)
            reading = timed(
                {
                    "read the .nii.gz files": lambda _: found[0].read(),
                    "open a stored case": lambda _: kept[0].load(),
                    "read a patch and its label": lambda n: (
                        lazy.image.read(places[n]),
                        lazy.label.read(places[n]),
                    ),
                    "copy it from memory": lambda n: memory.image[:, *places[n]].copy(),
                },
                args.repeats,
            )
            making = timed(
                {
                    "nnunet, from the files": lambda n: augmented(found[0].read, n),
                    "nnunet, stored": lambda n: augmented(kept[0].load, n),
                    "nnunet, in memory": lambda n: augmented(lambda: memory, n),
                },
                args.repeats,
            )
            for times in (reading, making):
                whole = next(iter(times.values()))
                for job, ms in times.items():
                    yield f"| {job} | {threads} | {ms:.1f} | {whole / ms:.1f} |"
        yield ""
        yield f"Storing took {stored_s:.1f} s; {size / 2**20:.0f} MB against {files / 2**20:.0f} MB"
        yield "as .nii.gz. Medians of calls that took turns; the files are in the system's cache.\n"


def chunks(repeats: int) -> Iterator[str]:
    """Yield a table of packings, chunks and blocks, read on one thread."""
    library = chunked.blosc2()
    with tempfile.TemporaryDirectory() as name:
        image = np.asarray(brain(Path(name))[0].load().image)
        places = windows(repeats + 1)
        yield "| packing | chunk | block | write, s | MB | read, ms |"
        yield "| --- | --- | --- | --- | --- | --- |"
        packings = [("LZ4", 1), ("LZ4", 5), ("ZSTD", 1), ("ZSTD", 5)]
        sizes = [(64, 32), (64, 16), (128, 32), (32, 32), (240, 32)]
        for (codec, level), (chunk, block) in itertools.product(packings, sizes):
            path = Path(name) / "x.b2nd"
            packing = library.CParams(
                codec=library.Codec[codec], clevel=level, filters=[library.Filter.SHUFFLE]
            )
            start = time.perf_counter()
            library.asarray(
                image, urlpath=str(path), mode="w", cparams=packing,
                chunks=(1, *(min(chunk, n) for n in SHAPE)), blocks=(1, block, block, block),
            )  # fmt: skip
            wrote = time.perf_counter() - start
            (ms,) = timed({"": lambda n, p=path: chunked.read(p, places[n])}, repeats).values()
            chunked.forget(path.parent)
            size = path.stat().st_size / 2**20
            yield f"| {codec} {level} | {chunk} | {block} | {wrote:.2f} | {size:.0f} | {ms:.1f} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--chunks", action="store_true")
    given = parser.parse_args()
    for line in chunks(given.repeats) if given.chunks else row(given):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
