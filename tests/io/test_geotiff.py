"""Rasters: what is read, what is written, and where it is."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.merge
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.windows import Window
from rasterio.windows import transform as window_transform

from medsataug.errors import ConfigError, FormatError, GeometryError, MedSatAugWarning
from medsataug.grid import Grid
from medsataug.io import geotiff
from medsataug.io.base import ReadOptions
from medsataug.io.georef import (
    affine_from_transform,
    control_points,
    corner_map,
    matrix_of,
    metres_per_unit,
    place,
    transform_from_affine,
    transform_from_grid,
)
from medsataug.io.geotiff import GeoTiff, write_cog
from medsataug.io.raster_source import RasterSource
from medsataug.io.raster_write import nodata_for, nudge, to_dtype
from medsataug.types import LazyImage, Sample


def product(*matrices: Affine) -> Affine:
    """Product of transforms; affine 3 warns of ``*``, and affine 2 has no ``@``."""
    result = np.linalg.multi_dot([np.eye(3), *map(matrix_of, matrices)])
    return Affine(*result[:2].ravel())


def at(transform: Affine, x: float, y: float) -> np.ndarray:
    return (matrix_of(transform) @ (x, y, 1))[:2]


NORTH_UP = Affine(10, 0, 549_892.5, 0, -10, 6_344_077.25)
ROTATED = product(NORTH_UP, Affine.rotation(17), Affine.scale(1, 0.5))
SOUTH_UP = Affine(10, 0, 549_892.5, 0, 10, 6_300_000)
UTM = "EPSG:32632"
FORMAT = GeoTiff()
RPC_COEFFICIENTS = ["LINE_NUM_COEFF", "LINE_DEN_COEFF", "SAMP_NUM_COEFF", "SAMP_DEN_COEFF"]
RPC_AXES = ("LINE", "SAMP", "LAT", "LONG", "HEIGHT")
RPC_NUMBERS = [f"{axis}_{end}" for axis in RPC_AXES for end in ("OFF", "SCALE")]


def values_of(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(5)
    if np.dtype(dtype).kind == "f":
        return rng.normal(100, 30, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(max(limits.min, -900) + 1, min(limits.max, 4000), shape).astype(dtype)


def write(
    path: Path,
    values: np.ndarray,
    *,
    transform: Affine | None = NORTH_UP,
    crs: str | None = UTM,
    mask: np.ndarray | None = None,
    colours: list[ColorInterp] | None = None,
    edit=None,
    **profile,
) -> Path:
    profile = {"crs": crs, "transform": transform} | profile
    count, height, width = values.shape
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width,
            dtype=values.dtype, **{k: v for k, v in profile.items() if v is not None},
        ) as dataset:  # fmt: skip
            if colours:
                dataset.colorinterp = colours
            if edit:
                edit(dataset)
            dataset.write(values)
            if mask is not None:
                dataset.write_mask(mask)
    return path


def sample_of(path: Path, role: str = "image", **options) -> Sample:
    loaded = FORMAT.read(path, ReadOptions(role=role, **options))
    return Sample(
        loaded.image, grid=loaded.grid, valid=loaded.valid, channels=loaded.channels,
        meta=loaded.meta,
    )  # fmt: skip


def reopened(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path)
        _ = dataset.transform
    return dataset


# --- transforms ---------------------------------------------------------------------------

W, H, W2, H2 = 7, 5, 14, 15
CENTRE_MAPS = {  # output (row, column) -> input (row, column), pixel centres
    "crop": ([[1, 0, 2], [0, 1, 3], [0, 0, 1]], Affine.translation(3, 2)),
    "pad": ([[1, 0, -4], [0, 1, -1], [0, 0, 1]], Affine.translation(-1, -4)),
    "resize": (
        [[H / H2, 0, H / H2 / 2 - 0.5], [0, W / W2, W / W2 / 2 - 0.5], [0, 0, 1]],
        Affine.scale(W / W2, H / H2),
    ),
    "hflip": ([[1, 0, 0], [0, -1, W - 1], [0, 0, 1]], Affine(-1, 0, W, 0, 1, 0)),
    "vflip": ([[-1, 0, H - 1], [0, 1, 0], [0, 0, 1]], Affine(1, 0, 0, 0, -1, H)),
    "rot90": ([[0, 1, 0], [-1, 0, W - 1], [0, 0, 1]], Affine(0, -1, W, 1, 0, 0)),
    "rot180": ([[-1, 0, H - 1], [0, -1, W - 1], [0, 0, 1]], Affine(-1, 0, W, 0, -1, H)),
    "rot270": ([[0, -1, H - 1], [1, 0, 0], [0, 0, 1]], Affine(0, 1, 0, -1, 0, H)),
    "transpose": ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], Affine(0, 1, 0, 1, 0, 0)),
}  # fmt: skip
ARRAYS = {
    "hflip": lambda a: a[:, ::-1],
    "vflip": lambda a: a[::-1],
    "rot90": np.rot90,
    "rot180": lambda a: np.rot90(a, 2),
    "rot270": lambda a: np.rot90(a, 3),
    "transpose": lambda a: a.T,
}


@pytest.mark.parametrize("name", CENTRE_MAPS)
@pytest.mark.parametrize("start", [NORTH_UP, ROTATED, SOUTH_UP])
def test_transform_table(name: str, start: Affine) -> None:
    centre, corner = CENTRE_MAPS[name]
    src_from_dst = np.array(centre, dtype=float)
    np.testing.assert_allclose(corner_map(src_from_dst), matrix_of(corner), atol=1e-12)
    moved = affine_from_transform(start) @ src_from_dst
    np.testing.assert_allclose(transform_from_affine(moved), product(start, corner)[:6], atol=1e-8)


@pytest.mark.parametrize("name", ARRAYS)
def test_transform_table_moves_as_numpy_does(name: str) -> None:
    array = np.arange(H * W).reshape(H, W)
    result = ARRAYS[name](array)
    src_from_dst = np.array(CENTRE_MAPS[name][0])
    for row, column in np.ndindex(result.shape):
        y, x, _ = src_from_dst @ (row, column, 1)
        assert result[row, column] == array[y, x]


def test_affine_is_of_pixel_centres() -> None:
    affine = affine_from_transform(NORTH_UP)
    np.testing.assert_allclose(affine @ (2, 3, 1), [*at(NORTH_UP, 3.5, 2.5), 1])
    grid = Grid((4, 5), affine, UTM)
    np.testing.assert_allclose(transform_from_grid(grid), NORTH_UP[:6], rtol=0, atol=1e-9)


# --- reading ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"]
)
@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED, SOUTH_UP])
def test_read(tmp_path: Path, dtype: str, transform: Affine) -> None:
    values = values_of((3, 11, 17), dtype)
    loaded = FORMAT.read(write(tmp_path / "a.tif", values, transform=transform), ReadOptions())
    np.testing.assert_array_equal(loaded.image, values)
    assert loaded.image.dtype == dtype
    assert loaded.valid is None
    assert loaded.grid.world == UTM
    assert loaded.grid.metres == (1, 1)
    assert [c.name for c in loaded.channels] == ["band 1", "band 2", "band 3"]
    np.testing.assert_allclose(
        loaded.grid.world_of(np.array([[4.0, 2.0]]))[0], at(transform, 2.5, 4.5)
    )
    assert loaded.meta["transform"] == tuple(transform[:6])


def test_complex_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.ones((1, 4, 5), np.complex64))
    with pytest.raises(FormatError, match="complex64"):
        FORMAT.read(path, ReadOptions())


def test_reflectance_and_wavelength(tmp_path: Path) -> None:
    def edit(dataset) -> None:
        dataset.descriptions = ("red", "swir", "B4, central wavelength 665 nm", "odd")
        dataset.scales, dataset.offsets = (1e-4, 1e-4, 1.0, 1.0), (-0.1, 0.0, 0.0, 0.0)
        dataset.update_tags(1, wavelength_um="0.66")
        dataset.update_tags(2, ns="IMAGERY", CENTRAL_WAVELENGTH_UM="1.6", FWHM_UM="0.1")
        dataset.update_tags(4, wavelength="842")

    path = write(tmp_path / "a.tif", values_of((4, 6, 9), "uint16"), edit=edit)
    red, swir, b4, odd = FORMAT.read(path, ReadOptions()).channels
    assert red.reflectance == (1e-4, -0.1)
    assert swir.reflectance == (1e-4, 0.0)
    assert b4.reflectance is None
    assert [c.wavelength_um for c in (red, swir, b4, odd)] == [0.66, 1.6, 0.665, 0.842]


@pytest.mark.parametrize(
    ("names", "tag", "expected"),
    [
        (("B02", "B8A", "B12"), "", [0.4924, 0.8647, 2.2024]),
        (("B2", "B8A", "B12"), "", [0.4924, 0.8647, 2.2024]),
        (("B04", "B08", "B11"), "", [0.6646, 0.8328, 1.6137]),
        (("B4", "B5", "B6"), "", [None, None, None]),
        (("B4", "B5", "B6"), "SENTINEL-2A", [0.6646, 0.7041, 0.7405]),
        (("B04", "B05", "B06"), "LANDSAT_8", [None, None, None]),
    ],
)
def test_sentinel2_names(tmp_path: Path, names, tag: str, expected) -> None:
    def edit(dataset) -> None:
        dataset.descriptions = names
        if tag:
            dataset.update_tags(SPACECRAFT=tag)

    path = write(tmp_path / "a.tif", values_of((3, 4, 5), "uint16"), edit=edit)
    assert [c.wavelength_um for c in FORMAT.read(path, ReadOptions()).channels] == expected


def test_band_file_of_a_sentinel2_scene(tmp_path: Path) -> None:
    path = write(tmp_path / "T32VNH_20171030T104151_B08_10m.tif", values_of((1, 4, 5), "uint16"))
    (channel,) = FORMAT.read(path, ReadOptions()).channels
    assert (channel.name, channel.wavelength_um) == ("B08", 0.8328)
    out = tmp_path / "o.tif"
    FORMAT.write(sample_of(path), out, "image")
    assert FORMAT.read(out, ReadOptions()).channels == (channel,)


def test_bands_are_picked(tmp_path: Path) -> None:
    values = values_of((4, 5, 6), "uint8")

    def edit(dataset) -> None:
        dataset.descriptions = ("r", "g", "b", "nir")

    path = write(tmp_path / "a.tif", values, edit=edit)
    loaded = FORMAT.read(path, ReadOptions(bands=("nir", 1)))
    np.testing.assert_array_equal(loaded.image, values[[3, 0]])
    assert [c.name for c in loaded.channels] == ["nir", "r"]
    assert loaded.meta["descriptions"] == ["nir", "r"]
    for bad in (5, 0, "swir"):
        with pytest.raises(ConfigError, match=r"1 \(r\), 2 \(g\)"):
            FORMAT.read(path, ReadOptions(bands=(bad,)))


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint16", 0), ("int16", -9999), ("float32", -9999.0)]
)
def test_nodata_is_per_band(tmp_path: Path, dtype: str, nodata: float) -> None:
    values = values_of((2, 5, 7), dtype)
    values[0, 1, 2] = values[1, 4, 6] = nodata
    if dtype == "float32":
        values[1, 0, 0] = np.nan
    loaded = FORMAT.read(write(tmp_path / "a.tif", values, nodata=nodata), ReadOptions())
    np.testing.assert_array_equal(loaded.valid, (values != nodata) & ~np.isnan(values))


def test_nan_nodata(tmp_path: Path) -> None:
    values = values_of((2, 5, 7), "float32")
    values[:, 3, 1] = np.nan
    sample = sample_of(write(tmp_path / "a.tif", values, nodata=np.nan))
    assert sample.valid is not None
    assert sample.valid.shape == (1, 5, 7)  # one plane where all bands agree
    np.testing.assert_array_equal(sample.valid[0], ~np.isnan(values[0]))
    FORMAT.write(sample, tmp_path / "b.tif", "image")
    with reopened(tmp_path / "b.tif") as result:
        assert np.isnan(result.nodata)
        np.testing.assert_array_equal(result.read(), values)


VRT = """<VRTDataset rasterXSize="7" rasterYSize="5"><SRS>EPSG:32632</SRS>
<GeoTransform>549892.5, 10, 0, 6344077.25, 0, -10</GeoTransform>
<VRTRasterBand dataType="Int16" band="1"><NoDataValue>-1</NoDataValue><SimpleSource>
<SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>1</SourceBand>
</SimpleSource></VRTRasterBand>
<VRTRasterBand dataType="Int16" band="2"><NoDataValue>-2</NoDataValue><SimpleSource>
<SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>2</SourceBand>
</SimpleSource></VRTRasterBand></VRTDataset>"""


def test_bands_with_nodata_values_of_their_own(tmp_path: Path) -> None:
    values = values_of((2, 5, 7), "int16")
    values[:, 1, 2], values[:, 3, 4] = -1, -2
    write(tmp_path / "a.tif", values)
    path = tmp_path / "a.vrt"
    path.write_text(VRT)
    assert FORMAT.matches(path)
    sample = sample_of(path)
    own = np.array([-1, -2])[:, None, None]
    np.testing.assert_array_equal(sample.valid, values != own)
    assert sample.meta["nodatavals"] == [-1, -2]
    before = RasterSource(path).digest
    # A GeoTIFF has one value for all: what was valid and equals it is nudged.
    FORMAT.write(sample, tmp_path / "b.tif", "image")
    again = sample_of(tmp_path / "b.tif")
    np.testing.assert_array_equal(again.valid, sample.valid)
    assert np.asarray(again.image)[:, 1, 2].tolist() == [-1, 0]
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.write(np.full((1, 1), 9, np.int16), 1, window=Window(0, 0, 1, 1))
    assert RasterSource(path).digest != before


def test_jpeg2000(tmp_path: Path) -> None:
    values = values_of((1, 64, 80), "uint16")
    path = tmp_path / "T32VNH_20171030T104151_B04_10m.jp2"
    with rasterio.open(
        path, "w", driver="JP2OpenJPEG", width=80, height=64, count=1, dtype="uint16",
        crs=UTM, transform=NORTH_UP, quality=100, reversible=True,
    ) as dataset:  # fmt: skip
        dataset.write(values)
    assert FORMAT.matches(path)
    sample = sample_of(path)
    np.testing.assert_array_equal(sample.image, values)
    assert sample.channels[0].wavelength_um == 0.6646
    assert FORMAT.suffix(sample) == ".tif"
    FORMAT.write(sample, tmp_path / "b.tif", "image")
    np.testing.assert_array_equal(sample_of(tmp_path / "b.tif").image, values)


def test_alpha_is_not_a_channel(tmp_path: Path) -> None:
    values = values_of((4, 5, 7), "uint8")
    values[3] = 255
    values[3, 2, 5] = 0
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    sample = sample_of(write(tmp_path / "a.tif", values, colours=colours))
    np.testing.assert_array_equal(sample.image, values[:3])
    assert sample.valid is not None
    np.testing.assert_array_equal(sample.valid[0], values[3] > 0)
    FORMAT.write(sample, tmp_path / "b.tif", "image")
    with reopened(tmp_path / "b.tif") as result:
        assert list(result.colorinterp) == colours
        np.testing.assert_array_equal(result.read(), values)
    # Asked for by number, it is a channel; so is one with a name of its own.
    asked = sample_of(tmp_path / "a.tif", bands=(4, 1))
    np.testing.assert_array_equal(asked.image, values[[3, 0]])
    assert asked.valid is None

    def edit(dataset) -> None:
        dataset.descriptions = ("r", "g", "b", "nir")

    named = sample_of(write(tmp_path / "c.tif", values, colours=colours, edit=edit))
    np.testing.assert_array_equal(named.image, values)
    assert named.valid is None
    FORMAT.write(named, tmp_path / "d.tif", "image")
    np.testing.assert_array_equal(sample_of(tmp_path / "d.tif").image, values)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
def test_alpha_of_any_dtype(tmp_path: Path, dtype: str) -> None:
    values = values_of((2, 5, 7), dtype)
    values[1] = 200
    values[1, :, 4] = 0
    colours = [ColorInterp.gray, ColorInterp.alpha]
    sample = sample_of(write(tmp_path / "a.tif", values, colours=colours))
    assert sample.valid is not None
    np.testing.assert_array_equal(sample.valid[0], values[1] > 0)
    FORMAT.write(sample, tmp_path / "b.tif", "image")
    again = sample_of(tmp_path / "b.tif")
    np.testing.assert_array_equal(again.image, sample.image)
    np.testing.assert_array_equal(again.valid, sample.valid)


def test_mask_band(tmp_path: Path) -> None:
    values = values_of((3, 5, 7), "uint8")
    mask = np.ones((5, 7), bool)
    mask[4, 1] = False
    sample = sample_of(write(tmp_path / "a.tif", values, mask=mask))
    np.testing.assert_array_equal(sample.valid, mask[None])
    FORMAT.write(sample, tmp_path / "b.tif", "image")
    with reopened(tmp_path / "b.tif") as result:
        np.testing.assert_array_equal(result.read(), values)
        np.testing.assert_array_equal(result.dataset_mask() > 0, mask)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "b.tif"]


def test_palette_label(tmp_path: Path) -> None:
    values = values_of((1, 5, 7), "uint8") % 5
    table = {0: (0, 0, 0, 255), 1: (200, 10, 3, 255), 4: (7, 8, 9, 255)}
    path = write(tmp_path / "a.tif", values, edit=lambda d: d.write_colormap(1, table))
    loaded = FORMAT.read(path, ReadOptions(role="label"))
    assert loaded.meta["colormap"][4] == (7, 8, 9, 255)
    sample = Sample(values, values[0], grid=loaded.grid, meta={"label_meta": loaded.meta})
    FORMAT.write(sample, tmp_path / "b.tif", "label")
    with reopened(tmp_path / "b.tif") as result:
        assert result.colormap(1)[1] == (200, 10, 3, 255)
        assert result.colorinterp == (ColorInterp.palette,)
        assert result.nodata is None
        np.testing.assert_array_equal(result.read(), values)
    with pytest.warns(MedSatAugWarning, match="palette"):
        FORMAT.read(path, ReadOptions())


def test_float_label(tmp_path: Path) -> None:
    values = values_of((1, 4, 5), "uint8").astype(np.float32)
    loaded = FORMAT.read(write(tmp_path / "a.tif", values), ReadOptions(role="label"))
    assert loaded.image.dtype == np.uint8
    values[0, 1, 1] = 0.5
    with pytest.raises(FormatError, match=r"whole numbers.*0\.5"):
        FORMAT.read(write(tmp_path / "b.tif", values), ReadOptions(role="label"))


@pytest.mark.parametrize(
    ("crs", "x", "y"),
    [("EPSG:2263", 0.3048006, 0.3048006), ("EPSG:32633", 1, 1), ("EPSG:3857", 1, 1)],
)
def test_metres_of_projected_units(tmp_path: Path, crs: str, x: float, y: float) -> None:
    path = write(tmp_path / "a.tif", values_of((1, 4, 5), "uint8"), crs=crs)
    grid = FORMAT.read(path, ReadOptions()).grid
    np.testing.assert_allclose(grid.metres, (x, y), rtol=1e-6)
    assert grid.world == crs


@pytest.mark.parametrize(
    ("latitude", "x", "y"),
    # Length of a degree on WGS 84. Source: Snyder 1987, Map Projections, table 6.
    [(0.0, 111_320, 110_574), (45.0, 78_847, 111_132), (60.0, 55_800, 111_412)],
)
def test_metres_of_degrees(latitude: float, x: float, y: float) -> None:
    transform = Affine(1e-4, 0, 11, 0, -1e-4, latitude + 2e-4)
    found = metres_per_unit(CRS.from_epsg(4326), affine_from_transform(transform), (4, 6))
    np.testing.assert_allclose(found, (x, y), rtol=1e-4)


def test_worlds(tmp_path: Path) -> None:
    values = values_of((5, 4, 6), "uint8")
    plain = FORMAT.read(write(tmp_path / "a.tif", values, crs=None, transform=None), ReadOptions())
    assert plain.grid.world is None
    assert plain.grid.metres is None
    local = FORMAT.read(write(tmp_path / "b.tif", values, crs=None), ReadOptions())
    assert local.grid.world == "local"
    assert local.grid.metres is None
    custom = "+proj=laea +lat_0=10 +lon_0=20 +ellps=WGS84 +units=m"
    path = write(tmp_path / "c.tif", values, crs=custom)
    sample = sample_of(path)
    assert sample.grid.world.startswith("PROJCS[")
    FORMAT.write(sample, tmp_path / "d.tif", "image")
    with reopened(path) as before, reopened(tmp_path / "d.tif") as after:
        assert before.crs == after.crs


def test_matches(tmp_path: Path) -> None:
    three, five = values_of((3, 4, 6), "uint8"), values_of((5, 4, 6), "uint8")
    none = {"crs": None, "transform": None}
    assert FORMAT.matches(write(tmp_path / "a.tif", three))
    assert FORMAT.matches(write(tmp_path / "b.tiff", three, crs=None))
    assert FORMAT.matches(write(tmp_path / "c.TIF", three, transform=None))
    assert FORMAT.matches(write(tmp_path / "d.tif", five, **none))
    assert FORMAT.matches(write(tmp_path / "e.tif", three, nodata=0, **none))
    assert not FORMAT.matches(write(tmp_path / "f.tif", three, **none))
    (tmp_path / "g.tif").write_bytes(b"II*\0nonsense")
    assert not FORMAT.matches(tmp_path / "g.tif")
    assert not FORMAT.matches(tmp_path / "missing.tif")
    assert not FORMAT.matches(tmp_path)
    shutil.copy(tmp_path / "a.tif", tmp_path / "a.png")
    assert not FORMAT.matches(tmp_path / "a.png")


# --- lazy reading -------------------------------------------------------------------------


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    values = values_of((3, 61, 83), "uint16")
    values[1, 20:30, 5:9] = 7
    return write(tmp_path / "scene.tif", values, nodata=7, tiled=True, blockxsize=16, blockysize=16)


def test_windows_equal_the_whole(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager = FORMAT.read(scene, ReadOptions(lazy=False))
    monkeypatch.setattr(geotiff, "SMALL_BYTES", 0)
    loaded = FORMAT.read(scene, ReadOptions())
    source = loaded.image
    assert isinstance(source, RasterSource)
    assert isinstance(source, LazyImage)
    assert loaded.valid is None
    for window in [np.s_[0:61, 0:83], np.s_[13:27, 3:50], np.s_[60:61, 82:83], np.s_[:, 4:9]]:
        np.testing.assert_array_equal(source.read(window), eager.image[(slice(None), *window)])
        valid = source.read_valid(window)
        expected = eager.valid[(slice(None), *window)]
        np.testing.assert_array_equal(
            np.broadcast_to(True if valid is None else valid, expected.shape), expected
        )
    assert source.read(np.s_[4:4, 0:3]).shape == (3, 0, 3)
    for window in [
        np.s_[0:62, 0:3],
        np.s_[-1:5, 0:3],
        np.s_[5:3, 0:3],
        np.s_[0:6:2, 0:3],
        np.s_[0:5,],
    ]:
        with pytest.raises(GeometryError, match="window"):
            source.read(window)


def test_source_pickles_and_digests_content(scene: Path, tmp_path: Path) -> None:
    source = RasterSource(scene)
    source.read(np.s_[0:4, 0:4])
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.read(np.s_[:, :]), source.read(np.s_[:, :]))
    copy = tmp_path / "other.tif"
    shutil.copyfile(scene, copy)
    os.utime(copy, (1, 1))
    (tmp_path / "other.tif.aux.xml").write_text("<PAMDataset/>")
    assert RasterSource(copy).digest == source.digest
    assert RasterSource(scene, [1]).digest != source.digest
    with rasterio.open(copy, "r+") as dataset:
        dataset.write(np.full((1, 1), 9, np.uint16), 1, window=Window(0, 0, 1, 1))
    assert RasterSource(copy).digest != source.digest
    assert str(tmp_path) not in repr(source)


def test_threads_share_a_source(scene: Path) -> None:
    source = RasterSource(scene)
    whole = source.read(np.s_[:, :])
    wrong: list[int] = []

    def work(k: int) -> None:
        for row in range(k, 60, 3):
            if not (source.read(np.s_[row : row + 1, :]) == whole[:, row : row + 1]).all():
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_dataset_does_not_cross_a_process(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = RasterSource(scene)
    source.read(np.s_[0:2, 0:2])
    (parent,) = source._handles.values()
    with parent.lock:  # held at the time of a fork: the child must not wait for it
        monkeypatch.setattr(os, "getpid", lambda: -1)
        source.read(np.s_[0:2, 0:2])
    assert source._handles[-1].dataset is not parent.dataset


def test_window_of_a_huge_raster_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=20_000, height=20_000, count=4, dtype="uint16", crs=UTM,
        transform=NORTH_UP, tiled=True, blockxsize=256, blockysize=256, sparse_ok=True,
    ) as dataset:  # fmt: skip
        dataset.write(np.full((4, 256, 256), 9, np.uint16), window=Window(9984, 9984, 256, 256))
    loaded = FORMAT.read(path, ReadOptions())
    assert isinstance(loaded.image, RasterSource)
    tracemalloc.start()
    block = loaded.image.read(np.s_[9900:10100, 9900:10100])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert block[:, 84:, 84:].min() == 9
    assert block[:, :84].max() == 0
    assert peak < 4 * 2**20
    sizes = {"before": loaded.image.nbytes}
    assert sizes["before"] == 4 * 20_000 * 20_000 * 2


def test_cap(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSATAUG_MAX_BYTES", "1000")
    with pytest.raises(FormatError, match="MEDSATAUG_MAX_BYTES"):
        FORMAT.read(scene, ReadOptions())
    monkeypatch.setenv("MEDSATAUG_MAX_BYTES", "lots")
    with pytest.raises(ConfigError, match="lots"):
        FORMAT.read(scene, ReadOptions())


@pytest.mark.parametrize("compress", [None, "deflate"])
@pytest.mark.parametrize("keep", [0.2, 0.9])
def test_truncated(tmp_path: Path, compress: str | None, keep: float) -> None:
    values = values_of((2, 200, 300), "uint16")
    path = write(tmp_path / "a.tif", values, compress=compress)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(FormatError, match=r"a\.tif") as caught:
        FORMAT.read(path, ReadOptions())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"not a raster at all"])
def test_not_a_raster(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    for call in (lambda: FORMAT.read(path, ReadOptions()), lambda: FORMAT.describe(path)):
        with pytest.raises(FormatError, match=r"a\.tif"):
            call()
    with pytest.raises(FormatError, match="no such file"):
        FORMAT.read(tmp_path / "none.tif", ReadOptions())


def test_sparse_uncompressed_is_not_truncated(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tif", np.zeros((1, 600, 700), np.uint8), tiled=True, blockxsize=64,
        blockysize=64, sparse_ok=True,
    )  # fmt: skip
    assert path.stat().st_size < 600 * 700
    assert FORMAT.read(path, ReadOptions()).image.max() == 0


# --- writing ------------------------------------------------------------------------------


def full_scene(path: Path, **profile) -> Path:
    def edit(dataset) -> None:
        dataset.descriptions = ("blue", "nir")
        dataset.scales, dataset.offsets = (1e-4, 2e-4), (0.0, -0.1)
        dataset.units = ("1", "W")
        dataset.update_tags(
            AREA_OR_POINT="Point", SENSOR="MSI", TIFFTAG_ARTIST="Ann", TIFFTAG_HOSTCOMPUTER="pc",
            SOURCE="/home/ann/x.tif", TIFFTAG_DATETIME="2017:10:30 10:41:51",
        )  # fmt: skip
        dataset.update_tags(ns="MISSION", ORBIT="12")
        dataset.update_tags(2, STATISTICS_MEAN="4", KIND="b")
        dataset.update_tags(2, ns="IMAGERY", CENTRAL_WAVELENGTH_UM="0.84")
        terms = " ".join(["1"] * 20)
        dataset.update_tags(ns="RPC", **dict.fromkeys(RPC_COEFFICIENTS, terms))
        dataset.update_tags(ns="RPC", **dict.fromkeys(RPC_NUMBERS, "1"))

    values = values_of((2, 37, 53), "uint16")
    values[:, 2, 3] = 65535
    colours = [ColorInterp.blue, ColorInterp.undefined]
    return write(path, values, nodata=65535, edit=edit, colours=colours, **profile)


def facts(dataset) -> dict:
    spaces = [
        s
        for s in dataset.tag_namespaces()
        if s not in ("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "RPC")
    ]
    return {
        "values": dataset.read().tolist(), "dtypes": dataset.dtypes, "nodata": dataset.nodata,
        "crs": dataset.crs, "transform": dataset.transform, "names": dataset.descriptions,
        "scales": dataset.scales, "offsets": dataset.offsets, "units": dataset.units,
        "colours": dataset.colorinterp, "tags": {s: dataset.tags(ns=s) for s in spaces},
        "own": dataset.tags(),
        "bands": [(dataset.tags(i), dataset.tags(i, ns="IMAGERY")) for i in dataset.indexes],
        "interleave": dataset.interleaving,
    }  # fmt: skip


@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED, SOUTH_UP])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_round_trip_keeps_everything(tmp_path: Path, transform: Affine, interleave: str) -> None:
    path = full_scene(tmp_path / "a.tif", transform=transform, interleave=interleave)
    FORMAT.write(sample_of(path), tmp_path / "b.tif", "image")
    with reopened(path) as before, reopened(tmp_path / "b.tif") as after:
        expected, found = facts(before), facts(after)
        for key in ("TIFFTAG_ARTIST", "TIFFTAG_HOSTCOMPUTER", "SOURCE"):
            del expected["own"][key]
        del expected["bands"][1][0]["STATISTICS_MEAN"]
        assert found == expected
        assert after.tags(ns="RPC")["LINE_OFF"] == "1"  # nothing moved
        assert after.profile["tiled"]
        assert after.block_shapes[0] == (256, 256)
        assert after.compression.value == "DEFLATE"
        assert after.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "b.tif"]


@pytest.mark.parametrize("cog", [False, True])
def test_written_twice_is_identical(tmp_path: Path, cog: bool) -> None:
    for name in ("b.tif", "c.tif"):
        sample = sample_of(full_scene(tmp_path / "a.tif", compress="zstd"))
        sample.meta["cog"] = cog
        FORMAT.write(sample, tmp_path / name, "image")
    assert (tmp_path / "b.tif").read_bytes() == (tmp_path / "c.tif").read_bytes()
    with reopened(tmp_path / "b.tif") as result:
        assert result.compression.value == "ZSTD"


# rasterio 1.4 multiplies transforms in a way that affine 3 deprecates
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_crop_keeps_the_georeference(tmp_path: Path) -> None:
    sample = sample_of(full_scene(tmp_path / "a.tif"))
    src_from_dst = np.array([[1.0, 0, 4], [0, 1, 9], [0, 0, 1]])
    image = np.asarray(sample.image)[:, 4:24, 9:40]
    out = sample.replace(image=image, grid=sample.grid.moved(src_from_dst, (20, 31)), valid=None)
    FORMAT.write(out, tmp_path / "b.tif", "image")
    with reopened(tmp_path / "a.tif") as before, reopened(tmp_path / "b.tif") as after:
        expected = window_transform(Window(9, 4, 31, 20), before.transform)
        assert after.transform.almost_equals(expected, 1e-8)
        assert after.crs == before.crs
        assert not after.tags(ns="RPC")
        assert after.tags()["AREA_OR_POINT"] == "Point"
        with rasterio.open(tmp_path / "a.tif") as a, rasterio.open(tmp_path / "b.tif") as b:
            merged, _ = rasterio.merge.merge([b, a])
        np.testing.assert_array_equal(merged, before.read())


def turned(path: Path, **record) -> Sample:
    sample = sample_of(path)
    src_from_dst = np.array(CENTRE_MAPS["rot90"][0], dtype=float)
    height, width = sample.grid.shape
    src_from_dst[1, 2] = width - 1
    return sample.replace(
        image=np.rot90(np.asarray(sample.image), axes=(1, 2)),
        valid=None if sample.valid is None else np.rot90(sample.valid, axes=(1, 2)),
        grid=sample.grid.moved(src_from_dst, (width, height)),
        record=record,
    )


def test_turned_keeps_the_truth_in_tags(tmp_path: Path) -> None:
    out = turned(full_scene(tmp_path / "a.tif"))
    FORMAT.write(out, tmp_path / "b.tif", "image")
    truth = product(NORTH_UP, Affine(0, -1, 53, 1, 0, 0))
    with reopened(tmp_path / "b.tif") as result:
        assert result.crs is None
        assert result.transform == Affine.identity()
        tags = result.tags(ns="MEDSATAUG")
        assert tags["TRUE_CRS"] == UTM
        np.testing.assert_allclose([float(v) for v in tags["TRUE_TRANSFORM"].split(",")], truth[:6])
    # Read again, the raster is where it was; written again, readers are still safe.
    assert FORMAT.matches(tmp_path / "b.tif")
    again = sample_of(tmp_path / "b.tif")
    assert again.grid.mismatch(out.grid) is None
    assert again.grid.world == UTM
    FORMAT.write(again, tmp_path / "c.tif", "image")
    assert (tmp_path / "c.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_turned_as_asked(tmp_path: Path) -> None:
    path = full_scene(tmp_path / "a.tif")
    truth = product(NORTH_UP, Affine(0, -1, 53, 1, 0, 0))
    FORMAT.write(turned(path, georef="exact"), tmp_path / "b.tif", "image")
    with reopened(tmp_path / "b.tif") as result:
        assert result.transform.almost_equals(truth, 1e-8)
        assert result.crs == CRS.from_string(UTM)
    FORMAT.write(turned(path, georef="drop"), tmp_path / "b.tif", "image")
    with reopened(tmp_path / "b.tif") as result:
        assert result.crs is None
        assert not result.tags(ns="MEDSATAUG")
    FORMAT.write(turned(path, georef="gcps"), tmp_path / "b.tif", "image")
    with reopened(tmp_path / "b.tif") as result:
        points, crs = result.gcps
        assert crs == CRS.from_string(UTM)
        assert len(points) == 25
        for p in points:
            np.testing.assert_allclose((p.x, p.y), at(truth, p.col, p.row), atol=1e-6)
    # Control points come back as a grid.
    assert sample_of(tmp_path / "b.tif").grid.mismatch(turned(path).grid) is None
    with pytest.raises(ConfigError, match="allowed: auto, exact, drop, gcps"):
        FORMAT.write(turned(path, georef="yes"), tmp_path / "b.tif", "image")


def test_elastic(tmp_path: Path) -> None:
    sample = sample_of(full_scene(tmp_path / "a.tif"))
    bent = sample.replace(record={"geometry": {"elastic": True}})
    FORMAT.write(bent, tmp_path / "b.tif", "image")
    with reopened(tmp_path / "b.tif") as result:
        assert result.crs is None
        assert result.tags(ns="MEDSATAUG")["ELASTIC"] == "YES"
    assert sample_of(tmp_path / "b.tif").grid.world is None  # half a truth is not restored

    def src_from_dst(index: np.ndarray) -> np.ndarray:
        return index + 2 * np.sin(index[:, ::-1] / 9)

    points = control_points(sample.grid.affine, sample.grid.shape, src_from_dst)
    bent = bent.replace(meta={**sample.meta, "gcps": points})
    FORMAT.write(bent, tmp_path / "b.tif", "image")
    with reopened(tmp_path / "b.tif") as result:
        assert len(result.gcps[0]) == 25
        p = result.gcps[0][7]
        y, x = src_from_dst(np.array([[p.row - 0.5, p.col - 0.5]]))[0]
        np.testing.assert_allclose((p.x, p.y), at(NORTH_UP, x + 0.5, y + 0.5), atol=1e-6)


def test_control_points_of_the_input_move_along(tmp_path: Path) -> None:
    truth = ROTATED
    points = [
        GroundControlPoint(r, c, *at(truth, c, r), id=f"{r}{c}")
        for r in (0, 10, 31)
        for c in (0, 20, 40)
    ]
    path = write(tmp_path / "a.tif", values_of((1, 31, 40), "uint8"), transform=None, gcps=points)
    assert FORMAT.matches(path)
    out = turned(path)
    np.testing.assert_allclose(out.meta["transform"], truth[:6], atol=1e-6)
    FORMAT.write(out, tmp_path / "b.tif", "image")
    with reopened(tmp_path / "b.tif") as result:
        found, crs = result.gcps
        assert crs == CRS.from_string(UTM)
        for old, new in zip(points, found, strict=True):
            assert (new.x, new.y) == pytest.approx((old.x, old.y))
            assert (new.row, new.col) == pytest.approx((40 - old.col, old.row), abs=1e-4)


def test_place_without_a_world() -> None:
    for grid in (Grid.regular((4, 5)), Grid.regular((4, 5), (2, 3))):
        placed = place(grid, {}, {})
        assert placed.crs is None
        assert placed.transform is None
        assert not placed.tags


def test_values_are_rounded_to_even_and_saturate() -> None:
    values = np.array([0.5, 1.5, 2.5, -3, 254.5, 255.5, 1e9, -np.inf, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(
        to_dtype(values, np.dtype("uint8")), [0, 2, 2, 0, 254, 255, 255, 0, 255, 0]
    )
    wide = np.array([-1e30, 2.0**31, 2.0**63, 1e30, 16_777_217], np.float64)
    for dtype in ("int32", "uint32", "int64", "uint64"):
        limits = np.iinfo(dtype)
        expected = [min(max(int(v), limits.min), limits.max) for v in wide]
        assert to_dtype(wide, np.dtype(dtype)).tolist() == expected
    assert to_dtype(np.array([-5, 300], np.int16), np.dtype("uint8")).tolist() == [0, 255]
    assert to_dtype(np.array([5, 300], np.uint16), np.dtype("int8")).tolist() == [5, 127]
    assert nodata_for(np.dtype("uint8"), -9999) is None
    assert nodata_for(np.dtype("uint8"), float("nan")) is None


@pytest.mark.parametrize(
    ("dtype", "nodata", "expected"),
    [("uint16", 0, 1), ("uint16", 65535, 65534), ("int16", -32768, -32767), ("uint8", 100, 101)],
)
def test_valid_pixels_are_nudged_off_nodata(
    tmp_path: Path, dtype: str, nodata: int, expected: int
) -> None:
    values = values_of((2, 5, 7), dtype)
    values[values == nodata] = 33
    values[0, 0, 0] = nodata
    sample = sample_of(write(tmp_path / "a.tif", values, nodata=nodata))
    image = np.asarray(sample.image).astype(np.float32)
    image[1, 2, 3] = nodata + 0.25
    image[1, 0, 0] = np.nan
    image[0, 0, 0] = 55.0  # invalid: its value does not matter
    FORMAT.write(sample.replace(image=image), tmp_path / "b.tif", "image")
    wanted = values.copy()
    wanted[1, 2, 3], wanted[1, 0, 0] = expected, nodata
    with reopened(tmp_path / "b.tif") as result:
        assert result.dtypes[0] == dtype
        np.testing.assert_array_equal(result.read(), wanted)
    assert np.isnan(image[1, 0, 0])  # the input is untouched


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("nodata", [-9999.0, 0.0, -3.4028234663852886e38, 1e20, 0.1])
def test_float_nodata_is_nudged_out_of_gdals_tolerance(
    tmp_path: Path, dtype: str, nodata: float
) -> None:
    stored = np.dtype(dtype).type(nodata)
    image = np.full((1, 3, 5), 5, dtype)
    image[0, 0] = stored
    image[0, 1, 1] = np.nextafter(stored, stored.dtype.type(1))
    image[0, 2, 2] = np.nan
    grid = Grid((3, 5), affine_from_transform(NORTH_UP), UTM)
    sample = Sample(image, grid=grid, meta={"nodata": nodata})
    FORMAT.write(sample, tmp_path / "a.tif", "image")
    with reopened(tmp_path / "a.tif") as result:
        np.testing.assert_array_equal(result.read_masks(1) > 0, ~np.isnan(image[0]))
        values = result.read()
        if abs(nodata) < 1e30:
            np.testing.assert_allclose(values[0, :2], image[0, :2], rtol=1e-5, atol=1e-35)


def test_infinite_nodata() -> None:
    values = np.array([np.inf, 1, -np.inf], np.float32)
    nudge(values, None, float("inf"))
    assert values.tolist() == [float(np.finfo(np.float32).max), 1, -np.inf]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_gaps_without_a_nodata_value(tmp_path: Path, dtype: str) -> None:
    values = values_of((2, 5, 7), dtype)
    sample = sample_of(write(tmp_path / "a.tif", values))
    valid = np.ones((1, 5, 7), bool)
    valid[0, :, 6] = False
    FORMAT.write(sample.replace(valid=valid), tmp_path / "b.tif", "image")
    again = sample_of(tmp_path / "b.tif")
    np.testing.assert_array_equal(again.valid, valid)
    np.testing.assert_array_equal(np.asarray(again.image)[:, valid[0]], values[:, valid[0]])


@pytest.mark.parametrize("nodata", [None, 255])
def test_label_nodata(tmp_path: Path, nodata: int | None) -> None:
    label = values_of((5, 7), "uint8") % 3
    label[4, 4] = 255
    sample = sample_of(write(tmp_path / "a.tif", values_of((2, 5, 7), "uint16"), nodata=0))
    sample = sample.replace(label=label)
    if nodata is not None:
        sample.meta["label_meta"] = {"nodata": nodata}
    FORMAT.write(sample, tmp_path / "b.tif", "label")
    with reopened(tmp_path / "b.tif") as result:
        assert result.nodata == nodata
        assert result.dtypes == ("uint8",)
        assert result.transform == NORTH_UP
        np.testing.assert_array_equal(result.read(1), label)


def test_channels_of_several_files(tmp_path: Path) -> None:
    """Facts of the header follow the channel's name, not its place."""
    sample = sample_of(full_scene(tmp_path / "a.tif"))
    image = np.concatenate([np.asarray(sample.image)[::-1], np.ones((1, 37, 53), np.uint16)])
    sample = sample.replace(image=image, valid=None, channels=(*sample.channels[::-1], "ndvi"))
    FORMAT.write(sample, tmp_path / "b.tif", "image")
    with reopened(tmp_path / "b.tif") as result:
        assert result.descriptions == ("nir", "blue", "ndvi")
        assert result.scales == (2e-4, 1e-4, 1)
        assert result.units == ("W", "1", None)


