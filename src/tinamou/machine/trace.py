"""What pins and buses did: recorded, written as a Value Change Dump (IEEE 1364-2005, chapter 18), or drawn on a page.

    trace = Trace(machine)
    trace.pins("D13", "D9")
    trace.buses()                       # serial ports, SPI, TWI, ADC: one value per transfer
    with VcdFile("out.vcd", trace):
        ...run...
    Path("out.html").write_text(page(trace))
"""

from __future__ import annotations

import atexit
import html
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from tinamou.machine.props import PropertyError, nearest

if TYPE_CHECKING:
    from tinamou.machine.machine import Machine

Value = int | str


class Signal:
    """A wire (`width` 1: 0, 1, or `z` while nobody drives it) or a bus of `width` bits."""

    def __init__(self, name: str, width: int, value: Value) -> None:
        self.name, self.width, self.first = name, width, value
        self.value = value
        self.changes: list[tuple[int, Value]] = []

    def __repr__(self) -> str:
        return f"<signal {self.name}[{self.width}] {len(self.changes)} changes>"


class Trace:
    """Records signals of a machine: times are virtual nanoseconds. At most `limit` changes are kept per signal."""

    def __init__(self, machine: Machine, limit: int = 1_000_000) -> None:
        self.machine, self.limit = machine, limit
        self.start = machine.time.now
        self.signals: dict[str, Signal] = {}
        self.sinks: list[Callable[[int, Signal], object]] = []
        self._ends: list[Callable[[], None]] = []

    def _change(self, signal: Signal, value: Value, always: bool = False) -> None:
        if value != signal.value or always:
            signal.value = value
            now = self.machine.time.now
            if len(signal.changes) < self.limit:
                signal.changes.append((now, value))
            for f in self.sinks:
                f(now, signal)

    def pins(self, *names: str) -> Trace:
        """Record pins, all of them without names. Raises PropertyError for an unknown one."""
        for name in names or list(self.machine.pins):
            pin = self.machine.pins[name]
            if pin.name not in self.signals:
                signal = self.signals[pin.name] = Signal(pin.name, 1, int(pin.level))
                self._ends.append(pin.on_change(lambda level, signal=signal: self._change(signal, int(level))))  # type: ignore[misc]
        return self

    def buses(self, *names: str) -> Trace:
        """Record what devices move (those with a list `traces`), all of them without names."""
        devices = {d.id: d for d in self.machine.everything() if hasattr(d, "traces")}
        for name in names or devices:
            if name not in devices:
                raise PropertyError(f"no bus '{name}' to trace", nearest(name, devices, "nearest: ") or f"buses: {', '.join(devices)}")
            if not any(s.startswith(f"{name}.") for s in self.signals):
                self._bus(name, devices[name])
        return self

    def _bus(self, name: str, device: Any) -> None:
        def told(what: str, value: int) -> None:
            signal = self.signals.get(f"{name}.{what}")
            if signal is not None:
                self._change(signal, value & (1 << signal.width) - 1, always=True)

        kinds = {"usart": ("tx", "rx"), "spi": ("mosi", "miso"), "twi": ("ack", "nack", "start", "stop"), "adc": ("adc",)}
        for what in next((v for k, v in kinds.items() if name.startswith(k)), ("value",)):
            self.signals[f"{name}.{what}"] = Signal(f"{name}.{what}", 10 if what == "adc" else 9 if what in ("tx", "rx") else 8, "x")
        device.traces.append(told)
        self._ends.append(lambda: device.traces.remove(told))

    def choose(self, names: list[str]) -> Trace:
        """Pins and buses by name; `all` is everything."""
        for name in names:
            if name == "all":
                self.pins().buses()
            elif name in self.machine.pins:
                self.pins(name)
            else:
                devices = [d.id for d in self.machine.everything() if hasattr(d, "traces")]
                if name not in devices:
                    known = ["all", *devices, *self.machine.pins]
                    raise PropertyError(f"no pin or bus '{name}' to trace", nearest(name, known, "nearest: ")
                                        or f"there are {', '.join(known[:40])}{' ...' if len(known) > 40 else ''}")
                self.buses(name)
        return self

    def stop(self) -> None:
        """Stop recording."""
        for end in self._ends:
            end()
        self._ends = []


def _code(n: int) -> str:
    """The short identifier of signal `n`: printable characters from ! to ~."""
    out = chr(33 + n % 94)
    while n >= 94:
        n = n // 94 - 1
        out += chr(33 + n % 94)
    return out


