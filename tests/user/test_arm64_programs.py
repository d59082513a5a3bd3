"""What only AArch64 programs have: memory tags, pointer authentication, guarded pages, CPU properties."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.guests import program, run

CPU = "-mcpu=generic+v8_5a+mte"


def arm(name: str, *words: str, cpu: str = "", **more: object) -> subprocess.CompletedProcess[str]:
    return run(program(name, "aarch64", CPU), *words, arch="aarch64", options=["-cpu", cpu] if cpu else [], **more)


@pytest.mark.parametrize("name", ["mte", "guarded"])
@pytest.mark.parametrize("jit", ["on", "off", "traces", "eager"])
def test_program(name: str, jit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINAMOU_JIT", jit)
    done = arm(name)
    assert (done.stderr, done.stdout, done.returncode) == ("", "0 failures\n", 0)


@pytest.mark.parametrize("mode", ["s", "a"])
def test_a_tag_fault_kills(mode: str) -> None:
    assert arm("mte", mode).returncode == -11


def test_strace_names_the_bits() -> None:
    done = run(program("mte", "aarch64", CPU), "s", arch="aarch64", options=["-strace"])
    assert "PROT_READ|PROT_WRITE|PROT_MTE" in done.stderr and "PR_SET_TAGGED_ADDR_CTRL" in done.stderr
    assert "--- SIGSEGV {si_signo=SIGSEGV, si_code=9, si_addr=" in done.stderr


@pytest.mark.parametrize(
    ("cpu", "message"),
    [
        ("a35", "unable to find CPU model 'a35'"),
        (
            "max,foo=on",
            "can't apply global max-arm-cpu.foo=on: Property 'max-arm-cpu.foo' not found\nThe properties are pauth, mte, aes, sve.",
        ),
        ("max,mte", "Expected key=value format, found mte."),
        ("max,mte=maybe", "can't apply global max-arm-cpu.mte=maybe: Parameter 'mte' expects 'on' or 'off'"),
        ("cortex-a53,mte=on", "can't apply global cortex-a53-arm-cpu.mte=on: CPU cortex-a53 has no mte"),
        ("max,sve=on", "can't apply global max-arm-cpu.sve=on: no CPU here has sve"),
    ],
)
def test_mistakes(cpu: str, message: str, tmp_path: Path) -> None:
    done = run("x", arch="aarch64", options=["-cpu", cpu])
    assert (done.returncode, done.stderr) == (1, f"tinamou-aarch64: {message}\n")


FEATURES = """
#include <stdio.h>
#include <sys/auxv.h>
#define R(name) ({ unsigned long v; __asm__ volatile("mrs %0, " name : "=r"(v)); v; })
int main(void) {
    printf("%lx %lx %lx %lx %lx %lx %lx %lx", getauxval(AT_HWCAP), getauxval(AT_HWCAP2), R("midr_el1"), R("id_aa64pfr0_el1"),
           R("id_aa64pfr1_el1"), R("id_aa64isar0_el1"), R("id_aa64isar1_el1"), R("id_aa64mmfr0_el1"));
}
"""
HWCAP_V8_0 = 0x8FF - 4  # all of ARMv8.0 with crypto, CPUID, no event stream


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ("cortex-a53", [HWCAP_V8_0, 0, 0x410F_D034, 0x11, 0, 0x1_1120, 0, 0xFF00_0000]),
        ("cortex-a57", [HWCAP_V8_0, 0, 0x411F_D070, 0x11, 0, 0x1_1120, 0, 0xFF00_0000]),
        ("cortex-a72", [HWCAP_V8_0, 0, 0x410F_D083, 0x11, 0, 0x1_1120, 0, 0xFF00_0000]),
        ("cortex-a72,aes=off", [HWCAP_V8_0 & ~0x18, 0, 0x410F_D083, 0x11, 0, 0x1_1100, 0, 0xFF00_0000]),
    ],
)
def test_features_of_a_cpu(cpu: str, expected: list[int], tmp_path: Path) -> None:
    source = tmp_path / "features.c"
    source.write_text(FEATURES)
    done = run(program(source, "aarch64"), arch="aarch64", options=["-cpu", cpu])
    assert [int(w, 16) for w in done.stdout.split()] == expected


STACK = r"""
/* Hot accesses by way of SP, then one when it is no multiple of 16. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>
static sigjmp_buf back;
static volatile unsigned long address, sp;
static char other[65536] __attribute__((aligned(16)));
static void fault(int signal, siginfo_t *info, void *context) {
    address = (unsigned long)info->si_addr, sp = ((ucontext_t *)context)->uc_mcontext.sp;
    siglongjmp(back, info->si_code == BUS_ADRALN ? 2 : 3);
}
#define ACCESS(name, text) \
    static __attribute__((noinline)) void name(long by) { \
        __asm__ volatile("mov x9, sp\n sub sp, sp, %0\n " text "\n mov sp, x9" :: "r"(by) : "x9", "x10", "x11", "v0", "memory"); \
    }
ACCESS(load, "ldr x11, [sp, #8]") ACCESS(store, "strb w11, [sp, #1]") ACCESS(pair, "stp x10, x11, [sp, #-32]!")
ACCESS(vector, "ldr q0, [sp]") ACCESS(structure, "st1 {v0.4s}, [sp]") ACCESS(indexed, "mov x10, #2\n ldr w11, [sp, x10, lsl #2]")
ACCESS(ordered, "ldar x11, [sp]") ACCESS(none, "prfm pldl1keep, [sp]")
static void (*const all[])(long) = {load, store, pair, vector, structure, indexed, ordered, none};
int main(void) {
    stack_t stack = {.ss_sp = other, .ss_size = sizeof other};
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&stack, 0), sigaction(SIGBUS, &action, 0);
    for (int n = 0; n < 8; n++) {
        for (int i = 0; i < 100000; i++) all[n](128);
        int how = sigsetjmp(back, 1);
        if (!how) all[n](136);
        printf("%d%d%d ", how, how && address == sp, how && sp % 16 == 8);
    }
}
"""


@pytest.mark.parametrize("jit", ["on", "off", "traces", "eager"])
def test_stack_alignment(jit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINAMOU_JIT", jit)
    source = tmp_path / "stack.c"
    source.write_text(STACK)
    done = arm(source)
    assert (done.stdout, done.stderr, done.returncode) == ("211 " * 7 + "000 ", "", 0)


GUARDED = r"""
/* A static program whose ELF properties say that its code is guarded: the second jump leads to no landing place. */
__asm__(".section .note.gnu.property,\"a\"\n .p2align 3\n .word 4, 16, 5\n .asciz \"GNU\"\n .word 0xc0000000, 4, 1, 0\n"
        ".text\n.globl _start\n_start: adr x9, 1f\n br x9\n 1: hint #36\n adr x9, 2f\n br x9\n 2: mov x0, #7\n mov x8, #94\n svc #0\n");
"""


@pytest.mark.parametrize(("cpu", "status"), [("max", -4), ("cortex-a72", 7)])
@pytest.mark.parametrize("engine", ["golden", "compiled"])
def test_guarded_by_its_properties(cpu: str, status: int, engine: str, tmp_path: Path) -> None:
    source = tmp_path / "guarded.c"
    source.write_text(GUARDED)
    options = ["-cpu", cpu, "-engine", engine]
    assert run(program(source, "aarch64", "-nostdlib"), arch="aarch64", options=options).returncode == status
