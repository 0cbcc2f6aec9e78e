"""Checkpoints: written whole or not at all, and read without running anything that is in them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from medsataug.errors import FormatError
from medsataug.whole import write_whole

#: File of a run that it is resumed from, and that holds the network.
NAME = "checkpoint.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write the state of a run in place of the one before.

    Raises
    ------
    FormatError
        Where it cannot be written, as on a full disk; the one before is untouched then.
    """
    memory = io.BytesIO()
    torch.save(state, memory)
    replaced(folder / NAME, memory.getbuffer())


def load(folder: Path) -> dict[str, Any] | None:
    """State of a run on the CPU, or None where no epoch of it was finished.

    Raises
    ------
    FormatError
        For a file that is no checkpoint.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise FormatError.of(f"{path}: cannot be read ({error.strerror})", error) from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError):
        state = None
    if not isinstance(state, dict) or "model" not in state:
        raise FormatError(f"{path}: damaged, or not a checkpoint of medsataug.train")
    return state


def replaced(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole, in place of the one before; a run is the only one that writes its own."""
    try:
        write_whole(content, path, alone=True)
    except FormatError as error:
        kept = "; the one before is kept" if path.exists() else ""
        error.args = (f"{error}{kept}: make room, then resume the run",)
        raise
