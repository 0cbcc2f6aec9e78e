"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")

DATA = "MEDSATAUG_REAL_DATA"
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of published research data; tests that need it skip where it is not given."""
    folder = os.environ.get(DATA)
    if not folder:
        pytest.skip(f"set {DATA} to the folder of real data to run this test")
    return Path(folder).resolve()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where the real data are given, a test that needs them must run."""
    report = yield
    if report.skipped and "real_data" in item.fixturenames and os.environ.get(DATA):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} skipped although {DATA} is set: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder of the bundled synthetic samples."""
    return ROOT / "data_samples"
