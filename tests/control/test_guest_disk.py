"""A guest with its own virtio driver: requests in a thread beside the CPUs, and what happens when the host's disk is full."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest
from running_vm import Running

# Legacy virtio-mmio: writes the sector in `sector` or reads it, once for each time `go` is set to 1 (write) or 2 (read).
DRIVER = """
    .equ Q, 0x80100000
    li s1, 0x10001000
find: lw t0, 8(s1); li t1, 2; beq t0, t1, found; li t2, 0x1000; add s1, s1, t2; j find
found: sw zero, 0x70(s1); li t0, 1; sw t0, 0x70(s1); li t0, 3; sw t0, 0x70(s1); sw zero, 0x20(s1)
    li t0, 4096; sw t0, 0x28(s1); sw zero, 0x30(s1); li t0, 8; sw t0, 0x38(s1); li t0, 4096; sw t0, 0x3c(s1)
    li t0, Q >> 12; sw t0, 0x40(s1); li t0, 7; sw t0, 0x70(s1)
    li s2, Q; li s3, 0; li t4, 4096; add t4, t4, s2; sh zero, 2(t4); sh zero, 130(s2)
    la t0, head; sd t0, 0(s2); li t1, 16; sw t1, 8(s2); li t1, 0x10001; sw t1, 12(s2)
    la t0, data; sd t0, 16(s2); li t1, 512; sw t1, 24(s2)
    la t0, status; sd t0, 32(s2); li t1, 1; sw t1, 40(s2); li t1, 2; sw t1, 44(s2)
    la s4, go
wait: addi s7, s7, 1; ld t0, 0(s4); beqz t0, wait
    la t1, head; addi t2, t0, -2; snez t2, t2; sw t2, 0(t1); ld t3, 16(s4); sd t3, 8(t1)
    li t1, 0x20001; li t2, 1; beq t0, t2, out; li t1, 0x20003
out: sw t1, 28(s2)
    la t1, status; li t2, 0xff; sb t2, 0(t1)
    addi s3, s3, 1; fence; sh s3, 130(s2); fence; sw zero, 0x50(s1)
    li t4, 4096; add t4, t4, s2
poll: addi s8, s8, 1; lhu t5, 2(t4); li t6, 0xffff; and t6, t6, s3; bne t5, t6, poll
    la t1, status; lbu t2, 0(t1); sd t2, 8(s4); sd zero, 0(s4); j wait
    .balign 8
go: .dword 0
answer: .dword 0x77
sector: .dword 0
head: .dword 0
    .dword 0
status: .dword 0
    .balign 512
data: .dword 0
"""


@pytest.fixture
def guest(tmp_path):
    made = []

    def make(*more, werror="enospc", rerror="report", words=()):
        path = tmp_path / "disk.raw"
        if not path.exists():
            path.write_bytes(bytes(1 << 20))
        drive = f"file={path},format=raw,if=none,id=d0,werror={werror},rerror={rerror}"
        made.append(Running(tmp_path, DRIVER, "-drive", drive, "-device", "virtio-blk-device,drive=d0", *words))
        r = made[-1]
        r.path, r.events = path, []
        r.vm.on_event(r.events.append)
        return r

    yield make
    for r in made:
        r.close()


def put(r, name, value):
    r.machine.memory.store(r.labels[name], value.to_bytes(8, "little"))


def start(r, what, sector):
    put(r, "sector", sector)
    put(r, "go", what)


def done(r):
    return r.word("go") == 0


def ask(r, what, sector):
    """Have the guest do one request; the status it saw."""
    start(r, what, sector)
    r.until(lambda: done(r))
    return r.word("answer")


def names(r):
    return [e["event"] for e in r.events]


class Full:
    """The host's disk is full until `room`."""

    def __init__(self, r):
        self.room, self.drive = False, r.vm.drives["d0"]
        self.write, self.drive.write_from = self.drive.write_from, self.write_from

    def write_from(self, offset, buffers):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.write(offset, buffers)


@pytest.mark.parametrize("words", [(), ("-icount", "shift=0,sleep=off")])
def test_reads_and_writes(guest, words):
    r = guest(words=words)
    assert r.machine.io_threads == (words[:1] != ("-icount",))
    r.vm.start()
    for n in range(20):
        r.machine.memory.store(r.labels["data"], bytes([n + 1]) * 512)
        assert ask(r, 1, n) == 0
    for n in (7, 3):
        assert ask(r, 2, n) == 0 and r.machine.memory.load(r.labels["data"], 512) == bytes([n + 1]) * 512
    assert ask(r, 2, 1 << 40) == 1  # beyond the end
    assert r.path.read_bytes()[: 512 * 20] == b"".join(bytes([n + 1]) * 512 for n in range(20))


def test_the_cpu_goes_on_while_the_disk_is_slow(guest):
    r = guest()
    release = threading.Event()
    drive = r.vm.drives["d0"]
    write, drive.write_from = drive.write_from, lambda *a: (release.wait(30), write(*a))
    r.vm.start()
    start(r, 1, 0)
    r.go_on(0.3)
    assert not done(r) and r.vm.running
    release.set()
    r.until(lambda: done(r))
    assert r.word("answer") == 0 and r.cpu.register("s8") > 1


