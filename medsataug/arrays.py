"""Arrays as compiled kernels take them: each other form would silently be compiled once more."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medsataug.errors import ConfigError
from medsataug.types import Array

#: Image types the kernels read as they are.
NATIVE = ("float32", "uint8", "int16", "uint16")


def native(array: Array) -> Array:
    """C-contiguous, native-endian form of an array; the array itself where it is already."""
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    return np.asarray(writable(np.ascontiguousarray(array)))


def room_for(shape: tuple[int, ...], dtype: Any, room: Array | None) -> Any:
    """Memory of a shape and type: ``room`` where that fits, else new."""
    fits = room is not None and room.shape == shape and room.dtype == dtype
    return room if fits else np.empty(shape, dtype)


class _Plain:
    """Hand over an array's memory without its read-only mark."""

    def __init__(self, array: Any) -> None:
        self.keep = array
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def writable(array: Any) -> Any:
    """View that compiled kernels take without being compiled once more for read-only memory.

    Kernels never write to their sources.
    """
    return array if array.flags.writeable else np.asarray(_Plain(array))


class Memory(NamedTuple):
    """An array as kernels reach into it: (C, Z, Y, X), a plane having one Z.

    ``strides`` are of channel, z, y and x, counted in elements of ``flat``; ``shape`` is
    (z, y, x).
    """

    flat: Array
    strides: tuple[int, int, int, int]
    shape: tuple[int, int, int]


def memory(array: Array) -> Memory:
    """Memory of a (C, [Z,] Y, X) array; a copy only where it runs backwards."""
    array = writable(array)
    if any(s < 0 or s % array.itemsize for s in array.strides):
        array = np.ascontiguousarray(array)
    if array.ndim == 3:
        array = array[:, np.newaxis]
    strides = tuple(s // array.itemsize for s in array.strides)
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
    else:
        span = 1 + sum((n - 1) * s for n, s in zip(array.shape, strides, strict=True))
        flat = np.lib.stride_tricks.as_strided(array, (span,), (array.itemsize,))
    return Memory(flat, strides, array.shape[1:])  # type: ignore[arg-type]


def plane_of(valid: Array | None, channel: int) -> Array | None:
    """Return the validity of one channel: its own plane, or the one that all share."""
    return None if valid is None else valid[min(channel, len(valid) - 1)]


def kernel_source(channel: Array, valid: Array | None = None) -> Array:
    """Channel as kernels read it; what is not ``valid`` may hold anything.

    Raises
    ------
    ConfigError
        For integers that float32 cannot hold.
    """
    if channel.dtype.name in NATIVE and channel.dtype.isnative:
        return channel
    array = native(channel)
    if array.dtype.name in NATIVE:
        return array
    known = array if valid is None else array[valid.astype(bool)]  # kernels have masks as uint8
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2 and known.size:
        largest = max(abs(int(known.min())), abs(int(known.max())))
        if largest > 2**24:
            raise ConfigError(
                f"image: {array.dtype} values up to {largest} do not fit the 24 bits that are "
                "interpolated exactly; rescale them, or pass them as a label if they are one"
            )
    with np.errstate(over="ignore"):  # a float64 nodata value
        return array.astype(np.float32)


def as_float(channel: Array, valid: Array | None) -> NDArray[np.float32]:
    """Float32 copy of a channel, NaN where it is not valid."""
    out = kernel_source(channel, valid).astype(np.float32)
    if valid is not None:
        out[~valid.astype(bool)] = np.nan
    return out
