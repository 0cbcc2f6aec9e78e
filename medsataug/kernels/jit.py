"""The one decorator of every compiled function, and where compiled code is kept.

Numba's cache looks at the edited file only, not at the functions it calls. The cache folder
is therefore named by a digest of all kernel sources, the versions and the processor.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Callable, Set
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import config, njit, types
from numba.extending import intrinsic

#: No `nnan`, `ninf` (NaN and Inf are data) and no `reassoc` (a vector body and its remainder
#: would differ).
FASTMATH = {"contract", "arcp", "nsz"}
#: Sums over a block may be added up in vectors: how is the compiler's choice, and then fixed.
SUMS = FASTMATH | {"reassoc"}


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


def kernel(function: Callable[..., Any], fastmath: Set[str] = FASTMATH) -> Any:
    """Compile ``function`` when first called, without the GIL, kept on disk."""
    asked = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())
    try:
        made = njit(nogil=True, cache=True, fastmath=fastmath, error_model="numpy")(function)
    finally:
        config.CACHE_DIR = asked
    if not config.DISABLE_JIT:
        _check_what_is_loaded(made)
    return made


def reduction(function: Callable[..., Any]) -> Any:
    """`kernel` for float64 sums over a block that is cut the same way always."""
    return kernel(function, SUMS)


def _check_what_is_loaded(dispatcher: Any) -> None:
    """Take from the cache only what was compiled for the types at hand.

    Numba numbers the files of a function; processes that compile it for different types at the
    same time may choose one number for both.
    """
    load = dispatcher._cache.load_overload

    def checked(signature: Any, context: Any) -> Any:
        found = load(signature, context)
        args = getattr(signature, "args", signature)
        return found if found is None or tuple(found.signature.args) == tuple(args) else None

    dispatcher._cache.load_overload = checked


def inline(function: Callable[..., Any]) -> Any:
    """Compile a helper into the kernels that call it: a call left standing hinders vectorising."""
    return njit(nogil=True, fastmath=FASTMATH, error_model="numpy", forceinline=True)(function)


if config.DISABLE_JIT:

    def float_bits(value: Any) -> Any:
        """Bits of a float32 as uint32."""
        return np.float32(value).view(np.uint32)

    def bits_float(value: Any) -> Any:
        """float32 of the bits in a uint32."""
        return np.uint32(value).view(np.float32)

else:

    @intrinsic
    def float_bits(typingctx, value):
        """Bits of a float32 as uint32."""

        def codegen(context, builder, signature, args):
            return builder.bitcast(args[0], context.get_value_type(types.uint32))

        return types.uint32(types.float32), codegen

    @intrinsic
    def bits_float(typingctx, value):
        """float32 of the bits in a uint32."""

        def codegen(context, builder, signature, args):
            return builder.bitcast(args[0], context.get_value_type(types.float32))

        return types.float32(types.uint32), codegen
