"""The CPU of a machine: I/O, exact events, interrupts, sleep, self-programming, resets.  AVR data sheets, "AVR CPU Core"."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from avr_engines import bare_machine

from support.told import AvrJit
from tinamou.engine.assemble import Assembler
from tinamou.isa.avr import isa
from tinamou.isa.avr.models import MODELS, find
from tinamou.isa.avr.runner import AvrEngine
from tinamou.isa.avr.state import DATA
from tinamou.isa.avr.vcpu import AvrError, AvrVcpu
from tinamou.machine.machine import Machine, Settings
from tinamou.machine.memory import Io
from tinamou.machine.props import PropertyError
from tinamou.native.types import i64, u8


@pytest.fixture(autouse=True, params=["off", "traces", "eager", "regions"])
def jit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test on the interpreter alone, with traces, with regions when they are ready, and with regions everywhere."""
    if request.param == "regions":
        AvrJit.told(monkeypatch)
    else:
        monkeypatch.setenv("TINAMOU_JIT", request.param)
    yield
    while boards:
        boards.pop().engine.close()


boards: list[Board] = []  # of the test that runs


class Bank:
    """Registers that note every access with its cycle."""

    def __init__(self, cpu: AvrVcpu) -> None:
        self.cpu, self.values, self.log = cpu, bytearray(512), []
        self.log: list[tuple[str, int, int, int]]
        self.written: Any = None

    def read(self, offset: int, size: int) -> int:
        self.log.append(("r", offset, self.values[offset], self.cpu.cycles))
        return self.values[offset]

    def write(self, offset: int, value: int, size: int) -> None:
        self.log.append(("w", offset, value, self.cpu.cycles))
        self.values[offset] = value
        if self.written is not None:
            self.written(offset, value)


class Board:
    """A part with a bank of registers at data address 0x20 and up, and a program."""

    def __init__(self, program: str, model: str = "ATmega328P") -> None:
        self.engine, self.machine, self.cpu = bare_machine(model)
        part = MODELS[model]
        self.bank = Bank(self.cpu)
        self.machine.memory.root.add(DATA + 0x20, Io("io", part.ram - 0x20, self.bank, access=(1, 1)))
        assembled = Assembler(isa(part.core, part.wide)).assemble(program)
        self.labels = assembled.labels
        self.machine.memory.store_rom(0, assembled.data)
        boards.append(self)

    def run(self, cycles: int) -> int:
        return self.engine.run_cycles(cycles)

    def r(self, n: int) -> int:
        return int(self.cpu.cpu.r[n])

    def sram(self, address: int) -> int:
        return self.machine.memory.read(DATA + address, 1)

    def log(self) -> list[tuple[str, int, int, int]]:
        return [(kind, offset + 0x20, value, cycle) for kind, offset, value, cycle in self.bank.log]


# -- I/O


def test_accesses_are_made_in_the_last_cycle() -> None:
    b = Board("ldi r16, 7; out 5, r16; in r17, 5; sts 0x80, r16; lds r18, 0x80; sbi 5, 7; cbi 5, 0; nop; end: rjmp end")
    b.run(20)
    assert b.log() == [
        ("w", 0x25, 7, 1), ("r", 0x25, 7, 2), ("w", 0x80, 7, 4), ("r", 0x80, 7, 6),
        ("r", 0x25, 7, 8), ("w", 0x25, 0x87, 8), ("r", 0x25, 0x87, 10), ("w", 0x25, 0x86, 10),
    ]  # fmt: skip
    assert (b.r(17), b.r(18)) == (7, 7)


def test_bits_are_written_alone_where_the_device_can() -> None:
    b = Board("sbi 3, 5; cbi 3, 1; end: rjmp end")
    written = []
    b.bank.write_bits = lambda offset, value, mask: written.append((offset, value, mask))  # type: ignore[attr-defined]
    b.run(10)
    assert written == [(3, 0x20, 0x20), (3, 0, 2)] and b.log() == []


def test_skips_look_at_registers() -> None:
    b = Board("sbis 3, 5; ldi r16, 1; sbic 3, 4; ldi r17, 1; sbis 3, 4; jmp bad; ldi r18, 1; bad: rjmp bad")
    b.bank.values[3] = 0x10
    b.run(3)
    assert b.cpu.cycles >= 3
    b.run(20)
    assert (b.r(16), b.r(17), b.r(18)) == (1, 1, 1)


