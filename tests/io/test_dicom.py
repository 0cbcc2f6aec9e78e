"""DICOM: every series is read right or refused by a message that says why.

Synthetic series are written here with identities in every header; SimpleITK is the oracle for
values and world positions.
"""

from __future__ import annotations

import builtins
import json
import logging
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from medsataug.errors import ConfigError, FormatError, GeometryError, MedSatAugWarning
from medsataug.grid import RAS_MM, Grid
from medsataug.io.base import ReadOptions
from medsataug.io.dicom import Dicom, is_segmentation
from medsataug.io.dicom_seg import read_segmentation

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
UID = "1.2.826.0.1.3680043.8.498.777"
SECRETS = ("Zebrafish", "ID-90210", UID, "Hospital of Nowhere", "19431231", "SN-55443")
DICOM = Dicom()


def rotation() -> np.ndarray:
    """An oblique frame: rows, columns, normal."""
    a, b = np.radians(23), np.radians(-11)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x


def phantom(shape: tuple[int, ...] = (5, 7, 9)) -> np.ndarray:
    """Every voxel differs, and no axis is like another."""
    return (np.arange(np.prod(shape)).reshape(shape) * 3 + 11).astype(np.uint16)


def base(sop: str = MR, **tags: object) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop, pydicom.uid.generate_uid(prefix=UID + ".")
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Zebrafish^Zoe", "ID-90210", "19431231"
    ds.InstitutionName, ds.SeriesDescription = "Hospital of Nowhere", "Zebrafish knee"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = UID + ".1", UID + ".2"
    ds.DeviceSerialNumber, ds.ProtocolName = "SN-55443", "Zebrafish"
    ds.Modality, ds.SeriesNumber = "MR", 3
    ds.MagneticFieldStrength, ds.EchoTime = "1.5", "12.5"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    for key, value in tags.items():
        setattr(ds, key, value)
    return ds


