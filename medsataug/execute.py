"""Carry a plan out: plan + sample → sample. Voxels change here and nowhere else; no chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsataug import __version__, timing
from medsataug.arrays import kernel_source, native, plane_of, room_for
from medsataug.copying import copied
from medsataug.finished import finished
from medsataug.followed import CaseStatistics
from medsataug.io.encode import own_channels, to_dtype
from medsataug.maps import Affine, SpatialMap, fold, input_box
from medsataug.mixing import as_layered, one_hot, outside_soft, partner_of
from medsataug.plan import Plan, Segment
from medsataug.resample import resample_image
from medsataug.roles import Roles, ignored, image_fills, is_raster, label_fill
from medsataug.shapes import moved_boxes, moved_polygon
from medsataug.sweep import Source, Work, sweep
from medsataug.transforms.base import channels_after
from medsataug.types import Array, Channel, Sample, as_label, is_lazy
from medsataug.values import Mix

#: Voxels around a window that interpolation may need: two for cubic, one for rounding.
MARGIN = 3


def execute(
    plan: Plan, sample: Sample, partners: Mapping[str, Sample], into: Array | None = None
) -> Sample:
    """Return a new sample; ``sample`` stays as it is.

    Parameters
    ----------
    into : C-contiguous float32 array, optional
        Memory that the image is made in where it has its shape and is float32; where it has not,
        or the last step made memory of its own, the result's image is another array.

    Raises
    ------
    ConfigError, GeometryError
        Where the plan was made for another kind of sample.
    """
    plan.check(sample)

    def partner(step: Mix) -> Sample:
        return partner_of(step, partners, execute)

    clock, segments = timing.clock(), list(plan.segments)
    clock.turn("read")
    image, label, valid, given_soft, segments = _read(sample, segments, plan.roles.border)
    labels = None if label is None else native(label.reshape(-1, *image.shape[1:]))
    fills = image_fills(plan.roles, sample, len(image))
    moves = any(s.spatial is not None for s in segments)
    outside = label_fill(plan.roles, sample) if moves else 0
    stored = image.dtype.newbyteorder("=")
    image_now: Array = image
    channels: tuple[Channel, ...] = tuple(sample.channels)  # type: ignore[arg-type]
    work = Work(np.empty(0, np.float32), labels, fills, CaseStatistics(sample.facts), partner)
    work.soft, work.classes = given_soft, plan.classes
    work.nothing = (*ignored(sample), outside)
    moved = floating = whole = False
    for number, segment in enumerate(segments, start=1):
        clock.enter(number)
        room = into if segment is segments[-1] else None
        if segment.spatial is not None:
            moved = True
            as_given = not segment.steps and segment is segments[-1] and room is None
            image_now, valid, work.label, whole = _moved(
                segment.spatial, image_now, valid, work.label, work.fills, outside, plan, as_given,
                room,
            )  # fmt: skip
            if work.soft is not None:
                beyond = outside_soft(len(work.soft), outside, plan.classes, ignored(sample))
                work.soft = _soft(segment.spatial, work.soft, plan.roles, beyond)
        if segment.steps:
            clock.turn("in")
            fresh = segment.spatial is not None and image_now.dtype == np.float32
            owned = fresh or floating
            work.image, work.source = _working(image_now, valid, owned=owned, room=room)
            sweep(work, segment.steps)
            image_now, valid, floating, whole = work.image, None, True, work.whole
            for step in segment.steps:
                channels = channels_after(channels, step)
    clock.enter(0)
    clock.turn("finish")
    if work.label is labels and labels is not None:
        work.label = labels.copy()
    new_label = as_layered(work.label, label)
    if image_now is image:
        image_now = image.copy()
    # What nothing changed is copied: a result never shares memory with its input.
    soft = work.soft
    if soft is None and plan.classes and work.label is not None:
        soft = one_hot(work.label, plan.classes, work.nothing)
    soft = soft.copy() if soft is not None and soft is given_soft else soft
    valid = valid.copy() if valid is not None and not moved else valid
    image_now, valid = finished(
        image_now, valid, plan, sample, None if moved else image, stored, whole
    )
    return Sample(
        image=image_now,
        label=new_label,
        grid=plan.grid,
        soft=soft,
        valid=valid,
        channels=channels,
        **_shapes(plan, sample),
        id=sample.id,
        meta=_meta(plan, sample, len(channels)),
        record=record(plan, sample),
    )


def _shapes(plan: Plan, sample: Sample) -> dict[str, Any]:
    """Points, boxes and polygons where they are now."""
    there, straight = plan.output_positions, plan.straight
    made: dict[str, Any] = {}
    if sample.points is not None:
        made["points"] = np.array(there(sample.points))
    if sample.boxes is not None:
        made["boxes"] = moved_boxes(sample.boxes, there, straight)
    if sample.polygons is not None:
        made["polygons"] = [moved_polygon(p, there, straight) for p in sample.polygons]
    return made


def record(plan: Plan, sample: Sample) -> dict[str, Any]:
    """Say how a result came to be, for what is written beside it."""
    return {
        "medsataug": __version__,
        "recipe": plan.recipe,
        "seed": plan.seed,
        "index": plan.index,
        "progress": plan.progress,
        "sample": plan.sample,
        "drawn": [[name, dict(values)] for name, values in plan.drawn],
        "georef": plan.georef,
        "geometry": {
            "mode": plan.geometry,
            "exact_affine": plan.exact.tolist(),
            "elastic": plan.elastic or _bent_before(sample),
            "rotated_or_flipped": _is_turned(plan),
        },
    }


def _bent_before(sample: Sample) -> bool:
    """Whether the sample itself came out of a deformation."""
    return bool((sample.record.get("geometry") or {}).get("elastic"))


def _meta(plan: Plan, sample: Sample, channels: int) -> dict[str, Any]:
    """Return what a writer needs, as far as it still holds."""
    meta = dict(sample.meta)
    if channels > own_channels(sample):
        meta["own_channels"] = own_channels(sample)
    if plan.changes_unit:
        meta["dtype"] = "float32"  # in another unit, the stored dtype means nothing any more
    known = ignored(sample)
    stated = (meta.get("label_meta") or {}).get("nodata") is not None
    if known and not stated and plan.roles.label_fill == "auto" and plan.segments:
        # What lies outside bears this value now, and readers must know.
        meta["label_meta"] = (meta.get("label_meta") or {}) | {"nodata": known[0]}
    if meta.get("gcps"):
        row, column, x, y = np.array(meta["gcps"], dtype=np.float64).T
        now = plan.output_positions(np.stack([row, column], axis=1) - 0.5) + 0.5
        kept = np.isfinite(now).all(axis=1)
        meta["gcps"] = [tuple(p) for p in np.c_[now, x, y][kept].tolist()]
    elif plan.elastic and is_raster(sample) and plan.source.affine.shape == (3, 3):
        from medsataug.io.georef import control_points

        # No transform describes a bent raster; its corners and what lies between can be named.
        affine, shape = plan.source.affine, plan.grid.shape
        meta["gcps"] = control_points(affine, shape, plan.source_positions)
    return meta


def _is_turned(plan: Plan) -> bool:
    """Whether axes point elsewhere than the source's, scaling and shifting apart."""
    source, exact = plan.source.affine[:-1, :-1], plan.exact[:-1, :-1]
    square = source.shape[0] == source.shape[1]
    linear = np.linalg.solve(source, exact) if square else np.linalg.pinv(source) @ exact
    off = linear - np.diag(np.diag(linear))
    return bool(np.abs(off).max() > 1e-6 * np.abs(linear).max() or np.any(np.diag(linear) < 0))


