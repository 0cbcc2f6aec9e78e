"""Whether a recipe helps: the experiment, its measures and its statistics.

>>> from medsataug import cases, validate
>>> found = cases.find("Task04_Hippocampus")  # doctest: +SKIP
>>> plan = validate.folds(found, 5, repeats=2)  # doctest: +SKIP
>>> print(validate.compare(found, "validation", plan, ["none", "mri"]).table())  # doctest: +SKIP

PyTorch and MONAI are imported when one of these names is first used; install them with
``medsataug[validate]``.
"""

from __future__ import annotations

from importlib import import_module, util
from typing import Any

from medsataug.errors import ConfigError

#: Public names, and where they live.
_NAMES = {
    "Design": "design",
    "Results": "results",
    "Split": "design",
    "compare": "comparing",
    "folds": "design",
    "score": "metrics",
    "sets": "design",
}
__all__ = list(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'medsataug.validate' has no attribute {name!r}")
    require()
    return getattr(import_module(f"medsataug.validate.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_NAMES)


def require() -> None:
    """Say what to install where PyTorch or MONAI is missing."""
    missing = [name for name in ("torch", "monai") if util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"medsataug.validate: {' and '.join(missing)} not installed; install "
            "medsataug[validate]"
        )
