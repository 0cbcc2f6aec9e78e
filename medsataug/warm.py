"""Compile every kernel on tiny arrays, so that no user waits for it later."""

from __future__ import annotations

import itertools
import time

import numpy as np

from medsataug import recipes
from medsataug.kernels.jit import cache_folder
from medsataug.pipeline import Pipeline
from medsataug.types import Sample

#: Image and label types that kernels are compiled for.
IMAGES, LABELS = ("float32", "uint8", "int16", "uint16"), ("uint8", "int16", "uint16", "int32")


def up() -> str:
    """Run the packaged recipes on small images of every type; say how long it took."""
    started = time.perf_counter()
    rng = np.random.default_rng(0)
    for ndim, (image, label) in itertools.product((2, 3), zip(IMAGES, LABELS, strict=True)):
        shape = (24, 26, 28)[-ndim:]
        sample = Sample(
            image=(rng.random((3, *shape)) * 100).astype(image),
            label=(rng.random(shape) * 3).astype(label),
            valid=rng.random((1, *shape)) > 0.1,
            axes="CZYX"[: 1] + "ZYX"[-ndim:],
            spacing=(1,) * ndim,
            id="warmup",
        )
        for pipeline in _pipelines():
            for valid in (sample.valid, None):
                pipeline.plan(sample.replace(valid=valid), seed=1)(sample.replace(valid=valid))
    return f"kernels are compiled in {cache_folder()} ({time.perf_counter() - started:.0f} s)"


def _pipelines() -> list[Pipeline]:
    made = []
    for name in recipes.packaged():
        always = []
        for transform in recipes.load(name).transforms:
            fields = {n: getattr(transform, n) for n in transform.model_fields_set} | {"p": 1.0}
            if fields.get("axes") == "left-right" or "spacing" in fields:
                fields |= {"axes": "x"} if "axes" in fields else {"spacing": 8}
            if "magnitude" in fields:
                fields["magnitude"] = 1
            always.append(type(transform)(**fields))
        made.append(Pipeline(always))
        made.append(Pipeline(always[:2], interpolation="cubic"))
    made.append(Pipeline([{"scale": {"factor": 0.5}}, {"elastic": {"spacing": 8, "magnitude": 1}}]))
    made.append(Pipeline([{"elastic": {"spacing": 8, "magnitude": 1}}, {"rotate": {"degrees": 9}}]))
    return made
