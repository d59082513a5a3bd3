"""Functions, structures, arrays, tuples and host memory in compiled code."""

import ctypes
import threading
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_harness import Pack, argument_types, arguments, load, values

from tinamou.native import memory
from tinamou.native.lower import Const, Hooks, Lower, Unit, V, Value
from tinamou.native.ops import exported, intrinsic, outlined, static_assert
from tinamou.native.types import Array, Layout, Struct, Word, align_up, i8, i16, i32, i64, u8, u16, u32, u64, u128, u256

W = TypeVar("W", bound=Word)
X = TypeVar("X", bound=Word)
FUNCTIONS: list[Callable[..., Any]] = []


def example(f: Callable[..., Any]) -> Callable[..., Any]:
    FUNCTIONS.append(f)
    return f


# -- calls


def low_byte(x: u64, times: int = 1) -> u64:
    return (x & 0xFF) * times


@example
def defaults_and_names(a: u64) -> u64:
    return low_byte(a) + low_byte(a, 3) + low_byte(times=5, x=a)


def first_set(x: u32, otherwise: u32) -> u32:
    """Leaves in the middle of two loops."""
    for k in range(4):
        while x >> 8 * k & 0xFF:
            if x & 1 << 8 * k:
                return u32(k)
            x &= x - 1
    return otherwise


@example
def early_returns(a: u32, b: u32) -> u32:
    return first_set(a, b) * 10 + first_set(b & 0xFF00, first_set(a >> 3, u32(9)))


def of_type(kind: type[W], x: u64) -> W:
    return kind(x) * kind(3)


@example
def specialised_by_type(a: u64) -> tuple[u8, i32, u128, u64]:
    return of_type(u8, a), of_type(i32, a), of_type(u128, a), u64(of_type(i16, a))


@outlined
def outlined_of_type(kind: type[W], x: u64, times: int) -> W:
    return kind(x) * times


@example
def outlined_by_type(a: u64) -> tuple[u8, u64, u64]:
    return outlined_of_type(u8, a, 3), outlined_of_type(u64, a, 3), outlined_of_type(u64, a, 4) ^ u64(outlined_of_type(i8, a, True))


class Style:
    def __init__(self, name: str, bits: int, signed: bool) -> None:
        self.name, self.bits, self.signed = name, bits, signed

    @property
    def mask(self) -> int:
        return (1 << self.bits) - 1


NARROW, WIDE = Style("narrow", 5, False), Style("wide", 40, True)


@outlined
def styled(style: Style, x: u64) -> u64:
    if style.signed:
        return x & style.mask ^ 1 << style.bits
    return x & style.mask


@example
def specialised_by_object(a: u64) -> u64:
    return styled(NARROW, a) * 3 + styled(WIDE, a) + styled(NARROW, a >> 7)


@outlined
def divided(a: u64, b: u64) -> tuple[u64, u64, bool]:
    if b == 0:
        return u64(0), a, False
    return a // b, a % b, True


@example
def outlined_tuple(a: u64, b: u64) -> tuple[u64, bool]:
    q, r, fine = divided(a, b)
    pair = divided(r, q)
    return q ^ r ^ pair[0], fine and pair[2]


def both(a: u32, b: u32) -> tuple[u32, u32]:
    if a > b:
        return a, b
    return b, a


@example
def inlined_tuple(a: u32, b: u32) -> tuple[u32, u32, u32]:
    high, low = both(a, b)
    pair = both(low * 3, high)
    return high, low, pair[0] - pair[1]


def swapped(x: W, y: X) -> tuple[X, W]:
    return y, x


@example
def tuple_of_type_variables(a: u8, b: u64) -> tuple[u64, u8]:
    big, small = swapped(a, b)
    return big, small + 1


@outlined
def is_small(x: u64) -> bool:
    return x < 100


@example
def outlined_bool(a: u64, flag: bool) -> bool:
    return is_small(a) if flag else not is_small(a >> 3)


@outlined
def wide(a: u256, b: u128, c: u8) -> u256:
    return a * u256(b) + u256(c)


@example
def outlined_wide(a: u256, b: u128, c: u8) -> u256:
    return wide(a, b, c) ^ wide(a >> 128, b, c + 1)


def nothing(x: u64) -> None:
    if x > 3:
        return
    return None


@example
def without_result(a: u64) -> u64:
    nothing(a)
    return a


def constant_of(n: int) -> int:
    return n * n


