"""NIfTI: every dtype, byte order and layout; nibabel is the oracle for values and place."""

from __future__ import annotations

import gzip
import re
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medsataug.errors import FormatError, GeometryError, MedSatAugWarning
from medsataug.grid import MM, RAS_MM, Grid
from medsataug.io.base import Loaded, ReadOptions
from medsataug.io.nifti import Nifti
from medsataug.types import Sample

NIFTI = Nifti()
IMAGE, LABEL = ReadOptions(), ReadOptions(role="label")
DTYPES = "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 float64".split()
AFFINE = np.array(
    [[-1.5, 0.1, 0.2, 30], [0.12, 2.0, -0.3, -41.5], [0.15, 0.35, 3.0, 7.25], [0, 0, 0, 1.0]]
)


def phantom(shape: tuple[int, ...] = (7, 5, 3), dtype: str = "int16") -> np.ndarray:
    """(X, Y, Z…): every voxel differs, and no axis is like another."""
    return (np.arange(np.prod(shape)).reshape(shape) + 3).astype(dtype)


def write(path: Path, data: np.ndarray, affine: np.ndarray | None = AFFINE, **fields) -> Path:
    """Write with nibabel; ``fields`` are set in the header."""
    kind = fields.pop("kind", nib.Nifti1Image)
    order = fields.pop("order", "<")
    header = kind.header_class(endianness=order)
    header.set_data_dtype(data.dtype)
    image = kind(data, affine, header, dtype=data.dtype)
    for key, value in fields.items():
        image.header[key] = value
    if affine is None:
        image.header.set_sform(np.eye(4), 0)
        image.header.set_qform(np.eye(4), 0)
        image.header["pixdim"][1:4] = fields.get("pixdim", [0, 1.5, 2, 3])[1:4]
    nib.save(image, path)
    return path


def raw(path: Path, **fields) -> Path:
    """Change header fields of an uncompressed little-endian NIfTI-1 file in place."""
    data = path.read_bytes()
    header = nib.Nifti1Header(data[:348], check=False)
    for key, value in fields.items():
        header[key] = value
    path.write_bytes(header.binaryblock + data[348:])
    return path


def read(path: Path, options: ReadOptions = IMAGE) -> Loaded:
    return NIFTI.read(path, options)


def sample_of(loaded: Loaded, **changes) -> Sample:
    return Sample(
        loaded.image,
        grid=loaded.grid,
        valid=loaded.valid,
        channels=loaded.channels,
        meta=loaded.meta,
    ).replace(**changes)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".img"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_containers(tmp_path: Path, kind: type, suffix: str) -> None:
    if suffix == ".img":
        kind = nib.Nifti1Pair if kind is nib.Nifti1Image else nib.Nifti2Pair
    path = write(tmp_path / ("a" + suffix), phantom(), kind=kind)
    assert NIFTI.matches(path)
    loaded = read(path)
    np.testing.assert_array_equal(loaded.image[0], phantom().T)
    np.testing.assert_allclose(loaded.grid.affine, AFFINE[:, [2, 1, 0, 3]], atol=1e-5)
    assert loaded.channels[0].name == "a"
    if suffix == ".img":
        np.testing.assert_array_equal(read(path.with_suffix(".hdr")).image, loaded.image)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_byte_orders(tmp_path: Path, dtype: str, order: str) -> None:
    data = phantom(dtype=dtype)
    loaded = read(write(tmp_path / "a.nii", data, order=order))
    assert loaded.image.dtype == np.dtype(dtype)
    assert loaded.image.dtype.isnative
    assert loaded.image.flags.c_contiguous
    assert loaded.image.flags.writeable
    np.testing.assert_array_equal(loaded.image, data.T[None])
    for name in ("b.nii", "b.nii.gz"):
        NIFTI.write(sample_of(loaded), tmp_path / name, "image")
        again = nib.load(tmp_path / name)
        assert again.get_data_dtype() == np.dtype(dtype)
        np.testing.assert_array_equal(np.asarray(again.dataobj), data)
        np.testing.assert_allclose(again.affine, AFFINE, atol=1e-6)


