"""Write what is generated from the package: its type stub, and the README's list of transforms.

``python tests/generate.py`` writes both; ``tests/test_generated.py`` fails where they are stale.
"""

from __future__ import annotations

import re
from pathlib import Path

import medsataug
from medsataug import catalog, transforms

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "medsataug" / "__init__.pyi"
README = ROOT / "README.md"
MARKS = ("<!-- transforms -->", "<!-- /transforms -->")


def stub() -> str:
    """Return the public names with their modules, as type checkers want them."""
    lines = [
        '"""Public names; written by tests/generate.py, since the package imports them lazily."""',
        "",
        *(f"from medsataug import {name} as {name}" for name in medsataug._MODULES),
    ]
    named = medsataug._NAMES | medsataug._transforms()
    modules = sorted(named.items(), key=lambda item: (item[1], item[0]))
    lines += [f"from medsataug.{module} import {name} as {name}" for name, module in modules]
    return "\n".join([*lines, "", "__version__: str", ""])


def transform_list() -> str:
    """Return a Markdown table of all transforms."""
    rows = ["| In a recipe | What the eye sees | Fields |", "| --- | --- | --- |"]
    for name in transforms.builtin_names():
        entry = catalog.entry(name)
        fields = ", ".join(f"`{f.name}`" for f in entry.fields if not f.common)
        rows.append(f"| `{name}` | {entry.summary} | {fields} |".replace("|  |", "| |"))
    return "\n".join(rows)


def readme(text: str) -> str:
    """Return the README with its list of transforms brought up to date."""
    first, last = map(re.escape, MARKS)
    between = f"{MARKS[0]}\n{transform_list()}\n{MARKS[1]}"
    return re.sub(f"{first}.*?{last}", lambda _: between, text, flags=re.S)


def main() -> None:
    """Write all of it."""
    STUB.write_text(stub(), encoding="utf-8")
    if README.exists():
        README.write_text(readme(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
