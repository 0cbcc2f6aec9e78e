"""A trained network with all that a prediction needs: it segments cases on their own grid."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from medsataug.errors import ConfigError, FormatError
from medsataug.inference import predict
from medsataug.pipeline import Pipeline
from medsataug.train import checkpoint
from medsataug.train.config import Settings
from medsataug.train.prepare import for_prediction
from medsataug.train.sliding import SlidingWindow
from medsataug.train.unet import UNet
from medsataug.types import Sample, is_lazy, read_all


@dataclass
class Model:
    """A network, and how cases are prepared for it.

    Parameters
    ----------
    network : torch.nn.Module
    settings : Settings
    pipeline : Pipeline
        Of the training; what of it leaves nothing to chance prepares cases.
    device : torch.device
    """

    network: Any
    settings: Settings
    pipeline: Pipeline
    device: torch.device
    _still: Pipeline | None = None

    def predict(self, sample: Sample, views: Any = None, batch: int = 1) -> Sample:
        """Segment a case, as `medsataug.inference.predict` says; the classes are label values.

        Parameters
        ----------
        sample : Sample
        views : optional
            By default those of the settings.
        batch : int
            Windows at once.
        """
        settings, regions = self.settings, self.settings.regions is not None
        patch = settings.patch or ()
        if self._still is None:
            self._still = for_prediction(self.pipeline, sample, patch)
        return predict(
            SlidingWindow(
                self.network, patch, settings.overlap, batch, self.device, settings.mixed
            ),
            sample,
            self._still,
            views=settings.views if views is None else views,
            activation="sigmoid" if regions else "softmax",
            overlap=regions,
            classes=None if regions else settings.labels,
            ignore_index=settings.ignore,
        )

    def dice(self, sample: Sample) -> list[float]:
        """Dice of each target but background; NaN where it is neither there nor predicted."""
        found = np.asarray(self.predict(sample).label)
        truth, known = truth_of(sample)
        known = known & (truth != self.settings.ignore)
        if self.settings.regions is not None:
            pairs = [
                (found[k] == 1, np.isin(truth, region))
                for k, region in enumerate(self.settings.regions)
            ]
        else:
            pairs = [(found == value, truth == value) for value in self.settings.scored]
        return [overlap(a & known, b & known) for a, b in pairs]


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice coefficient 2 |A ∩ B| / (|A| + |B|); NaN of two empty masks.

    Source: Dice, "Measures of the Amount of Ecologic Association Between Species", Ecology 26
    (1945).
    """
    both = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / both if both else float("nan")


def network_of(settings: Settings) -> UNet:
    """Return the untrained network of completed settings."""
    strides, kernels = settings.pooling()
    return UNet(
        len(settings.patch or ()),
        len(settings.channels or ()),
        len(settings.targets),
        settings.features,
        settings.deep_supervision,
        strides,
        kernels,
    )


def device_of(name: str) -> torch.device:
    """Device of a name; ``"auto"`` is a GPU where there is one."""
    has_gpu = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if has_gpu else "cpu"
    try:
        found = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device: {name!r}; auto, cpu, cuda or cuda:1 expected") from None
    if found.type not in ("cpu", "cuda"):
        raise ConfigError(f"device: {name!r}; auto, cpu, cuda or cuda:1 expected")
    if found.type == "cuda" and not has_gpu:
        raise ConfigError(f"device: {name!r}, but PyTorch finds no GPU here; use cpu or auto")
    return found


def load(folder: str | os.PathLike[str], device: str = "auto") -> Model:
    """Read the network of a run, to predict with.

    Raises
    ------
    FormatError
        Where the folder holds no finished epoch.
    """
    state = checkpoint.load(Path(folder))
    if state is None:
        raise FormatError(f"{folder}: no {checkpoint.NAME} there; no epoch was finished")
    settings = Settings(**state["settings"])
    network = network_of(settings)
    network.load_state_dict(state["model"])
    return Model(network, settings, Pipeline(**yaml.safe_load(state["recipe"])), device_of(device))


def truth_of(sample: Sample) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """([Z,] Y, X) label in memory, and where any channel has data."""
    label, valid, shape = sample.label, sample.valid, sample.grid.shape
    label = read_all(label) if is_lazy(label) else label
    if is_lazy(sample.image):
        valid = sample.image.read_valid(tuple(slice(0, n) for n in shape))
    known = np.ones(shape, bool) if valid is None else valid.any(axis=0)
    return np.asarray(label).reshape(shape), np.asarray(known)
