"""Fast, exact and reproducible augmentation of medical volumes and satellite rasters.

Every public name is imported when it is first used, so that ``import medsataug`` costs little.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

#: Public names that are no transforms, and where they live.
_NAMES = {
    "Channel": "types",
    "ConfigError": "errors",
    "FormatError": "errors",
    "GeometryError": "errors",
    "Grid": "grid",
    "MedSatAugError": "errors",
    "MedSatAugWarning": "errors",
    "Pipeline": "pipeline",
    "Plan": "plan",
    "Sample": "types",
    "load": "io",
    "register": "transforms",
    "save": "io",
    "set_threads": "threads",
}
_MODULES = (
    "cases",
    "grid",
    "inference",
    "io",
    "kernels",
    "maps",
    "preview",
    "recipes",
    "search",
    "shapes",
    "targets",
    "torch",
    "train",
    "transforms",
    "validate",
    "values",
)


def _transforms() -> dict[str, str]:
    """Class and module of each transform, by looking into the folder."""
    files = (Path(__file__).parent / "transforms").glob("[!_]*.py")
    names = (f.stem for f in files if f.stem != "base")
    return {"".join(p.capitalize() for p in n.split("_")): f"transforms.{n}" for n in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"medsataug.{name}")
    module = _NAMES.get(name) or _transforms().get(name)
    if module is None:
        raise AttributeError(f"module 'medsataug' has no attribute {name!r}")
    value = getattr(import_module(f"medsataug.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_NAMES, *_transforms(), *_MODULES, "__version__"})
