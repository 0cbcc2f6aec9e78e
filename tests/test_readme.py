"""The README's words are true: its Python runs, its commands parse, its recipe loads."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from medsataug import cli
from medsataug.pipeline import Pipeline
from tests.commands import ROOT, call

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.S | re.M)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("medsataug ")]


@pytest.fixture
def beside_samples(tmp_path: Path) -> Path:
    """An empty folder with the samples in it, as the README's paths have them."""
    (tmp_path / "data_samples").symlink_to(ROOT / "data_samples")
    return tmp_path


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_runs(number: int, beside_samples: Path) -> None:
    code = blocks("python")[number]
    for framework in ("torch", "keras"):
        if f"import {framework}" in code:
            pytest.importorskip("torch")
            pytest.importorskip(framework)
    script = beside_samples / "readme.py"
    script.write_text(code, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, script],
        cwd=beside_samples,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words[:3]))
def test_commands_parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = typer.main.get_command(cli.app).commands[words[1]]
    with command.make_context(words[1], words[2:]) as context:
        files = [*context.params.get("images", []), context.params.get("label")]
    assert all(Path(ROOT, f).exists() for f in files if f)


def test_the_first_command_does_what_is_said(
    beside_samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = re.search(r"<!-- command: first -->\n```bash\n(.*?)```", README, re.S)
    install, line = block[1].strip().splitlines()
    assert install == "pip install ."
    monkeypatch.chdir(beside_samples)
    assert call(*shlex.split(line)[1:]).code == 0
    copies = sorted(p.name for p in Path("augmented").iterdir())
    assert copies == ["copy_0000", "copy_0001", "copy_0002", "copy_0003", "preview.png"]
    for name in ("flair.nii.gz", "t1.nii.gz", "seg.nii.gz", "record.json"):
        assert Path("augmented", "copy_0003", name).is_file()


def test_the_test_command_is_marked() -> None:
    assert '<!-- command: tests -->\n```bash\npip install -e ".[test]"\npytest\n```' in README


def test_the_recipe_loads(tmp_path: Path) -> None:
    (recipe,) = blocks("yaml")
    path = tmp_path / "knee.yaml"
    path.write_text(recipe, encoding="utf-8")
    assert len(recipe.splitlines()) == 10
    assert len(Pipeline.load(path).transforms) == 8


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert targets
    assert [t for t in targets if not (ROOT / t).exists()] == []
