"""Several CPUs run at once in threads of the host, without the interpreter lock."""

from __future__ import annotations

import ctypes
import random
import threading
import time
from typing import Any

import pytest
from engine_harness import BREAKPOINT, CODE, DATA, ECALL, PAGE, CpuThread, InterpreterGuest, Stop, assembler

from tinamou.native.types import u64

CPUS = 4
ENDLESS = [
    "1: j 1b",
    "1: addi a0, a0, 1\nj 1b",
    "1: la t0, 1b\njr t0",
    "1: addi a0, a0, 1\n" + "addi a1, a1, 1\n" * 3000 + "la t0, 1b\njr t0",
    "1: lr.w a0, (s0)\nsc.w a1, a0, (s0)\nbnez a1, 1b\nj 1b",
    "1: lw a0, 0(s0)\nbeqz a0, 1b\necall",
]


# -- kicks


@pytest.mark.parametrize("text", ENDLESS)
def test_kick(native: InterpreterGuest, text: str) -> None:
    """run() comes back from every endless loop, and goes on where it was."""
    native.map(DATA, PAGE, "rw")
    native.load(text)
    native.x[8] = DATA
    vcpu = native.vcpu
    kicks = 10
    go = threading.Semaphore(0)

    def kick() -> None:
        for _ in range(kicks):
            go.acquire()
            time.sleep(random.random() * 0.002)
            vcpu.kick()

    thread = threading.Thread(target=kick)
    thread.start()
    before = native.count
    for _ in range(kicks):
        go.release()
        assert native.go() == Stop(None)
        assert native.count > before or native.pc == CODE
        before = native.count
    thread.join()
    assert native.step(5) == Stop(None) and native.count == before + 5


def test_kick_before_run(native: InterpreterGuest) -> None:
    """One kick ends one run, at once; more than one before a run count as one."""
    native.load("addi a0, a0, 1\necall")
    native.vcpu.kick()
    native.vcpu.kick()
    assert native.go() == Stop(None) and native.pc == CODE and native.count == 0
    assert native.go() == Stop(ECALL) and native.x[10] == 1


def test_kick_during_a_step(native: InterpreterGuest) -> None:
    """A step is not cut short, and the kick is there for the next run."""
    native.load("1: addi a0, a0, 1\nj 1b")
    for k in range(1, 30):
        go = threading.Event()
        thread = threading.Thread(target=lambda go=go: (go.wait(), native.vcpu.kick()))
        thread.start()
        go.set()
        assert native.step(100_000) == Stop(None) and native.count == k * 100_000
        thread.join()
        assert native.go() == Stop(None) and native.count == k * 100_000


def test_kick_word(native: InterpreterGuest) -> None:
    """Native code kicks by writing to memory."""
    native.load("1: j 1b")
    word = ctypes.c_uint64.from_address(native.vcpu.kick_address)
    timer = threading.Timer(0.01, lambda: setattr(word, "value", 1))
    timer.start()
    assert native.go() == Stop(None) and word.value == 0
    timer.join()


def test_exception_and_kick(native: InterpreterGuest) -> None:
    """Both at once: the exception is reported, and the kick then or later; neither is lost."""
    native.load("1: addi a0, a0, 1\nebreak\nj 1b")
    stop = threading.Event()
    kicks = 0

    def kick() -> None:
        nonlocal kicks
        while not stop.is_set():
            native.vcpu.kick()
            kicks += 1
            time.sleep(0.0001)

    thread = threading.Thread(target=kick)
    thread.start()
    traps = kicked = 0
    while traps < 300 or not kicked:
        found = native.go()
        if found.cause is None:
            kicked += 1
            continue
        traps += 1
        assert found == Stop(BREAKPOINT, CODE + 4) and native.x[10] == traps & (1 << native.xlen) - 1
        native.pc += 4
    stop.set()
    thread.join()
    assert 0 < kicked <= kicks


# -- the same code at once


RACE = """
    li t0, 300
    li a0, 0
1:  addi a0, a0, 7
    xor a1, a1, a0
    slli a2, a0, 3
    add a1, a1, a2
    andi t1, t0, 3
    beqz t1, 2f
    c.addi a1, 5
    jal ra, f
2:  addi t0, t0, -1
    bnez t0, 1b
    ecall
"""


def crowd(native: InterpreterGuest, count: int = CPUS) -> list[Any]:
    return [native.more() for _ in range(count)]


