"""What a warp's time and memory depend on, and what they should not depend on."""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
import peers
import processes
import workloads
from turns import Times, ms, table, take_turns

SIZES = (64, 96, 128, 192, 256)
CLASSES = (2, 20, 200)
SOURCES = ((160, 160, 160), (240, 240, 155), (400, 400, 400))
CHANNELS = 4
#: Source over output, along each axis: what a turn by 15° and a scale of 0.9 reach.
AROUND = 1.25
#: Side of the label's regions, in voxels.
REGION = 12


def volume(shape: tuple[int, ...], channels: int = CHANNELS, dtype: str = "float32") -> np.ndarray:
    """(C, Z, Y, X) noise, the same a voxel whatever the shape."""
    rng = np.random.default_rng(0)
    image = np.empty((channels, *shape), dtype)
    for plane in image.reshape(-1, *shape[1:]):
        plane[...] = (rng.random(shape[1:], np.float32) * 1000).astype(dtype)
    return image


def regions(shape: tuple[int, ...], classes: int = CLASSES[0]) -> np.ndarray:
    """(Z, Y, X) uint8: the same uneven regions whatever the number of classes.

    Regions that share a face are not of one class: they are coloured as a chessboard is, with half
    of the classes for each colour, so that 2 classes have as much surface as 200 (within 3 %).
    """
    rng = np.random.default_rng(1)
    axes = [np.arange(n, dtype=np.float32) for n in shape]
    # Walls are waves, not planes: a vote meets every kind of corner.
    waves = [4 * np.sin(a / 7 + k) for k, a in enumerate(axes)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    wz, wy, wx = np.meshgrid(*waves, indexing="ij", sparse=True)
    cells = [((a + w + 8) // REGION).astype(np.intp) for a, w in ((z, wy), (y, wx), (x, wz))]
    cells = np.broadcast_arrays(*cells)
    colour = (cells[0] + cells[1] + cells[2]) % 2
    many = [int(c.max()) + 1 for c in cells]
    picked = rng.permutation(math.prod(many)).reshape(many) % (classes // 2)
    return (2 * picked[tuple(cells)] + colour).astype(np.uint8)


def warp(
    image: np.ndarray, label: np.ndarray, patch: int, first: list[Any], foreground: float = 0.0
) -> peers.Call:
    """`first` transforms, then a patch, in the middle unless in the `foreground`; new draws."""
    import medsataug as msa

    mode = "random" if foreground else "center"
    cut = msa.Patch(size=patch, mode=mode, foreground=foreground)
    pipeline, index = msa.Pipeline([*first, cut]), itertools.count()
    sample = msa.Sample(image=image, label=label, axes="CZYX", spacing=(1, 1, 1), id="bench")
    return lambda: pipeline(sample, seed=1, index=next(index))


def turned() -> list[Any]:
    """The turn, scale and elastic part of the other rows."""
    import medsataug as msa

    degrees = workloads.DEGREES
    return [
        msa.Rotate(degrees=(-degrees, degrees)),
        msa.Scale(factor=workloads.SCALE),
        msa.Elastic(spacing=workloads.LATTICE, magnitude=workloads.MAGNITUDE),
    ]


def timed(
    calls: dict[str, peers.Call], args: argparse.Namespace
) -> tuple[dict[str, float], dict[str, float]]:
    """Median and least seconds of each call on the fewest threads asked, taking turns, warm."""
    for call in calls.values():
        call()
    count = args.threads[0]
    times: Times = take_turns(calls, [count], args.repeats)
    middle = {name: statistics.median(times[name, count]) for name in calls}
    return middle, {name: min(times[name, count]) for name in calls}


def both(middle: float, best: float, show: str = "+.0%") -> str:
    """One figure from medians, and from the least times in brackets."""
    return f"{middle:{show}} ({best:{show}})"


def sizes(args: argparse.Namespace) -> Iterator[str]:
    calls = {}
    for side in SIZES:
        source = (round(side * AROUND),) * 3
        calls[f"{side}³"] = warp(volume(source), regions(source), side, turned())
    found = timed(calls, args)
    each = [{n: s / (CHANNELS * int(n[:-1]) ** 3) * 1e9 for n, s in f.items()} for f in found]
    off = [{n: v / statistics.median(e.values()) - 1 for n, v in e.items()} for e in each]
    yield f"### Warp time by output size: {CHANNELS} channels + label, source 1.25 × as wide\n"
    rows = []
    for name in calls:
        a_voxel, away = (both(m[name], b[name], s) for (m, b), s in ((each, ".1f"), (off, "+.0%")))
        rows.append([name, ms(found[0][name]), a_voxel, away, "±15 %"])
    yield from table(["output", "ms", "ns a voxel and channel", "off their median", "asked"], rows)


def classes(args: argparse.Namespace) -> Iterator[str]:
    shape = (160, 160, 160)
    image, labels = volume(shape), {n: regions(shape, n) for n in CLASSES}
    walls = {n: np.mean(a[:, :, 1:] != a[:, :, :-1]) for n, a in labels.items()}
    if max(walls.values()) > 1.03 * min(walls.values()) or any(
        len(np.unique(a)) != n for n, a in labels.items()
    ):
        raise AssertionError("labels that are compared have other surfaces or numbers of classes")
    calls = {str(n): warp(image, label, 128, turned()) for n, label in labels.items()}
    alone = {f"{n}, label": warp(image[:1], a, 128, turned()) for n, a in labels.items()}
    found = timed(calls | alone, args)
    yield "### The same warp by number of classes: 160³ → 128³, regions of the same surface\n"
    rows = []
    for name in calls:
        row = [name]
        for suffix in ("", ", label"):
            base, own = f"{CLASSES[0]}{suffix}", f"{name}{suffix}"
            row += [ms(found[0][own]), both(*(f[own] / f[base] - 1 for f in found))]
        rows.append([*row, "±10 %"])
    header = ["classes", f"{CHANNELS} channels + label, ms", "off 2 classes"]
    yield from table([*header, "1 channel + label, ms", "off 2 classes", "asked"], rows)


def planned(image: np.ndarray, label: np.ndarray) -> peers.Call:
    """The plan of such a warp alone."""
    import medsataug as msa

    pipeline = msa.Pipeline([*turned(), msa.Patch(size=128, foreground=0.33)])
    sample = msa.Sample(image=image, label=label, axes="CZYX", spacing=(1, 1, 1), id="bench")
    index = itertools.count()
    return lambda: pipeline.plan(sample, seed=1, index=next(index))


def sources(args: argparse.Namespace) -> Iterator[str]:
    calls, plans = {}, {}
    for dtype, shape in itertools.product(("int16", "float32"), SOURCES):
        name = f"{'×'.join(map(str, shape))} {dtype}"
        image, label = volume(shape, 1, dtype), regions(shape)
        calls[name] = warp(image, label, 128, turned(), foreground=0.33)
        plans[f"{name}, plan"] = planned(image, label)
    found = timed(calls | plans, args)
    yield "### A 128³ patch from sources of other sizes: 1 channel + label, facts known\n"
    rows = []
    for name in calls:
        base = f"{'×'.join(map(str, SOURCES[0]))} {name.split()[-1]}"
        off = both(*(f[name] / f[base] for f in found), ".2f")
        rows.append([name, ms(found[0][name]), off, "1", ms(found[0][f"{name}, plan"])])
    yield from table(["source", "ms", "÷ 160³", "asked", "of which the plan, ms"], rows)


def rotations(args: argparse.Namespace) -> Iterator[str]:
    import medsataug as msa

    def by(z: float = 0, y: float = 0, x: float = 0) -> list[Any]:
        # Half a voxel aside, so that no turn comes down to a copy.
        return [msa.Rotate(degrees={"z": z, "y": y, "x": x}), msa.Translate(offset=0.5)]

    turns = {
        "none, half a voxel aside": [msa.Translate(offset=0.5)],
        "15° about z": by(z=15), "15° about y": by(y=15), "15° about x": by(x=15),
        "45° about z": by(z=45), "45° about y": by(y=45), "45° about x": by(x=45),
        "45° about all three": by(45, 45, 45),
        "90.5° about z": by(z=90.5), "90.5° about y": by(y=90.5), "90.5° about x": by(x=90.5),
    }  # fmt: skip
    shape = (224, 224, 224)  # no corner of the patch ever leaves it
    image, label = volume(shape), regions(shape)
    calls = {name: warp(image, label, 128, first) for name, first in turns.items()}
    middle, least = timed(calls, args)
    best, worst = min(least, key=least.__getitem__), max(least, key=least.__getitem__)
    yield f"### Rotations: {CHANNELS} × 224³ float32 → 128³ + label, no elastic part\n"
    rows = [
        [name, ms(taken), both(taken / middle[best], least[name] / least[best], ".2f")]
        for name, taken in middle.items()
    ]
    yield from table(["turn", "ms", "÷ best"], rows)
    worse = both(middle[worst] / middle[best], least[worst] / least[best], ".2f")
    yield f"Worst ({worst}) ÷ best ({best}): {worse}; asked: 1.25 at most.\n"


def memory(args: argparse.Namespace) -> Iterator[str]:
    yield "### Memory over input + output, in a fresh process, one thread\n"
    rows = []
    for what, side, asked in processes.OWN_MEMORY:
        try:
            got = processes.own_memory(what, side)
        except processes.Failed as error:
            rows.append([f"{what}, {side}³", f"not measured: {error}", "", ""])
        else:
            rows.append([f"{what}, {side}³", f"{got['data']:.0f}", f"{got['over']:.1f}", asked])
    yield from table(["", "input + output, MB", "more at its peak, MB", "asked"], rows)


def row(args: argparse.Namespace) -> Iterator[str]:
    for part in (sizes, classes, sources, rotations, memory):
        yield from part(args)
    yield "All calls of one table take turns with the same draws: medians of planning and executing"
    yield "on the fewest threads asked for; in brackets, from the least times."


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--repeats", type=int, default=9)
    asked.add_argument("--threads", type=int, nargs="+", default=[1])
    asked.add_argument("--only", nargs="*", default=[])
    given = asked.parse_args()
    known = (sizes, classes, sources, rotations, memory)
    for part in [p for p in known if not given.only or p.__name__ in given.only]:
        print("\n".join(part(given)), flush=True)