def store(ds: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, UID + ".9"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    ds.file_meta = meta
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    path.parent.mkdir(exist_ok=True, parents=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def put(ds: Dataset, pixels: np.ndarray, big: bool = False) -> Dataset:
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.PixelData = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def series(
    folder: Path,
    volume: np.ndarray | None = None,
    *,
    heights: list[float] | None = None,
    axes: np.ndarray | None = None,
    shift: tuple[float, float] = (0, 0),
    syntax: str = ExplicitVRLittleEndian,
    each: dict[str, list[object]] | None = None,
    **tags: object,
) -> np.ndarray:
    """Write a series under names that say nothing of the order; return LPS positions."""
    volume = phantom() if volume is None else volume
    axes = np.eye(3) if axes is None else axes
    heights = [2.5 * k for k in range(len(volume))] if heights is None else heights
    names = np.random.default_rng(5).permutation(len(volume))
    places = []
    for k, (pixels, height) in enumerate(zip(volume, heights, strict=True)):
        place = np.array([-31.5, 12.25, 40]) + axes @ [shift[0] * k, shift[1] * k, height]
        ds = base(**({"SliceThickness": "99"} | tags))
        ds.ImagePositionPatient = [f"{x:.6f}" for x in place]
        ds.ImageOrientationPatient = [f"{x:.9f}" for x in [*axes[:, 0], *axes[:, 1]]]
        ds.PixelSpacing = ["0.75", "1.25"]
        ds.InstanceNumber = int(names[k])
        for key, values in (each or {}).items():
            setattr(ds, key, values[k])
        store(put(ds, pixels, syntax == ExplicitVRBigEndian), folder / f"f{names[k]:03}", syntax)
        places.append(place)
    return np.array(places)


def read(path: Path, role: str = "image", pick: str | None = None):
    return DICOM.read(path, ReadOptions(role=role, series=pick))


def assert_like_itk(loaded, image: sitk.Image, tolerance: float = 1e-4) -> None:
    """Same value and world position for every ITK index, by position and not by index."""
    values = sitk.GetArrayFromImage(image)
    indices = np.argwhere(np.ones(values.shape, bool))
    picked = indices[:: max(1, len(indices) // 500)]
    lps = np.array([image.TransformIndexToPhysicalPoint(i[::-1].tolist()) for i in picked])
    world = np.column_stack([lps * [-1, -1, 1], np.ones(len(lps))])
    own = (np.linalg.inv(loaded.grid.affine) @ world.T)[:3].T
    whole = np.round(own).astype(int)
    back = loaded.grid.world_of(whole.astype(float))
    np.testing.assert_allclose(back, world[:, :3], atol=1e-3)
    np.testing.assert_allclose(
        loaded.image[0][tuple(whole.T)], values[tuple(picked.T)], atol=tolerance
    )


def itk_series(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def assert_no_identity(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text


# --- geometry read right -------------------------------------------------------------------


@pytest.mark.parametrize("axes", [np.eye(3), rotation(), -np.eye(3)[::-1]], ids=str)
def test_shuffled_series_lies_where_itk_says(tmp_path, axes):
    if np.linalg.det(axes) < 0:
        axes = axes * [1, 1, -1]
    places = series(tmp_path, axes=axes)
    loaded = read(tmp_path)
    assert loaded.image.shape == (1, 5, 7, 9)
    assert loaded.grid.world == RAS_MM
    assert loaded.grid.metres == (1e-3,) * 3
    np.testing.assert_allclose(loaded.grid.spacing, [2.5, 0.75, 1.25], rtol=1e-6)
    np.testing.assert_array_equal(loaded.image[0], phantom())
    ends = loaded.grid.world_of(np.array([[0.0, 0, 0], [4, 0, 0], [0, 0, 3]]))
    np.testing.assert_allclose(ends[:2] * [-1, -1, 1], places[[0, 4]], atol=1e-5)
    np.testing.assert_allclose(ends[2] * [-1, -1, 1], places[0] + 3 * 1.25 * axes[:, 0], atol=1e-5)
    assert_like_itk(loaded, itk_series(tmp_path))


def test_files_given_backwards_come_out_along_the_normal(tmp_path):
    series(tmp_path, heights=[10, 7.5, 5, 2.5, 0])
    loaded = read(tmp_path)
    np.testing.assert_array_equal(loaded.image[0], phantom()[::-1])
    assert np.linalg.det(loaded.grid.affine[:3, 2::-1]) > 0


def test_slice_distance_is_never_slice_thickness(tmp_path):
    series(tmp_path, SliceThickness="1", SpacingBetweenSlices="4")
    assert read(tmp_path).grid.spacing[0] == pytest.approx(2.5)


def test_rounded_positions_are_one_volume(tmp_path):
    series(tmp_path, heights=[0, 2.51, 5.0, 7.5, 10])
    assert read(tmp_path).grid.spacing[0] == pytest.approx(2.5)


def test_tilted_gantry_gives_the_exact_sheared_affine(tmp_path):
    places = series(tmp_path, axes=rotation(), shift=(0, 0.6))
    with pytest.warns(MedSatAugWarning, match="gantry tilt.*13.5"):
        loaded = read(tmp_path)
    corner = loaded.grid.world_of(np.array([[k, 0.0, 0] for k in range(5)]))
    np.testing.assert_allclose(corner * [-1, -1, 1], places, atol=1e-5)


def test_one_slice_is_a_2d_grid_in_the_world(tmp_path):
    places = series(tmp_path, phantom((1, 4, 6)), axes=rotation())
    loaded = read(tmp_path)
    assert loaded.image.shape == (1, 4, 6)
    assert loaded.grid.affine.shape == (4, 3)
    np.testing.assert_allclose(loaded.grid.affine[:3, 2] * [-1, -1, 1], places[0], atol=1e-5)


def test_slice_without_a_place_has_no_invented_one(tmp_path):
    ds = put(base(PixelSpacing=["0.5", "0.25"]), phantom((4, 6)))
    loaded = read(store(ds, tmp_path / "a"))
    assert loaded.grid.world == "mm"
    np.testing.assert_allclose(loaded.grid.spacing, [0.5, 0.25])
    assert read(store(put(base(), phantom((4, 6))), tmp_path / "b")).grid.world is None


def functional(place, slope=None, **frame: Dataset) -> Dataset:
    item, inner = Dataset(), Dataset()
    inner.ImagePositionPatient = [f"{x:.6f}" for x in place]
    item.PlanePositionSequence = Sequence([inner])
    if slope is not None:
        value = Dataset()
        value.RescaleSlope, value.RescaleIntercept = f"{slope}", "5"
        item.PixelValueTransformationSequence = Sequence([value])
    for key, data in frame.items():
        setattr(item, key, Sequence([data]))
    return item


def enhanced(path: Path, volume: np.ndarray, order, syntax, slopes=None, frames=None) -> None:
    axes, shared, plane, size = rotation(), Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = [f"{x:.9f}" for x in [*axes[:, 0], *axes[:, 1]]]
    size.PixelSpacing, size.SliceThickness = ["0.75", "1.25"], "9"
    shared.PlaneOrientationSequence = Sequence([plane])
    shared.PixelMeasuresSequence = Sequence([size])
    ds = base(ENHANCED_MR, NumberOfFrames=len(order))
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        functional(axes @ [0, 0, 2.5 * k], slopes and slopes[k], **(frames or {}).get(i, {}))
        for i, k in enumerate(order)
    )
    store(put(ds, volume[list(order)]), path, syntax)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("slopes", [None, [1, 2, 0.5, 3, 4]])
def test_enhanced_frames_are_placed_by_their_functional_groups(tmp_path, syntax, slopes):
    enhanced(tmp_path / "e", phantom(), (3, 0, 4, 1, 2), syntax, slopes)
    loaded = read(tmp_path)
    expected = phantom()
    if slopes is not None:
        expected = np.float32(expected * np.reshape(slopes, (-1, 1, 1)) + 5)
    np.testing.assert_array_equal(loaded.image[0], expected)
    assert loaded.image.dtype == expected.dtype
    np.testing.assert_allclose(
        loaded.grid.world_of(np.array([[4.0, 0, 0]]))[0] * [-1, -1, 1],
        rotation() @ [0, 0, 10], atol=1e-5,
    )  # fmt: skip
    assert loaded.meta["slice_thickness_mm"] == 9


def test_enhanced_file_of_two_echoes_is_two_channels(tmp_path):
    def echo(ms: float) -> dict[str, Dataset]:
        data = Dataset()
        data.EffectiveEchoTime = ms
        return {"MREchoSequence": data}

    order = (0, 1, 0, 1)
    frames = {i: echo(30.0 if i > 1 else 8.5) for i in range(4)}
    enhanced(tmp_path / "e", phantom(), order, ExplicitVRLittleEndian, frames=frames)
    loaded = read(tmp_path)
    assert loaded.image.shape == (2, 2, 7, 9)
    assert [c.name for c in loaded.channels] == ["TE 8.5 ms", "TE 30 ms"]


# --- 4D --------------------------------------------------------------------------------------


def four_d(folder: Path, each: dict[str, list[object]], volumes: int = 2) -> np.ndarray:
    volume = phantom((3 * volumes, 4, 6))
    series(folder, volume, heights=[0, 2.5, 5] * volumes, each=each)
    return volume


@pytest.mark.parametrize(
    ("each", "names"),
    [
        ({"DiffusionBValue": [1000.0] * 3 + [0.0] * 3}, ["b 0", "b 1000"]),
        ({"EchoTime": ["80"] * 3 + ["9.5"] * 3}, ["TE 9.5 ms", "TE 80 ms"]),
        ({"TemporalPositionIdentifier": [2] * 3 + [1] * 3}, ["time 1", "time 2"]),
        ({"ImageType": [["ORIGINAL", "PRIMARY", "P"]] * 3 + [["ORIGINAL", "PRIMARY", "M"]] * 3},
         ["magnitude", "phase"]),
        ({"AcquisitionNumber": [5] * 3 + [4] * 3}, ["acquisition 4", "acquisition 5"]),
        ({"AcquisitionTime": ["111501"] * 3 + ["111500"] * 3}, ["time 1", "time 2"]),
    ],
)  # fmt: skip
def test_repeated_positions_become_channels(tmp_path, each, names):
    volume = four_d(tmp_path, each)
    loaded = read(tmp_path)
    np.testing.assert_array_equal(loaded.image, volume.reshape(2, 3, 4, 6)[::-1])
    assert [c.name for c in loaded.channels] == names


def test_gradient_directions_become_channels(tmp_path):
    b = [0.0] * 3 + [700.0] * 6
    directions = [[0.0, 0, 0]] * 3 + [[1.0, 0, 0]] * 3 + [[0.0, 1, 0]] * 3
    four_d(tmp_path, {"DiffusionBValue": b, "DiffusionGradientOrientation": directions}, 3)
    loaded = read(tmp_path)
    assert loaded.image.shape == (3, 3, 4, 6)
    assert len({c.name for c in loaded.channels}) == 3


def test_incomplete_4d_says_which_volume_lacks_slices(tmp_path):
    four_d(tmp_path, {"EchoTime": ["80"] * 3 + ["9.5"] * 3})
    for file in sorted(tmp_path.iterdir()):
        if pydicom.dcmread(file).EchoTime == 80:
            file.unlink()
            break
    with pytest.raises(GeometryError, match=r"by echo time there are 2 volumes.*1 of 3 from vol"):
        read(tmp_path)


# --- geometry refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heights": [0, 2.5, 5, 10, 12.5]}, r"missing slices: 1 in all, 1 after slice 3 \(45"),
        ({"heights": [0, 5, 2.5, 12.5, 15]}, "missing slices: 2 in all.*add the files"),
        ({"heights": [0, 2.5, 5, 7.5, 7.5]}, "repeated positions: 5 slices at 4.*Remove"),
        ({"heights": [0, 2.5, 5.4, 7.5, 10]}, "uneven slice spacing: 2.1 to 2.9 mm"),
        ({"each": {"PixelSpacing": [["1", "1"]] * 4 + [["2", "2"]]}}, "2 pixel spacings"),
        (
            {"each": {"ImageOrientationPatient": [[1, 0, 0, 0, 1, 0]] * 4 + [[0, 1, 0, 0, 0, -1]]}},
            r"2 orientations in one series \((4 \+ 1|1 \+ 4) slices\), as in a localiser",
        ),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0], "axes": np.ones((3, 3))},
         "not two perpendicular unit"),
        ({"each": {"ImagePositionPatient": [None, *([k, 0, k] for k in range(4))]}},
         "4 of 5 slices have a position"),
        ({"each": {"ImagePositionPatient": [None] * 5}}, "order cannot be known"),
    ],
)  # fmt: skip
def test_what_is_not_one_volume_is_refused(tmp_path, arguments, message):
    series(tmp_path, **arguments)
    with pytest.raises(GeometryError, match=message) as error:
        read(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert_no_identity(str(error.value))
    assert "problem" in DICOM.describe(tmp_path)["series"][0]


def test_mixed_sizes_are_refused(tmp_path):
    series(tmp_path, phantom((2, 4, 6)))
    series(tmp_path / "more", phantom((2, 5, 6)), heights=[5, 7.5])
    with pytest.raises(GeometryError, match=r"different sizes.*2 of \(4, 6\), 2 of \(5, 6\)"):
        read(tmp_path)


def test_frames_without_functional_groups_are_refused(tmp_path):
    ds = put(base(NumberOfFrames=5), phantom())
    with pytest.raises(GeometryError, match="5 frames without functional groups"):
        read(store(ds, tmp_path / "a"))


# --- several series --------------------------------------------------------------------------


def test_series_is_chosen_by_number(tmp_path):
    series(tmp_path / "a", phantom((3, 4, 6)))
    series(tmp_path / "b", SeriesInstanceUID=UID + ".5", SeriesNumber=14)
    with pytest.raises(ConfigError, match=r"2 series.*--series N.*the series number") as error:
        read(tmp_path)
    assert "2. series number 14: MR, 5 slices of 7 x 9" in str(error.value)
    assert_no_identity(str(error.value))
    assert read(tmp_path, pick="14").image.shape == (1, 5, 7, 9)
    assert read(tmp_path, pick="3").image.shape == (1, 3, 4, 6)
    with pytest.raises(ConfigError, match="no series '2'"):
        read(tmp_path, pick="2")


def test_series_is_chosen_by_place_where_numbers_repeat(tmp_path):
    series(tmp_path / "a", phantom((3, 4, 6)))
    series(tmp_path / "b", SeriesInstanceUID=UID + ".5")
    with pytest.raises(ConfigError, match="the place in this list"):
        read(tmp_path)
    assert read(tmp_path, pick="2").image.shape == (1, 5, 7, 9)


def test_folders_are_recognised_by_content(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "short.dcm").write_bytes(b"DICM")
    assert not DICOM.matches(tmp_path)
    assert not DICOM.matches(tmp_path / "short.dcm")
    assert not DICOM.matches(tmp_path / "absent")
    with pytest.raises(FormatError, match="no DICOM images"):
        read(tmp_path)
    series(tmp_path / "inside")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"broken")
    store(base("1.2.840.10008.5.1.4.1.1.88.11", Modality="SR"), tmp_path / "report.dcm")
    assert DICOM.matches(tmp_path)
    assert read(tmp_path).image.shape == (1, 5, 7, 9)


