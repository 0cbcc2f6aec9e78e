"""Every transform, present and future, keeps the contracts of `tests.contracts`."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsataug import transforms
from tests import contracts


@pytest.mark.parametrize("check", contracts.CHECKS, ids=lambda c: c.__name__[6:])
@pytest.mark.parametrize(("name", "ndim"), contracts.kinds(), ids=lambda v: str(v))
def test_contract(check: contracts.Callable, name: str, ndim: int) -> None:
    check(transforms.find(name), ndim)


@pytest.mark.parametrize(("name", "ndim"), contracts.kinds(), ids=lambda v: str(v))
def test_recipe(name: str, ndim: int, tmp_path: Path) -> None:
    contracts.check_recipe(transforms.find(name), ndim, tmp_path)
