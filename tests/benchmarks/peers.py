"""Each tool's own best way to do one workload, as a zero-argument callable.

A factory imports its library inside, prepares what a training loop would keep between samples (the
transform object, the array in the tool's own layout) and returns a callable that draws fresh
parameters and warps image and label once. README.md pairs the parameters.
"""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import math
import os
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from workloads import DEGREES, LATTICE, MAGNITUDE, SCALE, Workload

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("ALBUMENTATIONS_NO_TELEMETRY", "1")

Call = Callable[[], Any]
Factory = Callable[[Workload], Call]


class Unsupported(Exception):
    """The tool cannot do this workload; the table gives the reason."""


def copy_floor(work: Workload) -> Call:
    """Copy a centre crop of the same output: nothing that touches every voxel is faster."""
    window = tuple(
        slice((n - m) // 2, (n - m) // 2 + m)
        for n, m in zip(work.label.shape, work.out_shape, strict=True)
    )
    return lambda: (work.image[(slice(None), *window)].copy(), work.label[window].copy())


def _medsataug(work: Workload, image: np.ndarray) -> Call:
    import medsataug as msa

    transforms: list[Any] = [
        msa.Rotate(degrees=(-DEGREES, DEGREES)),
        msa.Scale(factor=SCALE),
        msa.Elastic(spacing=LATTICE, magnitude=MAGNITUDE),
    ]
    if work.out_shape != work.label.shape:
        transforms.append(msa.Patch(size=work.out_shape, mode="center"))
    pipeline = msa.Pipeline(transforms)
    spacing = (1.0,) * work.ndim
    sample = msa.Sample(image=image, label=work.label, axes=work.axes, spacing=spacing, id="bench")
    index = itertools.count()
    return lambda: pipeline(sample, seed=1, index=next(index))


def medsataug(work: Workload) -> Call:
    """Ours: planning and executing, channels first as stored."""
    return _medsataug(work, work.image)


def medsataug_interleaved(work: Workload) -> Call:
    """Ours on a (C, Y, X) view of channels-last memory, as OpenCV's readers store it."""
    if work.ndim == 3:
        raise Unsupported("volumes are stored channel by channel")
    return _medsataug(
        work, np.moveaxis(np.ascontiguousarray(np.moveaxis(work.image, 0, -1)), -1, 0)
    )


def _batchgenerators(work: Workload, mode_seg: str) -> Call:
    import torch
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    if work.image.dtype != np.float32:
        raise Unsupported("float32 only")
    angle = math.radians(DEGREES)
    transform = SpatialTransform(
        work.out_shape,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_elastic_deform=1,
        # a fraction of the patch's edge: about 0.58 lattice spacings, a cubic B-spline's own width
        elastic_deform_scale=0.58 * LATTICE / max(work.out_shape),
        elastic_deform_magnitude=MAGNITUDE,
        p_rotation=1,
        rotation=(-angle, angle),
        p_scaling=1,
        scaling=SCALE,
        p_synchronize_scaling_across_axes=1,
        mode_seg=mode_seg,
    )
    image = torch.from_numpy(work.image)
    label = torch.from_numpy(work.label[None].astype(np.int16))  # nnU-Net's label type
    return lambda: transform(image=image, segmentation=label)


def batchgenerators_nearest(work: Workload) -> Call:
    """batchgeneratorsv2 with a nearest-neighbour label: its cheapest."""
    return _batchgenerators(work, "nearest")


def batchgenerators_argmax(work: Workload) -> Call:
    """batchgeneratorsv2 with its argmax label, as nnU-Net trains."""
    return _batchgenerators(work, "bilinear")


def monai(work: Workload) -> Call:
    """MONAI's RandNDElasticd: affine and elastic in one resampling, nearest label."""
    import torch
    from monai.transforms import Rand2DElasticd, Rand3DElasticd

    if work.image.dtype != np.float32:
        raise Unsupported("float32 only")
    spread = (SCALE[0] - 1, SCALE[1] - 1)
    angle = math.radians(DEGREES)
    common: dict[str, Any] = {
        "keys": ("image", "label"),
        "prob": 1.0,
        "spatial_size": work.out_shape,
        "mode": ("bilinear", "nearest"),
        "padding_mode": "zeros",
        "rotate_range": [(-angle, angle)] * (3 if work.ndim == 3 else 1),
        "scale_range": [spread] * work.ndim,
    }
    if work.ndim == 3:
        # its tutorials' sigma: the narrow kernel favours it; magnitude reaches about 5 voxels
        transform: Any = Rand3DElasticd(sigma_range=(5, 8), magnitude_range=(150, 250), **common)
    else:
        transform = Rand2DElasticd(spacing=LATTICE, magnitude_range=(1, 2), **common)
    image = torch.from_numpy(work.image)
    label = torch.from_numpy(work.label[None])
    return lambda: transform({"image": image, "label": label})


def _torchio(work: Workload, crop_first: bool) -> Call:
    import torch
    import torchio as tio

    if work.ndim == 2:
        raise Unsupported("volumes only")
    frame = work.out_shape if crop_first else work.label.shape
    affine = {"scales": SCALE, "degrees": DEGREES, "isotropic": True, "default_pad_value": 0}
    points = tuple(round(n / LATTICE) + 3 for n in frame)  # three carry the spline's edge
    elastic = {"num_control_points": points, "max_displacement": MAGNITUDE}
    crop = tio.CropOrPad(work.out_shape)
    if crop_first:
        fused = tio.RandomAffineElasticDeformation(affine_kwargs=affine, elastic_kwargs=elastic)
        transform = tio.Compose([crop, fused])
    else:
        steps = [tio.RandomAffine(**affine), tio.RandomElasticDeformation(**elastic), crop]
        transform = tio.Compose(steps)
    subject = tio.Subject(
        image=tio.ScalarImage(tensor=torch.from_numpy(work.image)),
        label=tio.LabelMap(tensor=torch.from_numpy(work.label[None])),
    )
    return lambda: transform(subject)


def torchio_composed(work: Workload) -> Call:
    """TorchIO's RandomAffine, then RandomElasticDeformation, then a crop: two resamplings."""
    return _torchio(work, crop_first=False)


def torchio_crop_first(work: Workload) -> Call:
    """TorchIO at its cheapest: crop, then one fused resampling; the corners come out empty."""
    return _torchio(work, crop_first=True)


def scipy(work: Workload) -> Call:
    """SciPy: a dense coordinate array, then `map_coordinates` once a channel; nearest label."""
    from scipy import ndimage
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(0)
    shape, ndim = work.out_shape, work.ndim
    centred = [np.arange(n, dtype=np.float64) - (n - 1) / 2 for n in shape]
    centre = (np.array(work.label.shape) - 1) / 2
    lattice = [math.ceil(n / LATTICE) + 1 for n in shape]
    image_out = np.empty((len(work.image), *shape), work.image.dtype)

    def call() -> Any:
        angles = rng.uniform(-DEGREES, DEGREES, 3)
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        if ndim == 2:
            turn = Rotation.from_euler("z", angles[0], degrees=True).as_matrix()[:2, :2]
        matrix = turn / rng.uniform(*SCALE)
        base = np.stack(np.meshgrid(*centred, indexing="ij"))
        for axis in range(ndim):
            control = rng.uniform(-MAGNITUDE, MAGNITUDE, lattice)
            factor = [n / m for n, m in zip(shape, lattice, strict=True)]
            base[axis] += ndimage.zoom(control, factor, order=3)
        coords = np.tensordot(matrix, base, 1) + centre.reshape(-1, *[1] * ndim)
        for source, target in zip(work.image, image_out, strict=True):
            ndimage.map_coordinates(source, coords, output=target, order=1)
        return image_out, ndimage.map_coordinates(work.label, coords, order=0)

    return call


def albumentations(work: Workload) -> Call:
    """Albumentations' Affine, then ElasticTransform: two `cv2` resamplings, nearest mask."""
    import albumentations as A

    if work.ndim == 3:
        raise Unsupported("images only")
    size = work.out_shape[0]
    if "control_grid_shape" in inspect.signature(A.ElasticTransform.__init__).parameters:
        fraction = MAGNITUDE / size
        elastic = A.ElasticTransform((fraction, fraction), (size // LATTICE,) * 2, p=1)
    else:  # Albumentations 2.0: one Gaussian-filtered dense field
        elastic = A.ElasticTransform(alpha=20 * LATTICE, sigma=0.58 * LATTICE, p=1)
    affine = A.Affine(scale=SCALE, rotate=(-DEGREES, DEGREES), p=1)
    transform = A.Compose([affine, elastic], seed=1)
    image = np.ascontiguousarray(np.moveaxis(work.image, 0, -1))
    return lambda: transform(image=image, mask=work.label)


PEERS: dict[str, Factory] = {
    "crop copy": copy_floor,
    "batchgeneratorsv2, nearest": batchgenerators_nearest,
    "batchgeneratorsv2, argmax": batchgenerators_argmax,
    "MONAI": monai,
    "TorchIO, crop first": torchio_crop_first,
    "TorchIO, composed": torchio_composed,
    "SciPy": scipy,
    "Albumentations": albumentations,
}
OURS: dict[str, Factory] = {
    "medsataug": medsataug,
    "medsataug, interleaved": medsataug_interleaved,
}
TOOLS: dict[str, Factory] = OURS | PEERS

_PACKAGES = (
    "medsataug numpy numba scipy batchgeneratorsv2 monai torchio albumentationsx albumentations"
    " opencv-python-headless torch SimpleITK"
).split()


def versions() -> str:
    """Every package that takes part and its version; those missing are named too."""
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            here = importlib.util.find_spec(name)  # a checkout or a folder on the path
            found.append(f"{name} {'as on the path' if here else 'not installed'}")
    return ", ".join(found)


def set_threads(count: int) -> None:
    """Limit every library that is loaded and has a switch; SciPy and NumPy's part use one."""
    switches = {
        "torch": lambda torch: torch.set_num_threads(count),
        "cv2": lambda cv2: cv2.setNumThreads(count),
        "SimpleITK": lambda sitk: sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(count),
        "medsataug": lambda msa: msa.set_threads(count),
    }
    for name, switch in switches.items():
        if module := sys.modules.get(name):
            switch(module)
