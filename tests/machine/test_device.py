from enum import Enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinamou.machine.clock import Clock, VirtualTime
from tinamou.machine.device import Device, fifo, timer, timers
from tinamou.machine.lines import Pin, line, lines, pin, pins, state
from tinamou.machine.log import Log
from tinamou.machine.machine import Machine
from tinamou.machine.memory import BusError
from tinamou.machine.props import OBJECT, U32, PropertyError, prop
from tinamou.machine.registers import Bank, Reg


class Mode(Enum):
    IDLE = 1
    BUSY = 2


class Part(Device, type="test-part"):
    """One register of every kind."""

    channels: int = prop(U32, default=2)
    clock: Clock = prop(OBJECT, default=None)

    CTRL = Reg(0x00)
    go = CTRL.rw(0)
    size_ = CTRL.rw(15, 8, reset=0x12)
    STAT = Reg(0x04)
    done = STAT.w1c(0)
    error = STAT.w0c(1, reset=1)
    flag = STAT.w1s(2)
    toggle = STAT.w1t(3)
    once = STAT.rc(4, reset=1)
    sets = STAT.rs(5)
    kept = STAT.rw(6, sticky=True)
    ones = STAT.reserved(31, 30, "one")
    ID = Reg(0x08)
    ident = ID.const(0xABCD)
    LEVEL = Reg(0x0C)
    level = LEVEL.rw(3, 0)
    later = LEVEL.unimpl(7, 4)
    KEY = Reg(0x10)
    key = KEY.wo()
    WIDE = Reg(0x18, width=64)
    wide = WIDE.rw()
    CH = Bank(0x100, stride=0x20, count="channels")
    ADDR = CH.reg(0)
    addr = ADDR.rw()
    COUNT = CH.reg(4)
    count = COUNT.rw(15, 0, reset=lambda self: self.channels)
    INNER = CH.bank(0x10, stride=4, count=2)
    SLOT = INNER.reg(0)
    slot = SLOT.rw(7, 0)

    mode = state(Mode.IDLE)
    queue = fifo(4)
    seen = state(list[int]())

    @level.legal
    def even(self, value):
        return value & ~1

    @addr.on_write
    def note(self, n, value):
        self.seen.append(n << 32 | value)

    @timer
    def tick(self):
        self.done = 1
        self.mode = Mode.BUSY

    @timers("channels")
    def each(self, n):
        self.count[n] += 1

    @line
    def irq(self):
        return self.done

    @lines("channels")
    def out(self, n):
        return self.addr[n] & 1

    @pin
    def stop(self, level):
        self.go = not level

    @pins("channels")
    def request(self, n, level):
        self.slot[2 * n] = level


def make(**props):
    lines_ = []
    p = Part(**props)
    p.log = Log({"guest_errors", "unimp"}, lines_.append)
    return p, lines_


def test_a_write_only_register_reads_as_0_for_debuggers():
    assert Part().peek(0x10, 4) == 0


def test_access_modes():
    p, log = make()
    assert p.read(0, 4) == 0x1200
    p.write(0, 0xFFFF_FFFF, 4)
    assert p.read(0, 4) == 0xFF01 and p.size_ == 0xFF
    p.done = 1
    assert p.read(4, 4) == 0xC000_0013
    assert p.read(4, 4) == 0xC000_0023           # rc cleared, rs set by the read before
    p.write(4, 0b1101, 4)                       # w1c done, w0c error, w1s flag, w1t toggle
    assert p.read(4, 4) & 0xF == 0b1100
    p.write(4, 0b1010, 4)
    assert p.read(4, 4) & 0xF == 0b0100
    p.write(8, 5, 4)
    assert p.read(8, 4) == 0xABCD and log[-1] == "test-part: write of read-only ID: 0x5"
    p.write(0x10, 7, 4)
    assert p.key == 7 and p.read(0x10, 4) == 0 and log[-1] == "test-part: read of write-only KEY"
    p.write(0xC, 0xFF, 4)
    assert p.level == 14 and log[-1] == "test-part: write of unimplemented later: 0xf"
    assert p.read(0x14, 4) == 0 and "offset 0x14" in log[-1]


def test_lanes_of_narrow_wide_and_halves():
    p, _ = make()
    p.write(1, 0x34, 1)
    assert p.read(0, 4) == 0x3400 and p.read(0, 2) == 0x3400 and p.read(1, 1) == 0x34
    p.write(0x18, 0x1122_3344_5566_7788, 8)
    assert p.read(0x1C, 4) == 0x1122_3344
    p.write(0x1C, 0xAABB_CCDD, 4)
    assert p.wide == 0xAABB_CCDD_5566_7788
    p.write(0, 0x0000_0002_0000_0001, 8)        # CTRL and STAT at once
    assert p.go == 1 and p.error == 1
    with pytest.raises(BusError):
        p.read(1, 4)


def test_banks_nest_and_hooks_get_the_index():
    p, _ = make(channels=3)
    p.write(0x140, 0x55, 4)
    assert p.addr == [0, 0, 0x55] and p.seen == [2 << 32 | 0x55]
    assert p.count == [3, 3, 3]
    p.write(0x134, 9, 4)
    assert p.slot == [0, 0, 0, 9, 0, 0] and p.read(0x134, 4) == 9
    assert p.read(0x160, 4) == 0                # a fourth channel does not exist