def chooses(a: u64) -> Any:
    if a > 3:
        return constant_of
    return constant_of


@example
def constant_functions(a: u64) -> u64:
    f = constant_of
    return a + f(12) + chooses(a)(3) + (constant_of, abs)[1](-4)


@example
def static_assertion(a: u8) -> u8:
    static_assert(a.bits == 8 and u8.size == 1 and not a.signed and a.mask == 255, "a u8 has 8 bits")
    return a


def in_closure(step: int) -> Callable[..., Any]:
    def add_step(a: u64) -> u64:
        return a + step

    return add_step


FUNCTIONS += [in_closure(5), in_closure(7)]


# -- structures


class Point(Struct):
    x: u32
    y: i16
    flag: u8

    def moved(self, by: u32) -> u32:
        return self.x + by


class Shape(Struct):
    count: u8
    points: Annotated[Array[Point], 4]
    wide: u128
    bytes: Annotated[Array[u8], 16]
    signed: Annotated[Array[i32], 8]

    def total(self) -> u64:
        n = u64(0)
        for k in range(len(self.points)):
            n += u64(self.points[k].x)
        return n

    @outlined
    def put(self, k: u64, value: i32) -> None:
        self.signed[k & 7] = value


class Solid(Shape):
    """A structure's fields come before those of what is derived from it."""

    height: u64
    last: u8


def test_layout() -> None:
    at = {n: (f.offset, f.layout.size) for n, f in Solid.fields.items()}
    assert at == {
        "count": (0, 1), "points": (4, 32), "wide": (48, 16), "bytes": (64, 16), "signed": (80, 32), "height": (112, 8), "last": (120, 1),
    }  # fmt: skip
    assert (Point.size, Point.alignment, Shape.size, Solid.size, Solid.alignment) == (8, 4, 112, 128, 16)
    assert [Layout.of(t).align for t in (u8, i16, u256, Point)] == [1, 2, 16, 4]
    assert [align_up(n, 8) for n in (0, 1, 8, 9)] == [0, 8, 8, 16]
    with pytest.raises(TypeError, match="is no field"):
        type("Bad", (Struct,), {"__annotations__": {"x": int}, "__module__": __name__})
    with pytest.raises(TypeError, match="is no field"):
        type("Bad", (Struct,), {"__annotations__": {"x": Array[u8]}, "__module__": __name__})


def test_structures_in_cpython() -> None:
    s = Solid()
    assert s.address % 64 == 0 and ctypes.string_at(s.address, Solid.size) == bytes(Solid.size)
    s.points[2].y = i16(-3)
    s.wide, s.last = u128(-1), 300  # type: ignore[assignment]
    assert (s.points[2].y, s.last, s.wide) == (i16(-3), u8(44), u128((1 << 128) - 1))
    assert list(s.bytes) == [u8(0)] * 16 and len(s.points) == 4
    view = Solid.at(s.address)
    view.height = u64(7)
    assert s.height == 7 and type(s.height) is u64
    with pytest.raises(TypeError, match="convert it"):
        s.height = u32(1)  # type: ignore[assignment]
    with pytest.raises(TypeError, match="as a whole"):
        s.points = s.points
    for index in (-1, 4):
        with pytest.raises(IndexError, match=f"index {index} of 4"):
            s.points[index]


SHAPE = Solid()


@example
def fields(a: u32, b: i16) -> tuple[u32, i16, u8, u128]:
    s = Solid.at(HERE)
    p = s.points[1]
    p.x = a
    s.points[2].y = b
    p.flag = 3
    s.wide = u128(a) << 96 | u128(b)
    s.last += 1
    s.last &= 7
    s.height ^= u64(a)
    return p.moved(u32(1)), s.points[2].y, s.points[1].flag, s.wide


@example
def elements(a: u64, b: i32) -> tuple[i32, u64, u8]:
    s = Solid.at(HERE)
    s.bytes[a & 15] = u8(b)
    s.put(a >> 3, b)
    for k in range(8):
        s.signed[k] += k
    for i in range(s.count & 15):
        s.bytes[u64(i) & 15] ^= 0x55
    s.count = u8(a)
    return s.signed[a % 8], s.total() + u64(s.points[u8(a) >> 6].x), s.bytes[a & 15]


@example
def addresses(a: u64) -> u64:
    s = Solid.at(HERE)
    p = Point.at(s.points[1].address)
    p.x = u32(a)
    return s.points[1].address - s.address + u64(s.points[1].x) + u64(Solid.fields["height"].offset)


