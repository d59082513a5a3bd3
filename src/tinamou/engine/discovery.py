"""Which code belongs together as a region: instructions, and how control goes between them.

A region is what can be reached from a hot address through jumps, branches and calls, among instructions that have been decoded (so
executed, or nearly).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from tinamou.native.types import u32

from .checkpoints import needs
from .patterns import Reg

if TYPE_CHECKING:
    from .decoder import Form
    from .regions import Templates

MAX_INSNS = 600
LANDINGS = 255  # at most, in a region
LOOKED = 100  # instructions behind a sampled address among which a jump back to it is looked for
NEAR = 1 << 15  # bytes before and behind a region in which the targets of its computed jumps are looked for


@dataclass
class Node:
    """One instruction of a region."""

    pc: int
    word: int
    form: Form
    targets: list[int] = field(default_factory=list)  # where it may go, other than on
    falls: bool = True
    call: bool = False
    known: bool = False  # its only target is targets[0]
    computed: bool = False  # see Architecture.computed
    skipped: int = 0  # bytes of the next instruction, which it may skip
    most: int = 0  # what it takes from the budget at most

    @property
    def following(self) -> int:
        return self.pc + self.form.insn.size

    @property
    def end(self) -> int:
        """Behind the code on which it depends."""
        return self.following + self.skipped


@dataclass
class Region:
    """The code of a region and where it is entered."""

    entries: list[int]
    nodes: dict[int, Node]
    landings: list[int] = field(default_factory=list)  # where its computed jumps may go
    needs: dict[int, int] = field(default_factory=dict)  # see engine.checkpoints

    @property
    def size(self) -> int:
        return len(self.nodes)

    @property
    def runs(self) -> list[tuple[int, int]]:
        """The guest code, as (address, bytes) of stretches without gaps."""
        out: list[tuple[int, int]] = []
        for pc in sorted(self.nodes):
            end = self.nodes[pc].end
            if out and pc <= sum(out[-1]):
                out[-1] = out[-1][0], max(end, sum(out[-1])) - out[-1][0]
            else:
                out.append((pc, end - pc))
        return out

    @property
    def exits(self) -> list[int]:
        """Where control goes on outside, as far as that is known."""
        out = {n.following for n in self.nodes.values() if n.falls or n.call}
        out.update(t for n in self.nodes.values() for t in n.targets)
        return sorted(out - self.nodes.keys())

    @property
    def whole(self) -> bool:
        """It is known where all its jumps go, or there is no room for more."""
        return self.size == MAX_INSNS or not any(n.computed for n in self.nodes.values())

    @property
    def loops(self) -> bool:
        """Control can come back inside the region."""
        return len(self.landings) > 1 or any(t <= n.pc and t in self.nodes for n in self.nodes.values() for t in n.targets)


def discover(
    templates: Templates,
    start: int,
    fetch: Callable[[int], int | None],
    executed: Callable[[int], bool],
    hot: Callable[[Node, int], bool] = lambda node, pc: True,
    limit: int = MAX_INSNS,
    sampled: Iterable[int] = (),
    visited: Callable[[int, int], Iterable[int]] = lambda first, last: (),
) -> Region | None:
    """The region around a hot address: what has been executed, and of the targets of jumps (the nodes) those that are `hot`.

    `fetch` gives the instruction word at an address that may be executed.  Where computed jumps go nobody knows, but slices end there, and
    traces begin there: addresses near by that were `sampled`, and those between the region's first and last that are `visited` often,
    are taken to be their targets, if nothing else leads to them.
    """

    @cache
    def line(pc: int) -> tuple[int, int] | None:
        word = fetch(pc)
        decoded = templates.decode(word) if word is not None else None
        if decoded is None:
            return None
        form, word = decoded
        return pc + form.insn.size, direct_target(templates, form, word, pc) if form.relative else -1

    def repeats(at: int) -> bool:
        key = at, fetch(at)
        if key not in templates.repeating:
            templates.repeating[key] = jumps_back(at, line)
        return templates.repeating[key]

    nodes: dict[int, Node] = {}
    entries = {start}
    work = [start]
    landings: list[int] = []
    while len(nodes) < limit:
        if not work:
            if not any(n.computed for n in nodes.values()):
                break
            landings = landings or [start]
            first, last = min(nodes), max(nodes)
            near = [at for at in (*sampled, *visited(first, last)) if first - NEAR <= at < last + NEAR and at not in nodes]
            work = [at for at in dict.fromkeys(near) if at not in landings and not repeats(at)][: LANDINGS - len(landings)]
            if not work:
                break
            landings += work
            entries.update(landings)
            continue
        pc = work.pop(0)
        before: Node | None = None
        while pc not in nodes and len(nodes) < limit:
            word = fetch(pc)
            if word is None or not executed(pc):
                break
            decoded = templates.decode(word)
            if decoded is None:
                break
            form, word = decoded
            insn = form.insn
            if form.switches or (form.ends and not form.jumps) or insn.name in templates.arch.refetch:
                break
            if not templates.exact and templates.get(form).exact:
                break  # in a region nobody knows how many instructions have been executed
            skipped = 0
            if form.forwards:
                more = fetch(pc + insn.size & templates.mask)
                if more is None:
                    break
                skipped = int(templates.arch.length(u32(more & 0xFFFF_FFFF)))
            node = nodes[pc] = Node(pc, word, form, falls=not form.ends, skipped=skipped)
            following = pc + insn.size
            links = any(o.kind.zero != insn.number(word, o) for o, _ in form.results if isinstance(o.kind, Reg))
            node.call = form.ends and (links or insn.name in templates.arch.calls)
            node.computed = not node.call and templates.arch.computed(insn, word)
            target: int | None = None
            if form.forwards:
                node.known, target = True, node.end & templates.mask
            elif form.relative or form.absolute:
                node.known, target = True, direct_target(templates, form, word, pc)
            elif form.ends and before and before.following == pc:
                target = templates.arch.pair_target(before.pc, before.form.insn, before.word, insn, word)
                node.known = target is not None
            if target is not None:
                node.targets = [target]
                if hot(node, target):
                    work.append(target)
                    if target <= pc:
                        entries.add(target)
            before = node
            if node.call and hot(node, following):
                entries.add(following)
                work.append(following)
            if not node.falls:
                break
            pc = following
    if start not in nodes:
        return None
    region = Region(sorted(e for e in entries if e in nodes), nodes, sorted(at for at in landings if at in nodes))
    if templates.exact:
        for node in nodes.values():
            node.most = node.form.insn.cost + templates.get(node.form).spent + node.skipped // templates.arch.unit
        region.needs = needs(region, blocks_of(templates, region))
        region.entries = sorted(region.needs)
    return region


def direct_target(templates: Templates, form: Form, word: int, pc: int) -> int:
    """Where a relative or absolute jump at pc goes."""
    op = next(o for o, _ in form.operands if o.name == (form.relative or form.absolute))
    return form.insn.number(word, op) + (pc if form.relative else 0) & (1 << op.type.bits) - 1 & templates.mask


def jumps_back(start: int, line: Callable[[int], tuple[int, int] | None]) -> bool:
    """A jump further down leads here: what was sampled is a loop's head, rather than the target of a computed jump.

    `line` gives where the instruction at an address ends, and where it may jump to.
    """
    pc = start
    for _ in range(LOOKED):
        found = line(pc)
        if found is None:
            break
        pc, target = found
        if target == start:
            return True
    return False


def blocks_of(templates: Templates, region: Region) -> list[list[Node]]:
    """Straight lines of instructions, by address."""
    known = region.nodes
    leaders = {*region.entries, *region.needs}
    nodes = [known[pc] for pc in sorted(known)]
    for n in nodes:
        leaders.update(n.targets)
        if n.form.jumps or templates.get(n.form).exact:
            leaders.add(n.following)
    for n, behind in pairwise(nodes):
        if n.falls and n.following != behind.pc:  # instructions that overlap
            leaders.add(n.following)
    into = {m.following for m in nodes if m.falls}
    leaders.update(n.pc for n in nodes if n.pc not in into)
    blocks: list[list[Node]] = []
    for n in nodes:
        if n.pc in leaders or not blocks or not blocks[-1][-1].falls or blocks[-1][-1].following != n.pc:
            blocks.append([])
        blocks[-1].append(n)
    return blocks
