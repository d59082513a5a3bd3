"""`tinamou.Machine`: running, looking, changing, snapshots."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tinamou
from api.bare import COUNTER, RAM, SHELL, UART, build, started
from tinamou import Machine, MachineEnded, MachineError, RunTimeout


@pytest.fixture
def shell(tmp_path):
    with started(tmp_path, SHELL) as m:
        yield m


def test_talking(shell):
    assert shell.status == "prelaunch"
    assert shell.run(until="metal") == "bare metal"
    assert shell.status == "paused"
    shell.run(until=b"> ")
    shell.serial.write("hello\n")
    assert shell.run(until=re.compile(r"h(.)l+o")) == "hello"
    assert shell.run(until=re.compile(rb"> $")) == "\n> "
    shell.serial.write("q")
    assert shell.run() == ""
    assert (shell.status, shell.exit_code) == ("shutdown", 3)
    assert shell.serial.text == "bare metal\n> hello\n> "
    with pytest.raises(MachineEnded, match="'shutdown'"):
        shell.run(until="more")
    shell.reset()
    assert shell.run(until="> ") == "bare metal\n> " and shell.exit_code is None


def test_until_a_condition_and_seconds(shell):
    count = shell.labels["count"]
    shell.run(until="> ")
    shell.serial.write("abcdef")
    shell.run(until=lambda m: m.memory.u64[count] == 6)
    before = shell.time
    shell.run(seconds=0.01)
    assert 0.01 <= shell.time - before < 5 and shell.memory.u64[count] == 6


def test_what_does_not_come(shell):
    with pytest.raises(RunTimeout, match=r"'never' did not come within 0\.2 s") as caught:
        shell.run(until="never", timeout=0.2)
    assert "bare metal" in caught.value.transcript and isinstance(caught.value, TimeoutError)
    assert any("bare metal" in note for note in caught.value.__notes__)
    assert shell.run(until="> ") == "bare metal\n> "  # nothing was lost
    shell.serial.write("q")
    with pytest.raises(MachineEnded) as ended:
        shell.run(until="never")
    assert (ended.value.status, ended.value.exit_code) == ("shutdown", 3)
    with pytest.raises(TypeError, match="until is"):
        shell.run(until=1.5)
    with pytest.raises(MachineError, match="empty"):
        shell.run(until="")


def test_memory(shell):
    assert shell.memory[RAM : RAM + 4] == shell.memory.u32[RAM].to_bytes(4, "little")
    shell.memory[RAM + 0x1000 : RAM + 0x1004] = b"abcd"
    assert shell.memory.u16[RAM + 0x1002] == 0x6463 and shell.memory[RAM + 0x1000] == 0x61
    shell.memory.u64[RAM + 0x2000] = -2
    assert shell.memory.u64[RAM + 0x2000] == 2**64 - 2
    shell.memory[RAM] = 0x13
    shell.memory[0x1000:0x1004] = b"rom!"  # a script may write ROM
    assert shell.memory[0x1000:0x1004] == b"rom!"
    shell.memory.u8[UART + 7] = 0x5A  # the scratch register of a device
    assert shell.memory.u8[UART + 7] == 0x5A
    with pytest.raises(MachineError, match="nothing there"):
        shell.memory[0x0900_0000]
    with pytest.raises(MachineError, match="nothing there"):
        shell.memory[0x0900_0000:0x0900_0004] = b"abcd"
    with pytest.raises(MachineError, match="is 4 bytes, not 3"):
        shell.memory[RAM : RAM + 4] = b"abc"
    with pytest.raises(MachineError, match="ends before it begins"):
        shell.memory[RAM + 4 : RAM]
    with pytest.raises(MachineError, match="first and a last"):
        shell.memory[RAM:]
    with pytest.raises(MachineError, match="does not fit"):
        shell.memory.u8[RAM] = 256
    with pytest.raises(TypeError):
        shell.memory[RAM] = b"x"
    assert "RAM at 0x80000000-0x8" in repr(shell.memory) and repr(shell.cpu[0].memory) == "<memory as CPU 0 sees it>"


def test_registers_and_steps(tmp_path):
    with started(tmp_path, COUNTER, cpus=2) as m:
        cpu = m.cpu[0]
        assert cpu.model == "rv64" and cpu.pc == 0x1000 and len(m.cpu) == 2
        m.run(until=m.labels["double"])
        at = cpu if cpu.pc == m.labels["double"] else m.cpu[1]
        assert at.pc == m.labels["double"] and at.registers["a0"] == 1
        at.step()
        assert at.registers["a0"] == 2 and at.pc == m.labels["back"]
        at.registers["a0"] = 0x1234
        at.step(2)
        assert m.memory.u64[m.labels["count"]] == 0x1234
        at.pc = m.labels["double"]
        assert at.pc == m.labels["double"]
        at.registers["zero"] = 5
        assert at.registers["zero"] == 0
        assert {"a0", "pc", "mstatus", "fa0"} <= set(at.registers) and len(at.registers) > 64
        with pytest.raises(KeyError) as caught:
            at.registers["mstatsu"]
        assert "mstatus" in caught.value.__notes__[0]
        assert at.translate(RAM) == RAM and at.memory[RAM : RAM + 4] == m.memory[RAM : RAM + 4]
        assert "mstatus" in at.describe() and at.instructions > 0


def test_snapshot_and_restore(shell):
    shell.run(until="> ")
    with shell.snapshot() as before:
        for word in ("one", "two"):
            shell.serial.write(word + "\n")
            assert shell.run(until="> ") == f"{word}\n> "
            assert shell.memory.u64[shell.labels["count"]] == len(word) + 1
            shell.restore(before)
            assert shell.serial.text == "bare metal\n> " and shell.memory.u64[shell.labels["count"]] == 0
        shell.serial.write("q")
        shell.run()
        assert shell.status == "shutdown"
        shell.restore(before)
        shell.serial.write("three\n")
        assert shell.run(until="> ") == "three\n> "


def test_snapshots_of_restored_memory_are_whole(shell):
    """Pages that nobody touched since a restore belong to the next snapshot too."""
    mark = RAM + (4 << 20)
    shell.memory[mark : mark + 5] = b"first"
    with shell.snapshot() as first:
        shell.memory[mark : mark + 5] = b"other"
        shell.restore(first)
        with shell.snapshot() as second:
            shell.restore(second)
            assert shell.memory[mark : mark + 5] == b"first"


def test_a_fork_goes_its_own_way(shell):
    shell.run(until="> ")
    with shell.fork() as other:
        assert other.serial.text == shell.serial.text
        other.serial.write("other\n")
        shell.serial.write("self\n")
        assert other.run(until="> ") == "other\n> "
        assert shell.run(until="> ") == "self\n> "
        count = shell.labels["count"]
        assert (other.memory.u64[count], shell.memory.u64[count]) == (6, 5)
    assert other.status == "closed"
    with pytest.raises(MachineError, match="closed"):
        other.run()


def test_disks_and_snapshots(tmp_path):
    path, _ = build(tmp_path, SHELL)
    disk = tmp_path / "disk,1.img"
    disk.write_bytes(bytes(1 << 16))
    with Machine("virt", bios=path, drives=[disk]) as m:
        m.run(until="> ")
        assert m.qmp("query-block")[0]["inserted"]["file"].endswith("disk,1.img")
        with pytest.raises(MachineError, match=r"would not hold the disk 'virtio0', .* discard_writes=True"):
            m.snapshot()
    with Machine("virt", bios=path, drives=[{"file": disk, "if": "virtio", "format": "raw", "read-only": True}]) as m:
        m.run(until="> ")
        with m.snapshot() as now, m.fork() as other:
            m.restore(now)
            other.serial.write("x\n")
            assert other.run(until="> ") == "x\n> "


def test_disks_go_back_with_a_snapshot(tmp_path):
    path, _ = build(tmp_path, SHELL)
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"original" + bytes((1 << 20) - 8))
    drives = [{"file": disk, "if": "virtio", "format": "raw"}]
    with Machine("virt", bios=path, drives=drives, discard_writes=True) as m:
        drive = m.vm.drives["virtio0"]

        def change(machine, text):
            machine.vm.drives["virtio0"].write_from(0, [memoryview(text)])

        def content(machine):
            data = bytearray(8)
            machine.vm.drives["virtio0"].read_into(0, [memoryview(data)])
            return bytes(data)

        change(m, b"then    ")
        then = m.snapshot()
        change(m, b"later   ")
        later = m.snapshot()
        with m.fork() as other:
            assert content(other) == b"later   " and len(other.vm.drives["virtio0"].node_.snapshots()) == 2
            change(other, b"other   ")
            change(m, b"now     ")
            assert (content(other), content(m)) == (b"other   ", b"now     ")
            temporary = other.vm.drives["virtio0"].temporary
            assert os.path.exists(temporary)
        assert not os.path.exists(temporary)
        for _ in range(2):
            m.restore(then)
            assert content(m) == b"then    "
            m.restore(later)
            assert content(m) == b"later   "
        then.close()
        later.close()
        assert drive.node_.snapshots() == []
    assert disk.read_bytes()[:8] == b"original" and not os.path.exists(drive.temporary)


def test_monitors(shell):
    assert shell.qmp("query-status")["status"] == "prelaunch"
    assert "virt.flash0" in shell.monitor("info mtree")
    with pytest.raises(MachineError, match="query-statsu"):
        shell.qmp("query-statsu")


def test_other_boards(tmp_path):
    path, _ = build(tmp_path, "li t0, 0x40000000; j .", 32, 0x2000_0400)
    with Machine("opentitan", kernel=path) as m:
        assert m.arch == "riscv32" and m.cpu[0].model == "lowrisc-ibex"
    with Machine("sifive_e", options={"revb": True}) as m:
        assert m.arch == "riscv32" and "revb" in str(m.machine.options)
    with Machine("virt", arch="riscv32", memory=64 << 20, bios="none") as m:
        assert m.cpu[0].model == "rv32" and m.machine.settings.ram_size == 64 << 20


@pytest.mark.parametrize(
    ("board", "arguments", "message"),
    [
        ("vurt", {}, "no board 'vurt'; nearest: virt"),
        ("virt", {"cpu": "rv46"}, "unable to find CPU model 'rv46'"),
        ("virt", {"arch": "z80"}, "unknown guest architecture 'z80'"),
        ("virt", {"kernel": "/nonexistent", "bios": "none"}, "could not load kernel '/nonexistent'"),
        ("virt", {"memory": "lots"}, "-m lots: Parameter 'size'"),
        ("virt", {"cpus": 9999}, "Invalid SMP CPUs 9999"),
        ("virt", {"devices": ["zot"], "bios": "none"}, "'zot' is not a valid device model name"),
        ("virt", {"drives": ["/nonexistent"], "bios": "none"}, "/nonexistent"),
        ("virt", {"options": {"zot": 1}, "bios": "none"}, "zot"),
        ("virt", {"arguments": ["-daemonize"]}, "-daemonize is for the command line"),
        ("virt", {"arguments": ["-help"]}, "only prints something"),
    ],
)
def test_mistakes(board, arguments, message):
    with pytest.raises(MachineError, match=re.escape(message)):
        Machine(board, **arguments)


def test_unknown_arguments():
    with pytest.raises(TypeError, match="no argument 'kernal'; nearest: kernel"):
        Machine("virt", kernal="x")


def test_long_output_is_not_searched_again_and_again(tmp_path):
    path, _ = build(tmp_path, "li s0, 0x10000000; li t1, 300000; li t0, 97; more: sb t0, 0(s0); addi t1, t1, -1; bnez t1, more; "
                              "li t0, 98; sb t0, 0(s0); j .")  # fmt: skip
    with Machine("virt", bios=path, memory="16M") as m:
        assert len(m.run(until="aaab")) == 300_001


def test_many_machines_leave_nothing(tmp_path):
    path, _ = build(tmp_path, SHELL)

    def once():
        with Machine("virt", bios=path, memory="64M") as m:
            m.run(until="> ")

    once()
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(5):
        once()
    assert len(os.listdir("/proc/self/fd")) <= files and threading.active_count() <= threads


def test_a_reboot_that_ends_it(tmp_path):
    path, _ = build(tmp_path, "li t0, 0x100000; li t1, 0x7777; sw t1, 0(t0); j .")
    with Machine("virt", bios=path, arguments=["-no-reboot"]) as m:
        m.run()
        assert (m.status, m.exit_code) == ("shutdown", 0)
        m.qmp("quit")
        m.reset()
        m.run()


def test_names_of_the_package():
    assert set(tinamou.__all__) <= set(dir(tinamou))
    with pytest.raises(AttributeError, match="Machin"):
        _ = tinamou.Machin


def test_types(tmp_path):
    """What a user's checker sees."""
    script = tmp_path / "script.py"
    script.write_text(
        "from tinamou import AsyncMachine, Machine\n"
        "with Machine('virt') as m:\n"
        "    reveal_type(m.run(until='x'))\n    reveal_type(m.cpu[0].pc)\n    reveal_type(m.memory.u32[0])\n"
        "    reveal_type(m.snapshot())\n    reveal_type(m.fork())\n    m.run(until=1.5)\n"
    )
    root = Path(tinamou.__file__).parents[1]
    env = {**os.environ, "MYPYPATH": str(root)}
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(script), "--follow-imports=silent"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=250)
    revealed = re.findall(r'Revealed type is "(.*?)"', done.stdout)
    assert [r.rpartition(".")[2] for r in revealed] == ["str", "int", "int", "Snapshot", "Machine"], done.stdout
    assert 'Argument "until" to "run" of "Machine"' in done.stdout
