"""Batches are the same bytes, whoever makes them, and a stopped epoch goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import medsataug as msa
from medsataug import threads
from medsataug.errors import ConfigError, FormatError
from tests import phantoms

torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
from torch.utils.data import DataLoader  # noqa: E402

from medsataug.torch import Dataset, Loader, Order, Stream, collate  # noqa: E402
from medsataug.torch.batch import own, places, shared  # noqa: E402

# PyTorch's own workers fork while threads of its own may run, and it closes pipes late.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*worker processes in total:UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

STEPS = [
    {"patch": {"size": 8, "foreground": 0.5}},
    {"rotate": {"degrees": [-20, 20], "p": 0.5}},
    {"gaussian_noise": {"std": 5}},
    {"gamma": {"exponent": [0.7, 1.5], "p": 0.5}},
]


def cases(number: int = 3) -> list[msa.Sample]:
    made = []
    for k in range(number):
        sample = phantoms.sample(3)
        image = np.asarray(sample.image) + np.float32(k)
        made.append(sample.replace(image=image, id=f"patient {k}"))
    return made


def dataset(**options: object) -> Dataset:
    return Dataset(cases(), STEPS, **{"seed": 3, "length": 13, **options})


def digests(batches: object) -> list[dict[str, bytes]]:
    out = []
    for batch in batches:
        flat = {}
        for name, value in batch.items():
            parts = value if isinstance(value, list) else [value]
            flat |= {f"{name} {k}": part.numpy().tobytes() for k, part in enumerate(parts)}
        out.append(flat)
    return out


def expected(data: Dataset, size: int = 4, drop_last: bool = True) -> list[dict[str, bytes]]:
    """Batches made one item at a time, and stacked."""
    numbers = list(Order(data))
    cut = [numbers[k : k + size] for k in range(0, len(numbers), size)]
    cut = [c for c in cut if len(c) == size or not drop_last]
    return digests(collate([dict(data[i]) for i in c]) for c in cut)


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("drop_last", [True, False])
def test_threads_change_no_byte(number: int, drop_last: bool) -> None:
    loader = Loader(dataset(), 4, threads=number, drop_last=drop_last)
    for epoch in (0, 1):
        loader.dataset.set_epoch(epoch)
        alone = dataset()
        alone.set_epoch(epoch)
        made = digests(loader)
        assert made == expected(alone, drop_last=drop_last)
        assert len(made) == len(loader) == (3 if drop_last else 4)


@pytest.mark.parametrize(
    ("workers", "context"),
    [(0, None), (1, "fork"), (2, "fork"), (8, "fork"), (2, "spawn"), (2, "forkserver")],
)
@pytest.mark.parametrize("kind", ["dataset", "stream"])
def test_workers_change_no_byte(workers: int, context: str | None, kind: str) -> None:
    data = dataset(deep_supervision=[1, 0.5])
    options = {"num_workers": workers, "multiprocessing_context": context}
    if kind == "stream":
        loader = DataLoader(Stream(data, 4), batch_size=None, **options)
    else:
        loader = DataLoader(
            data, 4, sampler=Order(data), drop_last=True, collate_fn=collate, **options
        )
    assert digests(loader) == expected(dataset(deep_supervision=[1, 0.5]))


def test_a_batch_is_made_where_it_stays() -> None:
    data = dataset(deep_supervision=[1, 0.5])
    data[0]
    items = data.__getitems__([2, 5, 1])
    whole = collate(items)
    for together, parts in (
        (whole["image"], [i["image"] for i in items]),
        (whole["label"][1], [i["label"][1] for i in items]),
    ):
        assert together.shape == (3, *parts[0].shape)
        assert [p.data_ptr() for p in parts] == [row.data_ptr() for row in together]
    again = collate([data[2], data[5], data[1]])
    assert torch.equal(whole["image"], again["image"])
    # The image was made there, not copied: the plan's own result is that memory.
    (place,) = places(data.form, 1, own)
    case = data.items._loaded(data.items._case_of(2, 2))
    plan = data.items.pipeline.plan(case, data.seed, 2)
    into = place["image"].numpy()
    assert plan(case, into=into).image is into


@pytest.mark.parametrize("recipe", ["mri", "nnunet", "nnunet-elastic"])
def test_into_changes_no_byte(recipe: str) -> None:
    sample = phantoms.sample(3)
    pipeline = msa.Pipeline.load(recipe)
    if "nnunet" in recipe:
        pipeline = pipeline.with_patch([24, 24, 24])
    for index in range(12):
        plan = pipeline.plan(sample, 1, index)
        plain = plan(sample)
        into = np.full(plain.image.shape, np.nan, np.float32)
        assert plan(sample, into=into).image.tobytes() == plain.image.tobytes()
        other = np.full((1, *plain.image.shape), np.nan, np.float32)
        assert plan(sample, into=other).image.tobytes() == plain.image.tobytes()
        assert np.isnan(other).all()  # what does not fit is left alone


def test_a_worker_makes_batches_in_shared_memory() -> None:
    (place,) = places({"image": ((2, 3), torch.float32)}, 1, shared)
    assert place["image"].is_shared()
    assert not places({"image": ((2, 3), torch.float32)}, 1, own)[0]["image"].is_shared()


def test_memory_is_used_again_once_its_batch_is_gone() -> None:
    loader = Loader(dataset(length=40), 4, threads=1, ahead=1)
    held, seen = [], set()
    for number, batch in enumerate(loader):
        if number < 4:
            held.append((batch, batch["image"].clone()))
        seen.add(batch["image"].data_ptr())
        del batch
    assert all(torch.equal(batch["image"], copy) for batch, copy in held)
    assert len({batch["image"].data_ptr() for batch, _ in held}) == 4
    assert len(seen) < 10


def test_a_stopped_epoch_goes_on() -> None:
    data = dataset(length=20)
    data.set_epoch(4)
    whole = expected(data)
    for make in (
        lambda: Loader(data, 4, start=2),
        lambda: Stream(data, 4, start=2),
        lambda: DataLoader(data, 4, sampler=Order(data, start=8), collate_fn=collate),
    ):
        data.set_epoch(4)
        loader = make()
        assert len(loader) == 3
        assert digests(loader) == whole[2:]
        data.set_epoch(5)  # the next epoch has all
        assert len(loader) == 5
        assert digests(loader) == expected(data)


def test_every_case_comes_once_before_any_comes_again() -> None:
    data = Dataset(cases(5), [], length=7)
    seen = []
    for epoch in range(5):
        data.set_epoch(epoch)
        seen += [data.sample(i).id for i in range(7)]
    turns = [seen[k : k + 5] for k in range(0, 35, 5)]
    assert all(len(set(turn)) == 5 for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1


def test_several_processes_share_an_epoch() -> None:
    data = dataset()
    parts = [list(Order(data, rank=r, ranks=3)) for r in range(3)]
    assert [len(p) for p in parts] == [4, 4, 4]
    assert len({i for part in parts for i in part}) == 12
    assert [i for group in zip(*parts, strict=True) for i in group] == list(Order(data))[:12]


def test_a_thread_of_a_feed_works_alone() -> None:
    counts = []

    def work() -> None:
        threads.work_alone()
        counts.append(threads.count())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert counts == [1]


def test_leaving_a_loader_early_stops_its_threads() -> None:
    for _ in Loader(dataset(length=400), 4, threads=2):
        break
    assert not [t for t in threading.enumerate() if t.name.startswith("medsataug-feed")]


def test_one_hot_labels() -> None:
    data = dataset(one_hot=[0, 1, 2])
    item, plain = data[4], dataset()[4]
    assert item["label"].dtype == torch.float32
    assert item["label"].shape == (3, 8, 8, 8)
    for k in range(3):
        assert torch.equal(item["label"][k] == 1, plain["label"] == k)


def test_items_of_a_case_that_lacks_data_always_say_where() -> None:
    image = np.random.default_rng(0).random((1, 20, 24), dtype=np.float32)
    image[0, :12, :12] = np.nan
    data = Dataset([msa.Sample(image, axes="CYX", id="x")], [msa.Patch(size=6)], repeat=16)
    assert all("valid" in data[k] for k in range(16))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Dataset("scan.nii"), "a list of cases"),
        (lambda: Dataset(cases(), length=0), "1 or more"),
        (lambda: Dataset(cases(), length=3, repeat=2), "give one of them"),
        (lambda: Dataset(cases(), one_hot=[1], regions=[1]), "give one"),
        (lambda: Dataset(cases(), one_hot=True), r"one_hot=True; a list .* \[0, 1, 2\]"),
        (lambda: Dataset(cases(), deep_supervision=3), r"such as \[1, 0.5, 0.25\]"),
        (lambda: Loader(dataset(), 0), "at least 1"),
        (lambda: Stream(dataset(), 0), "at least 1"),
        (lambda: Order(dataset(), start=99), "start within the epoch"),
        (lambda: Order(dataset(), rank=2, ranks=2), "a rank below"),
    ],
)
def test_slips_are_named(made: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made()


def test_an_error_names_the_case(tmp_path: Path) -> None:
    (tmp_path / "b.nii.gz").write_bytes(b"no image")
    data = Dataset([str(tmp_path / "b.nii.gz")], [])
    for feed in (data, Loader(data, 1), DataLoader(data, 1, num_workers=1)):
        with pytest.raises(FormatError, match=r"case 0 \(item 0, epoch 0\): .*b\.nii\.gz"):
            next(iter(feed))


_KILLED = """
import hashlib, sys
sys.path.insert(0, {root!r})
from tests import test_feed
data = test_feed.dataset(length=40)
data.set_epoch(2)
for batch in test_feed.Loader(data, 4, start=int(sys.argv[1])):
    print(hashlib.sha256(batch["image"].numpy().tobytes()).hexdigest(), flush=True)
"""


def test_killed_and_resumed_gives_the_same_bytes() -> None:
    root = str(Path(__file__).resolve().parents[1])
    script = [sys.executable, "-c", _KILLED.format(root=root)]
    whole = subprocess.run([*script, "0"], capture_output=True, text=True, check=True)
    lines = whole.stdout.split()
    assert len(set(lines)) == 10
    with subprocess.Popen([*script, "0"], stdout=subprocess.PIPE, text=True) as killed:
        seen = [killed.stdout.readline().strip() for _ in range(4)]
        os.kill(killed.pid, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    rest = subprocess.run([*script, "4"], capture_output=True, text=True, check=True)
    assert seen + rest.stdout.split() == lines
