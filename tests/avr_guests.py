"""Programs for AVR boards, built with the cross compiler and the Arduino core of Debian; machines that run them."""

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tinamou.backends.chardev.base import MemoryChardev
from tinamou.machine import board
from tinamou.machine.machine import Settings

GUESTS = Path(__file__).parent / "guests" / "avr"
CORE = Path("/usr/share/arduino/hardware/arduino/avr")
BOARDS = {  # board -> what the compiler calls the part, variant of the Arduino core, its board macro
    "uno": ("atmega328p", "standard", "AVR_UNO"),
    "2009": ("atmega168", "standard", "AVR_DUEMILANOVE"),
    "mega": ("atmega1280", "mega", "AVR_MEGA"),
    "mega2560": ("atmega2560", "mega", "AVR_MEGA2560"),
}
CACHE = Path(tempfile.gettempdir()) / f"tinamou-avr-guests-{os.getuid()}"

needs_gcc = pytest.mark.skipif(shutil.which("avr-gcc") is None, reason="avr-gcc is not installed")
needs_core = pytest.mark.skipif(shutil.which("avr-gcc") is None or not CORE.is_dir(), reason="the Arduino core is not installed")


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stderr}"


def kept(key, suffix, make):
    """A file made once for this text."""
    CACHE.mkdir(mode=0o700, exist_ok=True)
    path = CACHE / (hashlib.sha256(key.encode()).hexdigest()[:20] + suffix)
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            new = Path(folder) / path.name
            make(new, Path(folder))
            os.replace(new, path)
    return path


def program(source, on="uno", *flags):
    """The ELF file of a C program: its text, or the name of a file in tests/guests/avr."""
    mcu = BOARDS[on][0]
    text = (GUESTS / source).read_text() if source.endswith(".c") else source

    def make(new, folder):
        c = folder / "program.c"
        c.write_text(text)
        run("avr-gcc", "-Os", "-std=gnu11", f"-mmcu={mcu}", "-DF_CPU=16000000UL", *flags, c, "-o", new)
    return str(kept(f"{mcu} {flags} {text}", ".elf", make))


def hex_of(elf):
    """The same program as Intel HEX."""
    path = elf[:-4] + ".hex"
    run("avr-objcopy", "-O", "ihex", "-R", ".eeprom", elf, path)
    return path


def bin_of(elf):
    path = elf[:-4] + ".bin"
    run("avr-objcopy", "-O", "binary", "-R", ".eeprom", elf, path)
    return path


@functools.cache
def flags_of(on):
    mcu, variant, macro = BOARDS[on]
    libraries = [f"-I{p}" for name in ("EEPROM", "SPI", "SoftwareSerial", "Wire") for p in (CORE / "libraries" / name / "src",)]
    return ["-Os", "-w", f"-mmcu={mcu}", "-DF_CPU=16000000L", "-DARDUINO=10819", f"-DARDUINO_{macro}", "-DARDUINO_ARCH_AVR",
            "-ffunction-sections", "-fdata-sections", f"-I{CORE / 'cores/arduino'}", f"-I{CORE / 'variants' / variant}", *libraries]


CPP = ["-std=gnu++11", "-fno-exceptions", "-fno-threadsafe-statics", "-fpermissive", "-DDECIMAL_DIG=__DECIMAL_DIG__"]


def core(on):
    """The Arduino core and the libraries that come with it, as an archive."""
    def make(new, folder):
        libraries = CORE / "libraries"
        sources = [*(CORE / "cores/arduino").iterdir(), *libraries.glob("*/src/*.cpp"), *libraries.glob("Wire/src/utility/*.c")]
        objects = []
        for s in sorted(sources):
            if s.suffix in (".c", ".cpp", ".S") and s.parent.parent.name != "HID":
                objects.append(folder / (s.name + ".o"))
                extra = CPP if s.suffix == ".cpp" else ["-x", "assembler-with-cpp"] if s.suffix == ".S" else ["-std=gnu11"]
                run("avr-gcc" if s.suffix != ".cpp" else "avr-g++", *flags_of(on), *extra, "-c", s, "-o", objects[-1])
        run("avr-ar", "rcs", new, *objects)
    return kept(f"core 1 {flags_of(on)}", ".a", make)


def sketch(source, on="uno"):
    """The ELF file of an Arduino sketch: its text, or the name of a file in tests/guests/avr."""
    text = (GUESTS / source).read_text() if source.endswith(".ino") else source
    BOARDS[on][0]

    def make(new, folder):
        cpp = folder / "sketch.cpp"
        cpp.write_text("#include <Arduino.h>\n" + text)
        run("avr-g++", *flags_of(on), *CPP, "-Wl,--gc-sections", cpp, core(on), "-lm", "-o", new)
    return str(kept(f"{flags_of(on)} {text}", ".elf", make))


class Running:
    """A board with a program: `m` the machine, `serial` what it says, `run(seconds)`."""

    def __init__(self, firmware, on="uno", *, options=None, ports=1, log=True, jit=""):
        from tinamou.isa.avr.runner import AvrEngine

        self.engine = AvrEngine(jit=jit)
        self.ports = [MemoryChardev(id=f"s{n}") for n in range(ports)]
        kind = board.find(on, "avr")
        self.m = kind.make(Settings(bios=firmware, serials=list(self.ports), ram_size=kind.ram), options or {},
                           cpu_factory=self.engine.factory)
        self.logged = []
        if log:
            self.m.log.items = {"guest_errors", "unimp"}
        self.m.log.sink = self.logged.append
        self.pins = self.m.pins

    def run(self, seconds):
        self.engine.run_cycles(round(seconds * 16_000_000))
        return self

    @property
    def text(self):
        return self.ports[0].sent.decode(errors="replace")

    def until(self, text, limit=5.0, step=0.01):
        """Run until the serial port has said `text`."""
        while text not in self.text and limit > 0:
            self.run(step)
            limit -= step
        assert text in self.text, self.text
        return self

    def send(self, data):
        self.ports[0].deliver(data)

    def device(self, name):
        return self.m.find_device(name)

    def bus(self, name):
        return next(b for b in self.m.buses() if b.name == name)

    def close(self):
        self.engine.close()


def port_stores(r: Running) -> list[tuple[int, int, int]]:
    """(cycle, register, value) of each store to PORTB, PORTC and PORTD from now on."""
    cpu: Any = r.m.cpus[0]
    out: list[tuple[int, int, int]] = []
    io = cpu.machine.memory.find(0x800025).region.bank
    for address in (0x25, 0x28, 0x2B):
        write = io.writers[address]

        def note(value: int, address: int = address, write: Any = write) -> None:
            out.append((cpu.cycles, address, value))
            write(value)

        io.writers[address] = note
    return out
