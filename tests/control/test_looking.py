"""info mem, info tlb, x /i and -d int,in_asm of running CPUs, beside the original's."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from running_vm import RAM, Running
from test_gdb_system import TRANSLATED

from tinamou.control.commandline import parse
from tinamou.control.request import OptionError

TRAPS = """
    la t0, handler; csrw mtvec, t0
    ecall; .word 0xffffffff; la s0, end; li t0, 0x500; lw t1, 0(t0)
end: j end
    .balign 4
handler: csrr t1, mepc; addi t1, t1, 4; csrw mepc, t1; mret
"""


@pytest.fixture
def vm(tmp_path):
    made = []

    def make(program, *words):
        made.append(Running(tmp_path, program, *words))
        return made[-1]

    yield make
    for r in made:
        r.close()


def test_info_mem_and_tlb(vm):
    r = vm(TRANSLATED.replace("li a4, 0x1000; addi a4, a4, 0x100", "li a4, 0x4000"))
    assert r.hmp("info mem") == "No translation or protection\n"
    r.vm.start()
    r.until(lambda: r.cpu.register("a0") > 1000)
    r.vm.stop()
    rows = r.hmp("info mem").splitlines()
    assert rows[0].split() == ["vaddr", "paddr", "size", "attr"] and set(rows[1]) == {"-", " "}
    assert rows[2:] == ["0000000000000000 0000000080000000 0000000040000000 rwx--ad",
                        "0000000080000000 0000000080000000 0000000040000000 rwx--ad"]  # fmt: skip
    assert "0000000000000000 0000000080000000 --x" in r.hmp("info tlb")
    assert "0000000000004000 0000000080004000 -w-" in r.hmp("info tlb")


TIMED = """
    la t0, handler; csrw mtvec, t0; li s0, 0x10000000; li s1, 0x0c000000
    li t0, 1; sw t0, 40(s1); li t1, 0x0c002000; li t0, 0x400; sw t0, 0(t1)
    li t0, 2; sb t0, 1(s0); li t0, 0x800; csrw mie, t0; csrsi mstatus, 8
    li s3, 0
loop: addi s3, s3, 1; j loop
    .balign 4
handler: li t1, 0x0c200004; lw t2, 0(t1); lbu t3, 2(s0); li t4, 0; sb t4, 1(s0); sw t2, 0(t1); mret
"""


def test_info_irq_and_jit(vm):
    """The UART's interrupt is claimed once; the loop gets a trace."""
    r = vm(TIMED)
    assert "trace count         0\n" in r.hmp("info jit") and r.hmp("info irq") == "IRQ statistics for riscv.sifive.plic:\n"
    r.vm.start()
    r.until(lambda: r.cpu.register("s3") > 1_000_000)
    r.vm.stop()
    assert r.hmp("info irq") == "IRQ statistics for riscv.sifive.plic:\n10: 1\n"
    numbers = dict(re.findall(r"^(\w[\w ]*\w) +(\d+)", r.hmp("info jit"), re.M))
    used, traces = int(numbers["gen code size"]), int(numbers["trace count"])
    assert (traces > 0) == (used > 0) and int(numbers["decoded code size"]) >= 4096


def test_disassembly(vm):
    r = vm(TRAPS)
    rows = r.hmp("x /3i 0x80000000").splitlines()
    assert rows[0].startswith("0x0000000080000000:  00000297          auipc                   t0,")
    assert [row[:18] for row in rows] == [f"0x{RAM + 4 * n:016x}" for n in range(3)]
    assert r.hmp("x /i 0x90000000000").startswith("0x0000090000000000:  Address 0x90000000000 is out of bounds.")


def log_of(tmp_path, items, command):
    log = tmp_path / "log"
    try:
        subprocess.run([*command, "-d", items, "-D", str(log)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=3)  # fmt: skip
    except subprocess.TimeoutExpired:
        pass
    return log.read_text()


def test_logging_of_traps_and_code(vm, tmp_path):
    log = tmp_path / "log.txt"
    r = vm(TRAPS, "-d", "int,in_asm", "-D", str(log))
    r.vm.start()
    r.until(lambda: r.cpu.instructions > 100)
    r.vm.stop()
    text = log.read_text()
    traps = re.findall(r"riscv_cpu_do_interrupt: .*", text)
    epc = r.labels["end"] - 4
    assert traps[0] == (f"riscv_cpu_do_interrupt: hart:0, async:0, cause:{11:016x}, epc:0x{RAM + 12:016x}, tval:0x{0:016x}, "
                        "desc=machine_ecall")  # fmt: skip
    assert f"cause:{2:016x}, epc:0x{RAM + 16:016x}, tval:0x00000000ffffffff, desc=illegal_instruction" in traps[1]
    assert f"cause:{5:016x}, epc:0x{epc:016x}, tval:0x{0x500:016x}, desc=fault_load" in traps[2]
    assert "IN: \nPriv: 3\n0x0000000000001000:  00000297          auipc" in text
    assert text.index("0x0000000080000000:") < text.index("machine_ecall")
    if shutil.which("qemu-system-riscv64"):
        original = log_of(tmp_path, "int", ["qemu-system-riscv64", "-M", "virt", "-bios", str(tmp_path / "program.bin"), "-display", "none",
                                            "-serial", "none", "-monitor", "none"])  # fmt: skip
        assert re.findall(r"riscv_cpu_do_interrupt: .*", original)[:3] == traps[:3]


@pytest.mark.parametrize("option", ["-nic", "-net"])
def test_no_network_card(option):
    parse(["-M", "virt", option, "none"])
    with pytest.raises(OptionError) as e:
        parse(["-M", "virt", option, "user"])
    assert e.value.prefix == f"{option} user" and "none" in e.value.hint
