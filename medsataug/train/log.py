"""What a run says: a line on the screen, a table of epochs, TensorBoard where it is there."""

from __future__ import annotations

import csv
import io
import math
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsataug.train.checkpoint import replaced

NAME = "log.csv"


class Log:
    """Rows of ``log.csv``, one an epoch, and the same numbers for TensorBoard.

    Parameters
    ----------
    folder : Path
    done : int
        Finished epochs; rows of later ones, left by a run that ended before its checkpoint, are
        dropped.
    quiet : bool
        Whether nothing is printed.
    """

    def __init__(self, folder: Path, done: int, quiet: bool) -> None:
        self.path, self.quiet = folder / NAME, quiet
        self._rows: list[dict[str, str]] = []
        if self.path.is_file():
            with open(self.path, encoding="utf-8", newline="") as file:
                self._rows = [r for r in csv.DictReader(file) if int(r["epoch"]) <= done]
        self._board = _board(folder, done + 1)
        self._width = 0

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if not self.quiet:
            print(line.ljust(self._width), file=sys.stderr, flush=True)
            self._width = 0

    def show(self, line: str) -> None:
        """Print a line that the next one replaces; nothing where nobody watches."""
        if not self.quiet and sys.stderr.isatty():
            print(line.ljust(self._width), end="\r", file=sys.stderr, flush=True)
            self._width = len(line)

    def write(self, row: Mapping[str, Any]) -> None:
        """Add an epoch's row; the table is written whole or not at all."""
        self._rows.append({name: _plain(value) for name, value in row.items()})
        text = io.StringIO()
        writer = csv.DictWriter(text, list(row), lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self._rows)
        replaced(self.path, text.getvalue().encode())
        if self._board is not None:
            for name, value in row.items():
                if isinstance(value, float) and math.isfinite(value):
                    self._board.add_scalar(name, value, row["epoch"])
            self._board.flush()


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def _board(folder: Path, epoch: int) -> Any:
    """Writer of TensorBoard's files, or None where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=epoch)
