"""Whole jobs, from file to file: ours, and the same by hand with the fastest peer.

A job reads an image and its label, turns, scales and bends both, and writes both. By hand it takes
nibabel, batchgeneratorsv2 and nibabel for a volume, rasterio, Albumentations and rasterio for a
raster, each at its defaults, as a user would write it. Run as `python files.py IMAGE LABEL FOLDER
COUNT` this file is that script.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peers
from turns import OURS, PAUSE_S, ms, ratio, table
from workloads import DEGREES, LATTICE, MAGNITUDE, SCALE, Workload

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
ASKED = "≥ 3"
SIZE_ASKED = "0.9 to 1.1"
Read = Callable[[Path, Path], tuple[np.ndarray, np.ndarray, Any]]
Write = Callable[[np.ndarray, np.ndarray, Any, Path], list[Path]]


@dataclass(frozen=True)
class Job:
    """An image with its label, and what a peer does it with."""

    name: str
    image: Path
    label: Path

    @property
    def volume(self) -> bool:
        return self.image.name.endswith(".nii.gz")

    @property
    def peer(self) -> str:
        return "batchgeneratorsv2, nearest" if self.volume else "Albumentations"


def jobs(folder: Path) -> list[Job]:
    """Real data where `MEDSATAUG_REAL_DATA` names them, else the bundled samples."""
    data = os.environ.get("MEDSATAUG_REAL_DATA")
    if not data:
        mri, scene = SAMPLES / "mri", SAMPLES / "multispectral"
        return [
            Job("bundled MRI", mri / "flair.nii.gz", mri / "seg.nii.gz"),
            Job("bundled scene", scene / "scene.tif", scene / "landcover.tif"),
        ]
    patient = Path(data) / "mri_ms_brain" / "patient07"
    scenes = [_scene(Path(data) / "geo_sentinel2", folder / c, c) for c in ("DEFLATE", "ZSTD")]
    return [
        Job("182×218×182 float32", patient / "flair.nii.gz", patient / "lesion.nii.gz"),
        *scenes,
    ]


def _scene(data: Path, folder: Path, compress: str) -> Job:
    """A Sentinel-2 scene of 224² pixels, mirrored until it is 1024² pixels large, in tiles."""
    import rasterio

    folder.mkdir()
    for kind in ("l2a", "landcover"):
        with rasterio.open(next(iter(sorted((data / kind).glob("*.tif"))))) as file:
            values, place = file.read(), {"crs": file.crs, "transform": file.transform}
        values = np.pad(values, ((0, 0), (0, 800), (0, 800)), mode="symmetric")
        profile = {"driver": "GTiff", "count": len(values), "width": 1024, "height": 1024}
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": "pixel"}
        profile |= {"dtype": values.dtype, "compress": compress, "predictor": 2}
        with rasterio.open(folder / f"{kind}.tif", "w", **profile, **place) as file:
            file.write(values)
    name = f"12 × 1024² int16, {compress}"
    return Job(name, folder / "l2a.tif", folder / "landcover.tif")


def read_nifti(image: Path, label: Path) -> tuple[np.ndarray, np.ndarray, Any]:
    import nibabel as nib

    loaded, target = nib.load(image), nib.load(label)
    values = np.asarray(loaded.dataobj, np.float32).T[None]
    return values, np.asarray(target.dataobj).T.astype(np.uint8), loaded.affine


def write_nifti(image: np.ndarray, label: np.ndarray, affine: Any, folder: Path) -> list[Path]:
    import nibabel as nib

    paths = [folder / "image.nii.gz", folder / "label.nii.gz"]
    for path, values in zip(paths, (np.asarray(image)[0], np.asarray(label)), strict=True):
        nib.save(nib.Nifti1Image(values.T, affine), path)
    return paths


def read_raster(image: Path, label: Path) -> tuple[np.ndarray, np.ndarray, Any]:
    import rasterio

    with rasterio.open(image) as file, rasterio.open(label) as mask:
        return file.read(), mask.read(1), (file.profile, mask.profile)


def write_raster(image: np.ndarray, label: np.ndarray, profiles: Any, folder: Path) -> list[Path]:
    import rasterio

    paths = [folder / "image.tif", folder / "label.tif"]
    # A profile has no predictor; without it the image would be larger by a fifth.
    for path, values, profile in zip(paths, (image, label[None]), profiles, strict=True):
        predictor = {"predictor": 2} if path == paths[0] else {}
        with rasterio.open(path, "w", **profile | predictor) as file:
            file.write(values)
    return paths


def by_hand(job: Job, folder: Path, threads: int, count: int = 1) -> list[float]:
    """Seconds of reading, augmenting and writing ``count`` copies, as a script would do it."""
    read: Read = read_nifti if job.volume else read_raster
    write: Write = write_nifti if job.volume else write_raster
    with _gdal(job, threads):
        times = [time.perf_counter()]
        image, label, place = read(job.image, job.label)
        times.append(time.perf_counter())
        warp = peers.TOOLS[job.peer](Workload("", image, label, label.shape))
        made = [_arrays(warp()) for _ in range(count)]
        times.append(time.perf_counter())
        for new_image, new_label in made:
            write(new_image, new_label.astype(label.dtype).reshape(label.shape), place, folder)
        times.append(time.perf_counter())
    return np.diff(times).tolist()


def _gdal(job: Job, threads: int) -> Any:
    import contextlib

    if job.volume:
        return contextlib.nullcontext()
    import rasterio

    return rasterio.Env(GDAL_NUM_THREADS=str(threads))


def _arrays(out: Any) -> tuple[np.ndarray, np.ndarray]:
    """(C, ...) image and label of what a peer returns."""
    if "segmentation" in out:
        return out["image"].numpy(), out["segmentation"].numpy()
    return np.moveaxis(out["image"], -1, 0), out["mask"]


def pipeline() -> Any:
    import medsataug as msa

    return msa.Pipeline(
        [
            msa.Rotate(degrees=(-DEGREES, DEGREES)),
            msa.Scale(factor=SCALE),
            msa.Elastic(spacing=LATTICE, magnitude=MAGNITUDE),
        ]
    )


def ours(job: Job, folder: Path, index: int) -> list[float]:
    """Seconds of reading, augmenting and writing one copy with the Python interface."""
    import medsataug as msa

    transform = pipeline()
    times = [time.perf_counter()]
    sample = msa.load(job.image, job.label)
    times.append(time.perf_counter())
    result = transform(sample, seed=1, index=index)
    times.append(time.perf_counter())
    msa.save(result, folder)
    times.append(time.perf_counter())
    return np.diff(times).tolist()


def size_ratio(job: Job, folder: Path) -> float:
    """Bytes of our files over those of the same voxels as a peer's script writes them.

    Raises
    ------
    AssertionError
        Where others do not read from our files what was written.
    """
    import medsataug as msa

    result = pipeline()(msa.load(job.image, job.label), seed=1)
    files = msa.save(result, folder)[:2]
    image, label, place = (read_nifti if job.volume else read_raster)(*files)
    np.testing.assert_array_equal(image, result.image)
    np.testing.assert_array_equal(label, result.label)
    if not job.volume:  # the layout that its own input would have given it
        place = read_raster(job.image, job.label)[2]
    others = (write_nifti if job.volume else write_raster)(image, label, place, folder)
    sizes = [sum(p.stat().st_size for p in paths) for paths in (files, others)]
    return sizes[0] / sizes[1]


def row(args: argparse.Namespace) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        todo = jobs(folder)
        yield "### From file to file, in one process\n"
        rows = []
        for job in todo:
            size = size_ratio(job, folder)
            for threads in args.threads:
                rows += _in_process(job, folder, threads, args.repeats, size)
        header = ["job", "tool", "threads", "read", "augment", "write", "whole, ms", "÷ ours"]
        yield from table([*header, "size ÷ by hand", "asked"], rows)
        yield "### From file to file, fresh processes, all cores\n"
        yield from table(
            ["job", "copies", "medsataug augment, s", "script by hand, s", "÷ ours", "asked"],
            [r for job in todo for r in _processes(job, folder, args.repeats)],
        )
    yield "By hand: nibabel and batchgeneratorsv2 with a label of nearest neighbours for volumes,"
    yield "rasterio and Albumentations for rasters. Medians of jobs that took turns. Size: the same"
    yield "voxels, as written by us and by hand.\n"


def _in_process(
    job: Job, folder: Path, threads: int, repeats: int, size: float
) -> Iterator[list[str]]:
    index = itertools.count()
    calls: dict[str, Callable[[], list[float]]] = {
        OURS: lambda: ours(job, folder, next(index)),
        job.peer: lambda: by_hand(job, folder, threads),
    }
    taken: dict[str, list[list[float]]] = {name: [] for name in calls}
    for number in range(1 + min(repeats, 7)):
        for name, call in calls.items():
            peers.set_threads(threads)
            time.sleep(PAUSE_S)
            steps = call()
            if number:  # the first fills caches
                taken[name].append(steps)
    whole = {name: statistics.median(map(sum, runs)) for name, runs in taken.items()}
    for name, runs in taken.items():
        steps = [ms(statistics.median(step)) for step in zip(*runs, strict=True)]
        of_ours = ratio(whole[name], whole[OURS])
        last = [f"{size:.3f}", f"size {SIZE_ASKED}"] if name == OURS else ["", f"{ASKED} ×"]
        yield [job.name, name, str(threads), *steps, ms(whole[name]), of_ours, *last]


def _processes(job: Job, folder: Path, repeats: int) -> Iterator[list[str]]:
    import processes

    recipe = folder / "bend.yaml"
    pipeline().save(recipe)
    for count in (1, 4):
        files = [str(job.image), str(job.label)]
        command = [*processes.CLI, "augment", files[0], "--label", files[1], "--recipe"]
        command += [str(recipe), "--count", str(count), "--out", str(folder / "out")]
        script = [str(Path(__file__).resolve()), *files, str(folder), str(count)]
        times = processes.interleaved({OURS: command, "by hand": script}, min(repeats, 5))
        failed = next((t for t in times.values() if isinstance(t, str)), None)
        if failed is not None:
            yield [job.name, str(count), f"failed: {failed}", "", "", ""]
            continue
        mine, theirs = (statistics.median(t) for t in times.values())  # type: ignore[type-var]
        seconds = [f"{mine:.2f}", f"{theirs:.2f}"]
        yield [job.name, str(count), *seconds, ratio(theirs, mine), f"{ASKED} ×"]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    given = Job("", Path(sys.argv[1]), Path(sys.argv[2]))
    by_hand(given, Path(sys.argv[3]), os.cpu_count() or 1, int(sys.argv[4]))
