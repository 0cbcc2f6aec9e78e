"""Items by number: cases in, augmented arrays out."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from medsataug import shapes, targets
from medsataug.errors import ConfigError, MedSatAugError
from medsataug.feed.order import shuffled
from medsataug.given import Case, as_sample
from medsataug.partners import Partners
from medsataug.pipeline import Pipeline
from medsataug.roles import is_raster
from medsataug.types import Array, Sample, is_lazy

Item = dict[str, Any]
#: Memory for an item's arrays, by name; those of a list are named ``label 0``, ``label 1``, ….
Places = Mapping[str, Array]
#: So that no case is loaded twice by two threads; module-wide, since data sets travel to workers.
_LOADING = [threading.Lock() for _ in range(64)]


class Items:
    """Augmented cases by number; what feeds for several frameworks share.

    What an item is depends on (seed, epoch, index) alone.

    Parameters
    ----------
    cases : sequence of Sample, path, (image path or paths, label path), or what has ``load()``
        Or functions that return a sample. They are loaded when asked for.
    pipeline : Pipeline, list of transforms, str or None
        A pipeline, or a recipe's name or file; None gives the cases as they are.
    seed : int
    repeat : int
        Items of one case in an epoch, such as patches of one volume.
    length : int, optional
        Items of an epoch, whatever the number of cases: each case comes once, in a drawn order,
        then each comes again, and so on from epoch to epoch. Not with ``repeat``.
    cache : bool
        Keep loaded cases (and what is known of them) in memory.
    partners : list of cases, ``{id: case}`` or Partners, optional
        What a pipeline that mixes draws from; by default the other cases.
    regions : list of label values, or of lists of them, optional
        The label becomes one layer for each, 1 inside; see `medsataug.targets.regions`.
    one_hot : list of label values, optional
        The label becomes one float32 layer for each, 1 where it is; other values are 0 in all.
    deep_supervision : list of scales, optional
        Label and class probabilities become lists of them at these resolutions, such as
        ``[1, 0.5, 0.25]``; see `medsataug.targets.deep_supervision`.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        pipeline: Any = None,
        *,
        seed: int = 0,
        repeat: int = 1,
        length: int | None = None,
        cache: bool = True,
        partners: Any = None,
        regions: Sequence[int | Sequence[int]] | None = None,
        one_hot: Sequence[int] | None = None,
        deep_supervision: Sequence[targets.Scale] | None = None,
    ) -> None:
        if isinstance(cases, (str, Path, Sample)):
            raise ConfigError(f"a list of cases expected, got one {type(cases).__name__}")
        if not len(cases) or repeat < 1 or (length is not None and length < 1):
            raise ConfigError(
                f"{len(cases)} cases, repeat={repeat}, length={length}; 1 or more each"
            )
        if length is not None and repeat != 1:
            raise ConfigError(f"length={length} and repeat={repeat}; give one of them")
        lists = {"regions": regions, "one_hot": one_hot, "deep_supervision": deep_supervision}
        for name, given in lists.items():
            if given is not None and not isinstance(given, (Sequence, np.ndarray)):
                example = "[1, 0.5, 0.25]" if name == "deep_supervision" else "[0, 1, 2]"
                raise ConfigError(f"{name}={given!r}; a list expected, such as {example}")
        if regions is not None and one_hot is not None:
            raise ConfigError("regions and one_hot are two forms of a label; give one")
        self.cases = list(cases)
        self.pipeline = _pipeline(pipeline)
        self.seed, self.repeat, self.length, self.cache = seed, repeat, length, cache
        self.regions, self.deep_supervision = regions, deep_supervision
        if one_hot is not None:
            self.regions = [[value] for value in one_hot]
        self._floats = one_hot is not None
        self._given_partners = Partners.of(partners)
        self._kept: dict[int, Sample] = {}
        self._gaps: dict[int, bool] = {}

    def __len__(self) -> int:
        return self.length or len(self.cases) * self.repeat

    def sample(self, index: int, epoch: int = 0, progress: float = 0.0) -> Sample:
        """Return the augmented sample of an item, with its grid and record."""
        return self._made(index, epoch, progress)[-1]

    def item(
        self, index: int, epoch: int = 0, progress: float = 0.0, places: Places | None = None
    ) -> Item:
        """Return an item: arrays, and lists of arrays, as `medsataug.torch.Dataset` describes them.

        They lie in ``places`` as far as they fit there.
        """
        room = places or {}
        which, case, out = self._made(index, epoch, progress, room.get("image"))
        made = np.asarray(out.image)
        parts: dict[str, tuple[Array | list[Array], Any]] = {"image": (made, np.float32)}
        if out.label is not None:
            kind = np.float32 if self._floats else np.int64
            parts["label"] = (self._target(np.asarray(out.label), out.ndim), kind)
        if out.soft is not None:
            parts["soft"] = (self._at_scales(out.soft, out.ndim), np.float32)
        if out.valid is not None or self._may_lack_data(which, case):
            valid = np.ones(1, bool) if out.valid is None else out.valid
            parts["valid"] = (np.broadcast_to(valid, made.shape), bool)
        return {n: _placed(n, *part, room) for n, part in parts.items()} | _shapes(out)

    def _target(self, label: Array, ndim: int) -> Array | list[Array]:
        """Label as the loss takes it, its type apart."""
        if self.regions is not None:
            first = label.reshape(-1, *label.shape[-ndim:])[0]
            label = targets.regions(first, self.regions)
        return self._at_scales(label, ndim)

    def _at_scales(self, target: Array, ndim: int) -> Array | list[Array]:
        """Target itself, or a list of it at the resolutions asked for."""
        if self.deep_supervision is None:
            return target
        return targets.deep_supervision(target, self.deep_supervision, ndim)

    @cached_property
    def partners(self) -> Partners | None:
        """Who may be mixed in: as given, else all cases, where the pipeline mixes."""
        if self._given_partners is not None or not self.pipeline.mixes:
            return self._given_partners
        names = [getattr(case, "id", "") for case in self.cases]
        return Partners(
            [partial(self._loaded, number) for number in range(len(self.cases))],
            [name or f"case {number}" for number, name in enumerate(names)],
        )

    def _made(
        self, index: int, epoch: int, progress: float, into: Array | None = None
    ) -> tuple[int, Sample, Sample]:
        """Return the number of an item's case, the case, and what the pipeline makes of it."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        number = epoch * len(self) + index
        which = self._case_of(index, number)
        try:
            case = self._loaded(which)
            plan = self.pipeline.plan(case, self.seed, number, progress, self.partners)
            return which, case, plan(case, into=into)
        except MedSatAugError as error:
            name = getattr(self.cases[which], "id", "") or f"case {which}"
            raise type(error)(f"{name} (item {index}, epoch {epoch}): {error}") from None

    def _case_of(self, index: int, number: int) -> int:
        if self.length is None:
            return index // self.repeat
        turn, place = divmod(number, len(self.cases))
        return shuffled(len(self.cases), "cases", self.seed, turn)[place]

    def _may_lack_data(self, number: int, case: Sample) -> bool:
        if number not in self._gaps:
            self._gaps[number] = _has_gaps(case)
        return self._gaps[number]

    def _loaded(self, number: int) -> Sample:
        if number in self._kept:
            return self._kept[number]
        with _LOADING[number % len(_LOADING)]:
            if number in self._kept:
                return self._kept[number]
            name = f"case {number}"
            case = as_sample(self.cases[number], name)
            if case is self.cases[number] and not case.id:
                # Its number is its name: another folder or machine gives the same draws.
                case = case.replace(id=name)
            if self.cache:
                self._kept[number] = case
            return case


def _placed(name: str, value: Array | list[Array], dtype: DTypeLike, room: Places) -> Any:
    """Return a value, or list of values, as C-contiguous arrays of a type, in their places."""
    if isinstance(value, list):
        return [_placed(f"{name} {k}", part, dtype, room) for k, part in enumerate(value)]
    place = room.get(name)
    if place is None or place.shape != value.shape or place.dtype != dtype:
        return np.require(value, dtype, ["C", "W"])
    if place.ctypes.data != value.ctypes.data:
        place[...] = value
    return place


def _shapes(out: Sample) -> Item:
    """Points, boxes and polygons, and how much of them is in the frame."""
    item: Item = {}
    seen = shapes.visible(out)
    for name in ("points", "boxes", "polygons"):
        given = getattr(out, name)
        if given is None:
            continue
        if name == "polygons":
            item[name] = [np.array(part, np.float32) for part in given]
        else:
            item[name] = given.astype(np.float32)
        item[f"{name}_visible"] = getattr(seen, name)
    return item


def _pipeline(given: Any) -> Pipeline:
    """Pipeline of what a user may give."""
    if isinstance(given, Pipeline):
        return given
    if isinstance(given, (str, Path)):
        return Pipeline.load(given)
    return Pipeline(list(given) if isinstance(given, (list, tuple)) else [given] if given else [])


def _has_gaps(case: Sample) -> bool:
    """Whether anything may be without data, so that all items say where it is: they form batches.

    What lies beyond a raster's border is without data, too.
    """
    if case.valid is not None or case.meta.get("nodata") is not None or is_raster(case):
        return True
    return (
        not is_lazy(case.image)
        and case.image.dtype.kind == "f"
        and bool(np.isnan(case.image.min()))
    )