def test_identity_scaling_keeps_integers(tmp_path: Path) -> None:
    path = raw(write(tmp_path / "a.nii", phantom()), scl_slope=1, scl_inter=0)
    assert read(path).image.dtype == np.int16
    path = raw(path, scl_slope=0, scl_inter=5)
    assert read(path).image.dtype == np.int16


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [("uint8", "float32"), ("int16", "float32"), ("int32", "float64"), ("float32", "float32")],
)
def test_scaling(tmp_path: Path, dtype: str, wide: str) -> None:
    data = phantom(dtype=dtype)
    path = raw(write(tmp_path / "a.nii", data), scl_slope=0.25, scl_inter=-7)
    loaded = read(path)
    assert loaded.image.dtype == np.dtype(wide)
    np.testing.assert_array_equal(loaded.image[0], data.T * 0.25 - 7)
    NIFTI.write(sample_of(loaded), tmp_path / "b.nii", "image")
    again = nib.load(tmp_path / "b.nii")
    np.testing.assert_array_equal(again.dataobj.get_unscaled(), data)
    assert (again.dataobj.slope, again.dataobj.inter) == (0.25, -7)
    # Another dtype has no use for the scaling.
    other = sample_of(loaded, meta=loaded.meta | {"dtype": "float64"})
    NIFTI.write(other, tmp_path / "c.nii", "image")
    again = nib.load(tmp_path / "c.nii")
    assert (again.dataobj.slope, again.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(np.asarray(again.dataobj), data * 0.25 - 7)


def test_integers_are_rounded_and_saturate(tmp_path: Path) -> None:
    values = np.array([[-5, 0.5, 1.5, 254.4, 300, np.nan]], np.float32)[None]
    sample = Sample(values, grid=Grid.regular(values.shape[1:]), meta={"dtype": "uint8"})
    NIFTI.write(sample, tmp_path / "a.nii", "image")
    assert read(tmp_path / "a.nii").image.ravel().tolist() == [0, 0, 2, 254, 255, 0]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((7, 5, 3), (1, 3, 5, 7)),
        ((7, 5, 3, 2), (2, 3, 5, 7)),
        ((7, 5, 3, 1, 2), (2, 3, 5, 7)),
        ((7, 5, 3, 2, 1), (2, 3, 5, 7)),
        ((7, 5, 1), (1, 5, 7)),
        ((7, 5, 1, 2), (2, 5, 7)),
        ((7, 5), (1, 5, 7)),
    ],
)
def test_shapes(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    data = phantom(shape)
    loaded = read(write(tmp_path / "a.nii.gz", data))
    assert loaded.image.shape == expected
    np.testing.assert_array_equal(loaded.image.ravel(), data.ravel(order="F"))
    assert loaded.grid.affine.shape == (4, len(expected))
    assert len(loaded.channels) == expected[0]
    NIFTI.write(sample_of(loaded), tmp_path / "b.nii.gz", "image")
    again = read(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(again.image, loaded.image)
    assert loaded.grid.mismatch(again.grid, 1e-6) is None
    assert again.meta["slice_mm"] == pytest.approx(loaded.meta["slice_mm"])


def test_rgb(tmp_path: Path) -> None:
    data = np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    data["R"], data["B"][1, 2, 0] = 9, 77
    loaded = read(write(tmp_path / "a.nii", data))
    assert [c.name for c in loaded.channels] == ["red", "green", "blue"]
    assert loaded.image.shape == (3, 2, 3, 4)
    assert loaded.image[0].min() == 9
    assert loaded.image[2, 0, 2, 1] == 77


@pytest.mark.parametrize(("code", "mm"), [(0, 1), (1, 1000), (2, 1), (3, 1e-3), (10, 1)])
def test_units(tmp_path: Path, code: int, mm: float) -> None:
    loaded = read(write(tmp_path / "a.nii", phantom(), xyzt_units=code))
    np.testing.assert_allclose(loaded.grid.affine[:3], AFFINE[:3, [2, 1, 0, 3]] * mm, rtol=1e-5)
    assert loaded.grid.metres == (1e-3,) * 3
    NIFTI.write(sample_of(loaded), tmp_path / "b.nii", "image")
    assert nib.load(tmp_path / "b.nii").header.get_xyzt_units()[0] == "mm"


def test_unknown_orientation(tmp_path: Path) -> None:
    loaded = read(write(tmp_path / "a.nii", phantom(), None))
    assert loaded.grid.world == MM
    assert loaded.grid.orientation is None
    assert loaded.grid.spacing.tolist() == [3, 2, 1.5]
    NIFTI.write(sample_of(loaded), tmp_path / "b.nii", "image")
    header = nib.load(tmp_path / "b.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
    assert loaded.grid.mismatch(read(tmp_path / "b.nii").grid) is None
    path = raw(write(tmp_path / "c.nii", phantom(), None), pixdim=[1, 0, 1, 1, 1, 1, 1, 1])
    assert read(path).grid.world is None


def test_qform_and_sform(tmp_path: Path) -> None:
    turned = np.diag([-2.0, 3, 4, 1])
    turned[:3, 3] = 5, 6, 7
    image = nib.Nifti1Image(phantom(), None)
    image.set_qform(turned, 1)
    image.set_sform(np.eye(4), 0)
    nib.save(image, tmp_path / "q.nii")
    loaded = read(tmp_path / "q.nii")
    np.testing.assert_allclose(loaded.grid.affine, turned[:, [2, 1, 0, 3]])
    NIFTI.write(sample_of(loaded), tmp_path / "q2.nii", "image")
    header = nib.load(tmp_path / "q2.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    moved = turned.copy()
    moved[0, 3] += 0.5
    image.set_sform(moved, 4)
    nib.save(image, tmp_path / "both.nii")
    with pytest.warns(MedSatAugWarning, match=re.escape(
        "both.nii: its sform and qform disagree by 0.25 voxels; the sform is used"
    )):  # fmt: skip
        loaded = read(tmp_path / "both.nii")
    np.testing.assert_allclose(loaded.grid.affine, moved[:, [2, 1, 0, 3]])
    NIFTI.write(sample_of(loaded), tmp_path / "both2.nii", "image")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path / "both2.nii").meta["sform_code"] == 4


def test_sheared_has_no_qform(tmp_path: Path) -> None:
    loaded = read(write(tmp_path / "a.nii", phantom()))
    NIFTI.write(sample_of(loaded), tmp_path / "b.nii", "image")
    header = nib.load(tmp_path / "b.nii").header
    assert int(header["qform_code"]) == 0
    assert int(header["sform_code"]) == 2
    np.testing.assert_allclose(header.get_sform(), AFFINE, atol=1e-6)


def test_labels(tmp_path: Path) -> None:
    for values, dtype in (((0, 255), "uint8"), ((-1, 3), "int16"), ((0, 70000), "int32")):
        data = np.resize(np.array(values, np.float32), (7, 5, 3))
        loaded = read(write(tmp_path / "a.nii.gz", data), LABEL)
        assert loaded.image.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(loaded.image[0], data.T)
    for dtype in ("uint16", "int32"):
        assert read(write(tmp_path / "b.nii", phantom(dtype=dtype)), LABEL).image.dtype == dtype
    data = np.zeros((7, 5, 3), np.float32)
    data[1, 1, 1] = 0.25
    path = write(tmp_path / "c.nii", data)
    with pytest.raises(FormatError) as told:
        read(path, LABEL)
    assert str(told.value) == (
        f"{path}: a label holds whole numbers, this one holds 0.25; load it as an image, or store "
        "its classes as integers (with a nodata value for what is not labelled)"
    )


def test_nan_is_no_data(tmp_path: Path) -> None:
    data = phantom(dtype="float32")
    assert read(write(tmp_path / "a.nii", data)).valid is None
    data[2, 1, 0] = np.nan
    loaded = read(write(tmp_path / "a.nii", data))
    assert loaded.valid is not None
    assert np.argwhere(~loaded.valid).tolist() == [[0, 0, 1, 2]]
    filled = sample_of(loaded, image=np.nan_to_num(loaded.image))
    NIFTI.write(filled, tmp_path / "b.nii", "image")
    np.testing.assert_array_equal(read(tmp_path / "b.nii").image, loaded.image)


def test_written_twice_is_identical_and_nameless(tmp_path: Path) -> None:
    text = {"descrip": b"Zoe", "aux_file": b"Zoe", "db_name": b"Zoe", "intent_name": b"Zoe"}
    path = write(tmp_path / "a.nii", phantom(), **text)
    assert b"Zoe" in path.read_bytes()
    sample = sample_of(read(path))
    for suffix in (".nii", ".nii.gz"):
        made = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
        for file in made:
            NIFTI.write(sample, file, "image")
        first, second = (file.read_bytes() for file in made)
        assert first == second
        assert b"one" not in first
        if suffix == ".nii.gz":
            assert first[:8] == b"\x1f\x8b\x08" + bytes(5)  # no flags, so no name; no time
        plain = gzip.decompress(first) if suffix == ".nii.gz" else first
        assert b"Zoe" not in plain
        header = nib.load(made[0]).header
        for field in (*text, "data_type"):
            assert header[field].item() == b""
    assert made[0].read_bytes()[4:8] == bytes(4)


def test_extensions_are_not_read(tmp_path: Path) -> None:
    image = nib.Nifti1Image(phantom(), AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Zoe"))
    nib.save(image, tmp_path / "a.nii")
    loaded = read(tmp_path / "a.nii")
    np.testing.assert_array_equal(loaded.image[0], phantom().T)
    assert "Zoe" not in repr(loaded)


def test_long_axes_need_version_2(tmp_path: Path) -> None:
    sample = Sample(np.zeros((1, 1, 40000), np.uint8), grid=Grid.regular((1, 40000)))
    NIFTI.write(sample, tmp_path / "a.nii", "image")
    assert read(tmp_path / "a.nii").meta["version"] == 2
    assert read(tmp_path / "a.nii").image.shape == (1, 1, 40000)


def test_layers_of_labels(tmp_path: Path) -> None:
    label = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(np.uint8)
    sample = Sample(np.zeros((1, 3, 4, 5)), label, grid=Grid.regular((3, 4, 5), (3, 2, 1)))
    NIFTI.write(sample, tmp_path / "a.nii.gz", "label")
    np.testing.assert_array_equal(read(tmp_path / "a.nii.gz", LABEL).image, label)


def refusal(path: Path) -> str:
    with pytest.raises((FormatError, GeometryError)) as told:
        read(path)
    assert "\n" not in str(told.value)
    return str(told.value).replace(str(path), "F")


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    assert refusal(path) == "F: there is no such file"
    path.write_bytes(b"")
    unlike = (
        "F: not a NIfTI file: its header is neither NIfTI-1 nor NIfTI-2; convert it, or give it "
        "the suffix of what it is"
    )
    assert refusal(path) == unlike
    path.write_bytes(b"PK\x03\x04" * 300)
    assert refusal(path) == unlike
    write(path, phantom())
    data = path.read_bytes()
    path.write_bytes(data[:200])
    assert refusal(path) == ("F: truncated: 200 bytes, and a header alone has 348; copy it again")
    path.write_bytes(data[:-9])
    assert refusal(path) == (
        "F: truncated: the header declares 210 bytes of voxels, which the 201 bytes stored cannot "
        "hold; copy the file again"
    )
    raw(write(path, phantom()), dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    assert "declares 54000000000000 bytes of voxels, which the 210" in refusal(path)
    raw(write(path, phantom()), dim=[9, 7, 5, 3, 1, 1, 1, 1])
    assert "impossible shape" in refusal(path)
    raw(write(path, phantom()), dim=[3, 7, -5, 3, 1, 1, 1, 1])
    assert refusal(path) == "F: its header declares an impossible shape [7, -5, 3]"
    raw(write(path, phantom((2, 3, 4, 2, 2))))
    assert refusal(path) == (
        "F: shape (2, 3, 4, 2, 2) has several axes beyond x, y, z, and one can be channels; split "
        "the file first"
    )
    write(path, phantom(dtype="complex64"))
    assert refusal(path) == (
        "F: voxels are complex64; real numbers are needed: convert complex values to magnitude or "
        "phase first"
    )
    raw(write(path, phantom()), datatype=77)
    assert refusal(path) == "F: its data type code 77 is not one of NIfTI's"
    raw(write(path, phantom()), vox_offset=np.nan)
    assert refusal(path) == "F: voxels begin at byte nan, which is impossible"
    raw(write(path, phantom()), srow_x=0)
    with pytest.warns(MedSatAugWarning, match="sform is singular"):
        assert "its sform cannot be inverted" in refusal(path)


def test_bad_gzip(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", np.random.default_rng(0).random((20, 20, 20)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "truncated or damaged" in refusal(path)
    path.write_bytes(data[:-8] + bytes(8))
    assert "do not check (BadGzipFile)" in refusal(path)
    path.write_bytes(data[:-4])
    assert "(EOFError)" in refusal(path)
    # A byte that is no code of deflate's: block types go to 2.
    path.write_bytes(data[:10] + b"\xff" + data[11:])
    assert refusal(path) == (
        "F: truncated or damaged: its gzip data end early or do not check (IsalError); copy the "
        "file again"
    )
    plain = raw(write(tmp_path / "b.nii", phantom()), dim=[3, 9000, 9000, 9000, 1, 1, 1, 1])
    path.write_bytes(gzip.compress(plain.read_bytes()))
    assert "cannot hold even when it is compressed" in refusal(path)
    plain = raw(write(tmp_path / "b.nii", phantom()), dim=[3, 7, 5, 4, 1, 1, 1, 1])
    path.write_bytes(gzip.compress(plain.read_bytes()))
    assert "file ends 70 bytes earlier" in refusal(path)


def test_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.nii", phantom())
    monkeypatch.setenv("MEDSATAUG_MAX_BYTES", "209")
    assert refusal(path) == (
        "F: the headers declare 210 bytes of pixels, more than the cap of 209; if that is right, "
        "raise the environment variable MEDSATAUG_MAX_BYTES"
    )


def test_half_a_pair(tmp_path: Path) -> None:
    path = write(tmp_path / "a.img", phantom(), kind=nib.Nifti1Pair)
    path.unlink()
    path = path.with_suffix(".hdr")
    assert refusal(path) == "F: half of a pair; a.img is not beside it"
    (tmp_path / "envi.hdr").write_text("ENVI\nsamples = 3\n")
    (tmp_path / "envi.img").write_bytes(bytes(9))
    assert not NIFTI.matches(tmp_path / "envi.hdr")


def test_48_orientations(real_data: Path) -> None:
    files = sorted((real_data / "nifti_48_orientations").glob("*.nii.gz"))
    assert len(files) == 48
    first = read(files[0])
    index = np.random.default_rng(1).integers(0, first.grid.shape, (2000, 3))
    world = np.c_[first.grid.world_of(index.astype(float)), np.ones(len(index))]
    values = first.image[0][tuple(index.T)]
    codes = set()
    for file in files:
        loaded = read(file)
        own = (np.linalg.inv(loaded.grid.affine) @ world.T)[:3]
        whole = np.round(own).astype(int)
        np.testing.assert_allclose(own, whole, atol=1e-3)
        np.testing.assert_array_equal(loaded.image[0][tuple(whole)], values)
        # Array order is z, y, x: the name of the file runs x, y, z.
        assert loaded.grid.orientation == file.name[:3][::-1]
        codes.add(loaded.grid.orientation)
    assert len(codes) == 48


def test_real_files_like_nibabel(real_data: Path) -> None:
    for file in (
        *sorted((real_data / "mri_ms_brain" / "patient07").glob("*.nii.gz")),
        *(real_data / "mri_flair_lesion").glob("*.nii.gz"),
        real_data / "dicom/siemens_enhanced_t1/reference/5_anat-T1w_acq-tfl.nii",
    ):
        image = nib.load(file)
        loaded = read(file)
        np.testing.assert_array_equal(loaded.image[0].T, np.asarray(image.dataobj))
        np.testing.assert_allclose(loaded.grid.affine, image.affine[:, [2, 1, 0, 3]], atol=1e-4)
        assert loaded.grid.world == RAS_MM


def test_hippocampus_labels(real_data: Path) -> None:
    kinds = set()
    for file in sorted((real_data / "mri_hippocampus" / "labels").glob("*.nii.gz")):
        kinds.add(nib.load(file).get_data_dtype().name)
        label = read(file, LABEL).image
        assert label.dtype == np.uint8
        assert set(np.unique(label)) <= {0, 1, 2}
    assert "float32" in kinds


def test_describe(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", phantom((7, 5, 3, 2)), order=">")
    facts = NIFTI.describe(path)
    assert facts["shape"] == [2, 3, 5, 7]
    assert facts["byte_order"] == "big"
    assert facts["orientation"] == "SAL"
    assert facts["spacing_mm"] == pytest.approx(np.linalg.norm(AFFINE[:3, :3], axis=0)[::-1])


def test_other_suffixes_are_not_written(tmp_path: Path) -> None:
    sample = Sample(np.zeros((1, 2, 3, 4)), grid=Grid.regular((2, 3, 4)))
    with pytest.raises(FormatError, match=r"written as \.nii or \.nii\.gz"):
        NIFTI.write(sample, tmp_path / "a.hdr", "image")
