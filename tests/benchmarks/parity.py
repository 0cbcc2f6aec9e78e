"""Compare nnU-Net's recipes with its own steps, one by one; exit 1 where one differs.

    python tests/benchmarks/parity.py

Here is recipe ``nnunet``; what others add to it is in `parity_da5.py`. What is not chance is done
by both with the same numbers: the largest difference, relative to the range of the result, is below
1e-4. What is chance is compared as distributions, by p-values above 1e-3 (seeds are fixed, so that
a verdict stays).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from batchgeneratorsv2.transforms.intensity import brightness, contrast, gamma, gaussian_noise
from batchgeneratorsv2.transforms.noise import gaussian_blur
from batchgeneratorsv2.transforms.spatial import low_resolution, mirroring, spatial
from batchgeneratorsv2.transforms.utils import nnunet_masking, pseudo2d, remove_label
from scipy import ndimage, stats

import medsataug as msa
from medsataug.draws import Draws
from medsataug.maps import Displacement
from medsataug.transforms.base import State

CLOSE, LIKELY, DRAWS = 1e-4, 1e-3, 2000
#: Scores of two labels closer than this are a tie in batchgeneratorsv2's float16 (steps of 5e-4).
TIE = 2e-3
SHAPE, THIN, FLAT = (22, 30, 26), (6, 34, 28), (40, 34)


@dataclass(frozen=True)
class Row:
    """``value`` is a relative difference, a count of differing labels, or a p-value.

    What is ``noted`` is known to differ, and for what reason.
    """

    name: str
    kind: str
    n: int
    value: float

    @property
    def passed(self) -> bool:
        if self.kind in ("labels", "noted"):
            return self.kind == "noted" or self.value == 0
        return self.value < CLOSE if self.kind == "difference" else self.value > LIKELY


def image(shape: tuple[int, ...], channels: int = 3, seed: int = 0) -> Any:
    """(C, …) float32: smooth shapes and texture, about mean 0 and deviation 1."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(channels, *shape))
    smooth = np.stack([ndimage.gaussian_filter(c, 3) for c in noise])
    made = smooth / smooth.std() + 0.2 * noise
    made += 0.3 * rng.normal(size=channels).reshape(-1, *[1] * len(shape))
    return made.astype(np.float32)


def labels(shape: tuple[int, ...]) -> Any:
    """Five classes, one of them −1."""
    rank = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=shape), 2.5)
    bounds = np.quantile(rank, [0.2, 0.5, 0.7, 0.9])
    return np.array([-1, 0, 1, 2, 7], np.int16)[np.digitize(rank, bounds)]


def sample(picture: Any, label: Any = None) -> msa.Sample:
    return msa.Sample(picture, label, "C" + "ZYX"[4 - picture.ndim :], id="parity")


def ours(transforms: Any, picture: Any, label: Any = None, **settings: Any) -> Any:
    """Image and label after our transforms."""
    given = transforms if isinstance(transforms, list) else [transforms]
    out = msa.Pipeline(given, antialias=False, **settings)(sample(picture, label), seed=1)
    return out.image, out.label


def theirs(transform: Any, picture: Any) -> Any:
    """Image after a transform of batchgeneratorsv2, which works in place."""
    return transform(image=torch.from_numpy(picture.copy()))["image"].numpy()


def apart(name: str, pairs: list[tuple[Any, Any]]) -> Row:
    """Largest difference of (ours, theirs), relative to the range of theirs."""
    worst = max(float(np.abs(a - b).max() / np.ptp(b)) for a, b in pairs)
    return Row(name, "difference", sum(b.size for _, b in pairs), worst)


# ------------------------------------------------------------------ spatial


def _peer(patch: tuple[int, ...], angles: list[float], scale: float, **more: Any) -> Any:
    return spatial.SpatialTransform(
        patch, 0, random_crop=False, p_rotation=1, rotation=lambda image, dim: angles[dim],
        p_scaling=1, scaling=scale, p_synchronize_scaling_across_axes=1, **more,
    )  # fmt: skip


