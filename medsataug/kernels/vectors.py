"""Short vectors and prefetching: what the compiler does not find by itself.

Two neighbours along x, or four channels side by side, are one vector of every processor in use
(SSE, AVX, NEON); eight are one of AVX and two elsewhere. Each function here is written in LLVM's
own language and takes flat, C-contiguous arrays and indices into them, which nothing checks; a
plain version of it stands in where compiling is switched off. Lerps run along z, then y, then x.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic
from numba.np import arrayobj

from medsataug.kernels.jit import FASTMATH

LANES = 4
#: Numbers that `move` takes at once.
RUN = 8
_FLAGS = tuple(sorted(FASTMATH))
_INDEX = ir.IntType(32)


def _vector(n, element=None):
    return ir.VectorType(element or ir.FloatType(), n)


def _shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(_vector(len(lanes), _INDEX), list(lanes)))


def _splat(builder, value, n):
    empty = ir.Constant(_vector(n), ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(_INDEX, 0))
    return _shuffle(builder, first, empty, [0] * n)


def _memory(context, builder, kind, value):
    return arrayobj.make_array(kind)(context, builder, value).data


def _load(builder, memory, at, kind, n):
    """``n`` numbers of any type from index ``at`` on, as float32."""
    pointer = builder.gep(memory, [at])
    vector = _vector(n, memory.type.pointee)
    value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    value.align = kind.bitwidth // 8
    if isinstance(kind, types.Integer):
        convert = builder.sitofp if kind.signed else builder.uitofp
        value = convert(value, _vector(n))
    return value


def _store(builder, value, memory, at):
    pointer = builder.gep(memory, [at])
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = 4


def _plain_copy(builder, memory, at, into, to, kind):
    vector = _vector(RUN, memory.type.pointee).as_pointer()
    value = builder.load(builder.bitcast(builder.gep(memory, [at]), vector))
    stored = builder.store(value, builder.bitcast(builder.gep(into, [to]), vector))
    value.align = stored.align = kind.bitwidth // 8


def _lerp(builder, a, b, f):
    """Return ``a + f · (b − a)``."""
    rise = builder.fmul(f, builder.fsub(b, a, flags=_FLAGS), flags=_FLAGS)
    return builder.fadd(a, rise, flags=_FLAGS)


def _ends(builder, memory, kind, n, o, dz, dy, fz, fy):
    """Vectors at ``o`` of what lies there, lerped along z (None in a plane) and y."""
    fz, fy = fz and _splat(builder, fz, n), _splat(builder, fy, n)

    def column(o):
        low = _load(builder, memory, o, kind, n)
        if fz is None:
            return low
        return _lerp(builder, low, _load(builder, memory, builder.add(o, dz), kind, n), fz)

    return _lerp(builder, column(o), column(builder.add(o, dy)), fy)


def _pair(builder, memory, kind, o, dz, dy, fz, fy, fx):
    """Value between neighbours along x, which make one vector."""
    both = _ends(builder, memory, kind, 2, o, dz, dy, fz, fy)
    low, high = (builder.extract_element(both, ir.Constant(_INDEX, k)) for k in (0, 1))
    return _lerp(builder, low, high, fx)


def _lanes(builder, memory, kind, lanes, o, dz, dy, dx, fz, fy, fx):
    """Values of several channels."""
    low = _ends(builder, memory, kind, lanes, o, dz, dy, fz, fy)
    high = _ends(builder, memory, kind, lanes, builder.add(o, dx), dz, dy, fz, fy)
    return _lerp(builder, low, high, _splat(builder, fx, lanes))


@intrinsic
def _bilinear(typingctx, src, o, dy, fy, fx):
    def codegen(context, builder, signature, args):
        memory, kind = _memory(context, builder, signature.args[0], args[0]), src.dtype
        o, dy, fy, fx = args[1:]
        return _pair(builder, memory, kind, o, None, dy, None, fy, fx)

    i, f = types.int64, types.float32
    return f(src, i, i, f, f), codegen


@intrinsic
def _trilinear(typingctx, src, o, dz, dy, fz, fy, fx):
    def codegen(context, builder, signature, args):
        memory, kind = _memory(context, builder, signature.args[0], args[0]), src.dtype
        return _pair(builder, memory, kind, *args[1:])

    i, f = types.int64, types.float32
    return f(src, i, i, i, f, f, f), codegen


def _bilinear_lanes(lanes):
    @intrinsic
    def bilinear_lanes(typingctx, src, o, dy, dx, fy, fx, out, at):
        def codegen(context, builder, signature, args):
            memory, kind = _memory(context, builder, signature.args[0], args[0]), src.dtype
            o, dy, dx, fy, fx = args[1:6]
            value = _lanes(builder, memory, kind, lanes, o, None, dy, dx, None, fy, fx)
            _store(builder, value, _memory(context, builder, signature.args[6], args[6]), args[7])
            return context.get_dummy_value()

        i, f = types.int64, types.float32
        return types.void(src, i, i, i, f, f, out, i), codegen

    return bilinear_lanes


def _trilinear_lanes(lanes):
    @intrinsic
    def trilinear_lanes(typingctx, src, o, dz, dy, dx, fz, fy, fx, out, at):
        def codegen(context, builder, signature, args):
            memory, kind = _memory(context, builder, signature.args[0], args[0]), src.dtype
            value = _lanes(builder, memory, kind, lanes, *args[1:8])
            _store(builder, value, _memory(context, builder, signature.args[8], args[8]), args[9])
            return context.get_dummy_value()

        i, f = types.int64, types.float32
        return types.void(src, i, i, i, i, f, f, f, out, i), codegen

    return trilinear_lanes


@intrinsic
def _prefetch(typingctx, src, o):
    def codegen(context, builder, signature, args):
        memory = _memory(context, builder, signature.args[0], args[0])
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, *[_INDEX] * 3])
        call = builder.module.globals.get("llvm.prefetch.p0") or ir.Function(
            builder.module, kind, "llvm.prefetch.p0"
        )
        # Reading, to the second level, data.
        how = [ir.Constant(_INDEX, k) for k in (0, 2, 1)]
        builder.call(call, [builder.bitcast(builder.gep(memory, [args[1]]), byte), *how])
        return context.get_dummy_value()

    return types.void(src, types.int64), codegen


@intrinsic
def _move(typingctx, src, i, out, at):
    def codegen(context, builder, signature, args):
        memory = _memory(context, builder, signature.args[0], args[0])
        into = _memory(context, builder, signature.args[2], args[2])
        kind = signature.args[0].dtype
        if kind == signature.args[2].dtype:
            _plain_copy(builder, memory, args[1], into, args[3], kind)
        else:
            _store(builder, _load(builder, memory, args[1], kind, RUN), into, args[3])
        return context.get_dummy_value()

    return types.void(src, types.int64, out, types.int64), codegen


def _alike(rows):
    """Whether neighbours along x are the same number, in all of several rows: one load a row."""

    @intrinsic
    def alike(typingctx, src, o, dz, dy):
        def codegen(context, builder, signature, args):
            memory = _memory(context, builder, signature.args[0], args[0])
            o, dz, dy = args[1:]
            bits = src.dtype.bitwidth
            pair = ir.IntType(2 * bits)

            def load(at):
                at = builder.bitcast(builder.gep(memory, [at]), pair.as_pointer())
                value = builder.load(at)
                value.align = bits // 8
                return value

            places = [o, builder.add(o, dy)]
            places += [builder.add(o, dz) for o in places][: rows - 2]
            first, *others = (load(at) for at in places)
            high = builder.trunc(builder.lshr(first, ir.Constant(pair, bits)), ir.IntType(bits))
            same = builder.icmp_unsigned("==", builder.trunc(first, ir.IntType(bits)), high)
            for other in others:
                same = builder.and_(same, builder.icmp_unsigned("==", first, other))
            return same

        return types.boolean(src, types.int64, types.int64, types.int64), codegen

    return alike


@intrinsic
def _wide_vectors(typingctx):
    def codegen(context, builder, signature, args):
        # llvmlite's own add() knows no attributes with values.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


if config.DISABLE_JIT:

    def bilinear(src, o, dy, fy, fx):
        """Value between the pixels at ``o``, one after it, and those ``dy`` further."""
        both = [_lerped(src[o + k], src[o + dy + k], fy) for k in (0, 1)]
        return _lerped(*both, fx)

    def trilinear(src, o, dz, dy, fz, fy, fx):
        """Value between the voxels at ``o``, one after it, and those ``dz`` and ``dy`` further."""
        columns = [_lerped(src[o + k], src[o + dz + k], fz) for k in (0, 1, dy, dy + 1)]
        return _lerped(*(_lerped(columns[k], columns[k + 2], fy) for k in (0, 1)), fx)

    def _bilinear_lanes(lanes):
        def bilinear_lanes(src, o, dy, dx, fy, fx, out, at):
            for c in range(lanes):
                out[at + c] = _lerped(
                    *(_lerped(src[o + k + c], src[o + dy + k + c], fy) for k in (0, dx)), fx
                )

        return bilinear_lanes

    def _trilinear_lanes(lanes):
        def trilinear_lanes(src, o, dz, dy, dx, fz, fy, fx, out, at):
            for k in range(o, o + lanes):
                columns = [
                    _lerped(src[i], src[i + dz], fz) for i in (k, k + dx, k + dy, k + dy + dx)
                ]
                both = (_lerped(columns[i], columns[i + 2], fy) for i in (0, 1))
                out[at + k - o] = _lerped(*both, fx)

        return trilinear_lanes

    def _alike(rows):
        def alike(src, o, dz, dy):
            at = [o, o + dy, o + dz, o + dz + dy][:rows]
            return all(src[i] == src[o] and src[i + 1] == src[o] for i in at)

        return alike

    def _lerped(a, b, f):
        return np.float32(a) + f * (np.float32(b) - np.float32(a))

    def wide_vectors() -> None:
        """Let the kernel it is called in use vectors of 512 bits where the processor has them.

        LLVM keeps to 256 on many of those. Kernels that compute much for each voxel gain (shade
        1.8 times, gamma 1.4, noise 1.15); those that wait for memory do not.
        """

    def prefetch(src, o):
        """Bring memory into cache that will be read soon."""

    def move(src, i, out, at):
        """`RUN` numbers, of any type into float32 or as they are."""
        out[at : at + RUN] = src[i : i + RUN]

else:
    bilinear, trilinear = _bilinear, _trilinear
    prefetch, move, wide_vectors = _prefetch, _move, _wide_vectors

#: Several channels at once between the four pixels, or eight voxels, at ``o``; into ``out``.
bilinear_4, bilinear_8 = _bilinear_lanes(LANES), _bilinear_lanes(2 * LANES)
trilinear_4, trilinear_8 = _trilinear_lanes(LANES), _trilinear_lanes(2 * LANES)

#: Whether four pixels, or eight voxels, at ``o`` bear the same number.
alike_4, alike_8 = _alike(2), _alike(4)