def _read(
    sample: Sample, segments: list[Segment], border: str
) -> tuple[
    Array, Array | None, NDArray[np.bool_] | None, NDArray[np.float32] | None, list[Segment]
]:
    """Arrays of a sample; of rasters and all that is lazy, the window that the plan needs."""
    shape = sample.grid.shape
    box = tuple((0, n) for n in shape)
    lazy = is_lazy(sample.image) or is_lazy(sample.label) or len(shape) == 2
    first = segments[0].spatial if segments else None
    if lazy and first is not None and first.channels is None:
        box = input_box(first, shape, MARGIN)
        if border == "reflect":
            box = _mirrored(first, shape, box)
        local = replace(first, origin=tuple(start for start, _ in box))
        segments = [Segment(local, segments[0].steps), *segments[1:]]
    window = tuple(slice(a, b) for a, b in box)
    valid = sample.valid
    if is_lazy(sample.image):
        image, valid = sample.image.read(window), sample.image.read_valid(window)
    else:
        image = sample.image[(slice(None), *window)]
        valid = None if valid is None else valid[(slice(None), *window)]
    label = sample.label
    if is_lazy(label):
        label = as_label(label.read(window))
    elif label is not None:
        label = label.reshape(-1, *shape)[(slice(None), *window)].reshape(
            *label.shape[: label.ndim - len(shape)], *(b - a for a, b in box)
        )
    if valid is not None and valid.all():
        valid = None
    soft = None if sample.soft is None else sample.soft[(slice(None), *window)]
    return image, label, valid, soft, segments