def _turned(degrees: list[float], factor: float, **more: Any) -> Any:
    axes = "zyx" if len(degrees) == 3 else "z"
    given = dict(zip(axes, degrees[-len(axes) :], strict=True))
    return msa.NnunetSpatial(degrees=given, factor=factor, rotation_p=1, scaling_p=1, **more)


def _cases(count: int, ndim: int, most: float) -> list[tuple[list[float], float]]:
    rng = np.random.default_rng(2)
    return [(rng.uniform(-most, most, ndim).tolist(), rng.uniform(0.7, 1.4)) for _ in range(count)]


def spatial_rows() -> Iterator[Row]:
    for ndim, shape, most in ((3, SHAPE, 30), (2, FLAT, 180)):
        picture, label = image(shape), labels(shape)
        pairs, wrong, compared = [], 0, 0
        for degrees, factor in _cases(6, ndim, most):
            angles = [math.radians(v) for v in degrees]
            for fill, border in ((0, "zeros"), (-1, "constant")):
                peer = _peer(shape, angles, factor, border_mode_seg=border, padding_value_seg=fill)
                out = peer(
                    image=torch.from_numpy(picture), segmentation=torch.from_numpy(label[None])
                )
                mine, seg = ours(_turned(degrees, factor), picture, label, label_fill=fill)
                pairs.append((mine, out["image"].numpy()))
                clear = ~_ties(_turned(degrees, factor), label, fill)
                wrong += int((seg != out["segmentation"].numpy()[0])[clear].sum())
                compared += int(clear.sum())
        yield apart(f"spatial {ndim}D: image", pairs)
        yield Row(f"spatial {ndim}D: label, ties apart", "labels", compared, wrong)
    picture, patch, pairs = image(SHAPE), (14, 16, 18), []
    for degrees, factor in _cases(6, 3, 30):
        peer = _peer(patch, [math.radians(v) for v in degrees], factor)
        crop = msa.Patch(size=patch, mode="center")
        pairs.append((ours([crop, _turned(degrees, factor)], picture)[0], theirs(peer, picture)))
    yield apart("spatial 3D: patch of a larger image", pairs)
    picture, pairs = image(THIN), []
    there, back = pseudo2d.Convert3DTo2DTransform(), pseudo2d.Convert2DTo3DTransform()
    for degrees, factor in _cases(6, 2, 180):
        peer = _peer(THIN[1:], [math.radians(v) for v in degrees], factor)
        out = back(**peer(**there(image=torch.from_numpy(picture))))["image"].numpy()
        pairs.append((ours(_turned(degrees, factor), picture)[0], out))
    yield apart("spatial dummy-2D: image", pairs)
    yield _elastic_row()


def _ties(transform: Any, label: Any, fill: int) -> Any:
    """Where the two best labels, or one and the border, are as good as even."""
    plan = msa.Pipeline([transform], antialias=False).plan(sample(label[None] * 1.0), seed=1)
    index = np.stack(np.meshgrid(*map(np.arange, label.shape), indexing="ij"), -1)
    at = plan.source_positions(index.reshape(-1, label.ndim).astype(float)).T
    # As if padded: label ``fill`` all around, far enough.
    wide = np.pad(label, 40, constant_values=fill)
    scores = [
        ndimage.map_coordinates((wide == v).astype(float), at + 40, order=1, cval=float(v == fill))
        for v in np.unique(wide)
    ]
    best = np.sort(np.stack(scores), axis=0)
    return (best[-1] - best[-2] < TIE).reshape(label.shape)


def _elastic_row() -> Row:
    """Our field as their offsets: deformed first, then turned, about the same centre."""
    picture = image(SHAPE)
    transform = _turned([20, -10, 25], 1.2, elastic_p=1, elastic_scale=0.2)
    plan = msa.Pipeline([transform], antialias=False).plan(sample(picture), seed=1)
    assert plan.segments[0].spatial is not None
    bend = next(p for p in plan.segments[0].spatial.parts if isinstance(p, Displacement))
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).reshape(-1, 3)
    offsets = (bend(index.astype(float)) - index).reshape(*SHAPE, 3)
    angles = [math.radians(v) for v in (20, -10, 25)]
    matrix = spatial.create_affine_matrix_3d(angles, [1.2] * 3)
    grid = spatial._create_centered_identity_grid2(SHAPE).double() + torch.from_numpy(offsets)
    grid = torch.matmul(grid, torch.from_numpy(matrix.T)).float()
    grid = spatial._convert_my_grid_to_grid_sample_grid(grid, SHAPE)
    out = _peer(SHAPE, angles, 1.2)._apply_to_image(torch.from_numpy(picture), grid=grid)
    return apart("spatial elastic: same field", [(plan(sample(picture)).image, out.numpy())])