def test_shadows_counters_and_plain_registers_make_no_calls() -> None:
    b = Board("""
            in r0, 0x1e
            out 0x1e, r16
            in r1, 0x1e
            in r2, 0x15
            in r3, 0x26
            in r4, 0x26
            lds r5, 0x84
            lds r6, 0x85
            sbi 0x1e, 0
            in r7, 0x1e
            out 0x15, r16
    end:    rjmp end
    """)
    io = b.cpu.io
    io.plain(0x3E)
    io.shadow(0x35, 0x5A)
    io.counter(0x46, start=0, divider=1, first=10, top=255)
    io.counter(0x84, start=0, divider=2, first=0x1FE, top=0xFFFF, latch=0x85)
    io.shadow(0x85, 0)
    b.cpu.cpu.r[16] = u8(0x42)
    b.run(30)
    assert [b.r(n) for n in range(8)] == [0, 0x42, 0x5A, 14, 15, 0x01, 0x02, 0x43]
    assert b.log() == [("w", 0x35, 0x42, 13)]
    io.device(0x35)
    b.cpu.cpu.pc = type(b.cpu.cpu.pc)(6)
    b.run(1)
    assert b.log()[-1][:2] == ("r", 0x35)


def test_counters_wrap_and_count_down() -> None:
    b = Board("in r0, 0x26; in r1, 0x26; in r2, 0x26; in r3, 0x26; in r4, 0x26; in r5, 0x26; end: rjmp end")
    b.cpu.io.counter(0x46, start=0, divider=1, first=1, top=3)
    b.run(8)
    assert [b.r(n) for n in range(6)] == [1, 2, 3, 0, 1, 2]
    b.machine.reset("cold")
    b.cpu.io.counter(0x46, start=b.cpu.cycles, divider=1, first=1, top=3, dual=True)
    b.run(8)
    assert [b.r(n) for n in range(6)] == [1, 2, 3, 2, 1, 0]


def test_registers_are_in_the_data_space() -> None:
    b = Board("ldi r16, 0x5a; sts 3, r16; lds r17, 16; lds r18, 0x5d; ldi r30, 0x5f; ldi r31, 0; ld r19, Z; sec; ld r20, Z; end: rjmp end")
    b.run(40)
    assert (b.r(3), b.r(17), b.r(18), b.r(19), b.r(20)) == (0x5A, 0x5A, 0xFF, 0, 1)
    assert b.log() == []
    memory = b.machine.memory
    assert memory.read(DATA + 3, 1) == 0x5A and memory.read(DATA + 0x5E, 1) == 0x08 and memory.read(DATA + 0x5F, 1) == 1
    memory.write(DATA + 4, 9, 1)
    assert b.r(4) == 9


def test_nothing_there() -> None:
    lines: list[str] = []
    engine, machine, cpu = bare_machine("ATmega328P")
    machine.log.items, machine.log.sink = {"unimp", "guest_errors"}, lines.append
    program = Assembler(isa()).assemble("ldi r16, 1; in r16, 0; in r16, 0; .half 0xffff; ldi r17, 5; end: rjmp end")
    machine.memory.store_rom(0, program.data)
    engine.run_cycles(20)
    assert int(cpu.cpu.r[16]) == 0 and int(cpu.cpu.r[17]) == 5
    assert len(lines) == 2 and "0x20" in lines[0] and "invalid instruction at 0x6" in lines[1]


def test_calls_with_the_stack_in_the_io_space() -> None:
    """Near and far: the return address goes to devices, and comes back from there."""
    b = Board("""
            ldi r16, 0x90
            out 0x3d, r16
            ldi r16, 0
            out 0x3e, r16
            rcall near
            rcall near
            call near
    end:    rjmp end
    near:   inc r20
            ret
    """)
    b.run(60)
    assert b.r(20) == 3 and b.cpu.pc == b.labels["end"]
    assert sorted(at for kind, at, _, _ in b.log() if kind == "w") == [0x8F] * 3 + [0x90] * 3


