"""tinamou-system-riscv64 and -riscv32 as people use them."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from support.machines import initramfs, kernel, opensbi, package
from tinamou.isa.riscv.pseudo import assembler

RAM = 0x8000_0000
UART = "li s0, 0x10000000\n"


class Run:
    """The emulator as a process; `until` reads its output."""

    def __init__(self, *arguments, arch="riscv64"):
        command = [sys.executable, "-m", "tinamou.tools.main", "system", arch, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.text = ""

    def until(self, text, seconds=120.0):
        """Read until this text has come; what was read is forgotten."""
        end = time.monotonic() + seconds
        while text not in self.text:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert data, f"no {text!r} in the output:\n{self.text[-3000:]}"
            self.text += data.decode(errors="replace")
        before, _, self.text = self.text.partition(text)
        return before

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def end(self, seconds=60.0):
        """The exit status."""
        try:
            rest, _ = self.process.communicate(timeout=seconds)
        finally:
            self.process.kill()
        self.text += rest.decode(errors="replace")
        return self.process.returncode


@pytest.fixture
def run():
    made = []

    def make(*arguments, **named):
        made.append(Run(*arguments, **named))
        return made[-1]

    yield make
    for r in made:
        r.process.kill()
        r.process.wait()


def program(tmp_path, text, xlen=64):
    path = tmp_path / "program.bin"
    path.write_bytes(assembler(xlen).assemble(text, RAM).data)
    return path


def say(text):
    return "".join(f"li t0, {ord(c)}; sb t0, 0(s0)\n" for c in text)


@pytest.mark.parametrize(("value", "status"), [(0x5555, 0), (0x3333 | 7 << 16, 7), (0x3333 | 255 << 16, 255)])
def test_the_test_device_gives_the_exit_status(run, tmp_path, value, status):
    image = program(tmp_path, f"li t0, 0x100000; li t1, {value}; sw t1, 0(t0); j .")
    assert run("-M", "virt", "-bios", image, "-display", "none").end() == status


@pytest.mark.parametrize("xlen", [32, 64])
def test_the_serial_port(run, tmp_path, xlen):
    image = program(tmp_path, UART + say("hello\n") + "li t0, 0x100000; li t1, 0x5555; sw t1, 0(t0); j .", xlen)
    r = run("-M", "virt", "-bios", image, "-serial", "stdio", arch=f"riscv{xlen}")
    assert (r.end(), r.text) == (0, "hello\n")
    out = tmp_path / "out"
    assert run("-M", "virt", "-bios", image, "-serial", f"file:{out}", arch=f"riscv{xlen}").end() == 0
    assert out.read_text() == "hello\n"


ECHO = UART + "loop: lbu t0, 5(s0); andi t0, t0, 1; beqz t0, loop; lbu t0, 0(s0); sb t0, 0(s0); j loop"


def test_keys_of_the_console(run, tmp_path):
    r = run("-M", "virt", "-bios", program(tmp_path, ECHO), "-nographic")
    r.send("abc")
    r.until("abc")
    r.send("\x01c")
    r.until("(qemu) ")
    r.send("info status\n")
    r.until("VM status: running")
    r.send("\x01c")
    r.send("xyz")
    r.until("xyz")
    r.send("\x01x")
    r.until("QEMU: Terminated")
    assert r.end() == 0


def test_a_signal_ends_it(run, tmp_path):
    r = run("-M", "virt", "-bios", program(tmp_path, UART + say("ready") + "wfi; j ."), "-serial", "stdio")
    r.until("ready")
    r.process.send_signal(signal.SIGTERM)
    assert r.end() == 0
    assert "terminating on signal 15" in r.text


REBOOT = UART + say("up\n") + "li t0, 0x100000; li t1, 0x7777; sw t1, 0(t0); j ."


def test_reset(run, tmp_path):
    image = program(tmp_path, REBOOT)
    r = run("-M", "virt", "-bios", image, "-serial", "stdio", "-no-reboot")
    assert (r.end(), r.text) == (0, "up\n")
    r = run("-M", "virt", "-bios", image, "-serial", "stdio")
    for _ in range(5):
        r.until("up\n")


def test_the_timer_interrupts(run, tmp_path):
    text = UART + """
        la t0, handler; csrw mtvec, t0; li s1, 0x2004000; li s2, 0x200bff8; li s3, 0
        ld t0, 0(s2); li t1, 50000; add t0, t0, t1; sd t0, 0(s1)
        li t0, 0x80; csrw mie, t0; csrsi mstatus, 8
        idle: wfi; j idle
        .balign 4
        handler: addi s3, s3, 1; li t0, 48; add t0, t0, s3; sb t0, 0(s0)
        li t0, 5; beq s3, t0, done
        ld t0, 0(s2); li t1, 50000; add t0, t0, t1; sd t0, 0(s1); mret
        done: li t0, 0x100000; li t1, 0x5555; sw t1, 0(t0); j .
    """
    r = run("-M", "virt", "-bios", program(tmp_path, text), "-serial", "stdio")
    assert (r.end(), r.text) == (0, "12345")


def test_several_harts(run, tmp_path):
    """Each adds its number; the first one tells the sum."""
    text = UART + """
        csrr a0, mhartid; la a1, sum; addi t0, a0, 1; amoadd.w zero, t0, (a1); la a2, count; li t0, 1; amoadd.w zero, t0, (a2)
        bnez a0, stay
        wait: lw t0, 0(a2); li t1, 4; bne t0, t1, wait
        lw t0, 0(a1); addi t0, t0, 48; sb t0, 0(s0)
        li t0, 0x100000; li t1, 0x5555; sw t1, 0(t0)
        stay: wfi; j stay
        .balign 8
        sum: .word 0
        count: .word 0
    """
    r = run("-M", "virt", "-smp", "4", "-bios", program(tmp_path, text), "-serial", "stdio")
    assert (r.end(), r.text) == (0, chr(48 + 10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-foo"], "-foo: invalid option"),
        (["-m"], "-m: requires an argument"),
        (["-M", "vurt"], "unsupported machine type\nUse -machine help to list supported machines\nnearest: virt"),
        (["-M", "virt", "-cpu", "rv46"], "unable to find CPU model 'rv46'"),
        (["-M", "virt", "-smp", "0"], "Invalid CPU topology: CPU topology parameters must be greater than zero"),
        (["-M", "virt", "-m", "many"], "Parameter 'size' expects a non-negative number"),
        (["-M", "virt", "-bios", "none", "-kernel", "/nonexistent"], "could not load kernel '/nonexistent'"),
        (["-M", "virt", "-bios", "/nonexistent"], 'Unable to load the RISC-V firmware "/nonexistent"'),
        (["-M", "virt", "-bios", "none", "-append", "x"], "-append only allowed with -kernel option"),
        (["-M", "virt", "-bios", "none", "-device", "zot"], "-device zot: 'zot' is not a valid device model name"),
        (["-M", "virt", "-bios", "none", "-serial", "stdin"], "-serial stdin: 'stdin' is not a valid char driver"),
        (["-M", "virt", "-bios", "none", "-drive", "file=/nonexistent"], "/nonexistent"),
        (["-M", "virt", "-accel", "kvm"], "-accel kvm: invalid accelerator kvm"),
        (["-M", "virt,zot=1", "-bios", "none"], "zot"),
        (["-M", "virt", "-m", "99999G"], "cannot set up guest memory 'riscv_virt_board.ram': Cannot allocate memory"),
        (["-M", "virt", "-cpu", "rv64,pnp=on"],
         "can't apply global rv64-riscv-cpu.pnp=on: Property 'rv64-riscv-cpu.pnp' not found\nnearest: pmp"),
        (["-M", "virt", "-cpu", "rv64,pmp=maybe"], "can't apply global rv64-riscv-cpu.pmp=maybe: Parameter 'pmp' expects 'on' or 'off'"),
    ],
)
def test_mistakes_are_told(run, arguments, message):
    r = run(*arguments)
    assert r.end() == 1
    assert message in r.text and "Traceback" not in r.text


HELP = [
    (["-M", "help"], "virt "), (["-version"], "QEMU emulator version 5.1.0"), (["-cpu", "help"], "rv64\n"), (["-help"], "-kernel"),
    (["-device", "help"], "virtio-blk"), (["-M", "virt,help"], "acpi"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "text"), HELP)
def test_help(run, arguments, text):
    r = run(*arguments)
    assert r.end() == 0 and text in r.text


@pytest.mark.parametrize("xlen", [32, 64])
def test_opensbi(run, xlen):
    r = run("-M", "virt", "-bios", opensbi(xlen), "-nographic", arch=f"riscv{xlen}")
    r.until("OpenSBI v")
    assert "riscv-virtio,qemu" in r.until("Boot HART MEDELEG")


def test_u_boot(run):
    boot = package("riscv64", "u-boot-qemu") / "usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin"
    r = run("-M", "virt", "-bios", opensbi(64), "-kernel", boot, "-nographic")
    r.until("Hit any key to stop autoboot")
    r.send("\n")
    r.until("=> ")
    r.send("echo $((6 * 7)) ok\n")
    r.until("ok\r\n")


@pytest.mark.slow
@pytest.mark.parametrize(("machine", "cpus", "console"), [("virt", 1, "ttyS0"), ("virt", 4, "ttyS0"), ("sifive_u", 3, "ttySIF0")])
def test_linux_boots_to_a_shell(run, tmp_path, machine, cpus, console):
    disk = tmp_path / "initramfs"
    disk.write_bytes(initramfs("riscv64"))
    r = run("-M", machine, "-smp", cpus, "-m", "512", "-bios", opensbi(64), "-kernel", kernel("riscv64"), "-initrd", disk,
            "-append", f"console={console}", "-nographic", "-no-reboot")  # fmt: skip
    r.until("READY ", 300)
    assert re.search(r"riscv64\s", r.until("/bin/busybox"))
    if machine == "sifive_u":
        return  # busybox ends at once on that console, on the original too
    r.until("# ")
    r.send("echo $((6 * 7)) answers\n")
    r.until("42 answers")
    r.send("poweroff -f\n")
    assert r.end() == 0
