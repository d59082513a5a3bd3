"""A device is a class: its properties, registers, lines, timers and state are declared once and everything else follows."""

from __future__ import annotations

import dataclasses
import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, dataclass_transform, overload

from tinamou.machine import registers
from tinamou.machine.clock import Clock, Event
from tinamou.machine.lines import Line, Lines, Pin, Row, State, Wire, count_of
from tinamou.machine.log import Log
from tinamou.machine.memory import BusError, Endian, Region
from tinamou.machine.props import STR, Link, Prop, Properties, PropertyError, nearest, prop
from tinamou.machine.registers import Field, Reg

if TYPE_CHECKING:
    from tinamou.firmware.fdt import Node
    from tinamou.machine.bus import Bus
    from tinamou.machine.machine import Machine, Placed

ResetKind = Literal["cold", "warm"]
GLOBALS: ContextVar[Sequence[tuple[str, str, str]]] = ContextVar("GLOBALS", default=())  # -global: (type, property, text) of new devices
Plain = Any


class Fifo(deque[int]):
    """A queue of numbers with a fixed depth."""

    def __init__(self, depth: int, content: Iterable[int] = ()) -> None:
        super().__init__(content)
        self.depth = depth

    @property
    def full(self) -> bool:
        return len(self) >= self.depth

    @property
    def room(self) -> int:
        return self.depth - len(self)

    def copy(self) -> Fifo:
        return Fifo(self.depth, self)

    __copy__ = copy


def fifo(depth: int) -> State[Fifo]:
    """State that is an empty Fifo of `depth` after reset."""
    return State(Fifo(depth))


class Alarm:
    """A one-shot event in a device's clock domain; arming again replaces the deadline. Deadlines are in ticks."""

    __slots__ = ("_event", "action", "clock", "deadline")

    def __init__(self, clock: Clock, action: Callable[[], object]) -> None:
        self.clock, self.action = clock, action
        self.deadline: int | None = None
        self._event: Event | None = None

    def at(self, tick: int) -> None:
        """Fire when the clock reaches `tick`."""
        if self._event:
            self._event.cancel()
        self.deadline = tick
        self._event = self.clock.at(tick, self._fire)

    def after(self, ticks: int) -> None:
        """Fire `ticks` from now."""
        self.at(self.clock.ticks + ticks)

    def cancel(self) -> None:
        if self._event:
            self._event.cancel()
        self._event = self.deadline = None

    def _fire(self) -> None:
        self._event = self.deadline = None
        self.action()


class Timer:
    """`@timer def expire(self) -> None`: on an instance an Alarm; lines are recomputed after it fired."""

    def __init__(self, f: Callable[[Any], object], clock: str = "clock") -> None:
        self.f, self.clock, self.name = f, clock, f.__name__
        self.__doc__ = f.__doc__

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> Alarm: ...
    def __get__(self, obj: Any | None, owner: type) -> Self | Alarm:
        if obj is None:
            return self
        f = self.f

        def fire() -> None:
            f(obj)
            obj.settle()

        made = obj.__dict__[self.name] = Alarm(getattr(obj, self.clock), fire)
        return made


class Timers:
    """`@timers("harts") def expire(self, n: int) -> None`: on an instance a list of Alarms."""

    def __init__(self, f: Callable[[Any, int], object], count: int | str, clock: str = "clock") -> None:
        self.f, self.count, self.clock, self.name = f, count, clock, f.__name__
        self.__doc__ = f.__doc__

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> list[Alarm]: ...
    def __get__(self, obj: Any | None, owner: type) -> Self | list[Alarm]:
        if obj is None:
            return self

        def fire(n: int) -> None:
            self.f(obj, n)
            obj.settle()

        clock = getattr(obj, self.clock)
        made = [Alarm(clock, partial(fire, n)) for n in range(count_of(self.count, obj))]
        obj.__dict__[self.name] = made
        return made


timer = Timer


def timers(count: int | str, clock: str = "clock") -> Callable[[Callable[[Any, int], object]], Timers]:
    """`count` one-shot events; a string names the attribute of the device that holds the number."""
    return lambda f: Timers(f, count, clock)