def _mirrored(
    spatial: SpatialMap, shape: tuple[int, ...], box: tuple[tuple[int, int], ...]
) -> tuple[tuple[int, int], ...]:
    """Box with what mirrors into the output beyond the border."""
    away = np.eye(len(shape) + 1)
    away[:-1, -1] = shape
    # In a frame of three images side by side the box shows how far beyond the border it goes.
    shifted = SpatialMap(spatial.out_shape, fold((*spatial.parts, Affine(away))))
    wide = input_box(shifted, tuple(3 * n for n in shape), MARGIN)
    out = []
    for n, (start, stop), (low, high) in zip(shape, box, wide, strict=True):
        if low == 0 or high == 3 * n:
            out.append((0, n))  # mirrored more than once
        else:
            before, beyond = n - low, high - 2 * n
            start = min(start, n - beyond) if beyond > 0 else start
            stop = max(stop, before) if before > 0 else stop
            out.append((0 if before > 0 else start, n if beyond > 0 else stop))
    return tuple(out)


def _moved(
    spatial: SpatialMap,
    image: Array,
    valid: NDArray[np.bool_] | None,
    label: Array | None,
    fills: NDArray[np.float32],
    label_fill: int,
    plan: Plan,
    as_given: bool,
    room: Array | None,
) -> tuple[Array, NDArray[np.bool_] | None, Array | None, bool]:
    """Image, validity and label through a map; validity is NaN in the image where resampled.

    The last is whether no NaN is known to be there.
    """
    if spatial.channels is None:
        border = plan.roles.border
        nodata = np.isnan(fills[0])
        stored: Array = fills
        if image.dtype.kind != "f":
            stored = to_dtype(np.where(np.isnan(fills), 0, fills).astype(np.float64), image.dtype)
        new = copied(spatial, image, stored, border, room)
        if new is not None:
            beyond = nodata and border == "constant"
            mask = valid
            if mask is None and beyond:
                mask = np.ones((1, *image.shape[1:]), bool)
            mask = None if mask is None else copied(spatial, mask, not beyond, border)
            mask = None if mask is None or mask.all() else mask
            label = None if label is None else copied(spatial, label, label_fill, border)
            return new, mask, label, False
    out, new_label, whole = resample_image(
        spatial, image, valid, label, fills, label_fill, plan.roles, as_given, room
    )
    return out, None, new_label, whole


def _soft(
    spatial: SpatialMap, soft: NDArray[np.float32], roles: Roles, fills: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Class probabilities through a map: linear, whatever the image is, so that sums stay."""
    if spatial.channels is not None:
        return soft
    new = copied(spatial, soft, fills, roles.border)
    if new is None:
        linear = replace(roles, interpolation="linear")
        new = resample_image(spatial, soft, None, None, fills, 0, linear)[0]
    return np.asarray(new, dtype=np.float32)


def _working(
    image: Array, valid: NDArray[np.bool_] | None, *, owned: bool, room: Array | None
) -> tuple[NDArray[np.float32], Source | None]:
    """Float32 image that may be changed, NaN where there is no data.

    Where it has to be a copy it is still empty, and the first pass over it reads the source.
    """
    if not (owned and image.dtype == np.float32):
        planes = [plane_of(valid, k) for k in range(len(image))]
        flat = [None if plane is None else plane.reshape(-1) for plane in planes]
        channels = [kernel_source(c, v).reshape(-1) for c, v in zip(image, planes, strict=True)]
        return room_for(image.shape, np.float32, room), Source(channels, flat)
    if valid is not None:
        image[np.broadcast_to(~valid, image.shape)] = np.nan
    return image, None
