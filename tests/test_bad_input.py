"""What goes wrong is said in one line: what and where, and what to do. Nothing is written."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medsataug import io, recipes, transforms
from medsataug.errors import ConfigError, FormatError, GeometryError, MedSatAugError
from tests.commands import Result, call, contents, scene, volume, write_nifti

KNOWN = (
    "formats known: DICOM (a file or folder), GeoTIFF (.tif .tiff .jp2 .vrt), NIfTI (.nii .nii.gz "
    ".hdr/.img), NRRD and MetaImage (.nrrd .nhdr .mha .mhd), images (.png .jpg .bmp .tif)"
)
AGAIN = "copy the file again"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a small case, which is also the current folder: messages name what was given."""
    volume(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(*asked: object, code: int = 2) -> str:
    """Return the one line of a command that fails, and check that it wrote nothing."""
    before = contents(Path())
    folders = {p for p in Path().rglob("*") if p.is_dir()}
    said: Result = call(*asked)
    assert (said.code, said.out) == (code, ""), said
    assert contents(Path()) == before
    assert {p for p in Path().rglob("*") if p.is_dir()} == folders
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("error: ").strip()


def augmented(image: object, *more: object, code: int = 2) -> str:
    return refused("augment", image, "-r", "small.yaml", "-n", 1, *more, code=code)


# Images


def test_missing_file(here: Path) -> None:
    text = "gone.nii.gz: there is no such file or folder; check the path"
    assert augmented("gone.nii.gz") == text
    assert augmented("image.nii.gz", "-l", "gone.nii.gz") == text
    assert refused("info", "gone.nii.gz") == text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("notes.txt", f"of no known format; {KNOWN}"),
        ("a.png", "not a PNG, JPEG or BMP image; check its suffix"),
        ("a.nii", "not a NIfTI file: its header is neither NIfTI-1 nor NIfTI-2; convert it, or "
                  "give it the suffix of what it is"),
        ("a.nii.gz", "not a NIfTI file: its header is neither NIfTI-1 nor NIfTI-2; convert it, or "
                     "give it the suffix of what it is"),
    ],
)  # fmt: skip
def test_not_an_image(here: Path, name: str, message: str) -> None:
    Path(name).write_text("Dear diary, " * 50)
    assert augmented(name) == f"{name}: {message}"


@pytest.mark.parametrize("name", ["a.tif", "a.mha", "a.nrrd", "a.dcm"])
def test_not_an_image_of_other_kinds(here: Path, name: str) -> None:
    Path(name).write_text("Dear diary, " * 50)
    assert augmented(name).startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.tif", "a.png", "a.mha"])
def test_empty_file(here: Path, name: str) -> None:
    Path(name).touch()
    assert augmented(name) == f"{name}: the file is empty; copy it again"


def test_folder_without_dicom(here: Path) -> None:
    Path("empty").mkdir()
    assert (
        augmented("empty") == f"empty: a folder without DICOM files; name the files in it; {KNOWN}"
    )


