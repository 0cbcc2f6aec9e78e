"""How far each tool's warp lies from exact arithmetic, for one fixed rotation and scale.

The elastic part is off, for no two tools draw the same field. Each tool is judged on its own grid:
of the conventions in use (sense of rotation, scale or its inverse, centre (n − 1)/2 or n/2) the one
that its output follows is taken, so that a convention is never counted as an error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from peers import Unsupported
from scipy import ndimage

DEGREES = 11.0
SCALE = 1.07
Warp = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Accuracy:
    """Errors relative to the image's range; `label` is a fraction of the voxels compared."""

    linear_max: float
    linear_mean: float
    field_max: float
    field_mean: float
    label: float
    centre: str


def phantom(ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth analytic image in [0, 1] and a label of four classes that meet.

    A volume has one channel, a raster eight equal bands: OpenCV has other, coarser code beyond
    four.
    """
    x = _positions((72, 96, 88)[-ndim:])
    bands = 1 if ndim == 3 else 8
    return np.repeat(_field(x)[None].astype(np.float32), bands, 0), _classes(x)


def _positions(shape: tuple[int, ...]) -> np.ndarray:
    """(D, ...) index coordinates."""
    return np.indices(shape, np.float64)


def _field(x: np.ndarray) -> np.ndarray:
    """Waves of 29 to 47 voxels along oblique axes."""
    waves = [((1.0, 0.3, -0.2), 29, 0.4), ((-0.2, 1.0, 0.4), 37, 1.1), ((0.3, -0.4, 1.0), 47, 2.0)]
    total = np.zeros(x.shape[1:])
    for direction, length, phase in waves:
        along = sum(d * c for d, c in zip(direction[-len(x) :], x, strict=True))
        total += np.sin(2 * math.pi * along / length + phase)
    return 0.5 + total / 6


def _classes(x: np.ndarray) -> np.ndarray:
    """Sectors of an oblique pattern: boundaries at every angle, and three-way junctions."""
    a = np.sin(x[-1] / 7 + x[-2] / 11) + (np.sin(x[0] / 9) if len(x) == 3 else 0)
    b = np.cos(x[-2] / 8 - x[-1] / 13)
    return (1 + 2 * (a > 0.2) + (b > 0.1) - (a + b > 1.4)).astype(np.uint8)


def _reference(
    image: np.ndarray, label: np.ndarray, coords: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Float64 linear interpolation, one-hot argmax, and where that argmax is not a near-tie."""
    linear = ndimage.map_coordinates(image[0].astype(np.float64), coords, order=1)
    classes = np.unique(label)
    votes = np.stack(
        [ndimage.map_coordinates((label == c).astype(np.float64), coords, order=1) for c in classes]
    )
    best = np.sort(votes, axis=0)
    return linear, classes[votes.argmax(0)], best[-1] - best[-2] > 1e-6


def measure(warp: Warp, ndim: int) -> Accuracy:
    """Run `warp` on the phantom and compare with exact arithmetic on the grid it follows."""
    image, label = phantom(ndim)
    got, got_label = (np.asarray(a) for a in warp(image, label))
    got, got_label = got.reshape(image.shape), got_label.reshape(label.shape)
    shape, out = np.array(label.shape), _positions(label.shape)
    found = []
    for sense, scale, half in itertools.product((1, -1), (SCALE, 1 / SCALE), (0.5, 0.0)):
        # the rotation turns the last two axes: about Z in a volume
        cos, sin = math.cos(math.radians(DEGREES)), sense * math.sin(math.radians(DEGREES))
        matrix = np.eye(ndim)
        matrix[-2:, -2:] = [[cos, -sin], [sin, cos]]
        centre = (shape / 2 - half).reshape(-1, *[1] * ndim)
        coords = np.tensordot(matrix * scale, out - centre, 1) + centre
        limit = shape.reshape(centre.shape)
        inside = ((coords >= 1) & (coords <= limit - 2)).all(0)
        truth = _field(coords)
        error = np.abs(got[0] - truth)[inside]
        found.append((error.mean(), half, coords, inside, truth))
    _, half, coords, inside, truth = min(found, key=lambda f: f[0])
    linear, vote, clear = _reference(image, label, coords)
    span = float(np.ptp(image))
    to_linear = np.abs(got - linear)[:, inside] / span
    to_field = np.abs(got - truth)[:, inside] / span
    wrong = (got_label != vote)[inside & clear]
    return Accuracy(
        float(to_linear.max()),
        float(to_linear.mean()),
        float(to_field.max()),
        float(to_field.mean()),
        float(wrong.mean()),
        "(n − 1)/2" if half else "n/2",
    )


def _medsataug(image: np.ndarray, label: np.ndarray) -> Any:
    import medsataug as msa

    axis = {"axes": "z"} if label.ndim == 3 else {}
    pipeline = msa.Pipeline([msa.Rotate(degrees=DEGREES, **axis), msa.Scale(factor=SCALE)])
    axes, spacing = "CZYX" if label.ndim == 3 else "CYX", (1.0,) * label.ndim
    out = pipeline(
        msa.Sample(image=image, label=label, axes=axes, spacing=spacing, id="bench"), seed=1
    )
    return out.image, out.label


def _batchgenerators(mode_seg: str) -> Warp:
    def warp(image: np.ndarray, label: np.ndarray) -> Any:
        import torch
        from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

        ndim = label.ndim
        turned = 0 if ndim == 3 else 1  # the axis it turns about; in 2D it reads the last angle
        transform = SpatialTransform(
            label.shape,
            patch_center_dist_from_border=0,
            random_crop=False,
            p_rotation=1,
            rotation=lambda image, dim: math.radians(DEGREES) if dim == turned else 0.0,
            p_scaling=1,
            scaling=(SCALE, SCALE),
            p_synchronize_scaling_across_axes=1,
            mode_seg=mode_seg,
        )
        segmentation = torch.from_numpy(label[None].astype(np.int16))
        out = transform(image=torch.from_numpy(image), segmentation=segmentation)
        return out["image"], out["segmentation"]

    return warp


def _monai(image: np.ndarray, label: np.ndarray) -> Any:
    import torch
    from monai.transforms import Affined

    angle = math.radians(DEGREES)
    transform = Affined(
        keys=("image", "label"),
        rotate_params=(angle, 0, 0) if label.ndim == 3 else angle,
        scale_params=(SCALE,) * label.ndim,
        mode=("bilinear", "nearest"),
        padding_mode="zeros",
    )
    out = transform({"image": torch.from_numpy(image), "label": torch.from_numpy(label[None])})
    return out["image"], out["label"]


def _torchio(image: np.ndarray, label: np.ndarray) -> Any:
    import torch
    import torchio as tio

    if label.ndim == 2:
        raise Unsupported("volumes only")
    subject = tio.Subject(
        image=tio.ScalarImage(tensor=torch.from_numpy(image)),
        label=tio.LabelMap(tensor=torch.from_numpy(label[None])),
    )
    out = tio.Affine(scales=(SCALE,) * 3, degrees=(DEGREES, 0, 0), translation=(0, 0, 0))(subject)
    return out["image"].data, out["label"].data


def _scipy(image: np.ndarray, label: np.ndarray) -> Any:
    ndim = label.ndim
    cos, sin = math.cos(math.radians(DEGREES)), math.sin(math.radians(DEGREES))
    matrix = np.eye(ndim)
    matrix[-2:, -2:] = [[cos, -sin], [sin, cos]]
    matrix *= SCALE
    centre = (np.array(label.shape) - 1) / 2
    offset = centre - matrix @ centre
    warped = np.stack([ndimage.affine_transform(c, matrix, offset, order=1) for c in image])
    return warped, ndimage.affine_transform(label, matrix, offset, order=0)


def _albumentations(image: np.ndarray, label: np.ndarray) -> Any:
    import albumentations as A

    if label.ndim == 3:
        raise Unsupported("images only")
    affine = A.Affine(scale=(SCALE, SCALE), rotate=(DEGREES, DEGREES), p=1)
    out = A.Compose([affine], seed=1)(image=np.moveaxis(image, 0, -1).copy(), mask=label)
    return np.moveaxis(out["image"], -1, 0), out["mask"]


WARPS: dict[str, Warp] = {
    "medsataug": _medsataug,
    "batchgeneratorsv2, nearest": _batchgenerators("nearest"),
    "batchgeneratorsv2, argmax": _batchgenerators("bilinear"),
    "MONAI": _monai,
    "TorchIO": _torchio,
    "SciPy": _scipy,
    "Albumentations": _albumentations,
}
