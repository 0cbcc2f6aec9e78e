"""The PyTorch dataset gives the same bytes, whatever the workers and the order."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

import medsataug as msa
from medsataug.errors import ConfigError
from tests.commands import scene, volume

torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
from torch.utils.data import DataLoader  # noqa: E402

from medsataug.torch import Dataset  # noqa: E402

PIPELINE = msa.Pipeline(
    [
        msa.Patch(size=8),
        msa.Flip(axes="x"),
        msa.GaussianNoise(std=5),
        msa.Gamma(exponent=(0.7, 1.5)),
    ]
)

# PyTorch's own workers fork while threads of its own may run, and it closes pipes late.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def cases(tmp_path: Path) -> list[tuple[str, str]]:
    made = []
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        image, label, _ = volume(folder)
        made.append((str(image), str(label)))
    return made


def dataset(cases: list[tuple[str, str]], **options: object) -> Dataset:
    return Dataset(cases, PIPELINE, **{"seed": 3, "repeat": 2, **options})


def read(loader: DataLoader) -> list[dict[str, torch.Tensor]]:
    return [{k: v.clone() for k, v in item.items()} for item in loader]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].numpy().tobytes() == b[k].numpy().tobytes() for k in a
    )


def test_an_item(cases: list[tuple[str, str]]) -> None:
    data = dataset(cases)
    assert len(data) == 4
    item = data[1]
    assert set(item) == {"image", "label"}
    assert (item["image"].dtype, item["image"].shape) == (torch.float32, (1, 8, 8, 8))
    assert (item["label"].dtype, item["label"].shape) == (torch.int64, (8, 8, 8))
    assert data.sample(1).record["index"] == 1
    with pytest.raises(IndexError, match="item 4 of 4"):
        data[4]
    assert len(list(data)) == 4  # iterating ends by that error


@pytest.mark.parametrize(
    ("workers", "context"),
    [(0, None), (1, "fork"), (2, "fork"), (2, "spawn"), (2, "forkserver")],
)
def test_workers_change_no_byte(
    cases: list[tuple[str, str]], workers: int, context: str | None
) -> None:
    expected = [dataset(cases)[i] for i in range(4)]
    loader = DataLoader(
        dataset(cases), batch_size=None, num_workers=workers, multiprocessing_context=context
    )
    got = read(loader)
    del loader
    gc.collect()
    assert all(same(a, b) for a, b in zip(expected, got, strict=True))


def test_order_changes_no_byte(cases: list[tuple[str, str]]) -> None:
    data = dataset(cases)
    expected = {i: data[i] for i in range(4)}
    order = [2, 0, 3, 1]
    got = read(DataLoader(dataset(cases), batch_size=None, sampler=order))
    assert all(same(expected[i], item) for i, item in zip(order, got, strict=True))


def test_items_epochs_and_seeds_differ(cases: list[tuple[str, str]]) -> None:
    data = dataset(cases)
    images = [data[i]["image"] for i in range(4)]
    data.set_epoch(1)
    images += [data[i]["image"] for i in range(4)]
    images.append(dataset(cases, seed=4)[0]["image"])
    assert len({i.numpy().tobytes() for i in images}) == 9
    data.set_epoch(0)
    assert data[0]["image"].numpy().tobytes() == images[0].numpy().tobytes()


def test_schedules_follow_the_progress(cases: list[tuple[str, str]]) -> None:
    rising = {"p": {"step": {"at": [0.5], "values": [0, 1]}}}
    step = msa.Schedule(transforms=[msa.Brightness(offset=5)], vary=rising)
    data, plain = Dataset(cases, msa.Pipeline([step])), Dataset(cases)
    loader = DataLoader(data, batch_size=None, num_workers=1, persistent_workers=True)
    for progress, more in ((0.4, 0), (0.6, 5)):
        data.set_epoch(0, progress)
        for item, before in zip(loader, plain, strict=False):
            moved = (item["image"] - before["image"])[before["image"] > 0]
            assert moved.abs().max() == more


@pytest.mark.parametrize(("context", "persistent"), [("fork", False), ("fork", True)])
def test_workers_see_the_epoch(
    cases: list[tuple[str, str]], context: str, persistent: bool
) -> None:
    data, alone = dataset(cases), dataset(cases)
    loader = DataLoader(
        data,
        batch_size=None,
        num_workers=1,
        multiprocessing_context=context,
        persistent_workers=persistent,
    )
    for epoch in (2, 5):
        data.set_epoch(epoch)
        alone.set_epoch(epoch)
        assert alone.epoch == epoch
        assert all(same(a, alone[i]) for i, a in enumerate(read(loader)))


def test_the_folder_changes_no_byte(cases: list[tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    image, label, _ = volume(tmp_path / "elsewhere")
    moved = [(str(image), str(label)), (Path(cases[1][0]), Path(cases[1][1]))]
    assert all(same(dataset(cases)[i], dataset(moved)[i]) for i in range(4))


def test_cases_have_draws_of_their_own(cases: list[tuple[str, str]]) -> None:
    # The same content twice, from files and as samples: different items all the same.
    twice = [msa.load(*cases[0]), msa.load(*cases[0])]
    for given in (twice, [cases[0], cases[0]]):
        data = Dataset(given, PIPELINE)
        assert not same(data[0], data[1])
    named = Dataset([twice[0].replace(id="mine")], PIPELINE)
    assert named.sample(0).record["sample"] == "mine"


def test_batches_of_labels_and_valid_masks(tmp_path: Path) -> None:
    image = scene(tmp_path)
    sample = msa.load(image, lazy=False)
    label = np.ones(sample.grid.shape, np.uint8)
    data = Dataset([sample.replace(label=label), sample.replace(label=label)], "multispectral")
    patches = Dataset(data.items.cases, data.items.pipeline.with_patch([16]), repeat=3)
    (batch,) = DataLoader(patches, batch_size=6)
    assert batch["image"].shape == (6, 4, 16, 16)
    assert batch["label"].shape == (6, 16, 16)
    assert batch["valid"].shape == (6, 4, 16, 16)
    assert batch["valid"].dtype == torch.bool
    # Where there is no data there is none of its values.
    assert torch.isfinite(batch["image"]).all()


def test_no_pipeline_gives_the_case_itself(cases: list[tuple[str, str]]) -> None:
    item = Dataset(cases)[0]
    np.testing.assert_array_equal(item["image"].numpy(), msa.load(*cases[0]).image)


def test_changing_an_item_changes_no_case(cases: list[tuple[str, str]]) -> None:
    sample = msa.load(*cases[0])
    floats = sample.replace(image=sample.image.astype(np.float32), label=sample.label.astype(int))
    for pipeline in (None, msa.Pipeline()):
        data = Dataset([floats], pipeline)
        for tensor in data[0].values():
            tensor += 1
        np.testing.assert_array_equal(data[0]["image"].numpy(), sample.image)
        np.testing.assert_array_equal(data[0]["label"].numpy(), sample.label)


def test_loaded_cases_are_kept_or_not(cases: list[tuple[str, str]]) -> None:
    kept, fresh = dataset(cases), dataset(cases, cache=False)
    assert same(kept[0], fresh[0])
    assert list(kept.items._kept) == [0]
    assert not fresh.items._kept


@pytest.mark.parametrize("options", [{"cases": []}, {"repeat": 0}])
def test_nothing_to_give_is_refused(cases: list[tuple[str, str]], options: dict) -> None:
    with pytest.raises(ConfigError, match="1 or more each"):
        Dataset(**{"cases": cases, **options})
