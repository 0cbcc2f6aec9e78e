"""The notebooks run from top to bottom, and are kept with their pictures."""

from __future__ import annotations

import os
import time
from importlib import util
from pathlib import Path

import pytest

from tests.commands import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST_BYTES = 1_500_000
#: What a notebook imports that is no part of a plain installation.
NEEDS = {"03_train_a_unet": ["torch"], "04_read_a_validation": ["torch", "monai"]}


def names(path: Path) -> str:
    return path.stem


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 2
    assert set(NEEDS) <= set(map(names, NOTEBOOKS))


# What the kernel's own libraries warn of is theirs; ours would warn in the kernel.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=names)
def test_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [name for name in NEEDS.get(path.stem, []) if util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{path.name} needs {' and '.join(missing)}: pip install '.[validate]'")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    notebook = nbformat.read(path, as_version=4)
    started = time.monotonic()
    nbclient.NotebookClient(
        notebook,
        timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    told = [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    assert not [text for text in told if "Warning" in text]
    # A bare machine compiles for up to half a minute of this.
    assert time.monotonic() - started < 120


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names)
def test_is_kept_executed_and_small(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    kinds = [k for c in code for o in c.outputs for k in o.get("data", {})]
    assert kinds.count("image/png") >= 2
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]
    assert 8 <= len(notebook.cells) <= 14
    assert path.stat().st_size < LARGEST_BYTES
