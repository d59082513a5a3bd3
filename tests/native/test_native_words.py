"""Words of every width: CPython and machine code give the same numbers."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_harness import SIGNED, UNSIGNED, WORDS, Pack, edges, values

from tinamou.native.ops import bitreverse, bswap, clz, ctz, likely, popcount, quot, rem, rotl, rotr, unlikely
from tinamou.native.types import Word, i8, i64, u8, u16, u32, u64, u128, u256


def common(T: type[Word]) -> list[Callable[..., Any]]:
    """What words of any type can."""

    def add(a: T, b: T) -> T:
        return a + b

    def sub(a: T, b: T) -> T:
        return a - b

    def mul(a: T, b: T) -> T:
        return a * b

    def and_(a: T, b: T) -> T:
        return a & b

    def or_(a: T, b: T) -> T:
        return a | b

    def xor(a: T, b: T) -> T:
        return a ^ b

    def unary(a: T) -> tuple[T, T, T]:
        return -a, ~a, +a

    def constants_right(a: T) -> tuple[T, T, T, T, T, T]:
        return a + 1, a - 100, a * -3, a & 0x1FF, a | 0x11, a ^ -1

    def constants_left(a: T) -> tuple[T, T, T, T, T, T]:
        return 1 + a, 100 - a, -3 * a, 0x1FF & a, 0x11 | a, -1 ^ a

    def compare(a: T, b: T) -> tuple[bool, bool, bool, bool, bool, bool]:
        return a == b, a != b, a < b, a <= b, a > b, a >= b

    def compare_constants(a: T) -> tuple[bool, bool, bool, bool, bool, bool]:
        return a == 1, 100 != a, a < 100, a <= 0, 3 > a, a >= 127

    def chained(a: T, b: T) -> tuple[bool, bool]:
        return 3 <= a < b, a == b == 7

    def member(a: T) -> tuple[bool, bool]:
        return a in (1, 7, 100), a not in (0, 2, 64)

    def smallest(a: T, b: T) -> tuple[T, T, T]:
        return min(a, b), max(a, b), min(max(a, T(5)), b, T(99))

    def counts(a: T) -> tuple[T, T, T]:
        return clz(a), ctz(a), popcount(a)

    def reversals(a: T) -> tuple[T, T]:
        return bswap(a), bitreverse(a)

    def divide(a: T, b: T) -> tuple[T, T]:
        return quot(a, b), rem(a, b)

    def divide_by_constants(a: T) -> tuple[T, T, T, T, T, T]:
        return quot(a, 7), rem(a, 7), quot(a, 1), rem(a, 64), quot(100, a | 1), rem(100, a | 1)

    def division_guarded(a: T, b: T) -> tuple[T, T]:
        return (quot(a, b), rem(a, b)) if False else (T(0) if b == 0 else quot(a, b), a if b == 0 else rem(a, b))

    def to_bool(a: T, b: T) -> tuple[bool, bool, bool]:
        return bool(a), not a, bool(a & b)

    def from_bool(a: T, b: T) -> T:
        return T(a < b) + T(a != b) + T(True)

    def hints(a: T, b: T) -> T:
        if likely(a < b) and not unlikely(b == 100):
            return a
        return b

    def choice(a: T, b: T) -> T:
        return a if a > b else b

    def mixed(a: T, b: T) -> T:
        return ((a + b) * (a ^ b) - (a & ~b)) ^ (a | b) + 17

    return [
        add, sub, mul, and_, or_, xor, unary, constants_right, constants_left, compare, compare_constants, chained, member, smallest,
        counts, reversals, divide, divide_by_constants, division_guarded, to_bool, from_bool, hints, choice, mixed,
    ]  # fmt: skip


def unsigned(T: type[Word]) -> list[Callable[..., Any]]:
    def floor(a: T, b: T) -> tuple[T, T]:
        return a // b, a % b

    def floor_by_constants(a: T) -> tuple[T, T, T, T, T, T]:
        return a // 1, a % 1, a // 10, a % 10, a // 64, a % 64

    def floor_of_constants(a: T) -> tuple[T, T]:
        return 200 // a, 200 % a

    return [floor, floor_by_constants, floor_of_constants]


def signed(T: type[Word]) -> list[Callable[..., Any]]:
    def by_minus_one(a: T) -> tuple[T, T]:
        return quot(a, -1), rem(a, -1)

    def by_minus_seven(a: T) -> tuple[T, T]:
        return quot(a, -7), rem(a, -7)

    def below_zero(a: T, b: T) -> tuple[bool, bool, bool]:
        return a < 0, a >= -1, -3 < b

    return [by_minus_one, by_minus_seven, below_zero]


def shifts(T: type[Word]) -> list[Callable[..., Any]]:
    def by_same(a: T, n: T.unsigned_type) -> tuple[T, T]:
        return a << n, a >> n

    def by_u8(a: T, n: u8) -> tuple[T, T]:
        return a << n, a >> n

    def by_u16(a: T, n: u16) -> tuple[T, T]:
        return a << n, a >> n

    def by_u64(a: T, n: u64) -> tuple[T, T]:
        return a << n, a >> n

    def by_u256(a: T, n: u256) -> tuple[T, T]:
        return a << n, a >> n

    def by_masked(a: T, n: u32) -> tuple[T, T]:
        return a << (n & T.bits - 1), a >> (n & T.bits - 1)

    def by_bounded(a: T, n: u8) -> tuple[T, T]:
        return a << n % 7, a >> (n >> 5)

    def by_constants(a: T) -> tuple[T, T, T, T, T, T, T, T]:
        return a << 0, a >> 0, a << 3, a >> 3, a << T.bits - 1, a >> T.bits - 1, a << T.bits, a >> T.bits

    def by_much(a: T) -> tuple[T, T]:
        return a << 10_000, a >> 10_000

    def rotated(a: T, n: T.unsigned_type) -> tuple[T, T]:
        return rotl(a, n), rotr(a, n)

    def rotated_by_u8(a: T, n: u8) -> tuple[T, T]:
        return rotl(a, n), rotr(a, n)

    def rotated_by_i64(a: T, n: i64) -> tuple[T, T]:
        return rotl(a, n), rotr(a, n)

    def rotated_by_constants(a: T) -> tuple[T, T, T, T]:
        return rotl(a, 5), rotr(a, 5), rotl(a, 300), rotr(a, T.bits)

    return [
        by_same, by_u8, by_u16, by_u64, by_u256, by_masked, by_bounded, by_constants, by_much, rotated, rotated_by_u8, rotated_by_i64,
        rotated_by_constants,
    ]  # fmt: skip


def casts(T: type[Word]) -> list[Callable[..., Any]]:
    """From T to every other type, straight, through each sign, and with what a cast knows of the numbers it gives."""
    found = []
    for U in WORDS:

        def cast(a: T, U: type[Word] = U) -> U:
            return U(a)

        def through(a: T, U: type[Word] = U) -> U:
            return U(T.signed_type(a)) ^ U(T.unsigned_type(a))

        def narrowed(a: T, U: type[Word] = U) -> U:
            return U(i8(a)) + U(u8(a)) * 3

        def bounded(a: T, b: T, U: type[Word] = U) -> U:
            small = U(i8(a & 0xFF))
            return small >> 3 | (U(b) << u64(i8(u8(a)) & 15)) | U(T(7) if a > b else b & 31)

        for f in (cast, through, narrowed, bounded):
            f.__annotations__.pop("U")
            f.__annotations__["return"] = U
        found += [cast, through, narrowed, bounded]
    return found


class Suite:
    """The functions of one type, compiled together."""

    def __init__(self, T: type[Word]) -> None:
        self.type = T
        self.functions = common(T) + (signed(T) if T.signed else unsigned(T)) + shifts(T) + casts(T)
        self.pack = Pack(self.functions)

    def check(self, a: int, b: int) -> None:
        for f in self.functions:
            parameters = f.__code__.co_argcount - len(f.__defaults__ or ())
            self.pack.check(f, *(a, b)[:parameters])


@pytest.fixture(scope="module", params=WORDS, ids=lambda t: t.__name__)
def suite(request: pytest.FixtureRequest) -> Suite:
    return Suite(request.param)


def test_edges(suite: Suite) -> None:
    numbers = edges(suite.type)
    if len(numbers) > 18 or suite.type.bits > 64:
        numbers = numbers[::2] + numbers[-1:]
    for a, b in itertools.product(numbers, repeat=2):
        suite.check(a, b)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random(suite: Suite, data: st.DataObject) -> None:
    a, b = data.draw(values(suite.type)), data.draw(st.one_of(values(suite.type), st.integers(0, 2 * suite.type.bits)))
    suite.check(a, b)


@pytest.mark.parametrize("t", WORDS, ids=lambda t: t.__name__)
@given(n=st.integers(-(1 << 300), 1 << 300))
@settings(max_examples=30)
def test_numbers_wrap(t: type[Word], n: int) -> None:
    assert int(t(n)) % (1 << t.bits) == n % (1 << t.bits)
    assert (-(1 << t.bits - 1) if t.signed else 0) <= t(n) < 1 << t.bits - t.signed


@pytest.mark.parametrize("t", WORDS, ids=lambda t: t.__name__)
def test_types_do_not_mix(t: type[Word]) -> None:
    for other in WORDS:
        if other is not t:
            for operation in (int.__add__, int.__and__, int.__sub__):
                name = operation.__name__
                with pytest.raises(TypeError, match=f"{t.__name__} and {other.__name__} do not mix"):
                    getattr(t(1), name)(other(1))
    assert type(t(3) + 4) is type(4 + t(3)) is type(t(3) << other(200)) is t


def test_signed_division_is_by_name() -> None:
    for t in SIGNED:
        with pytest.raises(TypeError, match="quot"):
            t(7) // t(2)
        with pytest.raises(TypeError, match="rem"):
            t(7) % t(2)
        assert (quot(t(-7), t(2)), rem(t(-7), t(2))) == (-3, -1)
    for t in UNSIGNED:
        assert (100 // t(7), 100 % t(7)) == (14, 2) and type(100 // t(7)) is t


def test_shown() -> None:
    assert repr(u128(1 << 100)) == "u128(0x10000000000000000000000000)" and str(i8(-5)) == "-5" and f"{u8(255)}" == "255"