# ------------------------------------------------------------------ values


def value_rows() -> Iterator[Row]:
    picture = image(SHAPE)
    multiply = brightness.MultiplicativeBrightnessTransform
    pairs = [
        (ours(msa.IntensityScale(gain=g, offset=0, field=0), picture)[0],
         theirs(multiply(g, False), picture))
        for g in (0.75, 1.25)
    ]  # fmt: skip
    yield apart("brightness", pairs)
    for keep in (True, False):
        pairs = [
            (ours(msa.Contrast(factor=f, keep_range=keep, scope="output"), picture)[0],
             theirs(contrast.ContrastTransform(f, keep, False), picture))
            for f in (0.75, 1.25)
        ]  # fmt: skip
        yield apart("contrast" + (", range kept" if keep else ", free"), pairs)
    for invert in (False, True):
        for keep in (False, True):
            pairs = []
            for e in (0.7, 1.5):
                mine = msa.Gamma(exponent=e, invert=invert, keep_stats=keep, scope="output")
                peer = gamma.GammaTransform(e, float(invert), False, 1, float(keep))
                pairs.append((ours(mine, picture)[0], theirs(peer, picture)))
            name = "gamma" + ", inverted" * invert + ", statistics kept" * keep
            yield apart(name, pairs)
    yield from _blur_rows(picture)
    for shape in (SHAPE, THIN, FLAT):
        where, ignored = ("dummy-2D", (0,)) if shape == THIN else (f"{len(shape)}D", None)
        thing, pairs = image(shape), []
        for scale in (0.5, 0.61, 0.77, 0.9, 0.97):
            mine = msa.LowResolution(scale=scale, in_plane="auto")
            peer = low_resolution.SimulateLowResolutionTransform(scale, False, True, ignored)
            pairs.append((ours(mine, thing)[0], theirs(peer, thing)))
        yield apart(f"low resolution {where}", pairs)
    flip = mirroring.MirrorTransform((0, 1, 2))
    pairs = []
    for axes in ((0,), (1,), (2,), (0, 2), (0, 1, 2)):
        out = flip._apply_to_image(torch.from_numpy(picture), axes=axes)
        pairs.append((ours(msa.Flip(axes=axes, p=1), picture)[0], out.numpy()))
    yield apart("mirror", pairs)
    label = labels(SHAPE)
    seg = torch.from_numpy(label[None].copy())
    given = {"image": torch.from_numpy(picture.copy()), "segmentation": seg}
    out = nnunet_masking.MaskImageTransform([0, 2])(**given)
    out = remove_label.RemoveLabelTransform(-1, 0)(**out)
    mine, seg = ours(msa.ZeroOutside(channels=(0, 2)), picture, label)
    yield apart("zero outside the mask: image", [(mine, out["image"].numpy())])
    wrong = int((seg != out["segmentation"].numpy()[0]).sum())
    yield Row("zero outside the mask: label", "labels", label.size, wrong)


def _blur_rows(picture: Any) -> Iterator[Row]:
    """Theirs ends at 1 to 3 sigma, as rounding has it, and mirrors about the last voxel.

    Ours is compared with their function asked for a wider kernel, off the border; how far whole
    images are apart, as each does it by default, is said for the record.
    """
    inside = (slice(None), *[slice(5, -5)] * 3)
    for width, part, kind in ((10, inside, "difference"), (6, ..., "noted")):
        pairs = []
        for sigma in ((0.5, 0.7, 1.0), (1.0, 0.6, 0.5)):
            out = torch.from_numpy(picture)
            for dim, s in enumerate(sigma):
                out = gaussian_blur.blur_dimension(out, s, dim, truncate=width)
            mine = ours(msa.GaussianBlur(sigma=dict(zip("zyx", sigma, strict=True))), picture)[0]
            pairs.append((mine[part], out.numpy()[part]))
        name = "kernel to 5 sigma, off the border" if kind == "difference" else "other borders"
        yield replace(apart(f"blur, {name}", pairs), kind=kind)


