"""What IEEE 754 leaves open: flags, the control word (run time) and the rules of an architecture (compile time)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ALPHA", "ARM", "DEFAULT_NAN", "DENORMAL", "DIVBYZERO", "DOWN", "DROP", "FLUSHED", "FLUSH_INPUTS", "FLUSH_OUTPUTS", "HPPA", "IEEE",
    "INEXACT", "INVALID", "LOONGARCH", "M68K", "MIPS", "MIPS_LEGACY", "MODE", "NEAREST_AWAY", "NEAREST_EVEN", "OVERFLOW", "POWER",
    "RISCV", "ROUNDED_UP", "S390", "SH4", "SPARC", "TOWARD_ZERO", "TO_ODD", "UNDERFLOW", "UP", "X86", "X87", "Behaviour",
]  # fmt: skip

# Flags that operations return: the order of RISC-V's fflags.
INEXACT = 1
UNDERFLOW = 2  # tiny and inexact
OVERFLOW = 4
DIVBYZERO = 8
INVALID = 16
IEEE = 31
DENORMAL = 32  # an operand was subnormal (x86 DE)
FLUSHED = 64  # a subnormal operand was taken for zero (Arm IDC)
ROUNDED_UP = 128  # the magnitude returned exceeds the exact one (x87 C1, PowerPC FR)
# Why INVALID, for architectures that say so (PowerPC VX...):
SIGNALLING = 1 << 8  # a signalling NaN
INF_MINUS_INF = 1 << 9
INF_OVER_INF = 1 << 10
ZERO_OVER_ZERO = 1 << 11
INF_TIMES_ZERO = 1 << 12
NEGATIVE_ROOT = 1 << 13
BAD_CONVERSION = 1 << 14
BAD_COMPARISON = 1 << 15
REASONS = 0xFF00

# The control word.  Bits 0-2: rounding mode, numbered as in RISC-V's frm.
MODE = 7
NEAREST_EVEN, TOWARD_ZERO, DOWN, UP, NEAREST_AWAY, TO_ODD = range(6)
DEFAULT_NAN = 1 << 3  # NaN results are the default NaN
FLUSH_INPUTS = 1 << 4  # subnormal operands are zeros
FLUSH_OUTPUTS = 1 << 5  # tiny results are zeros
DROP = 8  # from this bit on, x87: significand bits that results have less than the format (0, 11 or 40)


@dataclass(frozen=True)
class Behaviour:
    """The rules of an architecture: a compile-time constant."""

    name: str
    reports: int = IEEE
    """Flags that the architecture looks at; others may be left clear."""
    nan: str = "first"
    """The NaN a result comes from if operands are NaNs: the "first" or "last" operand that is one, the "larger" significand
    (x87), or "default" (never an operand)."""
    signalling_first: bool = False
    """Signalling operands go before quiet ones."""
    fma_order: str = "abc"
    """The order of operands of a*b + c."""
    default_sign: int = 0
    default_fraction: str = "quiet"
    """Fraction of the default NaN: only the "quiet" bit, "ones", "ones below" the topmost bit, or the bit "below" it."""
    signalling_bit: int = 0
    """The topmost fraction bit of a signalling NaN; 1 in architectures older than IEEE 754-2008's advice."""
    zero_times_infinity: str = "nan"
    """0 * inf + quiet NaN: that "nan", the "default" NaN; both invalid; or that nan in "silence"."""
    tiny_before: bool = False
    """Tininess is detected before rounding."""
    flushes: bool = False
    """FLUSH_INPUTS and FLUSH_OUTPUTS exist."""
    flush_flags: int = UNDERFLOW | INEXACT
    """Flags raised by a flushed result."""
    int_nan: str = "max"
    """NaN to integer: "zero", "max", "min", or "sign" (by the NaN's sign)."""
    int_overflow: str = "saturate"
    """Out of range to integer: "saturate", "max", "min" or "wrap" (bits of the exact integer)."""


RISCV = Behaviour("riscv", nan="default")
ARM = Behaviour(
    "arm",
    reports=IEEE | DENORMAL | FLUSHED,
    signalling_first=True,
    fma_order="cab",
    zero_times_infinity="default",
    tiny_before=True,
    flushes=True,
    flush_flags=UNDERFLOW,
    int_nan="zero",
)
X86 = Behaviour(  # SSE, AVX; integer conversions give the "integer indefinite"
    "x86",
    reports=IEEE | DENORMAL,
    default_sign=1,
    zero_times_infinity="silence",
    flushes=True,
    int_nan="min",
    int_overflow="min",
)
X87 = Behaviour("x87", reports=IEEE | DENORMAL | ROUNDED_UP, nan="larger", default_sign=1, int_nan="min", int_overflow="min")
MIPS = Behaviour("mips", signalling_first=True, fma_order="cab", flushes=True, int_nan="zero")  # NAN2008 = 1
MIPS_LEGACY = Behaviour(
    "mips legacy",
    signalling_first=True,
    fma_order="cab",
    default_fraction="ones below",
    signalling_bit=1,
    zero_times_infinity="default",
    flushes=True,
    int_overflow="max",
)
POWER = Behaviour("power", reports=IEEE | ROUNDED_UP | REASONS, fma_order="acb", tiny_before=True, int_nan="min")
SPARC = Behaviour(
    "sparc",
    nan="last",
    signalling_first=True,
    default_fraction="ones",
    tiny_before=True,
    int_nan="sign",
)
S390 = Behaviour("s390", signalling_first=True, zero_times_infinity="default", tiny_before=True, int_nan="min")
HPPA = Behaviour("hppa", default_fraction="below", signalling_bit=1, tiny_before=True)
M68K = Behaviour("m68k", default_fraction="ones", tiny_before=True, int_nan="sign")
SH4 = Behaviour("sh4", default_fraction="ones below", signalling_bit=1, flushes=True, int_nan="min")
ALPHA = Behaviour("alpha", nan="last", default_sign=1, int_nan="zero", int_overflow="wrap")
LOONGARCH = Behaviour("loongarch", signalling_first=True, fma_order="cab", int_nan="zero")
