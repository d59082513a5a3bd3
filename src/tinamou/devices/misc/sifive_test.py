"""SiFive test finisher: the guest's way to end or reset the machine (device tree binding sifive,test0 / sifive,test1)."""

from __future__ import annotations

from tinamou.machine.device import Device
from tinamou.machine.registers import Reg

FAIL, PASS, RESET = 0x3333, 0x5555, 0x7777


class SifiveTest(Device, type="riscv.sifive.test", compatible=("sifive,test1", "sifive,test0", "syscon"), node="test",
                 access=(2, 4)):
    """One register: 0x5555 powers off, 0x3333 does so with an exit status in the upper half, 0x7777 resets."""

    FINISH = Reg(0)                     # reads as zero: drivers change bits of it by reading first
    code = FINISH.rw(31, 16)
    status = FINISH.rw(15, 0)

    def read(self, offset: int, size: int) -> int:
        return 0

    @status.on_write
    def finish(self, value: int) -> None:
        if self.machine is None:
            return
        if value == PASS:
            self.machine.request_shutdown()
        elif value == FAIL:
            self.machine.request_shutdown(code=self.code)
        elif value == RESET:
            self.machine.request_reset()
        else:
            self.log.guest_error(f"{self.label}: write of unknown status {value:#x}")
