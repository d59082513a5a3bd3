"""Statements: every function below does in machine code what it does in CPython."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_harness import Pack, argument_types, arguments, edges

from tinamou.native.types import i8, i32, i64, u8, u16, u32, u64, u128

FUNCTIONS: list[Callable[..., Any]] = []
EIGHT = 8
TABLE = (3, 1, 4, 1, 5, 9, 2, 6)
WORDS = (u32(7), u32(0xFFFF_FFFF), u32(3))
MINUS_ONE = i8(-1)
NAMES = {"one": u64(1), "two": u64(2)}


def example(f: Callable[..., Any]) -> Callable[..., Any]:
    FUNCTIONS.append(f)
    return f


# -- if


@example
def if_else(a: u64, b: u64) -> u64:
    if a > b:
        c = a - b
    else:
        c = b - a
    return c


@example
def if_elif(a: i32) -> i32:
    if a < 0:
        r = i32(-1)
    elif a == 0:
        r = i32(0)
    elif a < 100:
        r = a
    else:
        r = i32(100)
    return r


@example
def if_return(a: u16, b: u16) -> u16:
    if a == b:
        return u16(0)
    if a & 1:
        if b & 1:
            return a * b
        return a
    return b


@example
def if_constant(a: u64) -> u64:
    if EIGHT == 8:
        a += 1
    else:
        undefined_name()  # noqa: F821  never compiled
    if not EIGHT:
        return 1 // 0
    return a


@example
def if_constants_agree(a: u64) -> u64:
    if a > 3:
        k, n = 5, 1
    else:
        k = n = 5
    a = a + n if False else a
    return a * k


@example
def if_constant_of_the_only_way(a: u64) -> u64:
    if a > 3:
        k = 5
    else:
        return a
    return a * k


@example
def if_constant_shadowed(a: u64) -> u64:
    k = 1
    if a > 3:
        k = 2
        return a + k
    return a * k


@example
def if_words(a: u32, b: u8) -> u32:
    if a:
        if not b:
            return u32(1)
        return a
    return u32(b)


@example
def if_pass(a: u8) -> u8:
    if a > 4:
        pass
    else:
        a += 1
    return a


# -- and, or, not, comparisons


@example
def logic(a: u64, b: u64, c: bool) -> tuple[bool, bool, bool, bool]:
    return a < b and c, a < b or c, not (a < b) and not c, (a == 1 or b == 1) and (c or a > b)


@example
def logic_of_words(a: u64, b: u64) -> u64:
    n = u64(0)
    if a and b:
        n += 1
    if a or b:
        n += 2
    if not a:
        n += 4
    if (a and not b) or (b and not a):
        n += 8
    while n < 3 and (a or b):
        n += 16
    return n + u64(1 if False else 2)


@example
def logic_stops(a: u64, b: u64) -> u64:
    if b != 0 and a // b > 3:
        return u64(1)
    if b == 0 or a % b == 0:
        return u64(2)
    return u64(3)


@example
def logic_of_constants(a: u64) -> tuple[u64, u64, bool, bool]:
    return a + (0 or 8), a + (3 and EIGHT), a > 3 and EIGHT == 8, EIGHT == 9 or a == 2


@example
def comparison_of_bools(a: u8, b: u8) -> tuple[bool, bool, bool]:
    p, q = a > 10, b > 10
    return p == q, p != q, p & q | (p ^ q)


@example
def comparison_stops(a: u8, b: u8) -> bool:
    return 3 < a <= 100 < b != 200


@example
def conditional_expression(a: i64, b: i64) -> i64:
    return (a if a > b else b) + (i64(1) if a == 3 else -b if b < 0 else i64(7))


@example
def conditional_of_negatives(a: u8) -> u64:
    small = MINUS_ONE if a > 3 else i8(5)
    return u64(small) >> 4 | u64(MINUS_ONE)


# -- while


@example
def while_counts(a: u8) -> u64:
    n = u64(0)
    while a != 0:
        n += u64(a & 1)
        a >>= 1
    return n


@example
def while_break(a: u16) -> u16:
    n = u16(0)
    while True:
        n += 3
        if n > 300 or n == a:
            break
        if n & 1:
            continue
        n += 1
    return n


@example
def while_return(a: u8) -> u8:
    n = u8(0)
    while True:
        n += 1
        if n * 7 == a:
            return n
        if n == 0:
            return a


@example
def while_nested(a: u8, b: u8) -> u64:
    n, i = u64(0), a & 15
    while i:
        j = b & 15
        while True:
            if j == 0:
                break
            j -= 1
            if j == i:
                continue
            n += u64(i) * u64(j)
        i -= 1
    return n


@example
def while_word_test(a: u32) -> u32:
    n = u32(0)
    while a:
        a &= a - 1
        n += 1
    return n


@example
def while_constant_inside(a: u8) -> u64:
    n = u64(0)
    while a > 3:
        k = 5
        if a & 1:
            k = 7
            n += k
        else:
            n += k + 1
        a >>= 1
    return n


@example
def while_never(a: u8) -> u8:
    while EIGHT == 9:
        a += 1
    return a


# -- for


@example
def for_unrolled(a: u64) -> u64:
    n = u64(0)
    for k in range(EIGHT):
        n += (a >> k & 1) << TABLE[k]
    return n


@example
def for_over_words(a: u32) -> u32:
    for w in WORDS:
        a = a * w ^ 5
    for name in ("one", "two"):
        a += u32(NAMES[name])
    for _ in range(5, 0, -2):
        a ^= a << 1
    return a


@example
def for_constant_break(a: u64) -> u64:
    n = 0
    for k in range(6):
        if k == 3:
            break
        n = n + 1
    return a * n + k


@example
def for_constant_continue(a: u64) -> u64:
    n = 0
    for k in range(6):
        if k & 1:
            continue
        n = n + k
    return a * n


@example
def for_unrolled_break(a: u64) -> u64:
    n = u64(0)
    for k in range(10):
        if a < k * k:
            break
        if a & 1 << k:
            continue
        n += k
    return n


@example
def for_unrolled_return(a: u8) -> u8:
    for k in range(7, -1, -1):
        if a >> k & 1:
            return u8(k)
    return u8(255)


@example
def for_none(a: u8) -> u8:
    for _ in range(0):
        a += 1
    for _ in range(5, 5):
        a += 1
    return a


@example
def for_counted(a: u8, b: u8) -> u64:
    n = u64(0)
    for i in range(a):
        n = n * 3 + u64(i)
    for i in range(b, a):
        n ^= u64(i)
        if i == 77:
            break
    return n


@example
def for_counted_signed(a: i8, b: i8) -> i64:
    n = i64(0)
    for i in range(a, b):
        if i < -100:
            continue
        n += i64(i)
    return n


@example
def for_counted_steps(a: u8, b: u8) -> u64:
    n = u64(0)
    for i in range(a, b, 7):
        n += u64(i)
    for i in range(3, b, 200):
        n ^= u64(i) << 8
    return n


@example
def for_counted_to_the_end(a: i8) -> u64:
    n = u64(0)
    for i in range(a, i8(127), 100):
        n = n << 8 | u64(u8(i))
    return n


@example
def for_many(a: u64) -> u64:
    for i in range(1000):
        a = (a ^ a >> 3) + u64(i)
    return a


@example
def for_inside_for(a: u8, b: u8) -> u64:
    n = u64(0)
    for i in range(a & 7):
        for k in range(3):
            for j in range(b & 3):
                n = n * 5 + u64(i) + u64(j) * k
                if n & 64:
                    break
    return n


@example
def for_variable_behind(a: u8) -> u64:
    n = u64(0)
    for i in range((a & 7) + 1):
        n += u64(i)
    return n * 100 + u64(i)


# -- match


@example
def match_words(a: u8) -> u64:
    match a:
        case 0:
            return u64(10)
        case 1 | 2 | 3:
            n = u64(a) * 2
        case 200:
            n = u64(7)
        case _:
            n = u64(a)
    return n


@example
def match_without_default(a: u16) -> u16:
    n = u16(1)
    match a & 7:
        case 1:
            n = u16(5)
        case 2 | 4:
            n += a
        case 5:
            pass
    return n


@example
def match_signed(a: i8) -> i8:
    match a:
        case -1:
            return i8(0)
        case -128 | 127:
            return i8(1)
    return a


@example
def match_words_as_cases(a: u32) -> u32:
    match a:
        case Kind.FIRST:
            return u32(1)
        case Kind.SECOND | Kind.THIRD:
            return u32(2)
        case _:
            return u32(3)


@example
def match_constant(a: u64) -> u64:
    match EIGHT:
        case 7:
            return a
        case 8:
            return a + 8
    return a


@example
def match_first_of_equals(a: u8) -> u8:
    match a:
        case 7:
            return u8(1)
        case 7 | 8:
            return u8(2)
    return u8(3)


@example
def match_in_loop(a: u64) -> u64:
    n = u64(0)
    for k in range(16):
        match a >> (4 * k) & 15:
            case 0:
                continue
            case 15:
                break
            case 3 | 5 | 7:
                n = n * 2 + k
            case _:
                n += 1
    return n


class Kind:
    FIRST = 0
    SECOND = u32(1)
    THIRD = 0xFFFF_FFFF


# -- assignments


@example
def assign_tuple(a: u8, b: u8) -> tuple[u8, u8]:
    a, b = b, a + b
    (c, d), e = (a, b), a ^ b
    a = b = c + d
    return a + e, b


@example
def assign_augmented(a: u64, b: u64) -> u64:
    n = a
    n += b
    n -= 3
    n *= a
    n ^= b
    n |= 1 << 40
    n &= ~u64(0xFF0)
    n <<= b & 7
    n >>= 2
    n //= (b | 1)
    n %= 1000
    return n


@example
def assign_annotated(a: u64) -> u64:
    n: u64 = a * 2
    bit: bool = n > 100
    return n + u64(bit)


@example
def assign_parameter(a: u32, b: u32) -> u32:
    while b:
        a, b = b, a % b
    return a


@example
def assign_shadowing(a: u64) -> u64:
    EIGHT = a
    WORDS = EIGHT + 1
    return WORDS


@example
def assertions(a: u64) -> u64:
    """A docstring is no code."""
    assert a == a, f"{a} is itself"
    "nor is a string"
    return a


@example
def constants(a: u64) -> u64:
    n = len(TABLE) * 24 + max(TABLE) + TABLE[-1] + int("12") + NAMES["two"].size
    text = f"{n:#x}-{'z'!r}"
    return a + n + len(text) + (2 in TABLE) + u64(isinstance(EIGHT, int))


@example
def large_constants(a: u128) -> u128:
    return a * 0x1234_5678_9ABC_DEF0_1234_5678_9ABC_DEF0 + (1 << 127) - 1


@example
def never_assigned_on_this_way(a: u8) -> u8:
    if a > 3:
        n = a
    else:
        m = a + 1
    if a > 3:
        return n
    return m


@example
def after_endless(a: u8) -> u8:
    while True:
        a += 1
        if a == 0:
            break
    return a


@pytest.fixture(scope="module")
def pack() -> Pack:
    return Pack(FUNCTIONS)


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_agrees(pack: Pack, f: Callable[..., Any], data: st.DataObject) -> None:
    pack.check(f, *data.draw(arguments(f)))


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_agrees_at_edges(pack: Pack, f: Callable[..., Any]) -> None:
    numbers = [[False, True] if t is bool else edges(t) for t in argument_types(f)]
    for k in range(max(map(len, numbers))):
        pack.check(f, *(n[k * (7 if j else 1) % len(n)] for j, n in enumerate(numbers)))
    if len(numbers) == 1 and argument_types(f)[0] in (u8, i8):
        for n in range(256):
            pack.check(f, n)
