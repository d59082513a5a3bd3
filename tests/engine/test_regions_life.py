"""Regions come and go: they are compiled at all, ten thousand of them leave nothing behind, and what runs stays right."""

from __future__ import annotations

from typing import Any

import pytest
from engine_harness import CODE, DATA, ECALL, RegionsGuest, guests

from tinamou.engine.cpu import PAGE
from tinamou.engine.jit import ARENA

LOOP = "li a0, 100\nli a1, 0\nlui a2, 0x200\nloop: ld a3, 0(a2)\nadd a1, a1, a0\nadd a1, a1, a3\naddi a0, a0, -1\nbnez a0, loop\necall"
COUNT = 10_000


@pytest.fixture
def regions() -> RegionsGuest:
    found: RegionsGuest = guests("regions", 64)
    return found


def test_regions_are_compiled(regions: RegionsGuest) -> None:
    """The guests called `regions` in all tests here run compiled code, not the interpreter."""
    labels = regions.load(LOOP)
    regions.map(DATA, PAGE, "rw")
    assert regions.go().cause == ECALL and regions.x[11] == 5050
    before = regions.made
    regions.pc, regions.x[10], regions.x[11] = labels["loop"], 50, 0
    assert regions.go().cause == ECALL and regions.x[11] == 1275
    assert regions.made == before + 1 and regions.jit.compiled(labels["loop"])


def test_ten_thousand_regions(regions: RegionsGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same one again and again, its code invalidated in between: no entry and no page keeps anything of those that are gone."""
    labels = regions.load(LOOP)
    regions.map(DATA, PAGE, "rw")
    jit, made = regions.jit, list[Any]()
    install = jit.install
    monkeypatch.setattr(jit, "install", lambda *words: made.append(words) or install(*words))
    regions.go()
    regions.pc, regions.x[10] = labels["loop"], 50
    regions.go()
    monkeypatch.undo()
    ((region, _),) = made
    used, pages = jit.arena.used, len(jit.by_page)
    for n in range(COUNT):
        assert jit.install(region, (jit.generation, int(regions.engine.shared.fences)))
        regions.pc, regions.x[10], regions.x[11] = labels["loop"], 2 + n % 3, 0
        assert regions.go().cause == ECALL and regions.x[11] == (3, 6, 10)[n % 3]
        assert jit.compiled(labels["loop"])
        regions.changed(CODE, PAGE)
        assert not jit.compiled(labels["loop"])
    assert len(jit.by_page) == pages - 1 and not jit.stopped.is_set()
    assert jit.arena.used - used <= COUNT * (len(region.image.content) + 64) < ARENA
