"""How control moves between handlers, as functions that only compiled handlers have (see engine.interpreter)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from tinamou.native.ops import intrinsic
from tinamou.native.types import Word, i64, u64

W = TypeVar("W", bound=Word)


def _only_compiled() -> NoReturn:
    raise TypeError("only compiled code has handlers")


@intrinsic
def slow() -> NoReturn:
    """Start the instruction again in the clone of its handler that takes the slow paths."""
    _only_compiled()


@intrinsic
def guest_peek(kind: type[W], address: u64) -> W:
    """Read flat guest memory; slow() when the address is beyond the limit or the host faults."""
    _only_compiled()


@intrinsic
def guest_poke(kind: type[W], address: u64, value: W) -> None:
    """Write flat guest memory; slow() when the address is beyond the limit or the host faults."""
    _only_compiled()


@intrinsic
def guarded_peek(kind: type[W], address: u64, otherwise: Callable[..., None], *arguments: Any) -> W:
    """Read host memory that may be missing: then otherwise(*arguments) runs, which does not return."""
    _only_compiled()


@intrinsic
def probe(address: u64, otherwise: Callable[..., None], *arguments: Any) -> None:
    """Touch host memory that may be missing: then otherwise(*arguments) runs, which does not return."""
    _only_compiled()


@intrinsic
def guarded_poke(kind: type[W], address: u64, value: W, otherwise: Callable[..., None], *arguments: Any) -> None:
    """Write host memory that may be missing or read-only: then otherwise(*arguments) runs, which does not return."""
    _only_compiled()


@intrinsic
def memory_base() -> u64:
    """cpu.memory, from its register."""
    _only_compiled()


@intrinsic
def limit() -> u64:
    """cpu.limit."""
    _only_compiled()


@intrinsic
def direct_limit() -> u64:
    """cpu.direct_limit."""
    _only_compiled()


@intrinsic
def direct() -> bool:
    """This is the form of an instruction whose accesses take the slow path when anything is special about them.

    A check that the slow path makes may be left out.
    """
    return False


@intrinsic
def pc_of(entry: u64) -> u64:
    """The guest address of an entry of the current page."""
    _only_compiled()


@intrinsic
def enter(entry: u64, pc: u64) -> NoReturn:
    """Go on with the instruction at pc, whose entry this is, at the end of a slice after a pause."""
    _only_compiled()


@intrinsic
def resume(entry: u64) -> NoReturn:
    """Go on with an entry of the current page, without counting."""
    _only_compiled()


@intrinsic
def perform(handler: u64, entry: u64) -> NoReturn:
    """Run a handler on an entry."""
    _only_compiled()


@intrinsic
def leave(reason: int, pc: u64) -> NoReturn:
    """Return from run()."""
    _only_compiled()


@intrinsic
def get_budget() -> i64:
    """Instructions left in the slice."""
    _only_compiled()


@intrinsic
def set_budget(budget: i64) -> None:
    """Begin another slice."""
    _only_compiled()


@intrinsic
def reload() -> None:
    """Take cpu.memory into its register again: it changed."""
    _only_compiled()
