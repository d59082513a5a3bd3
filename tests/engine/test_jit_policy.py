"""What tier 1 looks at, and when: samples of this run and of those before it."""

from __future__ import annotations

import contextlib
import sys
import time
from functools import partial

import pytest
from engine_harness import CODE, DATA, ECALL, PAGE, CpuThread, InterpreterGuest, RegionsGuest, Stop

from tinamou.engine.codecache import Kept
from tinamou.engine.jit import DEARER, ENTERED, FRESH, HOT, LEAST, PRICE, RING, SPAN, SWITCH, Jit, Obliging

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
    assert jit.samples(HEAD) + jit.samples(OTHER) == 3 * RING + 12


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


@pytest.mark.parametrize(("before", "together"), [(100, True), (1, False)])
def test_what_leads_to_a_loop_and_is_hot_as_well_is_compiled_with_it(before: int, together: bool) -> None:
    guest = RegionsGuest(64)
    places = guest.load("li t0, 1000\nfirst: addi t0, t0, -1\nbnez t0, first\nli t0, 1000\nsecond: addi t0, t0, -1\nbnez t0, second\necall")
    assert guest.go() == Stop(ECALL)
    jit = guest.jit
    jit.prepare()
    jit.heat.update({places["first"]: before * HOT, places["second"]: 100 * HOT})
    region = Jit.choose(jit, places["second"], lambda at: int.from_bytes(guest.read(at, 4), "little"))
    assert region is not None and region.entries == [places["first"]] * together + [places["second"]]
    assert jit.samples(places["second"]) == 0 and (jit.samples(places["first"]) == 0) == together


def test_regions_that_come_and_go_need_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 regions, one after the other at one place, in an arena for a few hundred; meanwhile the guest runs in them."""
    guest = RegionsGuest(64)
    jit = guest.jit
    made: list[Kept] = []
    install = jit.install

    def noted(region: Kept, generation: tuple[int, int]) -> bool:
        made.append(region)
        return install(region, generation)

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
    region, rounds = made[0], 1
    for n in range(10_000):
        assert jit.install(region, (jit.generation, 0))
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


INTERPRETER = """
    li t0, {rounds}
    li a0, 1
next: andi t1, t0, 3
    slli t1, t1, 3
    add t1, t1, s1
    ld t1, 0(t1)
    addi t0, t0, -1
    bltz t0, done
    jr t1
zero: addi a0, a0, 5
    j next
one: slli a1, a0, 1
    add a0, a0, a1
    j next
two: xori a0, a0, 0x155
    addi a0, a0, 1
    j next
three: srli a0, a0, 1
    addi a0, a0, 6
    j next
done: ecall
"""


def interpreting(guest: InterpreterGuest) -> tuple[int, list[int]]:
    """INTERPRETER has run: the address of its loop, and the targets of its table."""
    places = guest.load(INTERPRETER.format(rounds=1000))
    labels = [places[name] for name in ("zero", "one", "two", "three")]
    guest.map(DATA, PAGE, "rw")
    guest.write(DATA, b"".join(at.to_bytes(8, "little") for at in labels))
    guest.x[9] = DATA
    assert guest.go() == Stop(ECALL)
    return places["next"], labels


def test_computed_jumps_stay_in_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets of a jump through a table are places where slices have ended."""
    results = []
    for guest in (RegionsGuest(64), InterpreterGuest(64)):
        head, labels = interpreting(guest)
        if isinstance(guest, RegionsGuest):
            jit = guest.jit
            jit.heat.update(dict.fromkeys([head, *labels], HOT))
            jit.price = 0
            monkeypatch.setattr(jit, "choose", partial(Jit.choose, jit))
            jit.prepare()
            assert jit.compile(head) and all(jit.compiled(at) for at in labels)
            monkeypatch.setattr(jit, "compile", lambda pc: False)
        guest.pc = CODE
        assert guest.go() == Stop(ECALL)
        results.append([int(guest.x[n]) for n in range(1, 32)] + [guest.count])
    assert results[0] == results[1] and jit.counts_of(0)[0] == 1


def test_targets_of_computed_jumps_at_which_no_slice_has_ended_are_found_by_their_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = RegionsGuest(64)
    head, labels = interpreting(guest)
    guest.pc = CODE
    assert guest.go() == Stop(ECALL)
    jit = guest.jit
    assert jit.visited(head, labels[3]) == sorted({head, *filter(jit.traced, labels)}) and jit.traced(labels[1])
    assert jit.visited(labels[1], labels[1]) == [labels[1]] and not jit.visited(head + SPAN, head + 2 * SPAN)
    jit.heat.update({head: HOT, labels[3]: HOT})
    jit.price = 0
    monkeypatch.setattr(jit, "choose", partial(Jit.choose, jit))
    jit.prepare()
    assert jit.compile(head) and [jit.compiled(at) for at in labels] == [True] * 4


