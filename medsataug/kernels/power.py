"""Powers in vector code, which a library's `powf` and `expf` keep LLVM from making.

Source: Muller, Elementary Functions (3rd edition, 2016), chapter 11 (reduction by the bits of the
exponent) and section 3.3 (minimax polynomials).
"""

from __future__ import annotations

import numpy as np

from medsataug.kernels.jit import bits_float, float_bits, inline

#: 1.5 · 2²³: added to a float32 below 2²², it leaves the nearest integer in the lowest bits.
_ROUNDER = np.float32(12582912)
_ROUNDER_BITS = np.int32(0x4B400000)
_INVERSE_LN2 = np.float32(1.4426950408889634)


@inline
def exp2(whole, rest):
    """2 to the power of the finite float32 sum ``whole`` + ``rest``, to 1.2e-7.

    The sum is within ±2²². The power of two nearest to it is taken off ``whole``, which loses
    nothing. 0 below −127 and Inf above 127.5.
    """
    rounded = (whole + rest) + _ROUNDER
    r = (whole - (rounded - _ROUNDER)) + rest
    # Relative minimax on −½ … ½, exact at 0 (error 2e-9).
    p = np.float32(0.00015353362)
    p = p * r + np.float32(0.00133988745)
    p = p * r + np.float32(0.00961843736)
    p = p * r + np.float32(0.0555033247)
    p = p * r + np.float32(0.240226479)
    p = p * r + np.float32(0.693147203)
    p = p * r + np.float32(1)
    n = np.int32(np.int32(float_bits(rounded)) - np.int32(_ROUNDER_BITS - 127))
    biased = np.int32(min(max(n, np.int32(0)), np.int32(255)))  # 0 and 255 are those of 0 and Inf
    return p * bits_float(np.uint32(np.uint32(biased) << np.uint32(23)))


@inline
def power(t, exponent):
    """``t`` to a positive ``exponent``, of float32 ``t`` of 0 and above, to 2e-7 up to exponent 2.

    The error grows by 1e-7 for each further 1 of the exponent. Exact at 0 and 1 and for exponent
    1; NaN and Inf stay. Subnormal ``t`` counts as 2⁻¹²⁷.
    """
    bits = float_bits(t)
    shifted = np.int32(np.int32(bits) - np.int32(0x3F3504F3))
    k = np.float32(np.int32(shifted >> np.int32(23)))
    mantissa = np.int32(np.int32(shifted & np.int32(0x007FFFFF)) + np.int32(0x3F3504F3))
    m = bits_float(np.uint32(mantissa))  # sqrt(1/2) … sqrt(2)
    # Odd series of its logarithm in s = (m − 1)/(m + 1), minimax (error 1e-9), times the exponent.
    s = (m - np.float32(1)) / (m + np.float32(1))
    z = s * s
    e = exponent * _INVERSE_LN2
    series = np.float32(0.298709378) * e
    series = series * z + np.float32(0.39977574) * e
    series = series * z + np.float32(0.666667761) * e
    series = series * z + np.float32(2) * e
    # k times the exponent's upper 12 bits is exact: the integer part costs no digits.
    upper = bits_float(np.uint32(float_bits(exponent) & np.uint32(0xFFFFF000)))
    result = exp2(k * upper, k * (exponent - upper) + s * series)
    # Neither 0, Inf nor NaN, in one comparison.
    positive = np.uint32(np.int32(np.int32(bits) - np.int32(1))) < np.uint32(0x7F7FFFFF)
    return result if positive and exponent != 1 else t


@inline
def signed_power(t, exponent):
    """`power` of |t| with the sign of t: the curve goes on below 0 as its mirror image."""
    bits = float_bits(t)
    sign = bits & np.uint32(0x80000000)
    bent = float_bits(power(bits_float(np.uint32(bits ^ sign)), exponent))
    return bits_float(np.uint32(bent | sign))