@dataclass_transform(kw_only_default=True, field_specifiers=(prop,))
class Device:
    """The base of every part.

    Class keywords: `type` is the name in `-device` and `info qtree`, `compatible` and
    `node` its compatible strings and node name in device trees, `size` the bytes of
    register space, `width` the bits of a register without its own width, `access` the accepted access sizes in bytes,
    `endian` the byte order. Annotated attributes made by `prop` are the properties and the constructor's arguments.
    `setup` runs once when they are set, `on_reset` after each reset has put the declared values in place.
    """

    type_name: ClassVar[str] = ""
    compatible: ClassVar[tuple[str, ...]] = ()
    node_name: ClassVar[str] = ""
    size: ClassVar[int] = 0x1000
    width: ClassVar[int] = 32
    access: ClassVar[tuple[int, int]] = (1, 8)
    implemented: ClassVar[tuple[int, int] | None] = None
    unaligned: ClassVar[bool] = False
    endian: ClassVar[Endian] = "little"
    bus: ClassVar[str] = "System"
    category: ClassVar[str] = "Misc"
    desc: ClassVar[str] = ""
    user_creatable: ClassVar[bool] = False
    properties: ClassVar[Properties] = Properties("device")

    _registers: ClassVar[list[Reg]] = []
    _fields: ClassVar[list[Field]] = []
    _states: ClassVar[list[State[Any]]] = []
    _lines: ClassVar[list[Line | Lines]] = []
    _timers: ClassVar[list[Timer | Timers]] = []
    _inputs: ClassVar[list[str]] = []
    _at: ClassVar[dict[int, Reg]] = {}

    def __init_subclass__(cls, *, type: str = "", compatible: str | tuple[str, ...] = (), node: str = "",
                          size: int | None = None,
                          width: int | None = None, access: tuple[int, int] | None = None,
                          implemented: tuple[int, int] | None = None, unaligned: bool | None = None,
                          endian: Endian | None = None, bus: str = "", category: str = "", desc: str = "",
                          user_creatable: bool | None = None) -> None:
        super().__init_subclass__()
        cls.type_name = type
        if compatible:
            cls.compatible = (compatible,) if isinstance(compatible, str) else compatible
        for key, value in (("node_name", node or None), ("size", size), ("width", width), ("access", access), ("implemented", implemented),
                           ("unaligned", unaligned), ("endian", endian), ("bus", bus or None),
                           ("category", category or None), ("desc", desc or None), ("user_creatable", user_creatable)):
            if value is not None:
                setattr(cls, key, value)
        cls._collect()

    @classmethod
    def _collect(cls) -> None:
        """Walk the declarations of the class and its bases; impossible ones are errors at import."""
        merged: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            merged.update(vars(base))
        reserved = set(dir(Device))
        props = {}
        for attribute, p in merged.items():
            if isinstance(p, Prop):
                name = p.name or attribute.replace("_", "-")
                props[name] = dataclasses.replace(p, name=name, attribute=attribute)
            elif isinstance(p, (Field, Reg, State, Line, Lines, Timer, Timers)) and attribute in reserved:
                raise TypeError(f"{cls.__name__}.{attribute} hides a name of the framework")
        cls.properties = Properties(cls.type_name or cls.__name__, props)
        cls._fields = [v for v in merged.values() if isinstance(v, Field)]
        cls._registers = [v for v in merged.values() if isinstance(v, Reg)]
        cls._states = [v for v in merged.values() if isinstance(v, State)]
        cls._lines = [v for v in merged.values() if isinstance(v, (Line, Lines))]
        cls._timers = [v for v in merged.values() if isinstance(v, (Timer, Timers))]
        cls._at = {}
        for f in cls._fields:
            if f.reg not in cls._registers:
                raise TypeError(f"{cls.__name__}.{f.name} belongs to a register without a name")
        for reg in cls._registers:
            reg.width = reg.width or cls.width
            seen = 0
            for f in reg.fields:
                if f.hi < 0:
                    f.end(reg.width - 1)
                if f.hi >= reg.width:
                    raise TypeError(f"{cls.__name__}.{f.name} lies outside {reg.name}, which has {reg.width} bits")
                if seen & f.bits:
                    raise TypeError(f"{cls.__name__}.{f.name} overlaps another field of {reg.name}")
                seen |= f.bits
            if reg.bank is None:
                for byte in range(reg.offset, reg.offset + reg.width // 8):
                    if byte in cls._at:
                        raise TypeError(f"{cls.__name__}.{reg.name} overlaps {cls._at[byte].name}")
                    cls._at[byte] = reg
                if reg.offset + reg.width // 8 > cls.size:
                    raise TypeError(f"{cls.__name__}.{reg.name} lies outside the {cls.size:#x} bytes of the device")

    # --- life

    def __init__(self, **given: Any) -> None:
        self.id = ""
        self.machine: Machine | None = None
        self.parent: Device | None = None
        self.log = Log()
        self.wires: dict[str, dict[int, list[Wire]]] = {}
        self.parts: dict[str, Device] = {}
        self._readers: dict[int, Callable[[], int]] = {}
        self._writers: dict[int, Callable[[int], None]] = {}
        self._outputs: list[tuple[Callable[[], object], list[Wire]]] = []
        self._ready = False
        given = {**self._global_values(given), **given}
        by_attribute = {p.attribute: p for p in self.properties.table.values()}
        for key in given:
            if key not in by_attribute:
                raise TypeError(f"{type(self).__name__} has no property {key!r}{nearest(key, by_attribute)}")
        for attribute, p in by_attribute.items():
            if attribute in given:
                value = given[attribute]
                setattr(self, attribute, p.kind.parse(p.name, value) if value is not None else None)
            elif p.required:
                raise PropertyError(f"{p.name} property not set")
            else:
                setattr(self, attribute, p.initial())
        self._own_clock = self.__dict__.get("clock") is None
        if self._own_clock:
            self.clock: Any = Clock(1_000_000_000)
        self._clear("cold")
        for t in self._timers:
            getattr(self, t.name)
        self.setup()
        self._ready = True
        self.reset()

    def _global_values(self, given: dict[str, Any]) -> dict[str, Any]:
        """What GLOBALS say of this class and its bases, where `given` says nothing. Raises PropertyError."""
        names = {c.type_name for c in type(self).__mro__ if issubclass(c, Device)} - {""}
        values: dict[str, Any] = {}

        def resolve(link: Link, name: str, text: str) -> Any:
            raise PropertyError(f"Property '{self.type_name}.{name}' is given to each device")

        for driver, name, text in GLOBALS.get():
            if driver in names:
                try:
                    values |= self.properties.parse({name: text}, resolve)
                except PropertyError as e:
                    raise PropertyError(f"can't apply global {driver}.{name}={text}: {e}", e.hint) from None
        return {k: v for k, v in values.items() if k not in given}

    def setup(self) -> None:
        """Runs once, with the properties set and the declared state in place."""

    def on_reset(self, kind: ResetKind) -> None:
        """Runs after each reset."""

    def reset(self, kind: ResetKind = "cold") -> None:
        """Put every declared value back. A "warm" reset keeps sticky fields."""
        self._clear(kind)
        for part in self.parts.values():
            part.reset(kind)
        for bus in self.buses():
            for child in bus.children:
                child.reset(kind)
        self.on_reset(kind)
        self.settle()

    def _clear(self, kind: ResetKind) -> None:
        d = self.__dict__
        for f in self._fields:
            if f.stored and (kind == "cold" or not f.sticky or f.name not in d):
                d[f.name] = f.initial(self)
        for s in self._states:
            if kind == "cold" or not s.keep or s.name not in d:
                d[s.name] = s.initial(self)
        for t in self._timers:
            if t.name in d:
                for alarm in d[t.name] if isinstance(t, Timers) else [d[t.name]]:
                    alarm.cancel()

    def alarms(self) -> Iterator[Alarm]:
        """Every timer of the device."""
        for t in self._timers:
            value = self.__dict__[t.name]
            yield from value if isinstance(t, Timers) else [value]

    def part(self, name: str, device: DeviceT) -> DeviceT:
        """Make `device` a named part of this one: it is reset, saved and logged with it."""
        device.parent, device.id = self, name
        device.log = self.log
        self.parts[name] = device
        return device

    def attached(self, machine: Machine) -> None:
        """Called when a machine takes the device; overriders call the base."""
        self.machine, self.log = machine, machine.log
        if self._own_clock:
            before, self.clock = self.clock, machine.clock(1_000_000_000)
            for alarm in self.alarms():
                if alarm.clock is before:
                    alarm.clock = self.clock
        for p in self.parts.values():
            p.attached(machine)

    @property
    def label(self) -> str:
        """The name for messages."""
        own = self.id or self.type_name or type(self).__name__
        return f"{self.parent.label}/{own}" if self.parent else own

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}>"

    def region(self) -> Region | None:
        """The memory region of the registers, when the device makes its own (flash); None for plain I/O."""
        return None

    def buses(self) -> list[Bus]:
        """The buses this device offers."""
        return []

    @classmethod
    def outputs(cls) -> list[Line | Lines]:
        """The declared outputs."""
        return list(cls._lines)

    # --- wires

    def connect(self, output: str, *pins: Pin | list[Pin], inverted: bool = False) -> None:
        """Connect an output to pins. A list connects numbered outputs from 0 on. Raises KeyError for an unknown output."""
        ln = next((x for x in self._lines if x.name == output), None)
        if ln is None:
            names = [x.name for x in self._lines]
            raise KeyError(f"{type(self).__name__} has no output {output!r}, only {', '.join(names) or 'none'}"
                           + nearest(output, names))
        for item in pins:
            if isinstance(item, list):
                for n, p in enumerate(item):
                    self._wire(ln, n, Wire(p, inverted))
            else:
                self._wire(ln, 0, Wire(item, inverted))
        if self._ready:
            self.settle()

    def _wire(self, ln: Line | Lines, n: int, wire: Wire) -> None:
        if n >= count_of(ln.count or 1, self):
            raise IndexError(f"{type(self).__name__} has no output {ln.name}[{n}]")
        per = self.wires.setdefault(ln.name, {})
        new = n not in per
        per.setdefault(n, []).append(wire)
        if new:
            f = ln.f
            level: Callable[[], object]
            if isinstance(ln, Line):
                level = lambda: f(self)  # type: ignore[call-arg]  # noqa: E731
            else:
                level = lambda: f(self, n)  # type: ignore[call-arg]  # noqa: E731
            self._outputs.append((level, per[n]))

    def settle(self) -> None:
        """Recompute the outputs and tell those that changed. The framework calls it after every access and event."""
        if not self._ready:
            return
        for level, wires in self._outputs:
            now = bool(level())
            for w in wires:
                if (now ^ w.inverted) != w.level:
                    w.set(now ^ w.inverted)

    # --- guest accesses

    def read(self, offset: int, size: int) -> int:
        """A guest load. Raises BusError for an access size the device refuses."""
        f = self._readers.get(offset << 4 | size)
        return f() if f else self._plan_read(offset, size)()

    def write(self, offset: int, value: int, size: int) -> None:
        """A guest store. Raises BusError for an access size the device refuses."""
        f = self._writers.get(offset << 4 | size)
        (f or self._plan_write(offset, size))(value)

    def peek(self, offset: int, size: int) -> int:
        """What a load would give, without its side effects: for debuggers."""
        value, done = 0, 0
        while done < size:
            found = self.register(offset + done)
            if found is None:
                done += 1
                continue
            reg, index, byte = found
            wide = (reg.width or self.width) // 8
            n = min(size - done, wide - byte)
            shift = self._shift(byte, n, wide)
            get, _ = registers.reader(self, reg, index, (1 << n * 8) - 1 << shift, peek=True)
            value |= get() >> shift << self._shift(done, n, size)
            done += n
        return value

    def register(self, offset: int) -> tuple[Reg, int | None, int] | None:
        """(register, index in its bank, byte inside it) at a byte offset, or None."""
        reg = self._at.get(offset)
        if reg is not None:
            return reg, None, offset - reg.offset
        for reg in self._registers:
            if reg.bank is not None:
                found = reg.bank.locate(self, offset)
                if found and 0 <= found[1] - reg.offset < (reg.width or self.width) // 8:
                    return reg, found[0], found[1] - reg.offset
        return None

    def unmapped_read(self, offset: int, size: int) -> int:
        """A load where no register is. The base logs it and gives 0."""
        self.log.guest_error(f"{self.label}: read of {size} bytes at offset {offset:#x}, where no register is")
        return 0

    def unmapped_write(self, offset: int, value: int, size: int) -> None:
        """A store where no register is. The base logs it."""
        self.log.guest_error(f"{self.label}: write of {value:#x} ({size} bytes) at offset {offset:#x}, "
                             "where no register is")

    def _shift(self, byte: int, size: int, width: int) -> int:
        return 8 * (byte if self.endian == "little" else width - size - byte)

    def _pieces(self, offset: int, size: int, write: bool) -> list[tuple[Reg, int | None, int, int, int, int]] | None:
        """(register, index, lanes, shift in the register, shift in the value, mask) of each register touched."""
        if not self.access[0] <= size <= self.access[1] or (offset & size - 1 and not self.unaligned):
            raise BusError(offset, size, write, "access")
        out = []
        done = 0
        while done < size:
            found = self.register(offset + done)
            if found is None:
                done += 1
                continue
            reg, index, byte = found
            wide = (reg.width or self.width) // 8
            n = min(size - done, wide - byte)
            inside, mask = self._shift(byte, n, wide), (1 << n * 8) - 1
            out.append((reg, index, mask << inside, inside, self._shift(done, n, size), mask))
            done += n
        return out or None

    def _plan_read(self, offset: int, size: int) -> Callable[[], int]:
        pieces = self._pieces(offset, size, False)
        if pieces is None:
            return lambda: self.unmapped_read(offset, size)
        gets = []
        effects = False
        for reg, index, lanes, inside, outside, _ in pieces:
            get, effect = registers.reader(self, reg, index, lanes)
            gets.append((get, inside, outside))
            effects |= effect
        f: Callable[[], int]
        if len(gets) == 1 and gets[0][1] == gets[0][2] == 0:
            f = gets[0][0]
        else:
            def f() -> int:
                return sum(get() >> inside << outside for get, inside, outside in gets)
        if effects and self._lines:
            plain = f

            def f() -> int:
                value = plain()
                self.settle()
                return value
        self._readers[offset << 4 | size] = f
        return f

    def _plan_write(self, offset: int, size: int) -> Callable[[int], None]:
        pieces = self._pieces(offset, size, True)
        if pieces is None:
            return lambda value: self.unmapped_write(offset, value, size)
        puts = [(registers.writer(self, reg, index, lanes), inside, outside, mask)
                for reg, index, lanes, inside, outside, mask in pieces]
        f: Callable[[int], None]
        if len(puts) == 1 and puts[0][1] == puts[0][2] == 0:
            put = puts[0][0]

            def f(value: int) -> None:
                put(value)
                self.settle()
        else:
            def f(value: int) -> None:
                for put, inside, outside, mask in puts:
                    put((value >> outside & mask) << inside)
                self.settle()
        self._writers[offset << 4 | size] = f
        return f

    # --- snapshots

    def save(self) -> dict[str, Plain]:
        """Everything declared, as plain values."""
        d = self.__dict__
        out: dict[str, Plain] = {f.name: plain(d[f.name]) for f in self._fields if f.stored and f.mode != "const"}
        out.update({s.name: plain(d[s.name]) for s in self._states})
        for t in self._timers:
            if t.name in d:
                value = d[t.name]
                out[t.name] = [a.deadline for a in value] if isinstance(t, Timers) else value.deadline
        held = {f"{p.name}[{p.number}]": p.held for p in self.pins() if p.held is not None}
        if held:
            out["pins held"] = held
        if self.parts:
            out["parts"] = {name: p.save() for name, p in self.parts.items()}
        out.update(self.save_more())
        return out

    def load(self, saved: dict[str, Plain]) -> None:
        """Take over what `save` gave. Raises ValueError when it is of another shape."""
        d = self.__dict__
        try:
            for f in self._fields:
                if f.stored and f.mode != "const":
                    d[f.name] = unplain(saved[f.name], d[f.name])
            for s in self._states:
                d[s.name] = unplain(saved[s.name], d[s.name])
            for t in self._timers:
                deadlines = saved.get(t.name)
                alarms = getattr(self, t.name) if isinstance(t, Timers) else [getattr(self, t.name)]
                for alarm, tick in zip(alarms, deadlines if isinstance(t, Timers) and deadlines else
                                       [deadlines] * len(alarms), strict=True):
                    alarm.cancel()
                    if tick is not None:
                        alarm.at(tick)
            held = saved.get("pins held", {})
            for p in self.pins():
                p.held = held.get(f"{p.name}[{p.number}]", p.held)
            for name, child in self.parts.items():
                child.load(saved["parts"][name])
            self.load_more(saved)
        except (KeyError, TypeError, IndexError) as e:
            raise ValueError(f"{self.label}: the snapshot does not fit: {e!r}") from None

    def save_more(self) -> dict[str, Plain]:
        """State that no declaration covers."""
        return {}

    def load_more(self, saved: dict[str, Plain]) -> None:
        """The counterpart of `save_more`."""

    def pins(self) -> Iterator[Pin]:
        """The inputs that somebody uses."""
        for value in self.__dict__.values():
            if isinstance(value, Pin) and value.owner is self:
                yield value
            elif isinstance(value, Row):
                yield from value.made().values()

    def relevel(self) -> dict[Pin, int]:
        """After a restore: take the outputs' levels silently; returns how many wires drive each pin high."""
        high: dict[Pin, int] = {}
        for level, wires in self._outputs:
            now = bool(level())
            for w in wires:
                w.level = now ^ w.inverted
                high[w.pin] = high.get(w.pin, 0) + w.level
        for p in self.parts.values():
            for pin_, n in p.relevel().items():
                high[pin_] = high.get(pin_, 0) + n
        return high

    def everything(self) -> Iterator[Device]:
        """This device and its parts, all the way down."""
        yield self
        for p in self.parts.values():
            yield from p.everything()

    # --- the device tree and documentation

    def fdt(self, node: Node, placed: Placed) -> None:
        """Add what the device tree says beyond `compatible`, `reg` and `interrupts`."""

    @classmethod
    def reference(cls) -> str:
        """The register table, as Markdown."""
        rows = [f"### {cls.type_name or cls.__name__}", ""]
        if cls.__doc__:
            rows += [cls.__doc__.strip().splitlines()[0], ""]
        rows += ["| offset | register | bits | field | access | reset |", "|---|---|---|---|---|---|"]
        for reg in cls._registers:
            where = f"{reg.offset:#x}"
            if reg.bank:
                base, stride = (x if isinstance(x, str) else f"{x:#x}" for x in (reg.bank.offset, reg.bank.stride))
                where = f"{base} + n*{stride} + {where}"
            for f in sorted(reg.fields, key=lambda f: -f.hi):
                bits = f"{f.hi}:{f.lo}" if f.hi != f.lo else f"{f.lo}"
                start = f"{f.reset:#x}" if isinstance(f.reset, int) else "computed"
                rows.append(f"| {where} | {reg.name} | {bits} | {f.name} | {f.mode} | {start} |")
        return "\n".join(rows) + "\n"


