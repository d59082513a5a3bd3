"""What a script sees of a machine: serial ports, CPUs and their registers, memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from tinamou.backends.chardev.base import MemoryChardev
from tinamou.machine.memory import BusError
from tinamou.machine.props import nearest

from .errors import MachineError

if TYPE_CHECKING:
    from .machine import Machine

Pattern = str | bytes | re.Pattern[str] | re.Pattern[bytes]


class PythonChardev(MemoryChardev, kind="memory-test"):
    """Wakes whoever waits for what the guest sends."""

    def open(self) -> None:
        super().open()
        self.arrived: Callable[[], object] = lambda: None

    def send(self, data: bytes) -> int:
        self.sent += data
        self.arrived()
        return len(data)

    def forget_input(self) -> None:
        """Drop what the guest has not taken yet."""
        self._queue.clear()


class Serial:
    """A serial port. Text is UTF-8; what is not is replaced in `text` and `read`, and exact in `data`."""

    def __init__(self, port: PythonChardev, lock: Any) -> None:
        self._port, self._lock = port, lock
        self._seen = 0
        self._scanned: tuple[Pattern, int] = b"", 0  # text that was looked for last, and up to where it is not

    def __repr__(self) -> str:
        return f"<serial port, {len(self._port.sent)} bytes from the guest, {self.pending} for it>"

    @property
    def data(self) -> bytes:
        """All bytes that the guest has sent."""
        return bytes(self._port.sent)

    @property
    def text(self) -> str:
        """All that the guest has sent, as text."""
        return self.data.decode(errors="replace")

    @property
    def pending(self) -> int:
        """Bytes written that the guest has not taken yet."""
        return self._port.backlog

    def write(self, text: str | bytes) -> None:
        """Type something; the guest gets it when it runs."""
        data = text.encode() if isinstance(text, str) else bytes(text)
        with self._lock:
            self._port.deliver(data)

    def rewind(self, data: bytes, seen: int) -> None:
        """Be in the state of an earlier moment (a snapshot's)."""
        self._port.forget_input()
        self._port.sent[:] = data
        self._seen, self._scanned = seen, (b"", 0)

    def read(self) -> str:
        """What came since the last `read` or match of `Machine.run`."""
        text = self._port.sent[self._seen :].decode(errors="replace")
        self._seen = len(self._port.sent)
        return text

    def expect(self, pattern: Pattern) -> str | None:
        """If what came since the last match contains the pattern: the text up to its end, which counts as read; else None."""
        if isinstance(pattern, str):
            pattern = pattern.encode()
        if isinstance(pattern, bytes):
            known = self._scanned[1] if self._scanned[0] == pattern else 0
            at = self._port.sent.find(pattern, max(self._seen, known - len(pattern) + 1))
            if at < 0:
                self._scanned = pattern, len(self._port.sent)
                return None
            end = at + len(pattern)
        else:
            found: re.Match[Any] | None
            if isinstance(pattern.pattern, bytes):
                found = pattern.search(bytes(self._port.sent), self._seen)  # type: ignore[arg-type]
                if found is None:
                    return None
                end = found.end()
            else:
                unseen = self._port.sent[self._seen :].decode(errors="surrogateescape")
                found = pattern.search(unseen)  # type: ignore[arg-type]
                if found is None:
                    return None
                end = self._seen + len(unseen[: found.end()].encode(errors="surrogateescape"))
        text = self._port.sent[self._seen : end].decode(errors="replace")
        self._seen = end
        return text


class Words:
    """Memory as numbers of one size in the guest's byte order, by address: one access each, as a CPU makes it."""

    def __init__(self, memory: MemoryView, size: int) -> None:
        self._memory, self._size = memory, size

    def __getitem__(self, address: int) -> int:
        return self._memory.read(address, self._size)

    def __setitem__(self, address: int, value: int) -> None:
        self._memory.write(address, value, self._size)


class MemoryView:
    """Guest memory by address: `memory[0x80000000]` is a byte, a slice is `bytes`, `u8 u16 u32 u64` give numbers.

    Physical addresses, or a CPU's virtual ones. Reading the registers of a device has the effects that it has for the guest.
    Raises MachineError where nothing is.
    """

    def __init__(self, machine: Machine, cpu: Any = None) -> None:
        self._machine, self._cpu = machine, cpu
        self.u8, self.u16, self.u32, self.u64 = (Words(self, n) for n in (1, 2, 4, 8))

    def __repr__(self) -> str:
        if self._cpu is not None:
            return f"<memory as CPU {self._cpu.index} sees it>"
        ram = ", ".join(f"{r.base:#x}-{r.base + r.size - 1:#x}" for r in self._machine.machine.memory.ram_regions() if r.writable)
        return f"<memory, RAM at {ram}>"

    def _places(self, address: int, size: int) -> Iterator[tuple[int, int]]:
        """(physical address, length) of each piece of a range of addresses."""
        if self._cpu is None:
            yield address, size
            return
        while size > 0:
            n = min(size, 4096 - address % 4096)
            at = self._cpu.translate(address)
            if at is None:
                raise MachineError(f"virtual address {address:#x} is not mapped on CPU {self._cpu.index}")
            yield at, n
            address, size = address + n, size - n

    def _range(self, key: slice) -> tuple[int, int]:
        if key.start is None or key.stop is None or key.step not in (None, 1):
            raise MachineError("a range of memory has a first and a last address and no step: memory[0x80000000:0x80000010]")
        size = key.stop - key.start
        if size < 0 or key.start < 0:
            raise MachineError(f"memory[{key.start:#x}:{key.stop:#x}] ends before it begins")
        if size > 1 << 32:
            raise MachineError(f"memory[{key.start:#x}:{key.stop:#x}] is {size} bytes; at most 4 GiB are read at once")
        return key.start, size

    def __getitem__(self, key: int | slice) -> Any:
        if isinstance(key, slice):
            return self.load(*self._range(key))
        return self.read(key, 1)

    def __setitem__(self, key: int | slice, value: int | bytes | bytearray | memoryview) -> None:
        if isinstance(key, int):
            if not isinstance(value, int):
                raise TypeError("one address takes a number from 0 to 255")
            self.write(key, value, 1)
            return
        if isinstance(value, int):
            raise TypeError("a range of memory takes bytes")
        address, size = self._range(key)
        if len(value) != size:
            raise MachineError(f"memory[{key.start:#x}:{key.stop:#x}] is {size} bytes, not {len(value)}")
        self.store(address, value)

    def load(self, address: int, size: int) -> bytes:
        """Bytes from an address on."""
        memory = self._machine.machine.memory
        try:
            return b"".join(memory.load(at, n) for at, n in self._places(address, size))
        except BusError as e:
            raise MachineError(str(e)) from None

    def store(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Put bytes there, into ROM and flash as well."""
        memory, done = self._machine.machine.memory, 0
        try:
            for at, n in list(self._places(address, len(data))):
                memory.store_rom(at, data[done : done + n])
                done += n
        except BusError as e:
            raise MachineError(str(e)) from None

    def read(self, address: int, size: int) -> int:
        """A load of 1, 2, 4 or 8 bytes."""
        (at, n), *more = self._places(address, size)
        try:
            if more:
                return int.from_bytes(self.load(address, size), self._machine.machine.memory.endian)
            return self._machine.machine.memory.read(at, n)
        except BusError as e:
            raise MachineError(str(e)) from None

    def write(self, address: int, value: int, size: int) -> None:
        """A store of 1, 2, 4 or 8 bytes. Raises MachineError when the value does not fit."""
        if not -(1 << size * 8 - 1) <= value < 1 << size * 8:
            raise MachineError(f"{value:#x} does not fit into {size} bytes")
        memory = self._machine.machine.memory
        value &= (1 << size * 8) - 1
        (at, n), *more = self._places(address, size)
        try:
            if more:
                self.store(address, value.to_bytes(size, memory.endian))
            else:
                memory.write(at, value, n)
        except BusError as e:
            raise MachineError(str(e)) from None


class Registers(MutableMapping[str, int]):
    """A CPU's registers by name, as numbers without sign: `registers["a0"]`. An unknown name is a KeyError with the nearest ones."""

    def __init__(self, machine: Machine, cpu: Any) -> None:
        self._machine, self._cpu = machine, cpu

    def _unknown(self, name: str) -> KeyError:
        error = KeyError(name)
        hint = nearest(name, self._machine._registers, "nearest: ")
        if hint:
            error.add_note(hint)
        return error

    def __getitem__(self, name: str) -> int:
        try:
            return int(self._cpu.register(name))
        except KeyError:
            raise self._unknown(name) from None

    def __setitem__(self, name: str, value: int) -> None:
        try:
            self._cpu.set_register(name, value)
        except KeyError:
            raise self._unknown(name) from None

    def __delitem__(self, name: str) -> None:
        raise TypeError("a CPU keeps its registers")

    def __iter__(self) -> Iterator[str]:
        return iter(self._machine._registers)

    def __len__(self) -> int:
        return len(self._machine._registers)

    def __repr__(self) -> str:
        return "\n".join(f"{name:12} {value:#x}" for name, value in self.items())


class CpuView:
    """A CPU. Exact while the machine stands still and in `on_instruction` hooks; a running CPU's pc is that of its last stop."""

    def __init__(self, machine: Machine, cpu: Any) -> None:
        self._machine, self._cpu = machine, cpu
        self.index: int = cpu.index
        self.model: str = cpu.model
        self.registers = Registers(machine, cpu)
        self.memory = MemoryView(machine, cpu)

    def __repr__(self) -> str:
        return f"<CPU {self.index}, {self.model}, pc {self.pc:#x}{', waits' if self.halted else ''}>"

    @property
    def pc(self) -> int:
        """Address of the next instruction."""
        return int(self._cpu.pc)

    @pc.setter
    def pc(self, address: int) -> None:
        self._cpu.set_register("pc", address)

    @property
    def halted(self) -> bool:
        """It waits for an interrupt."""
        return bool(self._cpu.halted)

    @property
    def instructions(self) -> int:
        """Executed so far."""
        return int(self._cpu.instructions)

    def translate(self, address: int) -> int | None:
        """The physical address behind a virtual one, or None."""
        found = self._cpu.translate(address)
        return None if found is None else int(found)

    def step(self, count: int = 1) -> None:
        """Execute that many instructions of this CPU, or entries into handlers of exceptions; the others stand still."""
        self._machine._step(self.index, count)

    def describe(self) -> str:
        """The text of the monitor's `info registers`."""
        return str(self._cpu.describe())
