"""Small data sets on disk, asymmetric in shape and content."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import rasterio
from PIL import Image
from rasterio import Affine

SHAPE = (9, 11, 13)  # x, y, z


def volume(path: Path, seed: int = 0, shape=SHAPE, channels: int = 0, values=None) -> Path:
    """Write a NIfTI image of int16, or a label of the ``values`` given."""
    rng = np.random.default_rng(seed)
    full = (*shape, channels) if channels else shape
    if values is None:
        data = rng.integers(1, 900, full).astype(np.int16)
    else:
        data = np.array(values, np.uint8)[rng.integers(0, len(values), full)]
    affine = np.diag([-1.0, 1.5, 2.0, 1.0])
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


def picture(path: Path, seed: int = 0, shape=(20, 30), values=None) -> Path:
    """Write a PNG of one channel, or three where the shape says so."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, shape).astype(np.uint8)
    if values is not None:
        data = np.array(values, np.uint8)[data % len(values)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data).save(path)
    return path


def raster(path: Path, seed: int = 0, shape=(4, 50, 70), values=None, nodata=None) -> Path:
    """Write a GeoTIFF in UTM, 10 m."""
    rng = np.random.default_rng(seed)
    data = rng.integers(1, 4000, shape).astype(np.int16)
    if values is not None:
        data = np.array(values, np.uint8)[data % len(values)]
    elif nodata is not None:
        data[:, :7, :9] = nodata
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=shape[0], height=shape[1], width=shape[2],
        dtype=data.dtype, crs="EPSG:32633", transform=Affine(10, 0, 5e5, 0, -10, 5e6),
        nodata=nodata,
    ) as made:  # fmt: skip
        made.write(data)
    return path


def nnunet(root: Path, names=("a_1", "a_10", "a_2"), labels=None, channels=2, **more) -> Path:
    """Write a raw data set of nnU-Net's version 2."""
    labels = {"background": 0, "organ": 1, "tumour": 2} if labels is None else labels
    flat = {v for vs in labels.values() for v in (vs if isinstance(vs, list) else [vs])}
    for seed, name in enumerate(names):
        for c in range(channels):
            volume(root / "imagesTr" / f"{name}_{c:04d}.nii.gz", 10 * seed + c)
        volume(root / "labelsTr" / f"{name}.nii.gz", seed, values=sorted(flat))
    described(
        root,
        channel_names={str(c): n for c, n in enumerate(("T1", "T2", "FLAIR")[:channels])},
        labels=labels,
        numTraining=len(names),
        file_ending=".nii.gz",
        **more,
    )
    return root


def decathlon(root: Path, names=("liver_0", "liver_1"), channels=2) -> Path:
    """Write a task of the Medical Segmentation Decathlon."""
    for seed, name in enumerate(names):
        volume(root / "imagesTr" / f"{name}.nii.gz", seed, channels=channels)
        volume(root / "labelsTr" / f"{name}.nii.gz", seed, values=(0, 1))
        (root / "imagesTr" / f"._{name}.nii.gz").write_bytes(b"of another system")
    described(
        root,
        name="LIVER",
        modality={str(c): n for c, n in enumerate(("CT", "PET")[:channels])},
        labels={"0": "background", "1": "liver"},
        numTraining=len(names),
        training=[
            {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names
        ],
        test=["./imagesTs/liver_9.nii.gz"],
    )
    return root


def described(root: Path, **held) -> None:
    """Write ``dataset.json``."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(held))
