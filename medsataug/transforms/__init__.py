"""The transforms, one public class a file; the file's name is its name in a recipe.

A new file here is a new transform: recipes, the command line, the README's table and the
contract tests find it by looking into this folder.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from medsataug.errors import ConfigError

_registered: dict[str, Any] = {}


@cache
def builtin_names() -> tuple[str, ...]:
    """Names of the transforms of this package, as recipes write them."""
    files = sorted(p.stem for p in Path(__file__).parent.glob("*.py"))
    return tuple(n for n in files if n != "base" and not n.startswith("_"))


def class_name(name: str) -> str:
    """``gaussian_noise`` → ``GaussianNoise``."""
    return "".join(part.capitalize() for part in name.split("_"))


def recipe_name(name: str) -> str:
    """``GaussianNoise`` → ``gaussian_noise``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def names() -> tuple[str, ...]:
    """Names of all transforms, registered ones included."""
    return tuple(sorted({*builtin_names(), *_registered}))


def find(name: str) -> Any:
    """Class of a transform by its recipe name or its class name.

    Raises
    ------
    ConfigError
        For an unknown name, with the likely ones.
    """
    wanted = recipe_name(name)
    if wanted in _registered:
        return _registered[wanted]
    if wanted in builtin_names():
        module = importlib.import_module(f"medsataug.transforms.{wanted}")
        return getattr(module, class_name(wanted))
    from difflib import get_close_matches

    close = get_close_matches(wanted, names(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise ConfigError(
        f"no transform {name!r}; {hint}allowed: {', '.join(names())}; one of your own is known "
        "in Python once it is registered (medsataug.register), not on the command line"
    )


def register(transform: Any) -> Any:
    """Make a transform of one's own known to recipes; also usable as a decorator."""
    name = recipe_name(transform.__name__)
    if name in builtin_names():
        raise ConfigError(f"register: {name!r} is a transform of medsataug; choose another name")
    _registered[name] = transform
    function.cache_clear()  # a name may be given to another class
    return transform


@cache
def function(name: str) -> Callable[..., Any]:
    """Compiled or plain function that a step names: ``file`` or ``file:function``.

    ``affine`` is the kernel of `ChannelAffine`. A step of a registered transform names the
    function by the transform's own name.
    """
    file, _, attribute = name.partition(":")
    attribute = attribute or "kernel"
    if file in _registered:
        return getattr(_registered[file], attribute)  # type: ignore[no-any-return]
    if file not in builtin_names():
        raise ConfigError(
            f"a plan names the step {name!r}, which this version does not know; if it is one of "
            "your own, register it first (medsataug.register)"
        )
    module = importlib.import_module(f"medsataug.transforms.{file}")
    return getattr(module, attribute)  # type: ignore[no-any-return]
