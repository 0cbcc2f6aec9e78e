"""A brain MRI phantom: FLAIR and contrast-enhanced T1 of a head with a tumour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from _shapes import (
    SEED,
    FloatArray,
    Points,
    Triple,
    axes_mm,
    blend,
    ellipsoid,
    save_nifti,
    smooth_noise,
    tube,
)
from numpy.typing import NDArray
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation

AIR, FAT, MUSCLE, BONE, MARROW, CSF, GREY, WHITE, DEEP_GREY, DURA, OEDEMA, ENHANCING, NECROSIS = (
    range(13)
)
FLAIR = np.array([0, 112, 62, 11, 56, 17, 106, 84, 100, 45, 160, 138, 60], np.float32)
T1 = np.array([0, 180, 72, 9, 105, 26, 84, 123, 97, 60, 86, 166, 42], np.float32)
MRI_SHAPE = (176, 208, 132)  # at 1 mm, before averaging to 3 mm slices
TUMOUR: Triple = (-33.0, 14.0, 12.0)


def sulci(rng: np.random.Generator, points: Points, wavelength: float) -> FloatArray:
    """Return the distance to a labyrinth of sheets that run perpendicular to the brain surface.

    The sheets are the zero crossings of band-passed noise, made constant along the rays that
    leave a central segment of the brain.
    """
    white = rng.standard_normal(MRI_SHAPE, dtype=np.float32)
    sigma = wavelength / 5.7
    noise = ndi.gaussian_filter(white, sigma, mode="wrap")
    noise -= ndi.gaussian_filter(white, 1.6 * sigma, mode="wrap")
    x, y, z = points
    core = np.clip(y, -38, 30)
    ray = np.sqrt(x * x + (y - core) ** 2 + (z + 8) ** 2) + 1e-3
    radial = np.clip((z + 26) / 10, 0, 1)  # the temporal lobes have no common centre
    scale = radial * (50 + 0.12 * (ray - 50)) / ray + 1 - radial
    sample = [x * scale, core + (y - core) * scale, (z + 8) * scale]
    index = np.stack([s + (n - 1) / 2 for s, n in zip(sample, MRI_SHAPE, strict=True)])
    field = ndi.map_coordinates(noise, index, order=1, mode="grid-wrap")
    slope = np.sqrt(sum(g * g for g in np.gradient(field)))
    centre = radial * np.maximum(0, 36 - ray)  # where the rays meet there are no sulci
    return np.abs(field) / (slope + 1e-6) + centre


def head_labels(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the tissue of every cubic millimetre of a head with a tumour in one hemisphere."""
    rigid = axes_mm(MRI_SHAPE, (1, 1, 1))
    noise = {s: smooth_noise(rng, MRI_SHAPE, s) for s in (3, 6, 12)}
    # Anatomy inside the skull: a low-frequency warp, and the mass effect of the tumour.
    radius2 = sum((p - c) ** 2 for p, c in zip(rigid, TUMOUR, strict=True))
    push = 0.30 * np.exp(-radius2 / 2 / 26**2)
    warp = [smooth_noise(rng, MRI_SHAPE, 14) * 1.6 for _ in range(3)]
    x, y, z = points = tuple(
        (p + w - push * (p - c)).astype(np.float32)
        for p, w, c in zip(rigid, warp, TUMOUR, strict=True)
    )
    side = (np.abs(x), y, z)

    # Skull cavity, skull and skin.
    cavity = ellipsoid(rigid, (0, -4, -4), (68, 86, 54))
    cavity = blend(cavity, ellipsoid(rigid, (0, -20, -40), (58, 62, 30)), 5)
    skin = blend(cavity - 14, ellipsoid(rigid, (0, 50, -66), (56, 48, 46)), 6)
    skin = blend(skin, ellipsoid(rigid, (0, -26, -80), (64, 66, 50)), 6)
    skull = 7 + 1.2 * noise[12]
    label = np.full(MRI_SHAPE, AIR, np.uint8)
    label[skin < 0] = FAT
    muscle = skull + 1.5 + noise[12] + np.clip(-rigid[2] / 5, 0, 14)
    label[(skin < -3.5) & (cavity < muscle)] = MUSCLE
    label[(skin < 0) & (skin > -1.5)] = MUSCLE
    label[(skin < -9) & (rigid[1] > 40) & (noise[6] < -0.9) & (rigid[2] < -30)] = AIR
    mirrored = (np.abs(rigid[0]), rigid[1], rigid[2])
    label[(ellipsoid(mirrored, (31, 80, -46), (17, 22, 15)) < 0) & (skin < -3)] = FAT
    label[ellipsoid(mirrored, (31, 84, -46), (12, 12, 12)) < 0] = CSF
    label[cavity < skull] = BONE
    label[(np.abs(cavity - skull / 2) < 1.7 + 0.5 * noise[6])] = MARROW
    label[cavity < 0.8] = CSF
    label[(np.abs(cavity - 0.6) < 0.6)] = DURA

    # Cerebrum: cortex lines the hull, the sulci, the midline and the Sylvian fissures.
    cerebrum = np.maximum(
        ellipsoid(rigid, (0, -4, -4), (65, 83, 51)) + 0.7 * noise[6], -(z + 22 - 0.08 * y)
    )
    cerebrum = blend(cerebrum, ellipsoid(side, (40, 8, -30), (21, 38, 18)), 2.5)
    depth = -cerebrum
    reach = 19 + 3 * noise[12] - 8 * (z < -20)
    folds = np.hypot(sulci(rng, points, 21), np.maximum(0, depth - reach))
    callosum = ellipsoid((0 * x, y, z), (0, -4, -4), (40, 40, 22))
    midline = np.hypot(x, np.maximum(0, 3 - callosum))
    sylvian_sheet = z + 12 - 0.25 * (y - 10) + 0.2 * (side[0] - 40)
    sylvian = np.hypot(sylvian_sheet, np.maximum(0, 37 - side[0]))
    sylvian = np.hypot(sylvian, np.maximum(0, np.abs(y - 8) - 22)) - 0.8
    cortex = np.minimum.reduce([depth, folds, midline, sylvian])
    inside = cerebrum < 0
    label[inside] = WHITE
    label[inside & (cortex < 3.3 + 0.4 * noise[3])] = GREY
    label[inside & (cortex < 1.0 + 0.2 * noise[12])] = CSF

    # Deep grey nuclei, ventricles, brain stem, cerebellum with its folia, falx.
    for centre, radii in (
        ((11, -16, -4), (9, 15, 9)),
        ((25, 5, -6), (6, 17, 10)),
        ((14, 18, 2), (5, 11, 9)),
    ):
        label[ellipsoid(side, centre, radii) + 0.6 * noise[3] < 0] = DEEP_GREY
    stem = tube(points, [(0, -18, -14, 14), (0, -24, -40, 15), (0, -32, -70, 9)])
    label[(stem < 2) & ~inside] = CSF
    label[stem < 0] = WHITE
    cerebellum = ellipsoid(points, (0, -54, -46), (50, 30, 23))
    label[cerebellum < 0] = WHITE
    folia = np.abs((z + 46 + 0.25 * (y + 54) + 1.2 * noise[3] + 200) % 5.5 - 2.75)
    label[(cerebellum < 0) & (cerebellum > -13) & (folia < 2.1)] = GREY
    label[(cerebellum < 0) & (cerebellum > -8) & (folia < 0.6)] = CSF
    lateral = tube(
        side,
        [(12, 34, 0, 3), (8, 20, 5, 6), (9, -8, 11, 5.5), (20, -38, 4, 8), (20, -62, 0, 2.5)],
    )
    lateral = np.minimum(lateral, tube(side, [(22, -38, 2, 6), (33, -20, -18, 3), (32, 6, -26, 2)]))
    third = ellipsoid(points, (0, -8, -6), (2.6, 16, 12))
    fourth = ellipsoid(points, (0, -40, -42), (8, 5, 10))
    ventricles = np.minimum.reduce([lateral, third, fourth])
    label[(ventricles < 0) & (np.abs(x) > 0.9 * (z > 0))] = CSF
    falx = (np.abs(x) < 0.7) & (callosum > 9) & (cavity < -1) & (z > -18)
    label[falx] = DURA

    # Skull base: bone and air cells fill what the brain leaves free below the cerebrum.
    brain_gap = np.minimum.reduce([cerebrum, stem, cerebellum])
    base = (cavity < 0) & (rigid[2] < -16) & (brain_gap > 3.5 + noise[6])
    label[base] = np.choose((noise[6] > -0.5).astype(int) + (noise[3] > 0.3), (AIR, BONE, MARROW))[
        base
    ]

    # Tumour: necrosis, an enhancing rim, and oedema that spreads along white matter.
    tumour = ellipsoid(rigid, TUMOUR, (17, 21, 17)) + 3.0 * noise[6]
    spread = 15 + 7 * noise[12] - 1.5 * np.maximum(0, -2 - z)
    reached = (label == WHITE) & (tumour < spread) | (label == GREY) & (tumour < 0.2 * spread)
    regions, _ = ndi.label((reached | (tumour < 0)) & inside & (depth > 2))
    lesion = (
        regions == regions[tuple(int(c + n / 2) for c, n in zip(TUMOUR, MRI_SHAPE, strict=True))]
    )
    label[lesion] = OEDEMA
    label[lesion & (tumour < 0)] = ENHANCING
    label[lesion & (tumour < -5 - 0.7 * noise[3])] = NECROSIS
    return label