def test_decoding_at_once(native: InterpreterGuest) -> None:
    """Code that nobody has decoded yet, run by all CPUs at the same moment, many times; also across pages."""
    text = RACE + "addi zero, zero, 0\n" * 970 + "c.nop\nf: " + "addi a1, a1, 9\nxori a1, a1, 77\n" * 90 + "ret\n"
    native.load(text, at=CODE + 2)
    native.pc = CODE + 2
    native.go()
    expected = native.cell.registers()
    cpus = crowd(native)
    for _ in range(60):
        native.changed(CODE, 3 * PAGE)
        start = threading.Barrier(CPUS)

        def again(stop: Any, start: threading.Barrier = start) -> bool:
            return False

        threads = []
        for vcpu, cell in cpus:
            cell.clear()
            cell.pc = CODE + 2
            threads.append(CpuThread(native, vcpu, again))
        for t in threads:
            t.start()
        for t, (_, cell) in zip(threads, cpus, strict=True):
            t.join()
            assert t.stop.cause == ECALL
            assert cell.registers() == expected


def test_fresh_engine_at_once(native: InterpreterGuest) -> None:
    """After a reset not even the pages of entries exist."""
    native.load(RACE + "f: ret")
    native.go()
    expected = native.cell.registers()
    for _ in range(15):
        native.engine.reset()
        native.vcpu.attach()
        cpus = crowd(native)
        threads = []
        for vcpu, cell in cpus:
            cell.pc = CODE
            threads.append(CpuThread(native, vcpu))
        for t in threads:
            t.start()
        for t, (_, cell) in zip(threads, cpus, strict=True):
            t.join()
            assert t.stop.cause == ECALL and cell.registers() == expected


def test_each_has_its_registers(native: InterpreterGuest) -> None:
    native.load("li t0, 20000\n1: add a0, a0, a1\naddi t0, t0, -1\nbnez t0, 1b\necall")
    cpus = crowd(native, 6)
    threads = []
    for k, (vcpu, cell) in enumerate(cpus):
        cell.pc, cell.x[11] = CODE, k + 1
        threads.append(CpuThread(native, vcpu))
        threads[-1].start()
    for k, (t, (vcpu, cell)) in enumerate(zip(threads, cpus, strict=True)):
        t.join()
        assert cell.x[10] == 20000 * (k + 1) and vcpu.instructions == 60_000 + (cell.x[5] == 0) + (native.xlen * 0 + 1)


# -- memory shared


def contend(native: InterpreterGuest, text: str, rounds: int) -> None:
    native.map(DATA, PAGE, "rw")
    native.load(text)
    cpus = crowd(native)
    threads = []
    for k, (vcpu, cell) in enumerate(cpus):
        cell.pc, cell.x[8], cell.x[9], cell.x[10] = CODE, DATA, rounds, k + 1
        threads.append(CpuThread(native, vcpu))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
        assert t.stop.cause == ECALL


@pytest.mark.parametrize("width", ["w", "d"])
def test_atomic_sums(native: InterpreterGuest, width: str) -> None:
    if width == "d" and native.xlen == 32:
        width = "w"
    rounds = 30_000
    contend(native, f"""
    1:  amoadd.{width} zero, a0, (s0)
        addi t1, s0, 8
        amoxor.{width} zero, a0, (t1)
        addi t1, s0, 16
        amomax.{width} zero, s1, (t1)
        addi s1, s1, -1
        bnez s1, 1b
        ecall
    """, rounds)  # fmt: skip
    size = 4 if width == "w" else 8
    total, xored, largest = (int.from_bytes(native.read(DATA + k, size), "little") for k in (0, 8, 16))
    assert (total, xored, largest) == (rounds * sum(range(1, CPUS + 1)), 0, rounds)


def test_lr_sc_sums(native: InterpreterGuest) -> None:
    rounds = 15_000
    contend(native, """
    1:  lr.w t0, (s0)
        add t0, t0, a0
        sc.w t1, t0, (s0)
        bnez t1, 1b
        addi s1, s1, -1
        bnez s1, 1b
        ecall
    """, rounds)  # fmt: skip
    assert int.from_bytes(native.read(DATA, 4), "little") == rounds * sum(range(1, CPUS + 1))


def test_spin_lock(native: InterpreterGuest) -> None:
    """A lock by swap with fences protects ordinary loads and stores."""
    rounds = 3_000
    contend(native, """
        li t2, 1
    1:  amoswap.w t0, t2, (s0)
        bnez t0, 1b
        fence
        lw t1, 64(s0)
        add t1, t1, a0
        sw t1, 64(s0)
        fence
        amoswap.w zero, zero, (s0)
        addi s1, s1, -1
        bnez s1, 1b
        ecall
    """, rounds)  # fmt: skip
    assert int.from_bytes(native.read(DATA + 64, 4), "little") == rounds * sum(range(1, CPUS + 1))


