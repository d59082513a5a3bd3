"""The command line of tinamou-riscv64: options, variables, messages and exit statuses as the original's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.guests import program, run

USER = [sys.executable, "-m", "tinamou.tools.user"]


def command(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run with argv[0] qemu-riscv64, as through a link of that name."""
    code = "import sys; sys.argv[0] = 'qemu-riscv64'; from tinamou.tools.user import main; sys.exit(main())"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("QEMU_", "TINAMOU_")) or k == "TINAMOU_TEST_CACHE"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, env={**clean, **environment}, timeout=60
    )


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 1, "qemu: no user program specified"),
        (["-foo"], 1, "qemu: unknown option 'foo'"),
        (["-strac"], 1, "qemu: unknown option 'strac'\nDid you mean 'strace'?"),
        (["-L"], 1, "qemu: missing argument for option 'L'"),
        (["-s"], 1, "qemu: missing argument for option 's'"),
        (["-0"], 1, "qemu: missing argument for option '0'"),
        (["-cpu", "foo", "x"], 1, "qemu-riscv64: unable to find CPU model 'foo'"),
        (["-R", "1z", "x"], 1, "Unrecognised -R size suffix 'z'"),
        (["-B", "here", "x"], 1, "qemu-riscv64: -B here: an address: 0x10000000000"),
        (["-p", "3", "x"], 1, "page size must be a power of two"),
        (["-seed", "x", "x"], 1, "qemu-riscv64: cannot initialize crypto: Invalid seed number: x"),
        (["-D", "/nonexistent/x", "-d", "unimp", "x"], 1, "qemu-riscv64: Error opening logfile /nonexistent/x: No such file or directory"),
        (["/nonexistent/x"], 1, "Error while loading /nonexistent/x: No such file or directory"),
        (["/tmp"], 1, "Error while loading /tmp: Permission denied"),
        (["/etc/passwd"], 1, "Error while loading /etc/passwd: Permission denied"),
        (
            ["/bin/true"],
            255,
            "qemu-riscv64: /bin/true: Invalid ELF image for this architecture\n/bin/true is a program of this computer: run it by itself.",
        ),
    ],
)
def test_mistakes(words: list[str], status: int, message: str) -> None:
    done = command(*words)
    assert (done.returncode, done.stderr.rstrip("\n"), done.stdout) == (status, message, "")


def test_version() -> None:
    done = command("-version")
    assert done.returncode == 0
    assert done.stdout.startswith("qemu-riscv64 version 5.1.0 (tinamou ")


