"""The same on another architecture, with another engine: an Arduino UNO."""

from __future__ import annotations

import struct

import pytest

from tinamou import Machine

SEND = 10  # word address of the instruction that counts in r19


def ldi(register, value):
    return 0xE000 | value >> 4 << 8 | (register - 16) << 4 | value & 15


@pytest.fixture
def uno(tmp_path):
    """Sends the letter in r17 for ever, and counts in r19."""
    words = [ldi(16, 8), 0x9300, 0xC1]  # sts UCSR0B: transmitter on
    words += [ldi(17, ord("A"))]
    words += [0x9120, 0xC0, 0xFF25, 0xCFFC]  # lds r18, UCSR0A; sbrs r18, UDRE0; rjmp back to lds
    words += [0x9310, 0xC6, 0x9533, 0xCFF8]  # sts UDR0, r17; inc r19; rjmp back to lds
    path = tmp_path / "program.bin"
    path.write_bytes(struct.pack(f"<{len(words)}H", *words))
    with Machine("arduino-uno", bios=path) as m:
        yield m


def test_run_and_look(uno):
    assert uno.arch == "avr" and uno.cpu[0].pc == 0
    uno.run(until="AAA")
    assert uno.cpu[0].registers["r17"] == ord("A")
    uno.cpu[0].registers["r17"] = ord("B")
    uno.run(until="BB")
    before = uno.cpu[0].pc
    uno.cpu[0].step()
    assert uno.cpu[0].pc != before


def test_hooks(uno):
    seen = []
    with uno.on_instruction(2 * SEND, lambda cpu: seen.append(cpu.registers["r19"]) or (len(seen) == 3 and uno.pause())):
        uno.run()
        assert seen == [0, 1, 2] and uno.cpu[0].pc == 2 * SEND
        uno.run(until=lambda m: len(seen) > 5)
    assert seen[:6] == [0, 1, 2, 3, 4, 5]
    with uno.on_mmio(0x80_00C6, lambda access: ord("z"), size=1, kind="w"):
        uno.run(until="zz")


def test_every_instruction(uno):
    trace = []
    with uno.on_instruction(f=lambda cpu: trace.append(cpu.pc) or (len(trace) == 50 and uno.pause())):
        uno.run()
    assert trace[:4] == [0, 2, 6, 8] and trace.count(2 * SEND) > 1
    uno.run(until="A")


def test_memory(uno):
    """Data space is from 0x800000 on, where UCSR0B is written."""
    seen = []
    with uno.on_memory(0x80_00C1, lambda a: seen.append((a.write, a.value)) or uno.pause(), size=1):
        uno.run()
    assert seen == [(True, 8)]


def test_snapshots(uno):
    uno.run(until="AA")
    with uno.snapshot() as now:
        count = uno.cpu[0].registers["r19"]
        for _ in range(2):
            uno.run(until="AAA")
            assert uno.cpu[0].registers["r19"] != count
            uno.restore(now)
            assert uno.cpu[0].registers["r19"] == count
    with uno.fork() as other:
        assert other.cpu[0].registers["r19"] == count
        other.run(until="AA")
        assert uno.cpu[0].registers["r19"] == count
