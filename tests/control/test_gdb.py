import re
import shutil
import socket
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinamou.control.gdb import BaseTarget, Stop, Stub, TargetError
from tinamou.control.gdb_riscv import description
from tinamou.control.gdb_server import GdbServer


class Toy(BaseTarget):
    """Two RV64 CPUs that execute only `addi x0, x0, 0` of 4 bytes; memory at 0x1000."""

    endian = "little"

    def __init__(self):
        self.description = description(64, 64, [(0x300, "mstatus")], privileged=True)
        self.regs = {t: dict.fromkeys(self.description.numbered(), 0) for t in (1, 2)}
        for t in self.regs:
            self.regs[t][32] = 0x1000
        self.memory = bytearray(b"\x13\0\0\0" * 64)
        self.breaks, self.log, self.signals = set(), [], {}
        self.tell = lambda stop: None

    def threads(self):
        return [1, 2]

    def read_register(self, thread, number):
        return self.regs[thread][number].to_bytes(8, "little")

    def write_register(self, thread, number, data):
        self.regs[thread][number] = int.from_bytes(data, "little")

    def read_memory(self, thread, address, size, physical):
        if not 0x1000 <= address <= address + size <= 0x1100:
            raise TargetError(14)
        self.log.append(("read", physical))
        return bytes(self.memory[address - 0x1000 : address - 0x1000 + size])

    def write_memory(self, thread, address, data, physical):
        self.read_memory(thread, address, len(data), physical)
        self.memory[address - 0x1000 : address - 0x1000 + len(data)] = data

    def resume(self, actions, signals, step_flags):
        self.signals = signals
        self.log.append(("resume", actions, step_flags))
        for t, action in actions.items():
            while True:
                self.regs[t][32] += 4
                pc = self.regs[t][32]
                if action == "step":
                    return self.tell(Stop(t))
                if ("software", pc) in self.breaks:
                    return self.tell(Stop(t, breakpoint="software"))
                if ("write", 0x1080) in self.breaks and pc == 0x1020:
                    return self.tell(Stop(t, watch=("write", 0x1080)))
                if pc >= 0x1100:
                    return self.tell(Stop(t, exit_code=3))

    def interrupt(self):
        self.log.append("interrupt")
        self.tell(Stop(1, signal=2))

    def set_break(self, kind, address, size):
        self.breaks.add((kind, address))

    def clear_break(self, kind, address, size):
        self.breaks.discard((kind, address))

    def clear_all_breaks(self):
        self.breaks.clear()

    def kill(self):
        self.log.append("kill")

    def detach(self):
        self.log.append("detach")

    def monitor(self, command):
        return f"you said {command}\n"


class Talk:
    def __init__(self):
        self.out = bytearray()
        self.target = Toy()
        self.stub = Stub(self.target, self.out.extend)
        self.target.tell = self.stub.stopped
        self.ask("QStartNoAckMode")

    def ask(self, body):
        raw = body if isinstance(body, bytes) else body.encode()
        self.out.clear()
        self.stub.feed(b"$" + raw + b"#%02x" % (sum(raw) & 0xFF))
        return [m[1].decode("latin-1") for m in re.finditer(rb"\$([^#]*)#..", bytes(self.out))]


@pytest.fixture
def gdb():
    return Talk()


def test_handshake(gdb):
    features = gdb.ask("qSupported:multiprocess+;swbreak+;xmlRegisters=i386")[0].split(";")
    assert {"PacketSize=1000", "qXfer:features:read+", "vContSupported+", "multiprocess+"} <= set(features)
    assert gdb.ask("?") == ["T05thread:p01.01;"]
    assert gdb.ask("qC") == ["QCp01.01"] and gdb.ask("qAttached:1") == ["1"]
    assert gdb.ask("qfThreadInfo") == ["mp01.01,p01.02"] and gdb.ask("qsThreadInfo") == ["l"]
    assert bytes.fromhex(gdb.ask("qThreadExtraInfo,p1.2")[0]) == b"CPU#1 [running]"
    assert gdb.ask("vMustReplyEmpty") == [""] and gdb.ask("vCont?") == ["vCont;c;C;s;S"]
    assert gdb.ask("Hgp1.2") == ["OK"] and gdb.ask("Hgp1.7") == ["E16"]


