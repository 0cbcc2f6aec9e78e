"""Whole recipes against the same chain in a peer, and each step of nnU-Net's, always applied."""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import peers
import workloads
from turns import OURS, PAUSE_S, missing, ms, ratio, table, take_turns, why_not

#: Calls of a recipe that are averaged; most steps are applied in few of them.
SAMPLES, WARM = 200, 20
PEER = "batchgeneratorsv2"
PATCH = (128, 128, 128)
#: Side of the crop that nnU-Net cuts first for such a patch.
ROOM = 205
Call = Callable[[], Any]


def mine(recipe: str, work: workloads.Workload, *before: Any) -> Call:
    import medsataug as msa

    sample = msa.Sample(image=work.image, label=work.label, axes=work.axes,
                        spacing=(1,) * work.ndim, id="bench")  # fmt: skip
    pipeline, index = msa.Pipeline.load(recipe), itertools.count()
    for channel in range(len(work.image)):
        sample.facts.distribution(channel, "valid")
    return lambda: pipeline(sample, seed=1, index=next(index))


def theirs(work: workloads.Workload) -> Call:
    """nnU-Net's chain in batchgeneratorsv2, from the whole case, with its defaults."""
    import torch

    steps = chain()
    given, label = torch.from_numpy(work.image), torch.from_numpy(work.label[None].astype(np.int16))
    rng = np.random.default_rng(0)

    def call() -> Any:
        # nnU-Net's loader copies a crop with room for turning; here only what is shared is copied.
        start = [rng.integers(0, n - min(n, ROOM) + 1) for n in work.label.shape]
        room = (slice(None), *(slice(s, s + ROOM) for s in start))
        data = steps[0](image=given[room], segmentation=label[room])
        if not data["image"].is_contiguous():  # a view of the case, which steps would overwrite
            data = {name: part.clone(memory_format=torch.contiguous_format)
                    for name, part in data.items()}  # fmt: skip
        for step in steps[1:]:
            data = step(**data)
        return data

    return call


def chain() -> list[Any]:
    """nnU-Net's steps in batchgeneratorsv2, with their defaults."""
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    return [
        spatial(0.2),
        *(RandomTransform(made, apply_probability=p) for p, made in intensity().values()),
        MirrorTransform((0, 1, 2)),
    ]


def spatial(p: float) -> Any:
    """nnU-Net's turn and scaling in batchgeneratorsv2, each with chance ``p``."""
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    return SpatialTransform(
        PATCH, 0, False, p_elastic_deform=0, p_rotation=p, rotation=(-np.pi / 6, np.pi / 6),
        p_scaling=p, scaling=(0.7, 1.4), p_synchronize_scaling_across_axes=1,
    )  # fmt: skip


def intensity() -> dict[str, tuple[float, Any]]:
    """Chance of each step of batchgeneratorsv2's after the spatial one, and the step."""
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform

    wide, narrow = BGContrast((0.7, 1.5)), BGContrast((0.75, 1.25))
    blur = GaussianBlurTransform(
        (0.5, 1), synchronize_channels=False, synchronize_axes=False, p_per_channel=0.5,
        benchmark=True,
    )  # fmt: skip
    low = SimulateLowResolutionTransform((0.5, 1), False, True, None, p_per_channel=0.5)
    return {
        "gaussian_noise": (0.1, GaussianNoiseTransform((0, 0.1), 1, True)),
        "gaussian_blur": (0.2, blur),
        "intensity_scale": (0.15, MultiplicativeBrightnessTransform(narrow, False)),
        "contrast": (0.15, ContrastTransform(narrow, True, False)),
        "low_resolution": (0.25, low),
        "gamma, inverted": (0.1, GammaTransform(wide, 1, False, 1, 1)),
        "gamma": (0.3, GammaTransform(wide, 0, False, 1, 1)),
    }