@pytest.mark.parametrize("last", ["nop; nop", "sbrs r1, 0; nop", "lds r2, 0x100"])
def test_the_first_instruction_comes_behind_the_last(last: str) -> None:
    """A return address from there on has no bit more."""
    b = Board("rcall near; end: rjmp end; near: in r16, 0x3d; lds r20, 0x8fe; lds r21, 0x8ff; ret")
    size = MODELS["ATmega328P"].flash
    b.machine.memory.store_rom(size - 4, Assembler(isa()).assemble(last).data)
    b.cpu.cpu.pc = type(b.cpu.cpu.pc)(size - 4)
    b.run(30)
    assert (b.r(16), b.r(20), b.r(21)) == (0xFD, 0, 1) and b.cpu.pc == b.labels["end"]


def test_pointers_of_24_bits() -> None:
    b = Board("""
            ldi r16, 2
            out 0x39, r16
            out 0x3a, r16
            out 0x38, r16
            ldi r26, 0xff
            ldi r27, 0xff
            ldi r28, 0xfe
            ldi r29, 0xff
            ldi r30, 0
            ldi r31, 0
            ldi r17, 3
            out 0x3b, r17
            ldi r20, 0x11
            st X+, r20
            in r0, 0x39
            ldi r20, 0x22
            std Y+2, r20
            ldd r1, Y+1
            ld r2, X
            sts 0x1234, r20
            ld r3, -Z
            in r4, 0x3b
            lds r5, 0x1234
            ld r6, -X
            xch Z, r17
    end:    rjmp end
    """, "avrxmega7")
    b.machine.ram(DATA + 0x20000, 0x20000, "outside")
    b.run(200)
    assert [b.r(n) for n in range(7)] == [3, 0x11, 0x22, 0x11, 2, 0x22, 0x11]
    assert (b.r(17), b.sram(0x2FFFF), b.sram(0x30000), b.sram(0x21234)) == (0x11, 3, 0x22, 0x22)


@pytest.mark.parametrize("model", ["avrxmega6", "ATmega2560"])
def test_pointers_of_16_bits_beside_rampz(model: str) -> None:
    """RAMPZ is of ELPM alone where no more than 64 KiB are data."""
    start = MODELS[model].ram
    b = Board(f"ldi r16, 1; out 0x3b, r16; ldi r30, 0; ldi r31, {start >> 8}; ldi r17, 7; st Z, r17; ld r18, Z; end: rjmp end", model)
    b.run(20)
    assert b.r(18) == 7 and b.sram(start) == 7


@pytest.mark.parametrize(("model", "at"), [("avrtiny", 0x40), ("avrxmega3", 0x80)])
def test_program_memory_is_in_the_data_space(model: str, at: int) -> None:
    """A load from there takes a cycle more than one from SRAM; stores go nowhere."""
    first = "nop" if model == "avrxmega3" else "ldi r20, 0"
    b = Board(f"ldi r30, 2; ldi r31, {at}; {first}; ld r16, Z; st Z, r16; ld r17, Z; end: rjmp end", model)
    lines: list[str] = []
    b.machine.log.items, b.machine.log.sink = {"unimp"}, lines.append
    load = MODELS[model].core == "rc"
    for n, cycles in enumerate((1, 1, 1, 2 if load else 3)):
        before = b.cpu.cycles
        b.run(1)
        assert b.cpu.cycles - before == cycles, n
    b.run(20)
    high_byte_of_ldi = b.machine.memory.read(2, 1)
    assert b.r(16) == b.r(17) == high_byte_of_ldi != 0
    assert len(lines) == 1 and f"write of data address {at:#x}02" in lines[0]


# -- time and interrupts


LOOP = """
        jmp start
        jmp isr
        jmp isr3
start:  ldi r16, 0
loop:   inc r16
        rjmp loop
isr:    in r20, 0x05
        reti
isr3:   in r21, 0x06
        reti
"""


@pytest.mark.parametrize(("model", "latency"), [("ATmega328P", 4), ("ATmega2560", 5)])
def test_an_interrupt_comes_at_its_cycle(model: str, latency: int) -> None:
    b = Board(LOOP.replace("ldi r16, 0", "sei"), model)
    taken: list[int] = []
    b.cpu.on_acknowledge(2, lambda: (taken.append(b.cpu.cycles), b.cpu.line("vector2")(False)))
    b.cpu.clock.at(100, lambda: b.cpu.line("vector2")(True))
    b.run(200)
    # jmp 3, sei 1, then inc and rjmp, 3 cycles together: cycle 100 is the beginning of an inc
    assert taken == [100 + latency]
    assert b.log() == [("r", 0x25, 0, 100 + latency + 3)]


