"""What is generated is up to date; ``python tests/generate.py`` makes it so."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import medsataug
from medsataug import transforms

STALE = "stale: run python tests/generate.py"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", Path(__file__).parent / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stub_is_up_to_date(generate: ModuleType) -> None:
    assert generate.STUB.read_text(encoding="utf-8") == generate.stub(), STALE


def test_readme_is_up_to_date(generate: ModuleType) -> None:
    if not generate.README.exists():
        pytest.skip("there is no README.md beside tests/")
    text = generate.README.read_text(encoding="utf-8")
    assert all(text.count(mark) == 1 for mark in generate.MARKS)
    assert text == generate.readme(text), STALE


def test_readme_table_has_every_transform(generate: ModuleType) -> None:
    table = generate.transform_list()
    assert all(f"| `{name}` |" in table for name in transforms.builtin_names())
    assert generate.readme("a <!-- transforms -->old<!-- /transforms --> b") == (
        f"a <!-- transforms -->\n{table}\n<!-- /transforms --> b"
    )


def test_stub_names_what_the_package_has(generate: ModuleType) -> None:
    stated = {line.split(" as ")[1] for line in generate.stub().splitlines() if " as " in line}
    assert stated | {"__version__"} == set(dir(medsataug))
    for name in stated - {"torch"}:
        assert getattr(medsataug, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Rotated'"):
        _ = medsataug.Rotated