def test_truncated_files(here: Path) -> None:
    nib.save(nib.load("image.nii.gz"), "image.nii")
    scene(here)
    for name in ("image.nii", "image.nii.gz", "scene.tif"):
        data = Path(name).read_bytes()
        Path(f"cut_{name}").write_bytes(data[: len(data) // 2])
    assert augmented("cut_image.nii") == (
        "cut_image.nii: truncated: the header declares 8640 bytes of voxels, which the 4144 bytes "
        f"stored cannot hold; {AGAIN}"
    )
    assert augmented("cut_image.nii.gz") == (
        "cut_image.nii.gz: truncated or damaged: its gzip data end early or do not check "
        f"(EOFError); {AGAIN}"
    )
    assert augmented("cut_scene.tif").startswith("cut_scene.tif: ")


def test_header_declares_more_than_the_file_has(here: Path) -> None:
    nib.save(nib.load("image.nii.gz"), "image.nii")
    header = bytearray(Path("image.nii").read_bytes())
    struct.pack_into("<8h", header, 40, 3, 30000, 30000, 30000, 1, 1, 1, 1)
    Path("giant.nii").write_bytes(header)
    assert augmented("giant.nii") == (
        "giant.nii: truncated: the header declares 54000000000000 bytes of voxels, which the 8640 "
        f"bytes stored cannot hold; {AGAIN}"
    )


# Labels


def test_mask_of_another_shape(here: Path) -> None:
    write_nifti(here / "other.nii.gz", np.zeros((19, 18, 12), np.uint8))
    assert augmented("image.nii.gz", "-l", "other.nii.gz") == (
        "image.nii.gz and other.nii.gz are not on one grid: shape (12, 18, 20) against "
        "(12, 18, 19); match='first' (--match first) resamples the label onto the first's grid"
    )


def test_mask_of_another_place(here: Path) -> None:
    write_nifti(here / "other.nii.gz", np.zeros((20, 18, 12), np.uint8), shift=3)
    said = augmented("image.nii.gz", "-l", "other.nii.gz")
    assert said.startswith("image.nii.gz and other.nii.gz are not on one grid: affine [[")
    assert said.endswith(
        "(up to 3 world units apart); match='first' (--match first) resamples the label onto the "
        "first's grid, match='ignore' (--match ignore) takes its voxels as they are"
    )


def test_fractional_mask(here: Path) -> None:
    write_nifti(here / "soft.nii.gz", np.full((20, 18, 12), 0.25, np.float32))
    assert augmented("image.nii.gz", "-l", "soft.nii.gz") == (
        "soft.nii.gz: a label holds whole numbers, this one holds 0.25; load it as an image, or "
        "store its classes as integers (with a nodata value for what is not labelled)"
    )


# Recipes

LIST = ", ".join(transforms.builtin_names())
GAMMA = "transforms[0] Gamma.exponent: "
BAD = {
    "- gama: {exponent: 1}": (
        f"transforms[0] no transform 'gama'; did you mean gamma or local_gamma? allowed: {LIST}; "
        "one of your own is known in Python once it is registered (medsataug.register), not on the "
        "command line"
    ),
    "- flip: {axes: x}\n- barrier:\n- gamma: {exponnt: 1}": (
        "transforms[2] Gamma.exponnt: no such key; allowed: channels, exponent, invert, "
        "keep_stats, key, p, per_channel, scope, where"
    ),
    "- gamma: {exponent: -1}": GAMMA + "-1 is out of range; allowed: more than 0",
    "- gamma: {exponent: [2, 1]}": GAMMA + "[2, 1]: the low end comes first",
    "- gamma: {exponent: 2mm}": GAMMA + "unit 'mm' is not known here; allowed: none",
    "- gamma: {exponent: .nan}": GAMMA + "nan: a finite number expected",
    "- gamma: 3": "transforms[0] gamma: fields expected, got 3",
    "- 3": "transforms[0]: one transform expected, such as 'gamma: {exponent: 1.2}', got 3",
    "transforms: 3": "transforms: a list of transforms expected, got int",
    "transfroms: []": (
        "Pipeline.transfroms: no such key; allowed: antialias, border, description, fill, "
        "geometry, georef, interpolation, label_fill, label_interpolation, name, transforms"
    ),
    "border: mirror\ntransforms: []": (
        "Pipeline.border: Input should be 'constant', 'edge' or 'reflect', got 'mirror'"
    ),
    "just words": "a recipe is a list of transforms, or keys with 'transforms'",
    "": "a recipe is a list of transforms, or keys with 'transforms'",
    "- gamma: {exponent: [1, 2}": (
        "not valid YAML at line 1, column 26: expected ',' or ']', but got '}'"
    ),
    "- flip: {axes: x}\n- gamma: {p: 1, p: 0}": (
        "not valid YAML at line 2, column 17: the key 'p' is given twice"
    ),
    "a: !!python/object/apply:os.system [ls]": (
        "not valid YAML at line 1, column 4: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system'"
    ),
}


@pytest.mark.parametrize("text", BAD)
def test_bad_recipe(here: Path, text: str) -> None:
    Path("bad.yaml").write_text(text)
    for command in ("augment", "explain", "preview"):
        assert refused(command, "image.nii.gz", "-r", "bad.yaml") == f"bad.yaml: {BAD[text]}"
    assert refused("recipes", "bad.yaml") == f"bad.yaml: {BAD[text]}"


def test_recipe_that_is_no_text(here: Path) -> None:
    Path("bad.yaml").write_bytes(b"# caf\xe9\ntransforms: []\n")
    assert refused("recipes", "bad.yaml") == "bad.yaml: not a text file, so not a recipe"


def test_unknown_recipe(here: Path) -> None:
    assert refused("augment", "image.nii.gz", "-r", "mr") == (
        f"recipe 'mr': neither a packaged recipe ({', '.join(recipes.packaged())}) nor a file"
    )


def test_unknown_transform(here: Path) -> None:
    assert refused("transforms", "rotat").startswith("no transform 'rotat'; did you mean rotate")


# Found when the case is known

LATE = {
    "- flip: {axes: x}\n- gamma: {exponent: 2, channels: [9]}": (
        "transforms[1] Gamma.channels: 9 is not a channel; allowed: image, or 0 to 0"
    ),
    "- patch: {size: 64, pad: false}": (
        "transforms[0] Patch.size: [64, 64, 64] is larger than the image of [12, 18, 20]; make it "
        "smaller, or allow filling with pad=True"
    ),
    "- patch: {size: [8, 8]}": (
        "transforms[0] Patch.size: [8, 8] has 2 numbers, the image has 3 axes (z, y, x)"
    ),
    "- patch: {size: 8, foreground: 0.5}": (
        "transforms[0] Patch.foreground: 0.5, but there is no label (background and ignored "
        "values apart); give a label with a class, set foreground to 0, or set empty: random to "
        "cut such cases anywhere"
    ),
    "- patch: {size: 0}": "transforms[0] Patch.size: [0, 0, 0]; 1 or more expected",
    "- elastic: {spacing: 4, magnitude: 40}": "transforms[0] Elastic.magnitude: 40",
}


@pytest.mark.parametrize("text", LATE)
def test_recipe_that_does_not_fit_the_case(here: Path, text: str) -> None:
    Path("late.yaml").write_text(text)
    said = refused("augment", "image.nii.gz", "-r", "late.yaml", "-o", "out")
    assert said.startswith(LATE[text])


def test_unknown_orientation(here: Path) -> None:
    scene(here)
    Path("side.yaml").write_text("- flip: {axes: left-right}")
    said = refused("augment", "scene.tif", "-r", "side.yaml")
    assert said.startswith("transforms[0] Flip")
    assert "needs a known orientation" in said


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--patch big", "--patch big: whole numbers expected, such as 256 or 32,128,128"),
        (
            "--bands 1",
            "bands: only of a raster (GeoTIFF) can they be picked, and image.nii.gz is none; leave "
            "them out",
        ),
        ("--series 2", "series: '2' is for DICOM, and image.nii.gz is none; leave it out"),
        ("--match last", "match: 'last' is not known; allowed: 'first', 'ignore' or None"),
        (
            "--georef some",
            "Pipeline.georef: Input should be 'auto', 'exact', 'drop' or 'gcps', got 'some'",
        ),
    ],
)
def test_bad_option(here: Path, options: str, message: str) -> None:
    assert augmented("image.nii.gz", *options.split()) == message


