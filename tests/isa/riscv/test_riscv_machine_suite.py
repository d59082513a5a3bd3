"""The built programs of riscv-tests on whole machines: physical memory (-p-) and demand paging (-v-).

RISCV_TESTS names a checkout of github.com/riscv-software-src/riscv-tests in whose folder isa `make` has been run.  Each program is
loaded by the board `spike` and writes its result to tohost.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import support.bare_machine as bare
from tinamou.engine.system import SystemEngine
from tinamou.isa.riscv.system import RV32_SYSTEM, RV64_SYSTEM
from tinamou.isa.riscv.vcpu import RiscvCpu
from tinamou.machine.board import find
from tinamou.machine.machine import Machine, Settings

SUITES = ("ui", "um", "ua", "uc", "uf", "ud", "uzba", "uzbb", "uzbs", "si", "mi")

GOLDEN_LIMIT = 2_000_000  # instructions


def folder() -> Path:
    return Path(os.environ.get("RISCV_TESTS", "/nonexistent")) / "isa"


def programs(pattern: str) -> list[Path]:
    return sorted(p for p in folder().glob(pattern) if not p.suffix) if folder().exists() else []


def build(program: Path, xlen: int) -> tuple[Machine, SystemEngine, list[int]]:
    """The machine with the program in it, and where its result comes."""
    engine = SystemEngine(RV64_SYSTEM if xlen == 64 else RV32_SYSTEM, RiscvCpu)
    settings = Settings(ram_size=16 << 20, cpu="max", bios="none", kernel=str(program))
    machine = find("spike").make(settings, cpu_factory=engine.factory)
    result: list[int] = []
    machine.on_request(lambda what, details: result.append(details["code"]) if what == "shutdown" else None)
    return machine, engine, result


def interpreter(program: Path, xlen: int) -> int | None:
    """On the compiled engine."""
    machine, engine, result = build(program, xlen)
    done = threading.Event()
    machine.on_request(lambda what, details: done.set())
    try:
        machine.time.follow_host()
        machine.time.start()
        engine.start()
        done.wait(20)
    finally:
        engine.close()
    return result[0] if result else None


def golden(program: Path, xlen: int) -> int | None:
    """On the golden model."""
    machine, engine, result = build(program, xlen)
    cpu = engine.vcpus[0]
    cpu.cpu.flush_tlb = cpu.flush  # type: ignore[method-assign]
    cpu.set_time()
    model = bare.golden(cpu, machine)
    try:
        for _ in range(GOLDEN_LIMIT):
            bare.step(model)
            if result:
                break
    finally:
        engine.close()
    return result[0] if result else None


def failures(run: Callable[[Path, int], int | None], names: list[Path], xlen: int) -> list[str]:
    """Each program that did not end with 0, and with which test's number it did."""
    out = []
    for program in names:
        code = run(program, xlen)
        if code != 0:
            out.append(f"{program.name}: {'no result' if code is None else f'test {code}'}")
    return out


@pytest.mark.slow
@pytest.mark.skipif(not programs("rv64ui-p-*"), reason="RISCV_TESTS does not name a checkout of riscv-tests with built programs")
@pytest.mark.parametrize("environment", ["p", "v"])
@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("xlen", [32, 64])
class TestSuite:
    """By word size, suite and environment."""

    def names(self, xlen: int, suite: str, environment: str) -> list[Path]:
        found = programs(f"rv{xlen}{suite}-{environment}-*")
        if not found:
            pytest.skip(f"rv{xlen}{suite} has no programs for the environment {environment}")
        return found

    def test_interpreter(self, xlen: int, suite: str, environment: str) -> None:
        assert failures(interpreter, self.names(xlen, suite, environment), xlen) == []

    @pytest.mark.timeout(3000)
    def test_golden(self, xlen: int, suite: str, environment: str) -> None:
        found = self.names(xlen, suite, environment)
        if environment == "v":
            found = found[::6]  # copying pages takes the golden model ten seconds a program
        assert failures(golden, found, xlen) == []
