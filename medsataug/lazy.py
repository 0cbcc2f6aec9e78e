"""Packages whose public names are imported when they are first used, since they need others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, util
from typing import Any

from medsataug.errors import ConfigError


def require(package: str, needs: Sequence[str], extra: str) -> None:
    """Say what to install where another package is missing.

    Raises
    ------
    ConfigError
        Naming what is missing, and the extra of ``medsataug`` that brings it.
    """
    missing = [name for name in needs if util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{package}: {' and '.join(missing)} not installed; install medsataug[{extra}]"
        )


def lazy(
    package: str, names: Mapping[str, str], check: Callable[[], None]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    package : str
    names : {public name: module it lives in}
    check : callable
        Called before anything is imported.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        check()
        return getattr(import_module(f"{package}.{names[name]}"), name)

    return get, lambda: sorted(names)
