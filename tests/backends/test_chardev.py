import os
import socket
import subprocess
import sys

import pytest

from tinamou.backends.chardev import legacy
from tinamou.backends.chardev.base import MemoryChardev, discover, make
from tinamou.backends.chardev.mux import MuxChardev
from tinamou.backends.loop import Loop
from tinamou.machine.clock import VirtualTime
from tinamou.machine.props import PropertyError


class Front:
    def __init__(self, room=1 << 20):
        self.room, self.got, self.events = room, bytearray(), []

    def can_receive(self):
        return self.room

    def receive(self, data):
        self.room -= len(data)
        self.got += data

    def event(self, what):
        self.events.append(what)


@pytest.fixture
def loop():
    made = Loop()
    yield made
    made.close()


def test_kinds():
    assert {"null", "file", "stdio", "pipe", "pty", "socket", "udp", "mux", "ringbuf", "vc", "serial"} <= set(discover())


@pytest.mark.parametrize("text,options", [
    ("null", {"backend": "null"}), ("stdio", {"backend": "stdio"}), ("file:/tmp/x", {"backend": "file", "path": "/tmp/x"}),
    ("tcp::4555,server,nowait", {"backend": "socket", "host": "", "port": "4555", "server": "on", "wait": "off"}),
    ("tcp:[::1]:5,server=on,wait=off", {"backend": "socket", "host": "::1", "port": "5", "server": "on", "wait": "off"}),
    ("telnet:h:5", {"backend": "socket", "host": "h", "port": "5", "telnet": "on"}),
    ("unix:/s,server", {"backend": "socket", "path": "/s", "server": "on"}),
    ("udp::4555@:4556", {"backend": "udp", "host": "localhost", "port": "4555", "localaddr": "", "localport": "4556"}),
    ("vc:80Cx24C", {"backend": "vc"}), ("/dev/ttyS0", {"backend": "serial", "path": "/dev/ttyS0"})])
def test_short_spellings(text, options):
    assert legacy.options(text, "serial0") == {"id": "serial0", **options}


def test_mistakes():
    for options, text in (({"backend": "sokcet", "id": "a"}, "'sokcet' is not a valid char driver name"),
                          ({"backend": "socket"}, "no id specified"), ({"backend": "file", "id": "a"}, "file: no filename given"),
                          ({"backend": "socket", "id": "a", "host": "h"}, "socket: no port given"),
                          ({"backend": "socket", "id": "a", "foo": "h"}, "Property 'socket.foo' not found"),
                          ({"backend": "socket", "id": "a", "path": "/nonexistent/s"}, "Failed to connect to '/nonexistent/s'"),
                          ({"backend": "ringbuf", "id": "a", "size": "3"}, "power of two")):
        with pytest.raises(PropertyError, match=text):
            make(options)
    with pytest.raises(PropertyError, match="'foo' is not a valid char driver"):
        legacy.options("foo", "x")


def test_input_waits_for_room():
    c, f = MemoryChardev(id="m"), Front(3)
    c.attach(f)
    c.deliver(b"abcdef")
    assert f.got == b"abc" and c.backlog == 3 and f.events == ["opened"]
    f.room = 2
    c.accept_input()
    assert f.got == b"abcde" and c.backlog == 1
    with pytest.raises(PropertyError, match="Device 'm' is in use"):
        c.attach(Front())


def test_file_and_log(tmp_path):
    c = make({"backend": "file", "id": "a", "path": str(tmp_path / "out"), "logfile": str(tmp_path / "log")})
    c.write(b"hello")
    c.close()
    assert (tmp_path / "out").read_bytes() == (tmp_path / "log").read_bytes() == b"hello"


def test_pipe_pair(tmp_path, loop):
    for name in ("p.in", "p.out"):
        os.mkfifo(tmp_path / name)
    c, f = make({"backend": "pipe", "id": "a", "path": str(tmp_path / "p")}, loop), Front()
    c.attach(f)
    with open(tmp_path / "p.in", "wb", buffering=0) as w, open(tmp_path / "p.out", "rb", buffering=0) as r:
        w.write(b"in")
        assert loop.run_until(lambda: f.got == b"in", 10)
        c.write(b"out")
        assert r.read(3) == b"out"
    c.close()


