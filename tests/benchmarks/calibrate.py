"""Measure how strong each operation of a policy must be to show as much as the others.

    python tests/benchmarks/calibrate.py [--domains medical,rgb] [--write]

What shows is the difference of what an eye takes in that does not compare pixel by pixel: of local
brightness, and of local texture in four octaves, in windows of about 20 pixels. A shift by 10 % of
the image's standard deviation shows as .1, a contrast of 1.3 as about .3; noise and blur show by
the share of the texture that they add or take away; geometry shows as far as it carries something
else into a window. (By the root mean square difference of pixels, a turn by .9 degrees is as strong
as noise of 50 %.) Both signs are among the draws; what comes into view from beyond the frame is
left out. Source: Zujovic, Pappas and Neuhoff, "Structural texture similarity metrics for image
analysis and retrieval", IEEE TIP 22 (2013), section III: similarity of subbands without their
structure term.

Magnitude m asks for .05 m. An operation that cannot show so much within its largest sensible
strength stays at that, marked *. Printed are the changes at each magnitude before (strengths in
equal steps up to the largest) and after, on draws that the calibration has not seen; ``--write``
stores strengths and changes in ``medsataug/policies``.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import medsataug as msa  # noqa: E402
from medsataug.transforms import _policies as policies  # noqa: E402
from medsataug.transforms._policies import MOST, Operation  # noqa: E402

DATA = ROOT / "data_samples"
#: Change asked for by each step of magnitude, in standard deviations.
STEP = 0.05
#: Draws that strengths are found with, and the first of those that they are checked with.
DRAWS, UNSEEN = 6, 100
#: Strengths at which an operation is measured: that many, from the largest down to this part.
GRID, LEAST = 14, 1 / 256
#: Slices of a volume that are looked at, as parts of its height.
SLICES = (0.35, 0.5, 0.65)
#: Side of the patches that scenes are cut into, as for training, and their first pixels.
PATCH, CORNERS = 256, ((120, 60), (200, 256), (0, 150))
#: Standard deviations of the Gaussians that bands of texture lie between; of the window; every
#: how many pixels one is looked at; and what part of the standard deviation is hardly seen.
BANDS, WINDOW_SIGMA, EVERY, HARDLY = (1, 2, 4, 8), 8, 4, 0.02
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
    operation: Operation, domain: str, ndim: int, strength: float, first: int = 0, draws: int = DRAWS
) -> float:
    """Mean visible change of an operation."""
    if not strength:
        return 0.0
    made = msa.Pipeline([operation.of_strength(strength)])
    return float(
        np.mean(
            [
                visible(sample, made(sample, seed=1, index=index), front)
                for sample, front in samples(domain, ndim)
                for index in range(first, first + draws)
            ]
        )
    )


def visible(sample: msa.Sample, after: msa.Sample, front: Any) -> float:
    """Visible change over the foreground, (C, …) True, from one sample to another."""
    found = []
    seen = front if after.valid is None else np.broadcast_to(after.valid, front.shape)
    for c, (x, y) in enumerate(zip(np.asarray(sample.image), after.image, strict=True)):
        scale = sample.facts.distribution(c).std
        valid = np.broadcast_to(sample.valid, front.shape)[c] & seen[c]
        for z in _looked_at(x.shape):
            inside = _smooth(valid[z].astype(np.float32), WINDOW_SIGMA)[::EVERY, ::EVERY] > 0.9
            at = inside & front[c][z][::EVERY, ::EVERY]
            if not at.any():
                continue
            (m, s), (n, t) = (_features(v[z] / scale, valid[z]) for v in (x, y))
            texture = (t - s) / (np.maximum(s, t) + HARDLY)
            found.append(np.mean(((n - m) ** 2 + np.mean(texture**2, axis=0))[at]))
    return float(np.sqrt(np.mean(found)))


def _looked_at(shape: tuple[int, ...]) -> list[Any]:
    return [int(part * shape[0]) for part in SLICES] if len(shape) == 3 else [...]


def _features(image: Any, valid: Any) -> tuple[Any, Any]:
    """Local mean, and (4, …) local standard deviations of the bands, of an image (Y, X)."""
    levels = [np.where(valid, image, 0).astype(np.float32)]
    weight = valid.astype(np.float32)
    for sigma in BANDS:
        levels.append(_smooth(levels[0], sigma) / np.maximum(_smooth(weight, sigma), 1e-6))
    bands = np.stack([np.where(valid, a - b, 0) for a, b in pairwise(levels)])
    energy = np.stack([_smooth(band**2, WINDOW_SIGMA)[::EVERY, ::EVERY] for band in bands])
    return levels[-1][::EVERY, ::EVERY], np.sqrt(energy)


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
        f"about: {policies.read(domain)['about']}",
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
    "# Strengths at magnitudes 0 to 10 and the changes they make, in standard deviations of the",
    "# image, by the number of axes: written by tests/benchmarks/calibrate.py. The rest by hand.",
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
