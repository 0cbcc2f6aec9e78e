"""Other samples that may be mixed in: loaded when drawn, and planned for like the first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medsataug.draws import Draws
from medsataug.errors import ConfigError, GeometryError, MedSatAugError
from medsataug.maps import signed_permutation
from medsataug.types import Sample

if TYPE_CHECKING:
    from medsataug.plan import Plan
    from medsataug.transforms.base import Named, State

#: A sample, an image path, (image path(s), label path), or a function that returns a sample.
Case = Sample | str | os.PathLike[str] | tuple[Any, Any] | Callable[[], Sample]
#: How far voxel sizes may lie apart, as a part of the size.
APART = 0.01


class Partners(Mapping[str, Sample]):
    """Samples by their id; each is loaded when it is asked for.

    Parameters
    ----------
    cases : sequence of Sample, path, (image path or paths, label path), or callable
        A callable takes nothing and returns a sample.
    ids : sequence of str, optional
        Their names, which random numbers are keyed by. By default a sample's own, and
        ``case <number>`` for what is not loaded yet.
    keep : int
        How many that were loaded stay in memory: the last ones used.

    Raises
    ------
    ConfigError
        Where nothing is given, or an id twice.
    """

    def __init__(
        self, cases: Sequence[Case], ids: Sequence[str] | None = None, keep: int = 4
    ) -> None:
        if isinstance(cases, (str, os.PathLike, Sample)) or not len(cases):
            raise ConfigError(
                "partners: a list of samples, paths or (image, label) pairs expected, got "
                f"{type(cases).__name__} {'' if isinstance(cases, Sample) else cases!r}".rstrip()
            )
        if ids is None:
            ids = [c.key if isinstance(c, Sample) else f"case {n}" for n, c in enumerate(cases)]
        self.ids, self.keep = tuple(ids), keep
        self._cases = dict(zip(self.ids, cases, strict=True))
        self._kept: dict[str, Sample] = {}
        twice = next((i for i in self.ids if self.ids.count(i) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"partners: two are called {twice!r}; give each sample an id of its own, and none "
                "of them twice"
            )

    @classmethod
    def of(cls, given: Any) -> Partners | None:
        """Read what ``partners=`` allows: a list of cases, or cases by id; None stays None."""
        if given is None or isinstance(given, cls):
            return given
        if isinstance(given, Mapping):
            return cls(list(given.values()), list(given)) if given else None
        return cls(list(given) if isinstance(given, Iterator) else given)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, key: object) -> bool:
        return key in self._cases

    def __getitem__(self, key: str) -> Sample:
        case = self._cases[key]
        if isinstance(case, Sample):
            return case
        found = self._kept.pop(key, None) or _loaded(case, key)
        self._kept[key] = found  # last in the order of use
        for old in list(self._kept)[: -self.keep or None]:
            self._kept.pop(old, None)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}}  # another process loads its own

    def draw(self, draws: Draws, sample: Sample) -> tuple[str, Sample]:
        """Draw one that is not the ``sample`` itself.

        Returns
        -------
        id : str
        partner : Sample
        """
        at = draws.uniform()
        others = [i for i in self.ids if i != sample.key]
        first = min(int(at * len(others)), len(others) - 1)
        for key in others[first:] + others[:first]:
            found = self[key]
            if found.content != sample.content:  # a file given twice may have two names
                return key, found
        raise ConfigError(
            "partners: there is none but the sample itself; give others to mix with as partners="
        )


def _loaded(case: Any, key: str) -> Sample:
    """Sample of a case that is none yet."""
    if callable(case):
        made = case()
        if not isinstance(made, Sample):
            raise ConfigError(f"partners: {key!r} gives {type(made).__name__}, not a Sample")
        return made
    from medsataug.io import load

    image, label = case if isinstance(case, tuple) else (case, None)
    return load(image, label, id=key)


def listed(
    images: Sequence[Path], labels: Sequence[Path], files: int, **options: Any
) -> Partners | None:
    """Partners of the command line: files, or all files of folders in the order of their names.

    Parameters
    ----------
    images, labels
        Labels belong to the images in the order given; a folder stands for its files.
    files : int
        How many image files make one case.
    **options
        As of `medsataug.load`.
    """
    found, masks = _files(images), _files(labels)
    if not found:
        if labels or images:
            raise ConfigError("--partners: no file there; give images, or folders of images")
        return None
    if len(found) % files or (masks and len(masks) * files != len(found)):
        raise ConfigError(
            f"--partners: {len(found)} image file(s), {len(masks)} in --partner-labels; a case has "
            f"{files} image file(s) and one label, in the same order"
        )
    from medsataug.io import load

    return Partners(
        [
            partial(
                load,
                found[n * files : (n + 1) * files],
                masks[n] if masks else None,
                id=f"case {n}",
                **options,
            )
            for n in range(len(found) // files)
        ]
    )


def _files(paths: Sequence[Path]) -> list[Path]:
    """Files as given, and those of folders; a folder of DICOM files is one case by itself."""
    out: list[Path] = []
    for path in paths:
        if not path.is_dir():
            out.append(path)
            continue
        inside = sorted(p for p in path.iterdir() if p.is_dir() or p.suffix.lower() in _SINGLE)
        out += inside or [path]
    return out


#: Endings of files that are images by themselves; those of DICOM are slices, or have no ending.
_SINGLE = {".gz", ".nii", ".mha", ".mhd", ".nrrd", ".tif", ".tiff", ".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class Company:
    """Who may be mixed into a sample, and how what stands before the mix is planned for them.

    ``plan`` takes a sample, the stream of each transform by name, and the transforms.
    """

    sample: Sample
    partners: Partners | None
    plan: Callable[[Sample, Callable[[str], Draws], tuple[Named, ...]], tuple[Plan, State]]

    def invite(
        self, draws: Draws, state: State, name: str, number: int = 0, then: tuple[Named, ...] = ()
    ) -> tuple[str, Sample, Plan]:
        """Draw a partner, and plan for it what stands before; ``then`` comes after that.

        ``number`` tells several partners of one mix apart.
        """
        if self.partners is None:
            raise ConfigError(
                f"{name}: other samples are needed to mix with; give them as partners=[…], on the "
                "command line as --partners (medsataug.torch.Dataset takes its own cases)"
            )
        key, found = self.partners.draw(draws, self.sample)
        streams = (*draws.parts, key, number)
        try:
            plan, after = self.plan(found, lambda own: Draws(*streams, own), (*state.before, *then))
        except MedSatAugError as error:
            raise type(error)(f"{name}: partner {key!r}: {error}") from None
        _check(state, after, f"{name}: partner {key!r}")
        draws.note("partner", key)
        return key, found, plan


def _check(ours: State, theirs: State, place: str) -> None:
    """Refuse a partner whose voxels are not comparable one by one."""
    if ours.grid.shape != theirs.grid.shape:
        raise GeometryError(
            f"{place} is {list(theirs.grid.shape)} there, the sample {list(ours.grid.shape)}; put "
            "a Patch or Resize of one size before the mix"
        )
    a, b = ours.channels, theirs.channels
    names, others = [c.name for c in a], [c.name for c in b]
    waves = [(c.wavelength_um, d.wavelength_um) for c, d in zip(a, b, strict=False)]
    if len(a) != len(b) or (names != others and set(names) == set(others)):
        raise ConfigError(
            f"{place} has the channels {', '.join(others)}, the sample {', '.join(names)}; load "
            "both with the same channels in the same order"
        )
    if any(u and v and abs(u - v) > APART * u for u, v in waves):
        raise ConfigError(f"{place} has bands of other wavelengths; load the same bands of both")
    regridded = any(s.regrids and signed_permutation(s.matrix) is None for s in ours.path)
    sizes = [None if s.source is None else s.source.spacing_m for s in (ours, theirs)]
    if not regridded and sizes[0] is not None and sizes[1] is not None:
        if not np.allclose(sizes[0], sizes[1], rtol=APART):
            shown = [" x ".join(f"{m * 1e3:.4g}" for m in s) for s in sizes if s is not None]
            raise GeometryError(
                f"{place} has voxels of {shown[1]} mm, the sample of {shown[0]} mm; put a Resample "
                "(or Resize) before the mix"
            )
    if ours.has_label and not theirs.has_label:
        raise ConfigError(f"{place} has no label, and the sample has one; give it a label too")
