"""Where a region that counts cycles looks whether the slice has enough of them (engine.harvard).

A slice ends exactly at the next event.  So a region goes on from a checkpoint only when what is left of the slice covers the longest way
to the next checkpoints, where it may be used up by the last instruction; otherwise it leaves there, and tier 0 does the rest.  In between
nothing is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .discovery import Node, Region

LONGEST = 160  # cycles without a checkpoint: tier 0 does half of that at the end of each slice


def needs(region: Region, blocks: list[list[Node]]) -> dict[int, int]:
    """The checkpoints, which are the beginnings of blocks -> cycles that must be left there.

    Every way that goes back passes one, and every way that begins outside of the region or at an unknown jump begins at one.
    """
    nodes = region.nodes
    out = dict.fromkeys(region.entries, 0)
    for n in nodes.values():
        out.update((t, 0) for t in n.targets if t <= n.pc and t in nodes)
        if n.call and n.following in nodes:
            out[n.following] = 0
    after: dict[int, int] = {}
    for block in reversed(blocks):
        last = block[-1]
        own, most = sum(n.most for n in block), 0
        for way in (*last.targets, *([last.following] if last.falls else [])):
            if way not in nodes or way in out:
                continue
            if own + after[way] > LONGEST:
                out[way] = after[way]
            else:
                most = max(most, after[way])
        head = block[0].pc
        after[head] = own + most
        if head in out:
            out[head] = after[head]
    return out
