"""Handlers that are no instructions, in the subset: decoding, page crossing, far jumps, single steps.

Each comes with the special that a raise in it ends in:
    h_trap        an instruction raised; it was counted, but not executed
    h_trap_here   the instruction at the entry raised before it was counted
    h_trap_fetch  the instruction at cpu.target could not be fetched
The memory models have their own (`SPECIALS`), and those that begin and end slices.
"""

from __future__ import annotations

from collections.abc import Callable

from tinamou.native import memory
from tinamou.native.types import i64, u16, u32, u64

from . import flow, predecode, traces
from .cpu import Cpu
from .interpreter import KICK
from .predecode import find_slow


def h_decode(cpu: Cpu, entry: u64) -> None:
    predecode.predecode(cpu, entry, flow.pc_of(entry))
    predecode.decoded(cpu, flow.pc_of(entry))
    flow.resume(entry)


def h_busy(cpu: Cpu, entry: u64) -> None:
    """Another CPU decodes this entry."""
    cpu.target = flow.pc_of(entry)
    alone(cpu, "h_cross")


def h_stale(cpu: Cpu, entry: u64) -> None:
    """Another CPU decodes this entry from code that has changed."""
    cpu.target = flow.pc_of(entry)
    alone(cpu, "h_cross")


def h_warm(cpu: Cpu, entry: u64) -> None:
    """Entries that many jumps go to get a trace."""
    pc = flow.pc_of(entry)
    if traces.due(cpu, entry):
        if traces.promote(cpu, entry, predecode.code_address(cpu, pc), pc):
            flow.resume(entry)
    cpu.target = pc
    alone(cpu, "h_cross")


def h_straddle(cpu: Cpu, entry: u64) -> None:
    flow.perform(predecode.decode_straddling(cpu, entry, flow.pc_of(entry)), entry)


def h_undefined(cpu: Cpu, entry: u64) -> None:
    cpu.undefined()


def h_cross(cpu: Cpu, entry: u64) -> None:
    pc = predecode.wrapped(flow.pc_of(entry))
    cpu.target = pc
    flow.enter(find_slow(cpu, pc), pc)


def h_jump(cpu: Cpu, entry: u64) -> None:
    pc = predecode.wrapped(cpu.target)
    if cpu.single != 0:  # the step is done: whether there is code at pc is the next one's business
        end_slice(cpu, i64(0))
        flow.leave(KICK, pc)
    flow.enter(find_slow(cpu, pc), pc)


def h_stop(cpu: Cpu, entry: u64) -> None:
    """Behind a single step's private entry."""
    end_slice(cpu, i64(0))
    flow.leave(KICK, flow.pc_of(entry))


def alone(cpu: Cpu, after: str) -> None:
    """Decode the instruction at cpu.target into a private entry, with the special `after` behind it, and run it."""
    pc = cpu.target
    host = predecode.code_address(cpu, pc)
    word = u32(memory.peek(u16, host))
    size = predecode.length(word)
    if size > 2:
        word |= u32(memory.peek(u16, predecode.code_address(cpu, predecode.wrapped(pc + 2)))) << 16
    private = u64(cpu.address) + Cpu.fields["scratch"].offset
    number = predecode.decode(cpu, private, word, pc & 4095, u64(0))
    behind = private + (size << predecode.shift())
    for skip in range(3):  # an instruction may skip the next one
        memory.poke(u64, behind + skip * predecode.ENTRY, predecode.symbol(after))
    cpu.bias = pc - (private >> predecode.shift())
    flow.perform(predecode.handler_of(number), private)


def h_step(cpu: Cpu, entry: u64) -> None:
    """A single step."""
    alone(cpu, "h_stop")


def h_retry(cpu: Cpu, entry: u64) -> None:
    """A region leaves one instruction to tier 0."""
    cpu.retries += 1
    alone(cpu, "h_cross")


def end_slice(cpu: Cpu, undone: i64) -> None:
    """Account for what the slice has executed."""
    cpu.instructions += u64(cpu.slice - flow.get_budget() - undone)
    cpu.slice = i64(0)
    flow.set_budget(i64(0))


def begin_slice(cpu: Cpu) -> None:
    cpu.slice = cpu.quantum
    flow.set_budget(cpu.quantum)


def sample(cpu: Cpu, pc: u64) -> None:
    """Note where a slice ended: at a loop's head or a function's entry, as often as it is hot."""
    cpu.samples[cpu.sampled & 255] = pc
    cpu.sampled += 1


COMMON: list[tuple[Callable[..., None], str]] = [
    (h_decode, "h_trap_here"),
    (h_busy, "h_trap_fetch"),
    (h_stale, "h_trap_fetch"),
    (h_warm, "h_trap_fetch"),
    (h_straddle, "h_trap_here"),
    (h_undefined, "h_trap_here"),
    (h_cross, "h_trap_fetch"),
    (h_jump, "h_trap_fetch"),
    (h_step, "h_trap_fetch"),
    (h_retry, "h_trap_fetch"),
    (h_stop, ""),
]
