"""Every command and option of the command line, as a user gives them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from medsataug import __version__, cli, recipes, transforms
from tests.commands import ROOT, call, contents, finished, process, scene, volume, write_nifti

Case = tuple[Path, Path, Path]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return volume(tmp_path)


def augment(case: Case, out: Path, *more: object) -> object:
    image, label, recipe = case
    return call("augment", image, "--label", label, "--recipe", recipe, "--out", out, *more)


def test_augment_writes_images_labels_and_records(case: Case, tmp_path: Path) -> None:
    done = augment(case, tmp_path / "out", "--count", 2, "--seed", 3)
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"wrote 2 copies to {tmp_path / 'out'}: image.nii.gz, mask.nii.gz, record.json each\n"
    )
    for index in range(2):
        folder = tmp_path / "out" / f"copy_{index:04d}"
        assert nib.load(folder / "image.nii.gz").get_data_dtype() == np.int16
        assert set(np.unique(nib.load(folder / "mask.nii.gz").dataobj)) <= {0, 2}
        record = json.loads((folder / "record.json").read_text())
        assert (record["seed"], record["index"]) == (3, index)
        assert record["medsataug"] == __version__


def test_augment_as_json(case: Case, tmp_path: Path) -> None:
    done = augment(case, tmp_path / "out", "-n", 2, "--json", "--preview")
    assert done.code == 0
    assert done.json["preview"] == str(tmp_path / "out" / "preview.png")
    first = done.json["copies"][0]
    assert (first["index"], first["seed"], first["skipped"]) == (0, 0, False)
    assert all(Path(f).is_file() for f in first["files"])


def test_a_dry_run_writes_nothing(case: Case, tmp_path: Path) -> None:
    before = contents(tmp_path)
    said = augment(case, tmp_path / "out", "-n", 2, "--dry-run")
    assert said.out.count("plan of small for sample") == 2
    plans = augment(case, tmp_path / "out", "-n", 2, "--dry-run", "--json").json
    assert [p["index"] for p in plans] == [0, 1]
    assert contents(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_patch_has_the_size_asked(case: Case, tmp_path: Path) -> None:
    assert augment(case, tmp_path / "a", "-n", 1, "--patch", "6,8,10").code == 0
    assert nib.load(tmp_path / "a/copy_0000/image.nii.gz").shape == (10, 8, 6)
    # Larger than the volume: refused, since a slip of one digit would fill the memory.
    said = augment(case, tmp_path / "b", "-n", 1, "--patch", "32")
    assert (said.code, "is larger than the image" in said.err) == (2, True)
    assert not (tmp_path / "b").exists()


def test_version() -> None:
    assert call("--version").out == f"medsataug {__version__}\n"


def test_bands_are_picked_by_number_and_name(tmp_path: Path, case: Case) -> None:
    import rasterio

    path = scene(tmp_path)
    asked = ("augment", path, "-r", case[2], "-n", 1, "--bands", "4, B3", "-o", tmp_path / "out")
    assert call(*asked).code == 0
    with rasterio.open(tmp_path / "out/copy_0000/scene.tif") as file:
        assert file.descriptions == ("B8", "B3")
        assert file.crs.to_epsg() == 32633


def test_georef_says_what_a_turned_raster_is_written_with(tmp_path: Path) -> None:
    import rasterio

    recipe = tmp_path / "turn.yaml"
    recipe.write_text("- rotate: {degrees: 20}\n")
    path = scene(tmp_path)
    for georef, placed in (("exact", True), ("drop", False)):
        asked = ("augment", path, "-r", recipe, "-n", 1, "--georef", georef)
        assert call(*asked, "-o", tmp_path / georef).code == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            file = rasterio.open(tmp_path / georef / "copy_0000/scene.tif")
        with file:
            assert (file.crs is not None) == placed


def test_match_resamples_a_label_of_another_grid(case: Case, tmp_path: Path) -> None:
    other = write_nifti(tmp_path / "other.nii.gz", np.ones((10, 18, 12), np.uint8))
    asked = ("augment", case[0], "-l", other, "-r", case[2], "-n", 1, "-o", tmp_path / "out")
    assert call(*asked).code == 2
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        said = call(*asked, "--match", "first")
    assert (said.code, "of the labelled voxels left the image" in said.err) == (0, True)
    assert nib.load(tmp_path / "out/copy_0000/other.nii.gz").shape == (20, 18, 12)


def test_several_images_are_channels_of_one_case(case: Case, tmp_path: Path) -> None:
    second = write_nifti(tmp_path / "t1.nii.gz", np.ones((20, 18, 12), np.float32))
    done = call(
        "augment", case[0], second, "-r", case[2], "-n", 1, "-o", tmp_path / "out", "--json"
    )
    names = [Path(f).name for f in done.json["copies"][0]["files"]]
    assert names == ["image.nii.gz", "record.json", "t1.nii.gz"]


def test_threads_change_no_byte(case: Case, tmp_path: Path) -> None:
    for number in (1, 3):
        assert augment(case, tmp_path / str(number), "-n", 2, "--threads", number).code == 0
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_preview_draws_and_writes_nothing_else(case: Case, tmp_path: Path) -> None:
    image, label, recipe = case
    path = tmp_path / "pictures" / "four.png"
    before = contents(tmp_path)
    done = call("preview", image, "-l", label, "-r", recipe, "-n", 2, "-o", path)
    assert (done.code, done.out) == (0, f"{path}\n")
    after = contents(tmp_path)
    assert after.pop("pictures/four.png").startswith(b"\x89PNG")
    assert after == before
    again = call("preview", image, "-r", recipe, "-n", 1, "-o", tmp_path / "x.png", "--json")
    assert again.json == {"preview": str(tmp_path / "x.png")}


def test_explain_says_what_will_happen(case: Case) -> None:
    image, label, recipe = case
    asked = ("explain", image, "-l", label, "-r", recipe, "--seed", 4, "--index", 2)
    said = call(*asked)
    assert "seed 4, index 2" in said.out
    assert "Translate: offset" in said.out
    plan = call(*asked, "--json").json
    assert (plan["seed"], plan["index"], plan["medsataug_plan"]) == (4, 2, 1)
    patched = call(*asked, "--patch", 8)
    assert "Patch: " in patched.out


def test_explain_says_that_there_is_no_foreground(case: Case, tmp_path: Path) -> None:
    recipe = tmp_path / "patch.yaml"
    recipe.write_text("- patch: {size: 8, foreground: 1, empty: random}\n")
    empty = write_nifti(tmp_path / "empty.nii.gz", np.zeros((20, 18, 12), np.uint8))
    said = call("explain", case[0], "-l", empty, "-r", recipe)
    assert (said.code, "around class none is labelled" in said.out) == (0, True)


def test_replay_gives_the_same_bytes(case: Case, tmp_path: Path) -> None:
    augment(case, tmp_path / "out", "-n", 2)
    folder = tmp_path / "out" / "copy_0001"
    asked = ("replay", folder / "record.json", case[0], "-l", case[1])
    done = call(*asked, "-o", tmp_path / "again")
    assert done.code == 0
    assert contents(tmp_path / "again") == contents(folder)
    assert done.out.split() == [
        str(tmp_path / "again" / name) for name in ("image.nii.gz", "mask.nii.gz", "record.json")
    ]
    assert len(call(*asked, "-o", tmp_path / "third", "--json").json["files"]) == 3


def test_replay_refuses_another_image(case: Case, tmp_path: Path) -> None:
    augment(case, tmp_path / "out", "-n", 1)
    record = tmp_path / "out" / "copy_0000" / "record.json"
    refused = call("replay", record, case[0], "-o", tmp_path / "again")
    assert refused.code == 2
    assert refused.err.startswith(
        f"error: {record}: this copy was made from another image or label (content digest "
    )
    assert refused.err.endswith("give the same files in the same order\n")
    assert not (tmp_path / "again").exists()


def test_info_reads_headers(case: Case, tmp_path: Path) -> None:
    raster = scene(tmp_path)
    said = call("info", case[0], raster)
    assert "  spacing_mm   2, 1, 1\n" in said.out
    assert "EPSG:32633" in said.out
    facts = call("info", case[0], "--json").json
    assert facts[str(case[0])]["format"] == "nifti"


def test_info_takes_names_as_they_are(tmp_path: Path, case: Case) -> None:
    odd = tmp_path / "[bold]a.nii.gz"
    odd.write_bytes(case[0].read_bytes())
    assert call("info", odd).out.startswith(f"{odd}\n")


def test_transforms_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = call("transforms")
    assert all(f"\n{n} " in "\n" + listed.out for n in transforms.builtin_names())
    assert {e["name"] for e in call("transforms", "--json").json} == set(transforms.names())
    for name in transforms.builtin_names():
        said = call("transforms", name)
        assert said.code == 0
        assert max(map(len, said.out.splitlines())) <= 90  # an example's line may be longer
        assert said.out.splitlines()[0].startswith(f"{name} (")
    assert call("transforms", "Gamma", "--json").json[0]["class_name"] == "Gamma"


def test_recipes_are_listed_and_printed() -> None:
    listed = call("recipes")
    assert [line.split()[0] for line in listed.out.splitlines()] == list(recipes.packaged())
    assert set(call("recipes", "--json").json) == set(recipes.packaged())
    for name in recipes.packaged():
        assert "transforms" in yaml.safe_load(call("recipes", name).out)
    assert call("recipes", "--schema").json["$defs"]["rotate"]


def test_a_packaged_recipe_runs_on_bundled_data(samples: Path, tmp_path: Path) -> None:
    folder = samples / "multispectral"
    asked = ("augment", folder / "scene.tif", "-l", folder / "landcover.tif", "-n", 1)
    done = call(*asked, "-r", "multispectral", "--patch", 64, "-o", tmp_path)
    assert done.code == 0, done.err
    assert done.out.endswith("landcover.tif, record.json, scene.tif\n")


@pytest.mark.parametrize(
    "command", ["", *sorted(c.callback.__name__ for c in cli.app.registered_commands)]
)
def test_help_fits_a_terminal(command: str) -> None:
    said = call(*command.split(), "--help")
    assert said.code == 0
    assert said.out.startswith("Usage: medsataug")
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["augment", "a.nii"], "Missing option '--recipe' / '-r'. See 'medsataug augment --help'"),
        (["augment", "-r", "mri"], "Missing argument 'IMAGE'. See 'medsataug augment --help'"),
        (["augment", "a.nii", "-r", "mri", "--sede", "1"], "No such option: --sede"),
        (
            ["augment", "a.nii", "-r", "mri", "--count", "some"],
            "Invalid value for '--count' / '-n'",
        ),
        (["augment", "a.nii", "-r", "mri", "--count", "0"], "Invalid value for '--count' / '-n'"),
        (["explain", "a.nii", "-r", "mri", "--index", "-1"], "Invalid value for '--index'"),
        (["augmnet"], "No such command 'augmnet'"),
    ],
)
def test_usage_errors_are_one_line(asked: list[str], message: str) -> None:
    said = call(*asked)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {message}")
    assert said.err.count("\n") == 1


def test_no_command_gives_the_help() -> None:
    said = call()
    assert said.code == 2
    assert "Usage: medsataug" in said.out + said.err


# What only a process of its own can show.


def test_module_runs_as_a_program(case: Case, tmp_path: Path) -> None:
    image, _, recipe = case
    asked = ("augment", image, "-r", recipe, "-n", 1, "-o", tmp_path / "out", "--json")
    done = finished(*asked)
    assert done.code == 0, done.err
    assert len(done.json["copies"]) == 1
    wrong = finished("augment", tmp_path / "gone.nii", "-r", "mri")
    assert (wrong.code, wrong.out) == (2, "")
    gone = tmp_path / "gone.nii"
    assert wrong.err == f"error: {gone}: there is no such file or folder; check the path\n"


def test_first_run_says_that_it_compiles(case: Case, tmp_path: Path) -> None:
    recipe = tmp_path / "flip.yaml"
    recipe.write_text("- flip: {axes: x}\n")
    env = {"MEDSATAUG_CACHE_DIR": str(tmp_path / "cache")}
    asked = ("augment", case[0], "-r", recipe, "-n", 1, "--json", "-o")
    first = finished(*asked, tmp_path / "a", env=env)
    assert first.json["copies"]
    told, done = first.err.splitlines()
    assert told.startswith("compiling kernels for this machine, for up to half a minute;")
    assert done.startswith("compiled in ")
    assert finished(*asked, tmp_path / "b", env=env).err == ""
    # Interrupted or damaged, a cache is only part of what is needed, and the run says so.
    compiled = sorted((tmp_path / "cache").rglob("*.nbc"))
    compiled[0].unlink()
    assert "compiling" in finished(*asked, tmp_path / "c", env=env).err
    assert contents(tmp_path / "c") == contents(tmp_path / "a")


@pytest.mark.slow
def test_processes_that_start_at_once_share_an_empty_cache(case: Case, tmp_path: Path) -> None:
    recipe = tmp_path / "turn.yaml"
    recipe.write_text("- rotate: {degrees: 9}\n- gamma: {exponent: 1.2}\n")
    env = {"MEDSATAUG_CACHE_DIR": str(tmp_path / "cache")}
    asked = ("augment", "-r", recipe, "-n", 1, "--seed", 1)
    # Other types of voxels too: each compiles its own version of the same kernels.
    (tmp_path / "float").mkdir()
    other = volume(tmp_path / "float", "float32")
    given = [case[:2], other[:2], case[:2]]
    running = [
        process(*asked, image, "-l", label, "-o", tmp_path / f"out{k}", env=env)
        for k, (image, label) in enumerate(given)
    ]
    for one in running:
        out, err = one.communicate(timeout=300)
        assert one.returncode == 0, (out, err)
    for k, (image, label) in enumerate(given):
        again = finished(*asked, image, "-l", label, "-o", tmp_path / f"again{k}", env=env)
        assert again.code == 0, again.err
        assert contents(tmp_path / f"again{k}") == contents(tmp_path / f"out{k}")
        assert contents(tmp_path / f"again{k}") == contents(tmp_path / f"again{k % 2}")
    last = finished(*asked, case[0], "-l", case[1], "-o", tmp_path / "last", env=env)
    assert last.err == ""  # nothing is compiled any more


def test_a_quick_start_hides_nothing_for_good() -> None:
    code = (
        "from medsataug import start\nstart.quickly()\n"
        "import gc, scipy.linalg.cython_blas\nassert gc.isenabled()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_help_imports_no_numba() -> None:
    code = (
        "import sys\nfrom medsataug.cli import main\ntry:\n main()\nexcept SystemExit:\n pass\n"
        "sys.exit(sum(m in sys.modules for m in ('numba', 'scipy', 'nibabel', 'rasterio')))"
    )
    asked = [sys.executable, "-c", code, "--help"]
    run = subprocess.run(asked, cwd=ROOT, capture_output=True, check=False)
    assert run.returncode == 0
    assert b"Usage: medsataug" in run.stdout


def test_import_brings_in_no_heavy_library() -> None:
    heavy = (
        "numba rasterio SimpleITK nibabel matplotlib scipy skimage pydicom torch typer rich".split()
    )
    code = f"import sys, medsataug; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes close otherwise there")
def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m medsataug recipes --schema | head -c 10"
    run = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.stderr == ""


def test_warmup_compiles_what_recipes_need() -> None:
    said = call("warmup", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["seconds"] > 0
