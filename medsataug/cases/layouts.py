"""The layouts of data sets, in the order in which they are tried."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from medsataug.cases.case_set import CaseSet
from medsataug.cases.decathlon import Decathlon
from medsataug.cases.folders import CaseFolders, PairedFolders
from medsataug.cases.nnunet import NnUNet
from medsataug.cases.table import Table
from medsataug.errors import ConfigError, FormatError


class Layout(Protocol):
    """How files of a data set are laid out; ``expects`` says it in words."""

    name: str
    expects: str

    def matches(self, path: Path) -> bool:
        """Whether ``path`` is laid out like this, by names and headers only."""
        ...

    def read(self, path: Path) -> CaseSet:
        """Return its cases. Raises ConfigError naming those that are incomplete."""
        ...


layouts: tuple[Layout, ...] = (NnUNet(), Decathlon(), Table(), PairedFolders(), CaseFolders())


def find(path: str | os.PathLike[str], layout: str | None = None) -> CaseSet:
    """Find the cases of a data set; no voxel is read but of scenes that a table cuts into tiles.

    Parameters
    ----------
    path : path
        A folder, or a table (CSV, TSV).
    layout : str, optional
        Name of one of `layouts`; by default the first that matches.

    Raises
    ------
    FormatError
        For what is missing or of no known layout, saying what each layout expects.
    ConfigError
        For cases without label, labels without image, missing channels: up to five by name.

    Examples
    --------
    >>> find("Dataset001_BrainTumour")  # doctest: +SKIP
    CaseSet('Dataset001_BrainTumour', 484 cases, channels: FLAIR, T1w, T1gd, T2w)
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(f"{path}: there is no such file or folder; check the path")
    known = {one.name: one for one in layouts}
    if layout is not None and layout not in known:
        raise ConfigError(f"layout: {layout!r} is not known; allowed: {', '.join(known)}")
    tried = layouts if layout is None else (known[layout],)
    try:
        found = next((one for one in tried if one.matches(path)), None)
        if found is not None:
            return found.read(path)
    except FormatError:
        raise
    except OSError as error:
        raise FormatError.of(
            f"{error.filename or path}: cannot be read ({error.strerror})", error
        ) from None
    expected = "; ".join(f"{one.name}: {one.expects}" for one in tried)
    raise FormatError(f"{path}: no data set that is known; expected is one of: {expected}")
