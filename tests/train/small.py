"""Small cases to train with: a bright ball within noise, and a brighter one within that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medsataug as msa

torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
torch.set_num_threads(1)  # many small convolutions: threads would wait for one another

#: Settings of a training of a few seconds.
QUICK = {
    "recipe": "microscopy",
    "epochs": 2,
    "steps": 3,
    "batch": 2,
    "patch": (16, 24),
    "features": (4, 8),
    "workers": 0,
    "validate_every": 1,
}


def case(number: int, shape: tuple[int, ...] = (30, 34), classes: int = 2) -> msa.Sample:
    rng = np.random.default_rng(number)
    middle = np.array(shape) / 2 + rng.uniform(-3, 3, len(shape))
    at = np.moveaxis(np.indices(shape), 0, -1)
    far = np.linalg.norm(at - middle, axis=-1)
    label = sum((far < r).astype(np.uint8) for r in (9, 4)[:classes])
    image = (100 * label + rng.normal(50, 10, shape)).astype(np.float32)
    axes = "ZYX"[-len(shape) :]
    return msa.Sample(image, label, axes=axes, spacing=(1,) * len(shape), id=f"ball {number}")


def cases(count: int, **options: Any) -> list[msa.Sample]:
    return [case(number, **options) for number in range(count)]


def weights(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["model"]


def assert_same_weights(a: Path, b: Path) -> None:
    one, other = weights(a), weights(b)
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value.numpy(), other[name].numpy(), err_msg=name)
