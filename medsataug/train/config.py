"""The settings of a training: what the user chose, the rest derived from the data and stated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medsataug.errors import ConfigError, FormatError
from medsataug.train.data import Survey
from medsataug.train.unet import SMALLEST, pooling
from medsataug.transforms.base import config_error

#: Voxels of a patch that is chosen by itself, in 2D and 3D.
VOXELS = {2: 256**2, 3: 64**3}
#: Learning rates of the optimizers.
RATES = {"adamw": 2e-3, "sgd": 1e-2}
#: Settings that change no result, so that a run may be resumed with others.
FREE = ("workers", "device")


class Settings(BaseModel):
    """Everything a training depends on, apart from the cases; saved as YAML beside the run.

    Parameters
    ----------
    recipe : str
        A packaged recipe, or a YAML file.
    seed, epochs, steps, batch : int
        Steps of an epoch; items of a batch.
    patch : (N,) int, optional
        Voxels along (z, y, x); by default the median case, or the part of it that `VOXELS` allow.
    features : tuple of int
        Channels of each stage of the U-Net, the finest first.
    deep_supervision : bool
    optimizer : {"adamw", "sgd"}
        AdamW, which is there in fewer steps, or SGD with Nesterov momentum 0.99, as nnU-Net has
        it; the rate falls to 0 as (1 − epoch / epochs)^0.9.
    rate, weight_decay : float
    foreground : float
        Part of the patches that lie around a class, where the recipe says nothing of it.
    labels : tuple of int, optional
        Label values of the classes, rising: the first becomes class 0, and so on. By default all
        values found, such as 0 and 255.
    regions : tuple of label values or of tuples of them, optional
        Instead of classes: regions that may overlap.
    ignore : int, optional
        Label value of which nothing is learnt; by default of rasters their nodata, or 255.
    validate_every : int
        Epochs from one validation to the next; the last epoch has one in any case.
    overlap : float
        Of the windows of a prediction.
    views : {"none", "flips", "turns", "d4"}
        That a prediction is the mean of.
    mixed : bool
        Half precision where it is exact enough, on a GPU.
    workers : int
        Processes that augment; 0 augments between steps, with all cores.
    device : str
        ``"auto"``: a GPU where there is one.
    channels, spacing : optional
        Of the data: names, and median lengths along (z, y, x); filled in by `completed`.

    Source: SGD, its rate and how it falls as in Isensee et al., "nnU-Net", Nature Methods 18
    (2021), methods.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    recipe: str = "mri"
    seed: int = 0
    epochs: int = Field(50, ge=1)
    steps: int = Field(100, ge=1)
    batch: int = Field(2, ge=1)
    patch: tuple[int, ...] | None = None
    features: tuple[int, ...] = Field((16, 32, 64, 128), min_length=2)
    deep_supervision: bool = True
    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: float | None = Field(None, gt=0)
    weight_decay: float = Field(3e-5, ge=0)
    foreground: float = Field(0.33, ge=0, le=1)
    labels: tuple[int, ...] | None = None
    regions: tuple[int | tuple[int, ...], ...] | None = None
    ignore: int | None = None
    validate_every: int = Field(5, ge=1)
    overlap: float = Field(0.5, ge=0, lt=1)
    views: Literal["none", "flips", "turns", "d4"] = "none"
    mixed: bool = True
    workers: int = Field(2, ge=0)
    device: str = "auto"
    channels: tuple[str, ...] | None = None
    spacing: tuple[float, ...] | None = None

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise config_error(type(self), error) from None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        try:
            given = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise FormatError.of(f"{path}: cannot be read ({error.strerror})", error) from None
        except yaml.YAMLError:
            given = None
        if not isinstance(given, dict):
            raise ConfigError(f"{path}: not the settings of a training")
        return cls(**given)

    def text(self) -> str:
        """Return the settings as YAML."""
        fields = self.model_dump(mode="json")
        return str(yaml.safe_dump(fields, sort_keys=False, default_flow_style=None))

    def changed(self, **fields: Any) -> Self:
        """Return the settings with some changed, all checked again."""
        return type(self)(**self.model_dump() | fields)

    def differing(self, other: Settings) -> list[str]:
        """Names of the settings in which the results of two trainings would differ."""
        names = (n for n in type(self).model_fields if n not in FREE)
        return [n for n in names if getattr(self, n) != getattr(other, n)]

    def completed(self, found: Survey) -> tuple[Self, list[str]]:
        """Fill in what the user left open, and say how.

        Raises
        ------
        ConfigError
            For a patch of another number of axes, and classes that the cases do not suit.
        """
        said: list[str] = []
        spacing = self.spacing or found.spacing
        fields: dict[str, Any] = {"channels": found.channels, "spacing": spacing}
        ndim = len(found.shape)
        if self.patch is None:
            fields["patch"] = patch_of(found.shape, spacing, len(self.features))
            shape, size = _by(found.shape), _by(fields["patch"])
            said.append(f"patch {size}: the median case is {shape}; at most {VOXELS[ndim]} voxels")
        elif len(self.patch) != ndim or min(self.patch) < SMALLEST:
            raise ConfigError(
                f"Settings.patch: {list(self.patch)}; {ndim} numbers of {SMALLEST} or more "
                f"({', '.join('zyx'[-ndim:])}) expected"
            )
        if self.rate is None:
            fields["rate"] = RATES[self.optimizer]
        fields["ignore"] = found.ignore
        if self.regions is None:
            values = self.labels or found.values
            if len(values) < 2 or list(values) != sorted(set(values)):
                raise ConfigError(f"Settings.labels: {list(values)}; two or more, rising, expected")
            fields["labels"] = values
            given = "as given" if self.labels else "as found in the labels"
            named = ", ".join(f"{v} → {k}" for k, v in enumerate(values))
            said.append(f"classes {given} (label value → class): {named}")
        elif self.labels is not None:
            raise ConfigError("Settings: labels and regions; give one of both")
        found.check_classes(self.regions or fields["labels"], self.regions is not None)
        if found.ignore is not None:
            said.append(f"label value {found.ignore} is no class: nothing is learnt of it")
        made = self.changed(**fields)
        strides, _ = made.pooling()
        halved = [sum(s[k] == 2 for s in strides) for k in range(ndim)]
        each = ", ".join(f"{a} {n}x" for a, n in zip("zyx"[-ndim:], halved, strict=True))
        said.append(f"U-Net of {len(self.features)} stages, halved along {each}")
        return made, said

    def pooling(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Strides and kernels of the network."""
        assert self.patch is not None
        assert self.spacing is not None
        return pooling(self.patch, self.spacing, len(self.features))

    @property
    def targets(self) -> tuple[Any, ...]:
        """What each score is of: label values, or regions."""
        return self.regions or self.labels or ()

    @property
    def background(self) -> bool:
        """Whether the first score is of background."""
        return self.regions is None and self.targets[0] == 0

    @property
    def scored(self) -> tuple[Any, ...]:
        """What validation gives a Dice of: the targets without background."""
        return self.targets[1:] if self.background else self.targets


def patch_of(shape: Sequence[int], spacing: Sequence[float], stages: int) -> tuple[int, ...]:
    """Patch for cases of a shape: all of it if it is small, else about a cube of true lengths.

    Each side is as often divisible by two as a network of so many stages may halve it; for that a
    side may become longer than the case, which is filled up.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), supplementary note 2.
    """
    ndim, budget = len(shape), VOXELS[len(shape)]
    size = [float(n) for n in shape]
    while math.prod(size) > budget:
        longest = max(range(ndim), key=lambda k: size[k] * spacing[k])
        size[longest] *= 0.95
    made = []
    for n in size:
        halvings = min(stages - 1, max(0, int(math.log2(max(n, 1) / SMALLEST))))
        step = 2**halvings
        made.append(max(SMALLEST, math.ceil(round(n, 6) / step) * step))
    return tuple(made)


def _by(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))