class VcdFile:
    """Writes the signals of a trace while the machine runs. Raises OSError when the file cannot be made.

    When it can be written no longer that is told once, and kept in `error`; the machine runs on.
    """

    def __init__(self, path: str, trace: Trace, top: str = "board") -> None:
        self.trace, self.path = trace, path
        self.error: OSError | None = None
        self.file: IO[str] = open(path, "w", encoding="ascii")
        self.codes = {name: _code(n) for n, name in enumerate(trace.signals)}
        self._time = trace.machine.time.now
        w = self.file.write
        w(f"$version tinamou $end\n$comment machine {trace.machine.name} $end\n$timescale 1 ns $end\n$scope module {top} $end\n")
        scope = ""
        for name, s in trace.signals.items():
            group, dot, last = name.rpartition(".")
            if group != scope:
                w("$upscope $end\n" if scope else "")
                w(f"$scope module {group} $end\n" if dot else "")
                scope = group
            kind, bits = ("wire", "") if s.width == 1 else ("reg", f" [{s.width - 1}:0]")
            w(f"$var {kind} {s.width} {self.codes[name]} {last}{bits} $end\n")
        w("$upscope $end\n" if scope else "")
        w(f"$upscope $end\n$enddefinitions $end\n#{self._time}\n$dumpvars\n")
        for s in trace.signals.values():
            self._value(s)
        w("$end\n")
        trace.sinks.append(self._changed)
        atexit.register(self.close)

    def _value(self, s: Signal) -> None:
        text = str(s.value) if s.width == 1 else f"b{s.value if isinstance(s.value, str) else format(s.value, 'b')} "
        self.file.write(f"{text}{self.codes[s.name]}\n")

    def _changed(self, now: int, s: Signal) -> None:
        if s.name in self.codes:
            try:
                if now != self._time:
                    self._time = now
                    self.file.write(f"#{now}\n")
                self._value(s)
            except OSError as e:
                self._give_up(e)

    def _give_up(self, error: OSError) -> None:
        self.error = error
        self.trace.machine.log.sink(f"tinamou: Could not write '{self.path}': {error.strerror}")
        self.close()

    def close(self) -> None:
        """End the file at the present time."""
        if self._changed in self.trace.sinks:
            self.trace.sinks.remove(self._changed)
            atexit.unregister(self.close)
            try:
                with self.file as f:
                    now = self.trace.machine.time.now
                    if now != self._time and self.error is None:
                        f.write(f"#{now}\n")
            except OSError as e:
                if self.error is None:
                    self._give_up(e)

    def __enter__(self) -> VcdFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def svg(trace: Trace, width: int = 1000, most: int = 4000) -> str:
    """The waveforms as a picture (SVG). Of more than `most` changes of a signal the first are drawn."""
    start, end = trace.start, max(trace.machine.time.now, trace.start + 1)
    left, row = 120, 30
    scale = (width - left - 10) / (end - start)
    signals = [s for s in trace.signals.values() if s.changes or s.width == 1]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{row * len(signals) + 40}" '
           'font-family="monospace" font-size="12">', '<rect width="100%" height="100%" fill="#fff"/>']
    for k in range(6):
        t = start + (end - start) * k // 5
        x = left + (t - start) * scale
        out.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{row * len(signals) + 10}" stroke="#ddd"/>'
                   f'<text x="{x:.1f}" y="{row * len(signals) + 28}" text-anchor="middle">{t / 1e6:g} ms</text>')
    for n, s in enumerate(signals):
        y = row * n + 24
        out.append(f'<text x="4" y="{y}">{html.escape(s.name)}</text>')
        shown = s.changes[:most]
        if s.width == 1:
            level = int(s.first) if isinstance(s.first, int) else 0
            path = [f"M{left} {y - 16 * level}"]
            for t, v in shown:
                level = int(v) if isinstance(v, int) else 0
                path.append(f"H{left + (t - start) * scale:.2f}V{y - 16 * level}")
            path.append(f"H{width - 10}")
            out.append(f'<path d="{"".join(path)}" fill="none" stroke="#06c"/>')
        else:
            for t, v in shown:
                x = left + (t - start) * scale
                text = f"{v:02x}" if isinstance(v, int) else str(v)
                label = f'<text x="{x + 2:.2f}" y="{y - 3}" font-size="9">{text}</text>' if len(shown) <= 60 else ""
                out.append(f'<g><title>{t / 1000:g} us: {text}</title>'
                           f'<line x1="{x:.2f}" y1="{y - 16}" x2="{x:.2f}" y2="{y}" stroke="#c60"/>{label}</g>')
    return "\n".join(out) + "\n</svg>\n"


def page(trace: Trace, serial: dict[str, str] | None = None) -> str:
    """A static page: the waveforms, the state of the pins, and what serial ports said."""
    name = html.escape(trace.machine.name)
    said = "".join(f"<h2>{html.escape(k)}</h2><pre>{html.escape(v)}</pre>" for k, v in (serial or {}).items())
    return (f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>{name}</title></head><body>\n'
            f"<h1>{name}, {trace.machine.time.now / 1e9:g} s</h1>\n{svg(trace)}\n<h2>Pins</h2>\n"
            f"<pre>{html.escape(trace.machine.pins.describe())}</pre>\n{said}</body></html>\n")
