"""Copies on disk: whole or absent, resumed, replayed, and without anyone's name."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import medsataug as msa
from medsataug import copies
from medsataug.errors import FormatError
from tests.commands import Result, call, contents, finished, process, volume, write_nifti

Case = tuple[Path, Path, Path]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return volume(tmp_path)


def augment(case: Case, out: Path, *more: object) -> Result:
    image, label, recipe = case
    return call("augment", image, "-l", label, "-r", recipe, "-o", out, *more)


def stamps(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}


def test_finished_copies_are_kept(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "out"
    augment(case, out, "-n", 2)
    before = stamps(out / "copy_0000")
    done = augment(case, out, "-n", 3)
    assert done.out.endswith("\nkept 2 copies, finished before\n")
    assert done.out.startswith(f"wrote 1 copy to {out}")
    assert stamps(out / "copy_0000") == before
    assert [c["skipped"] for c in augment(case, out, "-n", 3, "--json").json["copies"]] == [
        True
    ] * 3


def test_a_picture_of_finished_copies_writes_no_copy(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "out"
    augment(case, out, "-n", 2)
    before = stamps(out / "copy_0001")
    done = augment(case, out, "-n", 2, "--preview")
    assert done.out == f"kept 2 copies, finished before\npicture: {out / 'preview.png'}\n"
    assert stamps(out / "copy_0001") == before


@pytest.mark.parametrize("change", [["--seed", 1], ["--patch", 8]])
def test_copies_of_other_settings_are_refused(case: Case, tmp_path: Path, change: list) -> None:
    out = tmp_path / "out"
    augment(case, out, "-n", 1)
    before = contents(out)
    refused = augment(case, out, "-n", 1, *change)
    assert refused.code == 2
    assert refused.err == (
        f"error: {out / 'copy_0000'}: holds a copy made with other settings or from another "
        "image; choose another --out, or give --overwrite\n"
    )
    assert contents(out) == before
    assert augment(case, out, "-n", 1, *change, "--overwrite").code == 0
    assert contents(out) != before


def test_another_image_is_refused(case: Case, tmp_path: Path) -> None:
    augment(case, tmp_path / "out", "-n", 1)
    other = write_nifti(case[0], np.ones((20, 18, 12), np.int16))
    assert augment((other, *case[1:]), tmp_path / "out", "-n", 1).code == 2


def test_a_copy_that_lost_a_file_is_made_again(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "copy_0000"
    augment(case, tmp_path / "out", "-n", 1)
    whole = contents(folder)
    (folder / "mask.nii.gz").unlink()
    assert augment(case, tmp_path / "out", "-n", 1).out.startswith("wrote 1 copy")
    assert contents(folder) == whole


def test_a_folder_without_record_is_not_overwritten(case: Case, tmp_path: Path) -> None:
    mine = tmp_path / "out" / "copy_0000"
    mine.mkdir(parents=True)
    (mine / "mine.txt").write_text("mine")
    assert augment(case, tmp_path / "out", "-n", 1).code == 2
    assert contents(mine) == {"mine.txt": b"mine"}


def test_the_same_seed_gives_the_same_files(case: Case, tmp_path: Path) -> None:
    augment(case, tmp_path / "a", "-n", 3, "--seed", 9)
    augment(case, tmp_path / "b", "-n", 3, "--seed", 9)
    augment(case, tmp_path / "c", "-n", 1, "--seed", 10)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    images = {(tmp_path / "a" / f"copy_000{i}" / "image.nii.gz").read_bytes() for i in range(3)}
    images.add((tmp_path / "c" / "copy_0000" / "image.nii.gz").read_bytes())
    assert len(images) == 4


def test_record_says_how_a_copy_came_to_be(case: Case, tmp_path: Path) -> None:
    augment(case, tmp_path / "out", "-n", 2, "--seed", 7)
    folder = tmp_path / "out" / "copy_0001"
    text = (folder / "record.json").read_text()
    record = json.loads(text)
    sample = msa.load(case[0], case[1])
    assert (record["seed"], record["index"], record["digest"]) == (7, 1, sample.digest)
    assert record["files"] == ["image.nii.gz", "mask.nii.gz"]
    assert [name for name, _ in record["drawn"]] == ["Translate", "Gamma"] or record["drawn"]
    plan = msa.Plan.from_json(json.dumps(record["plan"]))
    made = plan(sample)
    assert record["output"] == made.digest
    np.testing.assert_array_equal(
        np.asarray(nib.load(folder / "image.nii.gz").dataobj).T, made.image[0]
    )
    assert (
        msa.Pipeline(**__import__("yaml").safe_load(record["recipe_text"]))
        .plan(sample, 7, 1)
        .to_json()
        == plan.to_json()
    )
    assert str(tmp_path) not in text


def test_a_failure_leaves_nothing(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise FormatError("out: broken")

    out = tmp_path / "out"
    monkeypatch.setattr(copies.io, "save", fail)
    assert augment(case, out, "-n", 1).code == 2
    assert not out.exists()


@pytest.fixture(params=[1, 2])
def _number_of_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    # As set for the process: `call` puts back what commands change.
    monkeypatch.setenv("MEDSATAUG_THREADS", str(request.param))
    return int(request.param)


@pytest.mark.usefixtures("_number_of_threads")
def test_a_failure_keeps_what_was_finished_before(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, save = tmp_path / "out", copies.io.save

    def fail(sample: msa.Sample, folder: Path) -> list[Path]:
        if "copy_0002" in folder.name:
            folder.mkdir()
            (folder / "half").write_text("half")
            raise OSError(28, "No space left on device")
        return save(sample, folder)

    monkeypatch.setattr(copies.io, "save", fail)
    failed = augment(case, out, "-n", 6)
    assert (failed.code, failed.out) == (1, "")
    assert failed.err == (
        f"error: {out / 'copy_0002'}: cannot be written (No space left on device); nothing of this "
        "copy was kept\n"
    )
    assert sorted(p.name for p in out.iterdir()) == ["copy_0000", "copy_0001"]
    monkeypatch.undo()
    done = augment(case, out, "-n", 3, "--json").json["copies"]
    assert [c["skipped"] for c in done] == [True, True, False]


@pytest.mark.usefixtures("_number_of_threads")
def test_what_fails_while_a_copy_is_written_leaves_it_whole(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, save = msa.Pipeline.plan, copies.io.save

    def fail(
        self: msa.Pipeline, sample: msa.Sample, seed: int, index: int, **more: Any
    ) -> msa.Plan:
        if index == 1:
            raise KeyboardInterrupt
        return plan(self, sample, seed, index, **more)

    def slow(sample: msa.Sample, folder: Path) -> list[Path]:
        time.sleep(0.1)
        return save(sample, folder)

    monkeypatch.setattr(msa.Pipeline, "plan", fail)
    monkeypatch.setattr(copies.io, "save", slow)
    out = tmp_path / "out"
    stopped = augment(case, out, "-n", 3)
    assert (stopped.code, stopped.err) == (130, "interrupted; what was finished is kept\n")
    assert [p.name for p in out.iterdir()] == ["copy_0000"]
    assert set(contents(out / "copy_0000")) == {"image.nii.gz", "mask.nii.gz", "record.json"}


def test_the_next_is_made_meanwhile_and_no_more(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSATAUG_THREADS", "2")
    made, written, apart = [], [], []
    save, warn = copies.io.save, copies._warn_of_loss

    def noted(sample: msa.Sample, folder: Path) -> list[Path]:
        time.sleep(0.05)
        paths = save(sample, folder)
        written.append(folder.name)
        return paths

    def counted(*given: object) -> None:
        made.append(given)
        apart.append(len(made) - len(written))
        warn(*given)

    monkeypatch.setattr(copies.io, "save", noted)
    monkeypatch.setattr(copies, "_warn_of_loss", counted)
    augment(case, tmp_path / "out", "-n", 5)
    assert max(apart) == 2  # one being written, one just made
    assert [name.split(".")[1] for name in written] == [f"copy_{k:04d}" for k in range(5)]


def test_overwriting_that_fails_keeps_the_old_copy(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    augment(case, out, "-n", 1)
    before = contents(out)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == out / "copy_0000" and not self.name.endswith(".old"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    failed = augment(case, out, "-n", 1, "--seed", 1, "--overwrite")
    assert failed.code == 1
    assert failed.err == (
        f"error: {out / 'copy_0000'}: cannot be written (Input/output error); nothing of this "
        "copy was kept\n"
    )
    assert contents(out) == before


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_killed_in_the_middle_only_whole_copies_stay(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "out"
    recipe = tmp_path / "noise.yaml"
    recipe.write_text("- gaussian_noise: {std: 10}\n")
    rng = np.random.default_rng(0)
    big = write_nifti(tmp_path / "big.nii", rng.integers(0, 999, (96, 96, 96)).astype(np.int16))
    with process("augment", big, "-r", recipe, "-n", 500, "-o", out) as running:
        until = time.monotonic() + 60
        while not (out / "copy_0003").exists() and time.monotonic() < until:
            time.sleep(0.005)
        running.kill()
    whole = sorted(out.glob("copy_*"))
    assert 4 <= len(whole) < 500
    for folder in whole:
        assert {p.name for p in folder.iterdir()} == {"big.nii", "record.json"}
        assert nib.load(folder / "big.nii").dataobj[-1, -1, -1] is not None
    # As a run killed within a copy leaves it; no process has this number.
    stale = out / ".copy_0004.999999999"
    stale.mkdir()
    (stale / ".big-1.nii").write_bytes(b"half")
    before = stamps(whole[0])
    done = call("augment", big, "-r", recipe, "-n", len(whole) + 1, "-o", out, "--json")
    assert [c["skipped"] for c in done.json["copies"]] == [True] * len(whole) + [False]
    assert stamps(whole[0]) == before
    assert not list(out.glob(".*"))


def test_what_another_process_is_writing_stays(case: Case, tmp_path: Path) -> None:
    theirs = tmp_path / "out" / ".copy_0000.1"  # the first process always runs
    theirs.mkdir(parents=True)
    assert augment(case, tmp_path / "out", "-n", 1).code == 0
    assert theirs.exists()


PATIENT = {
    "PatientName": "Doe^Jane", "PatientID": "ID4711", "PatientBirthDate": "19700102",
    "PatientAddress": "Elm Street 3", "InstitutionName": "Saint Elsewhere",
    "ReferringPhysicianName": "House^Gregory", "AccessionNumber": "ACC90210",
    "StudyDate": "20230405", "StudyDescription": "Janes head", "SeriesDescription": "Janes series",
    "ProtocolName": "Janes protocol", "StationName": "STATION9", "DeviceSerialNumber": "SN5551212",
    "StudyID": "STUDY77",
}  # fmt: skip


def test_no_identity_of_dicom_reaches_anything(samples: Path, tmp_path: Path) -> None:
    import pydicom

    folder = tmp_path / "Doe_Jane_4711"
    folder.mkdir()
    uids = set()
    for path in (samples / "ct").glob("*.dcm"):
        header = pydicom.dcmread(path)
        for name, value in PATIENT.items():
            setattr(header, name, value)
        uids |= {header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID}
        uids |= {header.get("FrameOfReferenceUID", header.StudyInstanceUID)}
        header.save_as(folder / path.name)
    recipe = tmp_path / "small.yaml"
    recipe.write_text("- translate: {offset: 3mm}\n- gamma: {exponent: 1.3}\n")
    out = tmp_path / "out"
    asked = (folder, "-r", recipe)
    done = [
        call("augment", *asked, "-n", 1, "-o", out, "--preview"),
        call("augment", *asked, "-n", 1, "-o", out, "--json"),
        call("augment", *asked, "-n", 1, "-o", out, "--dry-run", "--json"),
        call("explain", *asked),
        call("replay", out / "copy_0000" / "record.json", folder, "-o", tmp_path / "again"),
    ]
    assert [d.code for d in done] == [0] * 5, done
    info = call("info", folder, "--json")
    printed = "".join(d.out + d.err for d in done)
    printed += json.dumps(list(info.json.values()))
    written = contents(out) | {f"again/{k}": v for k, v in contents(tmp_path / "again").items()}
    import gzip

    everything = printed.encode() + b"".join(name.encode() + b"\n" for name in written)
    for name, data in written.items():
        everything += gzip.decompress(data) if name.endswith(".gz") else data
    names = ("Doe", "Jane", "House", "Gregory", "Elm Street", "Elsewhere", *PATIENT.values(), *uids)
    found = [n for n in names if n.encode() in everything]
    assert not found
    assert set(written) >= {"copy_0000/image.nii.gz", "copy_0000/record.json", "preview.png"}


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    import resource

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 30000, (128, 128, 128)).astype(np.int16)
    image = write_nifti(tmp_path / "big.nii", noise)
    recipe = tmp_path / "flip.yaml"
    recipe.write_text("- flip: {axes: x}\n")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    out = tmp_path / "out"
    done = finished("augment", image, "-r", recipe, "-n", 1, "-o", out, preexec_fn=limit)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {out / 'copy_0000' / 'big.nii'}: cannot be written")
    assert done.err.count("\n") == 1
    assert not out.exists()
    shutil.rmtree(out, ignore_errors=True)