def make_mri(folder: Path) -> None:
    """Write the FLAIR and T1 volumes and their lesion mask on an oblique, anisotropic grid."""
    rng = np.random.default_rng([SEED, 1])
    label = head_labels(rng)
    shape = (*MRI_SHAPE[:2], MRI_SHAPE[2] // 3)

    def thick(volume: FloatArray) -> FloatArray:
        return volume.reshape(*shape, 3).mean(axis=3)

    classes = (OEDEMA, ENHANCING, NECROSIS)
    parts = np.stack([thick((label == c).astype(np.float32)) for c in classes])
    mask = np.where(parts.sum(0) >= 0.5, parts.argmax(0) + 1, 0).astype(np.uint8)

    x, y, z = axes_mm(shape, (1 / 88, 1 / 104, 3 / 66))
    coarse, fine = smooth_noise(rng, MRI_SHAPE, 5), smooth_noise(rng, MRI_SHAPE, 1.5)
    texture = 1 + 0.03 * coarse + 0.025 * fine
    rotation = Rotation.from_rotvec(np.deg2rad(12) * np.array([2, 1, 1]) / np.sqrt(6))
    affine = np.eye(4)
    affine[:3, :3] = rotation.as_matrix() * (1.0, 1.0, 3.0)
    affine[:3, 3] = (2.0, -14.0, 21.0) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    for name, table, noise_sd, tilt in (("flair", FLAIR, 1.8, 1.0), ("t1", T1, 1.7, -0.6)):
        signal = thick(ndi.gaussian_filter(table[label] * texture, (0.6, 0.6, 0.4)))
        bias = np.exp(tilt * (0.10 * x + 0.06 * y * z) - 0.12 * (x * x + y * y) + 0.07 * z)
        real, imaginary = noise_sd * rng.standard_normal((2, *shape), dtype=np.float32)
        observed = np.hypot(signal * bias + real, imaginary)
        save_nifti(folder / f"{name}.nii.gz", np.rint(observed).astype(np.int16), affine)
    save_nifti(folder / "seg.nii.gz", mask, affine)