def test_events_wait_for_the_end_of_an_instruction() -> None:
    b = Board(LOOP.replace("ldi r16, 0", "sei"))
    seen: list[tuple[int, int]] = []
    for tick in range(50, 60):
        b.cpu.clock.at(tick, lambda tick=tick: seen.append((tick, b.cpu.cycles)))  # type: ignore[misc]
    b.run(100)
    # an inc begins at 49, 52, 55, 58; its rjmp one cycle later
    assert seen == [(50, 50), (51, 52), (52, 52), (53, 53), (54, 55), (55, 55), (56, 56), (57, 58), (58, 58), (59, 59)]


def test_events_during_an_instruction_come_before_its_access() -> None:
    b = Board("loop: sts 0x80, r16; rjmp loop")
    for tick in range(20, 26):
        b.cpu.clock.at(tick, lambda tick=tick: b.bank.log.append(("event", tick, b.cpu.clock.ticks, b.cpu.cycles)))  # type: ignore[misc]
    b.run(40)
    seen = [(kind, at if kind == "event" else cycle) for kind, at, _, cycle in b.bank.log if 20 <= (at if kind == "event" else cycle) <= 25]
    assert seen == [("event", 20), ("event", 21), ("w", 21), ("event", 22), ("event", 23), ("event", 24), ("event", 25), ("w", 25)]
    assert all(at == ticks for kind, at, ticks, _ in b.bank.log if kind == "event")


def test_lower_vectors_come_first_and_one_instruction_lies_between() -> None:
    b = Board(LOOP)
    order: list[tuple[int, int]] = []
    for n in (2, 3):
        b.cpu.on_acknowledge(n, lambda n=n: (order.append((n, b.r(16))), b.cpu.line(f"vector{n}")(False)))  # type: ignore[misc]
    b.cpu.line("vector3")(True)
    b.cpu.line("vector2")(True)
    b.run(20)
    assert order == []
    b.cpu.cpu.set_status(u8(0x80))
    count = b.r(16)
    b.run(60)
    assert [n for n, _ in order] == [2, 3]
    assert order[1][1] - count <= 1


@pytest.mark.parametrize("enable", ["sei", "out 0x3f, r17", "sts 0x5f, r17"])
def test_one_more_instruction_after_enabling(enable: str) -> None:
    b = Board(f"""
            jmp start
            jmp isr
    start:  ldi r17, 0x80
            {enable}
            inc r18
            inc r18
            inc r18
    end:    rjmp end
    isr:    mov r19, r18
            reti
    """)
    b.cpu.on_acknowledge(2, lambda: b.cpu.line("vector2")(False))
    b.cpu.line("vector2")(True)
    b.run(40)
    assert (b.r(18), b.r(19)) == (3, 1)


def test_cli_after_sei_lets_no_interrupt_in() -> None:
    b = Board("jmp start; jmp isr; start: sei; cli; inc r18; end: rjmp end; isr: inc r19; reti")
    b.cpu.line("vector2")(True)
    b.run(40)
    assert (b.r(18), b.r(19)) == (1, 0)


def test_the_vector_table_moves() -> None:
    b = Board("sei; nop; end: rjmp end; .zero 506; .half 0, 0; isr: inc r19; stop: rjmp stop")
    assert b.labels["isr"] == 516
    b.cpu.vectors(0x100)
    b.cpu.on_acknowledge(2, lambda: b.cpu.line("vector2")(False))
    b.cpu.line("vector2")(True)
    b.run(40)
    assert b.r(19) == 1


def test_device_accesses_take_effect_before_the_next_instruction() -> None:
    b = Board("jmp start; jmp isr; start: sei; nop; out 5, r16; inc r18; inc r18; end: rjmp end; isr: mov r19, r18; reti")
    b.bank.written = lambda offset, value: b.cpu.line("vector2")(True)
    b.cpu.on_acknowledge(2, lambda: b.cpu.line("vector2")(False))
    b.run(40)
    assert (b.r(18), b.r(19)) == (2, 0)


