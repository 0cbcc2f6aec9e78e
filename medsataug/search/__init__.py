"""A policy tuned to a data set: which strengths of augmentation train best.

>>> from medsataug import cases, search
>>> found = cases.find("Task04_Hippocampus")  # doctest: +SKIP
>>> print(search.tune(found, "search", "medical", trials=30).table())  # doctest: +SKIP

Optuna, PyTorch and MONAI are imported when one of these names is first used; install them with
``medsataug[search]``.
"""

from __future__ import annotations

from medsataug import lazy

#: Public names, and where they live.
_NAMES = {"Outcome": "outcome", "Space": "space", "Trial": "study", "tune": "tuning"}
__all__ = list(_NAMES)


def require() -> None:
    """Say what to install where Optuna, PyTorch or MONAI is missing."""
    lazy.require(__name__, ("optuna", "torch", "monai"), "search")


__getattr__, __dir__ = lazy.lazy(__name__, _NAMES, require)
