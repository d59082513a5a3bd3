"""The register vocabulary: which bits a register has, who may change them, and what happens when somebody does.

Access modes, as data sheets name them:
  rw     the guest reads and writes            ro     only the device changes it
  wo     reads as zero                         const  never changes; `reset` is the value
  w1c    writing 1 clears, 0 keeps             w1s    writing 1 sets
  w0c    writing 0 clears                      w1t    writing 1 toggles
  rc     reading clears                        rs     reading sets
  reserved  `keep` what was written, or read as `zero` or `one`
  unimpl    stored, and the guest's use is logged
`sticky=True` on any of them survives every reset but power-on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])
FieldT = TypeVar("FieldT", bound="Field")
Reset = int | Callable[[Any], int]
Getter = Callable[[], int]

MODES = frozenset({"rw", "ro", "wo", "w1c", "w1s", "w0c", "w1t", "rc", "rs", "const",
                   "reserved-keep", "reserved-zero", "reserved-one", "unimpl"})
_READABLE = MODES - {"wo", "reserved-zero"}
_WRITABLE = MODES - {"ro", "const", "rc", "rs", "reserved-zero", "reserved-one"}


class Field:
    """Bits `hi` to `lo` of a register. On a device instance it is the number those bits hold."""

    def __init__(self, reg: Reg, hi: int, lo: int, mode: str, reset: Reset, sticky: bool, doc: str) -> None:
        if mode not in MODES or lo < 0 or -1 < hi < lo:
            raise TypeError(f"bad field {mode} {hi}:{lo}")
        self.reg, self.lo, self.mode, self.reset, self.sticky, self.doc = reg, lo, mode, reset, sticky, doc
        self.end(hi)
        self.name = ""
        self.read_hook: Callable[..., int] | None = None
        self.write_hook: Callable[..., object] | None = None
        self.legal_hook: Callable[..., int] | None = None
        self.compute: Callable[..., int] | None = None
        reg.fields.append(self)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> int: ...
    def __get__(self, obj: object | None, owner: type) -> Self | int:
        if obj is None:
            return self
        if self.compute is None:
            raise AttributeError(f"{type(obj).__name__}.{self.name} is read before its first reset")
        return int(self.compute(obj))

    def end(self, hi: int) -> None:
        """Fix the highest bit; -1 while the register's width is not known."""
        self.hi = hi
        self.mask = (1 << hi - self.lo + 1) - 1 if hi >= 0 else 0
        self.bits = self.mask << self.lo

    # --- side effects, as decorators

    def on_read(self, f: F) -> F:
        """A guest read gives what `f` returns and may change state (a FIFO, a clear on read)."""
        self.read_hook = f
        return f

    def on_write(self, f: F) -> F:
        """Call `f(device, value)` after a guest write, when all fields of the register have their new values.

        `value` is what an rw field now holds, and for the other modes the bits that were written.
        """
        self.write_hook = f
        return f

    def legal(self, f: F) -> F:
        """A guest write stores what `f(device, value)` returns."""
        self.legal_hook = f
        return f

    def computed(self, f: F) -> F:
        """The value is what `f(device)` returns; nothing is stored. `f` must not change anything."""
        self.compute = f
        return f

    # --- what the device framework asks

    @property
    def stored(self) -> bool:
        return self.compute is None and self.mode not in ("reserved-zero", "reserved-one")

    def initial(self, device: Any) -> Any:
        value = self.reset(device) if callable(self.reset) else self.reset
        return value & self.mask

    def fixed(self) -> int | None:
        return {"reserved-zero": 0, "reserved-one": self.mask}.get(self.mode)


class ArrayField(Field):
    """The same bits in each register of a bank. On a device instance it is the list of their numbers."""

    @overload  # type: ignore[override]
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> list[int]: ...
    def __get__(self, obj: object | None, owner: type) -> Self | list[int]:
        if obj is None:
            return self
        if self.compute is None:
            raise AttributeError(f"{type(obj).__name__}.{self.name} is read before its first reset")
        assert self.reg.bank is not None
        return [int(self.compute(obj, n)) for n in range(self.reg.bank.total(obj))]

    def initial(self, device: Any) -> Any:
        assert self.reg.bank is not None
        return [super().initial(device)] * self.reg.bank.total(device)


