"""Training: a reference U-Net and a loop, short enough to be read and copied.

PyTorch is imported when one of these names is first used; install it with ``medsataug[torch]``.
"""

from __future__ import annotations

from medsataug import lazy

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


def require_torch() -> None:
    """Say what to install where PyTorch is missing."""
    lazy.require(__name__, ("torch",), "torch")


__getattr__, __dir__ = lazy.lazy(__name__, _NAMES, require_torch)
