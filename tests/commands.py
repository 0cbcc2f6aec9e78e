"""The command line as tests call it, and small files to call it with."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import nibabel as nib
import numpy as np

from medsataug import cli, threads

ROOT = Path(__file__).resolve().parent.parent
#: Costs nothing to compile and little to run.
RECIPE = "- flip: {axes: [x, y]}\n- translate: {offset: [1, 4]}\n- gamma: {exponent: [0.8, 1.2]}\n"


@dataclass
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, read as JSON."""
        return json.loads(self.out)


def call(*arguments: object) -> Result:
    """Run a command within this process."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["medsataug", *map(str, arguments)]
    code: Any = 0
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(cli.warnings, "showwarning"),
        mock.patch.dict(threads._chosen),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as done:
            code = done.code
    told = err.getvalue().splitlines(keepends=True)
    # Whether kernels had to be compiled depends on what ran before.
    told = [line for line in told if not line.startswith(("compiling kernels", "compiled in"))]
    return Result(code, out.getvalue(), "".join(told))


def process(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", "medsataug", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options,
    )  # fmt: skip


def finished(*arguments: object, **options: Any) -> Result:
    """Run a command in a process of its own."""
    with process(*arguments, **options) as running:
        out, err = running.communicate(timeout=120)
    return Result(running.returncode, out, err)


def write_nifti(path: Path, array: np.ndarray, shift: float = 0.0) -> Path:
    """Write a volume with voxels of 1 × 1 × 2 mm; ``shift`` is its origin's, along x."""
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def volume(folder: Path, dtype: str = "int16") -> tuple[Path, Path, Path]:
    """Image, label and recipe of a small case in ``folder``."""
    rng = np.random.default_rng(5)
    image = rng.integers(0, 1000, (20, 18, 12)).astype(dtype)
    label = np.zeros(image.shape, np.uint8)
    label[4:9, 5:12, 3:8] = 2
    recipe = folder / "small.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    return (
        write_nifti(folder / "image.nii.gz", image),
        write_nifti(folder / "mask.nii.gz", label),
        recipe,
    )


def scene(folder: Path) -> Path:
    """Raster of four bands with a nodata value."""
    import rasterio

    rng = np.random.default_rng(6)
    bands = rng.integers(1, 4000, (4, 40, 50)).astype(np.uint16)
    bands[:, :5] = 0
    path = folder / "scene.tif"
    profile = {"driver": "GTiff", "width": 50, "height": 40, "count": 4, "dtype": "uint16"}
    place = {
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 5e6),
        "nodata": 0,
    }
    with rasterio.open(path, "w", **profile, **place) as file:
        file.write(bands)
        for number, name in enumerate(("B2", "B3", "B4", "B8"), start=1):
            file.set_band_description(number, name)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes, by relative name."""
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
