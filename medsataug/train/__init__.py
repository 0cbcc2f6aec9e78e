"""Training: a reference U-Net and a loop, short enough to be read and copied.

PyTorch is imported when one of these names is first used; install it with ``medsataug[torch]``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from medsataug.errors import ConfigError

#: Public names, and where they live.
_NAMES = {
    "Model": "model",
    "Settings": "config",
    "SlidingWindow": "sliding",
    "UNet": "unet",
    "load": "model",
    "train": "loop",
}
__all__ = list(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'medsataug.train' has no attribute {name!r}")
    require_torch()
    return getattr(import_module(f"medsataug.train.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_NAMES)


def require_torch() -> None:
    """Say what to install where PyTorch is missing."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise ConfigError(
            "medsataug.train: PyTorch is not installed; install medsataug[torch]"
        ) from None
