"""Operations on words that machines have and Python lacks.  Each runs in CPython and compiles to one or a few instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .types import Word, u32

__all__ = [
    "assume", "bitreverse", "bswap", "clz", "ctz", "exported", "intrinsic", "likely", "outlined", "popcount", "quot", "rem", "rotl",
    "rotr", "static_assert", "unlikely",
]  # fmt: skip

W = TypeVar("W", bound=Word)
F = TypeVar("F", bound=Callable[..., Any])


def intrinsic(function: F) -> F:
    """Mark a function whose compiled form is given by the compiler or by the engine, not by its body."""
    function.__native__ = "intrinsic"  # type: ignore[attr-defined]
    return function


def outlined(function: F) -> F:
    """Compile as a function of its own (called, never expanded in place): for what is large or seldom taken."""
    function.__native__ = "outlined"  # type: ignore[attr-defined]
    return function


def plain(function: F) -> F:
    """Compile as a function of its own without optimising it: for generated ones that would take LLVM many seconds."""
    function.__native__ = "outlined"  # type: ignore[attr-defined]
    function.__attributes__ = "optnone"  # type: ignore[attr-defined]
    return function


def exported(function: F) -> F:
    """Compile as a function that the host calls by name, with the C calling convention."""
    function.__native__ = "exported"  # type: ignore[attr-defined]
    return function


@intrinsic
def clz(x: W) -> W:
    """Leading zero bits; the width for 0."""
    return type(x)(x.bits - (int(x) & x.mask).bit_length())


@intrinsic
def ctz(x: W) -> W:
    """Trailing zero bits; the width for 0."""
    v = int(x) & x.mask
    return type(x)((v & -v).bit_length() - 1 if v else x.bits)


@intrinsic
def popcount(x: W) -> W:
    """Number of one bits."""
    return type(x)((int(x) & x.mask).bit_count())


@intrinsic
def bswap(x: W) -> W:
    """The bytes in reverse order."""
    return type(x)(int.from_bytes((int(x) & x.mask).to_bytes(x.size, "little"), "big"))


@intrinsic
def bitreverse(x: W) -> W:
    """The bits in reverse order."""
    return type(x)(int(f"{int(x) & x.mask:0{x.bits}b}"[::-1], 2))


@intrinsic
def rotl(x: W, n: int) -> W:
    """Rotate left by n modulo the width."""
    k, v = int(n) % x.bits, int(x) & x.mask
    return type(x)(v << k | v >> (x.bits - k))


@intrinsic
def rotr(x: W, n: int) -> W:
    """Rotate right by n modulo the width."""
    k, v = int(n) % x.bits, int(x) & x.mask
    return type(x)(v >> k | v << (x.bits - k))


@intrinsic
def quot(a: W, b: W) -> W:
    """Quotient truncated toward zero.  ZeroDivisionError for b = 0 (compiled code: any value); the most negative / -1 wraps."""
    q = abs(int(a)) // abs(int(b))
    return _common(a, b)(-q if (a < 0) != (b < 0) else q)


@intrinsic
def rem(a: W, b: W) -> W:
    """Remainder of quot: it has the sign of a."""
    r = abs(int(a)) % abs(int(b))
    return _common(a, b)(-r if a < 0 else r)


def _common(a: W, b: W) -> type[W]:
    """The type of both, of which one may be a plain number."""
    t = type(a) if isinstance(a, Word) else type(b)
    if isinstance(b, Word) and type(b) is not t:
        raise TypeError(f"{t.__name__} and {type(b).__name__} do not mix: convert one of them")
    return t


@intrinsic
def likely(condition: bool) -> bool:
    """The condition, expected to hold."""
    return condition


@intrinsic
def unlikely(condition: bool) -> bool:
    """The condition, expected not to hold."""
    return condition


@intrinsic
def assume(condition: bool) -> None:
    """The condition holds; the compiler may rely on it."""


def static_assert(condition: bool, message: str) -> None:
    """Fail at compile time (in CPython: at run time) unless the condition, made of constants, holds."""
    if not condition:
        raise TypeError(message)


# -- the host's floating point (native.floats) as the guest's: here, as CPUs are loaded without it


@intrinsic
def host_float_begin(mode: u32) -> bool:
    """Let this thread's floating point round so (0 to nearest even, 1 toward zero, 2 down, 3 up) and forget its flags.

    False where the host's flags are not what IEEE 754 says with tininess after rounding: there it cannot be used so.
    """
    return False


@intrinsic
def host_float_end() -> u32:
    """The flags raised since the beginning: 16 invalid, 8 division by zero, 4 overflow, 2 underflow, 1 inexact.

    The host's own state is back.
    """
    return u32(0)
