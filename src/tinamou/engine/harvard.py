"""The memory model of microcontrollers: code and data apart, and every cycle counted.

Code is one piece of host memory, at address 0 of its own space.  Data addresses below `ram_start` are registers and I/O; from there on
`ram_size` bytes are RAM.  An access to RAM costs a comparison and an addition; I/O is a table of what to do (`io_kind`), in the end a call
of the host (`call`).

The budget counts cycles, and every instruction looks at it.  A slice ends at `deadline`, the cycle of the next event, never behind it, so
that an event, and the interrupt that it requests, come between the same two instructions in every run.
"""

from __future__ import annotations

from typing import Annotated

from tinamou.native.types import Array, Struct, i64, u8, u64

from .cpu import Cpu

IO = 512  # data addresses that may have an entry in io_kind
COUNTERS = 16

# io_kind: what a load does.  Stores call the host, those of PLAIN excepted.
DEVICE = 0  # calls the host
SHADOW = 1  # gives io_value
PLAIN = 2  # is memory
COUNTER = 16  # and above: gives the value of counters[kind - COUNTER]

# What the host is called for: the second argument of `call`; the first is an address, the third a value, the fourth the cycle.
LOAD, STORE, EVENT, ACKNOWLEDGE, SLEEP, SELF_PROGRAM, PROGRAM_LOAD, WATCHDOG_RESET, BREAK, UNDEFINED = range(10)


class Counter(Struct):
    """A timer's count, computed when it is read."""

    start: u64  # the cycle at which it was `first`
    divider: u64  # cycles for each step
    first: u64
    top: u64  # the largest value
    dual: u64  # not 0: counts down again from top (period 2 * top)
    latch: u64  # data address whose shadow takes the high byte when the low one is read; 0: the counter has 8 bits


class HarvardCpu(Cpu):
    """A microcontroller's CPU.  `instructions` counts cycles."""

    ram_start: u64  # data address
    ram_size: u64  # bytes
    code: u64  # host address of code address 0
    code_mask: u64  # bytes of code - 1: addresses wrap there
    deadline: u64  # cycle at which the host has to be called
    ceiling: i64  # cycles of a slice, at most
    call: u64  # host function (address, what, value, cycle) -> value
    attention: u64  # not 0: lines, deadline, stall or restart have changed
    lines: u64  # interrupt requests, by vector
    halted: u64  # sleeps
    stall: u64  # cycles to wait before the next instruction
    quit: u64  # not 0: run() ends before the next instruction
    enabled: u64  # the cycle at which interrupts were enabled last: one more instruction comes first
    program_call: u64  # not 0: loads from program memory call the host
    io_kind: Annotated[Array[u8], IO]
    io_value: Annotated[Array[u8], IO]
    counters: Annotated[Array[Counter], COUNTERS]
