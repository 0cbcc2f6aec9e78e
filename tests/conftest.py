"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = "MEDSATAUG_REAL_DATA"
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of published research data; tests that need it skip where it is not given."""
    folder = os.environ.get(DATA)
    if not folder:
        pytest.skip(f"set {DATA} to the folder of real data to run this test")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder of the bundled synthetic samples."""
    return ROOT / "data_samples"
