"""gdb-multiarch debugs whole machines: break, watch, step, registers and CSRs, memory, several CPUs."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tinamou.isa.riscv.pseudo import assembler

pytestmark = pytest.mark.skipif(shutil.which("gdb-multiarch") is None, reason="gdb-multiarch is not installed")

RAM = 0x8000_0000

PROGRAM = """
    csrr s0, mhartid
    la t0, handler; csrw mtvec, t0
    la s1, data
    slli t0, s0, 3
    add s1, s1, t0
    li a0, 0
loop:
    addi a0, a0, 1
    call twice
    sd a1, 0(s1)
    ld a2, 0(s1)
    amoadd.d a3, a0, (s1)
    li t0, 100
    bne a0, t0, loop
    bnez s0, stay
    li t0, 0x100000; li t1, 0x5555; sw t1, 0(t0)
stay:
    wfi; j stay
    .balign 4
twice:
    slli a1, a0, 1
    ret
    .balign 4
handler: j handler
    .balign 4096
data: .dword 0
    .dword 0
    .dword 0
    .dword 0
"""


class Debugged:
    def __init__(self, tmp_path, text=PROGRAM, xlen=64, arguments=()):
        made = assembler(xlen).assemble(text, RAM)
        self.labels = made.labels
        image = tmp_path / "program.bin"
        image.write_bytes(made.data)
        self.place = tmp_path / "gdb.sock"
        command = [sys.executable, "-m", "tinamou.tools.main", "system", f"riscv{xlen}", "-M", "virt", "-bios", str(image), "-display",
                   "none", "-S", "-gdb", f"unix:{self.place}", *arguments]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        end = time.monotonic() + 60
        while not self.place.exists() and time.monotonic() < end:
            time.sleep(0.02)
        self.xlen = xlen

    def gdb(self, *commands):
        """What gdb says; {label} stands for its address."""
        begin = ["set pagination off", f"set architecture riscv:rv{self.xlen}", f"target remote {self.place}"]
        told = [re.sub(r"\{(\w+)\}", lambda m: f"{self.labels[m[1]]:#x}", c) for c in commands]
        words = [w for c in (*begin, *told) for w in ("-ex", c)]
        done = subprocess.run(["gdb-multiarch", "-q", "-nx", "-batch", *words], capture_output=True, text=True, timeout=90)
        return done.stdout + done.stderr

    def end(self):
        try:
            self.process.communicate(timeout=60)
        finally:
            self.process.kill()
        return self.process.returncode


@pytest.fixture
def debugged(tmp_path):
    made = []

    def make(**how):
        made.append(Debugged(tmp_path, **how))
        return made[-1]

    yield make
    for d in made:
        d.process.kill()
        d.process.communicate()


def values(text, name):
    return [int(v, 0) for v in re.findall(rf"^(?:\(gdb\) )?{re.escape(name)} +(0x[0-9a-f]+)", text, re.M)]


def test_breakpoints_and_steps(debugged):
    d = debugged()
    said = d.gdb("info registers pc", "break *{twice}", "hbreak *({loop}+12)", "continue", "info registers a0 pc", "stepi", "stepi",
                 "info registers a1 pc", "ignore 1 5", "continue", "info registers a0", "delete", "continue")  # fmt: skip
    assert values(said, "pc") == [0x1000, d.labels["twice"], d.labels["loop"] + 12]
    assert "Breakpoint 1, " in said
    assert values(said, "a1") == [2]
    assert values(said, "a0")[0] == 1
    assert "exited normally" in said or "Remote connection closed" in said
    assert d.end() == 0


@pytest.mark.parametrize("xlen", [64, 32])
def test_watchpoints(debugged, xlen):
    """The program stops behind the access."""
    text = PROGRAM if xlen == 64 else PROGRAM.replace("sd ", "sw ").replace("ld ", "lw ").replace("amoadd.d", "amoadd.w")
    d = debugged(text=text, xlen=xlen)
    kind = "long long" if xlen == 64 else "int"
    where = f"*({kind} *){{data}}"
    said = d.gdb(f"watch {where}", "continue", "info registers a0 a1 pc", "continue", "info registers pc", "delete",
                 f"rwatch {where}", "continue", "info registers a0 pc", "delete",
                 f"awatch {where}", "continue", "info registers pc", "continue", "info registers pc",
                 "delete", "watch *(char *)({data}+32)", "continue")  # fmt: skip
    assert said.count("Hardware watchpoint 1") >= 2 and "New value = 2" in said and "New value = 3" in said
    assert "Hardware read watchpoint 2" in said and "Hardware access (read/write) watchpoint 3" in said
    pcs = values(said, "pc")
    store, amo = d.labels["loop"] + 16, d.labels["loop"] + 24
    assert pcs == [store, amo, store + 4, amo, store]
    assert d.end() == 0


def test_registers_and_memory(debugged):
    d = debugged()
    said = d.gdb("set $a5 = 0x1234", "set $fa0.double = 1.5", "set $mscratch = 77", "set $fcsr = 0x41", "stepi",
                 "info registers a5 mscratch fcsr frm fflags mhartid priv misa", "print $fa0.double", "x/2xw {data}",
                 "set *(int *){data} = 0x11223344", "x/1xw {data}", "x/1xb 0x5", "maintenance packet Qqemu.PhyMemMode:1", "x/1xw {data}",
                 "print $mcycle", "print/x $pmpcfg0", "monitor info status", "set $mhartid = 3")  # fmt: skip
    assert (values(said, "a5"), values(said, "mscratch"), values(said, "priv")) == ([0x1234], [77], [3])
    assert (values(said, "fcsr"), values(said, "frm"), values(said, "fflags")) == ([0x41], [2], [1])
    assert "= 1.5" in said and said.count("0x11223344") == 2 and "Cannot access memory at address 0x5" in said
    assert "VM status: paused (debug)" in said
    assert values(said, "misa")[0] == 1 << 63 | sum(1 << ord(c) - 97 for c in "acdfimsu")


def test_several_cpus(debugged):
    d = debugged(text=PROGRAM.replace("li t0, 100\n", "li t0, 0\n"), arguments=("-smp", "3"))
    said = d.gdb("info threads", "break *{twice} thread 2", "continue", "info registers a0 s0", "thread 3", "set $t6 = 99",
                 "info registers t6", "thread 1", "info registers t6", "delete", "thread 2", "watch *(long long *)({data}+16)",
                 "continue", "info threads", "kill")  # fmt: skip
    assert "CPU#2" in said and values(said, "s0") == [1] and values(said, "t6") == [99, 0]
    assert "Thread 3 hit Hardware watchpoint 2" in said and re.search(r"New value = [1-9]", said)
    assert d.end() == 0


TRANSLATED = """
    la t0, handler; csrw mtvec, t0
    li t0, -1; csrw pmpaddr0, t0; li t0, 31; csrw pmpcfg0, t0
    la t0, root; srli t1, t0, 12; li t2, 8; slli t2, t2, 60; or t1, t1, t2; csrw satp, t1
    la t1, leaf; sd zero, 0(t1)
    li t2, 0x200000CF; sd t2, 0(t0)
    sd t2, 16(t0)
    li t2, 0x1800; csrc mstatus, t2; li t2, 0x800; csrs mstatus, t2
    la t0, there; li t1, 0x80000000; sub t0, t0, t1; csrw mepc, t0; mret
    .balign 4
