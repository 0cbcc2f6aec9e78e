"""Keras trains on the same items, and says so through its own ``fit``."""

from __future__ import annotations

import numpy as np
import pytest

import medsataug as msa
from medsataug.errors import ConfigError

pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
keras = pytest.importorskip("keras", reason="Keras is not installed (medsataug[keras])")

from medsataug.keras import Feed  # noqa: E402
from medsataug.torch import Dataset, Order  # noqa: E402
from tests.test_feed import STEPS, cases  # noqa: E402


def feed(**options: object) -> Feed:
    return Feed(cases(), STEPS, **{"batch_size": 4, "seed": 3, "length": 13, **options})


@pytest.mark.parametrize("drop_last", [True, False])
def test_batches_are_those_of_pytorch(drop_last: bool) -> None:
    made, data = feed(drop_last=drop_last), Dataset(cases(), STEPS, seed=3, length=13)
    for epoch in range(2):
        data.set_epoch(epoch)
        made.set_epoch(epoch)
        order = list(Order(data))
        assert len(made) == (3 if drop_last else 4)
        for k in range(len(made)):
            x, y = made[k]
            items = [data[i] for i in order[4 * k : 4 * k + 4]]
            expected = np.stack([np.moveaxis(i["image"].numpy(), 0, -1) for i in items])
            np.testing.assert_array_equal(x, expected)
            np.testing.assert_array_equal(y, np.stack([i["label"].numpy() for i in items]))
    with pytest.raises(IndexError):
        made[len(made)]


def test_channels_first_one_hot_and_deep_supervision() -> None:
    x, y = feed(data_format="channels_first", one_hot=[0, 1])[0]
    assert (x.shape, y.shape) == ((4, 3, 8, 8, 8), (4, 2, 8, 8, 8))
    _, y = feed(one_hot=[0, 1], deep_supervision=[1, 0.5])[0]
    assert [part.shape for part in y] == [(4, 8, 8, 8, 2), (4, 4, 4, 4, 2)]


def test_schedules_follow_the_epochs() -> None:
    step = msa.Schedule(
        transforms=[msa.Brightness(offset=5)], vary={"p": {"step": {"at": [0.5], "values": [0, 1]}}}
    )
    plain = Feed(cases(), [], batch_size=3, shuffle=False)[0][0]
    made = Feed(cases(), [step], batch_size=3, shuffle=False)
    np.testing.assert_array_equal(made[0][0], plain)
    made.set_epoch(1, 0.5)
    assert (made[0][0] != plain).any()


@pytest.mark.parametrize(("workers", "processes"), [(1, False), (3, False), (2, True)])
def test_fit_learns_from_it(workers: int, processes: bool) -> None:
    seen: dict[tuple[int, float], set[bytes]] = {}

    class Seen(Feed):
        def __getitem__(self, index: int) -> tuple:
            batch = super().__getitem__(index)
            seen.setdefault((self.epoch, self.progress), set()).add(batch[0].tobytes())
            return batch

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 8, 3)),
            keras.layers.Rescaling(0.01),
            keras.layers.Conv3D(5, 1, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy")
    made = Seen(
        cases(), STEPS, batch_size=4, seed=3, length=13, workers=workers,
        use_multiprocessing=processes,
    )  # fmt: skip
    history = model.fit(made, epochs=6, verbose=0, callbacks=[made.callback])
    assert history.history["loss"][-1] < history.history["loss"][0]
    if processes:  # what they made was not seen here
        return
    model.fit(made, initial_epoch=6, epochs=8, verbose=0, callbacks=[made.callback])
    assert seen.keys() == {(e, e / 6) for e in range(6)} | {(e, e / 8) for e in (6, 7)}
    for epoch, progress in seen:
        again = feed()
        again.set_epoch(epoch, progress)
        assert {again[k][0].tobytes() for k in range(3)} == seen[epoch, progress]


def test_slips_are_named() -> None:
    with pytest.raises(ConfigError, match="batch_size=0"):
        feed(batch_size=0)
    with pytest.raises(ConfigError, match="put a Patch"):
        Feed([cases()[0], msa.Crop(size=5)(cases()[1])], [], batch_size=2)[0]
