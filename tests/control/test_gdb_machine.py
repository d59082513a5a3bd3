import re

import pytest

from control.vm_harness import make
from tinamou.control.gdb import Stub
from tinamou.control.gdb_machine import MachineTarget


class Talk:
    def __init__(self):
        self.out = bytearray()
        self.vm = make(cpus=2)
        self.target = MachineTarget(self.vm)
        self.stub = Stub(self.target, self.out.extend)
        self.target.tell = self.stub.stopped
        self("QStartNoAckMode")

    def __call__(self, text):
        raw = text.encode()
        self.out.clear()
        self.stub.feed(b"$" + raw + b"#%02x" % (sum(raw) & 0xFF))
        return self.said()

    def said(self):
        return [m[1].decode() for m in re.finditer(rb"\$([^#]*)#..", bytes(self.out))]


@pytest.fixture
def gdb():
    return Talk()


def test_cpus_registers_and_memory(gdb):
    assert gdb("qfThreadInfo") == ["m01,02"]
    assert gdb("Hg2") == ["OK"] and gdb("P20=0010000000000000") == ["OK"] and gdb.vm.machine.cpus[1].registers["pc"] == 0x1000
    assert gdb("M80000000,2:abcd") == ["OK"] and gdb("m80000000,2") == ["abcd"]
    assert gdb("M1000,4:13000000") == ["OK"] and gdb("m1000,4") == ["13000000"]     # into ROM
    assert gdb("m4ffe,4") == ["E0e"] and gdb("m5000,1") == ["E0e"]
    gdb("Qqemu.PhyMemMode:1")
    assert gdb("m5000,1") == ["00"]


def test_running_breakpoints_and_watchpoints(gdb):
    gdb("Hc2")
    assert gdb("s") == ["T05thread:02;"] and gdb.vm.runner.log == [("step", 1, 7)]
    gdb("Z0,80000000,4")
    gdb("Z2,80001000,8")
    assert ("set", "software", 0x80000000, 4) in gdb.vm.runner.log
    assert gdb("c") == []
    gdb.vm.loop.once(0)
    assert gdb.vm.running
    gdb.out.clear()
    gdb.target.stopped(1, "write", 0x80001000)
    gdb.vm.loop.once(0)
    assert gdb.said() == ["T05thread:02;watch:80001000;"] and gdb.vm.status == "debug"
    gdb("c")
    gdb.vm.loop.once(0)
    gdb.out.clear()
    gdb.stub.feed(b"\x03")
    gdb.vm.loop.once(0)
    assert gdb.said() == ["T02thread:01;"] and gdb.vm.status == "paused"
    gdb("?")
    assert ("clear", "write", 0x80001000, 8) in gdb.vm.runner.log and not gdb.target.breaks


def test_monitor_commands(gdb):
    rows = gdb("qRcmd," + b"info status".hex())
    assert bytes.fromhex(rows[0][1:]) == b"VM status: paused (prelaunch)\n" and rows[1] == "OK"
