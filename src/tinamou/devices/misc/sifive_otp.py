"""One-time programmable memories of SiFive: FE310-G002 manual chapter 12; FU540-C000 manual chapter 18."""

from __future__ import annotations

from typing import Any

from tinamou.machine.device import Device
from tinamou.machine.lines import state
from tinamou.machine.memory import Ram
from tinamou.machine.props import DRIVE, OBJECT, U32, prop
from tinamou.machine.registers import Reg

E_WORDS = 2048
U_FUSES = 4096
SERIAL_AT = 0xFC


class SifiveEOtp(Device, type="riscv.sifive.e.otp", compatible="sifive,otp0", size=0x1000, access=(4, 4)):
    """FE310: the programming interface of the 8 KiB that appear at 0x20000."""

    memory: Ram | None = prop(OBJECT, default=None, help="the memory the fuses appear in")

    OTP_LOCK = Reg(0x00)
    lock = OTP_LOCK.rw(0)
    OTP_CK = Reg(0x04)
    ck = OTP_CK.rw(0)
    OTP_OE = Reg(0x08)
    oe = OTP_OE.rw(0)
    OTP_SEL = Reg(0x0C)
    sel = OTP_SEL.rw(0)
    OTP_WE = Reg(0x10)
    we = OTP_WE.rw(31, 0)
    OTP_MR = Reg(0x14)
    mr = OTP_MR.rw()
    OTP_MRR = Reg(0x18)
    mrr = OTP_MRR.rw()
    OTP_MPP = Reg(0x1C)
    mpp = OTP_MPP.rw()
    OTP_VRREN = Reg(0x20)
    vrren = OTP_VRREN.rw(0)
    OTP_VPPEN = Reg(0x24)
    vppen = OTP_VPPEN.rw(0)
    OTP_A = Reg(0x28)
    address = OTP_A.rw(10, 0)
    OTP_D = Reg(0x2C)
    data_in = OTP_D.rw()
    OTP_Q = Reg(0x30)
    data_out = OTP_Q.ro()
    OTP_READ_TIMING = Reg(0x34)
    timing = OTP_READ_TIMING.rw()

    @data_out.computed
    def read_fuses(self) -> int:
        if self.memory is None or not self.sel:
            return 0xFFFF_FFFF
        at = 4 * self.address
        return int.from_bytes(self.memory.buffer[at : at + 4], "little")

    @we.on_write
    def burn(self, value: int) -> None:
        """With the programming voltage on, every 1 in the enable mask takes the data bit; fuses only go to 0."""
        if self.memory is None or not (self.sel and self.vppen and value):
            return
        at = 4 * self.address
        word = int.from_bytes(self.memory.buffer[at : at + 4], "little") & (self.data_in | ~value)
        self.memory.buffer[at : at + 4] = (word & 0xFFFF_FFFF).to_bytes(4, "little")
        self.memory.wrote(at, 4)


class SifiveUOtp(Device, type="riscv.sifive.u.otp", compatible="sifive,fu540-c000-otp", node="otp", size=0x1000,
                 access=(4, 4)):
    """FU540: 4096 fuse words; the board's serial number and its complement are words 0xfc and 0xfd."""

    serial: int = prop(U32, default=1, help="the board's serial number")
    drive: Any = prop(DRIVE, default=None)

    PA = Reg(0x00)
    address = PA.rw(11, 0)
    PAIO = Reg(0x04)
    bit = PAIO.rw(4, 0)
    PAS = Reg(0x08)
    redundancy = PAS.rw()
    PCE = Reg(0x0C)
    enable = PCE.rw(0)
    PCLK = Reg(0x10)
    pclk = PCLK.rw(0)
    PDIN = Reg(0x14)
    data_in = PDIN.rw(0)
    PDOUT = Reg(0x18)
    data_out = PDOUT.ro()
    PDSTB = Reg(0x1C)
    standby = PDSTB.rw(0)
    PPROG = Reg(0x20)
    program = PPROG.rw(0)
    PTC = Reg(0x24)
    ptc = PTC.rw()
    PTM = Reg(0x28)
    ptm = PTM.rw()
    PTM_REP = Reg(0x2C)
    ptm_rep = PTM_REP.rw()
    PTR = Reg(0x30)
    ptr = PTR.rw()
    PTRIM = Reg(0x34)
    trim = PTRIM.rw(0)
    PWE = Reg(0x38)
    write_enable = PWE.rw(0)

    fuses = state(dict[int, int](), keep=True)      # words that differ from the unprogrammed 0xffffffff

    def word(self, n: int) -> int:
        blank = {SERIAL_AT: self.serial, SERIAL_AT + 1: ~self.serial & 0xFFFF_FFFF}.get(n, 0xFFFF_FFFF)
        if self.drive is not None and 4 * n + 4 <= self.drive.size:
            data = bytearray(4)
            self.drive.read_into(4 * n, [memoryview(data)])
            return int.from_bytes(data, "little")
        return self.fuses.get(n, blank)

    @data_out.computed
    def read_fuse(self) -> int:
        return self.word(self.address) if self.enable and self.standby and self.trim else 0xFF

    @write_enable.on_write
    def burn(self, on: int) -> None:
        if not on or not self.program:
            return
        n = self.address
        word = self.word(n)
        if self.data_in == 0:
            word &= ~(1 << self.bit)
        elif not word >> self.bit & 1:
            self.log.guest_error(f"{self.label}: fuse {n:#x} bit {self.bit} is blown already")
        if self.drive is not None and 4 * n + 4 <= self.drive.size:
            self.drive.write_from(4 * n, [memoryview(word.to_bytes(4, "little"))])
        else:
            self.fuses[n] = word

    def fdt(self, node: Any, placed: Any) -> None:
        node["fuse-count"] = U_FUSES
