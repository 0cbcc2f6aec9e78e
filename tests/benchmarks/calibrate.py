"""Measure how strong each operation of a policy must be to show as much as the others.

    python tests/benchmarks/calibrate.py [--domains medical,rgb] [--write]

What shows is the difference of what an eye takes in that does not compare pixel by pixel, in
windows of about 30 pixels: of local brightness, in standard deviations of the image, and of local
texture, as a part of the larger one, in that of four octaves that changes most; the root of the
mean of both squares' sum. A shift by 10 % shows as .1; contrast by the factor; noise, blur and
sharpening by the texture they add or take away; geometry by how far it carries something else into
a window. Both signs are among the draws. What comes into view from beyond the frame is left out.

(The root mean square difference of pixels will not do: by it, a turn by .9 degrees or a shift by 2
pixels is as strong as noise of 50 %.) Source: Zujovic, Pappas and Neuhoff, "Structural texture
similarity metrics for image analysis and retrieval", IEEE TIP 22 (2013): subbands are compared by
their statistics in a window, not point by point.

Magnitude m asks for .05 m. An operation that cannot show so much within its largest sensible
strength stays at that, marked *. Printed are the changes at each magnitude before (strengths in
equal steps up to the largest) and after, on draws that the calibration has not seen; ``--write``
stores strengths and changes in ``medsataug/policies``.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import medsataug as msa  # noqa: E402
from medsataug.transforms import _policies as policies  # noqa: E402
from medsataug.transforms._policies import MOST, Operation  # noqa: E402
from medsataug.transforms.base import ValueTransform  # noqa: E402

DATA = ROOT / "data_samples"
#: Visible change asked for by each step of magnitude.
STEP = 0.05
#: Draws that strengths are found with, and the first of those that they are checked with.
DRAWS, UNSEEN = 4, 100
#: An operation that shows so many times what is asked, and cannot show less, is left out there.
TOO_MUCH = 1.6
#: Strengths at which an operation is measured: that many, from the largest down to this part.
GRID, LEAST = 12, 1 / 256
#: Slices of a volume that are looked at, as parts of its height.
SLICES = (0.35, 0.5, 0.65)
#: Side of the patches that scenes are cut into, as for training, and their first pixels.
PATCH, CORNERS = 256, ((120, 60), (200, 256), (0, 150))
#: Octaves of texture; pixels between windows; and the part of the deviation that is hardly seen.
OCTAVES, EVERY, HARDLY = 4, 16, 0.02
#: What an abdominal CT is looked at with, in Hounsfield units.
WINDOW = (-160, 240)

#: A sample and its foreground, (C, …).
Seen = tuple[msa.Sample, Any]


@cache
def samples(domain: str, ndim: int) -> tuple[Seen, ...]:
    """Bundled images of a domain, and what of them is foreground."""
    if domain == "medical":
        volumes = _volumes()
        if ndim == 3:
            return volumes
        return tuple(_slice(v, part) for v in volumes for part in SLICES)
    scene = msa.load(DATA / "multispectral" / "scene.tif")
    image, valid, channels = np.asarray(scene.image), scene.valid, scene.channels
    if domain == "rgb":  # red, green and blue in eight bits, as photographs are stored
        low, high = np.percentile(image[:3], (1, 99))
        eight = np.clip((image[2::-1] - low) / (high - low) * 255, 0, 255).round()
        image, valid, channels = eight.astype(np.uint8), valid[2::-1], ("red", "green", "blue")
    if domain == "sar":  # amplitudes of what the infrared shows, with speckle of 16 looks
        looks = np.random.default_rng(0).gamma(16, 1 / 16, image[3].shape)
        image = np.sqrt(image[3].astype(np.float64) * looks)[None].astype(np.float32)
        valid, channels = valid[3:4], ("vv",)
    out = []
    for y, x in CORNERS:
        cut = (slice(None), slice(y, y + PATCH), slice(x, x + PATCH))
        made = _plain(image[cut], valid[cut], f"{domain} {y} {x}").replace(channels=channels)
        out.append((made, np.broadcast_to(valid[cut], made.image.shape)))
    return tuple(out)


def _plain(image: Any, valid: Any, name: str) -> msa.Sample:
    """Sample without data beyond its frame."""
    axes = "CZYX"[:1] + "ZYX"[1 - image.ndim :]
    return msa.Sample(image=image, axes=axes, valid=valid, id=name)


def _volumes() -> tuple[Seen, ...]:
    """Brain MRI and abdominal CT; foreground is what is brighter than the mean."""
    brain = msa.load([DATA / "mri" / "flair.nii.gz", DATA / "mri" / "t1.nii.gz"])
    chest = msa.load(DATA / "ct")
    chest = chest.replace(image=np.clip(np.asarray(chest.image), *WINDOW))
    out = []
    for sample, name in ((brain, "brain"), (chest, "abdomen")):
        image = np.asarray(sample.image)
        means = image.mean(axis=tuple(range(1, image.ndim)), keepdims=True)
        valid = np.ones((1, *image.shape[1:]), bool)
        out.append((sample.replace(valid=valid, id=name), image > means))
    return tuple(out)


def _slice(seen: Seen, part: float) -> Seen:
    sample, front = seen
    z = int(part * front.shape[1])
    image = np.ascontiguousarray(np.asarray(sample.image)[:, z])
    valid = np.ones((1, *image.shape[1:]), bool)
    return _plain(image, valid, f"{sample.id} {z}"), front[:, z]


def change(
    operation: Operation,
    domain: str,
    ndim: int,
    strength: float,
    first: int = 0,
    draws: int = DRAWS,
) -> float:
    """Mean visible change of an operation."""
    if not strength:
        return 0.0
    transform = operation.of_strength(strength)
    made, moves = msa.Pipeline([transform]), not isinstance(transform, ValueTransform)
    return float(
        np.nanmean(
            [
                visible(sample, made(sample, seed=1, index=index), front, moves)
                for sample, front in samples(domain, ndim)
                for index in range(first, first + draws)
            ]
        )
    )


def visible(sample: msa.Sample, after: msa.Sample, front: Any, moved: bool = False) -> float:
    """Visible change over the foreground, (C, …) True, from one sample to another.

    Where it ``moved``, the finest octave does not count: interpolation dims it, and by as much
    however little moves.
    """
    seen = np.broadcast_to(sample.valid, front.shape)
    if after.valid is not None:
        seen = seen & after.valid
    means, textures = [np.empty(0)], [np.empty((OCTAVES, 0))]
    for c, (x, y) in enumerate(zip(np.asarray(sample.image), after.image, strict=True)):
        scale = sample.facts.distribution(c).std
        for z in _looked_at(x.shape):
            valid = seen[c][z]
            at = (_blocks(valid, EVERY) == 1) & (_blocks(front[c][z], EVERY) > 0.5)
            (m, s), (n, t) = (_features(v[z] / scale, valid) for v in (x, y))
            means.append((n - m)[at])
            textures.append(((t - s) / (np.maximum(s, t) + HARDLY))[:, at])
    mean, texture = np.concatenate(means), np.concatenate(textures, axis=1)
    if not mean.size:
        return float("nan")  # all of it left the frame
    return float(np.sqrt(np.mean(mean**2) + np.mean(texture[moved:] ** 2, axis=1).max()))


def _looked_at(shape: tuple[int, ...]) -> list[Any]:
    return [int(part * shape[0]) for part in SLICES] if len(shape) == 3 else [...]


def _features(image: Any, valid: Any) -> tuple[Any, Any]:
    """Local mean, and (4, …) local deviation of each octave, of an image (Y, X).

    Octaves are those of a Laplacian pyramid (Burt and Adelson 1983).
    """
    level, weight = np.where(valid, image, 0).astype(np.float32), valid.astype(np.float32)
    energy = []
    for k in range(OCTAVES):
        near = _smooth(weight, 1.5)
        low = _smooth(level * weight, 1.5) / np.maximum(near, 1e-6)
        band = (level - low) * (weight > 0.5)
        energy.append(_smooth(_blocks(band**2, EVERY >> k), 1))
        level, weight = low[::2, ::2], near[::2, ::2]
    return level, np.sqrt(np.stack(energy))  # of a grid of windows


def _blocks(image: Any, side: int) -> Any:
    """Mean of blocks of ``side`` by ``side``."""
    y, x = (-(-n // side) for n in image.shape)
    more = ((0, y * side - image.shape[0]), (0, x * side - image.shape[1]))
    full = np.pad(image.astype(np.float32), more, mode="edge")
    return full.reshape(y, side, x, side).mean(axis=(1, 3))


def _smooth(image: Any, sigma: float) -> Any:
    return gaussian_filter(image, sigma, truncate=3)


def calibrated(operation: Operation, domain: str, ndim: int) -> tuple[list[float], list[float]]:
    """Strengths at m = 0 … 10; and what equal steps of strength would show there."""
    grid = operation.limit * np.geomspace(LEAST, 1, GRID)
    # What shows less at a larger strength, by chance, shows as much.
    rising = np.maximum.accumulate(
        [0.0, *(change(operation, domain, ndim, float(s)) for s in grid)]
    )
    at = np.array([0.0, *grid])
    m = np.arange(MOST + 1)
    strengths = np.interp(STEP * m, rising, at)
    strengths[STEP * m > rising[-1]] = operation.limit
    strengths[0] = 0  # also where the least strengths are lost in rounding
    equal = np.interp(operation.limit * m / MOST, at, rising)
    return [float(f"{s:.3g}") for s in strengths], equal.tolist()


def calibrate(domain: str, ndim: int) -> dict[str, tuple[list[float], list[float]]]:
    """Strengths and changes of all operations of a domain; prints its table."""
    print(f"### {domain}, {ndim}D\n\n| operation | | " + " | ".join(f"m = {m}" for m in _SHOWN))
    print("| --- " * (2 + len(_SHOWN)) + "|", flush=True)
    out = {}
    for name, operation in policies.space(domain).items():
        strengths, equal = calibrated(operation, domain, ndim)
        got = [change(operation, domain, ndim, s, UNSEEN) for s in strengths]
        for m, shown in enumerate(got):
            if shown > TOO_MUCH * STEP * m:  # the least it can do, such as one voxel fewer
                strengths[m] = got[m] = 0.0
        out[name] = (strengths, [float(f"{v:.3f}") for v in got])
        capped = [s >= operation.limit for s in strengths]
        rows = (
            (
                "strength",
                [f"{s:g}{'*' if c else ''}" for s, c in zip(strengths, capped, strict=True)],
            ),
            ("before", [f"{v:.3f}" for v in equal]),
            ("after", [f"{v:.3f}" for v in got]),
        )
        for what, cells in rows:
            print(f"| {name} | {what} | " + " | ".join(cells[m] for m in _SHOWN) + " |", flush=True)
    print()
    return out


_SHOWN = (1, 3, 5, 7, 10)


def write(domain: str, found: dict[int, dict[str, tuple[list[float], list[float]]]]) -> None:
    """Store strengths and changes in the domain's file; the rest of it stays."""
    lines = [
        f"# {policies.read(domain)['about']}.",
        *_HEADER,
        f"about: {_flow(policies.read(domain)['about'])}",
    ]
    lines.append("operations:")
    for name, given in policies.read(domain)["operations"].items():
        kept = {k: v for k, v in given.items() if k not in ("strengths", "changes")}
        lines.append(f"  {name}:")
        lines += [f"    {key}: {_flow(value)}" for key, value in kept.items()]
        for key, which in (("strengths", 0), ("changes", 1)):
            lines.append(f"    {key}:")
            lines += [f"      {ndim}: {_flow(table[name][which])}" for ndim, table in found.items()]
    (policies.FOLDER / f"{domain}.yaml").write_text("\n".join([*lines, ""]), encoding="utf-8")


_HEADER = (
    "# Strengths at magnitudes 0 to 10 and the visible changes they make, by the number of axes,",
    "# are written by tests/benchmarks/calibrate.py; the rest by hand.",
)


def _flow(value: Any) -> str:
    import yaml

    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return dumped.removesuffix("\n").removesuffix("\n...")


def main() -> None:
    """Calibrate, print, and write where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--domains", default=",".join(policies.DOMAINS))
    parser.add_argument("--write", action="store_true", help="store in medsataug/policies")
    args = parser.parse_args()
    for domain in args.domains.split(","):
        found = {
            ndim: calibrate(domain, ndim) for ndim in ((2, 3) if domain == "medical" else (2,))
        }
        if args.write:
            write(domain, found)


if __name__ == "__main__":
    main()