DeviceT = TypeVar("DeviceT", bound=Device)


class Stub(Device, type="unimplemented-device"):
    """Something real at this place that is not modelled: reads give 0, every use is logged by name."""

    name: str = prop(STR, help="what the addresses belong to")

    def setup(self) -> None:
        self.id = self.name

    def read(self, offset: int, size: int) -> int:
        self.log.unimp(f"{self.name}: unimplemented device read  (size {size}, offset {offset:#x})")
        return 0

    def write(self, offset: int, value: int, size: int) -> None:
        self.log.unimp(f"{self.name}: unimplemented device write (size {size}, offset {offset:#x}, value {value:#x})")


def plain(value: Any) -> Plain:
    """A value as snapshots keep it: numbers, text, bytes, None, and lists and dicts of these."""
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, (bool, int, str, bytes)):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, deque, set, frozenset)):
        return [plain(v) for v in value]
    raise TypeError(f"a {type(value).__name__} cannot be saved in a snapshot")


def unplain(saved: Plain, like: Any) -> Any:
    """The inverse of `plain`, given a value of the type wanted."""
    if isinstance(like, enum.Enum):
        return type(like)[saved]
    if isinstance(like, Fifo):
        return Fifo(like.depth, saved)
    if isinstance(like, bytearray):
        return bytearray(saved)
    if dataclasses.is_dataclass(like) and not isinstance(like, type):
        return type(like)(**{f.name: unplain(saved[f.name], getattr(like, f.name)) for f in dataclasses.fields(like)})
    if isinstance(like, dict):
        sample = next(iter(like.values()), None)
        ints = all(isinstance(k, int) for k in like)
        return {int(k) if ints and k.lstrip("-").isdigit() else k: unplain(v, sample) for k, v in saved.items()}
    if isinstance(like, (tuple, set, frozenset, deque)):
        return type(like)(saved)
    if isinstance(like, list):
        sample = like[0] if like else None
        return [unplain(v, sample) for v in saved]
    return saved
