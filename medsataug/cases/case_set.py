"""A data set: its cases, and what its channels and label values mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, overload

from medsataug.cases.case import Case
from medsataug.errors import ConfigError, MedSatAugError
from medsataug.roles import ignored

#: A class's value, or the values that make up a region.
Values = int | tuple[int, ...]
#: Cases that a message names.
SHOWN = 5


class CaseSet(Sequence[Case]):
    """Cases in a fixed order.

    Parameters
    ----------
    cases : sequence of Case
        With ids that differ.
    name : str
    channels : sequence of str
        Names of the channels, the same for all cases.
    labels : mapping of name to value, or to the values of a region, optional
        What the label's values mean. Where no file says it, `labels` reads every label once.
    regions : sequence of label values or tuples of them, optional
        Targets of region-based training, in the data set's order; None for plain classes.
    region_order : sequence of int, optional
        Label value that each region stands for when regions become one label again; later ones
        go over earlier ones.
    ignore : int, optional
        Label value of voxels that nothing is known of.
    buffer : int
        Pixels that `split` keeps between the tiles of training and those of testing.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        *,
        name: str = "",
        channels: Sequence[str] = (),
        labels: Mapping[str, Values] | None = None,
        regions: Sequence[Values] | None = None,
        region_order: Sequence[int] | None = None,
        ignore: int | None = None,
        buffer: int = 0,
    ) -> None:
        self.cases, self.name, self.channels = tuple(cases), name, tuple(channels)
        self.regions = None if regions is None else tuple(regions)
        self.region_order = None if region_order is None else tuple(region_order)
        self.ignore, self.buffer = ignore, buffer
        self._labels = None if labels is None else dict(labels)
        _check_ids(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice) -> CaseSet: ...
    def __getitem__(self, index: int | slice) -> Case | CaseSet:
        if isinstance(index, slice):
            return self.of(self.cases[index])
        return self.cases[index]

    def __repr__(self) -> str:
        channels = ", ".join(self.channels) or "unnamed"
        return f"CaseSet({self.name!r}, {len(self)} cases, channels: {channels})"

    @property
    def named(self) -> dict[str, Values] | None:
        """Names of classes and regions that a file gives, and their values; reads nothing."""
        return self._labels

    @cached_property
    def labels(self) -> dict[str, Values]:
        """Names of classes and regions, and their values; without names every label is read."""
        if self._labels is not None:
            return self._labels
        found: set[int] = set()
        for case in self.cases:
            if case.label is not None:
                sample = case.load()
                found |= set(sample.facts.classes) - set(ignored(sample))
        return {("background" if v == 0 else f"class {v}"): v for v in sorted(found)}

    def of(self, cases: Iterable[Case]) -> CaseSet:
        """Return these cases with what is known of the data set."""
        return CaseSet(
            tuple(cases),
            name=self.name,
            channels=self.channels,
            labels=self._labels,
            regions=self.regions,
            region_order=self.region_order,
            ignore=self.ignore,
            buffer=self.buffer,
        )

    def pick(self, indices: Iterable[int]) -> CaseSet:
        """Return the cases of these numbers, such as one side of a `split`."""
        return self.of(self.cases[i] for i in indices)

    def check(self) -> None:
        """Load every case, one after another.

        Raises
        ------
        ConfigError
            Naming up to five cases that cannot be loaded, and why.
        """
        wrong = []
        for case in self.cases:
            try:
                case.load()
            except MedSatAugError as error:
                wrong.append(str(error))
        refuse(self.name, wrong, "correct or remove these cases")


def refuse(what: Any, problems: Sequence[str], to_do: str) -> None:
    """Raise one error for all problems of a data set; none raises nothing."""
    if not problems:
        return
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    raise ConfigError(f"{what}: {'; '.join(problems[:SHOWN])}{more}; {to_do}")


def _check_ids(cases: Sequence[Case]) -> None:
    seen: dict[str, Case] = {}
    for case in cases:
        other = seen.setdefault(case.id, case)
        if other is not case:
            raise ConfigError(
                f"cases: two are called {case.id!r} ({other.images[0]} and {case.images[0]}); "
                "each needs an id of its own"
            )


def with_scheme(cases: Iterable[Case], channels: Sequence[str], values: Any = None) -> list[Case]:
    """Cases that know the data set's channel names, and the label values it names."""
    allowed = None if values is None else tuple(values)
    return [replace(case, channels=tuple(channels), values=allowed) for case in cases]