def test_target_description_numbers(gdb):
    xml = gdb.ask("qXfer:features:read:target.xml:0,ffb")[0]
    assert xml.startswith("l<?xml") and "riscv:rv64" in xml and "riscv-64bit-cpu.xml" in xml
    cpu = gdb.ask("qXfer:features:read:riscv-64bit-cpu.xml:0,20")[0]
    assert cpu[0] == "m" and len(cpu) == 0x21
    numbered = gdb.target.description.numbered()
    assert (numbered[0].name, numbered[32].name, numbered[33].name, numbered[65].name, numbered[66 + 0x300].name) == (
        "zero", "pc", "ft0", "priv", "mstatus")
    assert gdb.ask("qXfer:features:read:nothing.xml:0,10") == ["E00"]


def test_registers(gdb):
    assert gdb.ask("P5=0102030405060708") == ["OK"]
    assert gdb.ask("p5") == ["0102030405060708"] and gdb.ask("pff") == ["E22"]
    everything = gdb.ask("g")[0]
    assert len(everything) == 33 * 16 and everything[5 * 16 : 6 * 16] == "0102030405060708"
    assert gdb.ask("G" + "11" * 8) == ["OK"] and gdb.ask("p0") == ["11" * 8]
    assert gdb.ask("P5") == ["E22"] and gdb.ask("Pzz=1") == ["E16"]


def test_memory(gdb):
    assert gdb.ask("m1000,4") == ["13000000"] and gdb.ask("m0,4") == ["E0e"] and gdb.ask("m1000,ffff") == ["E16"]
    assert gdb.ask("M1000,2:aabb") == ["OK"] and gdb.ask(b"X1002,2:}\x03\x7d\x5d") == ["OK"]
    assert gdb.target.memory[:4] == b"\xaa\xbb#}"
    assert gdb.ask("M1000,2:aa") == ["E16"] and gdb.ask("m1000") == ["E22"]
    assert gdb.ask("Qqemu.PhyMemMode:1") == ["OK"] and gdb.ask("qqemu.PhyMemMode") == ["1"]
    gdb.ask("m1000,1")
    assert gdb.target.log[-1] == ("read", True)


def test_running_and_stopping(gdb):
    gdb.ask("qSupported:multiprocess+;swbreak+")
    assert gdb.ask("vCont;s:p1.2") == ["T05thread:p01.02;"] and gdb.target.regs[2][32] == 0x1004
    assert gdb.ask("Z0,1010,4") == ["OK"]
    assert gdb.ask("vCont;c") == ["T05thread:p01.01;swbreak:;"] and gdb.target.regs[1][32] == 0x1010
    assert gdb.ask("z0,1010,4") == ["OK"] and gdb.ask("Z2,1080,8") == ["OK"]
    assert gdb.ask("c") == ["T05thread:p01.01;watch:1080;"]
    assert gdb.ask("Z9,0,0") == [""]
    gdb.ask("z2,1080,8")
    assert gdb.ask("vCont;C0a:p1.1;c")[0] == "W03" and gdb.target.signals == {1: 10}
    assert gdb.ask("vCont;t") == ["E16"]


def test_interrupt_while_running(gdb):
    gdb.target.resume = lambda *a: None
    assert gdb.ask("c") == []
    gdb.out.clear()
    gdb.stub.feed(b"\x03")
    assert b"T02thread" in gdb.out