def test_sleep_goes_to_the_next_event() -> None:
    b = Board("jmp start; jmp isr; start: sei; sleep; inc r18; end: rjmp end; isr: inc r19; reti")
    taken: list[int] = []
    b.cpu.on_acknowledge(2, lambda: (taken.append(b.cpu.cycles), b.cpu.line("vector2")(False)))
    b.cpu.clock.at(5_000_000, lambda: None)
    b.cpu.clock.at(9_000_000, lambda: b.cpu.line("vector2")(True))
    begun = time.process_time()
    b.run(9_000_100)
    assert taken == [9_000_008]  # 4 cycles, 4 more out of sleep
    assert (b.r(18), b.r(19)) == (1, 1)
    assert time.process_time() - begun < 5


def test_alarms() -> None:
    b = Board("jmp start; jmp isr; start: sei; loop: in r16, 0x15; or r17, r16; rjmp loop; isr: inc r18; in r19, 0x15; reti")
    called: list[int] = []
    b.cpu.on_acknowledge(2, lambda: called.append(2))
    b.cpu.io.shadow(0x35, 0x80)
    b.cpu.io.alarm(0x35, 1, at=1000, period=500, vector=2)
    b.cpu.io.alarm(0x35, 2, at=1750)
    b.run(999)
    assert (b.r(17), b.r(18)) == (0x80, 0)
    b.run(100)
    assert (b.r(18), b.r(19), b.cpu.io.flags(0x35)) == (1, 0x80, 0x80)
    b.run(500)
    assert b.r(18) == 2
    b.run(500)
    assert (b.r(17), b.r(18), b.r(19), b.cpu.io.flags(0x35)) == (0x82, 3, 0x82, 0x82)
    b.cpu.io.silence(0x35, 1)
    b.run(5000)
    assert b.r(18) == 3 and not called and b.log() == []


def test_alarms_wake_a_sleeping_cpu() -> None:
    b = Board("jmp start; jmp isr; start: sei; loop: sleep; inc r17; rjmp loop; isr: inc r18; reti")
    b.cpu.io.shadow(0x35, 0)
    b.cpu.io.alarm(0x35, 1, at=16_000, period=16_000, vector=2)
    b.cpu.on_sleep = None
    assert b.run(1_000_000) <= 1_000_002
    assert (b.r(17), b.r(18)) == (62, 62)


def test_sleep_without_interrupts_is_told() -> None:
    b = Board("sleep; inc r17; end: rjmp end")
    lines: list[str] = []
    b.machine.log.items, b.machine.log.sink = {"guest_errors"}, lines.append
    b.cpu.io.shadow(0x35, 0)
    b.cpu.io.alarm(0x35, 1, at=16_000, period=16_000, vector=2)
    b.engine.start()
    end = time.monotonic() + 30
    while not lines and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)
    assert b.cpu.cycles < 16_000
    b.engine.close()
    assert lines == ["the CPU sleeps with interrupts disabled: only a reset wakes it"] and b.r(17) == 0


def test_sleep_may_be_refused() -> None:
    b = Board("sleep; inc r18; end: rjmp end")
    b.cpu.on_sleep = lambda: False
    b.run(10)
    assert b.r(18) == 1 and not b.cpu.halted


def test_time_passes_in_sleep() -> None:
    b = Board("sleep; inc r18; end: rjmp end")
    assert b.run(1000) == 1000 and b.cpu.halted and b.r(18) == 0


def test_stall() -> None:
    b = Board("out 5, r16; in r17, 6; end: rjmp end")
    b.bank.written = lambda offset, value: b.cpu.stall(4)
    b.run(20)
    assert b.log() == [("w", 0x25, 0, 0), ("r", 0x26, 0, 5)]


def test_restart_is_exact() -> None:
    b = Board("inc r16; out 5, r16; inc r17; end: rjmp end")
    b.bank.written = lambda offset, value: b.cpu.restart("watchdog") if value < 3 else None
    b.run(40)
    assert (b.r(16), b.r(17)) == (3, 1)
    assert [cycle for _, _, _, cycle in b.log()] == [1, 3, 5]