# --- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless]
)
def test_encodings_hold_the_same_values(tmp_path, syntax):
    series(tmp_path, syntax=syntax)
    np.testing.assert_array_equal(read(tmp_path).image[0], phantom())


@pytest.mark.parametrize(
    ("tags", "dtype"),
    [
        ({}, np.uint16),
        ({"RescaleSlope": "1", "RescaleIntercept": "-1024"}, np.int16),
        ({"RescaleSlope": "100", "RescaleIntercept": "0"}, np.int32),
        ({"RescaleSlope": "0.5", "RescaleIntercept": "0"}, np.float32),
    ],
)
def test_rescaling_keeps_integers_where_it_can(tmp_path, tags, dtype):
    series(tmp_path, **tags)
    image = read(tmp_path).image
    assert image.dtype == dtype
    scaled = phantom() * float(tags.get("RescaleSlope", 1)) + float(tags.get("RescaleIntercept", 0))
    np.testing.assert_array_equal(image[0], scaled.astype(dtype))


def test_rescaling_may_differ_from_slice_to_slice(tmp_path):
    slopes = [1, 2, 3, 4, 5]
    tags = {"RescaleSlope": [str(s) for s in slopes], "RescaleIntercept": ["-7"] * 5}
    series(tmp_path, each=tags)
    loaded = read(tmp_path)
    assert loaded.image.dtype == np.float32
    np.testing.assert_array_equal(loaded.image[0], phantom() * np.reshape(slopes, (5, 1, 1)) - 7.0)
    assert loaded.meta["dtype"] == "float32"
    with pytest.raises(FormatError, match="integral"):
        read(tmp_path, role="label")


