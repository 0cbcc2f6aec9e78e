"""Compare the recipe ``nnunet-da5``, the cascade and targets with nnU-Net's own steps.

`parity.py` says how, and prints these rows after its own. What is chance is compared with
batchgenerators 0.25, which the trainer "DA5" uses; the rest with batchgeneratorsv2.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from batchgenerators.augmentations import color_augmentations as colour
from batchgenerators.augmentations.spatial_transformations import augment_spatial
from batchgeneratorsv2.transforms.local import brightness_gradient, local_gamma
from batchgeneratorsv2.transforms.nnunet import random_binary_operator, seg_to_onehot
from batchgeneratorsv2.transforms.noise import blank_rectangle, median_filter, sharpen
from batchgeneratorsv2.transforms.spatial import spatial
from batchgeneratorsv2.transforms.utils import deep_supervision_downsampling, seg_to_regions

import medsataug as msa
from medsataug import targets
from medsataug.transforms import previous_stage
from medsataug.transforms._local import WINDOW
from medsataug.values import LabelStep
from tests.benchmarks.parity import (
    DRAWS,
    FLAT,
    SHAPE,
    Row,
    alike,
    apart,
    happens,
    image,
    labels,
    ours,
    sample,
    steps,
    theirs,
)

STEPS = msa.Pipeline.load("nnunet-da5").transforms
CLASSES = (1, 2, 7)


def listed(kind: type) -> list[Any]:
    """Steps of a kind in the recipe, those within others included."""
    inner = [c for t in STEPS for c in (t, *getattr(t, "transforms", ()))]
    return [t for t in inner if isinstance(t, kind)]


def drawn(transform: Any, picture: Any, **more: Any) -> Iterator[Any]:
    """(3,) parameters of one channel, in every draw."""
    for made in steps(transform, picture, p=1, **more):
        yield from (p for p in made[0].params if p is not None)


# ------------------------------------------------------------------ with the same numbers


def _placed(kind: type, params: tuple[float, ...], ndim: int, **more: Any) -> Any:
    """Transform of batchgeneratorsv2 with our place and width."""
    frame, centres, widths = (params[k : k + 3][-ndim:] for k in (0, 3, 6))
    return kind(
        scale=lambda shape, axis: widths[axis],
        loc=lambda shape, axis: centres[axis] / frame[axis],
        **more,
    )


def local_rows() -> Iterator[Row]:
    for shape in (SHAPE, FLAT):
        picture, ndim = image(shape), len(shape)
        given, pairs, bent = sample(picture), [], []
        for i, centred in itertools.product(range(4), (False, True)):
            mine = msa.BrightnessGradient(strength=(1, 5), mean_centered=centred)
            plan = msa.Pipeline([mine]).plan(given, seed=1, index=i)
            params = plan.segments[0].steps[0].params[0]
            peer = _placed(
                brightness_gradient.BrightnessGradientAdditiveTransform, params, ndim,
                max_strength=params[WINDOW], mean_centered=centred,
            )  # fmt: skip
            pairs.append((plan(given).image, theirs(peer, picture)))
        yield apart(f"brightness gradient {ndim}D", pairs)
        for i, exponent in itertools.product(range(3), (0.05, 0.5, 3)):
            mine = msa.LocalGamma(exponent=exponent, scope="output")
            plan = msa.Pipeline([mine]).plan(given, seed=1, index=i)
            params = plan.segments[0].steps[0].params[0]
            peer = _placed(local_gamma.LocalGammaTransform, params, ndim, gamma=exponent)
            bent.append((plan(given).image, theirs(peer, picture)))
        yield apart(f"local gamma {ndim}D", bent)


def noise_rows() -> Iterator[Row]:
    for shape in (SHAPE, FLAT):
        picture, ndim = image(shape), len(shape)
        given, pairs = sample(picture), []
        for i in range(4):
            mine = msa.BlankRectangle(count=3, size=(0.2, 0.6), per_channel=True)
            plan = msa.Pipeline([mine]).plan(given, seed=1, index=i)
            boxes = [np.array(p, int).reshape(-1, 2, 3)[:, :, -ndim:].tolist()
                     for p in plan.segments[0].steps[0].params]  # fmt: skip
            peer = blank_rectangle.BlankRectangleTransform(1, torch.mean, 1)
            out = peer._apply_to_image(
                torch.from_numpy(picture.copy()), apply_channel=[True] * 3, rectangles=boxes
            )
            pairs.append((plan(given).image, out.numpy()))
        yield apart(f"blank rectangles {ndim}D", pairs)
        pairs = [
            (ours(msa.Median(size=n), picture)[0],
             theirs(median_filter.MedianFilterTransform(n), picture))
            for n in (3, 5)
        ]  # fmt: skip
        yield apart(f"median {ndim}D", pairs)
        pairs = []
        for keep, strength in itertools.product((False, True), (0.1, 1.0)):
            mine = msa.Sharpen(method="laplacian", strength=strength, keep_range=keep)
            peer = sharpen.SharpeningTransform(strength, p_clamp_intensities=float(keep))
            pairs.append((ours(mine, picture)[0], theirs(peer, picture)))
        yield apart(f"sharpening {ndim}D", pairs)


def exact_rows() -> Iterator[Row]:
    """Moves of whole voxels, and factors that differ by axis."""
    picture, label = image((20, 20, 20)), labels((20, 20, 20))
    planes, wrong, turns = {"xy": (2, 3), "xz": (1, 3), "yz": (1, 2)}, 0, (1, 2, 3)
    for (plane, axes), k in itertools.product(planes.items(), turns):
        mine, seg = ours(msa.Rot90(plane=plane, turns=[k]), picture, label, geometry="exact")
        found = [np.rot90(picture, s, axes) for s in turns]  # the same set of turns
        here = [s for s, turned in zip(turns, found, strict=True) if np.array_equal(turned, mine)]
        wrong += here not in ([k], [4 - k])
        wrong += not here or not np.array_equal(
            seg, np.rot90(label, here[0], [a - 1 for a in axes])
        )
    yield Row("quarter turns: image and label", "labels", 9 * label.size, wrong)
    seen, wrong = set(), 0
    for i in range(60):
        plan = msa.Pipeline([msa.Transpose()], geometry="exact").plan(
            sample(picture, label), seed=1, index=i
        )
        order = plan.segments[0].spatial.matrix[:3, :3].argmax(axis=0)
        out = plan(sample(picture, label))
        seen.add(tuple(order.tolist()))
        wrong += not np.array_equal(out.image, picture.transpose(0, *(order + 1)))
        wrong += not np.array_equal(out.label, label.transpose(order))
    yield Row("transposition: image and label", "labels", 60 * label.size, wrong + (len(seen) != 5))
    pairs, picture = [], image(SHAPE)
    for scale in ((0.7, 1.2, 1.43), (1.3, 0.8, 1.0)):
        peer = spatial.SpatialTransform(
            SHAPE, 0, random_crop=False, p_rotation=0, p_scaling=1,
            scaling=lambda image, dim, s=scale: s[dim], p_synchronize_scaling_across_axes=0,
        )  # fmt: skip
        mine = msa.NnunetSpatial(
            factor=dict(zip("zyx", scale, strict=True)), rotation_p=0, scaling_p=1
        )
        pairs.append((ours(mine, picture)[0], theirs(peer, picture)))
    yield apart("scaling by axis", pairs)


# ------------------------------------------------------------------ cascade and targets

OPERATORS = [
    getattr(random_binary_operator, f"binary_{name}_torch")
    for name in ("dilation", "erosion", "closing", "opening")
]


def cascade_rows() -> Iterator[Row]:
    for shape in (SHAPE, FLAT):
        picture, ndim = image(shape), len(shape)
        layers = np.stack([labels(shape), np.flip(labels(shape), 0)])
        seg = torch.from_numpy(layers.copy())
        move = seg_to_onehot.MoveSegAsOneHotToDataTransform(1, CLASSES)
        shown = move(image=torch.from_numpy(picture), segmentation=seg)
        plain = msa.PreviousStage(labels=CLASSES, morphology_p=0, removal_p=0)
        mine, left = ours(plain, picture, layers)
        yield apart(f"cascade {ndim}D: channels", [(mine, shown["image"].numpy())])
        wrong = int((left != shown["segmentation"].numpy()[0]).sum())
        yield Row(f"cascade {ndim}D: label that is left", "labels", left.size, wrong)
        wrong, compared = 0, 0
        transform = random_binary_operator.ApplyRandomBinaryOperatorTransform([-3, -2, -1])
        rng = np.random.default_rng(2)
        for _ in range(10):
            order, ways = rng.permutation(3).tolist(), rng.integers(0, 4, 3).tolist()
            radii = rng.integers(1, 9, 3).tolist()
            out = transform._apply_to_image(
                shown["image"].clone(), apply_to_channels=[k - 3 for k in order],
                operators=[OPERATORS[w] for w in ways], strel_size=radii,
            ).numpy()[3:]  # fmt: skip
            three = zip((CLASSES[k] for k in order), ways, radii, strict=True)
            flat = tuple(float(v) for values in three for v in values)
            got = previous_stage.reshaped(layers[1:], None, flat, 0)[0]
            wrong += int((np.stack([got == v for v in CLASSES]) != out).sum())
            compared += out.size
        yield Row(f"cascade {ndim}D: morphology", "labels", compared, wrong)
    yield from _removal_rows()
    yield from target_rows()


def _removal_rows() -> Iterator[Row]:
    try:
        from batchgeneratorsv2.transforms.nnunet import remove_connected_components as removal
    except ImportError:
        return  # it needs acvl_utils, which batchgeneratorsv2 does not install
    name, label = "RemoveRandomConnectedComponentFromOneHotEncodingTransform", labels(SHAPE)
    transform = getattr(removal, name)([0, 1, 2], 0, 0.02)
    wrong, compared, choice = 0, 0, np.random.choice
    for which in (0.0, 0.3, 0.7, 0.99):
        np.random.choice = lambda ids, u=which: ids[int(u * len(ids))]
        try:
            shown = torch.from_numpy(np.stack([label == v for v in CLASSES]).astype(np.float32))
            out = transform._apply_to_image(shown, apply_to_channels=[1, 2, 0]).numpy()
        finally:
            np.random.choice = choice
        flat = tuple(float(v) for k in (1, 2, 0) for v in (CLASSES[k], 0.02, which))
        got = previous_stage.robbed(label[None], None, flat, 0)[0]
        wrong += int((np.stack([got == v for v in CLASSES]) != out).sum())
        compared += out.size
    yield Row("cascade 3D: a component lost", "labels", compared, wrong)


def target_rows() -> Iterator[Row]:
    for shape in (SHAPE, FLAT):
        label, ndim = labels(shape), len(shape)
        groups = ((1, 2, 7), (2, 7), 7)
        peer = seg_to_regions.ConvertSegmentationToRegionsTransform(groups)
        out = peer._apply_to_segmentation(torch.from_numpy(label[None]))
        got = targets.regions(label, groups)
        wrong = int((got != out.numpy()).sum())
        yield Row(f"regions {ndim}D", "labels", got.size, wrong)
        scales = [[1] * ndim, [1, *[0.5] * (ndim - 1)], [0.5] * ndim, [0.25] * ndim]
        down = deep_supervision_downsampling.DownsampleSegForDSTransform(scales)
        wrong = compared = 0
        pairs = zip(
            targets.deep_supervision(got, scales, ndim),
            down._apply_to_segmentation(out.to(torch.int16)),
            strict=True,
        )
        for mine, other in pairs:
            wrong += int((mine != other.numpy()).sum())
            compared += mine.size
        yield Row(f"deep supervision {ndim}D", "labels", compared, wrong)


# ------------------------------------------------------------------ chance


def range_rows() -> Iterator[Row]:
    """The numbers that are drawn; theirs are told from what they make of an image."""
    np.random.seed(7)  # noqa: NPY002  batchgenerators draws from the global generator
    one, long = image((8, 8, 8), 1), np.zeros((1, 20_000, 2), np.float32)
    factors = [
        f.std() / one.std()
        for f in (
            colour.augment_contrast(one.copy(), (0.5, 2), preserve_range=False)
            for _ in range(DRAWS)
        )
    ]
    for transform in listed(msa.Contrast):
        mine = [p[0] for p in drawn(transform, one)]
        kept = ", range kept" if transform.keep_range else ", free"
        yield alike(f"DA5 contrast{kept}", mine, factors)
    middle = np.array([[0, 0.5, 1]])
    bent = [colour.augment_gamma(middle.copy(), (0.7, 1.5), True)[0, 1] for _ in range(DRAWS)]
    exponents = np.log2(1 / (1 - np.array(bent)))
    yield alike("DA5 gamma", [p[0] for p in drawn(listed(msa.Gamma)[0], one)], exponents)
    zero = np.zeros((1, 1))
    added = [colour.augment_brightness_additive(zero.copy(), 0, 0.5).item() for _ in range(DRAWS)]
    mine = [p[1].times for p in drawn(listed(msa.Brightness)[0], one)]
    yield alike("DA5 brightness", mine, added)
    yield from _scale_rows()
    width = np.exp(np.random.uniform(np.log(20_000 // 6), np.log(20_000), DRAWS))  # noqa: NPY002
    place = np.random.uniform(-0.5, 1.5, DRAWS)  # noqa: NPY002
    for kind, name in ((msa.BrightnessGradient, "gradient"), (msa.LocalGamma, "local gamma")):
        made = list(drawn(listed(kind)[0], long, channel_p=1))
        yield alike(f"DA5 {name}: width", [p[7] / 20_000 for p in made], width / 20_000)
        yield alike(f"DA5 {name}: place", [p[4] / 20_000 for p in made], place)
    made = [p[WINDOW].times for p in drawn(listed(msa.BrightnessGradient)[0], one, channel_p=1)]
    signed = np.random.uniform(1, 5, DRAWS) * np.random.choice([-1, 1], DRAWS)  # noqa: NPY002
    yield alike("DA5 gradient: strength", made, signed)
    boxes = list(drawn(listed(msa.BlankRectangle)[0], long, channel_p=1))
    peer = blank_rectangle.BlankRectangleTransform([[2000, 20_000 // 3]], 0.0, 1)
    lengths = [peer._sample_rectangle_size(1)[0] for _ in range(DRAWS)]
    yield alike("DA5 rectangles: side", [p[4] - p[1] for p in boxes], lengths)
    counts = np.bincount([len(p) // 6 for p in boxes], minlength=5)[1:]
    for number, count in enumerate(counts.tolist(), start=1):
        hits = [True] * count + [False] * (len(boxes) - count)
        yield happens(f"DA5 rectangles: {number}", hits, 0.25)


def _scale_rows() -> Iterator[Row]:
    """Spacing of a linear ramp after scaling, along each axis."""
    ramp = np.stack(np.meshgrid(*[np.arange(15.0)] * 2, indexing="ij"))[None]
    found = []
    for _ in range(DRAWS // 2):
        out, _ = augment_spatial(
            ramp, None, (3, 3), do_elastic_deform=False, do_rotation=False, scale=(0.7, 1.43),
            order_data=1, random_crop=False, p_scale_per_sample=1,
            independent_scale_for_each_axis=True,
        )  # fmt: skip
        found += [(out[0, 0, 2, 1] - out[0, 0, 0, 1]) / 2, (out[0, 1, 1, 2] - out[0, 1, 1, 0]) / 2]
    made = steps(listed(msa.NnunetSpatial)[0], image((8, 8, 8), 1), rotation_p=0, scaling_p=1)
    matrices = np.array([s[0].matrix.diagonal()[:3] for s in made])
    for axis, name in enumerate("zyx"):
        yield alike(f"DA5 scaling along {name}", matrices[:, axis], found)


def chance_rows() -> Iterator[Row]:
    """How often each step happens."""
    one, two = image((8, 8, 8), 1), image((8, 8, 8), 2)
    turned = steps(listed(msa.NnunetSpatial)[0], one, rotation_p=1, scaling_p=0)
    yield happens("DA5 rotation: no axis", [not s for s in turned], 0.5**3)
    whole = listed(msa.NnunetSpatial)[0]
    yield happens("DA5 rotation or scaling", [bool(s) for s in steps(whole, one)],
                  1 - (1 - 0.4 * (1 - 0.5**3)) * 0.8)  # fmt: skip
    names = {
        msa.BlankRectangle: 0.4, msa.BrightnessGradient: 0.3, msa.Sharpen: 0.2, msa.Brightness: 0.1,
    }  # fmt: skip
    for kind, p in names.items():
        found = listed(kind)[0]
        always = {"channel_p": 1} if "channel_p" in type(found).model_fields else {}
        made = [bool(s) for s in steps(found, one, **always)]
        yield happens(f"DA5 {kind.__name__}", made, p)
        if always:
            each = [s[0].params if s else (None, None) for s in steps(found, two, p=1)]
            hits = [p is not None for params in each for p in params]
            yield happens(f"DA5 {kind.__name__}, each channel", hits, 0.5)
    for kind in (msa.LocalGamma, msa.Contrast):
        inside = next(
            t for t in STEPS if any(type(c) is kind for c in getattr(t, "transforms", ()))
        )
        p = 0.2 if kind is msa.Contrast else 0.3 * 0.5  # of one channel, which is hit in half
        yield happens(f"DA5 {kind.__name__}", [bool(s) for s in steps(inside, one)], p)
    yield from _stage_rows()


def _stage_rows() -> Iterator[Row]:
    layers = np.stack([labels((8, 8, 8)), labels((8, 8, 8))])
    given = msa.PreviousStage(labels=CLASSES)
    pipeline, case = msa.Pipeline([given]), sample(image((8, 8, 8), 1), layers)
    plans = [pipeline.plan(case, 5, i).segments[0].steps for i in range(DRAWS)]
    found = [{s.function: s.params for s in p if isinstance(s, LabelStep)} for p in plans]
    for name, p in (("reshaped", 0.4), ("robbed", 0.2)):
        hits = [f"previous_stage:{name}" in f for f in found]
        yield happens(f"cascade: {name}", hits, p * (1 - 0.5**3))
    radii = [r for f in found for r in f.get("previous_stage:reshaped", ())[2::3]]
    yield alike("cascade: radius", radii, np.random.default_rng(1).uniform(1, 8, DRAWS))


CHECKS = (local_rows, noise_rows, exact_rows, cascade_rows, range_rows, chance_rows)
