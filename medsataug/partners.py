"""Other samples that may be mixed in: a list of cases, each loaded when it is drawn."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medsataug.draws import Draws
from medsataug.errors import ConfigError
from medsataug.given import Case, as_sample, is_case
from medsataug.types import Sample, is_lazy


class Partners(Mapping[str, Sample]):
    """Samples by their id; each is loaded when it is asked for.

    Parameters
    ----------
    cases : sequence of Sample, path, (image path or paths, label path), or what has ``load()``
        Or a function that takes nothing and returns a sample.
    ids : sequence of str, optional
        Their names, which random numbers are keyed by. By default a case's own ``id``, and
        ``partner <number>`` for what has none before it is loaded.
    keep : int
        How many that were loaded stay in memory: the last ones used.

    Raises
    ------
    ConfigError
        Where nothing is given, what is no case, or an id twice.
    """

    def __init__(
        self, cases: Sequence[Case], ids: Sequence[str] | None = None, keep: int = 4
    ) -> None:
        listed = isinstance(cases, Collection) and not isinstance(cases, (str, Sample))
        odd = [c for c in cases if not is_case(c)] if listed else [cases]
        if odd or not len(cases):
            got = f"{_named(odd[0])}{' in it' if listed else ''}" if odd else "an empty one"
            raise ConfigError(
                "partners: a list of samples, paths, (image, label) pairs, what has load(), or "
                f"functions expected, got {got}"
            )
        if ids is None:
            ids = [_own_name(c) or f"partner {n}" for n, c in enumerate(cases)]
        if len(ids) != len(cases):
            raise ConfigError(f"partners: {len(ids)} ids for {len(cases)} cases; give each its own")
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
        found = self._kept.pop(key, None) or as_sample(case, key)
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
        others = [i for i in self.ids if not self._is_key_of(i, sample)]
        first = min(int(at * len(others)), len(others) - 1)
        for key in others[first:] + others[:first]:
            found = self[key]
            if not _same_image(found, sample):  # a file given twice may have two names
                return key, found
        raise ConfigError(
            "partners: there is none but the sample itself; give others to mix with as partners="
        )

    def _is_key_of(self, key: str, sample: Sample) -> bool:
        """Whether a name is the sample's: one given, or that of the same image."""
        return key == sample.key and (bool(sample.id) or _same_image(self[key], sample))


def _same_image(a: Sample, b: Sample) -> bool:
    """Whether two samples show the same; lazy images may be the same without a digest to tell."""
    x, y = a.image, b.image
    if is_lazy(x) or is_lazy(y):
        return x is y or (bool(getattr(x, "digest", "")) and a.content == b.content)
    # Few rows tell most images apart, but not those that are empty there.
    return a.content == b.content and np.array_equal(x, y, equal_nan=True)


def _own_name(case: Case) -> str:
    """Name that a case has without being loaded, or none."""
    name = case.key if isinstance(case, Sample) else getattr(case, "id", None)
    return name if isinstance(name, str) else ""


def _named(given: Any) -> str:
    plain = isinstance(given, (str, int, float, tuple, list))
    return f"{type(given).__name__} {repr(given) if plain else ''}".rstrip()


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
                id=f"partner {n}",
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