def test_reset_kinds():
    p, _ = make()
    p.kept, p.go, p.mode = 1, 1, Mode.BUSY
    p.reset("warm")
    assert (p.kept, p.go, p.mode) == (1, 0, Mode.IDLE)
    p.reset("cold")
    assert p.kept == 0


def test_lines_are_levels_and_only_changes_travel():
    p, _ = make()
    seen = []
    p.connect("irq", Pin(seen.append))
    p.connect("irq", Pin(lambda level: seen.append(("inverted", level))), inverted=True)
    assert seen == [("inverted", True)]
    p.done = 1
    p.settle()
    p.settle()
    p.write(4, 1, 4)
    assert seen[1:] == [True, ("inverted", False), False, ("inverted", True)]
    with pytest.raises(KeyError, match="nearest: irq"):
        p.connect("irk", Pin(print))


def test_pin_is_high_while_any_driver_is():
    levels = []
    shared = Pin(levels.append)
    a, b = make()[0], make()[0]
    a.connect("irq", shared)
    b.connect("irq", shared)
    for d, v in ((a, 1), (b, 1), (a, 0), (b, 0)):
        d.done = v
        d.settle()
    assert levels == [True, False]


def test_inputs():
    p, _ = make(channels=2)
    p.request[1](True)
    p.stop(True)
    assert p.slot[2] == 1 and p.go == 0
    p.stop(False)
    assert p.go == 1
    with pytest.raises(IndexError, match=r"request\[2\]"):
        p.request[2]


def test_timers_follow_their_clock():
    time = VirtualTime()
    clock = Clock(1000, time)
    p, _ = make(clock=clock)
    p.tick.at(50)
    p.each[1].after(10)
    time.advance(9_999_999)
    assert p.count[1] == 2
    time.advance(1)
    assert p.count[1] == 3
    clock.hz = 4000                             # 10 ticks gone, 40 left at 4 kHz
    time.advance(9_999_999)
    assert p.done == 0
    time.advance(1)
    assert p.done == 1 and time.now == 20_000_000


def test_snapshot_holds_everything_declared():
    time = VirtualTime()
    p, _ = make(clock=Clock(1000, time))
    p.write(0, 0x3301, 4)
    p.queue.extend([1, 2])
    p.mode = Mode.BUSY
    p.tick.at(7)
    p.write(0x120, 1, 4)
    saved = p.save()
    q, _ = make(clock=Clock(1000, time))
    q.load(saved)
    assert q.save() == saved and q.mode is Mode.BUSY and q.queue.depth == 4 and q.tick.deadline == 7
    time.advance(10_000_000)
    assert q.done == 1
    del saved["mode"]
    with pytest.raises(ValueError, match="does not fit"):
        q.load(saved)


def test_impossible_declarations_fail_at_import():
    with pytest.raises(TypeError, match="b overlaps another field of A"):
        class Bits(Device):
            A = Reg(0)
            a = A.rw(3, 0)
            b = A.rw(3)

    with pytest.raises(TypeError, match="B overlaps A"):
        class Bytes(Device):
            A = Reg(0)
            B = Reg(2)

    with pytest.raises(TypeError, match="lies outside"):
        class Far(Device, size=0x10):
            A = Reg(0x10)

    with pytest.raises(TypeError, match="hides a name"):
        class Hides(Device):
            A = Reg(0)
            reset = A.rw(0)


def test_properties():
    with pytest.raises(TypeError, match="nearest: channels"):
        Part(chanels=3)
    with pytest.raises(PropertyError, match="Parameter 'channels' expects uint32_t"):
        Part(channels=1 << 32)
    assert Part.properties.help() == "test-part options:\n" \
        "  channels=<uint32>      -  (default: 2)\n"


def test_reference_table_lists_fields():
    text = Part.reference()
    assert "| 0x0 | CTRL | 15:8 | size_ | rw | 0x12 |" in text and "One register of every kind." in text


def test_peek_has_no_side_effects():
    p, log = make()
    assert p.peek(4, 4) & 0x30 == 0x10 and p.peek(4, 4) & 0x30 == 0x10
    assert p.peek(0x14, 4) == 0 and log == []


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 4]), st.integers(0, 3))
def test_byte_lanes_agree_with_whole_writes(value, size, lane):
    """Writing a register in pieces is writing those bytes."""
    class Word(Device):
        R = Reg(0)
        low = R.rw(11, 0)
        mid = R.rw(20, 12)
        high = R.rw(31, 21)

    offset = lane & -size
    w = Word()
    w.write(0, 0xDEAD_BEEF, 4)
    w.write(offset, value & (1 << 8 * size) - 1, size)
    expect = bytearray((0xDEAD_BEEF).to_bytes(4, "little"))
    expect[offset : offset + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    assert w.read(0, 4) == int.from_bytes(expect, "little")


def test_a_machine_places_and_resets():
    m = Machine("m")
    p = m.at(0x1000, Part())
    m.stub(0x5000, "uart9")
    logged = []
    m.log.items, m.log.sink = {"unimp"}, logged.append
    m.memory.write(0x5004, 0x1F, 4)
    assert logged == ["uart9: unimplemented device write (size 4, offset 0x4, value 0x1f)"]
    m.memory.write(0x1000, 1, 4)
    assert p.go == 1
    m.reset()
    assert p.go == 0
