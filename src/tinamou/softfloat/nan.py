"""NaNs: which are signalling, and which one a result is (IEEE 754-2019, 6.2)."""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.ops import outlined
from tinamou.native.types import Word, u32

from .behaviour import DEFAULT_NAN, FLUSHED, INVALID, SIGNALLING, Behaviour
from .format import Format, is_invalid, is_nan, sign_of

__all__ = ["default_nan", "invalid", "is_signalling", "nan1", "nan2", "nan3", "quieted"]

W = TypeVar("W", bound=Word)


def default_nan(f: Format[W], rules: Behaviour) -> W:
    """The NaN that operations make when no operand is one."""
    head = rules.default_sign << f.sign_at | f.top << f.exponent_at | (f.leading if f.explicit else 0)
    if rules.default_fraction == "quiet":
        return f.word(head | f.quiet)
    elif rules.default_fraction == "ones":
        return f.word(head | (f.leading - 1))
    elif rules.default_fraction == "ones below":
        return f.word(head | (f.quiet - 1))
    else:
        return f.word(head | f.quiet >> 1)


def invalid(f: Format[W], rules: Behaviour, reason: int, flags: u32) -> tuple[W, u32]:
    """The result of an invalid operation whose operands gave `flags`."""
    return default_nan(f, rules), (flags & FLUSHED) | INVALID | reason & rules.reports


def is_signalling(f: Format[W], rules: Behaviour, x: W) -> bool:
    """A signalling NaN, or an encoding without meaning."""
    return is_nan(f, x) and ((x & f.quiet) == (f.quiet if rules.signalling_bit else 0) or is_invalid(f, x))


def quieted(f: Format[W], rules: Behaviour, x: W) -> W:
    """The quiet NaN that a NaN becomes."""
    if is_invalid(f, x):
        return default_nan(f, rules)
    elif not rules.signalling_bit:
        return x | f.quiet
    elif not is_signalling(f, rules, x):
        return x
    elif rules.default_fraction == "below":  # HPPA clears the topmost bit and sets the next
        return (x ^ f.quiet) | f.quiet >> 1
    else:
        return default_nan(f, rules)


def _signal(f: Format[W], rules: Behaviour, x: W) -> u32:
    """INVALID for a signalling NaN."""
    return u32(INVALID | SIGNALLING & rules.reports) if is_signalling(f, rules, x) else u32(0)


def _result(f: Format[W], rules: Behaviour, x: W, flags: u32, control: u32) -> tuple[W, u32]:
    if rules.nan == "default":
        return default_nan(f, rules), flags
    elif control & DEFAULT_NAN:
        return default_nan(f, rules), flags
    else:
        return quieted(f, rules, x), flags


def _either(f: Format[W], rules: Behaviour, a: W, b: W) -> W:
    """The operand that the result comes from, in the order of preference a, b."""
    if rules.signalling_first:
        return a if is_signalling(f, rules, a) or (is_nan(f, a) and not is_signalling(f, rules, b)) else b
    else:
        return a if is_nan(f, a) else b


def _larger(f: Format[W], rules: Behaviour, a: W, b: W) -> W:
    """The x87 rule (SDM vol. 1, table 4-7): a quiet NaN before a signalling one, else the larger significand, else the positive one."""
    if is_invalid(f, a):
        return a
    elif is_invalid(f, b):
        return b
    elif not is_nan(f, a):
        return b
    elif not is_nan(f, b):
        return a
    elif is_signalling(f, rules, a) != is_signalling(f, rules, b):
        return b if is_signalling(f, rules, a) else a
    elif (a & (f.leading - 1)) != (b & (f.leading - 1)):
        return a if (a & (f.leading - 1)) > (b & (f.leading - 1)) else b
    else:
        return b if sign_of(f, a) == 1 else a


@outlined
def nan1(f: Format[W], rules: Behaviour, a: W, flags: u32, control: u32) -> tuple[W, u32]:
    """The result for an operand that is a NaN."""
    return _result(f, rules, a, (flags & FLUSHED) | _signal(f, rules, a), control)


@outlined
def nan2(f: Format[W], rules: Behaviour, a: W, b: W, flags: u32, control: u32) -> tuple[W, u32]:
    """The result for operands one of which is a NaN."""
    flags = (flags & FLUSHED) | _signal(f, rules, a) | _signal(f, rules, b)
    if rules.nan == "larger":
        return _result(f, rules, _larger(f, rules, a, b), flags, control)
    elif rules.nan == "last":
        return _result(f, rules, _either(f, rules, b, a), flags, control)
    else:
        return _result(f, rules, _either(f, rules, a, b), flags, control)


def _of_three(f: Format[W], rules: Behaviour, a: W, b: W, c: W) -> W:
    return _either(f, rules, a, _either(f, rules, b, c))


@outlined
def nan3(f: Format[W], rules: Behaviour, a: W, b: W, c: W, flags: u32, control: u32) -> tuple[W, u32]:
    """The result of a*b + c for operands one of which is a NaN."""
    flags = (flags & FLUSHED) | _signal(f, rules, a) | _signal(f, rules, b) | _signal(f, rules, c)
    if rules.fma_order == "cab":
        return _result(f, rules, _of_three(f, rules, c, a, b), flags, control)
    elif rules.fma_order == "acb":
        return _result(f, rules, _of_three(f, rules, a, c, b), flags, control)
    elif rules.nan == "last":
        return _result(f, rules, _of_three(f, rules, c, b, a), flags, control)
    else:
        return _result(f, rules, _of_three(f, rules, a, b, c), flags, control)
