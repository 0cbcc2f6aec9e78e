"""Whole commands on published research data: what is written is right, or the reason is named."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import rasterio
from skimage.io import imread

import medsataug as msa
from tests.commands import ROOT, call

#: Turned rasters carry no geotransform on purpose.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Dataset has no geotransform:rasterio.errors.NotGeoreferencedWarning"
)
MODALITIES = ("flair", "t1", "t2", "t1post")
SCENES = ("282D_485L_3_3", "433D_629L_3_1", "637U_59R_1_3")
READABLE = (
    "compressed_j2k",
    "compressed_jpegls",
    "compressed_rle",
    "generic_anisotropic",
    "generic_t1",
    "siemens_enhanced_t1/dicom",
)


def record(folder: Path) -> dict:
    return json.loads((folder / "record.json").read_text())


# --- four modalities and a lesion -------------------------------------------------------------


@pytest.fixture(scope="module")
def patient(real_data: Path) -> Path:
    return real_data / "mri_ms_brain" / "patient07"


def test_four_modalities_and_lesion(patient: Path, tmp_path: Path) -> None:
    images = [patient / f"{m}.nii.gz" for m in MODALITIES]
    label = patient / "lesion.nii.gz"
    done = call(
        "augment", *images, "--label", label, "--recipe", "mri", "-n", 1, "-o", tmp_path / "out"
    )
    assert (done.code, done.err) == (0, "")
    copy = tmp_path / "out" / "copy_0000"
    for path in (*images, label):
        given, made = nib.load(path), nib.load(copy / path.name)
        assert made.shape == given.shape
        assert made.get_data_dtype() == given.get_data_dtype()
        np.testing.assert_allclose(made.affine, given.affine, atol=1e-5)  # moved: the grid stays
    lesion, before = (np.asarray(nib.load(p).dataobj) for p in (copy / "lesion.nii.gz", label))
    assert set(np.unique(lesion)) == {0, 1}
    assert 0.6 * before.sum() < lesion.sum() < 1.3 * before.sum()  # scale is .9 to 1.1 an axis
    assert record(copy)["geometry"]["mode"] == "moved"
    # Lesions are bright in FLAIR before and after: image and mask moved together.
    for folder, mask in ((patient, before), (copy, lesion)):
        flair = np.asarray(nib.load(folder / "flair.nii.gz").dataobj)
        assert flair[mask > 0].mean() > 1.2 * flair[flair > flair.max() / 20].mean()


def test_each_modality_stays_in_its_file(patient: Path, tmp_path: Path) -> None:
    images = [patient / f"{m}.nii.gz" for m in MODALITIES]
    sample = msa.load(images, label=patient / "lesion.nii.gz")
    assert [c.name for c in sample.channels] == list(MODALITIES)
    patch = msa.Pipeline([msa.Flip(axes="left-right", p=1), msa.Patch(size=48, mode="center")])
    msa.save(patch(sample, seed=1), tmp_path)
    for path in images:
        made = nib.load(tmp_path / path.name)
        given = np.asarray(nib.load(path).dataobj)[::-1]  # stored L-A-S: the first axis is mirrored
        x, y, z = ((n - 48) // 2 for n in given.shape)
        np.testing.assert_array_equal(made.dataobj, given[x : x + 48, y : y + 48, z : z + 48])
        corner = nib.load(path).affine @ (x, y, z, 1)
        np.testing.assert_allclose(made.affine[:3, 3], corner[:3], atol=1e-4)


# --- Sentinel-2, twelve bands and land cover --------------------------------------------------


@pytest.mark.parametrize("scene", SCENES)
def test_sentinel_scene_with_land_cover(real_data: Path, tmp_path: Path, scene: str) -> None:
    folder = real_data / "geo_sentinel2"
    image, label = (folder / kind / f"{scene}.tif" for kind in ("l2a", "landcover"))
    done = call(
        "augment", image, "--label", label, "--recipe", "multispectral", "-n", 4, "-o", tmp_path
    )
    assert (done.code, done.err) == (0, "")
    with rasterio.open(image) as source, rasterio.open(label) as classes:
        profile, known = source.profile, set(np.unique(classes.read()))
    placed = turned = 0
    for number in range(4):
        copy = tmp_path / f"copy_{number:04d}"
        geometry = record(copy)["geometry"]
        made_image, made_label = sorted(copy.glob("*.tif"))
        with rasterio.open(made_image) as made:
            assert (made.count, made.dtypes[0], made.nodata) == (12, "int16", profile["nodata"])
            outside = made.dataset_mask() == 0
            truth = _corner_transform(geometry["exact_affine"])
            if geometry["rotated_or_flipped"] or geometry["elastic"]:
                turned += 1
                assert made.crs is None
                if not geometry["elastic"]:
                    told = made.tags(ns="MEDSATAUG")["TRUE_TRANSFORM"].split(",")
                    np.testing.assert_allclose(np.array(told, float), truth, rtol=1e-9)
            else:
                placed += 1
                assert made.crs == profile["crs"]
                np.testing.assert_allclose(tuple(made.transform)[:6], truth, rtol=1e-9)
        with rasterio.open(made_label) as made:
            values = made.read(1)
        assert values.dtype == np.uint8
        assert set(np.unique(values)) <= known | {255}
        assert np.all(values[outside] == 255)
    assert placed + turned == 4


def _corner_transform(affine: list) -> np.ndarray:
    """(6,) corner-based transform of a map of pixel centres (row, column)."""
    (xr, xc, x0), (yr, yc, y0) = affine[0], affine[1]
    return np.array([xc, xr, x0 - (xc + xr) / 2, yc, yr, y0 - (yc + yr) / 2])


def test_a_tile_lies_where_it_was_cut(real_data: Path, tmp_path: Path) -> None:
    image = real_data / "geo_sentinel2" / "l2a" / f"{SCENES[0]}.tif"
    msa.save(msa.Patch(size=(80, 96))(msa.load(image), seed=4), tmp_path)
    with rasterio.open(image) as source, rasterio.open(tmp_path / image.name) as tile:
        assert tile.crs == source.crs
        window = rasterio.windows.from_bounds(*tile.bounds, source.transform)
        assert (round(window.height), round(window.width)) == (80, 96)
        np.testing.assert_array_equal(tile.read(), source.read(window=window))


def test_scenes_of_two_places_are_no_case(real_data: Path, tmp_path: Path) -> None:
    images = [real_data / "geo_sentinel2" / "l2a" / f"{s}.tif" for s in SCENES[:2]]
    done = call("augment", *images, "--recipe", "multispectral", "-o", tmp_path / "out")
    assert done.code == 2
    assert "are not on one grid" in done.err
    assert "--match first" in done.err
    assert not (tmp_path / "out").exists()


# --- DICOM series ------------------------------------------------------------------------------


@pytest.mark.parametrize("series", READABLE)
def test_a_series_becomes_a_volume(real_data: Path, tmp_path: Path, series: str) -> None:
    folder = real_data / "dicom" / series
    sample = msa.load(folder)
    for recipe in ("mri", "mri_thick"):
        done = call("augment", folder, "--recipe", recipe, "-n", 1, "-o", tmp_path / recipe)
        assert (done.code, done.err) == (0, "")
        made = nib.load(tmp_path / recipe / "copy_0000" / "image.nii.gz")
        assert made.shape == sample.image.shape[:0:-1]
        assert made.get_data_dtype() == sample.image.dtype
        np.testing.assert_allclose(made.affine[:3, :3], sample.grid.affine[:3, 2::-1], atol=1e-4)
        np.testing.assert_allclose(made.affine[:3, 3], sample.grid.affine[:3, 3], atol=1e-3)
        assert np.any(np.asarray(made.dataobj) != sample.image[0].T)


def test_multi_frame_agrees_with_another_converter(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "dicom" / "siemens_enhanced_t1"
    msa.save(msa.load(folder / "dicom"), tmp_path)
    (reference,) = (folder / "reference").glob("*.nii")
    ours, theirs = (
        nib.as_closest_canonical(nib.load(p)) for p in (tmp_path / "image.nii.gz", reference)
    )
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=2e-3)
    np.testing.assert_array_equal(ours.dataobj, theirs.dataobj)


def test_a_missing_slice_is_named(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "dicom" / "bad_slice_increment"
    done = call("augment", folder, "--recipe", "mri_thick", "-o", tmp_path / "out")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "missing slices: 1 in all" in done.err
    assert not (tmp_path / "out").exists()


def test_a_tilted_gantry_is_told_and_kept(real_data: Path, tmp_path: Path) -> None:
    folder, out = real_data / "dicom" / "bad_gantry_tilt", tmp_path / "out"
    words = ["augment", folder, "--recipe", "ct", "-n", "1", "-o", out]
    run = subprocess.run(
        [sys.executable, "-m", "medsataug", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "gantry tilt: slices are stacked 14.00°" in run.stderr
    steps = nib.load(out / "copy_0000" / "image.nii.gz").affine[:3, :3]
    steps = steps / np.linalg.norm(steps, axis=0)
    sheared = np.degrees(np.arcsin(np.abs(steps[:, 2] @ steps[:, :2]).max()))
    np.testing.assert_allclose(sheared, 14, atol=0.1)


def test_ct_with_a_dicom_segmentation(real_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    folder = real_data / "dicom_seg"
    image, label = folder / "ct-3slice", folder / "liver.dcm"
    # Tilted, three slices leave most of the stack, and that is said.
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        done = call("augment", image, "--label", label, "--recipe", "ct", "-n", 1, "-o", tmp_path)
    assert (done.code, "labelled voxels left the image" in done.err) == (0, True)
    made = nib.load(tmp_path / "copy_0000" / "image_label.nii.gz")
    assert set(np.unique(made.dataobj)) == {0, 1}
    scan = nib.load(tmp_path / "copy_0000" / "image.nii.gz")
    np.testing.assert_array_equal(made.affine, scan.affine)
    # Beyond the field of view, and where the scanner padded, there is air, not water.
    assert np.asarray(scan.dataobj)[0, 0, 0] == -1000


# --- micrographs -------------------------------------------------------------------------------


def test_membranes(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "em_membrane"
    image, label = folder / "image" / "0.png", folder / "label" / "0.png"
    words = ["augment", image, "--label", label, "-n", 3, "-o", tmp_path]
    done = call(*words, "--recipe", "microscopy")
    assert (done.code, done.err) == (0, "")
    before = imread(label)
    for number in range(3):
        made, mask = (imread(tmp_path / f"copy_{number:04d}" / n) for n in ("0.png", "0_label.png"))
        assert made.dtype == mask.dtype == np.uint8
        assert made.shape == mask.shape == (512, 512)
        assert set(np.unique(mask)) == {0, 255}
        np.testing.assert_allclose((mask > 0).mean(), (before > 0).mean(), atol=0.05)
        # Membranes (0) are dark: image and mask moved together.
        assert made[mask == 0].mean() < made[mask > 0].mean() - 20


def test_millimetres_need_a_size(real_data: Path, tmp_path: Path) -> None:
    image = real_data / "em_membrane" / "image" / "0.png"
    done = call("augment", image, "--recipe", "ct", "-o", tmp_path / "out")
    assert done.code == 2
    assert "transforms[2] Elastic" in done.err
    assert "in voxels (no unit)" in done.err
