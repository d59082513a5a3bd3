"""Wires between parts. An output is a level computed from a device's state; an input is a pin that several may drive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")


class Pin:
    """An input. Its `level` is high while any driver is high; `action(level)` is called when it changes."""

    __slots__ = ("_high", "action", "held", "level", "name", "number", "owner", "watchers")

    def __init__(self, action: Callable[[bool], object], name: str = "in", number: int = 0, owner: Any = None) -> None:
        self.action, self.name, self.number, self.owner = action, name, number, owner
        self.level = False
        self.held: bool | None = None
        self._high = 0
        self.watchers: list[Callable[[bool], object]] = []

    def __repr__(self) -> str:
        return f"<pin {self.name}[{self.number}] {'high' if self.level else 'low'}>"

    def __call__(self, level: bool) -> None:
        """Drive from outside (a test, a person); replaces what was driven by this call before."""
        before = bool(self.held)
        self.held = bool(level)
        self._count(int(self.held) - int(before))

    def pulse(self) -> None:
        """High and low again: an edge for inputs that latch."""
        self(True)
        self(False)

    def _count(self, change: int) -> None:
        self._high += change
        level = self._high > 0
        if level != self.level:
            self.level = level
            self.action(level)
            for w in self.watchers:
                w(level)

    def recount(self, high: int) -> None:
        """After a restore: take the level without telling anybody."""
        self._high = high + int(bool(self.held))
        self.level = self._high > 0


class Wire:
    """One output connected to one pin. Only changes travel."""

    __slots__ = ("inverted", "level", "pin")

    def __init__(self, pin: Pin, inverted: bool = False) -> None:
        self.pin, self.inverted, self.level = pin, inverted, False

    def set(self, level: bool) -> None:
        if level != self.level:
            self.level = level
            self.pin._count(1 if level else -1)


class Line:
    """A level-sensitive output whose level is a function of the device's state: `@line def irq(self) -> ...`."""

    count: int | str | None = None

    def __init__(self, f: Callable[[Any], object]) -> None:
        self.f = f
        self.name = f.__name__
        self.__doc__ = f.__doc__

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> bool: ...
    def __get__(self, obj: object | None, owner: type) -> Self | bool:
        return self if obj is None else bool(self.f(obj))


class Lines:
    """Several numbered outputs: `@lines("ngpio") def out(self, n: int) -> ...`."""

    def __init__(self, f: Callable[[Any, int], object], count: int | str) -> None:
        self.f, self.count = f, count
        self.name = f.__name__
        self.__doc__ = f.__doc__

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> list[bool]: ...
    def __get__(self, obj: object | None, owner: type) -> Self | list[bool]:
        if obj is None:
            return self
        return [bool(self.f(obj, n)) for n in range(count_of(self.count, obj))]


line = Line


def lines(count: int | str) -> Callable[[Callable[[Any, int], object]], Lines]:
    """`count` outputs; a string names the attribute of the device that holds the number."""
    return lambda f: Lines(f, count)


class Input:
    """An input of a device: `@pin def reset_n(self, level: bool) -> None`. On an instance it is a Pin."""

    def __init__(self, f: Callable[[Any, bool], object]) -> None:
        self.f = f
        self.name = f.__name__
        self.__doc__ = f.__doc__

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> Pin: ...
    def __get__(self, obj: Any | None, owner: type) -> Self | Pin:
        if obj is None:
            return self
        f = self.f

        def action(level: bool) -> None:
            f(obj, level)
            obj.settle()

        made = obj.__dict__[self.name] = Pin(action, self.name, 0, obj)
        return made


class Inputs:
    """Numbered inputs: `@pins("sources") def source(self, n: int, level: bool) -> None`. On an instance a Row of Pins."""

    def __init__(self, f: Callable[[Any, int, bool], object], count: int | str) -> None:
        self.f, self.count = f, count
        self.name = f.__name__
        self.__doc__ = f.__doc__

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> Row: ...
    def __get__(self, obj: Any | None, owner: type) -> Self | Row:
        if obj is None:
            return self
        made = obj.__dict__[self.name] = Row(self, obj)
        return made


class Row:
    """The numbered pins of one input array, made when first asked for."""

    def __init__(self, inputs: Inputs, owner: Any) -> None:
        self._inputs, self._owner = inputs, owner
        self._pins: dict[int, Pin] = {}

    def __len__(self) -> int:
        return count_of(self._inputs.count, self._owner)

    def __getitem__(self, n: int) -> Pin:
        """Pin `n`. Raises IndexError."""
        found = self._pins.get(n)
        if found is None:
            if not 0 <= n < len(self):
                raise IndexError(f"{type(self._owner).__name__} has no input {self._inputs.name}[{n}], "
                                 f"only 0 to {len(self) - 1}")
            f, owner = self._inputs.f, self._owner

            def action(level: bool) -> None:
                f(owner, n, level)
                owner.settle()

            found = self._pins[n] = Pin(action, self._inputs.name, n, owner)
        return found

    def __iter__(self) -> Iterator[Pin]:
        return (self[n] for n in range(len(self)))

    def made(self) -> dict[int, Pin]:
        """The pins somebody asked for."""
        return self._pins


pin = Input


def pins(count: int | str) -> Callable[[Callable[[Any, int, bool], object]], Inputs]:
    """`count` inputs; a string names the attribute of the device that holds the number."""
    return lambda f: Inputs(f, count)


def count_of(count: int | str, owner: Any) -> int:
    return count if isinstance(count, int) else int(getattr(owner, count))


class State(Generic[T]):
    """Internal state that is reset and saved with the registers: `mode = state(Mode.ARRAY)`.

    A list, dict, deque or bytearray is copied at each reset. `keep=True` survives every reset but power-on.
    """

    def __init__(self, default: T, *, keep: bool = False, make: Callable[[Any], T] | None = None) -> None:
        self.default, self.keep, self.make = default, keep, make
        self.name = "?"

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def initial(self, owner: Any) -> Any:
        """The value after reset."""
        if self.make is not None:
            return self.make(owner)
        value: Any = self.default
        return value.copy() if isinstance(value, (list, dict, bytearray, set, deque)) else value

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> T: ...
    def __get__(self, obj: object | None, owner: type) -> Self | T:
        if obj is None:
            return self
        raise AttributeError(f"{type(obj).__name__}.{self.name} is read before its first reset")


state = State


def state_of(make: Callable[[Any], T], *, keep: bool = False) -> State[T]:
    """State whose value after reset depends on the device: `enabled = state_of(lambda self: [0] * self.contexts)`."""
    return State[T](None, keep=keep, make=make)  # type: ignore[arg-type]