def test_monochrome1_is_inverted_but_not_hounsfield_units(tmp_path):
    series(tmp_path / "a", PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(tmp_path / "a").image[0], 4095 - phantom())
    series(tmp_path / "b", PhotometricInterpretation="MONOCHROME1", Modality="CT")
    np.testing.assert_array_equal(read(tmp_path / "b").image[0], phantom())


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_those_stored_are_not_values(tmp_path, signed):
    stored = phantom().astype(np.int16) - (100 if signed else 0)
    raw = (stored.view(np.uint16) & 0x0FFF) | 0xA000
    series(tmp_path, raw, BitsStored=12, HighBit=11, PixelRepresentation=int(signed))
    np.testing.assert_array_equal(read(tmp_path).image[0], stored)


@pytest.mark.parametrize(
    ("limit", "hidden"), [(None, [14]), (20, [14, 17, 20]), (8, [11, 14])]
)  # fmt: skip
def test_padding_is_not_valid(tmp_path, limit, hidden):
    tags = {} if limit is None else {"PixelPaddingRangeLimit": limit}
    series(tmp_path, PixelPaddingValue=14, **tags)
    np.testing.assert_array_equal(read(tmp_path).valid[0], ~np.isin(phantom(), hidden))
    series(tmp_path / "b", SeriesInstanceUID=UID + ".5", SeriesNumber=4, PixelPaddingValue=1)
    assert read(tmp_path, pick="4").valid is None


