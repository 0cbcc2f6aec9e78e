"""What a case may be given as, and its sample: the same for feeds and partners."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from medsataug.errors import ConfigError
from medsataug.types import Sample


class Loads(Protocol):
    """A case that loads itself, such as those of `medsataug.cases`; it may have an ``id``."""

    def load(self) -> Sample:
        """Return its sample."""
        ...


#: A sample, an image path, (image path(s), label path), what has ``load()``, or a function that
#: returns a sample.
Case = Sample | str | os.PathLike[str] | tuple[Any, Any] | Loads | Callable[[], Sample]


def is_case(given: Any) -> bool:
    """Whether something is a sample, or can be loaded."""
    if isinstance(given, tuple):
        return len(given) == 2 and _is_path(given[0]) and (given[1] is None or _is_path(given[1]))
    return isinstance(given, Sample) or _function(given) is not None or _is_path(given)


def as_sample(case: Any, name: str) -> Sample:
    """Return the sample of a case; ``name`` is its id where it is read from files.

    Raises
    ------
    ConfigError
        Where what loads it returns something else.
    """
    if isinstance(case, Sample):
        return case
    function = _function(case)
    if function is None:
        from medsataug.io import load

        image, label = case if isinstance(case, tuple) else (case, None)
        return load(image, label, id=name)
    made = function()
    if not isinstance(made, Sample):
        raise ConfigError(f"{name!r} gives {type(made).__name__}, not a Sample")
    return made


def _function(case: Any) -> Callable[[], Any] | None:
    """Return what loads a case, or None."""
    load = getattr(case, "load", None)
    found = load if callable(load) else case
    return found if callable(found) else None


def _is_path(given: Any) -> bool:
    """Whether something is a path, or a list of some."""
    listed = given if isinstance(given, (list, tuple)) and given else [given]
    return all(isinstance(part, (str, os.PathLike)) for part in listed)
