"""tinamou run FIRMWARE --board BOARD: a microcontroller board with its serial port on this terminal.

tinamou run sketch.hex --board uno
tinamou run sketch.elf --board uno --live
tinamou run sketch.elf --seconds 2 --vcd out.vcd --page out.html --set A0=2.5 --attach lm75,address=0x48
"""

from __future__ import annotations

import argparse
import os
import re
import select
import signal
import sys
import time
from typing import Any, TextIO

from tinamou.machine.props import PropertyError, nearest

SLICE = 0.01  # seconds of the board between looks at the terminal
BARS = "▁▂▃▄▅▆▇█"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="tinamou run", description="Run a program on a microcontroller board.")
    p.add_argument("firmware", help="program: ELF, Intel HEX or raw bytes")
    p.add_argument("--board", default="uno", help="kind of board (default: uno); `help` lists them")
    p.add_argument("--seconds", type=seconds, metavar="N", help="stop after N seconds of the board's time")
    p.add_argument("--until", metavar="TEXT", help="stop when the serial port has said TEXT; exit status 1 if it never does")
    p.add_argument("--realtime", action="store_true", help="do not run ahead of the clock on the wall")
    p.add_argument("--live", action="store_true", help="show pins, PWM and serial port; implies --realtime")
    p.add_argument("--plot", action="store_true", help="with --live: draw the numbers that the serial port sends")
    p.add_argument("--vcd", metavar="FILE", help="write a Value Change Dump of pins and buses")
    p.add_argument("--page", metavar="FILE", help="write a page (.html) or picture (.svg) of the waveforms at the end")
    p.add_argument("--trace", metavar="NAMES", default="all", help="pins and buses for --vcd and --page: D13,D9,usart0 (default: all)")
    p.add_argument("--set", action="append", default=[], metavar="PIN=VOLTS", help="a voltage, `high` or `low` on a pin from outside")
    p.add_argument("--attach", action="append", default=[], metavar="DEVICE", help="a part as `-device` names it: lm75,address=0x48")
    p.add_argument("--eeprom", metavar="FILE", help="keep the content of the EEPROM there")
    p.add_argument("--pins", action="store_true", help="show the pins at the end")
    return p


def seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no time: a number of seconds above 0")
    return value


