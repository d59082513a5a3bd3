"""tinamou-system-ARCH: run a whole machine, with the command line of the original's system emulators (control.commandline)."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["main"]

GUESTS = {"aarch64": "arm", "avr": "avr", "riscv32": "riscv", "riscv64": "riscv"}  # guest -> folder of its boards and instructions


def engine_of(arch: str) -> Any:
    """What makes the CPUs of that architecture: called once, when the command line is understood."""

    def make(request: Any) -> tuple[Any, Any]:
        if arch == "avr":
            from tinamou.isa.avr.runner import AvrEngine

            # its time is that of its cycles, with -icount and without
            realtime = request.settings.rtc_clock == "rt" or bool(request.icount and request.icount["align"])
            avr = AvrEngine(realtime=realtime, jit=request.jit)
            return avr.factory, avr
        from tinamou.engine.counted import Icount
        from tinamou.engine.system import SystemEngine

        icount = Icount(**request.icount) if request.icount is not None else None
        if arch == "aarch64":
            from tinamou.isa.arm64.system import A64_SYSTEM
            from tinamou.isa.arm64.vcpu import Arm64Cpu

            engine = SystemEngine(A64_SYSTEM, Arm64Cpu, icount, request.jit)
            return engine.factory, engine
        from tinamou.isa.riscv.system import RV32_SYSTEM, RV64_SYSTEM
        from tinamou.isa.riscv.vcpu import RiscvCpu

        engine = SystemEngine(RV32_SYSTEM if arch == "riscv32" else RV64_SYSTEM, RiscvCpu, icount, request.jit)
        return engine.factory, engine

    return make


def main(words: list[str] | None = None) -> int:
    """The command named in argv[0], or `system GUEST ...` when words are given."""
    from tinamou.control import running

    if words is None:
        program, words = sys.argv[0], sys.argv[1:]
        arch = os.path.basename(program).rpartition("-")[2]
    else:
        arch, words = (words[0], words[1:]) if words else ("", [])
        program = f"tinamou-system-{arch}"
    if arch not in GUESTS:
        print(f"tinamou system: unknown guest '{arch}'; one of {', '.join(sorted(GUESTS))}", file=sys.stderr)
        return 1
    return int(running.main(words, program, GUESTS[arch], engine_of(arch), arch))


if __name__ == "__main__":
    sys.exit(main())
