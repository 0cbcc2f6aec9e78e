"""Whether a recipe helps: the experiment, its measures and its statistics.

>>> from medsataug import cases, validate
>>> found = cases.find("Task04_Hippocampus")  # doctest: +SKIP
>>> plan = validate.folds(found, 5, repeats=2)  # doctest: +SKIP
>>> print(validate.compare(found, "validation", plan, ["none", "mri"]).table())  # doctest: +SKIP

PyTorch and MONAI are imported when one of these names is first used; install them with
``medsataug[validate]``.
"""

from __future__ import annotations

from medsataug import lazy

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


def require() -> None:
    """Say what to install where PyTorch or MONAI is missing."""
    lazy.require(__name__, ("torch", "monai"), "validate")


__getattr__, __dir__ = lazy.lazy(__name__, _NAMES, require)
