"""A machine of the command line in this process, with its CPUs running when it is started."""

from __future__ import annotations

import time

from tinamou.control.building import build
from tinamou.control.commandline import parse
from tinamou.control.hmp import Human
from tinamou.isa.riscv.pseudo import assembler
from tinamou.tools.system import engine_of

RAM = 0x8000_0000


class Running:
    def __init__(self, tmp_path, program, *words, machine="virt", arch="riscv64"):
        self.labels = {}
        if program is not None:
            made = assembler(int(arch[-2:])).assemble(program, RAM)
            self.labels = made.labels
            image = tmp_path / "program.bin"
            image.write_bytes(made.data)
            words = ("-bios", str(image), *words)
        quiet = () if "-serial" in words else ("-serial", "none")
        r = parse(["-M", machine, "-display", "none", "-monitor", "none", *quiet, *words], "test")
        self.factory, self.runner = engine_of(arch)(r)
        self.vm = build(r, self.factory, self.runner, arch)
        if r.icount is None:
            self.vm.machine.time.follow_host()
        self.machine, self.cpu = self.vm.machine, self.vm.machine.cpus[0]

    def hmp(self, line):
        return Human(self.vm).run(line)

    def word(self, name, size=8):
        return int.from_bytes(self.machine.memory.load(self.labels[name], size), "little")

    def until(self, done, seconds=30.0):
        """Serve the loop until that is so."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, "it did not happen in time"
            self.vm.loop.once(0.01)

    def go_on(self, seconds=0.05):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.vm.loop.once(0.01)

    def close(self):
        self.vm.stop()
        self.runner.close()
        for c in self.vm.chardevs.values():
            c.close()
        for d in {**self.vm.drives, **self.vm.nodes}.values():
            d.close()