@pytest.mark.parametrize(("werror", "answer", "action"), [("report", 1, "report"), ("ignore", 0, "ignore")])
def test_a_full_disk_is_told_or_not(guest, werror, answer, action):
    r = guest(werror=werror)
    Full(r)
    r.vm.start()
    assert ask(r, 1, 0) == answer and r.vm.running
    event = next(e for e in r.events if e["event"] == "BLOCK_IO_ERROR")["data"]
    assert event == {"device": "d0", "node-name": r.vm.drives["d0"].node, "operation": "write", "action": action, "nospace": True,
                     "reason": "No space left on device"}  # fmt: skip


@pytest.mark.parametrize("werror", ["stop", "enospc"])
def test_a_full_disk_stops_the_machine_until_there_is_room(guest, werror):
    r = guest(werror=werror)
    full = Full(r)
    r.machine.memory.store(r.labels["data"], b"x" * 512)
    r.vm.start()
    start(r, 1, 2)
    r.until(lambda: r.vm.status == "io-error")
    assert not done(r) and names(r)[-2:] == ["BLOCK_IO_ERROR", "STOP"]
    assert r.hmp("info status") == "VM status: paused (io-error)\n"
    r.vm.start()
    r.until(lambda: r.vm.status == "io-error")
    assert not done(r)
    full.room = True
    r.vm.start()
    r.until(lambda: done(r))
    assert r.word("answer") == 0 and r.path.read_bytes()[1024:1536] == b"x" * 512


class Broken:
    """Sectors cannot be read until `mended`; what was read before the error came is in the buffer all the same."""

    def __init__(self, r):
        self.mended, self.drive = False, r.vm.drives["d0"]
        self.read, self.drive.read_into = self.drive.read_into, self.read_into

    def read_into(self, offset, buffers):
        if not self.mended:
            buffers[0][:4] = b"half"
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.read(offset, buffers)


@pytest.mark.parametrize(("rerror", "answer"), [("report", 1), ("ignore", 0)])
def test_a_read_error_is_told_or_not(guest, rerror, answer):
    """Whatever the policy for writing says."""
    r = guest(rerror=rerror, werror="stop")
    broken = Broken(r)
    r.vm.start()
    assert ask(r, 2, 0) == answer and r.vm.running
    event = next(e for e in r.events if e["event"] == "BLOCK_IO_ERROR")["data"]
    assert event == {"device": "d0", "node-name": r.vm.drives["d0"].node, "operation": "read", "action": rerror, "nospace": False,
                     "reason": "Input/output error"}  # fmt: skip
    broken.mended = True
    assert ask(r, 2, 0) == 0 and r.machine.memory.load(r.labels["data"], 512) == bytes(512)


@pytest.mark.parametrize("words", [(), ("-icount", "shift=0,sleep=off")])
def test_a_read_error_stops_the_machine_until_it_is_mended(guest, words):
    r = guest(rerror="stop", werror="report", words=words)
    r.path.write_bytes(bytes(1024) + b"r" * 512 + bytes(1 << 20))
    broken = Broken(r)
    r.vm.start()
    start(r, 2, 2)
    for _ in range(2):
        r.until(lambda: r.vm.status == "io-error")
        assert not done(r) and names(r)[-2:] == ["BLOCK_IO_ERROR", "STOP"]
        r.vm.start()
    r.until(lambda: r.vm.status == "io-error")
    broken.mended = True
    r.vm.start()
    r.until(lambda: done(r))
    assert r.word("answer") == 0 and r.machine.memory.load(r.labels["data"], 512) == b"r" * 512


def test_errors_of_a_block_node(tmp_path):
    """The second read of the image fails, once, below the format driver."""
    (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
    drive = f"driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={tmp_path / 'disk.raw'},"
    drive += "file.inject-error.0.event=read_aio,file.inject-error.0.errno=5,file.inject-error.0.sector=8,file.inject-error.0.once=on"
    r = Running(tmp_path, DRIVER, "-drive", f"{drive},if=none,id=d0,rerror=stop", "-device", "virtio-blk-device,drive=d0")
    try:
        r.vm.start()
        assert ask(r, 2, 4) == 0
        start(r, 2, 8)
        r.until(lambda: r.vm.status == "io-error")
        r.vm.start()
        r.until(lambda: done(r))
        assert r.word("answer") == 0
    finally:
        r.close()


def test_what_waits_is_in_the_snapshot(guest, tmp_path):
    r = guest(werror="stop")
    full = Full(r)
    r.vm.start()
    start(r, 1, 2)
    r.until(lambda: r.vm.status == "io-error")
    r.hmp(f"savesnap {tmp_path / 'state'}")
    full.room = True
    r.close()
    again = guest(werror="stop")
    again.machine.memory.store(again.labels["data"], bytes(512))
    again.hmp(f"loadsnap {tmp_path / 'state'}")
    again.vm.start()
    again.until(lambda: done(again))
    assert again.word("answer") == 0


def test_reset_while_a_request_is_under_way(guest):
    r = guest()
    drive = r.vm.drives["d0"]
    write, drive.write_from = drive.write_from, lambda *a: (time.sleep(0.2), write(*a))
    r.vm.start()
    start(r, 1, 0)
    r.go_on(0.05)
    r.vm.reset()
    assert ask(r, 2, 0) == 0