# ------------------------------------------------------------------ chance


def recipe(kind: type, number: int = 0) -> Any:
    return [t for t in msa.Pipeline.load("nnunet").transforms if isinstance(t, kind)][number]


def steps(transform: Any, picture: Any, **more: Any) -> list[Any]:
    """Steps of each of many draws."""
    given = {n: getattr(transform, n) for n in transform.model_fields_set} | more
    changed, thing = type(transform)(**given), sample(picture)
    state, stream = State.of(thing, "moved", 0.0), repr(changed)  # numbers of its own
    return [changed.steps(Draws(5, "parity", i, stream), state) for i in range(DRAWS)]


def numbers(kind: type, number: int, place: int, picture: Any, **more: Any) -> list[float]:
    """One parameter of every channel, in every draw."""
    made = [s[0].params for s in steps(recipe(kind, number), picture, p=1, **more) if s]
    return [float(p[place]) for params in made for p in params if p is not None]


def alike(name: str, mine: Any, others: Any) -> Row:
    return Row(name, "Kolmogorov-Smirnov", len(mine), float(stats.ks_2samp(mine, others).pvalue))


def happens(name: str, made: list[bool], p: float) -> Row:
    found = stats.binomtest(sum(made), len(made), p)
    return Row(f"{name}: p = {p:g}", "binomial", len(made), float(found.pvalue))


def _angles(matrices: list[Any]) -> Any:
    """Angles of Rz · Ry · Rx, flat."""
    r = np.array(matrices) / np.cbrt(np.linalg.det(matrices))[:, None, None]
    about = np.arctan2(r[:, 2, 1], r[:, 2, 2]), -np.arcsin(r[:, 2, 0])
    return np.stack([*about, np.arctan2(r[:, 1, 0], r[:, 0, 0])])


def range_rows() -> Iterator[Row]:
    """The numbers that are drawn."""
    np.random.seed(3)  # noqa: NPY002  batchgeneratorsv2 draws from the global generators
    torch.manual_seed(3)
    one = image((8, 8, 8), 1)
    given = {"image": torch.from_numpy(one)}
    peer = spatial.SpatialTransform(
        (8, 8, 8), 0, False, p_rotation=1, rotation=(-math.pi / 6, math.pi / 6), p_scaling=1,
        scaling=(0.7, 1.4), p_synchronize_scaling_across_axes=1,
    )  # fmt: skip
    others = [peer.get_parameters(**given)["affine"] for _ in range(DRAWS)]
    made = steps(msa.NnunetSpatial(rotation_p=1, scaling_p=1), one)
    mine = [s[0].matrix[:3, :3] for s in made]
    for axis, a, b in zip("zyx", _angles(mine), _angles(others), strict=True):
        yield alike(f"rotation about {axis}", a, b)
    yield alike("scaling", *(np.cbrt(np.linalg.det(m)) for m in (mine, others)))

    def draw(transform: Any, name: str) -> list[float]:
        found = [transform.get_parameters(**given)[name] for _ in range(DRAWS)]
        return np.array(found, dtype=float).reshape(DRAWS, -1)[:, 0].tolist()

    factor, exponent = contrast.BGContrast((0.75, 1.25)), contrast.BGContrast((0.7, 1.5))
    peer = brightness.MultiplicativeBrightnessTransform(factor, False)
    yield alike("brightness", numbers(msa.IntensityScale, 0, 0, one), draw(peer, "multipliers"))
    peer = contrast.ContrastTransform(factor, True, False)
    yield alike("contrast", numbers(msa.Contrast, 0, 0, one), draw(peer, "multipliers"))
    for number, name in enumerate(("gamma, inverted", "gamma")):
        peer = gamma.GammaTransform(exponent, 1 - number, False, 1, 1)
        yield alike(name, numbers(msa.Gamma, number, 0, one), draw(peer, "gamma"))
    made = [s[0].params[0][0] for s in steps(recipe(msa.GaussianNoise), one, p=1)]
    peer = gaussian_noise.GaussianNoiseTransform((0, 0.1), 1, True)
    deviations = [stat.times for stat in made]  # of the case's deviation, which is 1
    yield alike("noise: deviation", deviations, draw(peer, "sigmas"))
    peer = gaussian_blur.GaussianBlurTransform((0.5, 1.0))
    for axis in range(3):
        mine = numbers(msa.GaussianBlur, 0, axis, one, channel_p=1)
        others = [peer.get_parameters(**given)["sigmas"][0][axis] for _ in range(DRAWS)]
        yield alike(f"blur: sigma along {'zyx'[axis]}", mine, others)
    long = np.zeros((1, 20_000, 2), np.float32)  # a size tells the scale to 5e-5
    sizes = numbers(msa.LowResolution, 0, 1, long, channel_p=1)
    peer = low_resolution.SimulateLowResolutionTransform((0.5, 1), False, True, None)
    yield alike("low resolution: scale", np.array(sizes) / 20_000, draw(peer, "scales"))


