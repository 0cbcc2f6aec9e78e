"""An upper-abdomen CT phantom, written as a DICOM series with a NIfTI organ mask."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
from _shapes import SEED, FloatArray, Triple, axes_mm, ellipsoid, save_nifti, smooth_noise, tube
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from scipy import ndimage as ndi

CT_SHAPE = (160, 160, 24)
CT_STEP: Triple = (2.0, 2.0, 5.0)
CT_ORIGIN = (-159.0, -170.0, -412.5)  # LPS position of the first voxel's centre
CT_NAMESPACE = uuid.UUID("5a1f2d3c-0b6e-4c58-9d41-6f7a8b9c0d1e")


def abdomen(rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Return Hounsfield units and organ labels of an upper abdomen, axes left, posterior, up."""
    shape = (320, 320, 24)
    rigid = axes_mm(shape, (1, 1, 5))
    noise = {s: smooth_noise(rng, shape, s) for s in (4, 10)}
    x, y, z = points = tuple(
        p + 2.0 * smooth_noise(rng, shape, 12) for p in np.broadcast_arrays(*rigid)
    )
    hu = np.full(shape, -1000, np.float32)
    organ = np.zeros(shape, np.uint8)

    body = ellipsoid((x, y, 0 * z), (0, 0, 0), (140, 102, 1e3)) - 0.02 * (z + 60)
    wall = ellipsoid((x, y, 0 * z), (0, 2, 0), (122, 84, 1e3)) + 1.5 * noise[10]
    inner = wall + 12
    hu[body < 0] = -100 + 8 * noise[4][body < 0]
    hu[(body < 0) & (body > -2)] = 20
    hu[wall < 0] = 55
    hu[(wall < 0) & (np.abs(wall + 6) < 0.9)] = -70
    hu[inner < 0] = -95
    hu[(inner < -4) & (noise[4] > 1.75)] = 20
    side = (np.abs(x), y, z)
    muscles = np.minimum(
        ellipsoid(side, (30, 70, 0), (27, 17, 1e3)), ellipsoid(side, (28, 38, -40), (14, 18, 60))
    )
    hu[muscles + 0.8 * noise[4] < 0] = 58

    # Lung bases, liver with vessels, spleen, stomach with a fluid level, bowel.
    dome = 76 - 75 * (((side[0] - 40) / 80) ** 2 + ((y + 34) / 96) ** 2)
    lungs = np.maximum.reduce([0.6 * (dome - z), 30 - side[0], inner + 1, 3 - muscles])
    hu[(lungs < 0) & (inner < 0)] = -840 + 40 * noise[4][(lungs < 0) & (inner < 0)]
    cut = np.maximum(x - 40 - 0.35 * y, -(y + 70 - 0.3 * x) - 30)
    liver = np.maximum(ellipsoid(points, (-48, -8, 4), (86, 72, 72)), cut) + 1.2 * noise[10]
    liver = np.maximum.reduce([liver, inner + 2, 2 - lungs])
    liver = np.maximum(liver, 4 - ellipsoid(points, (-46, 44, -38), (27, 27, 52)))
    hu[liver < 0] = 112
    vessels = np.minimum.reduce(
        [
            tube(points, [(-14, 6, -20, 7), (-38, 0, 0, 5), (-84, 12, 12, 2), (-104, 20, 16, 1)]),
            tube(points, [(-38, 0, 0, 4), (-60, -34, 16, 2.5), (-70, -50, 24, 1)]),
            tube(points, [(-24, 26, 48, 5), (-60, 20, 36, 3.5), (-96, -8, 20, 1.5)]),
            tube(points, [(-24, 26, 48, 4), (-34, -20, 40, 3), (-40, -46, 24, 1.5)]),
        ]
    )
    hu[(vessels < 0) & (liver < -1)] = 168
    organ[liver < 0] = 1
    spleen = np.maximum.reduce([ellipsoid(points, (92, 26, 8), (24, 44, 50)), inner + 2, 2 - lungs])
    hu[spleen < 0] = 125
    pancreas = tube(points, [(-16, 2, -26, 11), (6, -4, -12, 8), (38, 6, -2, 9), (70, 20, 4, 6)])
    hu[(pancreas + 1.2 * noise[4] < 0) & (liver > 2)] = 96
    stomach = np.maximum(
        ellipsoid(points, (56, -34, 22), (36, 30, 44)) + 1.5 * noise[10], inner + 3
    )
    hu[stomach < 0] = 50
    hu[stomach < -4] = np.where(rigid[1] < -40, -990, 18 + 0 * stomach)[stomach < -4]
    loops = [(44, -38, -44), (76, -16, -46), (16, -48, -40), (88, -2, -22), (-20, -56, -52)]
    for number, (cx, cy, cz) in enumerate([*loops, (60, 8, -54), (34, -10, -50), (-74, -40, -58)]):
        loop = ellipsoid(points, (cx, cy, cz), (15 + number % 3, 13, 22)) + noise[4]
        loop = np.maximum.reduce([loop, inner + 2, 2 - liver, 2 - stomach])
        hu[loop < 0] = 65
        gas = rigid[1] < cy - 3 + 3 * (number % 3)
        hu[loop < -3] = np.where(gas & (number != 5), -960, 25 + 0 * loop)[loop < -3]

    # Kidneys with bright cortex and sinus fat, great vessels, spine, ribs, table.
    for cx, cy, cz in ((-47, 42, -36), (52, 40, -24)):
        kidney = ellipsoid(points, (cx, cy, cz), (23, 25, 46)) + 0.7 * noise[4]
        hilum = ellipsoid(points, (cx - np.sign(cx) * 13, cy - 7, cz), (12, 8, 20)) + noise[4]
        kidney = np.maximum(kidney, -hilum)
        hu[kidney < 0] = 205
        hu[kidney < -6] = 158 + 14 * noise[4][kidney < -6]
        organ[kidney < 0] = 2
    hu[np.maximum(tube(points, [(8, 22, -90, 10), (6, 24, 90, 12)]), -hu) < 0] = 235
    hu[ellipsoid(points, (-18, 18, 0), (13, 9, 1e3)) < 0] = 160
    disc = np.abs((z + 74) % 34 - 17) > 13.5
    vertebra = ellipsoid(points, (0, 46, 0), (22, 17, 1e3))
    flat = (side[0], y, 0 * z)
    processes = tube(flat, [(12, 64, 0, 4), (36, 67, 0, 3)])
    processes = np.minimum(processes, tube(flat, [(0, 76, 0, 3.5), (0, 90, 0, 3)]))
    arch = tube(flat, [(11, 58, 0, 4.5), (12, 66, 0, 4.5), (0, 76, 0, 4)])
    arch = np.minimum(arch, np.where(disc, 5, processes))
    bone = np.minimum(vertebra, arch)
    marrow = 210 + 45 * noise[4]
    hu[bone < 0] = np.where(bone > -2.5, 620, marrow)[bone < 0]
    hu[(vertebra < -1) & disc] = 95
    canal = np.hypot(x / 1.15, y - 67 + 1.5) - 7.5
    hu[canal < 0] = 35
    organ[(bone < 0) & (canal >= 0)] = 3
    angle = np.arctan2(np.abs(rigid[0]), -rigid[1] + 10)
    phase = (rigid[2] + 52 * np.cos(angle) + 400) % 27
    rib = np.hypot((wall + 8) / 5.0, (phase - 13.5) / 6.5) - 1
    rib = np.where((angle > 0.9) & (angle < 2.75), rib, 1)
    hu[rib < 0] = np.where(rib > -0.45, 700, 260)[rib < 0]
    table = np.hypot(rigid[0], rigid[1] + 280) - 396 + 0 * rigid[2]
    table = np.where(np.abs(rigid[0]) < 138, np.abs(table - 6) - 6, 1)
    hu[table < 0] = np.where(table > -3.5, 60, -900)[table < 0]
    return hu, organ


