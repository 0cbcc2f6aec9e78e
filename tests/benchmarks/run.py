"""Time medsataug and its peers side by side and print Markdown tables.

    python tests/benchmarks/run.py [--rows 3d,2d,...] [--threads 1,2] [--repeats 15] [--write FILE]

Everything that one table compares takes turns in one run (A B C A B C ...), so that a busy
machine slows all alike; figures are medians. README.md says what is compared and why.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also as python -m tests.benchmarks.run
sys.path.insert(1, str(Path(__file__).resolve().parents[2]))  # the checkout, where not installed
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
).rstrip(os.pathsep)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices of 3 × 3: threads only cost

import accuracy
import chains
import feed
import files
import peers
import processes
import recipes
import scaling
import stencils
import workloads
from turns import OURS, missing, ms, prepare, ratio, table, take_turns, why_not

#: What the project asks of the 3D warp on one thread: time of the tool ÷ ours, at least.
ASKED = {
    "batchgeneratorsv2, argmax": "18",
    "MONAI": "50",
    "TorchIO, crop first": "100",
    "crop copy": "0.143 (1/7)",
}


def row_3d(args: argparse.Namespace) -> Iterator[str]:
    work = workloads.volume()
    calls, absent = prepare(work)
    times = take_turns(calls, args.threads, args.repeats)
    middle = {key: statistics.median(taken) for key, taken in times.items()}
    yield f"### Joint warp, 3D: {work.name}\n"
    header, rows = ["tool"], []
    for count in args.threads:
        label = f"{count} thread{'s' if count > 1 else ''}"
        header += [f"{label}, ms", "÷ ours"]
    header += ["asked", "speed-up by threads", "runs"]
    first, last = args.threads[0], args.threads[-1]
    for name in calls:
        row = [name]
        for count in args.threads:
            row += [ms(middle[name, count]), ratio(middle[name, count], middle.get((OURS, count)))]
        gain = f"{middle[name, first] / middle[name, last]:.2f}" if last != first else ""
        asked = "1.8 by threads" if name == OURS else ASKED.get(name, "")
        rows.append([*row, asked, gain, str(len(times[name, first]))])
    yield from table(header, rows)
    yield from missing(absent)


def row_2d(args: argparse.Namespace) -> Iterator[str]:
    works = [workloads.raster(size, bands) for size in (256, 512, 1024) for bands in (3, 8, 13)]
    works += [workloads.raster(512, bands, "uint16") for bands in (3, 8, 13)]
    cells: dict[int, list[list[str]]] = {count: [] for count in args.threads}
    absent: dict[str, list[str]] = {}
    names = [n for n in peers.TOOLS if not n.startswith("TorchIO")]
    for work in works:
        calls, reasons = prepare(work)
        for name, why in reasons.items():
            if name in names:
                absent.setdefault(f"{name}: {why}", []).append(work.name)
        times = take_turns(calls, args.threads, args.repeats)
        middle = {key: statistics.median(taken) for key, taken in times.items()}
        for count, rows in cells.items():
            base = middle.get((OURS, count))
            row = [work.name]
            for name in names:
                value = middle.get((name, count))
                share = f" ({ratio(value, base)})" if value and base and name != OURS else ""
                row.append("–" if value is None else ms(value) + share)
            rows.append(row)
    for count, rows in cells.items():
        yield f"### Joint warp, 2D, {count} thread{'s' if count > 1 else ''}: ms (÷ ours)\n"
        yield from table(["workload", *names], rows)
    yield "Asked of one thread: Albumentations ÷ ours at least 2 with 3 bands, 3 with 8 and 13."
    yield ""
    yield "- TorchIO: does not apply: volumes only"
    for why, where in absent.items():
        yield f"- {why}: {'everywhere' if len(where) == len(works) else '; '.join(where)}"
    yield ""


def row_accuracy(args: argparse.Namespace) -> Iterator[str]:
    yield "### Accuracy: rotation by 11° about Z with scale 1.07, elastic off\n"
    yield "Errors as parts of the image's range: against float64 linear interpolation at the exact"
    yield "coordinates, and against the analytic field itself. Label: voxels that differ from the"
    yield "exact argmax, near-ties left out. 2D: eight float32 bands.\n"
    rows, absent = [], {}
    for ndim in (3, 2):
        for name, warp in accuracy.WARPS.items():
            try:
                found = accuracy.measure(warp, ndim)
            except Exception as error:
                absent[f"{ndim}D {name}"] = why_not(error)
            else:
                errors = (found.linear_max, found.linear_mean, found.field_max, found.field_mean)
                row = [f"{ndim}D", name, *(f"{e:.1e}" for e in errors)]
                rows.append([*row, f"{100 * found.label:.3g} %", found.centre])
    header = "linear max|linear mean|analytic max|analytic mean|label differs|centre".split("|")
    yield from table(["", "tool", *header], rows)
    yield from missing(absent)


def row_plan(args: argparse.Namespace) -> Iterator[str]:
    import medsataug as msa

    work = workloads.volume()
    pipeline = msa.Pipeline(
        [
            msa.Rotate(degrees=(-15, 15)),
            msa.Scale(factor=(0.9, 1.1)),
            msa.Flip(axes="y"),
            msa.Elastic(spacing=32, magnitude=5),
            msa.Patch(size=(128, 128, 128), foreground=0.33),
            msa.IntensityScale(gain=(0.9, 1.1)),
            msa.Gamma(exponent=(0.7, 1.5), p=0.3),
            msa.GaussianNoise(std=("0%", "10%")),
        ]
    )
    sample = msa.Sample(
        image=work.image, label=work.label, axes="CZYX", spacing=(1.0,) * 3, id="bench"
    )
    taken = []
    for index in range(1 + max(args.repeats, 50)):
        start = time.perf_counter()
        pipeline.plan(sample, seed=1, index=index)
        taken.append(time.perf_counter() - start)
    yield "### Planning eight transforms\n"
    rows = [["first, which reads the case's facts", ms(taken[0])]]
    rows.append(["each later one, median", ms(statistics.median(taken[1:]))])
    yield from table([f"plan of a {work.name}", "ms"], rows)


def row_import(args: argparse.Namespace) -> Iterator[str]:
    yield f"### Fresh processes, {args.repeats} of each in turn\n"
    rows = []
    for name, taken in processes.import_times(args.repeats).items():
        if isinstance(taken, str):
            rows.append([name, f"failed: {taken}", ""])
        else:
            rows.append([name, ms(min(taken)), ms(statistics.median(taken))])
    yield from table(["command", "best, ms", "median, ms"], rows)


def row_cli(args: argparse.Namespace) -> Iterator[str]:
    yield "### Command line, end to end, on the bundled samples\n"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in processes.cli_cases(Path(folder)).items():
            try:
                processes.command(arguments)
                runs = [processes.command(arguments) for _ in range(min(args.repeats, 5))]
            except processes.Failed as error:
                rows.append([name, f"failed: {error}", ""])
            else:
                seconds, peak = (statistics.median(v) for v in zip(*runs, strict=True))
                rows.append([name, f"{seconds:.2f}", f"{peak:.0f}"])
    yield from table(["`medsataug augment` of", "wall, s", "peak, MB"], rows)


def row_memory(args: argparse.Namespace) -> Iterator[str]:
    yield "### Peak memory of one 3D warp, in a fresh process, one thread\n"
    rows = []
    for name in peers.TOOLS:
        try:
            got = processes.memory(name)
        except processes.Failed as error:
            rows.append([name, f"not measured: {error}", "", ""])
        else:
            row = [name, f"{got['data']:.0f}", f"{got['peak']:.0f}"]
            rows.append([*row, f"{got['peak'] / got['data']:.2f}"])
    yield from table(["tool", "input + output, MB", "peak, MB", "peak ÷ data"], rows)


ROWS: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "3d": row_3d,
    "2d": row_2d,
    "chains": chains.row,
    "stencils": stencils.row,
    "scaling": scaling.row,
    "files": files.row,
    "recipes": recipes.row,
    "feed": feed.row,
    "accuracy": row_accuracy,
    "plan": row_plan,
    "import": row_import,
    "cli": row_cli,
    "memory": row_memory,
}


def machine() -> str:
    info = Path("/proc/cpuinfo")
    names = [x for x in info.read_text().splitlines() if "model name" in x] if info.exists() else []
    processor = names[0].split(":")[1].strip() if names else platform.processor()
    python = f"Python {platform.python_version()}"
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}, {python}"


def main() -> None:
    def listed(text: str) -> list[Any]:
        return [part.strip() for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=listed, default=list(ROWS), help=", ".join(ROWS))
    parser.add_argument("--threads", type=lambda t: [int(n) for n in listed(t)], default=[1, 2])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--write", type=Path, help="also write the tables to this file")
    args = parser.parse_args()
    if unknown := set(args.rows) - set(ROWS):
        parser.error(f"--rows: {', '.join(sorted(unknown))} unknown; known: {', '.join(ROWS)}")
    warnings.simplefilter("ignore")  # the peers' deprecations
    lines = [f"# Benchmark results, {datetime.date.today()}", "", f"- {machine()}"]
    print("\n".join(lines), flush=True)
    for name in args.rows:
        try:
            found = list(ROWS[name](args))
        except (ImportError, AttributeError) as error:
            found = [f"### {name}\n", f"Not run: {error}.\n"]
        print("\n".join(["", *found]), flush=True)
        lines += ["", *found]
    lines.insert(3, f"- {peers.versions()}")
    print(lines[3])
    if args.write:
        args.write.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
