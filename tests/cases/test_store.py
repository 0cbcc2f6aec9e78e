"""Writing the cache: chance, stale and damaged cases, full disks, other processes and threads."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import medsataug as msa
from medsataug import cases
from medsataug.cases import chunked, stored
from medsataug.errors import ConfigError, FormatError
from tests.cases import files

pytest.importorskip("blosc2", reason="Blosc2 is not installed (medsataug[cache])")


@pytest.mark.parametrize(
    "chance", [msa.Rotate(degrees=(-5, 5)), msa.GaussianNoise(std=1), msa.Flip(axes="x")]
)
def test_chance_is_refused(tmp_path, chance):
    found = cases.find(files.nnunet(tmp_path / "set"))
    name = type(chance).__name__
    with pytest.raises(ConfigError, match=rf"case a_1: recipe .*transforms\[0\] {name} draws"):
        cases.cached(found, tmp_path / "cache", msa.Pipeline([chance], name="r"))
    assert not list((tmp_path / "cache").glob("*"))


def test_what_has_changed_is_stored_anew(tmp_path):
    root = files.nnunet(tmp_path / "set")
    found, folder = cases.find(root), tmp_path / "cache"
    kept = cases.cached(found, folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    cases.cached(found, folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    first = kept[0].load().image.whole
    files.volume(root / "imagesTr/a_1_0000.nii.gz", 77)
    fresh = kept[0].load()
    assert not np.array_equal(fresh.image.whole, first)
    np.testing.assert_array_equal(fresh.image.whole, found[0].load().image)
    assert len(list(folder.iterdir())) == len(found)
    file = root / "labelsTr/a_2.nii.gz"
    now = file.stat()
    os.utime(file, ns=(now.st_atime_ns, now.st_mtime_ns + 1))
    assert kept[1].cache is not None
    assert not kept[1].cache.holds(kept[1])
    assert kept[0].cache.holds(kept[0])


@pytest.mark.parametrize("spoil", ["image.b2nd", "facts.npz", "case.json"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_case_is_stored_anew(tmp_path, spoil, how):
    found = cases.find(files.nnunet(tmp_path / "set", names=("a",)))
    kept = cases.cached(found, tmp_path / "cache")
    want = kept[0].load().image.whole
    (folder,) = (tmp_path / "cache").iterdir()
    file = folder / spoil
    file.write_bytes(file.read_bytes()[:-20]) if how == "cut" else file.unlink()
    np.testing.assert_array_equal(kept[0].load().image.whole, want)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("spoil", ["image.b2nd", "facts.npz"])
def test_voxels_and_facts_that_rot_are_told(tmp_path, spoil):
    found = cases.find(files.nnunet(tmp_path / "set", names=("a",)))
    kept = cases.cached(found, tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    file = folder / spoil
    held = bytearray(file.read_bytes())
    held[len(held) // 3 :] = bytes(len(held) - len(held) // 3)
    file.write_bytes(held)

    def use():
        sample = kept[0].load()
        np.testing.assert_array_equal(sample.image.whole, found[0].load().image)
        return sample.facts

    with pytest.raises(FormatError, match=rf"{spoil}: .* delete its folder"):
        use()


def test_two_writers_at_once(tmp_path, monkeypatch):
    found = cases.find(files.nnunet(tmp_path / "set", names=("a",)))
    cache, write = cases.Cache(tmp_path / "cache"), stored.write

    def slower(sample, folder):
        write(sample, folder)
        monkeypatch.setattr(stored, "write", write)
        cache.load(found[0])  # the other one is done first

    monkeypatch.setattr(stored, "write", slower)
    sample = cache.load(found[0])
    np.testing.assert_array_equal(sample.image.whole, found[0].load().image)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("blosc")])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, error):
    found = cases.find(files.nnunet(tmp_path / "set"))

    def full(*_, **__):
        raise error

    monkeypatch.setattr(stored.np, "savez", full)
    with pytest.raises(FormatError, match=r"case a_1 cannot be stored \((No space|blosc)"):
        cases.cached(found, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_an_interrupted_writer_leaves_nothing_that_is_used(tmp_path):
    root = files.nnunet(tmp_path / "set")
    code = (
        "import os, sys; from medsataug import cases; from medsataug.cases import stored\n"
        "stored.np.savez = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        "cases.cached(cases.find(sys.argv[1]), sys.argv[2])"
    )
    folder = tmp_path / "cache"
    subprocess.run([sys.executable, "-c", code, str(root), str(folder)], check=False)
    (left,) = folder.iterdir()
    assert left.name.startswith(".building-")
    kept = cases.cached(cases.find(root), folder)
    kept.check()
    os.utime(left, (0, 0))
    cases.cached(kept, folder)
    assert not left.exists()


def _read_in_child(case, queue):
    queue.put(case.load().image.whole.sum(dtype=np.int64))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes(tmp_path, method):
    kept = cases.cached(cases.find(files.nnunet(tmp_path / "set")), tmp_path / "cache")
    want = kept[0].load().image.whole.sum(dtype=np.int64)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(kept[0], queue))
    child.start()
    assert queue.get(timeout=60) == want
    child.join()
    assert kept[0].load().image.whole.sum(dtype=np.int64) == want


def test_the_loader_gives_the_same_batches(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
    from medsataug.torch import Dataset

    found = cases.find(files.nnunet(tmp_path / "set"))
    kept = cases.cached(found, tmp_path / "cache")
    recipe = msa.Pipeline(
        [msa.Patch(size=6, foreground=0.5), msa.CutMix(), msa.GaussianNoise(std="3%")]
    )

    def batches(given, workers):
        items = Dataset(given, recipe, seed=1, repeat=2)
        return list(torch.utils.data.DataLoader(items, batch_size=2, num_workers=workers))

    want = batches(found, 0)
    for workers in (0, 2):
        for one, other in zip(batches(kept, workers), want, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in ("image", "label"))


def test_threads_and_few_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr(chunked, "OPEN", 2)
    names = [f"c{k}" for k in range(6)]
    found = cases.find(files.nnunet(tmp_path / "set", names=names, channels=1))
    kept = cases.cached(found, tmp_path / "cache")
    samples = [pickle.loads(pickle.dumps(case.load())) for case in kept]
    want = [case.load().image.sum(dtype=np.int64) for case in found]
    wrong = []

    def work():
        for _ in range(5):
            got = [s.image.whole.sum(dtype=np.int64) for s in samples]
            wrong.append(got != want)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [False] * 20


def test_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "blosc2", None)
    with pytest.raises(ConfigError, match=r"install medsataug\[cache\]"):
        cases.cached(cases.find(files.nnunet(tmp_path / "set")), tmp_path / "cache")
