"""Chains of value steps, and each alone, on four channels of 128³ float32 voxels."""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator

import numpy as np
import peers
from turns import missing, ms, ratio, table, take_turns, why_not

SHAPE = (4, 128, 128, 128)
NOISE, CHAIN, PLAIN = "noise", "chain", "chain without shading"
PEER, COPY = "batchgeneratorsv2", "copy of the input"
#: What the two tools do with the same numbers may differ by this part of the image's range.
AGREE = 1e-4


def image() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)


def ours() -> dict[str, peers.Call]:
    import medsataug as msa

    sample = msa.Sample(image=image(), axes="CZYX", spacing=(1, 1, 1), id="bench")
    noise = msa.GaussianNoise(std=2)
    rest = [
        msa.Brightness(offset=(-5, 5)),
        msa.Contrast(factor=(1.1, 1.25)),
        msa.Gamma(exponent=(0.7, 0.9)),
        noise,
    ]
    shading = msa.IntensityScale(gain=(0.9, 1.1), field=(0.1, 0.3))
    gain = msa.IntensityScale(gain=(0.9, 1.1), offset=0, field=0)
    chains = {
        NOISE: [noise],
        CHAIN: [shading, *rest],
        PLAIN: [gain, *rest],
        "IntensityScale": [shading],
        **{type(step).__name__: [step] for step in rest[:-1]},
        "SpectralJitter": [msa.SpectralJitter(contrast=(0.8, 0.9))],
        "Normalize": [msa.Normalize()],
        "Normalize, percentiles": [msa.Normalize(method="percentile")],
        "Clip, percentiles": [msa.Clip(percentiles=(1, 99))],
    }
    calls: dict[str, peers.Call] = {}
    for name, transforms in chains.items():
        pipeline, index = msa.Pipeline(transforms), itertools.count()
        calls[name] = lambda p=pipeline, i=index: p(sample, seed=1, index=next(i))
    return calls


def kernel() -> peers.Call:
    """The noise kernel on an array that is there already, in the slices a pipeline makes."""
    from medsataug.kernels.random import add_normal
    from medsataug.sweep import SLICE

    x, key, std = np.zeros(np.prod(SHAPE), np.float32), np.uint64(7), np.float32(2)

    def call() -> None:
        for first in range(0, x.size, SLICE):
            add_normal(key, first, std, x[first : first + SLICE])

    return call


def theirs() -> dict[str, peers.Call]:
    """The like steps of batchgeneratorsv2, always applied, one draw for all channels."""
    import torch
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform

    given = torch.from_numpy(image())
    noise = GaussianNoiseTransform((2, 2), p_per_channel=1, synchronize_channels=True)
    chains = {
        "noise": [noise],
        "chain": [*_steps((0.9, 1.1), (1.1, 1.25), (0.7, 0.9), 0), noise],
        "chain, statistics kept": [*_steps((0.9, 1.1), (1.1, 1.25), (0.7, 0.9), 1), noise],
    }
    calls = {f"{PEER}: {name}": _applied(given, steps) for name, steps in chains.items()}
    return {**calls, f"{PEER}: {COPY}": given.clone}


def _steps(gain, factor, exponent, kept):
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform

    return [
        MultiplicativeBrightnessTransform(gain, synchronize_channels=True),
        ContrastTransform(factor, preserve_range=True, synchronize_channels=True),
        GammaTransform(exponent, 0, True, 1, kept),
    ]


def _applied(given, steps) -> peers.Call:
    """Steps change their input, which is someone's sample: they get a copy."""

    def call():
        data = {"image": given.clone()}
        for step in steps:
            data = step(**data)
        return data["image"]

    return call


def check() -> None:
    """Refuse to compare what is unlike: the same fixed numbers give the same image."""
    import torch

    import medsataug as msa

    small = image()[:, :32].copy()
    sample = msa.Sample(image=small, axes="CZYX", spacing=(1, 1, 1), id="small")
    plain = [msa.IntensityScale(gain=1.07, offset=0, field=0), msa.Contrast(factor=1.2)]
    got = msa.Pipeline([*plain, msa.Gamma(exponent=0.8)])(sample, seed=1).image
    want = _applied(torch.from_numpy(small), _steps(1.07, 1.2, 0.8, 0))().numpy()
    apart = float(np.abs(got - want).max() / np.ptp(want))
    noise = msa.Pipeline([msa.GaussianNoise(std=2)])(sample, seed=1).image - small
    if apart > AGREE or abs(noise.std() - 2) > 0.02:
        raise AssertionError(f"results differ by {apart:.1e} of the range")


def row(args: argparse.Namespace) -> Iterator[str]:
    absent: dict[str, str] = {}
    calls = {**ours(), "noise kernel": kernel()}
    try:
        check()
        calls |= theirs()
    except Exception as error:
        absent[PEER] = why_not(error)
    for call in calls.values():
        call()
    times = take_turns(calls, [1], args.repeats)
    middle = {name: statistics.median(taken) for (name, _), taken in times.items()}
    voxels = np.prod(SHAPE)
    yield "### Values: 4 × 128³ float32, one thread\n"
    rows = []
    for name, seconds in middle.items():
        rows.append([name, ms(seconds), f"{seconds / voxels * 1e9:.2f}"])
    yield from table(["pipeline of", "ms", "ns a voxel"], rows)
    asked = [
        ("chain ÷ noise", middle[CHAIN] / middle[NOISE], "≤ 2.5"),
        ("noise kernel, ns a voxel", middle["noise kernel"] / voxels * 1e9, "≤ 2.5"),
    ]
    for kind, suffix in (("chain", "≥ 6"), ("chain, statistics kept", "≥ 6"), ("noise", "")):
        if (peer := middle.get(f"{PEER}: {kind}")) is not None:
            for own in (NOISE,) if kind == "noise" else (CHAIN, PLAIN):
                asked.append((f"{PEER}: {kind} ÷ our {own}", peer / middle[own], suffix))
    yield from table(["", "measured", "asked"], [[a, ratio(b, 1.0), c] for a, b, c in asked])
    yield "The chain: IntensityScale (gain and shading), Brightness, Contrast, Gamma and noise;"
    yield f"{PEER}: MultiplicativeBrightness, Contrast (range kept), Gamma, GaussianNoise, always"
    yield "applied, with one draw for all channels, on a copy, since they overwrite their input. It"
    yield "has no shading and no offset. Same numbers, same image: checked to"
    yield f"{AGREE:g} of the range before timing. The sample's statistics are cached; reading them"
    yield f"takes {ms(first_facts())} ms once a sample.\n"
    yield from missing(absent)


def first_facts() -> float:
    """Seconds that the statistics of a new sample take."""
    import medsataug as msa

    sample = msa.Sample(image=image(), axes="CZYX", spacing=(1, 1, 1), id="new")
    start = time.perf_counter()
    for c in range(SHAPE[0]):
        sample.facts.distribution(c, "valid")
    return time.perf_counter() - start