def test_step_mode_monitor_detach(gdb):
    assert gdb.ask("qqemu.sstepbits") == ["ENABLE=1,NOIRQ=2,NOTIMER=4"] and gdb.ask("qqemu.sstep") == ["0x7"]
    assert gdb.ask("Qqemu.sstep=0x5") == ["OK"] and gdb.ask("Qqemu.sstep=9") == ["E16"]
    gdb.ask("s")
    assert gdb.target.log[-1] == ("resume", {1: "step"}, 5)
    answer = gdb.ask("qRcmd," + b"info mem".hex())
    assert bytes.fromhex(answer[0][1:]) == b"you said info mem\n" and answer[1] == "OK"
    gdb.ask("Z0,1010,4")
    assert gdb.ask("D;1") == ["OK"] and gdb.stub.closed and gdb.target.log[-1] == "detach" and not gdb.target.breaks


def test_acknowledgement_and_retransmission():
    out, target = bytearray(), Toy()
    stub = Stub(target, out.extend)
    stub.feed(b"$qC#00")
    assert out == b"-"
    stub.feed(b"$qC")
    stub.feed(b"#b4")
    assert out == b"-+$QC01#f5"
    stub.feed(b"-")
    assert out.count(b"$QC01#f5") == 2
    stub.feed(b"garbage$" + b"x" * 10000)
    stub.feed(b"$qC#b4")
    assert out.endswith(b"$QC01#f5")


@settings(deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([
    b"g", b"m1000,4", b"vCont;c", b"Hg", b"H", b"p", b"Z", b"Z0", b"Z0,,", b"qXfer:", b"qXfer:features:read::,", b"T",
    b"qThreadExtraInfo,", b"qRcmd,0", b"D;", b"vAttach;", b"QCatchSyscalls:1", b"X1000,1", b"P=", b"G0", b"C", b"S;"])),
    max_size=12))
def test_no_packet_breaks_the_stub(packets):
    talk = Talk()
    for p in packets:
        talk.ask(p)
    if not talk.stub.closed:
        talk.stub.running = False
        talk.stub._buffer.clear()
        assert talk.ask("qC")[0].startswith("QC")


def read_packet(sock):
    data = b""
    while not re.search(rb"\$[^#]*#..", data):
        data += sock.recv(4096)
    return data


def test_server_serves_one_after_the_other():
    target, events = Toy(), []
    server = GdbServer("127.0.0.1:0", target, connected=lambda: events.append("come"), lost=lambda: events.append("gone"))
    target.tell = server.stopped
    try:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", server.port), 10) as s:
                s.settimeout(10)
                s.sendall(b"$?#3f")
                assert b"$T05thread:01;" in read_packet(s)
                s.sendall(b"+$s#73")
                assert b"$T05thread:01;" in read_packet(s)
        assert server.wait(1) and events[:2] == ["come", "gone"]
    finally:
        server.close()


def test_bad_addresses():
    with pytest.raises(ValueError, match="is no port"):
        GdbServer("nonsense", Toy())
    with pytest.raises(ValueError, match="below 65536"):
        GdbServer("tcp::99999", Toy())


@pytest.mark.skipif(not shutil.which("gdb-multiarch"), reason="driven by gdb-multiarch where it is installed")
def test_with_the_real_debugger(tmp_path):
    target = Toy()
    server = GdbServer(f"unix:{tmp_path}/gdb", target)
    target.tell = server.stopped
    script = ["set confirm off", "set arch riscv:rv64", f"target remote {tmp_path}/gdb",
              "info threads", "p $pc", "p $mstatus",
              "set $t0=0x1234", "p/x $t0", "x/2i $pc", "stepi", "p/x $pc", "hbreak *0x1010", "monitor hello",
              "set {int}0x1040=0x55", "x/wx 0x1040", "detach"]
    try:
        done = subprocess.run(["gdb-multiarch", "-nx", "-batch", *(x for c in script for x in ("-ex", c))],
                              capture_output=True, text=True, timeout=60)
    finally:
        server.close()
    out = done.stdout + done.stderr
    for text in ("CPU#1", "0x1234", "nop", "= 0x1004", "you said hello", "0x00000055"):
        assert text in out, out
    assert target.log[-1] == "detach"
