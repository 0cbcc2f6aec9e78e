"""Pictures: values, channels and alpha survive; palettes are labels; JPEG is only read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image as Pillow

from medsataug.errors import FormatError
from medsataug.io.base import Loaded, ReadOptions
from medsataug.io.image import Image
from medsataug.types import Sample

FORMAT = Image()
IMAGE, LABEL = ReadOptions(), ReadOptions(role="label")


def phantom(shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
    return (np.arange(np.prod(shape)).reshape(shape) * 7 + 3).astype(dtype)


def read(path: Path, options: ReadOptions = IMAGE) -> Loaded:
    return FORMAT.read(path, options)


def sample_of(loaded: Loaded, **changes) -> Sample:
    sample = Sample(
        loaded.image,
        grid=loaded.grid,
        valid=loaded.valid,
        channels=loaded.channels,
        meta=loaded.meta,
    )
    return sample.replace(**changes)


def again(loaded: Loaded, folder: Path) -> Loaded:
    """Write and read once more."""
    sample = sample_of(loaded)
    path = folder / ("again" + FORMAT.suffix(sample))
    FORMAT.write(sample, path, "image")
    return read(path)


def refusal(path: Path, options: ReadOptions = IMAGE) -> str:
    with pytest.raises(FormatError) as told:
        read(path, options)
    assert "\n" not in str(told.value)
    return str(told.value).replace(str(path), "F")


def png(path: Path, array: np.ndarray) -> Path:
    """(Y, X[, C]) as PNG, 16-bit colours included."""
    if array.ndim == 3 and array.dtype == np.uint16:
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(path))
    else:
        Pillow.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [1, 3])
def test_png(tmp_path: Path, bands: int, dtype: str) -> None:
    array = phantom((5, 7, bands), dtype)
    loaded = read(png(tmp_path / "a.png", array[..., 0] if bands == 1 else array))
    assert loaded.image.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(loaded.image, np.moveaxis(array, -1, 0))
    assert [c.name for c in loaded.channels] == (
        ["grey"] if bands == 1 else ["red", "green", "blue"]
    )
    assert loaded.grid.world is None
    back = again(loaded, tmp_path)
    assert (tmp_path / "again.png").is_file()
    assert back.image.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back.image, loaded.image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [2, 4])
def test_alpha_is_valid(tmp_path: Path, bands: int, dtype: str) -> None:
    array = phantom((5, 7, bands), dtype)
    array[..., -1] = 255
    array[2, 3, -1] = 0
    loaded = read(png(tmp_path / "a.png", array))
    assert loaded.image.shape == (bands - 1, 5, 7)
    assert loaded.valid is not None
    assert np.argwhere(~loaded.valid).tolist() == [[0, 2, 3]]
    back = again(loaded, tmp_path)
    np.testing.assert_array_equal(back.image, loaded.image)
    np.testing.assert_array_equal(back.valid, loaded.valid)


def test_bmp_and_jpeg(tmp_path: Path) -> None:
    array = phantom((5, 7, 3))
    Pillow.fromarray(array).save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(read(tmp_path / "a.bmp").image, np.moveaxis(array, -1, 0))
    Pillow.fromarray(array).save(tmp_path / "a.jpg")
    loaded = read(tmp_path / "a.jpg")
    np.testing.assert_array_equal(
        loaded.image, np.moveaxis(np.asarray(Pillow.open(tmp_path / "a.jpg")), -1, 0)
    )
    np.testing.assert_array_equal(again(loaded, tmp_path).image, loaded.image)
    assert (tmp_path / "again.png").is_file()
    Pillow.fromarray(phantom((5, 7, 4))).convert("CMYK").save(tmp_path / "c.jpg")
    assert refusal(tmp_path / "c.jpg") == "F: CMYK colours are not read; convert it to RGB"


def test_palette(tmp_path: Path) -> None:
    indices = phantom((5, 7)) % 4
    picture = Pillow.fromarray(indices)
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(tmp_path / "a.png")
    label = read(tmp_path / "a.png", LABEL)
    np.testing.assert_array_equal(label.image[0], indices)
    colours = read(tmp_path / "a.png")
    assert colours.image.shape == (3, 5, 7)
    np.testing.assert_array_equal(colours.image[0] == 255, indices == 1)
    sample = Sample(colours.image, label.image[0], grid=label.grid, meta={"label_meta": label.meta})
    FORMAT.write(sample, tmp_path / "b.png", "label")
    with Pillow.open(tmp_path / "b.png") as written:
        assert written.mode == "P"
        assert written.getpalette()[:12] == picture.getpalette()[:12]
    np.testing.assert_array_equal(read(tmp_path / "b.png", LABEL).image, label.image)


def test_few_bits_keep_their_numbers(tmp_path: Path) -> None:
    import struct
    import zlib

    for depth in (1, 2, 4):
        values = np.arange(8, dtype=np.uint8) % (1 << depth)
        bits = np.unpackbits(values[:, None], axis=1)[:, -depth:].ravel()
        row = b"\0" + np.packbits(bits).tobytes()
        parts = [
            (b"IHDR", struct.pack(">IIBBBBB", 8, 1, depth, 0, 0, 0, 0)),
            (b"IDAT", zlib.compress(row)),
            (b"IEND", b""),
        ]
        data = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in parts
        )
        (tmp_path / "a.png").write_bytes(data)
        np.testing.assert_array_equal(read(tmp_path / "a.png", LABEL).image[0, 0], values)


def test_label_planes(tmp_path: Path) -> None:
    grey = phantom((5, 7))
    png(tmp_path / "a.png", np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(read(tmp_path / "a.png", LABEL).image, grey[None])
    png(tmp_path / "b.png", phantom((5, 7, 3)))
    assert refusal(tmp_path / "b.png", LABEL) == (
        "F: a label holds one class number a pixel, this one holds colours; save it as a grey or "
        "palette image"
    )


@pytest.mark.parametrize("dtype", "uint8 int8 uint16 int16 uint32 int32 float32 float64".split())
@pytest.mark.parametrize("shape", [(1, 9, 7), (2, 9, 7), (3, 9, 7), (1, 4, 9, 7), (2, 4, 9, 7)])
def test_tiff_round_trip(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    data = phantom(shape, dtype)
    spatial = "CZYX" if len(shape) == 4 else "CYX"
    sample = Sample(data, axes=spatial, meta={"suffix": ".tif"})
    for name in ("a.tif", "b.tif"):
        FORMAT.write(sample, tmp_path / name, "image")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    loaded = read(tmp_path / "a.tif")
    assert loaded.image.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(loaded.image, data)
    facts = FORMAT.describe(tmp_path / "a.tif")
    assert facts["shape"] == list(shape)
    assert facts["dtype"] == dtype


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_compressions(tmp_path: Path, compression: str | None) -> None:
    for number, array in enumerate((phantom((9, 7)), phantom((9, 7, 3)))):
        path = tmp_path / f"{number}.tif"
        Pillow.fromarray(array).save(path, compression=compression)
        expected = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
        np.testing.assert_array_equal(read(path).image, expected)
    pages = [Pillow.fromarray(phantom((9, 7)) + k) for k in range(3)]
    pages[0].save(path, compression=compression, save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(
        read(path).image[0], [phantom((9, 7)) + np.uint8(k) for k in range(3)]
    )


def test_tiff_axes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = phantom((4, 2, 9, 7), "uint16")
    tifffile.imwrite(path, data, imagej=True, metadata={"axes": "ZCYX"})
    np.testing.assert_array_equal(read(path).image, data.swapaxes(0, 1))
    tifffile.imwrite(path, data, imagej=True, metadata={"axes": "TZYX"})
    assert refusal(path).startswith("F: its axes are TZYX (4, 2, 9, 7); a volume has one axis of")
    tifffile.imwrite(path, phantom((9, 7, 4)), photometric="rgb", extrasamples=["unassalpha"])
    assert read(path).image.shape == (3, 9, 7)
    tifffile.imwrite(path, phantom((9, 7, 4)), photometric="rgb", extrasamples=["unspecified"])
    assert read(path).image.shape == (4, 9, 7)


def test_tiff_nan(tmp_path: Path) -> None:
    data = phantom((9, 7), "float32")
    data[1, 2] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", data)
    loaded = read(tmp_path / "a.tif")
    assert loaded.valid is not None
    assert np.argwhere(~loaded.valid).tolist() == [[0, 1, 2]]
    np.testing.assert_array_equal(again(loaded, tmp_path).image, loaded.image)


def test_no_identity(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", phantom((9, 7)), description="Zoe", software="Zoe")
    loaded = read(tmp_path / "a.tif")
    assert "Zoe" not in repr(loaded)
    again(loaded, tmp_path)
    assert b"Zoe" not in (tmp_path / "again.tif").read_bytes()


def test_bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    assert refusal(path) == "F: there is no such file"
    path.write_bytes(b"hello")
    assert refusal(path) == "F: not a PNG, JPEG or BMP image; check its suffix"
    png(path, np.random.default_rng(0).integers(0, 255, (99, 99), np.uint8))
    path.write_bytes(path.read_bytes()[:4000])
    assert refusal(path) == ("F: truncated or damaged: its pixels cannot be decoded; copy it again")
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0")
    assert refusal(path).startswith("F: truncated, damaged or of an unsupported kind (")
    tifffile.imwrite(path, phantom((99, 99), "uint16"))
    path.write_bytes(path.read_bytes()[:5000])
    assert refusal(path).startswith("F: truncated: the header declares 19602 bytes of voxels")
    monkeypatch.setenv("MEDSATAUG_MAX_BYTES", "100")
    tifffile.imwrite(path, phantom((99, 99), "uint16"))
    assert "MEDSATAUG_MAX_BYTES" in refusal(path)
    assert "MEDSATAUG_MAX_BYTES" in refusal(png(tmp_path / "b.png", phantom((99, 99))))


def test_what_png_cannot_hold(tmp_path: Path) -> None:
    sample = Sample(phantom((2, 5, 7)), axes="CYX")
    assert FORMAT.suffix(sample) == ".tif"
    with pytest.raises(FormatError, match=r"2 channels of uint8 in 2D are written as TIFF"):
        FORMAT.write(sample, tmp_path / "a.png", "image")


def test_describe(tmp_path: Path) -> None:
    facts = FORMAT.describe(png(tmp_path / "a.png", phantom((5, 7, 4), "uint16")))
    assert facts["shape"] == [3, 5, 7]
    assert facts["dtype"] == "uint16"
    assert facts["alpha"] is True


def test_membranes(real_data: Path) -> None:
    for name in ("0.png", "17.png"):
        label = read(real_data / "em_membrane" / "label" / name, LABEL)
        assert np.unique(label.image).tolist() == [0, 255]
        assert label.image.shape == (1, 512, 512)
