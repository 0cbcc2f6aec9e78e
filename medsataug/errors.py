"""The errors a user can meet.

Each also is the matching builtin, so that code which knows nothing of this package still
catches it. A message says what was given, what is allowed and what to do.
"""

from __future__ import annotations


class MedSatAugError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(MedSatAugError, ValueError):
    """A recipe, parameter or option that cannot be carried out as written."""


class GeometryError(MedSatAugError, ValueError):
    """Grids that do not fit one another, or a geometry that is not known."""


class FormatError(MedSatAugError, OSError):
    """A file that is missing, damaged, unsupported or cannot be written."""


class MedSatAugWarning(UserWarning):
    """Something was done as asked, and may not be what is wanted."""
