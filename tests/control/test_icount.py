"""-icount: the machine's time is the number of executed instructions."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import pytest

from tinamou.isa.riscv.pseudo import assembler

RAM = 0x8000_0000
HEAD = """
    li s0, 0x10000000; li s4, 0x2004000; li s5, 0x200bff8
    la t0, handler; csrw mtvec, t0
"""
PUT = """
put: li t2, 60
digit: srl t0, a0, t2; andi t0, t0, 15; addi t0, t0, 48; li t1, 58; blt t0, t1, ready; addi t0, t0, 39
ready: sb t0, 0(s0); addi t2, t2, -4; bgez t2, digit
    li t0, 10; sb t0, 0(s0); ret
off: li t0, 0x100000; li t1, 0x5555; sw t1, 0(t0); j .
"""


def run(tmp_path, text, *arguments, seconds=60):
    """The numbers that a program wrote with `call put`; the machine powers itself off."""
    image = tmp_path / "program.bin"
    image.write_bytes(assembler(64).assemble(HEAD + text + PUT, RAM).data)
    command = [sys.executable, "-m", "tinamou.tools.main", "system", "riscv64", "-M", "virt", "-bios", str(image), "-display", "none",
               "-monitor", "none", "-serial", "stdio", *arguments]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr
    return [int(line, 16) for line in done.stdout.split()]


COUNTS = """
    csrr s1, minstret; csrr s2, cycle; nop; nop; csrr s3, minstret; csrr s6, cycle
    csrr s7, time; li t0, 1000000; spin: addi t0, t0, -1; bnez t0, spin; csrr s8, time
    sub a0, s3, s1; call put; sub a0, s6, s2; call put; sub a0, s8, s7; call put
    j off
    .balign 4
handler: j handler
"""


@pytest.mark.parametrize("shift", [0, 3, 7])
def test_time_is_instructions(tmp_path, shift):
    """The time counter has 10 MHz: a tick is 100 ns."""
    instret, cycle, ticks = run(tmp_path, COUNTS, "-icount", f"shift={shift}")
    assert (instret, cycle) == (4, 4)
    assert abs(ticks - (2_000_003 << shift) // 100) <= 1


TIMER = """
    li s3, 0; li s6, 0
    ld t0, 0(s5); li t1, 3000; add s7, t0, t1; sd s7, 0(s4)
    li t0, 0x80; csrw mie, t0; csrsi mstatus, 8
work: addi s6, s6, 1; WAIT; j work
    .balign 4
handler: csrr a0, time; sub a0, a0, s7; call put; mv a0, s6; call put
    addi s3, s3, 1; li t0, 8; beq s3, t0, off
    ld t0, 0(s5); li t1, 3000; add s7, t0, t1; sd s7, 0(s4); mret
"""


@pytest.mark.parametrize("wait", ["nop", "wfi"])
@pytest.mark.parametrize("smp", [1, 3])
def test_timers_come_at_the_same_instruction_each_time(tmp_path, wait, smp):
    program = "csrr t0, mhartid; park: bnez t0, park\n" + TIMER.replace("WAIT", wait)
    one, two = (run(tmp_path, program, "-icount", "shift=2,sleep=off", "-smp", str(smp)) for _ in range(2))
    assert one == two and len(one) == 16
    late = one[0::2]
    assert all(n <= (3 if smp == 1 else 5000) for n in late)  # ticks of 100 ns, 25 instructions each; others have their turns


def test_sleep_follows_the_host(tmp_path):
    """Eight waits of 300 us each, whoever waits; a long one is skipped with sleep=off."""
    assert len(run(tmp_path, TIMER.replace("WAIT", "wfi"), "-icount", "auto")) == 16
    assert len(run(tmp_path, TIMER.replace("WAIT", "nop"), "-icount", "shift=auto,align=off")) == 16
    assert len(run(tmp_path, TIMER.replace("WAIT", "nop"), "-icount", "shift=2,align=on")) == 16
    hours = TIMER.replace("li t1, 3000", "li t1, 100000000000").replace("WAIT", "wfi")
    assert len(run(tmp_path, hours, "-icount", "shift=2,sleep=off")) == 16


MTIME = """
    li t0, 0x123456789; sd t0, 0(s5); csrr s6, time; ld s7, 0(s5)
    mv a0, s6; call put; mv a0, s7; call put; j off
    .balign 4
