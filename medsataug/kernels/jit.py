"""The one decorator of every compiled function, and where compiled code is kept.

Numba's cache looks at the edited file only, not at the functions it calls. The cache folder
is therefore named by a digest of all kernel sources, the versions and the processor.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import config, njit, types
from numba.extending import intrinsic

#: No `nnan`, `ninf` (NaN and Inf are data) and no `reassoc` (a vector body and its remainder
#: would differ).
FASTMATH = {"contract", "arcp", "nsz"}


@cache
def cache_folder() -> Path:
    """Folder of the compiled kernels of this source, these versions and this processor."""
    package = Path(__file__).parent.parent
    digest = hashlib.blake2b(digest_size=8)
    for folder in ("kernels", "transforms"):
        for source in sorted((package / folder).glob("*.py")):
            digest.update(source.name.encode() + source.read_bytes())
    versions = (numba.__version__, llvmlite.__version__, platform.python_version())
    digest.update(repr((versions, platform.machine(), _cpu())).encode())
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medsataug"
    root = Path(os.environ.get("MEDSATAUG_CACHE_DIR") or default)
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK):
            raise PermissionError(root)
    except OSError:
        root = Path(tempfile.gettempdir()) / f"medsataug-{os.getuid()}"
    return root / f"kernels-{digest.hexdigest()}"


def _cpu() -> str:
    import llvmlite.binding as llvm

    return f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"


def is_warm() -> bool:
    """Whether some kernel has been compiled before, so that starting takes no time."""
    folder = cache_folder()
    return folder.is_dir() and any(folder.iterdir())


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` when first called, without the GIL, kept on disk."""
    asked = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())
    try:
        return njit(nogil=True, cache=True, fastmath=FASTMATH, error_model="numpy")(function)
    finally:
        config.CACHE_DIR = asked


def inline(function: Callable[..., Any]) -> Any:
    """Compile a small helper that kernels call; LLVM inlines it."""
    return njit(nogil=True, fastmath=FASTMATH, error_model="numpy")(function)


@intrinsic
def float_bits(typingctx, value):  # type: ignore[no-untyped-def]
    """Bits of a float32 as uint32."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], context.get_value_type(types.uint32))

    return types.uint32(types.float32), codegen


@intrinsic
def bits_float(typingctx, value):  # type: ignore[no-untyped-def]
    """float32 of the bits in a uint32."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], context.get_value_type(types.float32))

    return types.float32(types.uint32), codegen
