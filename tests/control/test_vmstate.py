"""savevm, loadvm, delvm, -loadvm: the machine and its disks come back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from running_vm import Running

from tinamou.control.request import OptionError
from tinamou.tools import img

COUNT = """
    la s0, count
loop: addi a0, a0, 1; sd a0, 0(s0); j loop
    .balign 8
count: .dword 0
"""


@pytest.fixture
def vm(tmp_path):
    made = []

    def make(*words, program=COUNT):
        made.append(Running(tmp_path, program, *words))
        return made[-1]

    yield make
    for r in made:
        r.close()


def disk(path: Path, fmt="qcow2") -> Path:
    assert img.main(["create", "-q", "-f", fmt, str(path), "4M"]) == 0
    return path


def drive(path: Path, n=0, fmt="qcow2") -> tuple[str, ...]:
    return ("-drive", f"file={path},format={fmt},if=none,id=d{n}", "-device", f"virtio-blk-device,drive=d{n}")


def put(r: Running, text: bytes, n=0) -> None:
    r.vm.drives[f"d{n}"].write_from(4096, [memoryview(text)])


def get(r: Running, length: int, n=0) -> bytes:
    out = bytearray(length)
    r.vm.drives[f"d{n}"].read_into(4096, [memoryview(out)])
    return bytes(out)


def checked(path: Path) -> None:
    assert img.main(["check", "-q", str(path)]) == 0
    if shutil.which("qemu-img"):
        subprocess.run(["qemu-img", "check", "-q", str(path)], check=True)
        subprocess.run(["qemu-img", "snapshot", "-l", str(path)], check=True, stdout=subprocess.DEVNULL)


def test_machine_and_disks_come_back(vm, tmp_path):
    one, two = disk(tmp_path / "one.qcow2"), disk(tmp_path / "two.qcow2")
    r = vm(*drive(one), *drive(two, 1))
    r.vm.start()
    r.until(lambda: r.word("count") > 100)
    put(r, b"before")
    put(r, b"BEFORE", 1)
    assert r.hmp("savevm first") == "" and r.vm.running
    saved = r.word("count")
    put(r, b"after!")
    r.until(lambda: r.word("count") > saved + 1000)
    r.vm.stop()
    r.hmp("savevm second")
    assert r.vm.status == "paused"
    later = r.word("count")
    assert r.hmp("loadvm first") == ""
    back, registers = r.word("count"), r.cpu.register("a0")
    assert 100 < back <= saved < later and registers - back in (0, 1)
    assert (get(r, 6), get(r, 6, 1)) == (b"before", b"BEFORE")
    r.vm.start()
    r.until(lambda: r.word("count") > back + 1000)
    assert r.hmp("loadvm second") == "" and r.vm.running
    r.vm.stop()
    assert r.word("count") >= later and get(r, 6) == b"after!"
    lines = r.hmp("info snapshots").splitlines()
    assert lines[0] == "List of snapshots present on all disks:" and [row.split()[1] for row in lines[2:]] == ["first", "second"]
    assert r.hmp("savevm second") == "" and len(r.hmp("info snapshots").splitlines()) == 4
    assert r.hmp("delvm second") == "" and r.hmp("delvm nothing") == ""
    assert r.hmp("savevm") == "" and "vm-20" in r.hmp("info snapshots")
    r.close()
    checked(one)
    checked(two)
    again = vm(*drive(one), *drive(two, 1), "-loadvm", "first", "-d", "int", "-D", str(tmp_path / "log"))
    assert not {"log_trap", "counted", "clock"} & set(again.cpu.save())
    assert again.word("count") == back and get(again, 6) == b"before"
    again.vm.start()
    again.until(lambda: again.word("count") > back + 1000)


def test_mistakes(vm, tmp_path):
    r = vm()
    for command in ("savevm a", "loadvm a", "delvm a"):
        assert r.hmp(command) == "Error: no block device can store vmstate for snapshot\n"
    assert r.hmp("info snapshots") == "no block device can store vmstate for snapshot\n"
    assert r.hmp("loadvm") == 'loadvm: string expected\nTry "help loadvm" for more information\n'
    one = disk(tmp_path / "one.qcow2")
    with_disk = vm(*drive(one))
    assert with_disk.hmp("info snapshots") == "There is no snapshot available.\n"
    with_disk.hmp("savevm here")
    assert with_disk.hmp("loadvm hree") == "Error: Snapshot 'hree' does not exist in one or more devices\nThere is: here\n"
    with_disk.close()
    with pytest.raises(OptionError, match="Snapshot 'nope' does not exist in one or more devices"):
        vm(*drive(one), "-loadvm", "nope")
    with pytest.raises(OptionError, match="no block device can store vmstate for snapshot"):
        vm("-loadvm", "nope")
    with pytest.raises(OptionError, match="other devices"):
        vm(*drive(one), "-device", "virtio-rng-device", "-loadvm", "here")
    raw = disk(tmp_path / "two.raw", "raw")
    both = vm(*drive(one), *drive(raw, 1, "raw"))
    assert both.hmp("savevm x") == "Error: Device 'd1' is writable but does not support snapshots\n"
    both.close()
    assert img.main(["snapshot", "-c", "disk-only", str(one)]) == 0
    assert "disk-only snapshot" in vm(*drive(one)).hmp("loadvm disk-only")


def test_by_icount(vm, tmp_path):
    one = disk(tmp_path / "one.qcow2")
    r = vm(*drive(one), "-icount", "shift=0,sleep=off")
    r.vm.start()
    r.until(lambda: r.word("count") > 1000)
    r.hmp("savevm counted")
    row = r.hmp("info snapshots").splitlines()[2].split()
    assert row[1] == "counted" and int(row[-1]) > 3000