def test_a_change_of_frequency_moves_time_not_cycles() -> None:
    b = Board("loop: rjmp loop")
    times: list[tuple[int, int]] = []
    b.machine.time.at(1_000_000, lambda: times.append((b.cpu.cycles, b.machine.time.now)))
    b.run(8000)
    b.cpu.clock.hz = 1_000_000
    b.run(500)
    assert times == [(8500, 1_000_000)]


def test_the_same_trace_whatever_the_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    def trace(quantum: int, chunk: int) -> list[tuple[str, int, int, int]]:
        b = Board(LOOP.replace("ldi r16, 0", "sei"))
        b.cpu.cpu.quantum = i64(quantum)

        def again() -> None:
            b.cpu.line("vector2")(True)
            b.cpu.clock.at(b.cpu.cycles + 37, again)

        b.cpu.on_acknowledge(2, lambda: b.cpu.line("vector2")(False))
        b.cpu.clock.at(41, again)
        while b.cpu.cycles < 20_000:
            b.run(min(chunk, 20_000 - b.cpu.cycles))
        return b.log()

    first = trace(200_000, 20_000)
    assert len(first) > 300
    assert trace(1, 20_000) == first
    assert trace(97, 333) == first


# -- code


def test_code_wraps_at_the_end_of_flash() -> None:
    b = Board("inc r16; rjmp . - 4")
    last = MODELS["ATmega328P"].flash - 2
    b.machine.memory.store_rom(last, Assembler(isa()).assemble("inc r17").data)
    b.run(12)
    assert b.r(16) == 3 and b.r(17) == 3
    assert b.cpu.pc < last + 2


def test_a_skip_over_the_end_of_a_page() -> None:
    b = Board("jmp far; .zero 4086; far: sbrs r1, 7; lds r16, 0x100; inc r17; sbrc r0, 0; jmp bad; inc r17; end: rjmp end; bad: rjmp bad")
    assert b.labels["far"] == 4090
    b.cpu.cpu.r[1] = u8(0x80)
    b.run(40)
    assert b.r(17) == 2 and b.cpu.pc == b.labels["end"]


def test_self_programming_changes_decoded_code() -> None:
    b = Board("loop: ldi r16, 1; ldi r30, 0; ldi r31, 0; spm; mov r18, r17; ldi r17, 2; rjmp loop")
    seen = []

    def spm(z: int, word: int, pc: int) -> None:
        seen.append((z, word, pc))
        b.machine.memory.store_rom(10, Assembler(isa()).assemble("ldi r17, 9").data)

    b.cpu.on_spm = spm
    b.run(8)
    assert seen == [(0, 0, 6)] and b.r(17) == 9
    b.run(20)
    assert b.r(18) == 9


def test_lpm_can_be_asked_for() -> None:
    b = Board("ldi r30, 2; ldi r31, 0; lpm r0, Z; lpm r1, Z+; lpm r2, Z; end: rjmp end")
    b.cpu.on_lpm = lambda z: 0x77 if z == 3 else None
    b.run(20)
    assert (b.r(0), b.r(1), b.r(2)) == (0xF0, 0xF0, 0x77)


def test_one_section_of_flash_is_not_read_from_the_other() -> None:
    """Lock bits: loads across the boundary give 0xFF; instructions are fetched and skipped as ever."""
    text = "ldi r30, 7; ldi r31, 0; lpm r0, Z+; lpm r1, Z; ldi r30, 7; lpm r2, Z+; lpm r3, Z; sbrc r5, 0; inc r4; end: rjmp end"
    for application, boot_section, wanted in ((0, 0, "90 e7 90 e7"), (0, 1, "90 ff 90 e7"), (1, 0, "90 e7 ff e7"), (1, 1, "90 ff ff e7")):
        b = Board(text)
        b.cpu.protect(8, application=bool(application), boot_section=bool(boot_section))
        b.run(30)
        assert bytes(b.r(n) for n in range(4)).hex(" ") == wanted and b.r(4) == 0


def test_watchdog_and_break_are_told() -> None:
    b = Board("wdr; break; inc r16; end: rjmp end")
    told: list[str] = []
    b.cpu.on_watchdog = lambda: told.append("wdr")
    b.cpu.on_break = lambda: told.append("break")
    b.run(8)
    assert told == ["wdr", "break"] and b.r(16) == 1


# -- control