def test_message_passing(native: InterpreterGuest) -> None:
    """What is written before a fence and a flag is seen by who sees the flag."""
    native.map(DATA, PAGE, "rw")
    labels = native.load("""
    write: addi a0, a0, 1
        sw a0, 0(s0)
        fence
        sw a0, 128(s0)
    1:  lw t0, 256(s0)
        bne t0, a0, 1b
        bne a0, s1, write
        ecall
    read: lw t0, 128(s0)
        beq t0, a0, read
        fence
        lw t1, 0(s0)
        mv a0, t0
        bne t0, t1, bad
        sw a0, 256(s0)
        bne a0, s1, read
        ecall
    bad: ebreak
    """)
    (writer, w), (reader, r) = native.more(), native.more()
    for cell, name in ((w, "write"), (r, "read")):
        cell.pc, cell.x[8], cell.x[9] = labels[name], DATA, 300
    threads = [CpuThread(native, writer), CpuThread(native, reader)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
        assert t.stop.cause == ECALL


# -- code that changes under running CPUs


def test_invalidated_while_running(native: InterpreterGuest) -> None:
    """Forgetting decoded code again and again changes nothing for those who run it."""
    native.load(RACE + "f: ret")
    native.go()
    expected = native.cell.registers()
    stop = threading.Event()

    def forget() -> None:
        while not stop.is_set():
            native.engine.invalidate(CODE, PAGE)

    thread = threading.Thread(target=forget)
    thread.start()
    for _ in range(20):
        cpus = crowd(native, 2)
        threads = []
        for vcpu, cell in cpus:
            cell.pc = CODE
            threads.append(CpuThread(native, vcpu))
            threads[-1].start()
        for t, (_, cell) in zip(threads, cpus, strict=True):
            t.join()
            assert t.stop.cause == ECALL and cell.registers() == expected
    stop.set()
    thread.join()


ROUNDS = 200


def test_changed_while_running(native: InterpreterGuest) -> None:
    """A CPU calls a function that another thread of the host changes: after the change was announced and acknowledged, it is the new one.

    The reader runs the function all the time, so it decodes it while it changes.
    """
    native.map(DATA, PAGE, "rw")
    labels = native.load("""
    read: lw s1, 0(s0)
        call f
        bltu a0, s1, old
        sw s1, 64(s0)
        j read
    old: ebreak
        .zero 200
    f:  addi a0, zero, 0
        nop
        ret
    """, access="rwx")
    cpus = crowd(native, 3)
    threads = []
    for k, (vcpu, cell) in enumerate(cpus):
        cell.pc, cell.x[8] = CODE, DATA + 4 * k
        threads.append(CpuThread(native, vcpu))
        threads[-1].start()
    base = native.flat.base
    at = labels["f"]
    words = [assembler(native.xlen).word(f"addi a0, zero, {n}") for n in range(ROUNDS)]
    code = ctypes.c_uint32.from_address(base + at)
    epochs = [ctypes.c_uint32.from_address(base + DATA + 4 * k) for k in range(3)]
    seen = [ctypes.c_uint32.from_address(base + DATA + 64 + 4 * k) for k in range(3)]
    for n in range(1, ROUNDS):
        code.value = words[n - 1]  # twice, so that the second change meets decoders of the first
        native.engine.invalidate(at, 4)
        code.value = words[n]
        native.engine.invalidate(at, 4)
        for e in epochs:
            e.value = n
        if n % 5 == 0:
            for k, s in enumerate(seen):
                while s.value < n and threads[k].is_alive():
                    pass
        if not all(t.is_alive() for t in threads):
            break
    for (vcpu, _), t in zip(cpus, threads, strict=True):
        vcpu.kick()
        t.join()
        assert not t.stop.trap, "the old function was run"


def test_reset_between_runs(native: InterpreterGuest) -> None:
    native.load("1: addi a0, a0, 1\naddi t0, t0, -1\nbnez t0, 1b\necall")
    for k in range(1, 6):
        native.x[5], native.pc = 1000, CODE
        assert native.go() == Stop(ECALL) and native.x[10] == 1000 * k
        native.engine.reset()
        native.vcpu.attach()
    native.cell.hart.pc = u64(CODE)