there: li a0, 0; li a4, 0x1000; addi a4, a4, 0x100
again: addi a0, a0, 1; sw a0, 0(a4)
    j again
    .balign 4
handler: j handler
    .balign 4096
root: .dword 0
leaf: .dword 0
"""


def test_virtual_addresses(debugged):
    """A gigapage maps 0 to RAM."""
    d = debugged(text=TRANSLATED)
    low = d.labels["again"] - RAM
    said = d.gdb(f"break *{low:#x}", "continue", "continue 3", "info registers a0 pc priv satp", "x/1xw 0x1100", "delete",
                 "watch *(int *)0x1100", "continue", f"x/1xw {RAM + 0x1100:#x}", "maintenance packet Qqemu.PhyMemMode:1",
                 f"x/1xw {RAM + 0x1100:#x}", "kill")  # fmt: skip
    assert values(said, "pc") == [low] and values(said, "priv") == [1] and values(said, "a0") == [3]
    assert "0x1100:\t0x00000003" in said and "New value = 4" in said
    assert f"{RAM + 0x1100:#x}:\t0x00000004" in said


def test_interrupt_and_detach(debugged):
    d = debugged(text="loop: addi a0, a0, 1; j loop")
    script = "continue &\nshell sleep 1\ninterrupt\nshell sleep 1\ninfo registers pc\ndetach\nquit\n"
    words = [w for c in ("set pagination off", "set architecture riscv:rv64", f"target remote {d.place}") for w in ("-ex", c)]
    said = subprocess.run(["gdb-multiarch", "-q", "-nx", *words], input=script, capture_output=True, text=True, timeout=60).stdout
    assert "SIGINT" in said
    assert values(said, "pc") and values(said, "pc")[0] in (RAM, RAM + 2)
    again = d.gdb("info registers a0", "kill")
    assert values(again, "a0")[0] > 1000
    assert d.end() == 0


def test_on_standard_input_and_output(tmp_path):
    """`target remote | COMMAND`: gdb starts the machine; its Ctrl-C stops the guest and not the emulator."""
    image = tmp_path / "program.bin"
    image.write_bytes(assembler(64).assemble("li a0, 7; loop: addi a1, a1, 1; j loop", RAM).data)
    command = f"{sys.executable} -m tinamou.tools.main system riscv64 -M virt -bios {image} -display none -serial none -monitor none"
    words = ["set pagination off", "set architecture riscv:rv64", "set remotetimeout 60", f"target remote | {command} -S -gdb stdio",
             f"break *{RAM + 4:#x}", "c", "p/x $pc", "p $a0", "delete", "kill"]  # fmt: skip
    arguments = [x for w in words for x in ("-ex", w)]
    done = subprocess.run(["gdb-multiarch", "-q", "-nx", "-batch", *arguments], capture_output=True, text=True, timeout=90)
    assert f"$1 = {RAM + 4:#x}" in done.stdout and "$2 = 7" in done.stdout, done.stdout + done.stderr
    process = subprocess.Popen([*command.split(), "-gdb", "stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    try:
        for packet in (b"$QStartNoAckMode#b0", b"+$c#63"):
            process.stdin.write(packet)
            process.stdin.flush()
        assert process.stdout.read(7) == b"+$OK#9a"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.stdout.read(4) == b"$T02"
    finally:
        process.kill()
        process.communicate()


def test_standard_input_is_not_for_two(tmp_path):
    command = [sys.executable, "-m", "tinamou.tools.main", "system", "riscv64", "-M", "virt", "-bios", "none", "-nographic"]
    done = subprocess.run([*command, "-gdb", "stdio"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "-gdb stdio: cannot use stdio by multiple character devices" in done.stderr


def test_ctrl_c_ends_a_machine_that_waits_for_a_debugger():
    command = [sys.executable, "-m", "tinamou.tools.main", "system", "riscv64", "-M", "virt", "-bios", "none", "-display", "none"]
    command += ["-serial", "none", "-qmp", "stdio", "-monitor", "none", "-gdb", "tcp:127.0.0.1:0"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout
    assert process.stdout.readline().startswith('{"QMP"')
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0 and "terminating on signal 2" in error and "Traceback" not in error