def test_pty(loop):
    c, f = make({"backend": "pty", "id": "a"}, loop), Front()
    c.attach(f)
    with open(c.filename.removeprefix("pty:"), "r+b", buffering=0) as terminal:
        terminal.write(b"key")
        assert loop.run_until(lambda: f.got == b"key", 10)
        c.write(b"text")
        assert terminal.read(4) == b"text"
    c.close()


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_server_takes_one_peer_after_the_other(kind, tmp_path, loop):
    where = {"path": str(tmp_path / "s")} if kind == "unix" else {"host": "127.0.0.1", "port": "0"}
    c, f = make({"backend": "socket", "id": "a", "server": "on", "wait": "off", **where}, loop), Front()
    c.attach(f)
    assert c.filename.startswith("disconnected:")
    for n in range(2):
        peer = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
        peer.settimeout(10)
        peer.connect(where["path"] if kind == "unix" else ("127.0.0.1", int(c.shown_port)))
        peer.sendall(b"hi%d" % n)
        assert loop.run_until(lambda n=n: f.got.endswith(b"hi%d" % n), 10)
        c.write(b"back")
        assert peer.recv(10) == b"back"
        peer.close()
        assert loop.run_until(lambda n=n: f.events.count("closed") == n + 1, 10)
    c.write(b"nobody there")
    assert f.events == ["opened", "closed"] * 2
    c.close()
    assert not os.path.exists(tmp_path / "s")


def test_a_slow_guest_stops_the_reading(tmp_path, loop):
    c, f = make({"backend": "socket", "id": "a", "server": "on", "wait": "off", "path": str(tmp_path / "s")}, loop), Front(0)
    c.attach(f)
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(tmp_path / "s"))
    peer.setblocking(False)
    sent = 0
    for _ in range(400):
        try:
            sent += peer.send(b"x" * 4096)
        except BlockingIOError:
            pass
        loop.once(0)
    assert c.backlog <= c.QUEUE_LIMIT + 4096 < sent
    f.room = 1 << 30
    c.accept_input()
    assert loop.run_until(lambda: len(f.got) == sent, 20)
    peer.close()
    c.close()


def test_client_reconnects(tmp_path, loop):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        c, f = make({"backend": "socket", "id": "a", "path": str(tmp_path / "s"), "reconnect": "1"}, loop), Front()
        c.attach(f)
        listener.accept()[0].close()
        assert loop.run_until(lambda: "closed" in f.events, 10)
        assert loop.run_until(lambda: f.events[-1] == "opened" and f.events.count("opened") == 2, 10)
        c.close()


def test_telnet_commands_are_taken_out(tmp_path, loop):
    c, f = make({"backend": "socket", "id": "a", "server": "on", "wait": "off", "path": str(tmp_path / "s"), "telnet": "on"},
                loop), Front()
    c.attach(f)
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(tmp_path / "s"))
    peer.sendall(b"a\xff\xfb\x01b\xff\xff\xff\xf3c\xff\xfa\x18\x00\xff\xf0d")
    assert loop.run_until(lambda: f.got == b"ab\xffcd", 10) and "break" in f.events
    peer.close()
    c.close()


def test_ringbuf():
    c = make({"backend": "ringbuf", "id": "a", "size": "8"})
    c.write(b"0123456789")
    assert c.take(3) == b"234" and c.take(100) == b"56789"


def test_mux_keys():
    inner, quit_ = MemoryChardev(), []
    mux = MuxChardev(inner=inner, quit=lambda: quit_.append(True))
    a, b = Front(), Front()
    mux.attach(a)
    mux.attach(b)
    inner.deliver(b"to b\x01cto a\x01\x01\x01b")
    assert (a.got, b.got) == (b"to a\x01", b"to b") and a.events == ["opened", "mux-in", "break"] and b.events[-1] == "mux-out"
    inner.deliver(b"\x01h")
    assert inner.sent.startswith(b"\n\rC-a h    print this help\n\r") and inner.sent.endswith(b"C-a C-a  sends C-a\n\r")
    inner.deliver(b"\x01x")
    assert quit_ and inner.sent.endswith(b"QEMU: Terminated\n\r")
    inner.sent.clear()
    inner.deliver(b"\x01t")
    mux.write(b"line\nnext")
    assert inner.sent.startswith(b"[00:00:0") and inner.sent.count(b"[") == 2


def test_stdio_is_used_once():
    code = ("from tinamou.backends.chardev.base import make; from tinamou.machine.props import PropertyError\n"
            "a = make({'backend': 'stdio', 'id': 'a'}); a.write(b'out')\n"
            "try: make({'backend': 'stdio', 'id': 'b'})\n"
            "except PropertyError as e: a.write(str(e).encode())\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.stdout == b"outcannot use stdio by multiple character devices"


def test_loop_timers_and_virtual_time():
    t = VirtualTime()
    t.follow_host()
    loop, seen = Loop(virtual=t), []
    t.start()
    t.at(t.now + 2_000_000, lambda: seen.append("virtual"))
    loop.later(0.001, lambda: seen.append("host"))
    loop.later(0.0, lambda: seen.append("never"))()
    loop.soon(lambda: seen.append("soon"))
    assert loop.run_until(lambda: len(seen) == 3, 10) and seen[0] == "soon" and set(seen[1:]) == {"host", "virtual"}
    loop.close()