handler: j handler
"""


def test_mtime_can_be_written(tmp_path):
    """The counter in the CPU follows."""
    csr, device = run(tmp_path, MTIME, "-icount", "shift=0,sleep=off")
    assert 0 <= csr - 0x123456789 < 10 and 0 <= device - csr < 10


RTC = "li t0, 0x101000; lwu a0, 0(t0); lwu t1, 4(t0); slli t1, t1, 32; or a0, a0, t1; call put; j off\n.balign 4\nhandler: j handler\n"


def test_rtc_by_virtual_time(tmp_path):
    one, two = (run(tmp_path, RTC, "-icount", "shift=0,sleep=off", "-rtc", "base=2020-08-11T12:00:00,clock=vm") for _ in range(2))
    assert one == two and 0 <= one[0] - 1_597_147_200 * 10**9 < 10_000
    (host,) = run(tmp_path, RTC, "-rtc", "base=2020-08-11")
    assert 0 <= host - 1_597_104_000 * 10**9 < 60 * 10**9


SUM = "mv s9, a1; li a0, 0; li t1, 4096; add t1, t1, s9; next: ld t0, 0(s9); add a0, a0, t0; addi s9, s9, 8; bne s9, t1, next; call put\n"


def test_nothing_comes_in_from_the_host(tmp_path):
    """The clock's date and the seed in the device tree are the same in each run, other ones when asked for."""
    same = ("-icount", "shift=0,sleep=off")
    one, two = (run(tmp_path, SUM + RTC, *same) for _ in range(2))
    assert one == two and 0 <= one[1] - 1_597_104_000 * 10**9 < 100_000
    assert run(tmp_path, SUM + RTC, *same, "-seed", "7")[0] != one[0]
    assert abs(run(tmp_path, SUM + RTC, *same, "-rtc", "base=utc")[1] - time.time_ns()) < 60 * 10**9
    assert run(tmp_path, SUM + RTC)[0] != run(tmp_path, SUM + RTC)[0]


def test_machines_in_python(tmp_path):
    """`run` stops at the byte, so that two machines agree on the number of instructions."""
    from tinamou import Machine

    image = tmp_path / "program.bin"
    image.write_bytes(assembler(64).assemble(HEAD + TIMER.replace("WAIT", "wfi") + PUT, RAM).data)
    seen = []
    for _ in range(2):
        with Machine("virt", bios=image, memory="16M", arguments=["-icount", "shift=3,sleep=off"]) as m:
            text = m.run(until="\n")
            seen.append((text, m.cpu[0].instructions, m.time))
            m.run(seconds=0.001)
            seen[-1] += (m.cpu[0].instructions, m.time)
            seen[-1] += (m.run(), m.cpu[0].instructions, m.time)
    assert seen[0] == seen[1] and seen[0][4] - seen[0][2] == pytest.approx(0.001, abs=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("12", "-icount 12: icount: Invalid shift value"),
        ("2,sleep=x", "-icount 2,sleep=x: Parameter 'sleep' expects 'on' or 'off'"),
        ("3,sleep=off,align=on", "align=on and sleep=off are incompatible"),
        ("shift=2,rr=record,rrfile=x", "record/replay is not available"),
        ("shfit=2", "shift"),
    ],
)
def test_mistakes(given, message):
    command = [sys.executable, "-m", "tinamou.tools.main", "system", "riscv64", "-M", "virt", "-bios", "none", "-icount", given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("avr-gcc") is None, reason="avr-gcc is not installed")
def test_avr_machines_count_cycles_anyway(tmp_path):
    from avr_guests import program

    source = """
        #include <avr/io.h>
        int main(void)
        {
            UCSR0B = 1 << TXEN0;
            for (const char *p = "counted\\n"; *p; p++) { while (!(UCSR0A & 1 << UDRE0)); UDR0 = *p; }
            for (;;);
        }
    """
    for more in (["-icount", "shift=2"], ["-icount", "shift=auto,align=on"], ["-rtc", "clock=rt"], ["-cpu", "avr5-avr-cpu"]):
        place = tmp_path / "serial"
        place.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tinamou.tools.main", "system", "avr", "-machine", "uno", "-bios", program(source),
                   "-display", "none", "-monitor", "none", "-serial", f"file:{place}", *more]  # fmt: skip
        with subprocess.Popen(command) as machine:
            end = time.monotonic() + 60
            while time.monotonic() < end and machine.poll() is None and (not place.exists() or place.read_bytes() != b"counted\n"):
                time.sleep(0.02)
            machine.kill()
        assert place.read_bytes() == b"counted\n", more
    command = [sys.executable, "-m", "tinamou.tools.main", "system", "avr", "-machine", "uno", "-bios", program(source), "-cpu", "avr6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Invalid CPU model 'avr6': this board has an ATmega328P" in done.stderr