# --- guards ----------------------------------------------------------------------------------


def test_truncated_files_are_named(tmp_path):
    series(tmp_path)
    file = tmp_path / "f002"
    whole = file.read_bytes()
    for size in (len(whole) - 40, len(whole) - 100, 700, 180):
        file.write_bytes(whole[:size])
        with pytest.raises(FormatError, match=r"f002.*truncated") as error:
            read(tmp_path)
        assert_no_identity(str(error.value))


@pytest.mark.parametrize("keep", [0.6, 0.95])
def test_truncated_compressed_files_are_named(tmp_path, keep):
    rng = np.random.default_rng(0)
    series(tmp_path, rng.integers(0, 4000, (2, 64, 64)).astype(np.uint16), syntax=RLELossless)
    file = tmp_path / "f001"
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(FormatError, match=r"f001.*truncated"):
        read(tmp_path)


def test_declared_sizes_are_checked_before_reading(tmp_path, monkeypatch):
    ds = put(base(), phantom((4, 6)))
    ds.Rows = ds.Columns = 60000
    with pytest.raises(FormatError, match="truncated: the header declares 7200000000 bytes"):
        read(store(ds, tmp_path / "a" / "a"))
    series(tmp_path / "b")
    monkeypatch.setenv("MEDSATAUG_MAX_BYTES", "600")
    with pytest.raises(FormatError, match=r"630 bytes.*cap of 600.*MEDSATAUG_MAX_BYTES"):
        read(tmp_path / "b")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"SamplesPerPixel": 3}, "colour"),
        ({"BitsStored": 12, "HighBit": 15}, "HighBit"),
        ({"ModalityLUTSequence": Sequence([Dataset()])}, "lookup table"),
    ],
)
def test_values_that_cannot_be_told_are_refused(tmp_path, tags, message):
    file = store(put(base(**tags), phantom((4, 6))), tmp_path / "a")
    with pytest.raises(FormatError, match=message):
        read(file)


