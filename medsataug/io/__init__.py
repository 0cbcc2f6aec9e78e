"""Files in and out, over one ordered list of formats.

Importing this package imports no format's library; each is imported when a file needs it.
"""

from medsataug.io.ahead import load_many
from medsataug.io.loading import describe, load
from medsataug.io.registry import format_of, formats
from medsataug.io.saving import save

__all__ = ["describe", "format_of", "formats", "load", "load_many", "save"]
