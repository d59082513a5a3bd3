"""What tier 1 looks at, and when: samples of this run and of those before it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from engine_harness import CODE, DATA, ECALL, PAGE, CpuThread, InterpreterGuest, RegionsGuest, Stop

from tinamou.engine.jit import FRESH, HOT, PRICE, RING, Jit
from tinamou.native.link import Image

HEAD, OTHER = 0x1000, 0x2000


@pytest.fixture
def jit() -> Jit:
    made = Jit(InterpreterGuest(64).engine)
    made.first = 0
    return made


def test_an_address_is_looked_at_when_it_is_hot(jit: Jit) -> None:
    jit.seen(HEAD, HOT - 1)
    assert jit.hottest() is None
    jit.seen(OTHER, 2 * HOT)
    jit.seen(HEAD, 1)
    assert [jit.hottest(), jit.hottest(), jit.hottest()] == [OTHER, HEAD, None]


def test_the_compiler_is_not_loaded_for_little(jit: Jit) -> None:
    jit.first = 3 * HOT
    jit.seen(HEAD, HOT)
    jit.seen(OTHER, HOT)
    assert jit.hottest() is None
    jit.seen(OTHER, HOT)
    assert jit.hottest() == OTHER


def test_what_earlier_runs_saw_counts_once_this_run_has_been_there(jit: Jit) -> None:
    jit.past = {HEAD: HOT}
    jit.seen(OTHER, HOT - 1)
    jit.seen(HEAD, FRESH - 1)
    assert jit.hottest() is None
    jit.seen(HEAD, 1)
    assert jit.hottest() == HEAD


def test_code_of_which_no_region_can_be_made_begins_anew(jit: Jit) -> None:
    jit.past = {HEAD: 5 * HOT}
    jit.seen(HEAD, HOT)
    assert jit.hottest() == HEAD
    assert not jit.compile(HEAD)  # nothing has been executed there
    assert jit.samples(HEAD) == 0
    jit.seen(HEAD, 100 * HOT)
    assert jit.hottest() is None


def test_samples_that_the_ring_has_lost_are_like_the_others(jit: Jit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinamou.engine.jit.TYPICAL", 1e6)
    guest = InterpreterGuest(64)
    cpu = guest.vcpu.cpu
    jit.vcpus[1] = guest.vcpu, 0
    for n in range(RING + 10):
        cpu.samples[n % RING] = type(cpu.samples[0])(OTHER if n % 4 else HEAD)
    cpu.sampled = type(cpu.sampled)(RING * 3 + 10)
    assert jit.collect() == RING * 3 + 10
    assert jit.samples(HEAD) == 3 * RING // 4
    cpu.sampled = type(cpu.sampled)(RING * 3 + 12)
    assert jit.collect() == 2
    assert jit.samples(HEAD) + jit.samples(OTHER) == 3 * RING + 2


LARGE = "start: li t0, 1000\nli a0, 0\nhead: addi t0, t0, -1\n" + "addi a0, a0, 1\n" * 20 + """
    andi t1, t0, 255
    beqz t1, rare
on: bnez t0, head
    ecall
rare:
""" + "addi a1, a1, 1\n" * 600 + "j on\n"  # fmt: skip


def test_of_a_large_function_only_what_is_hot_is_compiled() -> None:
    guest = RegionsGuest(64)
    places = guest.load(LARGE)
    assert guest.go(100_000).cause is not None
    jit = Jit(guest.engine)
    head, rare = places["head"], places["rare"]
    for samples, hot in ((0, True), (HOT, False)):
        jit.heat.clear()
        jit.heat.update({head: samples})
        jit.price = 0 if samples == 0 else PRICE
        jit.heat[places["on"]] = PRICE * 100 if samples else 0
        jit.prepare()
        region = Jit.choose(jit, head, lambda at: int.from_bytes(guest.read(at, 4), "little"))
        assert region is not None and (rare in region.nodes) == hot


def test_regions_that_come_and_go_need_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 regions, one after the other at one place, in an arena for a few hundred; meanwhile the guest runs in them."""
    guest = RegionsGuest(64)
    jit = guest.jit
    made: list[tuple[Any, Image]] = []
    install = jit.install

    def noted(region: Any, image: Image, generation: tuple[int, int]) -> bool:
        made.append((region, image))
        return install(region, image, generation)

    monkeypatch.setattr(jit, "install", noted)
    guest.map(DATA, PAGE, "rw")
    text = "li t0, 200\nhead: lw a1, 0(s0)\naddi a1, a1, 1\nsw a1, 0(s0)\naddi t0, t0, -1\nbnez t0, head\necall"
    head = guest.load(text)["head"]
    guest.x[8] = DATA
    assert guest.go() == Stop(ECALL)
    jit.prepare()
    assert jit.compile(head)
    monkeypatch.undo()
    jit.arena.size = 1 << 16
    jit.vcpus[1] = guest.vcpu, int(guest.vcpu.cpu.sampled)
    (region, image), rounds = made[0], 1
    for n in range(10_000):
        assert jit.install(region, image, (jit.generation, 0))
        if n % 50 == 0:
            guest.pc = CODE
            assert guest.go() == Stop(ECALL) and jit.compiled(head)
            rounds += 1
            assert int.from_bytes(guest.read(DATA, 4), "little") == 200 * rounds
    assert jit.arena.used <= 1 << 16 and sum(map(len, jit.by_page.values())) < 1 << 10
    assert jit.statistics.dropped > 9_000
    guest.map(DATA, PAGE, "")  # the fault map is that of the newest
    guest.pc = CODE
    assert guest.go().cause is not None and guest.pc == head


def test_room_is_made_when_every_cpu_has_left_the_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = RegionsGuest(64)
    guest.load("1: addi a0, a0, 1\nj 1b")
    jit = guest.jit
    jit.vcpus[1] = guest.vcpu, 0
    thread = CpuThread(guest, guest.vcpu)
    thread.start()
    while not guest.vcpu.running:
        time.sleep(0.001)
    before = int(guest.vcpu.cpu.sampled)
    assert jit.make_room() and int(guest.vcpu.cpu.sampled) > before
    guest.vcpu.kick()
    thread.join()
    guest.vcpu.running = True  # a CPU that gets no time
    monkeypatch.setattr("tinamou.engine.jit.PATIENCE", 0.01)
    assert not jit.make_room()


def test_time_that_is_spread_out_loads_no_compiler_soon(jit: Jit) -> None:
    jit.first = 10 * HOT
    for n in range(100):
        jit.seen(HEAD + 16 * n, HOT)
    assert jit.hottest() is None  # 5 times as much, but a hundredth at each place
    jit.seen(OTHER + (1 << 16), 20 * HOT)
    assert jit.hottest() == OTHER + (1 << 16)