def make_ct(folder: Path) -> None:
    """Write the CT slices as DICOM, their names shuffled, and the organ labels as NIfTI."""
    rng = np.random.default_rng([SEED, 2])
    hu, organ = abdomen(rng)
    blocks = (CT_SHAPE[0], 2, CT_SHAPE[1], 2, CT_SHAPE[2])
    hu = ndi.gaussian_filter(hu, (0.8, 0.8, 0)).reshape(blocks).mean(axis=(1, 3))
    grain = smooth_noise(rng, CT_SHAPE, 0.6) * 11
    stored = np.clip(np.rint(hu + grain) + 1024, 0, 4095).astype("<i2")
    share = [(organ == c).reshape(blocks).mean(axis=(1, 3)) for c in (1, 2, 3)]
    label = np.where(np.max(share, 0) >= 0.5, np.argmax(share, 0) + 1, 0).astype(np.uint8)

    affine = np.diag([-CT_STEP[0], -CT_STEP[1], CT_STEP[2], 1.0])
    affine[:3, 3] = (-CT_ORIGIN[0], -CT_ORIGIN[1], CT_ORIGIN[2])
    save_nifti(folder.parent / "ct_label.nii.gz", label, affine)
    folder.mkdir(parents=True, exist_ok=True)
    for k, number in enumerate(rng.permutation(CT_SHAPE[2])):
        write_slice(folder / f"IM{number + 1:04d}.dcm", stored[:, :, k].T, k)


def write_slice(path: Path, pixels: NDArray[np.int16], k: int) -> None:
    """Write one slice of the CT series as Explicit VR Little Endian DICOM."""

    def uid(name: str) -> str:
        return f"2.25.{uuid.uuid5(CT_NAMESPACE, name).int}"

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid(f"slice {k}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid("implementation")
    meta.ImplementationVersionName = "MEDSATAUG"
    height = CT_ORIGIN[2] + k * CT_STEP[2]
    slice_ = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    elements = {
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": uid(f"slice {k}"),
        "StudyDate": "20240101",
        "SeriesDate": "20240101",
        "StudyTime": "120000",
        "AccessionNumber": "",
        "Modality": "CT",
        "Manufacturer": "Synthetic",
        "ReferringPhysicianName": "",
        "SeriesDescription": "Synthetic abdomen",
        "PatientName": "Synthetic^Phantom",
        "PatientID": "SYNTHETIC-1",
        "PatientBirthDate": "",
        "PatientSex": "O",
        "BodyPartExamined": "ABDOMEN",
        "SliceThickness": CT_STEP[2],
        "KVP": 120,
        "PatientPosition": "HFS",
        "StudyInstanceUID": uid("study"),
        "SeriesInstanceUID": uid("series"),
        "StudyID": "1",
        "SeriesNumber": 1,
        "AcquisitionNumber": 1,
        "InstanceNumber": k + 1,
        "ImagePositionPatient": [CT_ORIGIN[0], CT_ORIGIN[1], height],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "FrameOfReferenceUID": uid("frame of reference"),
        "PositionReferenceIndicator": "",
        "SliceLocation": height,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "PixelSpacing": [CT_STEP[1], CT_STEP[0]],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "WindowCenter": 50,
        "WindowWidth": 400,
        "RescaleIntercept": -1024,
        "RescaleSlope": 1,
        "RescaleType": "HU",
        "PixelData": pixels.tobytes(),
    }
    for keyword, value in elements.items():
        setattr(slice_, keyword, value)
    slice_.save_as(path, enforce_file_format=True)