def test_breakpoints() -> None:
    b = Board("loop: inc r16; inc r17; rjmp loop")
    stops: list[tuple[int, str, int]] = []
    b.engine.stopped_by = lambda cpu, kind, address: stops.append((cpu, kind, address))
    b.engine.set_break("hardware", 2, 2)
    for n in range(1, 4):
        b.engine.start()
        end = time.monotonic() + 30
        while len(stops) < n and time.monotonic() < end:
            time.sleep(0.001)
        assert stops[-1] == (0, "hardware", 2) and b.cpu.pc == 2 and b.r(16) == n
    assert b.run(1000) >= 1000
    b.cpu.set_register("pc", 2)
    b.engine.clear_break("hardware", 2, 2)
    b.engine.step(0, 0)
    assert b.cpu.pc == 4
    with pytest.raises(RuntimeError, match="only the data space"):
        b.engine.set_break("write", 0x100, 1)
    b.engine.close()


def test_watchpoints() -> None:
    b = Board("ldi r30, 0; ldi r31, 1; loop: ld r0, Z; std Z+1, r0; st Z, r1; inc r16; lds r2, 0x101; sts 0x30, r0; rjmp loop")
    b.engine.set_break("write", 0x800100, 1)
    b.engine.set_break("read", 0x800101, 1)
    b.engine.set_break("access", 0x800030, 2)
    stops: list[tuple[int, str, int]] = []
    b.engine.stopped_by = lambda cpu, kind, address: stops.append((cpu, kind, address))
    places = []
    for n in range(1, 5):
        b.engine.start()
        end = time.monotonic() + 30
        while len(stops) < n and time.monotonic() < end:
            time.sleep(0.001)
        places.append(b.cpu.pc)
    assert stops == [(0, "write", 0x800100), (0, "read", 0x800101), (0, "access", 0x800030), (0, "write", 0x800100)]
    assert places == [10, 16, 20, 10]
    assert b.engine.step(0, 0) is None and b.engine.step(0, 0) == (0, "read", 0x800101)
    for kind, address, size in list(b.engine.watches):
        b.engine.clear_break(kind, address, size)
    assert b.run(1000) >= 1000 and len(stops) == 4
    b.engine.close()


def test_start_and_stop() -> None:
    b = Board("loop: inc r16; rjmp loop")
    b.engine.start()
    end = time.monotonic() + 10
    while not b.cpu.cycles and time.monotonic() < end:
        time.sleep(0.01)
    b.engine.stop()
    cycles = b.cpu.cycles
    assert cycles > 0
    b.engine.start()
    b.engine.stop()
    assert b.cpu.cycles >= cycles
    b.engine.close()
    assert not any(t.name == "CPU 0" and t is b.engine.thread for t in threading.enumerate())


def test_a_sleeping_cpu_is_woken_by_the_world_outside() -> None:
    b = Board("jmp start; jmp isr; start: sei; sleep; inc r18; end: rjmp end; isr: inc r19; reti")
    b.cpu.on_acknowledge(2, lambda: b.cpu.line("vector2")(False))
    b.engine.start()
    with b.machine.lock:
        b.cpu.line("vector2")(True)
    end = time.monotonic() + 30
    while b.r(18) == 0 and time.monotonic() < end:
        time.sleep(0.001)
    b.engine.close()
    assert (b.r(18), b.r(19)) == (1, 1)


def test_real_time() -> None:
    engine = AvrEngine(realtime=True)
    machine = Machine("bare", Settings(), cpu_factory=engine.factory)
    machine.rom(0, 32768, "flash")
    machine.ram(DATA + 0x100, 2048, "sram")
    cpu = machine.add_cpu("atmega328p")
    machine.memory.store_rom(0, Assembler(isa()).assemble("loop: rjmp loop").data)
    machine.reset("cold")
    begun = time.monotonic()
    engine.start()
    while time.monotonic() - begun < 0.2:
        time.sleep(0.01)
    engine.close()
    assert 0 < cpu.cycles <= (time.monotonic() - begun + 0.05) * 16_000_000


def test_save_and_load() -> None:
    b = Board(LOOP.replace("ldi r16, 0", "sei"))
    b.cpu.io.counter(0x46, start=0, divider=3, first=0, top=99)
    b.run(1000)
    saved = b.cpu.save()
    b.run(777)
    end, cycles, status = b.cpu.describe(), b.cpu.cycles, int(b.cpu.cpu.status())
    b.cpu.load(saved)
    assert b.cpu.cycles == saved["instructions"]
    b.run(cycles - b.cpu.cycles)
    assert b.cpu.describe() == end and int(b.cpu.cpu.status()) == status


