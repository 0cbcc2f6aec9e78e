"""The cache: each case stored once, prepared, and read by patches from then on."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from medsataug import __version__, recipes
from medsataug.cases import chunked, stored
from medsataug.cases.case import Case
from medsataug.cases.case_set import CaseSet
from medsataug.errors import FormatError, MedSatAugError, told
from medsataug.inference.views import refuse_chance
from medsataug.pipeline import Pipeline
from medsataug.types import Sample

#: Changes whenever stored cases are read or written in another way.
FORMAT = 1
#: Folders that a writer left unfinished are removed after a day.
_ABANDONED_S = 86_400
_BUILDING = ".building-"
#: Files beside an image that belong to it, by its suffix.
_PARTNERS = {
    ".hdr": (".img", ".img.gz"),
    ".img": (".hdr",),
    ".mhd": (".raw", ".zraw"),
    ".nhdr": (".raw", ".raw.gz"),
    ".tif": (".tif.aux.xml", ".tif.msk", ".tfw"),
    ".tiff": (".tiff.aux.xml", ".tiff.msk", ".tfw"),
}


@dataclass(frozen=True)
class Cache:
    """A folder of stored cases.

    A case is found by a digest of its files' names, sizes and times, of the recipe and of this
    package's version: what has changed is stored anew, never used.

    Parameters
    ----------
    folder : Path
        Created where it does not exist.
    recipe : Pipeline, optional
        Applied before storing; must leave nothing to chance.
    """

    folder: Path
    recipe: Pipeline | None = None

    def load(self, case: Case) -> Sample:
        """Return the case as a lazy sample; stored first where it is not yet.

        Raises
        ------
        FormatError, GeometryError, ConfigError
            As of `Case.read`; FormatError also where the folder cannot be written.
        """
        folder = self.folder / self._name(case)
        sample = stored.read(folder, case.id) if folder.is_dir() else None
        if sample is not None:
            return sample
        self._store(case, folder)
        sample = stored.read(folder, case.id)
        if sample is None:
            raise FormatError(f"{folder}: what was just written cannot be read; check the disk")
        return sample

    def holds(self, case: Case) -> bool:
        """Whether the case is stored as its files are now."""
        folder = self.folder / self._name(case)
        return folder.is_dir() and stored.read(folder, case.id) is not None

    def _name(self, case: Case) -> str:
        """Name of a case's folder: which case it is, then what it was made of."""
        spans = [(s.start, s.stop) for s in case.window or ()]
        who = _digest((case.id, [str(p.resolve()) for p in case.images], spans))
        files = [*case.images, *([] if case.label is None else [case.label])]
        try:
            state = [entry for file in files for entry in _states(file)]
        except OSError as error:
            raise FormatError.of(
                f"case {case.id}: {error.filename}: cannot be read ({error.strerror})", error
            ) from None
        recipe = None if self.recipe is None else recipes.text(self.recipe)
        return f"{who}-{_digest((FORMAT, __version__, state, case.channels, case.values, recipe))}"

    def _store(self, case: Case, folder: Path) -> None:
        """Write a case into ``folder``: whole, or not at all."""
        chunked.blosc2()
        sample = self._prepared(case)
        building = self.folder / f"{_BUILDING}{secrets.token_hex(8)}"
        try:
            building.mkdir(parents=True)
            stored.write(sample, building)
            _synced(building)
            if folder.is_dir() and stored.read(folder, case.id) is None:  # damaged
                chunked.forget(folder)
                shutil.rmtree(folder)
            os.rename(building, folder)
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return  # another process was quicker
            reason = getattr(error, "strerror", None) or str(error)
            message = (
                f"{self.folder}: case {case.id} cannot be stored ({reason}); free space, or choose "
                "another folder for the cache"
            )
            if isinstance(error, OSError):
                raise FormatError.of(message, error) from None
            raise FormatError(message) from None
        finally:
            shutil.rmtree(building, ignore_errors=True)
        who = folder.name.split("-")[0]
        for old in self.folder.glob(f"{who}-*"):
            if old != folder:
                chunked.forget(old)
                shutil.rmtree(old, ignore_errors=True)

    def _prepared(self, case: Case) -> Sample:
        """Sample from its files, after the recipe."""
        sample = case.read()
        if self.recipe is None:
            return sample
        try:
            refuse_chance(self.recipe, sample, f"recipe {self.recipe.name!r}")
            return self.recipe(sample, seed=0, progress=1.0)
        except MedSatAugError as error:
            raise told(error, f"case {case.id}: {error}") from None


def cached(
    cases: CaseSet, folder: str | os.PathLike[str], recipe: Pipeline | str | None = None
) -> CaseSet:
    """Store every case for reading by patches, and return the cases that read so.

    Parameters
    ----------
    cases : CaseSet
    folder : path
        Where; the same folder serves later runs, and several data sets.
    recipe : Pipeline, or a recipe's name or file, optional
        What is done once rather than in every epoch, such as Resample and Normalize.

    Raises
    ------
    ConfigError
        For a recipe that draws random numbers, or without Blosc2.
    FormatError, GeometryError
        For a case that cannot be read, or a folder that cannot be written.

    Notes
    -----
    Plans and results are those of the case itself, to the byte; where a recipe was given, those of
    the prepared case.
    """
    chunked.blosc2()
    pipeline = Pipeline.load(recipe) if isinstance(recipe, str) else recipe
    cache = Cache(Path(folder), pipeline)
    with suppress(OSError):
        _tidy(cache.folder)
    for case in cases:
        cache.load(case)
    return cases.of(replace(case, cache=cache) for case in cases)


def _digest(parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=10).hexdigest()


def _states(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of a file and what belongs to it, or of all files of a folder."""
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.is_file())
    else:
        stem = path.name[: -len(path.suffix)]
        beside = _PARTNERS.get(path.suffix.lower(), ())
        files = [path, *(f for s in beside if (f := path.with_name(stem + s)).exists())]
    for file in files:
        known = file.stat()
        yield file.name, known.st_size, known.st_mtime_ns


def _synced(folder: Path) -> None:
    """Wait until all files of a folder are on the disk."""
    for file in folder.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def _tidy(folder: Path) -> None:
    """Remove what writers that were stopped left behind."""
    for left in folder.glob(f"{_BUILDING}*"):
        if time.time() - left.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)
