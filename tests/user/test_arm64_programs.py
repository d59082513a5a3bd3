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
