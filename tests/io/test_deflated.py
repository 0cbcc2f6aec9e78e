"""Tiles that are deflated here: what GDAL and tifffile read, whatever the threads."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import rasterio
import tifffile

from medsataug import set_threads, threads
from medsataug.grid import Grid
from medsataug.io.packed import deflate
from medsataug.io.raster_write import write_raster
from medsataug.types import Sample

#: Neither side is a whole number of tiles of 256.
SHAPE = (600, 800)
UTM = np.array([[0.0, 10, 4e5], [-10, 0, 5e6], [0, 0, 1]])


def sample(dtype: str, bands: int = 3, **meta: object) -> Sample:
    """Return a smooth raster with noise, and a corner without data."""
    rng = np.random.default_rng(7)
    y, x = np.indices(SHAPE)
    smooth = 60 + 40 * np.sin(x / 50) * np.cos(y / 70)
    image = np.stack([smooth + 10 * k + rng.normal(0, 3, SHAPE) for k in range(bands)])
    valid = np.ones((1, *SHAPE), bool)
    valid[0, :100, :200] = False
    grid = Grid(SHAPE, UTM, "EPSG:32633")
    label = (np.hypot(x - 300, y - 250) < 150).astype(np.uint8)
    image = image.astype(dtype)
    meta = {"format": "geotiff", "dtype": dtype} | meta
    return Sample(image, label, grid=grid, valid=valid, meta=meta)


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_chosen", {})


@pytest.mark.parametrize("compress", ["DEFLATE", "ZSTD"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize(
    ("dtype", "extra"),
    [
        ("uint8", {}),
        ("int16", {}),  # a mask says where data is
        ("uint16", {"valid_source": "alpha"}),
        ("int32", {"nodata": -1}),
        ("float32", {}),
        ("float64", {"nodata": -5.0}),
    ],
)
def test_the_same_bytes_whatever_the_threads(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], compress: str, interleave: str, dtype: str,
    extra: dict[str, object],
) -> None:  # fmt: skip
    given = sample(dtype, layout={"compress": compress, "interleave": interleave}, **extra)
    paths = []
    for number in (1, 2, 3):
        set_threads(number)
        paths.append(tmp_path / f"{number}.tif")
        write_raster(given, paths[-1], "image")
    assert len({path.read_bytes() for path in paths}) == 1
    assert capfd.readouterr().err == ""  # GDAL's own threads would say what fails there
    with rasterio.open(paths[0]) as file:
        assert file.compression.value == compress
        assert (file.interleaving.value.lower(), file.dtypes[0]) == (interleave, dtype)
        values, valid = file.read([1, 2, 3]), file.dataset_mask() > 0
    np.testing.assert_array_equal(valid, given.valid[0])
    np.testing.assert_array_equal(values[:, valid], given.image[:, valid])


def test_the_same_bytes_wherever_a_stack_lies() -> None:
    number = 64
    meeting = Barrier(number)
    # With few bytes ISA-L has few hashes, so that a wrong one shows soon.
    data = np.frombuffer(b"abc" * 8, np.uint8)

    def work(_: int) -> bytes:
        meeting.wait()  # every thread takes one, and all of their stacks are there at once
        return deflate(data, 1)

    with ThreadPoolExecutor(number) as pool:
        (packed,) = set(pool.map(work, range(number)))
    assert zlib.decompress(packed) == data.tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_tifffile_reads_them(tmp_path: Path, dtype: str) -> None:
    given = sample(dtype, bands=5).replace(valid=None)
    write_raster(given, tmp_path / "a.tif", "image")
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "a.tif"), np.moveaxis(given.image, 0, -1)
    )


def test_as_small_as_gdals(tmp_path: Path) -> None:
    given = sample("int16", bands=8).replace(valid=None)
    write_raster(given, tmp_path / "a.tif", "image")
    with rasterio.open(tmp_path / "a.tif") as file:
        profile = file.profile
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
    with rasterio.open(tmp_path / "b.tif", "w", **profile | {"predictor": 2}) as file:
        file.write(given.image)
    ours, gdals = ((tmp_path / name).stat().st_size for name in ("a.tif", "b.tif"))
    assert ours < 1.1 * gdals


def test_one_tile_and_a_label(tmp_path: Path) -> None:
    given = sample("uint8")
    write_raster(given, tmp_path / "label.tif", "label")
    with rasterio.open(tmp_path / "label.tif") as file:
        np.testing.assert_array_equal(file.read(1), given.label)
    grid = Grid((5, 7), UTM, "EPSG:32633")
    small = Sample(np.arange(35, dtype=np.float32).reshape(1, 5, 7), grid=grid)
    write_raster(small, tmp_path / "small.tif", "image")
    with rasterio.open(tmp_path / "small.tif") as file:
        np.testing.assert_array_equal(file.read(), small.image)