def test_cpus_that_stay_in_regions_are_looked_at_rarely(jit: Jit, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = InterpreterGuest(64)
    cpu = guest.vcpu.cpu
    jit.vcpus[1] = guest.vcpu, 0
    for n in range(RING):
        cpu.samples[n] = type(cpu.samples[0])(HEAD)
    for inside, looks in ((False, True), (True, False)):
        monkeypatch.setattr(jit.arena, "holds", lambda handler, inside=inside: inside)
        cpu.sampled = type(cpu.sampled)(cpu.sampled + 1000)
        assert jit.collect() == 1000 and jit.hopeful == looks


def test_the_interpreter_lock_is_handed_over_soon_while_a_thread_compiles() -> None:
    usual, obliging = sys.getswitchinterval(), Obliging()
    assert usual > 10 * SWITCH
    with obliging:
        with obliging:
            pass
        assert sys.getswitchinterval() == pytest.approx(SWITCH)
    assert sys.getswitchinterval() == usual


def test_a_region_that_is_not_finished_is_dearer_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a short program would begin with it in every run."""
    guest = RegionsGuest(64)
    head = guest.load("li t0, 100\nhead: addi t0, t0, -1\nbnez t0, head\necall")["head"]
    assert guest.go() == Stop(ECALL)
    jit = guest.jit
    monkeypatch.setattr(jit, "choose", partial(Jit.choose, jit))
    jit.prepare()
    jit.heat[head] = 100 * HOT

    class Ended(Exception):
        """The process ends while this compiles."""

    class Endless:
        triple = "x86_64-unknown-linux-gnu"

        def compile(self, text: str) -> bytes:
            raise Ended

    made = jit.compiler
    for compiler, wanted in ((Endless(), DEARER * 100 * HOT), (made, None)):
        jit.__dict__["compiler"] = compiler
        with contextlib.suppress(Ended):
            jit.compile(head)
        assert jit.wanted.get(head) == wanted
        jit.heat[head] = 100 * HOT
    assert jit.compiled(head)


def test_regions_that_are_left_at_once_are_given_up() -> None:
    guest = RegionsGuest(64)
    jit = guest.jit
    text = "li t0, {rounds}\nhead: jal ra, function\naddi t0, t0, -1\nbnez t0, head\necall\nfunction: ret"
    head = guest.load(text.format(rounds=100))["head"]
    assert guest.go() == Stop(ECALL)
    jit.prepare()
    jit.price = PRICE
    assert jit.compile(head)
    region = jit.by_page[head >> 12][0]
    for entered, executed, useless in ((ENTERED - 1, 0, 0), (ENTERED, ENTERED, 1)):
        region.counts[:] = entered, executed, 0
        jit.judge()
        assert jit.statistics.useless == useless and jit.compiled(head) == (not useless)
    jit.seen(head, 1000 * HOT)
    assert jit.hottest() is None
    guest.pc = CODE
    assert guest.go(1000) == Stop(ECALL)


@pytest.mark.parametrize("lasting", [True, False])
def test_where_accesses_may_begin_to_leave_regions_they_are_judged_again(lasting: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = RegionsGuest(64)
    head = guest.load("li t0, 100\nhead: addi t0, t0, -1\nbnez t0, head\necall")["head"]
    assert guest.go() == Stop(ECALL)
    jit = guest.jit
    jit.prepare()
    jit.price = PRICE
    monkeypatch.setattr(jit.engine, "lasting", lasting)
    assert jit.compile(head)
    region = jit.by_page[head >> 12][0]
    region.counts[:] = ENTERED, ENTERED * LEAST, 0
    jit.judge()
    assert jit.compiled(head)
    region.counts[:] = 2 * ENTERED, ENTERED * LEAST + ENTERED, 0
    jit.judge()
    assert jit.compiled(head) == lasting


def test_a_region_that_lacks_targets_of_its_jumps_is_made_anew_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = RegionsGuest(64)
    head, labels = interpreting(guest)
    jit = guest.jit
    jit.price = PRICE
    monkeypatch.setattr(jit, "choose", partial(Jit.choose, jit))
    jit.heat.update(dict.fromkeys([head, *labels[:2]], 100 * HOT))
    jit.prepare()
    assert jit.compile(head)
    for more, useless in ((True, 0), (False, 1)):
        (region,) = jit.judged.values()
        region.counts[:] = ENTERED, ENTERED, labels[2]
        jit.judge()
        assert jit.statistics.useless == useless and not jit.compiled(head)
        guest.pc = CODE
        assert guest.go(1000) == Stop(ECALL)
        jit.seen(head, 1)
        pc = jit.hottest()
        assert (pc is None) == (not more)
        if pc is not None:
            assert jit.compile(pc)
            assert [jit.compiled(at) for at in labels] == [True, True, True, False]
    guest.pc = CODE
    assert guest.go(1000) == Stop(ECALL)


def test_a_loop_that_is_decoded_with_a_trace_before_it_has_one_of_its_own() -> None:
    """The trace of `again` goes on behind the branch, which is always taken while it is made."""
    guest = InterpreterGuest(64)
    nops = "nop; " * 40
    places = guest.load(f"""
        li s1, 20; li t0, 1000; li a0, 0
        again: addi a1, a1, 1; bnez s1, skip
        {nops}
        loop: addi a0, a0, 1; addi t0, t0, -1; bnez t0, loop
        ecall
        skip: addi s1, s1, -1; j again
    """)
    assert guest.go(1_000_000) == Stop(ECALL) and int(guest.x[10]) == 1000
    jit = Jit(guest.engine)
    assert jit.traced(places["again"]) and jit.traced(places["loop"])
    jit.close()


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
