"""Compiled regions on disk: what one run of a program compiled is there at the next start.

A bundle is kept for each program (`CodeCache` is given its identity).  A region in it carries the addresses and a digest of the guest
code that it was made from; it is installed, without LLVM or the compiler, as soon as that very code is there and has begun to run.  The
file is one of `native.cache`: whole or absent, verified by its digest, never from a folder that somebody else may write to.  Bundles of
several processes of one program are merged when they end; the least recently used bundles go when all together exceed LIMIT.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tinamou.native import cache as store
from tinamou.native.cache import blake2b
from tinamou.native.image import host_key, pack, sources_key, unpack
from tinamou.native.link import Image

LIMIT = 256 << 20  # bytes of all bundles
LARGEST = 16 << 20  # bytes of one
LOOKED = 1000  # addresses of which a bundle says that they were looked at
NEVER = 1 << 62  # and more, by the samples so far: not again in this run
USELESS = 1 << 61  # the same in later runs
AGAIN = 20_000  # samples at least after which, in a later run, even those are looked at again of which no region can be made
COUNTED = 1000  # addresses whose samples are kept
FEW = 250  # samples that are not worth a file
MORE = 1.25  # kept anew when there are so many times more samples
# what a region's image imports besides handlers, three words: times entered, instructions executed, an address to which it was left
COUNTS = "region.counts"
PREFIX, SUFFIX = "regions-", ".bundle"


@dataclass
class Kept:
    """A region as the file has it."""

    entries: list[int]
    exits: list[int]  # where control goes on outside
    runs: list[tuple[int, int]]  # (address, bytes) of the guest code it was made from
    digest: str  # of that code
    size: int  # instructions
    whole: bool  # it is known where all its jumps go
    image: Image

    @property
    def pages(self) -> set[int]:
        return {p for a, n in self.runs for p in range(a >> 12, (a + n - 1 >> 12) + 1)}


def digest(read: Callable[[int, int], bytes], runs: Iterable[tuple[int, int]]) -> str:
    """Over the guest code in these runs as it is now; "" when some of it is not there."""
    h = blake2b(digest_size=16)
    for address, length in runs:
        data = read(address, length)
        if len(data) != length:
            return ""
        h.update(struct.pack("<QQ", address, length) + data)
    return h.hexdigest()


class CodeCache:
    """The bundle of one program."""

    def __init__(self, arch: str, sources: tuple[str, ...], options: str, program: str) -> None:
        text = "|".join([arch, sources_key(sources), host_key(), options, program])
        self.name = f"{PREFIX}{blake2b(text.encode(), digest_size=12).hexdigest()}{SUFFIX}"
        self.wanted: dict[int, int] = {}  # see Jit.wanted
        self.bad_luck = 0  # see Jit.bad_luck; written when something else is
        self.heat: dict[int, int] = {}  # address -> samples of all runs, of what is not compiled
        self.kept: dict[tuple[int, str], Kept] = {(k.entries[0], k.digest): k for k in self._load()}
        self.waiting = list(self.kept.values())
        self.gone: set[tuple[int, str]] = set()
        self.changed = False
        if self.kept:
            self._touch()

    def _load(self) -> list[Kept]:
        raw = store.read(self.name)
        if raw is None:
            return []
        found, at = [], 0
        while at < len(raw):
            head_size, image_size = struct.unpack_from("<II", raw, at)
            head = json.loads(raw[at + 8 : at + 8 + head_size])
            at += 8 + head_size
            if not image_size:
                self.wanted = {int(pc): n for pc, n in head["wanted"].items()} | self.wanted
                self.bad_luck = max(self.bad_luck, head["bad_luck"])
                self.heat = {int(pc): n for pc, n in head["heat"].items()} | self.heat
                continue
            runs = [(a, n) for a, n in head["runs"]]
            image = unpack(raw[at : at + image_size])
            found.append(Kept(head["entries"], head["exits"], runs, head["digest"], head["size"], head["whole"], image))
            at += image_size
        return found

    def _touch(self) -> None:
        path = store.folder()
        if path is not None:
            with contextlib.suppress(OSError):
                os.utime(os.path.join(path, self.name))

    def add(self, kept: Kept) -> None:
        self.kept[kept.entries[0], kept.digest] = kept
        self.changed = True

    def remove(self, kept: Kept) -> None:
        key = kept.entries[0], kept.digest
        self.kept.pop(key, None)
        self.gone.add(key)
        self.changed = True

    def looked(self, wanted: dict[int, int]) -> None:
        """Addresses that were looked at in vain, and how hot they must be for another look."""
        kept = {pc: n if n < NEVER else max(AGAIN, 4 * (n - NEVER)) for pc, n in list(wanted.items())[-LOOKED:]}
        if kept != self.wanted:
            self.wanted, self.changed = kept, True

    def sampled(self, heat: dict[int, int]) -> None:
        """Where the time went that no region took: code that is warm in every run becomes hot in the end."""
        kept = dict(sorted(heat.items(), key=lambda item: item[1], reverse=True)[:COUNTED])
        if self.changed or sum(kept.values()) > max(FEW, MORE * sum(self.heat.values())):
            self.heat, self.changed = kept, True

    def save(self) -> None:
        """Write what is new, together with what other processes have written meanwhile."""
        if not self.changed:
            return
        self.changed = False
        bad_luck = self.bad_luck  # _load() finds that of before
        everything = {(k.entries[0], k.digest): k for k in self._load()} | self.kept
        everything = {key: k for key, k in everything.items() if key not in self.gone}
        head = json.dumps({"wanted": self.wanted, "heat": self.heat, "bad_luck": bad_luck}).encode()
        out = bytearray(struct.pack("<II", len(head), 0) + head)
        for k in everything.values():
            names = "entries", "exits", "runs", "digest", "size", "whole"
            head = json.dumps({name: getattr(k, name) for name in names}).encode()
            body = pack(k.image)
            if len(out) + len(head) + len(body) + 8 > LARGEST:
                break
            out += struct.pack("<II", len(head), len(body)) + head + body
        store.write(self.name, bytes(out))
        trim(LIMIT)


def bundles() -> list[tuple[float, int, str]]:
    """Time of last use, bytes and path of every bundle, oldest first."""
    return store.files(PREFIX, SUFFIX)


def trim(limit: int) -> None:
    """Delete the bundles used longest ago until the others fit the limit."""
    store.sweep()
    found = bundles()
    total = sum(size for _, size, _ in found)
    for _, size, path in found:
        if total <= limit:
            break
        store.delete([path])
        total -= size
