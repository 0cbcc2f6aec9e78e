"""One case from its files and back: names, grids, labels, and nothing half written."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from medsataug.errors import ConfigError, FormatError, GeometryError
from medsataug.grid import RAS_MM, Grid
from medsataug.io import describe, load, save
from medsataug.io.nifti import Nifti
from medsataug.types import LazyImage, Sample

KNOWN = (
    "formats known: DICOM (a file or folder), GeoTIFF (.tif .tiff .jp2 .vrt), NIfTI (.nii .nii.gz "
    ".hdr/.img), NRRD and MetaImage (.nrrd .nhdr .mha .mhd), images (.png .jpg .bmp .tif)"
)
AFFINE = np.array([[-1.5, 0, 0, 30], [0, 2.0, 0, -41.5], [0, 0, 3.0, 7.25], [0, 0, 0, 1.0]])


def phantom(shape: tuple[int, ...] = (7, 5, 3), dtype: str = "int16") -> np.ndarray:
    return (np.arange(np.prod(shape)).reshape(shape) + 3).astype(dtype)


def nifti(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(data, affine, dtype=data.dtype), path)
    return path


def same(first: Sample, second: Sample) -> None:
    np.testing.assert_array_equal(first.image, second.image)
    assert first.image.dtype == second.image.dtype
    assert first.grid.mismatch(second.grid, 1e-6) is None
    assert first.channels == second.channels
    if first.label is not None:
        np.testing.assert_array_equal(first.label, second.label)
        assert first.label.dtype == second.label.dtype
    if first.valid is not None:
        np.testing.assert_array_equal(first.valid, second.valid)


def test_import_is_light() -> None:
    code = (
        "import sys, medsataug.io;"
        "heavy = {'rasterio', 'SimpleITK', 'pydicom', 'matplotlib', 'numba', 'nibabel', 'scipy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        "medsataug.io.load(sys.argv[1]);"
        # nibabel itself imports pydicom where it is installed.
        "late = {'rasterio', 'SimpleITK', 'medsataug.io.dicom', 'numba', 'matplotlib'};"
        "assert not late & set(sys.modules), late & set(sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    file = root / "data_samples" / "mri" / "seg.nii.gz"
    subprocess.run([sys.executable, "-c", code, file], check=True, cwd=root)


def test_four_modalities(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "mri_ms_brain" / "patient07"
    names = ["flair", "t1", "t2", "t1post"]
    sample = load([folder / f"{n}.nii.gz" for n in names], folder / "lesion.nii.gz")
    assert [c.name for c in sample.channels] == names
    assert sample.image.shape == (4, 182, 218, 182)
    assert sample.grid.orientation == "SAL"
    assert sample.label.shape == sample.image.shape[1:]
    assert sample.id == ""
    assert sample.meta["label_name"] == "lesion"
    made = save(sample, tmp_path / "out")
    assert [p.name for p in made] == [f"{n}.nii.gz" for n in [*names, "lesion"]]
    same(sample, load(made[:-1], made[-1]))


def test_hippocampus(real_data: Path) -> None:
    folder = real_data / "mri_hippocampus"
    files = sorted((folder / "images").glob("*.nii.gz"))[:12]
    for file in files:
        sample = load(file, folder / "labels" / file.name)
        assert sample.label.dtype.kind in "iu"
        assert sample.label.max() == 2


def test_bundled_samples(samples: Path, tmp_path: Path) -> None:
    mri = samples / "mri"
    sample = load([mri / "flair.nii.gz", mri / "t1.nii.gz"], mri / "seg.nii.gz")
    assert [c.name for c in sample.channels] == ["flair", "t1"]
    made = save(sample, tmp_path / "mri")
    same(sample, load(made[:2], made[2]))

    sample = load(samples / "ct", samples / "ct_label.nii.gz")
    assert sample.meta["modality"] == "CT"
    # The label's file is stored in another order than the slices; organs are denser than air.
    assert sample.label.shape == sample.image.shape[1:]
    assert sample.image[0][sample.label == 3].mean() > sample.image[0][sample.label == 0].mean()
    made = save(sample, tmp_path / "ct")
    assert [p.name for p in made] == ["image.nii.gz", "ct_label.nii.gz"]
    again = load(made[0], made[1])
    np.testing.assert_array_equal(again.image, sample.image)
    np.testing.assert_array_equal(again.label, sample.label)

    folder = samples / "multispectral"
    sample = load(folder / "scene.tif", folder / "landcover.tif")
    made = save(sample, tmp_path / "multispectral")
    assert [p.name for p in made] == ["scene.tif", "landcover.tif"]
    same(sample, load(made[0], made[1]))


def test_sentinel2(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "geo_sentinel2"
    for file in sorted((folder / "l2a").glob("*.tif")):
        pair = [folder / "l1c" / file.name, file]
        sample = load(pair, folder / "landcover" / file.name)
        assert sample.image.shape == (25, 224, 224)
        stem = file.stem
        assert sample.channels[13].name == f"{stem}_2 band 1"
        made = save(sample, tmp_path / stem)
        assert [p.name for p in made] == [f"{stem}.tif", f"{stem}_2.tif", f"{stem}_label.tif"]
        again = load(made[0], made[2])
        np.testing.assert_array_equal(again.image, sample.image[:13])
        np.testing.assert_array_equal(again.label, sample.label)
        assert again.channels[0].name == "band 1"
        assert load(file, bands=[3, 1]).image.shape == (2, 224, 224)


def test_several_lazy_rasters(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medsataug.io.geotiff.SMALL_BYTES", 1)
    scene = samples / "multispectral" / "scene.tif"
    whole = load(scene, lazy=False)
    lazy = load([scene, scene])
    assert isinstance(lazy.image, LazyImage)
    window = (slice(10, 512), slice(5, 500))
    values = lazy.image.read(window)
    np.testing.assert_array_equal(values[6:], whole.image[:, *window])
    np.testing.assert_array_equal(lazy.image.read_valid(window)[:6], whole.valid[:, *window])
    assert lazy.digest == load([scene, scene]).digest
    made = save(lazy, tmp_path)
    assert [p.name for p in made] == ["scene.tif", "scene_2.tif"]
    np.testing.assert_array_equal(load(made[1], lazy=False).image, whole.image)


def test_membranes(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "em_membrane"
    sample = load(folder / "image" / "3.png", folder / "label" / "3.png")
    assert np.unique(sample.label).tolist() == [0, 255]
    made = save(sample, tmp_path)
    assert [p.name for p in made] == ["3.png", "3_label.png"]
    same(sample, load(made[0], made[1]))


def test_dicom_segmentation_and_nrrd_agree(real_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    folder = real_data / "dicom_seg"
    first = load(folder / "ct-3slice", folder / "liver.dcm")
    second = load(folder / "ct-3slice", folder / "liver_seg.nrrd")
    np.testing.assert_array_equal(first.label, second.label)
    assert first.label.any()
    made = save(second, tmp_path)
    assert [p.name for p in made] == ["image.nii.gz", "liver_seg.nrrd"]
    np.testing.assert_array_equal(load(made[0], made[1]).label, second.label)


def test_same_voxels_in_another_order(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "nifti_48_orientations"
    first = load(folder / "RAS.nii.gz")
    for file in sorted(folder.glob("*.nii.gz")):
        sample = load([folder / "RAS.nii.gz", file])
        np.testing.assert_array_equal(sample.image[1], first.image[0])
    image = nifti(tmp_path / "image.nii", phantom())
    turned = nib.Nifti1Image(phantom(), AFFINE, dtype=np.int16)
    for start in ("LAS", "RPI", "SAL", "PIR", "IRP"):
        codes = nib.orientations.axcodes2ornt(start)
        own = nib.orientations.io_orientation(AFFINE)
        step = nib.orientations.ornt_transform(own, codes)
        nib.save(turned.as_reoriented(step), tmp_path / "label.nii")
        sample = load(image, tmp_path / "label.nii")
        np.testing.assert_array_equal(sample.label, phantom().T)


def test_grids_that_differ(tmp_path: Path) -> None:
    image = nifti(tmp_path / "image.nii", phantom())
    moved = AFFINE.copy()
    moved[0, 3] += 0.75
    label = nifti(tmp_path / "label.nii", phantom(dtype="uint8"), moved)
    with pytest.raises(GeometryError) as told:
        load(image, label)
    said = str(told.value)
    assert said.startswith(f"{image} and {label} are not on one grid: affine [[ 0. ")
    assert said.endswith(
        "(up to 0.75 world units apart); match='first' (--match first) resamples the label onto "
        "the first's grid, match='ignore' (--match ignore) takes its voxels as they are"
    )
    assert "\n" not in said
    ignored = load(image, label, match="ignore")
    np.testing.assert_array_equal(ignored.label, phantom(dtype="uint8").T)
    small = nifti(tmp_path / "small.nii", phantom((6, 5, 3)))
    with pytest.raises(GeometryError) as told:
        load([image, small])
    assert str(told.value) == (
        f"{image} and {small} are not on one grid: shape (3, 5, 7) against (3, 5, 6); "
        "match='first' (--match first) resamples the image onto the first's grid"
    )
    with pytest.raises(GeometryError, match="shape"):
        load(image, small, match="ignore")
    with pytest.raises(ConfigError, match="match: 'last' is not known"):
        load(image, match="last")


def test_match_first_keeps_a_ramp(tmp_path: Path) -> None:
    x, y, z = np.meshgrid(*map(np.arange, (20, 16, 12)), indexing="ij")
    fine = np.diag([1.0, 1.2, 1.5, 1])
    ramp = (3 * (x * 1.0) + 2 * (y * 1.2) - (z * 1.5)).astype(np.float32)
    coarse = np.diag([1.7, 1.9, 2.0, 1])
    coarse[:3, 3] = 1, 2, 1
    first = nifti(tmp_path / "first.nii", np.zeros((9, 8, 7), np.int16), coarse)
    other = nifti(tmp_path / "other.nii", ramp, fine)
    label = nifti(tmp_path / "label.nii", (x > 9).astype(np.uint8), fine)
    sample = load([first, other], label, match="first")
    index = np.indices((7, 8, 9)).reshape(3, -1).T.astype(float)
    world = sample.grid.world_of(index)
    expected = (world @ [3, 2, -1]).reshape(7, 8, 9)
    np.testing.assert_allclose(sample.image[1], expected, atol=1e-4)
    np.testing.assert_array_equal(sample.label, (np.rint(world[:, 0]) > 9).reshape(7, 8, 9))
    assert sample.valid is None
    back = load([other, first], match="first")
    assert back.image.shape[1:] == (12, 16, 20)
    assert back.valid[0].all()
    assert not back.valid[1].all()


def test_unplaced_grids_are_not_resampled(tmp_path: Path) -> None:
    Pillow.fromarray(phantom((5, 7), "uint8")).save(tmp_path / "a.png")
    Pillow.fromarray(phantom((5, 8), "uint8")).save(tmp_path / "b.png")
    with pytest.raises(GeometryError, match="cannot be resampled"):
        load(tmp_path / "a.png", tmp_path / "b.png", match="first")


def test_nothing_to_read(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "gone.nii", "there is no such file or folder; check the path"),
        (tmp_path, f"a folder without DICOM files; name the files in it; {KNOWN}"),
        (tmp_path / "notes.txt", f"of no known format; {KNOWN}"),
    ):
        (tmp_path / "notes.txt").write_text("hello")
        for action in (load, describe):
            with pytest.raises(FormatError) as told:
                action(path)
            assert str(told.value) == f"{path}: {said}"
    with pytest.raises(ConfigError, match="at least one path"):
        load([])


def test_arrays_choose_their_format(tmp_path: Path) -> None:
    volume = Sample(np.zeros((1, 3, 4, 5), np.int16), np.ones((3, 4, 5), np.uint8), axes="CZYX")
    picture = Sample(phantom((3, 4, 5), "uint8"), np.ones((4, 5), np.uint8), axes="CYX")
    floats = Sample(np.zeros((1, 4, 5), np.float32), axes="CYX")
    transform = np.array([[0, 10.0, 5e5], [-10.0, 0, 5e6], [0, 0, 1]])
    scene = Sample(
        phantom((2, 4, 5), "uint16"), grid=Grid((4, 5), transform, "EPSG:32633", (1.0, 1.0))
    )
    for sample, names in (
        (volume, ["image.nii.gz", "label.nii.gz"]),
        (picture, ["image.png", "label.png"]),
        (floats, ["image.nii.gz"]),
        (scene, ["image.tif"]),
    ):
        made = save(sample, tmp_path / names[0])
        assert [p.name for p in made] == names
        np.testing.assert_array_equal(load(made[0]).image, sample.image)
    np.testing.assert_allclose(load(tmp_path / "image.tif/image.tif").grid.affine, transform)


def test_channels_that_changed_share_a_file(tmp_path: Path) -> None:
    paths = [
        nifti(tmp_path / "a.nii", phantom()),
        nifti(tmp_path / "b.nii", phantom(dtype="float32")),
    ]
    sample = load(paths)
    assert sample.image.dtype == np.float32
    made = save(sample, tmp_path / "kept")
    assert [nib.load(p).get_data_dtype().name for p in made] == ["int16", "float32"]
    merged = sample.replace(channels=["mean", "difference"])
    made = save(merged, tmp_path / "merged")
    assert [p.name for p in made] == ["image.nii"]
    np.testing.assert_array_equal(load(made[0]).image, sample.image)
    # What a pipeline says of the sample holds for each file.
    normal = sample.replace(meta=sample.meta | {"dtype": "float32"})
    made = save(normal, tmp_path / "normal")
    assert [nib.load(p).get_data_dtype().name for p in made] == ["float32", "float32"]


def test_record_and_clashes(tmp_path: Path) -> None:
    image = nifti(tmp_path / "case.nii.gz", phantom())
    (tmp_path / "labels").mkdir()
    label = nifti(tmp_path / "labels" / "case.nii.gz", phantom(dtype="uint8"))
    sample = load(image, label)
    sample.record = {"seed": np.int64(7), "affine": np.eye(2), "a": None}
    made = save(sample, tmp_path / "deep" / "out")
    assert [p.name for p in made] == ["case.nii.gz", "case_label.nii.gz", "record.json"]
    text = made[-1].read_text()
    assert json.loads(text) == {"seed": 7, "affine": [[1, 0], [0, 1]], "a": None}
    assert text.startswith('{\n "a": null,')
    first = [p.read_bytes() for p in made]
    assert [p.read_bytes() for p in save(sample, tmp_path / "other")] == first
    with pytest.raises(FormatError, match="exists; use overwrite=True"):
        save(sample, tmp_path / "other", overwrite=False)
    save(sample, tmp_path / "other")


def fails_with(error: BaseException, after: int):
    real, calls = Nifti.write, []

    def write(self: Nifti, sample: Sample, path: Path, role: str) -> None:
        calls.append(path)
        if len(calls) > after:
            path.write_bytes(b"half")
            raise error
        real(self, sample, path, role)

    return write


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "the disk is full, and nothing was written; make room, or choose another folder",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            "cannot be written (Permission denied); choose another folder, or make this one "
            "writable",
        ),
    ],
)
def test_failures_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    paths = [nifti(tmp_path / f"{n}.nii.gz", phantom()) for n in "ab"]
    sample, out = load(paths), tmp_path / "out"
    out.mkdir()
    (out / "a.nii.gz").write_bytes(b"older")
    monkeypatch.setattr(Nifti, "write", fails_with(error, 1))
    with pytest.raises(FormatError) as told:
        save(sample, out)
    assert str(told.value) == f"{out / 'b.nii.gz'}: {said}"
    assert [p.name for p in out.iterdir()] == ["a.nii.gz"]
    assert (out / "a.nii.gz").read_bytes() == b"older"


def test_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = load(nifti(tmp_path / "a.nii.gz", phantom()))
    monkeypatch.setattr(Nifti, "write", fails_with(KeyboardInterrupt(), 0))
    with pytest.raises(KeyboardInterrupt):
        save(sample, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    sample = load(nifti(tmp_path / "a.nii.gz", phantom()))
    with pytest.raises(FormatError, match=r"file/out: cannot be created \(Not a directory\)"):
        save(sample, tmp_path / "file" / "out")


def test_meta_names_no_one(samples: Path) -> None:
    sample = load(samples / "ct")
    assert sample.meta["sources"][0]["name"] == "image"
    assert sample.meta["sources"][0]["format"] == "dicom"
    assert sample.grid.world == RAS_MM


def test_describe(samples: Path) -> None:
    assert describe(samples / "mri" / "t1.nii.gz")["format"] == "nifti"
    assert describe(samples / "multispectral" / "scene.tif")["format"] == "geotiff"
    assert describe(samples / "ct")["format"] == "dicom"
