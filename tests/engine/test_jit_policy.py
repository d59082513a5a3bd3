"""What tier 1 looks at, and when: samples of this run and of those before it."""

from __future__ import annotations

import pytest
from engine_harness import InterpreterGuest, RegionsGuest

from tinamou.engine.jit import FRESH, HOT, PRICE, RING, Jit

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
    jit = guest.engine.jit
    assert jit is not None
    head, rare = places["head"], places["rare"]
    for samples, hot in ((0, True), (HOT, False)):
        jit.heat.clear()
        jit.heat.update({head: samples})
        jit.price = 0 if samples == 0 else PRICE
        jit.heat[places["on"]] = PRICE * 100 if samples else 0
        jit.prepare()
        region = Jit.choose(jit, head, lambda at: int.from_bytes(guest.read(at, 4), "little"))
        assert region is not None and (rare in region.nodes) == hot