def test_deflated_files_are_refused_before_they_inflate(tmp_path):
    file = store(put(base(), phantom((4, 6))), tmp_path / "a", DeflatedExplicitVRLittleEndian)
    with pytest.raises(FormatError, match="deflated"):
        read(file)


def test_garbage_pixels_of_a_codec_are_named(tmp_path):
    ds = put(base(), phantom((4, 6)))
    ds.PixelData = pydicom.encaps.encapsulate([b"\x01\x02" * 40])
    ds["PixelData"].VR = "OB"
    with pytest.raises(FormatError, match=r"a: pixels \(JPEG-LS"):
        read(store(ds, tmp_path / "a", JPEGLSLossless))


def test_writing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="NIfTI"):
        DICOM.write(None, tmp_path / "x.dcm", "image")
    assert DICOM.suffix(None) == ".nii.gz"


# --- identity --------------------------------------------------------------------------------


def test_no_identity_leaves_the_headers(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    times = ["111500", "111501"]
    series(tmp_path, phantom((4, 4, 6)), heights=[0, 2, 0, 2],
           each={"AcquisitionTime": [times[0]] * 2 + [times[1]] * 2}, Modality="ZEBRA")  # fmt: skip
    loaded = read(tmp_path)
    facts = DICOM.describe(tmp_path)
    assert set(loaded.meta) <= {
        "format", "dtype", "modality", "field_strength_t", "echo_time_ms", "slice_thickness_mm",
    }  # fmt: skip
    assert loaded.meta["field_strength_t"] == 1.5
    assert loaded.meta["modality"] == "OT"
    said = capfd.readouterr()
    text = json.dumps([loaded.meta, facts]) + repr(loaded.channels) + caplog.text
    text = (text + said.out + said.err).replace(str(tmp_path), "")
    assert_no_identity(text)
    assert "1115" not in text
    assert "ZEBRA" not in text


def test_bad_values_of_identity_tags_are_not_warned_about(tmp_path):
    ds = put(base(), phantom((4, 6)))
    file = store(ds, tmp_path / "a")
    text = file.read_bytes().replace(b"19431231", b"Zebrafis")
    file.write_bytes(text)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read(file)
    assert not said


# --- segmentations ---------------------------------------------------------------------------


def test_missing_highdicom_says_what_to_install(real_data, monkeypatch):
    normal = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "highdicom":
            raise ImportError(name)
        return normal(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install medsataug\[dicomseg\]"):
        read(real_data / "dicom_seg" / "liver.dcm", role="label")


def seg_grid(real_data: Path) -> Grid:
    return read(real_data / "dicom_seg" / "ct-3slice").grid


def test_liver_matches_its_nrrd(real_data):
    pytest.importorskip("highdicom")
    folder = real_data / "dicom_seg"
    assert is_segmentation(folder / "liver.dcm")
    assert not is_segmentation(folder)
    with pytest.raises(FormatError, match="give it as the label"):
        read(folder / "liver.dcm")
    loaded = DICOM.read_label_on(folder / "liver.dcm", seg_grid(real_data))
    assert loaded.image.shape == (1, 3, 512, 512)
    assert loaded.image.dtype == np.uint8
    assert loaded.image.any()
    assert_like_itk(loaded, sitk.ReadImage(str(folder / "liver_seg.nrrd")))
    own = read(folder / "liver.dcm", role="label")
    np.testing.assert_array_equal(own.image, loaded.image)
    assert "Liver" not in json.dumps(DICOM.describe(folder / "liver.dcm"))


def test_frames_follow_world_positions_whatever_the_grid(real_data):
    pytest.importorskip("highdicom")
    file, grid = real_data / "dicom_seg" / "liver.dcm", seg_grid(real_data)
    straight = read_segmentation(file, grid)
    for permutation, flip in (((2, 0, 1), (0, 2)), ((0, 2, 1), (1,)), ((1, 2, 0), ())):
        old_from_new = np.zeros((4, 4))
        old_from_new[3, 3] = 1
        for new, old in enumerate(permutation):
            old_from_new[old, new] = -1 if new in flip else 1
            old_from_new[old, 3] = grid.shape[old] - 1 if new in flip else 0
        turned = grid.moved(old_from_new, [grid.shape[p] for p in permutation])
        expected = np.flip(straight.transpose(permutation), flip)
        np.testing.assert_array_equal(read_segmentation(file, turned), expected)


def test_segmentation_fills_a_longer_volume_and_one_slice(real_data):
    pytest.importorskip("highdicom")
    file, grid = real_data / "dicom_seg" / "liver.dcm", seg_grid(real_data)
    straight = read_segmentation(file, grid)
    shift = np.eye(4)
    shift[0, 3] = -2
    longer = read_segmentation(file, grid.moved(shift, (7, 512, 512)))
    np.testing.assert_array_equal(longer[2:5], straight)
    assert not longer[[0, 1, 5, 6]].any()
    with pytest.raises(GeometryError, match="labels outside the image"):
        read_segmentation(file, grid.moved(np.eye(4), (2, 512, 512)))
    half = np.eye(4)
    half[0, 3] = 0.5
    with pytest.raises(GeometryError, match=r"does not lie on the image's voxels.*0.5 mm"):
        read_segmentation(file, grid.moved(half, (3, 512, 512)))
    with pytest.raises(GeometryError, match="world is None"):
        read_segmentation(file, Grid.regular((3, 512, 512)))


def test_overlapping_segments_are_layers(real_data):
    highdicom = pytest.importorskip("highdicom")
    file = real_data / "dicom_seg" / "partial_overlaps.dcm"
    loaded = DICOM.read_label_on(file, seg_grid(real_data))
    assert loaded.image.shape == (5, 3, 512, 512)
    assert [c.name for c in loaded.channels] == [f"segment {n}" for n in range(1, 6)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = highdicom.seg.segread(file)
        frames = truth.pixel_array
    assert loaded.image.astype(bool).sum() == frames.sum()
    for n, layer in enumerate(loaded.image, 1):
        assert set(np.unique(layer)) == {0, n}
    grid = loaded.grid
    for frame, item in zip(frames, truth.PerFrameFunctionalGroupsSequence, strict=True):
        n = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        z = item.PlanePositionSequence[0].ImagePositionPatient[2] - grid.affine[2, 3]
        np.testing.assert_array_equal(loaded.image[n - 1, round(z)] != 0, frame != 0)


@pytest.mark.parametrize("kind", ["FRACTIONAL"])
def test_fractional_segmentations_are_refused(tmp_path, kind):
    ds = put(base(SEG, SegmentationType=kind, BitsAllocated=8, BitsStored=8, HighBit=7),
             phantom((4, 6)).astype(np.uint8))  # fmt: skip
    file = store(ds, tmp_path / "s")
    with pytest.raises(FormatError, match="fractional segmentation is no label"):
        read(file, role="label")


# --- every real series -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["generic_t1", "generic_anisotropic", "compressed_j2k", "compressed_jpegls",
             "compressed_rle"],
)  # fmt: skip
def test_real_series_agrees_with_itk(real_data, name):
    folder = real_data / "dicom" / name
    assert DICOM.matches(folder)
    assert_like_itk(read(folder), itk_series(folder))


def test_real_ct_agrees_with_itk(real_data):
    folder = real_data / "dicom_seg" / "ct-3slice"
    loaded = read(folder)
    assert loaded.image.dtype == np.int16
    assert_like_itk(loaded, itk_series(folder))
    np.testing.assert_array_equal(loaded.valid, loaded.image != -3024)


@pytest.mark.parametrize(
    ("name", "decoder"),
    [("compressed_j2k", "PIL"), ("compressed_jpegls", "jpeg_ls"), ("compressed_rle", "pydicom")],
)
def test_real_compressed_values_agree_with_another_decoder(real_data, name, decoder):
    pytest.importorskip(decoder)
    loaded = read(real_data / "dicom" / name)
    for file in (real_data / "dicom" / name).iterdir():
        place = pydicom.dcmread(file, stop_before_pixels=True).ImagePositionPatient
        own = np.linalg.inv(loaded.grid.affine) @ [-place[0], -place[1], place[2], 1]
        np.testing.assert_allclose(own[1:3], 0, atol=1e-6)
        np.testing.assert_array_equal(
            loaded.image[0, round(own[0])], pydicom.pixels.pixel_array(file, raw=True)
        )


def test_real_gap_is_refused(real_data):
    with pytest.raises(GeometryError, match="missing slices: 1 in all, 1 after slice 3"):
        read(real_data / "dicom" / "bad_slice_increment")


def test_real_tilt_is_sheared(real_data):
    folder = real_data / "dicom" / "bad_gantry_tilt"
    with pytest.warns(MedSatAugWarning, match=r"14.00°"):
        loaded = read(folder)
    assert loaded.image.dtype == np.int16
    for k, file in enumerate(sorted(folder.iterdir())):
        one = sitk.ReadImage(str(file))
        np.testing.assert_array_equal(loaded.image[0, k], sitk.GetArrayFromImage(one)[0])
        for x, y in ((0, 0), (511, 17), (200, 511)):
            point = one.TransformIndexToPhysicalPoint((x, y, 0))
            own = loaded.grid.world_of(np.array([[k, y, x]], float))[0]
            np.testing.assert_allclose(own * [-1, -1, 1], point, atol=1e-3)


def test_real_enhanced_file_agrees_with_the_independent_conversion(real_data):
    folder = real_data / "dicom" / "siemens_enhanced_t1"
    loaded = read(folder)
    reference = nib.load(next((folder / "reference").glob("*.nii")))
    values = np.asanyarray(reference.dataobj)
    flat = np.argwhere(np.ones(values.shape, bool))
    world = nib.affines.apply_affine(reference.affine, flat)
    inverse = np.linalg.inv(loaded.grid.affine)
    own = np.round(world @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    np.testing.assert_allclose(loaded.grid.world_of(own.astype(float)), world, atol=1e-3)
    np.testing.assert_array_equal(loaded.image[0][tuple(own.T)], values[tuple(flat.T)])
    facts = json.loads(next((folder / "reference").glob("*.json")).read_text())
    assert loaded.meta["echo_time_ms"] == pytest.approx(1000 * facts["EchoTime"])
    assert loaded.meta["repetition_time_ms"] == pytest.approx(1000 * facts["RepetitionTime"])
    assert loaded.meta["flip_angle_deg"] == facts["FlipAngle"]
    text = json.dumps([loaded.meta, DICOM.describe(folder)]).replace(str(folder), "")
    assert facts["InstitutionName"] not in text
    assert facts["DeviceSerialNumber"] not in text


def test_folder_of_many_real_series_lists_them(real_data):
    with pytest.raises(ConfigError, match="5 series; choose one with --series N"):
        read(real_data / "dicom")
    with pytest.raises(GeometryError, match="repeated positions: 12 slices at 4"):
        read(real_data / "dicom", pick="3")
    for facts in DICOM.describe(real_data / "dicom")["series"]:
        assert ("problem" in facts) or facts["shape"]


def test_whatever_is_refused_is_refused_by_name(real_data):
    refused = []
    for folder in sorted((real_data / "dicom").iterdir()):
        facts = DICOM.describe(folder)["series"]
        assert len(facts) == 1
        if "problem" in facts[0]:
            refused.append(folder.name)
            assert str(folder) in facts[0]["problem"]
    assert refused == ["bad_slice_increment"]