class Reg:
    """A register at byte `offset`. `width` is in bits; without it the device's register width holds."""

    kind: ClassVar[type[Field]] = Field

    def __init__(self, offset: int, width: int | None = None, bank: Bank | None = None, doc: str = "") -> None:
        self.offset, self.width, self.bank, self.doc = offset, width, bank, doc
        self.fields: list[Field] = []
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<register {self.name} {self.offset:#x}>"

    def _field(self, mode: str, hi: int | None, lo: int | None, reset: Reset, sticky: bool, doc: str) -> Any:
        if hi is None:
            hi, lo = (self.width or 0) - 1, 0          # the device's register width, known later
        return self.kind(self, hi, hi if lo is None else lo, mode, reset, sticky, doc)

    def rw(self, hi: int | None = None, lo: int | None = None, reset: Reset = 0, *, sticky: bool = False,
           doc: str = "") -> Field:
        return self._field("rw", hi, lo, reset, sticky, doc)  # type: ignore[no-any-return]

    def ro(self, hi: int | None = None, lo: int | None = None, reset: Reset = 0, *, sticky: bool = False,
           doc: str = "") -> Field:
        return self._field("ro", hi, lo, reset, sticky, doc)  # type: ignore[no-any-return]

    def wo(self, hi: int | None = None, lo: int | None = None, reset: Reset = 0, *, sticky: bool = False,
           doc: str = "") -> Field:
        return self._field("wo", hi, lo, reset, sticky, doc)  # type: ignore[no-any-return]

    def w1c(self, hi: int | None = None, lo: int | None = None, reset: Reset = 0, *, sticky: bool = False,
            doc: str = "") -> Field:
        return self._field("w1c", hi, lo, reset, sticky, doc)  # type: ignore[no-any-return]

    def w1s(self, hi: int | None = None, lo: int | None = None, reset: Reset = 0, *, sticky: bool = False,
            doc: str = "") -> Field:
        return self._field("w1s", hi, lo, reset, sticky, doc)  # type: ignore[no-any-return]

    def w0c(self, hi: int | None = None, lo: int | None = None, reset: Reset = 0, *, sticky: bool = False,
            doc: str = "") -> Field:
        return self._field("w0c", hi, lo, reset, sticky, doc)  # type: ignore[no-any-return]

    def w1t(self, hi: int | None = None, lo: int | None = None, reset: Reset = 0, *, sticky: bool = False,
            doc: str = "") -> Field:
        return self._field("w1t", hi, lo, reset, sticky, doc)  # type: ignore[no-any-return]

    def rc(self, hi: int | None = None, lo: int | None = None, reset: Reset = 0, *, sticky: bool = False,
           doc: str = "") -> Field:
        return self._field("rc", hi, lo, reset, sticky, doc)  # type: ignore[no-any-return]

    def rs(self, hi: int | None = None, lo: int | None = None, reset: Reset = 0, *, sticky: bool = False,
           doc: str = "") -> Field:
        return self._field("rs", hi, lo, reset, sticky, doc)  # type: ignore[no-any-return]

    def const(self, value: Reset, hi: int | None = None, lo: int | None = None, *, doc: str = "") -> Field:
        return self._field("const", hi, lo, value, False, doc)  # type: ignore[no-any-return]

    def unimpl(self, hi: int | None = None, lo: int | None = None, reset: Reset = 0, *, doc: str = "") -> Field:
        return self._field("unimpl", hi, lo, reset, False, doc)  # type: ignore[no-any-return]

    def reserved(self, hi: int | None = None, lo: int | None = None,
                 reads: Literal["keep", "zero", "one"] = "zero") -> Field:
        return self._field(f"reserved-{reads}", hi, lo, 0, False, "")  # type: ignore[no-any-return]


class BankReg(Reg):
    """A register that every element of a bank has: its fields are lists."""

    kind = ArrayField

    def rw(self, *a: Any, **k: Any) -> ArrayField:  # type: ignore[override]
        return super().rw(*a, **k)  # type: ignore[return-value]

    def ro(self, *a: Any, **k: Any) -> ArrayField:  # type: ignore[override]
        return super().ro(*a, **k)  # type: ignore[return-value]

    def wo(self, *a: Any, **k: Any) -> ArrayField:  # type: ignore[override]
        return super().wo(*a, **k)  # type: ignore[return-value]

    def w1c(self, *a: Any, **k: Any) -> ArrayField:  # type: ignore[override]
        return super().w1c(*a, **k)  # type: ignore[return-value]

    def w1s(self, *a: Any, **k: Any) -> ArrayField:  # type: ignore[override]
        return super().w1s(*a, **k)  # type: ignore[return-value]

    def w0c(self, *a: Any, **k: Any) -> ArrayField:  # type: ignore[override]
        return super().w0c(*a, **k)  # type: ignore[return-value]

    def w1t(self, *a: Any, **k: Any) -> ArrayField:  # type: ignore[override]
        return super().w1t(*a, **k)  # type: ignore[return-value]

    def rc(self, *a: Any, **k: Any) -> ArrayField:  # type: ignore[override]
        return super().rc(*a, **k)  # type: ignore[return-value]

    def rs(self, *a: Any, **k: Any) -> ArrayField:  # type: ignore[override]
        return super().rs(*a, **k)  # type: ignore[return-value]

    def const(self, *a: Any, **k: Any) -> ArrayField:  # type: ignore[override]
        return super().const(*a, **k)  # type: ignore[return-value]

    def unimpl(self, *a: Any, **k: Any) -> ArrayField:  # type: ignore[override]
        return super().unimpl(*a, **k)  # type: ignore[return-value]


class Bank:
    """`count` copies of a group of registers, `stride` bytes apart from byte `offset` on: channels, harts, sources.

    Each of the three may name an attribute of the device. Banks nest; the index of an inner element is
    outer index * inner count + inner index. Hooks of a bank's fields get the index before the value.
    """

    def __init__(self, offset: int | str, *, stride: int | str, count: int | str, outer: Bank | None = None) -> None:
        self.offset, self.stride, self.count, self.outer = offset, stride, count, outer
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def reg(self, offset: int, width: int | None = None, doc: str = "") -> BankReg:
        """The register at byte `offset` of each element."""
        return BankReg(offset, width, self, doc)

    def bank(self, offset: int | str, *, stride: int | str, count: int | str) -> Bank:
        """A bank inside each element."""
        return Bank(offset, stride=stride, count=count, outer=self)

    def own(self, device: Any) -> int:
        return _of(device, self.count)

    def total(self, device: Any) -> int:
        return self.own(device) * (self.outer.total(device) if self.outer else 1)

    def locate(self, device: Any, offset: int) -> tuple[int, int] | None:
        """(index, byte offset inside the element) of a byte offset of the device."""
        index = 0
        if self.outer:
            found = self.outer.locate(device, offset)
            if found is None:
                return None
            index, offset = found
        n, inside = divmod(offset - _of(device, self.offset), _of(device, self.stride))
        own = self.own(device)
        return (index * own + n, inside) if 0 <= n < own else None

    def place(self, device: Any, index: int) -> int:
        """The byte offset of element `index`."""
        outer, n = divmod(index, self.own(device))
        return _of(device, self.offset) + n * _of(device, self.stride) + (self.outer.place(device, outer) if self.outer else 0)


def _of(device: Any, value: int | str) -> int:
    return value if isinstance(value, int) else int(getattr(device, value))


def getter(device: Any, field: Field, index: int | None, peek: bool = False) -> tuple[Getter, bool]:
    """(function giving the field's number on a guest read, whether reading may change state)."""
    d, name, mask = device.__dict__, field.name, field.mask
    fixed = field.fixed()
    if fixed is not None:
        return (lambda: fixed), False
    hook = field.read_hook
    if hook is not None and not peek:
        if index is None:
            return (lambda: hook(device) & mask), True
        return (lambda: hook(device, index) & mask), True
    compute = field.compute
    if compute is not None:
        if index is None:
            return (lambda: compute(device) & mask), False
        return (lambda: compute(device, index) & mask), False
    if field.mode in ("rc", "rs") and not peek:
        after = 0 if field.mode == "rc" else mask

        def consume() -> int:
            if index is None:
                value: int = d[name]
                d[name] = after
            else:
                value = d[name][index]
                d[name][index] = after
            return value & mask
        return consume, True
    if index is None:
        return (lambda: d[name] & mask), False
    return (lambda: d[name][index] & mask), False


def reader(device: Any, reg: Reg, index: int | None, lanes: int, peek: bool = False) -> tuple[Getter, bool]:
    """(function reading those bits of a register that `lanes` selects, whether it may change state)."""
    parts: list[tuple[Getter, int]] = []
    texts: list[str] = []
    whole = False
    effects = False
    log: list[str] = []
    clears: list[Field] = []
    for f in reg.fields:
        if f.bits & lanes and f.mode in _READABLE:
            clear = f.mode == "rc" and index is None and not peek and f.read_hook is f.compute is None and not f.bits & ~lanes
            get, effect = getter(device, f, index, peek or clear)
            if clear:
                clears.append(f)
            parts.append((get, f.lo))
            simple = not effect and f.stored and index is None and (peek or f.read_hook is None)
            texts.append(f"d[{f.name!r}] & {f.mask}" if simple else "")
            whole = f.lo == 0 and not f.bits & ~lanes
            effects |= effect
            if f.mode == "unimpl":
                log.append(f.name)
    if not peek and (log or not parts):
        what, names = ("unimplemented", log) if log else ("write-only", [reg.name])

        def noisy() -> int:
            text = f"{device.label}: read of {what} {', '.join(names)}"
            device.log.unimp(text) if log else device.log.guest_error(text)
            return sum(g() << lo for g, lo in parts) & lanes
        return noisy, effects
    get = parts[0][0] if whole and len(parts) == 1 else _combine(device, parts, texts, lanes)
    return (_clearing(device, get, clears) if clears else get), effects


def _clearing(device: Any, get: Getter, fields: list[Field]) -> Getter:
    """Reading clears these fields; mostly they are 0 and nothing changes."""
    d, names = device.__dict__, [f.name for f in fields]
    bits = 0
    for f in fields:
        bits |= f.bits

    def read() -> int:
        value = get()
        if value & bits:
            for name in names:
                d[name] = 0
            device.settle()
        return value
    return read


def _combine(device: Any, parts: list[tuple[Getter, int]], texts: list[str], lanes: int) -> Getter:
    """One function for several fields. Stored ones are read in place: a call each would cost 0.1 us apiece."""
    names: dict[str, Any] = {"d": device.__dict__}
    terms = []
    for i, ((get, lo), text) in enumerate(zip(parts, texts, strict=True)):
        names[f"g{i}"] = get
        terms.append(f"({text or f'g{i}()'}) << {lo}" if lo else text or f"g{i}()")
    made: Getter = eval(f"lambda: ({' | '.join(f'({t})' for t in terms) or 0}) & {lanes}", names)
    return made


def writer(device: Any, reg: Reg, index: int | None, lanes: int) -> Callable[[int], None]:
    """Function writing those bits of a register that `lanes` selects."""
    d = device.__dict__
    fields = [f for f in reg.fields if f.bits & lanes and f.mode in _WRITABLE]
    hooks = [(f.write_hook, f) for f in fields if f.write_hook]

    def store(f: Field, value: int) -> None:
        part = (lanes & f.bits) >> f.lo
        new = value >> f.lo & part
        values, key = (d, f.name) if index is None else (d[f.name], index)
        old = values[key]
        match f.mode:
            case "w1c":
                new = old & ~new
            case "w1s":
                new = old | new
            case "w1t":
                new = old ^ new
            case "w0c":
                new = old & (new | ~part)
            case _:
                new |= old & ~part
                if f.mode == "unimpl":
                    device.log.unimp(f"{device.label}: write of unimplemented {f.name}: {new:#x}")
        if f.legal_hook:
            new = f.legal_hook(device, new) if index is None else f.legal_hook(device, index, new)
        values[key] = new & f.mask

    if not fields:
        def refuse(value: int) -> None:
            device.log.guest_error(f"{device.label}: write of read-only {reg.name}: {value & lanes:#x}")
        return refuse

    stores = [f for f in fields if f.stored]
    if index is None and len(stores) == 1 and len(hooks) <= 1 and stores[0].mode in ("rw", "wo") \
            and not stores[0].legal_hook and stores[0].bits & ~lanes == 0:
        name, lo, mask = stores[0].name, stores[0].lo, stores[0].mask
        if not hooks:
            def plain(value: int) -> None:
                d[name] = value >> lo & mask
            return plain
        hook1, hook_lo, hook_mask = hooks[0][0], hooks[0][1].lo, hooks[0][1].mask

        def hooked(value: int) -> None:
            d[name] = value >> lo & mask
            hook1(device, value >> hook_lo & hook_mask)
        return hooked

    def write(value: int) -> None:
        for f in stores:
            store(f, value)
        for hook, f in hooks:
            new = value >> f.lo & f.mask
            if f.mode in ("rw", "unimpl") and f.stored:
                new = d[f.name] if index is None else d[f.name][index]
            if index is None:
                hook(device, new)
            else:
                hook(device, index, new)
    return write
