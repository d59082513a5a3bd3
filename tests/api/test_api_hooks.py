"""Hooks that look at what a machine does, and change it."""

from __future__ import annotations

import pytest

from api.bare import COUNTER, RAM, SHELL, UART, started
from tinamou import MachineError, RunTimeout


@pytest.fixture
def counter(tmp_path):
    with started(tmp_path, COUNTER) as m:
        yield m


@pytest.fixture
def shell(tmp_path):
    with started(tmp_path, SHELL) as m:
        yield m


def test_before_an_instruction(counter):
    seen = []

    @counter.on_instruction(counter.labels["double"])
    def doubled(cpu):
        seen.append((cpu.pc, cpu.registers["a0"]))
        if len(seen) == 3:
            counter.pause()

    counter.run()
    assert seen == [(counter.labels["double"], n) for n in (1, 2, 3)]
    assert counter.cpu[0].pc == counter.labels["double"]
    counter.cpu[0].step(2)
    assert counter.memory.u64[counter.labels["count"]] == 4
    doubled.remove()
    with pytest.raises(RunTimeout):
        counter.run(timeout=0.05)
    assert len(seen) == 3


def test_a_hook_changes_registers_and_the_pc(counter):
    """A function of the guest replaced by Python: it returns thrice its argument."""

    def triple(cpu):
        cpu.registers["a0"] *= 3
        cpu.pc = cpu.registers["ra"]

    with counter.on_instruction(counter.labels["double"], triple):
        counter.run(until=lambda m: m.memory.u64[counter.labels["count"]] >= 30)
        assert counter.memory.u64[counter.labels["count"]] % 3 == 0


def test_until_an_address_goes_on(counter):
    for n in range(1, 6):
        assert counter.run(until=counter.labels["double"]) == ""
        assert counter.cpu[0].registers["a0"] == n


def test_every_instruction(counter):
    trace = []

    def note(cpu):
        trace.append(cpu.pc)
        if len(trace) == 200:
            counter.pause()

    with counter.on_instruction(f=note):
        counter.run()
    assert trace[0] == 0x1000 and counter.labels["again"] in trace
    assert trace.count(counter.labels["double"]) > 10 and len(set(trace)) < 40
    assert counter.cpu[0].instructions >= 199


def test_memory_that_is_read_and_written(counter):
    seen = []
    count = counter.labels["count"]

    @counter.on_memory(count, size=8)
    def touched(access):
        seen.append((access.write, access.value))
        if access.write and access.value == 6:
            access.value = 600
        if len(seen) == 8:
            counter.pause()

    counter.run()
    assert seen == [(True, 2), (False, 2), (True, 4), (False, 4), (True, 6), (False, 600), (True, 8), (False, 8)]
    assert counter.cpu[0].registers["t1"] == 8
    touched.remove()
    only_writes = []
    with counter.on_memory(count, lambda a: only_writes.append(a.write) or counter.pause(), size=8, kind="w"):
        counter.run()
        counter.run()
    assert only_writes == [True, True]


def test_registers_of_a_device(shell):
    """What the guest prints goes through Python, which shouts."""

    @shell.on_mmio(UART, size=1, kind="w")
    def shout(access):
        assert access.device.name == "serial-mm" and access.cpu.index == 0
        return ord(chr(access.value).upper())

    assert shell.run(until="> ") == "BARE METAL\n> "
    shout.remove()
    shell.serial.write("quiet\n".replace("q", "k"))
    assert shell.run(until="> ") == "kuiet\n> "


def test_a_device_by_name_and_what_it_answers(shell):
    """Input invented by a hook: the line status says that there is a byte, and the hook is the byte."""
    typed = list(b"xyz\n")

    @shell.on_mmio("serial-mm", kind="r")
    def keyboard(access):
        if access.address == UART + 5 and typed:
            access.value |= 1
        elif access.address == UART and typed:
            access.value = typed.pop(0)

    shell.run(until="xyz\n> ")
    keyboard.remove()
    with pytest.raises(MachineError, match="no device 'serial-mn' on the memory map; nearest: serial-mm"):
        shell.on_mmio("serial-mn", keyboard)


def test_a_device_that_is_only_a_hook(tmp_path):
    with started(tmp_path, "li s0, 0x09000000; loop: lw a0, 0(s0); addi a0, a0, 1; sw a0, 4(s0); j loop") as m:
        written = []

        @m.on_mmio(0x0900_0000, size=8)
        def device(access):
            if access.write:
                written.append(access.value)
                m.pause()
            else:
                access.value = 41

        m.run()
        assert written[0] == 42
        with pytest.raises(MachineError, match="needs a size"):
            m.on_mmio(0x0A00_0000, device)
        with pytest.raises(MachineError, match="kind is one of"):
            m.on_mmio(0x0A00_0000, device, size=4, kind="x")


def test_what_a_hook_raises_ends_run(shell):
    @shell.on_mmio(UART, size=1, kind="w")
    def broken(access):
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        shell.run(until="> ")
    broken.remove()

    def stop(cpu):
        raise LookupError("here")

    with shell.on_instruction(shell.labels["prompt"], stop), pytest.raises(LookupError):
        shell.serial.write("a\n")
        shell.run(until=">>>")
    assert shell.run(until="> ").endswith("> ")


def test_hooks_on_ram_through_mmio(counter):
    """Plain loads and stores of RAM can be answered too, when no code and no atomics are there."""
    count = counter.labels["count"]
    assert count % 4096 == 0 and count > RAM

    @counter.on_mmio(count, size=8)
    def seven(access):
        return 7 if not access.write else None

    counter.run(until=lambda m: m.cpu[0].registers["t1"] == 7)
    assert counter.memory.u64[count] == 7
    seven.remove()
    assert counter.memory.u64[count] % 2 == 0


def test_two_hooks_lie_over_each_other(shell):
    with shell.on_mmio(UART, lambda a: a.value ^ 0x20 if chr(a.value).isalpha() else None, size=1, kind="w"):
        with shell.on_mmio(UART, lambda a: ord("!") if a.value == ord(">") else None, size=1, kind="w"):
            assert shell.run(until="! ") == "BARE METAL\n! "