def test_bands_that_are_not_there(here: Path) -> None:
    scene(here)
    assert augmented("scene.tif", "--bands", "B9").startswith(
        "bands: 'B9' is not in scene.tif; allowed: 1"
    )
    assert (
        augmented("scene.tif", "--bands", ",") == "bands: at least one band of scene.tif is needed"
    )


def test_picture_that_is_no_png(here: Path) -> None:
    said = refused("preview", "image.nii.gz", "-r", "small.yaml", "-o", "a.jpg")
    assert said == "a.jpg: the picture is a PNG; end --out in .png"


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"plan": {}, "digest": "", "output": ""}', "\0"]
)
def test_replay_of_no_record(here: Path, text: str) -> None:
    Path("record.json").write_text(text)
    said = refused("replay", "record.json", "image.nii.gz")
    assert said.startswith("record.json: ")
    assert refused("replay", "gone.json", "image.nii.gz") == (
        "gone.json: cannot be read (No such file or directory)"
    )


# The machine's faults


def test_a_file_is_in_the_way(here: Path) -> None:
    Path("out").write_text("mine")
    for out in ("out", "out/deeper"):
        said = augmented("image.nii.gz", "-o", out)
        assert said == f"{out}: a file is in the way; choose another --out"


def test_full_disk(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(io.saving, "_sync", full)
    assert augmented("image.nii.gz", "-o", "out", code=1) == (
        "out/copy_0000/image.nii.gz: the disk is full, and nothing was written; make room, or "
        "choose another folder"
    )


def test_folder_that_may_not_be_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    assert augmented("image.nii.gz", "-o", "out", code=1) == (
        "out: cannot be created (Permission denied); choose another --out, or make its folder "
        "writable"
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may all")
def test_folder_that_is_read_only(here: Path) -> None:
    Path("out").mkdir()
    Path("out").chmod(0o500)
    said = augmented("image.nii.gz", "-o", "out", code=1)
    assert said.startswith("out")
    assert "Permission denied" in said


def test_a_file_that_may_not_be_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    said = call("info", "image.nii.gz")
    assert said.code == 1
    assert said.err == "error: image.nii.gz: cannot be read (Permission denied)\n"


def test_unforeseen_faults_have_no_traceback(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("of a kind\nnobody thought of")

    monkeypatch.setattr(io, "load", broken)
    assert augmented("image.nii.gz", code=1) == (
        "RuntimeError: of a kind nobody thought of (a fault of medsataug or of the machine; set "
        "MEDSATAUG_DEBUG=1 for the traceback)"
    )
    monkeypatch.setenv("MEDSATAUG_DEBUG", "1")
    with pytest.raises(RuntimeError, match="nobody thought of"):
        call("augment", "image.nii.gz", "-r", "small.yaml")


def test_interrupted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(io, "load", interrupt)
    said = call("augment", "image.nii.gz", "-r", "small.yaml")
    assert (said.code, said.err) == (130, "interrupted; what was finished is kept\n")


# The classes themselves


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(ConfigError, ValueError), (GeometryError, ValueError), (FormatError, OSError)],
)
def test_errors_are_the_matching_builtins(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, builtin)
    assert issubclass(error, MedSatAugError)


def test_a_format_error_keeps_its_cause() -> None:
    error = FormatError.of(
        "a.nii: cannot be read", PermissionError(errno.EACCES, "Permission denied")
    )
    assert (str(error), error.errno) == ("a.nii: cannot be read", errno.EACCES)
    assert FormatError("a.nii: truncated").errno is None
