"""Nonsense, executed for long: random words as code that overwrites itself, random registers, several CPUs at once.

    python engine_fuzz.py XLEN SEED ROUNDS CPUS

Nothing of it may harm this process: memory beside the guest's stays as it was, and every run comes back when it is kicked.
"""

from __future__ import annotations

import ctypes
import random
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from engine_harness import CODE, DATA, LIMIT, PAGE, Cell, InterpreterGuest

from tinamou.engine.vcpu import Vcpu
from tinamou.isa.riscv import isa
from tinamou.isa.riscv.state import Hart
from tinamou.native.image import allocate

PAGES = 6


def nonsense(r: random.Random, xlen: int, size: int) -> bytes:
    """Words that are mostly instructions; jumps stay near, and some write to code or make it known."""
    rows = isa(xlen).insns
    out = b""
    while len(out) < size:
        kind = r.randrange(20)
        if kind == 0:
            out += r.randbytes(2)
        elif kind == 1:
            out += (0x100F).to_bytes(4, "little")  # fence.i
        else:
            i = r.choice(rows)
            out += (r.getrandbits(i.width) & ~i.mask | i.value).to_bytes(i.size, "little")
    return out[:size]


def registers(r: random.Random, cell: Cell, xlen: int) -> None:
    places = [CODE, CODE + PAGE * PAGES // 2, CODE + PAGE * PAGES - 4, DATA, DATA + PAGE - 3, LIMIT - 2, LIMIT, 0, 1 << 63, 1 << 38, -8]
    for n in range(1, 32):
        if r.random() < 0.6:
            value = r.choice(places) + r.randrange(-64, PAGE)
        else:
            value = r.getrandbits(64) >> r.randrange(64)
        cell.x[n] = value % (1 << xlen)
        cell.f[n] = r.getrandbits(64)
    cell.pc = CODE + r.randrange(0, PAGES * PAGE, 2)


def main(xlen: int, seed: int, rounds: int, cpus: int) -> None:
    r = random.Random(f"{xlen} {seed}")
    guest = InterpreterGuest(xlen)
    canaries = [allocate(1 << 20) for _ in range(4)]
    for at in canaries:
        ctypes.memset(at, 0x5A, 1 << 20)
    guest.map(CODE, PAGES * PAGE, "rwx")
    guest.map(DATA, PAGE, "rw")
    guest.map(DATA + PAGE, PAGE, "r")
    everyone = [guest.more() for _ in range(cpus)]
    lock = threading.Lock()
    left = [rounds] * cpus
    running = [False] * cpus

    def cpu(k: int, vcpu: Vcpu, cell: Cell) -> None:
        own = random.Random(f"{seed} {k}")
        record = guest.flat.thread(vcpu)
        while left[k] > 0:
            left[k] -= 1
            with lock:
                registers(own, cell, xlen)
            if own.random() < 0.1:
                guest.write(CODE + own.randrange(PAGES) * PAGE, nonsense(own, xlen, PAGE))
            for _ in range(30):
                running[k] = True
                stop = vcpu.run()
                running[k] = False
                if not stop.trap:
                    break
                cell.pc = cell.pc + 4 & -2 if own.random() < 0.7 else CODE + own.randrange(0, PAGES * PAGE, 2)
        record.close()

    guest.write(CODE, nonsense(r, xlen, PAGES * PAGE))
    threads = [threading.Thread(target=cpu, args=(k, *pair), daemon=True) for k, pair in enumerate(everyone)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        threads[0].join(0.002)
        for k, (vcpu, _) in enumerate(everyone):
            if running[k]:
                vcpu.kick()
    assert all(ctypes.string_at(at, 1 << 20) == b"\x5a" * (1 << 20) for at in canaries)
    for _, cell in everyone:
        if cpus == 1:  # operands of an instruction that changes while it runs may be those of another one
            assert cell.x[0] == 0
        assert xlen == 64 or all(v < 1 << 32 for v in cell.x)
        assert cell.hart.frm < 8 and cell.hart.fflags < 32 and isinstance(cell.hart, Hart)
    print("done", sum(v.instructions for v, _ in everyone))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