class Session:
    """One board with what the command line asked for."""

    def __init__(self, given: argparse.Namespace) -> None:
        from tinamou.backends.chardev.base import MemoryChardev
        from tinamou.control.options import opts
        from tinamou.control.vm import Vm
        from tinamou.isa.avr.runner import AvrEngine
        from tinamou.machine import board
        from tinamou.machine.machine import Settings
        from tinamou.machine.trace import Trace, VcdFile

        self.given, self.interrupted = given, False
        kind = board.find(given.board, "avr")
        self.engine = AvrEngine()
        self.port = MemoryChardev(id="serial0")
        options = {"eeprom": given.eeprom} if given.eeprom else {}
        self.m = kind.make(Settings(bios=given.firmware, serials=[self.port], ram_size=kind.ram), options, cpu_factory=self.engine.factory)
        self.vm = Vm(self.m, self.engine, arch="avr")
        for text in given.attach:
            self.vm.plug(opts(text, "driver"))
        for text in given.set:
            self.set_pin(text)
        self.text = ""
        self.trace = Trace(self.m)
        self.vcd = None
        if given.vcd or given.page:
            self.trace.choose([n for n in given.trace.split(",") if n])
        self.page: TextIO | None = None
        if given.page and not given.page.endswith((".html", ".htm", ".svg")):
            raise PropertyError(f"--page {given.page}: a page or a picture", "a name that ends in .html or .svg")
        at = ""
        try:
            if at := given.vcd or "":
                self.vcd = VcdFile(at, self.trace)
            if at := given.page or "":
                self.page = open(at, "w", encoding="utf-8")
        except OSError as e:
            raise PropertyError(f"Could not open '{at}': {e.strerror}") from None

    def set_pin(self, text: str) -> None:
        name, _, value = text.partition("=")
        pin = self.m.pins[name]
        if value in ("high", "low"):
            pin.drive(value == "high")
            return
        try:
            pin.voltage = float(value)
        except ValueError:
            raise PropertyError(f"--set {text}: '{value}' is no voltage", "volts, `high` or `low`, as in --set A0=2.5") from None

    def interrupt(self, *_: object) -> None:
        """Ctrl-C: the run ends after the slice at hand, never in the middle of a device; a second one does not wait for that."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def run(self, out: TextIO) -> int:
        """Run to the end: the exit status."""
        before = signal.signal(signal.SIGINT, self.interrupt)
        try:
            return self.loop(out)
        finally:
            signal.signal(signal.SIGINT, before)

    def loop(self, out: TextIO) -> int:
        given, start = self.given, time.monotonic()
        live = Live(self, out) if given.live else None
        left = given.seconds
        interactive = sys.stdin is not None and not sys.stdin.closed
        try:
            while not self.interrupted and (left is None or left > 1e-9):
                step = SLICE if left is None else min(SLICE, left)
                before = self.m.cpus[0].cycles  # type: ignore[attr-defined]
                self.engine.run_cycles(max(1, round(step * self.m.cpus[0].clock.hz)))  # type: ignore[attr-defined]
                left = None if left is None else left - step
                new = bytes(self.port.sent)
                if new:
                    self.port.sent.clear()
                    self.text = (self.text + new.decode(errors="replace"))[-65536:]
                    if live is None:
                        out.write(new.decode(errors="replace"))
                        out.flush()
                if given.until is not None and given.until in self.text:
                    return 0
                if live is not None:
                    live.draw()
                ahead = self.m.time.now / 1e9 - (time.monotonic() - start) if given.realtime or given.live else 0.0
                stuck = self.m.cpus[0].cycles == before  # type: ignore[attr-defined]
                if interactive and not self.input(max(0.0, ahead, 0.05 if stuck else 0.0)):
                    interactive = False
                elif not interactive and ahead > 0:
                    time.sleep(ahead)
        except KeyboardInterrupt:
            pass
        finally:
            self.finish(out, live)
        if given.until is not None:
            print(f"tinamou run: the serial port never said '{given.until}'", file=sys.stderr)
            return 1
        return int(self.vcd is not None and self.vcd.error is not None)

    def input(self, wait: float) -> bool:
        """Bytes from the terminal go to the serial port; False when there will be no more."""
        try:
            ready, _, _ = select.select([sys.stdin], [], [], wait)
        except (ValueError, OSError):
            return False
        if ready:
            data = os.read(sys.stdin.fileno(), 4096)
            if not data:
                return False
            self.port.deliver(data)
        return True

    def finish(self, out: TextIO, live: Live | None) -> None:
        from tinamou.machine.trace import page, svg

        if live is not None:
            live.draw(last=True)
        if self.vcd is not None:
            self.vcd.close()
        if self.page is not None:
            try:
                with self.page as f:
                    f.write(svg(self.trace) if self.given.page.endswith(".svg") else page(self.trace, {"Serial port": self.text}))
            except OSError as e:
                if os.path.isfile(self.given.page):
                    os.unlink(self.given.page)
                raise PropertyError(f"Could not write '{self.given.page}': {e.strerror}") from None
        if self.given.pins:
            out.write(self.m.pins.describe())
        self.engine.close()


class Live:
    """The view in the terminal: drawn over itself about ten times a second."""

    def __init__(self, session: Session, out: TextIO) -> None:
        self.session, self.out = session, out
        self.drawn, self.last = 0, 0.0

    def draw(self, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now - self.last < 0.1:
            return
        self.last = now
        lines = self.lines()
        self.out.write((f"\x1b[{self.drawn}A" if self.drawn else "") + "".join(f"\x1b[2K{x}\n" for x in lines))
        self.out.write("\x1b[J")
        self.out.flush()
        self.drawn = len(lines)

    def lines(self) -> list[str]:
        """The picture: pins in columns, then the serial port."""
        m = self.session.m
        cells = []
        for pin in m.pins.all():
            if pin.frequency:
                state = f"{BARS[min(7, int(pin.duty * 8))]} {pin.duty * 100:3.0f}%"
            elif pin.name.startswith("A"):
                state = f"{'●' if pin.level else '○'} {pin.voltage:3.1f}V"
            else:
                state = "●     " if pin.level else "○     "
            cells.append(f"{pin.name:>5} {state:<7}")
        rows = [f"{m.name}   {m.time.now / 1e9:9.3f} s"]
        rows += ["".join(cells[k : k + 7]) for k in range(0, len(cells), 7)]
        said = self.session.text.replace("\r", "").split("\n")
        if self.session.given.plot:
            rows += plot(said)
        rows.append("-" * 40)
        return [*rows, *[x[:100] for x in said[-6:]]]


def plot(lines: list[str], width: int = 80) -> list[str]:
    """The last numbers of each column that the serial port sent, as a row of bars each."""
    table: list[list[float]] = []
    for line in lines:
        try:
            numbers = [float(x) for x in re.sub(r"[A-Za-z_]\w*\s*:", " ", line).replace(",", " ").split()]
        except ValueError:
            continue
        for k, x in enumerate(numbers):
            if len(table) <= k:
                table.append([])
            table[k].append(x)
    out = []
    for column in table[:8]:
        shown = column[-width:]
        low, high = min(shown), max(shown)
        span = high - low or 1.0
        out.append("".join(BARS[min(7, int((x - low) / span * 7.999))] for x in shown) + f"  {shown[-1]:g} ({low:g} to {high:g})")
    return out


def main(words: list[str]) -> int:
    given: Any = parser().parse_args(words)
    from tinamou.machine import board

    if given.board == "help":
        for name, b in board.discover("avr").items():
            print(f"{b.alias or name:<12} {b.desc}")
        return 0
    try:
        try:
            session = Session(given)
        except PropertyError as e:
            if str(e) == "unsupported machine type":
                names = [n for b in board.discover("avr").values() for n in (b.name, b.alias)]
                raise PropertyError(f"no board '{given.board}'", nearest(given.board, names, "nearest: ") or ", ".join(names)) from None
            raise
        return session.run(sys.stdout)
    except PropertyError as e:
        print(*(f"tinamou run: {line}" for line in str(e).split("\n")), *([e.hint.strip("; \n")] if e.hint else []), sep="\n",
              file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except OSError as e:
        print(f"tinamou run: {e.strerror}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
