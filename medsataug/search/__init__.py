"""A policy tuned to a data set: which strengths of augmentation train best.

>>> from medsataug import cases, search
>>> found = cases.find("Task04_Hippocampus")  # doctest: +SKIP
>>> print(search.tune(found, "search", "medical", trials=30).table())  # doctest: +SKIP

Optuna, PyTorch and MONAI are imported when one of these names is first used; install them with
``medsataug[search]``.
"""

from __future__ import annotations

from importlib import import_module, util
from typing import Any

from medsataug.errors import ConfigError

#: Public names, and where they live.
_NAMES = {"Outcome": "outcome", "Space": "space", "Trial": "study", "tune": "tuning"}
__all__ = list(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'medsataug.search' has no attribute {name!r}")
    require()
    return getattr(import_module(f"medsataug.search.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_NAMES)


def require() -> None:
    """Say what to install where Optuna, PyTorch or MONAI is missing."""
    missing = [name for name in ("optuna", "torch", "monai") if util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"medsataug.search: {' and '.join(missing)} not installed; install medsataug[search]"
        )
