"""NRRD and MetaImage: SimpleITK is the oracle; orientation is stated or unknown, not guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medsataug.errors import FormatError
from medsataug.grid import MM, RAS_MM, Grid
from medsataug.io.base import Loaded, ReadOptions
from medsataug.io.itk import Itk
from medsataug.types import Sample

ITK = Itk()
IMAGE, LABEL = ReadOptions(), ReadOptions(role="label")
DTYPES = "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 float64".split()
SUFFIXES = (".nrrd", ".mha")
AFFINE = np.array(
    [[0.1, 0.2, 1.5, -3], [0.05, 2, 0.3, 7], [3, 0.1, 0.2, 9.25], [0, 0, 0, 1.0]]
)  # columns z, y, x


def phantom(shape: tuple[int, ...] = (3, 5, 7), dtype: str = "int16") -> np.ndarray:
    return (np.arange(np.prod(shape)).reshape(shape) + 3).astype(dtype)


def oblique(data: np.ndarray, vector: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(data, isVector=vector)
    turn = sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.1).GetMatrix()
    image.SetDirection(turn)
    image.SetSpacing((1.5, 2, 3))
    image.SetOrigin((10, -20.5, 30))
    image.SetMetaData("PatientName", "Zoe")
    return image


def read(path: Path, options: ReadOptions = IMAGE) -> Loaded:
    return ITK.read(path, options)


def refusal(path: Path) -> str:
    with pytest.raises(FormatError) as told:
        read(path)
    assert "\n" not in str(told.value)
    assert "Zoe" not in str(told.value)
    return str(told.value).replace(str(path), "F")


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_places_like_itk(tmp_path: Path, suffix: str, compress: bool) -> None:
    image = oblique(phantom())
    path = tmp_path / ("a" + suffix)
    sitk.WriteImage(image, path, compress)
    assert ITK.matches(path)
    loaded = read(path)
    np.testing.assert_array_equal(loaded.image[0], phantom())
    assert loaded.grid.world == RAS_MM
    assert loaded.channels[0].name == "a"
    for index in ((0, 0, 0), (6, 0, 0), (0, 4, 0), (2, 3, 1)):
        lps = image.TransformIndexToPhysicalPoint(index)
        own = loaded.grid.world_of(np.array([index[::-1]], float))[0]
        np.testing.assert_allclose(own, np.array(lps) * (-1, -1, 1), atol=1e-9)
    assert "Zoe" not in repr(loaded)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip(tmp_path: Path, dtype: str, channels: int, suffix: str) -> None:
    data = phantom((channels, 3, 5, 7), dtype)
    path = tmp_path / ("a" + suffix)
    ITK.write(Sample(data, grid=Grid(data.shape[1:], AFFINE, RAS_MM)), path, "image")
    loaded = read(path)
    assert loaded.image.dtype == np.dtype(dtype)
    assert loaded.image.flags.c_contiguous
    np.testing.assert_array_equal(loaded.image, data)
    np.testing.assert_allclose(loaded.grid.affine, AFFINE, atol=1e-12)
    other = sitk.ReadImage(str(path))
    assert other.GetNumberOfComponentsPerPixel() == channels
    np.testing.assert_allclose(other.GetOrigin(), (3, -7, 9.25))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("channels", [1, 2])
def test_unknown_orientation_stays_unknown(tmp_path: Path, channels: int, suffix: str) -> None:
    for shape, spacing in (((3, 5, 7), (3, 2, 1.5)), ((5, 7), (2, 1.5)), ((5, 7), None)):
        data = phantom((channels, *shape))
        grid = Grid.regular(shape, spacing)
        ITK.write(Sample(data, grid=grid), tmp_path / ("a" + suffix), "image")
        loaded = read(tmp_path / ("a" + suffix))
        assert loaded.grid.world == grid.world == (MM if spacing else None)
        np.testing.assert_array_equal(loaded.grid.spacing, grid.spacing)
        np.testing.assert_array_equal(loaded.image, data)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_slice(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(oblique(phantom((1, 5, 7))), tmp_path / ("a" + suffix))
    loaded = read(tmp_path / ("a" + suffix))
    assert loaded.image.shape == (1, 5, 7)
    assert loaded.grid.affine.shape == (4, 3)
    sample = Sample(loaded.image, grid=loaded.grid, meta=loaded.meta)
    ITK.write(sample, tmp_path / ("b" + suffix), "image")
    again = read(tmp_path / ("b" + suffix))
    assert loaded.grid.mismatch(again.grid, 1e-9) is None
    assert again.meta["slice_mm"] == pytest.approx(loaded.meta["slice_mm"])


def test_four_axes_are_channels(tmp_path: Path) -> None:
    data = phantom((2, 3, 5, 7))
    sitk.WriteImage(sitk.GetImageFromArray(data, isVector=False), tmp_path / "a.nrrd")
    np.testing.assert_array_equal(read(tmp_path / "a.nrrd").image, data)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("LPS", (-1, -1, 1)),
    ],
)
def test_nrrd_spaces(tmp_path: Path, space: str, signs: tuple[int, ...]) -> None:
    head = (
        f"NRRD0004\ntype: uint8\ndimension: 3\nspace: {space}\nsizes: 4 3 2\n"
        "space directions: (1.5,0,0) (0,2,0) (0,0,3)\nspace origin: (5,6,7)\n"
        "encoding: raw\nendian: little\n\n"
    )
    path = tmp_path / "a.nrrd"
    path.write_bytes(head.encode() + bytes(range(24)))
    loaded = read(path)
    linear = np.array(signs)[:, None] * np.diag([1.5, 2, 3])[:, ::-1]
    np.testing.assert_allclose(loaded.grid.affine[:3, :3], linear)
    np.testing.assert_allclose(loaded.grid.affine[:3, 3], np.array(signs) * (5, 6, 7))
    path.write_bytes(head.replace(f"space: {space}", "space: 3D-right-handed").encode() + bytes(24))
    assert read(path).grid.world == MM


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    data = np.resize(np.array([0, 2], np.float32), (3, 5, 7))
    sitk.WriteImage(sitk.GetImageFromArray(data), path)
    loaded = read(path, LABEL)
    assert loaded.image.dtype == np.uint8
    np.testing.assert_array_equal(loaded.image[0], data)
    data[1, 1, 1] = 0.5
    sitk.WriteImage(sitk.GetImageFromArray(data), path)
    with pytest.raises(FormatError, match=r"a\.nrrd: a label holds whole numbers.*0\.5"):
        read(path, LABEL)


def test_nan_is_no_data(tmp_path: Path) -> None:
    data = phantom(dtype="float32")
    data[0, 1, 2] = np.nan
    sitk.WriteImage(oblique(data), tmp_path / "a.mha")
    loaded = read(tmp_path / "a.mha")
    assert loaded.valid is not None
    assert np.argwhere(~loaded.valid).tolist() == [[0, 0, 1, 2]]
    filled = Sample(np.nan_to_num(loaded.image), grid=loaded.grid, valid=loaded.valid)
    ITK.write(filled.replace(meta=loaded.meta), tmp_path / "b.mha", "image")
    np.testing.assert_array_equal(read(tmp_path / "b.mha").image, loaded.image)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_written_twice_is_identical_and_nameless(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(oblique(phantom()), tmp_path / ("a" + suffix))
    loaded = read(tmp_path / ("a" + suffix))
    sample = Sample(loaded.image, grid=loaded.grid, meta=loaded.meta)
    made = [tmp_path / (name + suffix) for name in ("one", "two")]
    for path in made:
        ITK.write(sample, path, "image")
    assert made[0].read_bytes() == made[1].read_bytes()
    assert b"Zoe" not in made[0].read_bytes()
    assert not {"PatientName"} & set(sitk.ReadImage(str(made[0])).GetMetaDataKeys())


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    assert refusal(path) == "F: there is no such file"
    path.write_bytes(b"\x89PNG")
    assert refusal(path) == "F: not an NRRD file; check its suffix"
    for suffix in SUFFIXES:
        path = tmp_path / ("b" + suffix)
        sitk.WriteImage(oblique(phantom()), path, False)
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[: size - 200 - 9 * 20])
        assert "F: " in refusal(path)
        sitk.WriteImage(oblique(phantom((30, 40, 50))), path, True)
        path.write_bytes(path.read_bytes()[:-500])
        assert refusal(path) == (
            "F: cannot be read as NRRD or MetaImage; it is truncated, damaged or of an unsupported "
            "kind; copy it again or convert it"
        )
    head = (
        "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4000 4000 4000\nencoding: {}\n"
        "endian: little\n{}\n"
    )
    path.with_suffix(".nrrd").write_text(head.format("raw", ""))
    assert refusal(tmp_path / "b.nrrd").startswith(
        "F: truncated: the header declares 64000000000 bytes of voxels, which the "
    )
    path.with_suffix(".nrrd").write_text(head.format("gzip", ""))
    assert "even when it is compressed" in refusal(tmp_path / "b.nrrd")


def test_detached_voxels_stay_in_the_folder(tmp_path: Path) -> None:
    head = (
        "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 3 2\nencoding: raw\nendian: little\n"
        "data file: {}\n"
    )
    path = tmp_path / "a.nhdr"
    for name, said in (
        ("../secret.raw", "F: its voxels lie outside its folder; move them beside it"),
        ("/etc/passwd", "F: its voxels lie outside its folder; move them beside it"),
        ("gone.raw", "F: the file with its voxels, gone.raw, is not beside it"),
        ("s%d.raw 0 1 1", "F: its voxels are spread over several files; join them first"),
    ):
        path.write_text(head.format(name))
        (tmp_path / "secret.raw").write_bytes(bytes(24))
        assert refusal(path) == said
    (tmp_path / "a.raw").write_bytes(bytes(range(24)))
    path.write_text(head.format("a.raw"))
    np.testing.assert_array_equal(read(path).image.ravel(), range(24))


def test_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitk.WriteImage(oblique(phantom()), tmp_path / "a.mha")
    monkeypatch.setenv("MEDSATAUG_MAX_BYTES", "100")
    assert "declare 210 bytes of pixels, more than the cap of 100" in refusal(tmp_path / "a.mha")


def test_describe(tmp_path: Path) -> None:
    sitk.WriteImage(oblique(phantom()), tmp_path / "a.mha")
    facts = ITK.describe(tmp_path / "a.mha")
    assert facts["shape"] == [1, 3, 5, 7]
    assert facts["dtype"] == "int16"
    assert facts["orientation"] == "SPL"
    assert facts["spacing_mm"] == pytest.approx([3, 2, 1.5])
    assert "Zoe" not in repr(facts)


def test_real_segmentation(real_data: Path) -> None:
    path = real_data / "dicom_seg" / "liver_seg.nrrd"
    loaded = read(path, LABEL)
    np.testing.assert_array_equal(loaded.image[0], sitk.GetArrayFromImage(sitk.ReadImage(path)))
    assert loaded.grid.orientation == "SPL"
