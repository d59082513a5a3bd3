"""The compiled forms of this architecture's own intrinsics."""

from __future__ import annotations

from tinamou.native.lower import Broken, Lower, V, Value, is_word, llvm, lowering

from .memory import settled


@lowering(settled)
def _settled(g: Lower, x: Value) -> Value:
    if not isinstance(x, V) or not is_word(x.type):
        raise Broken("what memory held is a word")
    k = llvm(x.type)
    return V(x.type, g.value(f'call {k} asm sideeffect "", "=r,0"({k} {x.ref})'), x.top)
