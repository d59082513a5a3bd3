"""Programs that write random values to random I/O registers, interrupts on: each run is the same, whatever the engine and however
the CPU is told what loads give (docs/avr.md), and nothing fails."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest

from avr_guests import BOARDS, Running
from tinamou.boards.avr.base import PARTS
from tinamou.engine.assemble import Assembler
from tinamou.isa.avr import isa
from tinamou.isa.avr.models import MODELS
from tinamou.machine import snapshot
from tinamou.machine.trace import Trace

MCUS = {"uno": "ATmega328P", "2009": "ATmega168", "mega": "ATmega1280", "mega2560": "ATmega2560"}
OWN = range(0x58, 0x60)  # RAMPD to SREG: writes to the stack pointer are rare, it would soon point nowhere
SEQUENCES = {0x61: 0x80, 0x60: 0x18, 0x55: 0x01, 0x3F: 0x04}  # CLKPR, WDTCSR, MCUCR, EECR: what opens them for four cycles


def one(r: random.Random, top: int) -> list[str]:
    """A few instructions."""
    address = r.randrange(0x20, top)
    if address in OWN and (address in (0x5D, 0x5E) or r.random() < 0.9):
        address = r.randrange(0x60, top)
    n, value = r.randrange(16, 26), r.getrandbits(8)
    match r.randrange(20):
        case 0 | 1 | 2 | 3 | 4 | 5:
            return [f"ldi r{n}, {value}", f"sts {address:#x}, r{n}"]
        case 6 | 7 | 8:
            return [f"lds r0, {address:#x}", "add r1, r0"]
        case 9:
            low = r.randrange(0x20)
            return [f"{r.choice(['sbi', 'cbi'])} {low:#x}, {r.randrange(8)}"]
        case 10:
            return [f"{r.choice(['sbic', 'sbis'])} {r.randrange(0x20):#x}, {r.randrange(8)}", "inc r2"]
        case 11 | 12:
            return [f"{r.choice(['st X+', 'st -X', 'std Y+3', 'std Z+5'])}, r{n}", "sei"]
        case 13:
            place, first = r.choice([*SEQUENCES.items()])
            return [f"ldi r{n}, {first}", f"ldi r26, {value & ~first & 0xFF}", f"sts {place:#x}, r{n}", f"sts {place:#x}, r26"]
        case 14:
            mode = r.choice((0, 0, 0, 0, 0, 0, 1, 3))  # idle most of the time
            return [f"ldi r{n}, {mode << 1 | 1}", f"sts 0x53, r{n}", "sei", "sleep" if r.random() < 0.3 else "nop"]
        case 15:
            return ["wdr"]
        case 16:
            return [f"ldi r{n}, {r.randrange(1, 40)}", f"BACK: dec r{n}", "brne BACK"]
        case 17:
            return [f"ldi r{n}, {r.choice([1, 3, 5, 9, 0x11, 0x21])}", f"sts 0x57, r{n}", r.choice(["spm", "lpm r3, Z"])]
        case 18:
            return [
                f"ldi r30, {value}",
                f"ldi r31, {r.getrandbits(8)}",
                f"ldi r27, {r.choice((1, 2, 3))}",
                f"ldi r29, {r.choice((1, 2, 3))}",
            ]
        case _:
            return ["sei"]


def started(on: str, r: random.Random) -> list[str]:
    """Timers that count and interrupt, serial ports that are on, pins that are watched, conversions: most of them."""
    family = PARTS[MCUS[on]].family
    writes = []
    for t in family.timers:
        writes += [(t.base, r.getrandbits(8)), (t.base + 1, r.getrandbits(8) & 0xF8 | r.randrange(1, 4)), (t.timsk, r.getrandbits(8))]
    for u in family.usarts:
        writes += [(u.base + 4, r.randrange(3)), (u.base + 1, 0x18 | r.choice((0, 0x80, 0xC0, 0xE0))), (u.base + 6, r.getrandbits(8))]
    writes += [(0x3D, r.getrandbits(2)), (0x69, r.getrandbits(8)), (0x68, 7), (0x6B, r.getrandbits(8)), (0x6D, r.getrandbits(8)),
               (0x7A, 0xE8 | r.randrange(8)), (0x7B, r.randrange(8)), (0x4C, 0xD0), (0xBC, 0xA5)]  # fmt: skip
    writes += [(b + k, r.getrandbits(8)) for b in family.ports.values() for k in (1, 2)]
    out = []
    for address, value in r.sample(writes, len(writes) * 2 // 3):
        out += [f"ldi r16, {value}", f"sts {address:#x}, r16"]
    return out


def program(on: str, r: random.Random) -> bytes:
    """A table of vectors whose handlers count and touch a register, and a loop over everything."""
    part = MODELS[MCUS[on]]
    top = part.ram
    lines = ["jmp start"] + ["jmp handler" + str(n % 4) for n in range(1, part.vectors)]
    for n in range(4):
        lines += [
            f"handler{n}: push r16",
            "in r16, 0x3f",
            "push r16",
            "inc r4",
            *(x.replace("BACK", f"again{n}") for x in one(r, top)),
            "pop r16",
            "out 0x3f, r16",
            "pop r16",
            "reti",
        ]
    high = part.ram + part.sram - 1
    lines += ["start:", f"ldi r16, {high >> 8}", "out 0x3e, r16", f"ldi r16, {high & 255}", "out 0x3d, r16", "ldi r27, 1", "ldi r29, 1"]
    lines += [*started(on, r), "sei"]
    for n in range(r.randrange(60, 300)):
        lines += [line.replace("BACK", f"back{n}") for line in one(r, top)]
    return Assembler(isa(part.core, part.wide)).assemble("\n".join([*lines, "jmp start"])).data


class Fuzzed:
    """A board with such a program, and what it did. Without `hints` the CPU asks a device for each load and event."""

    def __init__(self, image: Path, on: str, *, jit: str = "off", hints: bool = True, watch: bool = True) -> None:
        self.r = Running(str(image), on, ports=4, jit=jit, log=False)
        self.failed: list[str] = []
        self.r.engine.failed = self.failed.append  # type: ignore[method-assign]
        self.io: Any = self.r.m.memory.find(0x800025).region.bank
        if not hints:
            self.io.hints = None
            for address in self.io.owners:
                self.r.m.cpus[0].io.device(address)
        self.trace = Trace(self.r.m).pins().buses() if watch else None
        for k, name in enumerate(("A0", "A1", "D6", "D7")):
            self.r.pins[name].voltage = 0.5 + k

    def run(self, slices: list[int], begin: int = 0, end: int | None = None) -> None:
        for n, cycles in enumerate(slices[:end]):
            if n < begin:
                continue
            self.r.engine.run_cycles(cycles)
            if n == len(slices) // 2:
                self.r.send(bytes(range(60)))
                self.r.pins["D2"].drive(bool(n & 1))

    def state(self) -> dict[str, Any]:
        m, vcpu = self.r.m, self.r.m.cpus[0]
        cpu, part = vcpu.cpu, vcpu.part
        return {
            "cpu": (int(cpu.pc), [int(v) for v in cpu.r], int(cpu.status()), int(cpu.sp), int(cpu.halted), vcpu.cycles, m.time.now),
            "sram": m.memory.load(0x800000 + part.ram, part.sram),
            "flash": m.memory.load(0, part.flash),
            "eeprom": bytes(self.r.device("eeprom").content),
            "registers": bytes(self.io.peek(a, 1) for a in range(0x20, part.ram)),
            "serial": [bytes(p.sent) for p in self.r.ports],
            "trace": {name: s.changes for name, s in self.trace.signals.items()} if self.trace is not None else {},
            "failed": self.failed,
        }


def outcome(image: Path, on: str, slices: list[int], **how: Any) -> dict[str, Any]:
    f = Fuzzed(image, on, **how)
    f.run(slices)
    f.r.close()
    return f.state()


def with_snapshot(image: Path, on: str, slices: list[int]) -> dict[str, Any]:
    """Another machine, in another state, takes over in the middle."""
    first, second, middle, kept = Fuzzed(image, on, watch=False), Fuzzed(image, on, watch=False), len(slices) // 2 + 1, io.BytesIO()
    first.run(slices, 0, middle)
    snapshot.write(first.r.m, kept)
    second.r.engine.run_cycles(777)
    kept.seek(0)
    snapshot.read(second.r.m, kept)
    for one, other in zip(first.r.ports, second.r.ports, strict=True):
        other.sent[:], other._queue[:] = one.sent, one._queue  # the host's side: what was said, and what waits to be heard
    second.run(slices, middle)
    for f in (first, second):
        f.r.close()
    return second.state()


def compare(on: str, seed: int, count: int, folder: Path) -> None:
    r, image = random.Random(f"{seed} {on}"), folder / "program.bin"
    image.write_bytes(program(on, r))
    slices = [r.choice((1, 7, 100, 1000, r.randrange(1, 20_000), r.randrange(1, 20_000))) for _ in range(count)]
    wanted = outcome(image, on, slices)
    assert wanted["failed"] == []
    for how in ({}, {"jit": "traces"}, {"jit": "on"}, {"jit": "eager"}, {"hints": False}):
        assert outcome(image, on, slices, **how) == wanted, how
    assert outcome(image, on, slices, watch=False) == wanted | {"trace": {}}  # who watches changes nothing
    assert with_snapshot(image, on, slices) == wanted | {"trace": {}}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("on", BOARDS)
def test_the_same_whatever_the_engine(on: str, seed: int, tmp_path: Path) -> None:
    compare(on, seed, 10, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
@pytest.mark.parametrize("on", BOARDS)
def test_many_programs(on: str, seed: int, tmp_path: Path) -> None:
    compare(on, seed, 30, tmp_path)