def test_lazy_sample_is_written(scene: Path, tmp_path: Path, monkeypatch) -> None:
    eager = sample_of(scene)
    monkeypatch.setattr(geotiff, "SMALL_BYTES", 0)
    lazy = sample_of(scene)
    FORMAT.write(eager, tmp_path / "a.tif", "image")
    FORMAT.write(lazy, tmp_path / "b.tif", "image")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_cog(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(1, 99, (2, 1100, 700)).astype(np.uint16)
    label = rng.integers(0, 3, (1100, 700)).astype(np.uint8)
    grid = Grid((1100, 700), affine_from_transform(NORTH_UP), UTM)
    sample = Sample(image, label, grid=grid, meta={"cog": True, "nodata": 0})
    FORMAT.write(sample, tmp_path / "a.tif", "image")
    write_cog(sample, tmp_path / "l.tif", "label")
    with reopened(tmp_path / "a.tif") as result:
        np.testing.assert_array_equal(result.read(), image)
        assert result.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert result.block_shapes[0] == (512, 512)
        assert result.overviews(1)
        assert result.transform == NORTH_UP
        assert result.nodata == 0
    with reopened(tmp_path / "l.tif") as result:
        small = result.read(1, out_shape=(550, 350))
        assert set(np.unique(small)) <= {0, 1, 2}


def test_cog_keeps_what_a_plain_file_keeps(tmp_path: Path) -> None:
    sample = turned(full_scene(tmp_path / "a.tif"), georef="gcps")
    FORMAT.write(sample, tmp_path / "b.tif", "image")
    sample.meta["cog"] = True
    FORMAT.write(sample, tmp_path / "c.tif", "image")
    with reopened(tmp_path / "b.tif") as plain, reopened(tmp_path / "c.tif") as cog:
        expected, found = facts(plain), facts(cog)
        for key in set(expected) - {"own", "interleave", "bands"}:
            assert found[key] == expected[key]
        assert [ns for _, ns in found["bands"]] == [ns for _, ns in expected["bands"]]
        assert found["own"].items() >= expected["own"].items()
        assert len(cog.gcps[0]) == len(plain.gcps[0]) == 25


def test_cog_of_a_turned_raster(tmp_path: Path) -> None:
    sample = turned(full_scene(tmp_path / "a.tif"))
    sample.meta["cog"] = True
    FORMAT.write(sample, tmp_path / "b.tif", "image")
    assert sample_of(tmp_path / "b.tif").grid.mismatch(sample.grid) is None
    with reopened(tmp_path / "b.tif") as result:
        assert result.crs is None
        assert result.transform == Affine.identity()


def test_volume_is_refused(tmp_path: Path) -> None:
    sample = Sample(np.zeros((1, 2, 3, 4), np.uint8), grid=Grid.regular((2, 3, 4)))
    with pytest.raises(FormatError, match="3D"):
        FORMAT.write(sample, tmp_path / "a.tif", "image")
    with pytest.raises(FormatError, match="no label"):
        FORMAT.write(sample, tmp_path / "a.tif", "label")
    flat = Sample(np.zeros((1, 3, 4), np.uint8), grid=Grid.regular((3, 4)))
    with pytest.raises(FormatError, match="cannot be written"):
        FORMAT.write(flat, tmp_path / "none" / "a.tif", "image")
    assert FORMAT.suffix(flat) == ".tif"


def test_describe(tmp_path: Path) -> None:
    facts = FORMAT.describe(full_scene(tmp_path / "a.tif"))
    assert facts["shape"] == [2, 37, 53]
    assert facts["channels"] == ["blue", "nir"]
    assert facts["wavelengths_um"] == [None, 0.84]
    assert facts["spacing_m"] == [10, 10]
    assert facts["nodata"] == 65535
    assert facts["rpcs"]
    assert str(tmp_path) not in repr(facts)


# --- real data ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["l1c", "l2a", "landcover"])
def test_sentinel2_scenes(real_data: Path, tmp_path: Path, kind: str) -> None:
    for path in sorted((real_data / "geo_sentinel2" / kind).glob("*.tif")):
        assert FORMAT.matches(path)
        role = "label" if kind == "landcover" else "image"
        sample = sample_of(path, role)
        assert sample.grid.shape == (224, 224)
        assert sample.grid.world.startswith("EPSG:32")
        np.testing.assert_allclose(sample.grid.spacing_m, 10)
        FORMAT.write(sample, tmp_path / "a.tif", "image")
        with reopened(path) as before, reopened(tmp_path / "a.tif") as after:
            assert before.transform == after.transform
            assert before.crs == after.crs
            assert before.descriptions == after.descriptions
            assert before.dtypes == after.dtypes
            np.testing.assert_array_equal(before.read(), after.read())