def test_registers_by_name() -> None:
    b = Board("end: rjmp end")
    for name, value in (("r7", 0x12), ("sreg", 0x83), ("sp", 0x4FE), ("pc", 0x20)):
        b.cpu.set_register(name, value)
        assert b.cpu.register(name) == value
    with pytest.raises(KeyError):
        b.cpu.register("r32")
    assert "R07: 12" in b.cpu.describe() and "[ I - - - - - Z C ]" in b.cpu.describe()


# -- models


def test_models() -> None:
    sizes = {m.name: (m.flash, m.sram, m.ram, m.vectors, m.signature.hex()) for m in MODELS.values() if m.name.startswith("ATmega")}
    assert sizes == {
        "ATmega168": (16384, 1024, 0x100, 26, "1e9406"),
        "ATmega328P": (32768, 2048, 0x100, 26, "1e950f"),
        "ATmega1280": (131072, 8192, 0x200, 57, "1e9703"),
        "ATmega2560": (262144, 8192, 0x200, 57, "1e9801"),
    }
    assert find("atmega2560").wide and not find("ATmega1280").wide
    assert find("avr51-avr-cpu").name == "avr51" and find("avrtiny").core == "rc"
    assert find("avr25").vector_size == 2 and find("avr5").vector_size == 4


def test_unknown_models_and_second_cpus_are_refused() -> None:
    engine = AvrEngine()
    machine = Machine("bare", Settings(), cpu_factory=engine.factory)
    with pytest.raises(PropertyError, match="unable to find CPU model 'atmega32p'"):
        machine.add_cpu("atmega32p")
    machine.add_cpu("ATmega328P")
    with pytest.raises(PropertyError, match="one CPU"):
        machine.add_cpu("ATmega328P")
    with pytest.raises(AvrError, match="no flash"):
        engine.run_cycles(1)


def test_instructions_that_a_part_lacks_are_none() -> None:
    b = Board("end: rjmp end", "ATmega168")
    lines: list[str] = []
    b.machine.log.items, b.machine.log.sink = {"guest_errors"}, lines.append
    b.machine.memory.store_rom(0, (0x9519).to_bytes(2, "little"))  # eicall
    b.run(3)
    assert len(lines) == 1 and "invalid instruction at 0x0" in lines[0]


@pytest.mark.parametrize(
    ("vectors", "raised", "locked", "expected"),
    [
        (0, 4, {}, "soon"),
        (0x7000, 4, {}, "soon"),
        (0x7000, 4, {"boot_section": True}, "soon"),
        (0x7000, 4, {"application": True}, "boot"),
        (0, 12, {}, "inside"),
        (0, 12, {"application": True}, "inside"),
        (0, 12, {"boot_section": True}, "back"),
        (0x7000, 12, {"boot_section": True}, "inside"),
    ],
)
def test_lock_bits_hold_back_interrupts(vectors: int, raised: int, locked: dict[str, bool], expected: str) -> None:
    """BLB02 and BLB12 clear: none while the one section is executed and the vectors are in the other."""
    b = Board("jmp start; reti; nop; start: sei; nop; soon: nop; call 0x7008; back: nop; end: rjmp end")
    boot = Assembler(isa()).assemble("nop; nop; reti; nop; boot: nop; nop; inside: nop; nop; ret", 0x7000)
    b.machine.memory.store_rom(0x7000, boot.data)
    labels = {**b.labels, **boot.labels}
    taken: list[int] = []

    def entered() -> None:
        sp = int(b.cpu.cpu.sp)
        taken.append((b.sram(sp + 1) << 8 | b.sram(sp + 2)) * 2)
        b.cpu.line("vector2")(False)

    b.cpu.protect(0x7000, **{"application": False, "boot_section": False, **locked})
    b.cpu.vectors(vectors // 2)
    b.cpu.on_acknowledge(2, entered)
    b.cpu.clock.at(raised, lambda: b.cpu.line("vector2")(True))
    b.run(100)
    assert taken == [labels[expected]]
