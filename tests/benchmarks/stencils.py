"""Blur, low resolution and median beside SciPy, torch, batchgeneratorsv2 and OpenCV."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from peers import Call
from turns import OURS, missing, ms, ratio, table, take_turns, why_not

SHAPES = ((128, 128, 128), (512, 512))
CALL = f"{OURS}, whole call"


@dataclass(frozen=True)
class Case:
    """One row: our transform, and what each peer does to the same (…) image.

    A peer comes with the greatest difference allowed, as part of the image's range, `margin`
    voxels inside the border.
    """

    name: str
    shape: tuple[int, ...]
    transform: Any
    peers: dict[str, tuple[Callable[[np.ndarray], Call], float]]
    asked: str
    margin: int = 0


def image_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


def ours(transform: Any, image: np.ndarray) -> tuple[Call, Call]:
    """The step as a pipeline runs it, in place; and a whole call from sample to sample."""
    import medsataug as msa
    from medsataug.followed import CaseStatistics
    from medsataug.sweep import Work, sweep

    sample = msa.Sample(image=image[None], axes="CZYX"[:1] + "ZYX"[-image.ndim :], id="bench")
    pipeline = msa.Pipeline([transform])
    steps = pipeline.plan(sample, seed=1).segments[0].steps
    fills = np.zeros(1, np.float32)
    work = Work(image[None].copy(), None, fills, CaseStatistics(sample.facts), None)  # type: ignore[arg-type]

    def step() -> np.ndarray:
        sweep(work, steps)
        return work.image[0]

    return step, lambda: pipeline(sample, seed=1).image[0]


def scipy_blur(sigma: float) -> Callable[[np.ndarray], Call]:
    def make(image: np.ndarray) -> Call:
        from scipy import ndimage

        return lambda: ndimage.gaussian_filter(image, sigma)

    return make


def torch_blur(sigma: float) -> Callable[[np.ndarray], Call]:
    """One axis at a time, with the kernel that ours has."""

    def make(image: np.ndarray) -> Call:
        import torch
        from torch.nn.functional import conv2d, conv3d, pad

        from medsataug.kernels.blur import reach

        r, ndim = reach(sigma), image.ndim
        at = torch.arange(-r, r + 1, dtype=torch.float32)
        line = torch.exp(-0.5 * (at / sigma) ** 2)
        line /= line.sum()
        given, convolve = torch.from_numpy(image)[None, None], conv3d if ndim == 3 else conv2d

        def call() -> Any:
            x = given
            for k in range(ndim):
                wide = [0] * (2 * ndim)
                wide[2 * (ndim - 1 - k)] = wide[2 * (ndim - 1 - k) + 1] = r
                weights = line.reshape([1, 1, *(-1 if a == k else 1 for a in range(ndim))])
                x = convolve(pad(x, wide, mode="reflect"), weights)
            return x[0, 0].numpy()

        return call

    return make


def opencv_blur(sigma: float) -> Callable[[np.ndarray], Call]:
    def make(image: np.ndarray) -> Call:
        import cv2

        from medsataug.kernels.blur import reach

        size = (2 * reach(sigma) + 1,) * 2
        return lambda: cv2.GaussianBlur(image, size, sigma, borderType=cv2.BORDER_REFLECT)

    return make


def batchgenerators(module: str, name: str, *arguments: Any) -> Callable[[np.ndarray], Call]:
    """Transform of batchgeneratorsv2, which changes the tensor it is given."""

    def make(image: np.ndarray) -> Call:
        import importlib

        import torch

        kind = getattr(importlib.import_module(f"batchgeneratorsv2.transforms.{module}"), name)
        transform, given = kind(*arguments), torch.from_numpy(image[None].copy())
        return lambda: transform(image=given)["image"][0].numpy()

    return make


def scipy_median(size: int) -> Callable[[np.ndarray], Call]:
    def make(image: np.ndarray) -> Call:
        from scipy import ndimage

        return lambda: ndimage.median_filter(image, size)

    return make


def opencv_median(size: int) -> Callable[[np.ndarray], Call]:
    def make(image: np.ndarray) -> Call:
        import cv2

        return lambda: cv2.medianBlur(image, size)

    return make


def cases() -> Iterator[Case]:
    import medsataug as msa

    for shape in SHAPES:
        ndim = len(shape)
        for sigma in (0.5, 1, 2, 4):
            module, name = "noise.gaussian_blur", "GaussianBlurTransform"
            peers = {
                "SciPy": (scipy_blur(sigma), 1e-3),
                "torch": (torch_blur(sigma), 1e-5),
                "batchgeneratorsv2": (batchgenerators(module, name, sigma), 2e-2),
            }
            if ndim == 2:
                peers["OpenCV"] = (opencv_blur(sigma), 1e-5)
            yield Case(
                f"blur {ndim}D, σ {sigma:g}", shape, msa.GaussianBlur(sigma=sigma), peers, "3", 17
            )
    for shape in SHAPES:
        for scale in (0.5, 0.75, 0.95):
            arguments = ("spatial.low_resolution", "SimulateLowResolutionTransform", scale)
            peer = batchgenerators(*arguments, True, True, None)
            name = f"low resolution {len(shape)}D, scale {scale:g}"
            transform = msa.LowResolution(scale=scale)
            yield Case(name, shape, transform, {"batchgeneratorsv2": (peer, 1e-5)}, "4")
    for shape, size in ((SHAPES[0], 3), (SHAPES[1], 3), (SHAPES[1], 5)):
        found = {"SciPy": (scipy_median(size), 0.0)}
        if len(shape) == 2:
            found["OpenCV"] = (opencv_median(size), 0.0)
        window = " × ".join([str(size)] * len(shape))
        yield Case(f"median {window}", shape, msa.Median(size=size), found, "5", size)


def prepared(case: Case) -> tuple[dict[str, Call], dict[str, str]]:
    """Callables whose first results agree, and why the others take no part."""
    image = image_of(case.shape)
    step, call = ours(case.transform, image)
    expected = step().copy()
    calls, absent = {OURS: step, CALL: call}, {}
    inner = tuple(slice(case.margin, n - case.margin) for n in case.shape)
    for name, (make, most) in case.peers.items():
        try:
            peer = make(image)
            apart = float(np.abs(peer() - expected)[inner].max())
        except Exception as error:
            absent[name] = why_not(error)
            continue
        if apart > most:
            absent[name] = f"{case.name}: differs by {apart:.1e} of the range"
        else:
            calls[name] = peer
    return calls, absent


def row(args: argparse.Namespace) -> Iterator[str]:
    """Yield the table as Markdown."""
    names = ["SciPy", "torch", "batchgeneratorsv2", "OpenCV"]
    rows, absent = [], {}
    many = max(args.threads)
    for case in cases():
        calls, why = prepared(case)
        absent |= why
        times = take_turns(calls, [1], args.repeats)
        middle = {name: statistics.median(taken) for (name, _), taken in times.items()}
        cells = [case.name, ms(middle[OURS])]
        if many > 1:
            both = take_turns({OURS: calls[OURS]}, [1, many], args.repeats)
            gain = statistics.median(both[OURS, 1]) / statistics.median(both[OURS, many])
            cells.append(f"{gain:.2f}")
        cells.append(ms(middle[CALL]))
        for name in names:
            value = middle.get(name)
            cells.append(f"{ms(value)} ({ratio(value, middle[OURS])})" if value else "–")
        rows.append([*cells, case.asked])
    yield "### Neighbours: blur, low resolution, median, one thread, ms (÷ ours)\n"
    gain = [f"gain by {many} threads"] if many > 1 else []
    yield from table(["float32, one channel", OURS, *gain, CALL, *names, "asked"], rows)
    yield "128³ voxels and 512² pixels. Ours is the step as a pipeline runs it, in place, as"
    yield "batchgeneratorsv2's transforms are; the whole call also plans, copies in and wraps up."
    yield "The ratio asked is against SciPy, torch (one axis at a time) and batchgeneratorsv2."
    yield "Results agree 17 voxels inside the border (borders differ), batchgeneratorsv2's blur to"
    yield "2 % of the range, as it ends its kernel at 3 σ.\n"
    yield from missing(absent)
