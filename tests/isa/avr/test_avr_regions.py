"""Regions of AVR machines: interrupts come where they come without, code that changes itself, the cache, and when there are none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_avr_cpu import Board, boards

from support.told import AvrJit
from tinamou.native import cache

FLAGS = 0x35  # a register with the flag that asks for vector 2
HEAD = "jmp main; jmp tick; "
TICK = "tick: push r16; in r16, 0x3f; push r16; adiw r24, 1; out 0x15, r24; pop r16; out 0x3f, r16; pop r16; reti; "
START = "main: ldi r28, 0; ldi r29, 2; ldi r20, 200; ldi r18, 3; ldi r19, 0x81; sei; "
LOOPS = {
    "arithmetic": "add r0, r19; adc r1, r0; sbci r19, 7; dec r20; brne loop; rjmp loop",
    "memory": "ldd r2, Y+3; adiw r28, 1; std Y+2, r2; st Y, r20; inc r20; sbrc r20, 6; sbiw r28, 1; andi r28, 31; rjmp loop",
    "calls": "rcall sub; brcs on; call sub; on: mul r0, r20; movw r2, r0; dec r20; rjmp loop; sub: push r20; subi r20, 37; pop r20; ret",
    "skips": "cpse r20, r18; lds r4, 0x0200; sbrs r20, 1; jmp even; inc r5; even: sbrc r20, 0; dec r6; dec r20; brlt loop; brge loop",
    "devices": "in r7, 0x15; inc r7; out 0x15, r7; sbis 0x15, 2; inc r8; sbi 5, 1; lds r9, 0x80; cbi 5, 1; sts 0x80, r7; rjmp loop",
    "pointers": "eor r31, r31; ldi r30, 0x25; ld r2, Z+; std Z+3, r20; ld r3, -Z; ldi r30, 0x35; ld r6, Z; st -Z, r6; dec r20; rjmp loop",
    "own": "eor r31, r31; ldi r30, 16; st Z+, r20; ld r4, Z; ldi r30, 95; ld r5, Z; st Z, r20; lds r6, 5; sts 7, r6; dec r20; rjmp loop",
    "far": "ldi r17, 1; out 0x3b, r17; ldi r30, 0xff; elpm r2, Z+; in r3, 0x3b; inc r31; lds r4, 0x123; dec r20; rjmp loop",
    "flags": "cli; in r10, 0x3f; dec r20; out 0x3f, r10; sei; bst r20, 3; bld r11, 5; brts loop; nop; sei; sen; ses; brlt loop; rjmp loop",
}


@pytest.fixture(autouse=True)
def close() -> Iterator[None]:
    yield
    while boards:
        boards.pop().engine.close()


def state(b: Board) -> tuple[object, ...]:
    saved = {k: v for k, v in b.cpu.save().items() if k != "io_value"}
    return saved, b.log(), bytes(b.machine.rams["sram"].buffer)


CASES = [(name, model) for model in ("ATmega328P", "ATmega2560") for name in LOOPS if name != "far" or model == "ATmega2560"]


@pytest.mark.parametrize("name, model", CASES)
def test_interrupts_at_every_cycle(name: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the interpreter, with an interrupt at each cycle of a hot loop."""
    AvrJit.told(monkeypatch, quantum=1000)
    regions, interpreter = (Board(f"{HEAD}{TICK}{START}loop: {LOOPS[name]}", model) for _ in range(2))
    interpreter.engine.jit = "off"
    both = regions, interpreter
    for b in both:
        b.run(700)
    jit = regions.cpu.jit
    assert jit is not None and jit.compiled(regions.labels["loop"]) and interpreter.cpu.jit is None
    for n in range(120):
        for b in both:
            b.bank.log.clear()
            b.cpu.io.shadow(FLAGS, 0)
            b.cpu.io.alarm(FLAGS, 1, at=b.cpu.cycles + 100 + n, period=450, vector=2)
        assert regions.run(301 + n % 7) == interpreter.run(301 + n % 7)
        assert state(regions) == state(interpreter), n
    assert regions.r(24) >= 60


@pytest.mark.parametrize("store", ["spm", "out 5, r16"])
def test_code_that_changes_itself(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The instruction behind the one that changed it is another one, within a region as well."""
    AvrJit.told(monkeypatch)
    b = Board(f"ldi r20, 0; loop: inc r20; {store}; changed: ldi r17, 0; add r18, r17; cpi r20, 200; brne loop; end: rjmp end")
    at = b.labels["changed"]
    b.cpu.on_spm = b.bank.written = lambda *_: b.machine.memory.store_rom(at, (0xE010 | b.r(20) & 15).to_bytes(2, "little"))
    b.run(20_000)
    jit = b.cpu.jit
    assert jit is not None and jit.statistics.regions > 20 and jit.statistics.dropped > 20
    assert (b.r(20), b.r(18)) == (200, sum(n & 15 for n in range(201)) & 0xFF)


HOT = "ldi r20, 3; loop: dec r21; brne loop; dec r22; brne loop; dec r20; brne loop; inc r5; rjmp loop"


def run_hot(b: Board, mode: str = "on") -> int:
    """Until a region runs, or in vain; gives how many cycles that took."""
    b.engine.jit = mode
    cycles, end = 0, time.monotonic() + 30
    while b.cpu.jit is None or not b.cpu.jit.statistics.in_regions:
        assert time.monotonic() < end
        cycles += b.run(1_000_000)
    return cycles


def test_hot_loops_are_compiled_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    first, second, other = (Board(text) for text in (HOT, HOT, HOT.replace("inc r5", "inc r6")))
    plain = Board(HOT)
    plain.engine.jit = "off"
    assert plain.run(n := run_hot(first, "eager")) == n and state(plain) == state(first)
    assert first.cpu.jit is not None and first.cpu.jit.statistics.regions >= 1 and not first.cpu.jit.statistics.revived
    first.engine.close()
    n = run_hot(second)
    jit = second.cpu.jit
    assert jit is not None and jit.statistics.revived >= 1 and not jit.makers  # and nothing was compiled
    plain = Board(HOT)
    plain.engine.jit = "off"
    assert plain.run(n) == n and state(plain) == state(second)
    other.engine.jit = "eager"
    other.run(1000)
    assert other.cpu._soon is not None
    other.cpu._soon.join()
    assert other.cpu.jit is not None and other.cpu.jit.cache is not None and not other.cpu.jit.cache.kept


def test_watchpoints_are_met_in_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    AvrJit.told(monkeypatch)
    b = Board("ldi r27, 2; loop: inc r16; ldi r26, 0; st X+, r16; st X+, r16; rjmp loop")
    b.run(2000)
    assert b.cpu.jit is not None and b.cpu.jit.compiled(b.labels["loop"])
    found: list[tuple[int, str, int]] = []
    b.engine.stopped_by = lambda *hit: found.append(hit)
    b.engine.set_break("write", 0x80_0201, 1)
    before = b.r(16)
    b.run(40)
    assert found and found[0] == (0, "write", 0x80_0201) and b.r(16) > before


@pytest.mark.parametrize("mode", ["off", "traces"])
def test_none_when_they_are_not_wanted(mode: str) -> None:
    b = Board(HOT)
    b.engine.jit = mode
    b.run(1000)
    assert b.cpu.jit is b.cpu._soon is None


def test_none_in_real_time() -> None:
    b = Board(HOT)
    b.engine.realtime = True
    b.run(1000)
    assert b.cpu.jit is b.cpu._soon is None