def chance_rows() -> Iterator[Row]:
    """How often each step happens, and what noise is like."""
    one, two = image((8, 8, 8), 1), image((8, 8, 8), 2)
    whole = recipe(msa.NnunetSpatial)
    for part in ("rotation", "scaling"):
        other = {"scaling_p" if part == "rotation" else "rotation_p": 0}
        yield happens(part, [bool(s) for s in steps(whole, one, **other)], 0.2)
    yield happens("rotation or scaling", [bool(s) for s in steps(whole, one)], 1 - 0.8**2)
    listed: list[tuple[str, type, int, float]] = [
        ("noise", msa.GaussianNoise, 0, 0.1), ("blur", msa.GaussianBlur, 0, 0.2),
        ("brightness", msa.IntensityScale, 0, 0.15), ("contrast", msa.Contrast, 0, 0.15),
        ("low resolution", msa.LowResolution, 0, 0.25), ("gamma, inverted", msa.Gamma, 0, 0.1),
        ("gamma", msa.Gamma, 1, 0.3),
    ]  # fmt: skip
    for name, kind, number, p in listed:
        always = {"channel_p": 1} if kind in (msa.GaussianBlur, msa.LowResolution) else {}
        if kind is msa.LowResolution:
            always["scale"] = 0.5  # else 8 voxels may stay 8
        yield happens(name, [bool(s) for s in steps(recipe(kind, number), one, **always)], p)
    for name, kind in (("blur", msa.GaussianBlur), ("low resolution", msa.LowResolution)):
        scale = {"scale": 0.5} if kind is msa.LowResolution else {}
        made = steps(recipe(kind), two, p=1, **scale)
        hit = [bool(s) and s[0].params[c] is not None for s in made for c in range(2)]
        yield happens(f"{name}, each channel", hit, 0.5)
    flips = [s[0].matrix.diagonal() if s else np.ones(4) for s in steps(recipe(msa.Flip), one)]
    for axis in range(3):
        yield happens(f"mirror {'zyx'[axis]}", [bool(d[axis] < 0) for d in flips], 0.5)
    torch.manual_seed(5)
    flat = np.zeros((2, 32, 32, 32), np.float32)
    mine = ours(msa.GaussianNoise(std=0.07), flat)[0]
    others = theirs(gaussian_noise.GaussianNoiseTransform(0.07, 1, True), flat)
    yield alike("noise: values", mine.ravel(), others.ravel())


CHECKS = (spatial_rows, value_rows, range_rows, chance_rows)


def table(rows: list[Row]) -> Iterator[str]:
    yield "| step | compared by | n | largest difference, or p | verdict |"
    yield "| --- | --- | --- | --- | --- |"
    for row in rows:
        verdict = "same" if row.passed else "DIFFERS"
        verdict = "known" if row.kind == "noted" else verdict
        yield f"| {row.name} | {row.kind} | {row.n} | {row.value:.2g} | {verdict} |"


def main() -> int:
    from tests.benchmarks import parity_da5

    rows = [row for check in (*CHECKS, *parity_da5.CHECKS) for row in check()]
    print(*table(rows), sep="\n")
    return int(not all(row.passed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
