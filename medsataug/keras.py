"""Feed Keras 3: whole batches by number, the same whatever the workers.

Keras is imported here alone; install it with a backend, ``pip install keras torch``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from medsataug import threads
from medsataug.errors import ConfigError
from medsataug.feed import Items, batches, count_batches, numbers
from medsataug.types import Array

#: Arrays of an item that a target is taken from, the first that is there.
TARGETS = ("soft", "label")


class Feed(keras.utils.PyDataset):
    """Batches of augmented cases for ``model.fit(feed, epochs=…, callbacks=[feed.callback])``.

    The callback says which epoch it is, and how far the training has come. (Keras ends an epoch
    too many while it builds a model, so that counting would not do.)

    Parameters
    ----------
    cases, pipeline, **options
        As of `medsataug.torch.Dataset`: ``seed``, ``repeat``, ``length``, ``cache``, ``partners``,
        ``regions``, ``one_hot``, ``deep_supervision``.
    batch_size : int
    shuffle, drop_last : bool
        Whether items come in an order drawn for each epoch, and whether what fills no batch is
        left out.
    data_format : {"channels_last", "channels_first"}, optional
        Where channels stand, those of targets too; by default as Keras is set.
    workers, use_multiprocessing, max_queue_size
        As of ``keras.utils.PyDataset``. One worker is enough: kernels use all threads.

    Notes
    -----
    A batch is ``(x, y)``: x (B, [Z,] Y, X, C) float32; y the class probabilities of
    `medsataug.MixUp`, else the label, (B, [Z,] Y, X) int64, or with a last axis more of regions or
    one-hot classes; a list of them with deep supervision. Without a label a batch is ``(x,)``.
    """

    def __init__(
        self,
        cases: Sequence[Any],
        pipeline: Any = None,
        *,
        batch_size: int,
        shuffle: bool = True,
        drop_last: bool = True,
        data_format: Literal["channels_last", "channels_first"] | None = None,
        workers: int = 1,
        use_multiprocessing: bool = False,
        max_queue_size: int = 2,
        **options: Any,
    ) -> None:
        super().__init__(
            workers=workers, use_multiprocessing=use_multiprocessing, max_queue_size=max_queue_size
        )
        if batch_size < 1:
            raise ConfigError(f"Feed: batch_size={batch_size}; at least 1 expected")
        self.items = Items(cases, pipeline, **options)
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.epoch, self.progress = 0, 0.0
        self.data_format = data_format or keras.config.image_data_format()

    def set_epoch(self, epoch: int, progress: float = 0.0) -> None:
        """Other draws for every item; ``progress`` of the training, 0 to 1, is for schedules."""
        self.epoch, self.progress = epoch, progress

    @property
    def callback(self) -> keras.callbacks.Callback:
        """What tells the feed of each epoch, and of the training's progress."""
        made = keras.callbacks.LambdaCallback()
        made.on_epoch_begin = lambda epoch, logs=None: self.set_epoch(
            epoch, epoch / made.params["epochs"]
        )
        return made

    def __len__(self) -> int:
        return count_batches(len(self.items), self.batch_size, self.drop_last)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Batch ``index`` of this epoch."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        if self.workers > 1 and threading.current_thread() is not threading.main_thread():
            threads.work_alone()  # the others take the cores
        order = numbers(len(self.items), self.items.seed, self.epoch, shuffle=self.shuffle)
        chosen = batches(order, self.batch_size, self.drop_last)[index]
        first = self.items.item(chosen[0], self.epoch, self.progress)
        names = ["image", *[name for name in TARGETS if name in first][:1]]
        room = {name: _room(first[name], len(chosen)) for name in names}
        for k, number in enumerate(chosen):
            item = first
            if k:
                places = {n: r[k] for n, r in room.items() if not isinstance(r, list)}
                item = self.items.item(number, self.epoch, self.progress, places)
            for name, into in room.items():
                _put(item[name], into, k)
        axes = first["image"].ndim + 1
        return tuple(self._arranged(room[name], axes) for name in names)

    def _arranged(self, value: Any, axes: int) -> Any:
        """Batch with its channels, classes or regions where Keras looks for them."""
        if isinstance(value, list):
            return [self._arranged(part, axes) for part in value]
        last = self.data_format == "channels_last" and value.ndim == axes
        return np.moveaxis(value, 1, -1) if last else value


def _room(value: Any, count: int) -> Any:
    if isinstance(value, list):
        return [_room(part, count) for part in value]
    return np.empty((count, *value.shape), value.dtype)


def _put(value: Any, into: Any, k: int) -> None:
    if isinstance(value, list):
        for part, room in zip(value, into, strict=True):
            _put(part, room, k)
        return
    place: Array = into[k]
    if place.shape != value.shape:
        raise ConfigError(
            f"Feed: items of {list(place.shape)} and {list(value.shape)} in one batch; put a Patch "
            "of one size into the pipeline"
        )
    if place.ctypes.data != value.ctypes.data:
        place[...] = value