def bump(s: Solid) -> u64:
    s.height += 1
    return s.height


@example
def evaluated_once(a: u8) -> tuple[u8, u64]:
    """An augmented assignment evaluates its target once."""
    s = Solid.at(HERE)
    s.height = u64(a)
    s.bytes[bump(s) & 15] += 3
    s.bytes[bump(s) & 15] ^= u8(bump(s))
    return s.bytes[s.height & 15], s.height


@example
def comparison_evaluates_once(a: u8) -> tuple[bool, u64]:
    """And stops where Python stops."""
    s = Solid.at(HERE)
    s.height = u64(a)
    found = 5 < bump(s) < 100 < bump(s)
    return found, s.height


@example
def logic_evaluates_in_order(a: u8) -> u64:
    s = Solid.at(HERE)
    s.height = u64(a)
    if (bump(s) & 1 and bump(s) > 9) or (not bump(s) & 3 == 0 and bump(s) > 20):
        s.height += 100
    return s.height + (bump(s) if a > 9 else u64(1)) * bump(s)


HERE = u64(SHAPE.address)


@pytest.fixture(scope="module")
def pack() -> Pack:
    return Pack(FUNCTIONS)


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_agrees(pack: Pack, f: Callable[..., Any], data: st.DataObject) -> None:
    given = data.draw(arguments(f))
    before = ctypes.string_at(SHAPE.address, Solid.size)
    compiled = pack.compiled(f, *given)
    left = ctypes.string_at(SHAPE.address, Solid.size)
    ctypes.memmove(SHAPE.address, before, Solid.size)
    result = f(*(t(v) for t, v in zip(argument_types(f), given, strict=True)))
    assert (result if isinstance(result, tuple) else (result,)) == compiled
    assert ctypes.string_at(SHAPE.address, Solid.size) == left


def test_repeated_calls_are_one_function() -> None:
    unit = Unit(Hooks())

    @exported
    def run(a: u64) -> u64:
        return u64(outlined_of_type(u8, a, 3)) + u64(outlined_of_type(u8, a + 1, 3)) + u64(outlined_of_type(u8, a, 4))

    unit.export(run)
    made = [line for line in unit.text("x").splitlines() if line.startswith("define") and "outlined_of_type" in line]
    assert len(made) == 2


# -- host memory


MEMORY = ctypes.create_string_buffer(64)
AT = u64(ctypes.addressof(MEMORY))


@pytest.mark.parametrize("t", [u8, i8, u16, i16, u32, i32, u64, i64, u128, u256], ids=lambda t: t.__name__)
@pytest.mark.parametrize("shift", [0, 1, 3])
def test_peek_and_poke(t: type[Word], shift: int) -> None:
    """At any alignment, little-endian; no byte besides changes."""

    def peeks(n: t) -> t:
        memory.poke(t, AT + shift, n)
        return memory.peek(t, AT + shift) + memory.peek(t, AT + 8)

    pack = Pack([peeks])
    for n in (0, 1, -1, 0x0102_0304_0506_0708, 1 << t.bits - 1):
        ctypes.memmove(int(AT), bytes(range(64)), 64)
        result = pack.compiled(peeks, n)
        compiled = MEMORY.raw
        ctypes.memmove(int(AT), bytes(range(64)), 64)
        assert (peeks(t(n)),) == result and MEMORY.raw == compiled
        assert compiled[shift : shift + t.size] == int(t(n) & -1).to_bytes(t.size, "little", signed=t.signed)


@pytest.mark.parametrize("t", [u8, i8, u16, i16, u32, i32, u64, i64], ids=lambda t: t.__name__)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_atomics(t: type[Word], data: st.DataObject) -> None:
    pack, functions = atomics(t)
    old, value = data.draw(values(t)), data.draw(values(t))
    for f in functions:
        memory.poke(t, AT, t(old))
        result = pack.compiled(f, value, old if value & 1 else value)
        after = memory.peek(t, AT)
        memory.poke(t, AT, t(old))
        assert (f(t(value), t(old if value & 1 else value)),) == result, f.__name__
        assert memory.peek(t, AT) == after, f.__name__


