"""The qtest protocol: a test program steps the clock and touches the bus of a machine that executes nothing.

One command a line, one `OK ...` or `FAIL ...` line back; intercepted interrupts come as `IRQ raise N`, `IRQ lower N`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinamou.machine.device import Device
from tinamou.machine.lines import Line, Pin, Row, count_of
from tinamou.machine.memory import BusError

if TYPE_CHECKING:
    from tinamou.control.vm import Vm

SIZES = {"b": 1, "w": 2, "l": 4, "q": 8}
LIMIT = 1 << 28


class Failure(Exception):
    """The command cannot be done; the text follows FAIL."""


class QtestSession:
    """One test program. `send` takes bytes for it."""

    def __init__(self, vm: Vm, send: Callable[[bytes], object]) -> None:
        self.vm, self._send = vm, send
        self._buffer = bytearray()
        self._intercepted: Device | None = None

    # --- as the front end of a character device

    def can_receive(self) -> int:
        return 65536

    def receive(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = self._buffer[:end].decode(errors="replace").strip()
            del self._buffer[: end + 1]
            if line:
                self.line(line)

    def event(self, what: str) -> None:
        """Connections come and go."""

    def line(self, text: str) -> None:
        """Answer one command."""
        words = text.split()
        try:
            answer = self.command(words[0], words[1:])
        except Failure as e:
            self.say(f"FAIL {e}")
        except (ValueError, IndexError):
            self.say(f"FAIL bad arguments of {words[0]}")
        else:
            self.say(f"OK {answer}".rstrip())

    def say(self, text: str) -> None:
        self._send(text.encode() + b"\n")

    # --- commands

    def command(self, name: str, args: list[str]) -> str:
        """What follows OK. Raises Failure, ValueError, IndexError."""
        memory, time = self.vm.machine.memory, self.vm.machine.time
        number = [int(a, 0) for a in args[:2]] if name not in ("irq_intercept_in", "irq_intercept_out", "set_irq_in",
                                                              "b64write", "rtas", "module_load") else []
        match name:
            case "clock_step":
                if args:
                    time.advance(number[0])
                elif time.deadline is not None:
                    time.advance_to(time.deadline)
                return str(time.now)
            case "clock_set":
                time.advance_to(number[0])
                return str(time.now)
            case "endianness":
                return memory.endian
            case "readb" | "readw" | "readl" | "readq" | "inb" | "inw" | "inl":
                size = SIZES[name[-1]]
                try:
                    value = memory.read(self._port(name, number[0]), size)
                except BusError:
                    value = 0
                return f"0x{value:016x}" if name[0] == "r" else f"0x{value:04x}"
            case "writeb" | "writew" | "writel" | "writeq" | "outb" | "outw" | "outl":
                size = SIZES[name[-1]]
                try:
                    memory.write(self._port(name, number[0]), number[1] & (1 << 8 * size) - 1, size)
                except BusError:
                    pass
                return ""
            case "read" | "b64read":
                data = self._load(number[0], number[1])
                return "0x" + data.hex() if name == "read" else base64.b64encode(data).decode()
            case "write":
                data = bytes.fromhex(args[2].removeprefix("0x"))
                self._store(number[0], data[: number[1]].ljust(self._bounded(number[1]), b"\0"))
                return ""
            case "b64write":
                address, size = int(args[0], 0), int(args[1], 0)
                self._store(address, base64.b64decode(args[2])[:size].ljust(self._bounded(size), b"\0"))
                return ""
            case "memset":
                self._store(number[0], bytes([int(args[2], 0) & 0xFF]) * self._bounded(number[1]))
                return ""
            case "irq_intercept_in" | "irq_intercept_out":
                self._intercept(self._device(args[0]), name.endswith("out"))
                return ""
            case "set_irq_in":
                self._pin(self._device(args[0]), args[1], int(args[2], 0))(bool(int(args[3], 0)))
                return ""
        raise Failure(f"Unknown command '{name}'")

    def _port(self, name: str, address: int) -> int:
        if name.startswith(("in", "out")):
            raise Failure("this machine has no I/O ports")
        return address

    def _bounded(self, size: int) -> int:
        if not 0 <= size <= LIMIT:
            raise Failure(f"size {size} is not below {LIMIT}")
        return size

    def _load(self, address: int, size: int) -> bytes:
        self._bounded(size)
        try:
            return self.vm.machine.memory.load(address, size)
        except BusError:
            return bytes(size)

    def _store(self, address: int, data: bytes) -> None:
        try:
            self.vm.machine.memory.store(address, data)
        except BusError:
            pass

    # --- interrupts

    def _device(self, path: str) -> Device:
        """A device by QOM path, id or type name."""
        last = path.rstrip("/").split("/")[-1]
        everything = list(self.vm.machine.everything())
        by_index = [d for d in everything if not d.user_creatable and d.parent is None]
        if last.startswith("device[") and last.endswith("]"):
            return by_index[int(last[7:-1])]
        for d in everything:
            if last in (d.id, d.type_name):
                return d
        raise Failure("Unknown device")

    def _intercept(self, device: Device, outputs: bool) -> None:
        if self._intercepted is not None and self._intercepted is not device:
            raise Failure("IRQ intercept already enabled")
        if self._intercepted is device:
            return
        self._intercepted = device

        def told(n: int) -> Callable[[bool], Any]:
            return lambda level: self.say(f"IRQ {'raise' if level else 'lower'} {n}")

        if outputs:
            first = 0
            for ln in device.outputs():
                count = 1 if isinstance(ln, Line) else count_of(ln.count, device)
                for i in range(count):
                    watcher = Pin(told(first + i), "qtest")
                    device.connect(ln.name, [*[Pin(lambda level: None)] * i, watcher])
                first += count
        else:
            for p in list(device.pins()) or [p for v in device.__dict__.values() if isinstance(v, Row) for p in v]:
                p.watchers.append(told(p.number))

    def _pin(self, device: Device, name: str, number: int) -> Pin:
        attribute = name if name not in ("unnamed-gpio-in", "(null)") else ""
        for key in dir(type(device)):
            value = getattr(type(device), key)
            if type(value).__name__ == "Inputs" and attribute in ("", key):
                row: Row = getattr(device, key)
                return row[number]
            if type(value).__name__ == "Input" and attribute == key:
                pin: Pin = getattr(device, key)
                return pin
        raise Failure(f"device has no input {name}")
