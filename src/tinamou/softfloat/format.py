"""Binary floating-point formats (IEEE 754-2019, 3.4) and what a bit pattern is.

A number is a word that holds its encoding, higher bits zero.  Nothing here depends on modes or architectures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from tinamou.native.types import Word, i32, u16, u32, u64, u128, u256

__all__ = ["BF16", "F16", "F16_ALT", "F32", "F64", "F80", "F80_M68K", "F128", "Format"]

W = TypeVar("W", bound=Word)


@dataclass(frozen=True)
class Format(Generic[W]):
    """A format: a compile-time constant that specialises every function of this package."""

    name: str
    word: type[W]  # what carries the encoding
    exponent: int  # bits of the exponent field
    fraction: int  # bits below the leading one
    explicit: bool = False  # the leading one is stored
    lowest: int = 1  # the exponent field whose scale subnormal numbers have
    specials: bool = True  # the largest exponent means infinity and NaN, not numbers

    @cached_property
    def precision(self) -> int:
        """Bits of the significand, leading one included."""
        return self.fraction + 1

    @cached_property
    def bias(self) -> int:
        return (1 << self.exponent - 1) - 1

    @cached_property
    def top(self) -> int:
        """The exponent field of all ones."""
        return (1 << self.exponent) - 1

    @cached_property
    def exponent_at(self) -> int:
        """Where the exponent field starts: also the number of stored significand bits."""
        return self.fraction + self.explicit

    @cached_property
    def sign_at(self) -> int:
        return self.exponent_at + self.exponent

    @cached_property
    def sign(self) -> int:
        return 1 << self.sign_at

    @cached_property
    def magnitude(self) -> int:
        """All bits but the sign."""
        return self.sign - 1

    @cached_property
    def leading(self) -> int:
        """The leading one of a normal significand."""
        return 1 << self.fraction

    @cached_property
    def quiet(self) -> int:
        """The topmost fraction bit, which tells quiet from signalling NaNs."""
        return self.leading >> 1

    @cached_property
    def infinity(self) -> int:
        return (self.top << self.exponent_at) | (self.leading if self.explicit and self.lowest else 0)

    @cached_property
    def largest(self) -> int:
        """The largest finite number."""
        return (self.top - self.specials << self.exponent_at) | ((1 << self.exponent_at) - 1)

    @cached_property
    def work(self) -> type[Word]:
        """The word in which significands are added and rounded: at least three bits more than the precision."""
        return u64 if self.precision <= 61 else u128

    @cached_property
    def product(self) -> type[Word]:
        """The word that holds the exact product of two significands."""
        return u64 if self.precision <= 32 else u128 if self.precision <= 64 else u256

    @cached_property
    def sum(self) -> type[Word]:
        """The word in which a product and a third operand are added."""
        return u64 if self.precision <= 30 else u128 if self.precision <= 62 else u256


F16 = Format("f16", u16, 5, 10)
BF16 = Format("bf16", u16, 8, 7)
F32 = Format("f32", u32, 8, 23)
F64 = Format("f64", u64, 11, 52)
F128 = Format("f128", u128, 15, 112)
F80 = Format("f80", u128, 15, 63, explicit=True)
"""x87 double extended: 80 bits in a u128.  Unnormals, pseudo-infinities and pseudo-NaNs are invalid encodings."""
F80_M68K = Format("f80_m68k", u128, 15, 63, explicit=True, lowest=0)
"""MC68881 extended without its 16 bits of padding: unnormals are numbers, and the exponent field 0 has its own scale."""
F16_ALT = Format("f16_alt", u16, 5, 10, specials=False)
"""Arm's alternative half precision: neither infinities nor NaNs."""


def sign_of(f: Format[W], x: W) -> u32:
    return u32(x >> f.sign_at)


def exponent_of(f: Format[W], x: W) -> i32:
    """The exponent field."""
    return i32((x >> f.exponent_at) & f.top)


def is_invalid(f: Format[W], x: W) -> bool:
    """An encoding without meaning: x87's unnormals, pseudo-infinities and pseudo-NaNs."""
    if f.explicit and f.lowest:
        return exponent_of(f, x) != 0 and (x & f.leading) == 0
    else:
        return False


def is_nan(f: Format[W], x: W) -> bool:
    """A NaN or an encoding without meaning."""
    if not f.specials:
        return False
    elif f.explicit:
        return (exponent_of(f, x) == f.top and (x & (f.leading - 1)) != 0) or is_invalid(f, x)
    else:
        return (x & f.magnitude) > f.infinity


def is_infinite(f: Format[W], x: W) -> bool:
    if not f.specials:
        return False
    elif f.explicit:
        return (x & (f.magnitude - f.leading)) == f.top << f.exponent_at and not is_invalid(f, x)
    else:
        return (x & f.magnitude) == f.infinity


def is_zero(f: Format[W], x: W) -> bool:
    """Zero.  The operand is canonical."""
    return (x & f.magnitude) == 0


def is_subnormal(f: Format[W], x: W) -> bool:
    """Denormalised: a lowest exponent field and not zero (x87's pseudo-denormals among them)."""
    if f.explicit and not f.lowest:
        return exponent_of(f, x) == 0 and (x & f.leading) == 0 and not is_zero(f, x)
    else:
        return exponent_of(f, x) == 0 and not is_zero(f, x)
