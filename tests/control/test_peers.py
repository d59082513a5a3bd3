"""The other end of a guest's console goes away, comes back, or never listens."""

from __future__ import annotations

import os
import socket

import pytest
from running_vm import Running

CHATTER = """
    li s0, 0x10000000; la s2, sent; li s3, 0
loop: lbu t0, 5(s0); andi t1, t0, 0x20; beqz t1, loop
    li t2, 46; sb t2, 0(s0); addi s3, s3, 1; sd s3, 0(s2)
    andi t0, t0, 1; beqz t0, loop
    lbu t2, 0(s0); sb t2, 0(s0); j loop
    .balign 8
sent: .dword 0
"""


@pytest.fixture
def console(tmp_path):
    made = []

    def make(serial):
        made.append(Running(tmp_path, CHATTER, "-serial", serial))
        made[-1].vm.start()
        return made[-1]

    yield make
    for r in made:
        r.close()


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(str(path))
    s.settimeout(0)
    return s


def hears(r, s, text=b"."):
    """The guest's output arrives."""
    got = bytearray()

    def look():
        try:
            got.extend(s.recv(65536))
        except BlockingIOError:
            pass
        return text in got

    r.until(look)


def still_talks(r):
    before = r.word("sent")
    r.until(lambda: r.word("sent") > before + 10)
    assert r.vm.running


def test_a_server_lives_on_without_its_peer(console, tmp_path):
    r = console(f"unix:{tmp_path / 'console'},server,nowait")
    still_talks(r)
    for _ in range(3):
        s = connect(tmp_path / "console")
        hears(r, s)
        s.send(b"Q")
        hears(r, s, b"Q")
        s.close()
        still_talks(r)


@pytest.fixture
def listener(tmp_path):
    """Waits at tmp_path/console."""
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "console"))
        s.listen()
        yield s


def test_a_client_lives_on_without_its_peer(console, listener, tmp_path):
    r = console(f"unix:{tmp_path / 'console'}")
    s, _ = listener.accept()
    s.settimeout(0)
    hears(r, s)
    s.close()
    still_talks(r)


def test_a_client_comes_back(console, listener, tmp_path):
    listener.settimeout(0)
    r = console(f"unix:{tmp_path / 'console'},reconnect=1")
    for _ in range(2):
        found = []

        def arrives(found=found):
            try:
                found.append(listener.accept()[0])
            except BlockingIOError:
                return False
            return True

        r.until(arrives)
        found[0].settimeout(0)
        hears(r, found[0])
        found[0].close()
    still_talks(r)


def test_a_reader_that_goes_away(console, tmp_path):
    for end in ("in", "out"):
        os.mkfifo(tmp_path / f"pipe.{end}")
    reader = os.open(tmp_path / "pipe.out", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "pipe.in", os.O_RDWR | os.O_NONBLOCK)
    r = console(f"pipe:{tmp_path / 'pipe'}")
    r.until(lambda: _some(reader))
    os.close(reader)
    os.close(writer)
    still_talks(r)


def _some(fd):
    try:
        return bool(os.read(fd, 4096))
    except BlockingIOError:
        return False


def test_a_monitor_that_goes_away(tmp_path):
    r = Running(tmp_path, CHATTER, "-qmp", f"unix:{tmp_path / 'qmp'},server,nowait")
    try:
        r.vm.start()
        for _ in range(2):
            s = connect(tmp_path / "qmp")
            hears(r, s, b'"QMP"')
            s.send(b'{"execute": "qmp_capabilities"}{"execute": "query-st')
            hears(r, s, b"return")
            s.close()
            r.go_on(0.1)
        assert r.vm.running
    finally:
        r.close()


GPIO = """
    csrr t0, mhartid; other: bnez t0, other
    la s2, sent; ld s3, 0(s2); addi s3, s3, 1
    li s0, 0x10060000; li t0, 0x400; sw t0, 12(s0); sw t0, 8(s0); sd s3, 0(s2)
    la t1, keep; ld t2, 0(t1); bnez t2, stay; sw zero, 12(s0)
stay: j stay
    .balign 8
sent: .dword 0
keep: .dword 0
"""


def test_a_pin_restarts_the_hifive_unleashed(tmp_path):
    """Pin 10 goes low: as the driver gpio-restart does it."""
    r = Running(tmp_path, GPIO, machine="sifive_u")
    try:
        resets = []
        r.vm.on_event(lambda e: resets.append(e["data"]) if e["event"] == "RESET" else None)
        r.vm.start()
        r.until(lambda: len(resets) >= 3)
        assert resets[0] == {"guest": True, "reason": "guest-reset"}
    finally:
        r.close()