def atomics(t: type[Word]) -> tuple[Pack, list[Callable[..., Any]]]:
    if t not in _atomics:
        functions = []
        for operation in ("swap", "add", "and", "or", "xor", "min", "max"):

            def exchange(value: t, _: t, operation: str = operation) -> t:
                return memory.exchange(operation, t, AT, value)

            exchange.__annotations__.pop("operation")
            functions.append(exchange)

        def compare_exchange(value: t, expected: t) -> t:
            return memory.compare_exchange(t, AT, expected, value)

        def ordered(value: t, _: t) -> t:
            memory.fence()
            memory.poke_release(t, AT, value)
            return memory.peek_acquire(t, AT) + memory.peek_acquire(t, AT)

        functions += [compare_exchange, ordered]
        _atomics[t] = Pack(functions), functions
    return _atomics[t]


_atomics: dict[type[Word], Any] = {}


def test_atomics_are_atomic() -> None:
    @exported
    def add_many(n: u64) -> None:
        while n:
            n -= 1
            memory.exchange("add", u32, AT, u32(3))
            old = memory.peek(u32, AT + 8)
            while True:
                found = memory.compare_exchange(u32, AT + 8, old, old + 5)
                if found == old:
                    break
                old = found

    unit = Unit(Hooks())
    unit.export(add_many)
    run = load(unit).function("add_many", None, ctypes.c_uint64)
    ctypes.memset(int(AT), 0, 64)
    threads = [threading.Thread(target=run, args=(100_000,)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (memory.peek(u32, AT), memory.peek(u32, AT + 8)) == (u32(1_200_000), u32(2_000_000))


def test_host_functions() -> None:
    calls = []

    @ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 4)
    def callback(a: int, b: int, c: int, d: int) -> int:
        calls.append((a, b, c, d))
        return a ^ d

    where = u64(ctypes.cast(callback, ctypes.c_void_p).value or 0)

    def calls_host(a: u64) -> u64:
        return memory.call_host(where, a, a + 1, u64(2), ~u64(0)) + memory.call_host(where, u64(1), a, a, a)

    pack = Pack([calls_host])
    pack.check(calls_host, 77)
    assert calls == [(77, 78, 2, (1 << 64) - 1), (1, 77, 77, 77)] * 2

    def counts() -> bool:
        return memory.cycle_counter() <= memory.cycle_counter()

    pack = Pack([counts])
    pack.check(counts)


# -- what the host program supplies


@intrinsic
def answer(x: u64) -> u64:
    raise TypeError("only compiled code knows")


class Machine(Struct):
    a: u64
    virtual: u64


class Answers(Hooks):
    """An intrinsic, a field that is not in memory, and raise."""

    def __init__(self) -> None:
        super().__init__({answer: lambda g, x: V(u64, g.value(f"add i64 {g.ref(x, u64)}, 42"))})

    def outlined(self) -> Hooks:
        return self

    def get_field(self, g: Lower, base: V, field: Any) -> Value | None:
        return Const(99) if field.name == "virtual" else None

    def set_field(self, g: Lower, base: V, field: Any, value: V) -> bool:
        if field.name == "virtual":
            g.emit(f"store i64 {value.ref}, ptr {g.offset(base.ref, 0)}")
        return field.name == "virtual"

    def raises(self, g: Lower, exception: type, args: list[Value]) -> None:
        base = g.scopes[0].names["m"]
        assert isinstance(base, V)
        g.emit(f"store i64 {g.cast(args[0], u64).ref}, ptr {base.ref}")
        g.branch(g.scopes[0].result_label)

    def after_raising_call(self, g: Lower) -> None:
        stop, go = g.label(), g.label()
        base = g.scopes[0].names["m"]
        assert isinstance(base, V)
        left = g.value(f"load i64, ptr {base.ref}")
        g.branch_if(V(bool, g.value(f"icmp uge i64 {left}, 1000")), stop, go)
        g.place(stop)
        g.branch(g.scopes[0].result_label)
        g.place(go)


class Stop(Exception):
    pass


def fails(code: int) -> None:
    raise Stop(code)


@outlined
def checks(m: Machine, x: u64) -> None:
    if x > 10:
        raise Stop(x + 1000)
    if x == 5:
        fails(1005)


def test_hooks() -> None:
    @exported
    def run(m: Machine, x: u64) -> None:
        checks(m, x)
        m.virtual = answer(x) + m.virtual
        if x == 3:
            fails(777)

    unit = Unit(Answers())
    unit.export(run)
    compiled = load(unit).function("run", None, ctypes.c_uint64, ctypes.c_uint64)
    for x, expected in ((1, 142), (11, 1011), (3, 777), (5, 1005), (10, 151)):
        m = Machine()
        compiled(m.address, x)
        assert m.a == expected
