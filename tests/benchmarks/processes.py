"""Timings and memory that need fresh processes: imports, the command line, peak memory.

Run as `python processes.py TOOL` it is the child of `memory`, as `python processes.py WHAT SIDE`
that of `own_memory`, and prints its figures as JSON.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parents[1] / "data_samples"
# The last argument is the folder of the copies: with it there, a run would only find them finished.
CLI = [
    "-c",
    "import shutil, sys; shutil.rmtree(sys.argv[-1], ignore_errors=True); "
    "from medsataug.cli import main; sys.exit(main())",
]

# A child's peak as its parent reads it starts from the parent's own size, so a small process of
# its own starts the command and reads.
_LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([time.perf_counter() - start, used.ru_maxrss, done.returncode, done.stderr]))
"""


class Failed(Exception):
    """The command did not run; the message is its last line."""


@functools.cache
def _environment() -> dict[str, str]:
    """With a folder for bytecode, as installed packages have it, whatever this process was told."""
    folder = tempfile.mkdtemp(prefix="bytecode-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": folder}


def command(arguments: list[str]) -> tuple[float, float]:
    """Wall seconds and peak MB of `python arguments...` in a fresh process."""
    whole = [sys.executable, "-c", _LAUNCHER, sys.executable, *arguments]
    environment = _environment()
    out = subprocess.run(whole, capture_output=True, text=True, check=True, env=environment).stdout
    seconds, peak, status, error = json.loads(out)
    if status:
        lines = [line for line in error.splitlines() if line.strip()]
        raise Failed(lines[-1] if lines else f"exit status {status}")
    return seconds, peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def interleaved(commands: dict[str, list[str]], repeats: int) -> dict[str, list[float] | str]:
    """Wall seconds of each command, A B A B ..., after one run that fills the caches."""
    times: dict[str, list[float] | str] = {}
    for name, arguments in commands.items():
        try:
            command(arguments)
            times[name] = []
        except Failed as error:
            times[name] = str(error)
    for _ in range(repeats):
        for name, arguments in commands.items():
            taken = times[name]
            if not isinstance(taken, str):
                start = time.perf_counter()
                whole = [sys.executable, *arguments]
                subprocess.run(whole, capture_output=True, check=True, env=_environment())
                taken.append(time.perf_counter() - start)
    return times


def import_times(repeats: int) -> dict[str, list[float] | str]:
    """Imports, and a warm command line to its first voxel, each beside its floor."""
    import nibabel

    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder, "tiny.nii.gz")
        ramp = np.arange(64**3, dtype=np.float32).reshape(64, 64, 64)
        nibabel.save(nibabel.Nifti1Image(ramp, np.eye(4)), tiny)
        augment = [*CLI, "augment", str(tiny), "--recipe", "mri", "--count", "1", "--seed", "1"]
        commands = {
            "import numpy, pydantic": ["-c", "import numpy, pydantic"],
            "import medsataug": ["-c", "import medsataug"],
            "import numba, nibabel": ["-c", "import numba, nibabel"],
            "medsataug augment of 64³": [*augment, "--out", str(Path(folder, "out"))],
        }
        return interleaved(commands, repeats)


def cli_cases(out: Path) -> dict[str, list[str]]:
    """End-to-end commands on the bundled samples."""
    mri, scene = SAMPLES / "mri", SAMPLES / "multispectral"
    brain = [str(mri / "flair.nii.gz"), str(mri / "t1.nii.gz"), "--label", str(mri / "seg.nii.gz")]
    land = [str(scene / "scene.tif"), "--label", str(scene / "landcover.tif")]
    return {
        f"{name}, {count} sample{'s' if count > 1 else ''}": [
            *CLI, "augment", *files, "--recipe", recipe, "--count", str(count), "--seed", "1",
            "--out", str(out / f"{recipe}{count}"),
        ]
        for name, files, recipe in (("mri", brain, "mri"), ("scene", land, "multispectral"))
        for count in (1, 4)
    }  # fmt: skip


def _own_peak() -> float:
    """Peak MB of this process since the last reset."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) * 1024 / 1e6  # type: ignore[union-attr]


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def memory(tool: str) -> dict[str, float]:
    """Peak MB of one 3D warp by `tool` in a fresh process (Linux): see `_memory_child`."""
    return _of_child(tool)


def _of_child(*given: str) -> dict[str, float]:
    arguments = [sys.executable, str(HERE / "processes.py"), *given]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Failed(lines[-1])
    return json.loads(done.stdout.splitlines()[-1])


def _memory_child(tool: str) -> dict[str, float]:
    """Warm up on a small volume (code is not data), then one warp of the large one.

    `data` is input plus output, `peak` what the process grew by over its size before the arrays.
    """
    import peers
    import workloads

    factory = peers.TOOLS[tool]
    factory(workloads.volume((80, 80, 80), 64))()
    peers.set_threads(1)
    _reset_peak()
    before = _own_peak()
    work = workloads.volume()
    held = _own_rss()
    call = factory(work)
    _reset_peak()
    result = call()
    peak = _own_peak() - before
    del result
    return {"data": work.nbytes / 1e6, "input": held - before, "peak": peak}


#: What `own_memory` measures, the side of its output, and the MB over input + output asked.
OWN_MEMORY = (
    ("3D warp of 4 channels + label", 128, "≤ 32"),
    ("3D warp of 4 channels + label", 256, "≤ 32"),
    ("GaussianBlur of 4 channels", 128, "≤ 8.4 (a channel)"),
)


def own_memory(what: str, side: int) -> dict[str, float]:
    """MB of input + output (`data`) and what the peak is `over` them, in a fresh process."""
    return _of_child(what, str(side))


def _own_memory_child(what: str, side: int) -> dict[str, float]:
    """Warm up on a small volume, then one call on the large one."""
    import peers
    import scaling

    import medsataug as msa

    def made(side: int) -> tuple[float, peers.Call]:
        if what.startswith("GaussianBlur"):
            image = scaling.volume((side,) * 3)
            sample = msa.Sample(image=image, axes="CZYX", spacing=(1, 1, 1), id="bench")
            pipeline = msa.Pipeline([msa.GaussianBlur(sigma=1)])
            return 2 * image.nbytes / 1e6, lambda: pipeline(sample, seed=1)
        source = (round(side * scaling.AROUND),) * 3
        image, label = scaling.volume(source), scaling.regions(source)
        given = (image.nbytes + label.nbytes) * (1 + side**3 / label.size)
        return given / 1e6, scaling.warp(image, label, side, scaling.turned())

    made(64)[1]()
    peers.set_threads(1)
    data, call = made(side)
    held = _own_rss()
    _reset_peak()
    result = call()
    peak = _own_peak() - held
    output = result.image.nbytes + (0 if result.label is None else result.label.nbytes)
    return {"data": data, "over": peak - output / 1e6}


def _own_rss() -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) * 1024 / 1e6  # type: ignore[union-attr]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = (
        _memory_child(*sys.argv[1:])
        if len(sys.argv) == 2
        else _own_memory_child(sys.argv[1], int(sys.argv[2]))
    )
    print(json.dumps(found))
