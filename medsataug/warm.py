"""Compile every kernel on tiny arrays, so that no user waits for it later."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numba.core import event

from medsataug import recipes
from medsataug.kernels.jit import cache_folder
from medsataug.pipeline import Pipeline
from medsataug.transforms.flip import Flip
from medsataug.transforms.patch import Patch
from medsataug.transforms.perspective import Perspective
from medsataug.transforms.transpose import Transpose
from medsataug.types import Sample

#: Image and label types that kernels are compiled for.
IMAGES, LABELS = ("float32", "uint8", "int16", "uint16"), ("uint8", "int16", "uint16", "int32")


def up() -> tuple[Path, float]:
    """Run the packaged recipes on small images of every type.

    Returns
    -------
    folder : Path
        Where the compiled kernels are.
    seconds : float
    """
    started = time.perf_counter()
    rng = np.random.default_rng(0)
    for ndim, (image, label) in itertools.product((2, 3), zip(IMAGES, LABELS, strict=True)):
        shape = (24, 26, 28)[-ndim:]
        stored = (rng.random((3, *shape)) * 100).astype(image)
        sample = Sample(
            image=stored,
            label=(rng.random(shape) * 3).astype(label),
            valid=rng.random((1, *shape)) > 0.1,
            axes="CZYX"[:1] + "ZYX"[-ndim:],
            spacing=(1,) * ndim,
            id="warmup",
        )
        whole = sample.replace(valid=None)
        for pipeline in _pipelines():
            for given in (sample, whole):
                pipeline(given, seed=1)
        # Channels that lie beside one another have kernels of their own.
        beside = np.moveaxis(np.ascontiguousarray(np.moveaxis(stored, 0, -1)), -1, 0)
        bent = Pipeline([{"elastic": {"spacing": 8, "magnitude": 1}}, {"rotate": {"degrees": 9}}])
        bent(whole.replace(image=beside), seed=1)
    return cache_folder(), time.perf_counter() - started


@contextmanager
def compiling() -> Iterator[None]:
    """Say on stderr when a kernel is being compiled, and in the end for how long.

    Numba says itself when it compiles: what the cache holds, whole or in part, need not be guessed.
    """
    told = _Compilations()
    with event.install_listener("numba:compile", told):
        yield
    if told.seconds:
        print(f"compiled in {told.seconds:.0f} s; the next start is fast", file=sys.stderr)


class _Compilations(event.Listener):  # type: ignore[misc]
    """Time spent compiling; one compilation contains those of the functions it calls."""

    def __init__(self) -> None:
        self.depth, self.started, self.seconds = 0, 0.0, 0.0

    def on_start(self, event: Any) -> None:
        """Tell the first time."""
        if not self.depth:
            self.started = time.perf_counter()
            if not self.seconds:
                print(
                    "compiling kernels for this machine, for up to half a minute; only a first run "
                    "does so ('medsataug warmup' compiles all of them) …",
                    file=sys.stderr,
                    flush=True,
                )
        self.depth += 1

    def on_end(self, event: Any) -> None:
        """Count the time."""
        self.depth -= 1
        if not self.depth:
            self.seconds += time.perf_counter() - self.started


def _pipelines() -> list[Pipeline]:
    made = []
    for name in recipes.packaged():
        always = []
        for transform in recipes.load(name).transforms:
            if isinstance(transform, (Patch, Transpose, Perspective)):
                continue  # no kernel of their own; they ask for many voxels, equal sides, 2D
            fields = {n: getattr(transform, n) for n in transform.model_fields_set} | {"p": 1.0}
            if isinstance(transform, Flip) or "spacing" in fields:
                fields |= {"axes": "x"} if "axes" in fields else {"spacing": 8}
            if "magnitude" in fields:
                fields["magnitude"] = 1
            always.append(type(transform)(**fields))
        made.append(Pipeline(always))
        made.append(Pipeline(always[:2], interpolation="cubic"))
    neighbours = ("gaussian_blur", "low_resolution", "median", "sharpen")
    made.append(Pipeline([{name: {}} for name in neighbours]))
    made.append(Pipeline([{"scale": {"factor": 0.5}}, {"elastic": {"spacing": 8, "magnitude": 1}}]))
    made.append(Pipeline([{"elastic": {"spacing": 8, "magnitude": 1}}, {"rotate": {"degrees": 9}}]))
    return made
