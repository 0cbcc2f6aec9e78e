"""The errors a user can meet.

Each also is the matching builtin, so that code which knows nothing of this package still
catches it. A message says what was given, what is allowed and what to do.
"""

from __future__ import annotations

from typing import Any, Self, TypeVar

_Error = TypeVar("_Error", bound="MedSatAugError")


class MedSatAugError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(MedSatAugError, ValueError):
    """A recipe, parameter or option that cannot be carried out as written."""


class GeometryError(MedSatAugError, ValueError):
    """Grids that do not fit one another, or a geometry that is not known."""


class FormatError(MedSatAugError, OSError):
    """A file that is missing, damaged, unsupported or cannot be written.

    ``errno`` is the operating system's where it had a part in it; the command line tells the
    machine's faults from the user's by it.
    """

    @classmethod
    def of(cls, message: str, cause: OSError) -> Self:
        """Return the error with ``message`` and the ``errno`` of its cause."""
        made = cls(message)
        made.errno = cause.errno
        return made

    def __reduce__(self) -> tuple[Any, ...]:  # the errno of an OSError stays behind otherwise
        return type(self), (str(self),), {"errno": self.errno}


class Diverged(MedSatAugError):
    """A training whose loss or gradient is no number any more."""


def told(error: _Error, message: str) -> _Error:
    """Return an error of the same kind with another message, and the ``errno`` it had."""
    if isinstance(error, FormatError):
        return type(error).of(message, error)
    return type(error)(message)


class MedSatAugWarning(UserWarning):
    """Something was done as asked, and may not be what is wanted."""