def means(calls: dict[str, Call], threads: int, samples: int) -> dict[str, float]:
    """Mean seconds of a call over ``samples``, tools taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(WARM):  # every step at least once
            call()
    peers.set_threads(threads)
    for _ in range(samples):
        for name, call in calls.items():
            time.sleep(PAUSE_S / 4)
            start = time.perf_counter()
            result = call()
            taken[name].append(time.perf_counter() - start)
            del result
    return {name: statistics.fmean(t) for name, t in taken.items()}


def single_steps() -> dict[str, tuple[Call, Call]]:
    """Each step of the recipe alone on 4 × 128³, always applied: ours, and the peer's."""
    import torch

    import medsataug as msa

    rng = np.random.default_rng(0)
    image = rng.standard_normal((4, *PATCH), dtype=np.float32)
    label = (rng.random(PATCH) < 0.01).astype(np.uint8)
    sample = msa.Sample(image=image, label=label, axes="CZYX", spacing=(1, 1, 1), id="step")
    for channel in range(4):
        sample.facts.distribution(channel, "valid")
    given, target = torch.from_numpy(image), torch.from_numpy(label[None].astype(np.int16))
    made: dict[str, tuple[Call, Call]] = {}

    def pair(name: str, transforms: list[Any], step: Any) -> None:
        pipeline, index = msa.Pipeline(transforms, antialias=False), itertools.count()

        def other() -> Any:
            return step(image=given.clone(), segmentation=target.clone())

        made[name] = (lambda: pipeline(sample, seed=1, index=next(index))), other

    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform

    pair("nnunet_spatial", [msa.NnunetSpatial(rotation_p=1, scaling_p=1)], spatial(1))
    pair("flip", [msa.Flip(axes=["z", "y", "x"])], MirrorTransform((0, 1, 2)))
    steps = _value_steps()
    for name, (_, step) in intensity().items():
        pair(name, [steps[name]], step)
    return made


def _value_steps() -> dict[str, Any]:
    """Value steps of the recipe, always applied."""
    import medsataug as msa
    from medsataug import transforms

    made = {}
    for transform in msa.Pipeline.load("nnunet").transforms:
        name = transforms.recipe_name(type(transform).__name__)
        name += ", inverted" if getattr(transform, "invert", False) else ""
        made[name] = transform.model_copy(update={"p": 1.0})
    return made


def albumentations(work: workloads.Workload) -> Call:
    """The chain of the recipe ``multispectral`` in Albumentations, on (Y, X, C) uint16."""
    import albumentations as A

    image = np.ascontiguousarray(np.moveaxis(work.image, 0, -1))
    transform = A.Compose(
        [
            A.RandomRotate90(p=0.5),
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.Affine(scale=(0.9, 1.25), p=0.5),
            A.ElasticTransform((4 / 512, 4 / 512), (8, 8), p=0.3),
            A.ToFloat(max_value=65535),  # its steps on values know 8 bits and floats
            A.MultiplicativeNoise((0.95, 1.05), per_channel=True, p=1),
            A.RandomBrightnessContrast((-0.05, 0.05), (-0.1, 0.1), p=1),
            A.GaussNoise((0, 0.003), per_channel=True, p=0.5),
        ],
        seed=1,
    )

    def call() -> Any:
        out = transform(image=image, mask=work.label)
        # Its FromFloat makes 8 bits only.
        return np.rint(np.clip(out["image"], 0, 1) * 65535).astype(np.uint16), out["mask"]

    return call


def row(args: argparse.Namespace) -> Iterator[str]:
    absent: dict[str, str] = {}
    samples = SAMPLES if args.repeats >= 15 else max(20, 10 * args.repeats)
    scene = workloads.raster(512, 8, "uint16")
    volume = workloads.volume()
    whole = (
        ("nnunet, 4 × 240×240×155 → 4 × 128³", volume, "nnunet", PEER, theirs),
        (
            "multispectral, 8 × 512² uint16",
            scene,
            "multispectral",
            "Albumentations",
            albumentations,
        ),
    )
    yield f"### Whole recipes: mean of {samples} samples, default probabilities\n"
    rows = []
    for name, work, recipe, peer, factory in whole:
        calls = {OURS: mine(recipe, work)}
        try:
            calls[peer] = factory(work)
        except Exception as error:
            absent[peer] = why_not(error)
        for threads in args.threads:
            found = means(calls, threads, samples)
            asked = "≥ 8 ×" if work is volume and threads > 1 else "≥ 5 ×"
            for tool, seconds in found.items():
                end = [ratio(seconds, found[OURS]), "" if tool == OURS else asked]
                rows.append([name, tool, str(threads), ms(seconds), *end])
    yield from table(["recipe", "tool", "threads", "mean, ms", "÷ ours", "asked"], rows)
    yield "### Steps of nnU-Net's recipe, always applied: 4 × 128³ and label, one thread\n"
    rows = []
    try:
        for name, (ours, other) in single_steps().items():
            calls = {OURS: ours, PEER: other}
            for call in calls.values():
                call()
            times = take_turns(calls, [1], min(args.repeats, 9))
            a, b = (statistics.median(times[tool, 1]) for tool in calls)
            rows.append([name, ms(a), ms(b), ratio(b, a), "≥ 1 ×"])
    except Exception as error:
        absent[PEER] = why_not(error)
    yield from table(["step", f"{OURS}, ms", f"{PEER}, ms", "÷ ours", "asked"], rows)
    yield from missing(absent)