@pytest.mark.parametrize("option", ["-h", "-help", "--help"])
def test_help(option: str) -> None:
    done = command(option)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: qemu-riscv64 [options] program [arguments...]\nLinux CPU emulator (compiled for riscv64 ")
    assert "-L path              QEMU_LD_PREFIX    set the elf interpreter prefix to 'path'\n" in done.stdout


@pytest.mark.parametrize("value", ["help", "nothing-known"])
def test_log_items(value: str) -> None:
    done = command("-d", value)
    assert done.returncode == 1
    assert done.stdout.startswith("Log items (comma separated):\nout_asm         show generated host assembly code")
    assert "\nunimp           log unimplemented functionality\n" in done.stdout


def test_cpu_help() -> None:
    done = command("-cpu", "help")
    assert done.returncode == 1
    assert {"any", "rv64", "sifive-e51", "sifive-u54"} <= set(done.stdout.split())


def test_wrong_guest() -> None:
    done = subprocess.run([sys.executable, "-m", "tinamou.tools.main", "user", "vax", "x"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "tinamou user: unknown guest 'vax'; one of aarch64, riscv32, riscv64\n")


def test_commands() -> None:
    done = subprocess.run([sys.executable, "-m", "tinamou.tools.main", "usr"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "tinamou: unknown command 'usr': did you mean 'user'?\n")


def test_link_names(tmp_path: Path) -> None:
    link = tmp_path / "qemu-riscv64"
    link.symlink_to(Path(sys.executable).with_name("tinamou-riscv64"))
    done = subprocess.run([link, "-version"], capture_output=True, text=True)
    assert done.stdout.startswith("qemu-riscv64 version 5.1.0")
    done = subprocess.run([link, program("environment"), "arguments"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("[arguments]\n")


def environment(*words: str | Path, **more: str) -> list[str]:
    done = command(*words, program("environment"), "environment", **more)
    assert done.stderr == "" and done.returncode == 0
    return done.stdout.splitlines()


def test_variables() -> None:
    found = environment("-E", "ONE=1,TWO=2", "-E", "THREE=a=b", "-U", "HOME,ONE", OUTER="yes")
    assert {"TWO=2", "THREE=a=b", "OUTER=yes"} <= set(found)
    assert not any(line.startswith(("HOME=", "ONE=")) for line in found)


@pytest.mark.parametrize("prefix", ["QEMU_", "TINAMOU_"])
def test_variables_of_our_own(prefix: str) -> None:
    found = environment(**{prefix + "SET_ENV": "ONE=1", prefix + "UNSET_ENV": "HOME"})
    assert "ONE=1" in found
    assert not any(line.startswith("HOME=") for line in found)


@pytest.mark.parametrize("option", [["-E", "novalue"], ["-U", "a=b"], ["-s", "much"]])
def test_bad_variables(option: list[str]) -> None:
    done = command(*option, "x")
    assert done.returncode == 1 and done.stderr.startswith("usage: qemu-riscv64 ")
    assert done.stderr.splitlines()[-1].startswith(f"qemu-riscv64: {option[0]} {option[1]}: ")


def test_argv0() -> None:
    done = command("-0", "other", program("environment"), "arguments", "-L", "b c", "")
    assert done.stdout == "[other][arguments][-L][b c][]\n"


def test_strace() -> None:
    done = command("-strace", program("environment"), "calls")
    assert done.returncode == 7
    lines = [line.split(" ", 1)[1] for line in done.stderr.splitlines() if line[0].isdigit()]
    wanted = [
        'openat(AT_FDCWD,"/nonexistent",O_RDONLY|O_LARGEFILE|O_DIRECTORY|O_CLOEXEC) = -1 errno=2 (No such file or directory)',
        'mkdirat(AT_FDCWD,"/",0755) = -1 errno=17 (File exists)',
        "close(-1) = -1 errno=9 (Bad file descriptor)",
        "clock_nanosleep(CLOCK_MONOTONIC,0,{tv_sec = 0,tv_nsec = 1},NULL) = 0",
        "exit_group(7)",
    ]
    assert [line for line in lines if line in wanted] == wanted


def test_log_of_unknown_calls(tmp_path: Path) -> None:
    log = tmp_path / "log-%d"
    done = command("-d", "unimp", "-D", log, program("environment"), "unknown")
    assert (done.returncode, done.stderr) == (38, "")
    (written,) = tmp_path.iterdir()
    assert written.name[4:].isdigit()
    assert written.read_text() == "Unsupported syscall: 9999\n"
    assert command(program("environment"), "unknown").stderr == ""


def test_log_of_pages() -> None:
    lines = command("-d", "page", program("environment"), "arguments").stderr.splitlines()
    assert lines[:2] == ["page layout changed following binary load", "start            end              size             prot"]
    assert any(line.endswith(" r-x") and line.startswith("0000000001003000-") for line in lines)
    facts = dict(line.split() for line in lines if " 0x" in line)
    assert int(facts["argv_start"], 16) == int(facts["start_stack"], 16) + 8
    assert int(facts["env_start"], 16) == int(facts["argv_start"], 16) + 8 * 3
    assert int(facts["start_code"], 16) <= int(facts["entry"], 16) < int(facts["end_code"], 16)


def test_release_and_stack() -> None:
    assert command("-r", "9.8.7-x", program("environment"), "release").stdout == "9.8.7-x\n"
    big = command("-s", "32M", program("environment"), "recurse", "24")
    assert (big.returncode, big.stdout) == (0, "24\n")
    assert command("-s", "1M", program("environment"), "recurse", "24").returncode == -11


def test_seed() -> None:
    noise = [command("-seed", "42", program("environment"), "random").stdout for _ in range(2)]
    assert noise[0] == noise[1] != command("-seed", "43", program("environment"), "random").stdout


def test_base_and_reserve() -> None:
    assert command("-B", "0x10000000000", program("environment"), "arguments").returncode == 0
    assert command("-R", "1G", program("environment"), "arguments").returncode == 0
    done = command("-R", "4096G", program("environment"), "arguments")
    assert done.returncode == 1 and done.stderr.startswith("Reserved virtual address too big")


@pytest.mark.parametrize("signal", ["INT", "TERM", "HUP", "KILL"])
def test_signals_end_it_silently(signal: str) -> None:
    guest = subprocess.Popen([*USER, program("environment"), "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert guest.stdout and guest.stdout.readline() == "ready\n"
    number = getattr(__import__("signal"), f"SIG{signal}")
    guest.send_signal(number)
    _, errors = guest.communicate(timeout=30)
    assert (guest.returncode, errors) == (-number, "")


def test_golden_model_runs_programs() -> None:
    done = run(program("environment"), "arguments", options=["-engine", "golden"])
    assert done.stdout.endswith("[arguments]\n") and done.returncode == 0


def test_closed_descriptors() -> None:
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *USER, program("environment"), "descriptors"], timeout=60)
    assert done.returncode == 0


# ---- what is written about it


def test_every_option_is_documented() -> None:
    """-help and the manual page name each option with its variable."""
    from tinamou.tools.user import OPTIONS

    shown = command("-help").stdout
    page = (Path(__file__).resolve().parents[2] / "docs/man/tinamou-user.1").read_text()
    for option in OPTIONS:
        assert f"\n-{option.name} " in shown or f"\n-{option.name}\n" in shown
        assert f"-{option.name}" in page
        if option.variable:
            assert f"QEMU_{option.variable}" in shown and f"({option.variable})" in page


def test_manual_page_is_well_formed() -> None:
    """Every macro that it uses is one of man(7)'s."""
    page = (Path(__file__).resolve().parents[2] / "docs/man/tinamou-user.1").read_text()
    macros = {line.split()[0] for line in page.splitlines() if line.startswith(".")}
    assert macros <= {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".BI", ".BR", ".RB", ".br", ".I", ".nf", ".fi"}
    assert page.count(".nf") == page.count(".fi")
