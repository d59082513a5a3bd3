"""AArch64's `virt`: its device tree, UART, timer, GIC and PSCI; Debian's kernel to a shell and to a clean power-off."""

from __future__ import annotations

import hashlib
import re

import pytest

from support.arm64_assembler import assembled
from support.debian import sysroot
from support.machines import INIT, initramfs, kernel
from tinamou import Machine
from tinamou.api.errors import MachineError
from tinamou.firmware.fdt import Tree
from tinamou.machine import board

KERNEL = 0x4020_0000  # where a kernel without a header of its own begins

# Prints a text, waits for the timer's interrupt, switches off.  x19 is the device tree.
PROGRAM = """
    mov x19, x0
    adr x0, vectors; msr vbar_el1, x0; isb
    ldr x1, =0x09000000
    adr x2, text
1:  ldrb w3, [x2], #1
    cbz w3, 2f
    str w3, [x1]
    b 1b
2:  ldr x1, =0x08000000
    ldr x2, =0x08010000
    mov w3, #1
    str w3, [x1]; str w3, [x2]
    mov w3, #0xf0
    str w3, [x2, #4]
    mov w3, #1 << 27
    str w3, [x1, #0x100]
    ldr x3, =100000
    msr cntv_tval_el0, x3
    mov x3, #1
    msr cntv_ctl_el0, x3
    msr daifclr, #2
3:  wfi
    b 3b
text: .asciz "waiting\\n"
tick: .asciz "tick\\n"
    .balign 0x800
vectors:
    .skip 0x280
    ldr w20, [x2, #0xc]
    ldr x1, =0x09000000
    adr x4, tick
4:  ldrb w3, [x4], #1
    cbz w3, 5f
    str w3, [x1]
    b 4b
5:  ldr x0, =END
    hvc #0
    b .
"""


def machine(tmp_path, end, **more):
    path = tmp_path / "kernel"
    path.write_bytes(assembled(PROGRAM.replace("END", f"{end:#x}"), KERNEL)[0])
    return Machine("virt", arch="aarch64", kernel=path, **more)


@pytest.mark.timeout(1500)
def test_uart_timer_and_power_off(tmp_path):
    with machine(tmp_path, 0x8400_0008) as m:
        m.run(timeout=600)
        assert m.serial.text.replace("\r", "") == "waiting\ntick\n"
        assert (m.status, m.exit_code) == ("shutdown", 0)
        assert m.cpu[0].registers["x20"] == 27
        at = m.cpu[0].registers["x19"]
        size = int.from_bytes(bytes(m.memory[at + 4 : at + 8]), "big")
        tree = Tree.unpack(bytes(m.memory[at : at + size]))
        assert tree.find("/timer").text("compatible") == "arm,armv8-timer" and tree.find("/psci").text("method") == "hvc"
        assert tree.find("/pl011@9000000").text("compatible") == "arm,pl011"


@pytest.mark.timeout(1500)
def test_reset(tmp_path):
    with machine(tmp_path, 0x8400_0009) as m:
        for _ in range(2):
            m.run(until="tick", timeout=600)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(MachineError, match="no flash memory for firmware yet: start a kernel with -kernel"):
        Machine("virt", arch="aarch64", bios="/dev/null")
    with pytest.raises(MachineError, match="unable to find CPU model 'cortex-a75'"):
        Machine("virt", arch="aarch64", cpu="cortex-a75")
    with pytest.raises(MachineError, match=r"max CPUs supported by machine 'virt'.* is 1"):
        Machine("virt", arch="aarch64", cpus=2)


def test_both_boards_of_that_name():
    assert board.find("virt", "arm").arch == "arm" and board.find("virt", "riscv").arch == "riscv"
    assert board.find("virt").arch == "riscv"  # as long as nobody says which


def busybox_digest():
    return hashlib.sha256((sysroot("arm64", "busybox-static") / "bin/busybox").read_bytes()).hexdigest()


SHELL = INIT.replace("exec $b setsid $b cttyhack $b sh", "exec $b sh")  # that busybox's setsid goes on in a child


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("cpu", ["cortex-a57", "max"])
def test_linux_to_a_shell(tmp_path, cpu):
    disk = tmp_path / "initramfs.gz"
    disk.write_bytes(initramfs("arm64", SHELL))
    with Machine("virt", arch="aarch64", cpu=cpu, memory="512M", kernel=kernel("arm64"), initrd=disk, append="console=ttyAMA0") as m:
        assert "Machine model: linux,dummy-virt" in m.run(until=re.compile(r"READY .*\n"), timeout=900)
        assert busybox_digest() in m.run(until="/bin/busybox", timeout=60)
        m.run(until="# ", timeout=60)
        m.serial.write("echo $((6 * 7)) answers\n")
        m.run(until="42 answers", timeout=60)
        m.serial.write("poweroff -f\n")
        assert "Power down" in m.run(timeout=120)
        assert (m.status, m.exit_code) == ("shutdown", 0)
