"""The trigger module: tselect, tdata1, tdata2, and the breakpoint exceptions before fetches, loads and stores."""

from __future__ import annotations

import pytest
from system_harness import RAM, Guest

from tinamou.native.types import u64

M, S, U, FETCH, STORE, LOAD = 1 << 6, 1 << 4, 1 << 3, 4, 2, 1
AT_LEAST, BELOW = 2 << 7, 3 << 7
DATA = RAM + 0x8000
HANDLER = """
    la t0, handler; csrw mtvec, t0; li s0, 0; li s10, {data}; csrsi mstatus, 8
    {body}
    wfi
    .balign 4
    handler: addi s0, s0, 1; csrr s1, mcause; csrr s2, mtval; csrr s3, mepc; addi t6, s3, 4; csrw mepc, t6; mret
"""


@pytest.fixture(params=["golden", "compiled", "regions"])
def engine(request):
    return request.param


@pytest.fixture(params=[32, 64], ids=["rv32", "rv64"])
def xlen(request):
    return request.param


@pytest.fixture
def guest(engine, xlen):
    guest = Guest(engine, xlen)
    yield guest
    guest.close()


def control(xlen, bits):
    return 2 << xlen - 4 | bits


def run(guest, body):
    """The labels; s0 counts the exceptions, s1 to s3 are the last one's cause, value and address."""
    return guest.run(HANDLER.format(body=body, data=DATA))


def arm(xlen, bits, address="s10"):
    return f"csrw tselect, zero; csrw tdata2, {address}; li t1, {control(xlen, bits)}; csrw tdata1, t1"


def test_registers(guest, xlen):
    everything = (1 << xlen) - 1
    run(
        guest,
        f"li t1, 1; csrw tselect, t1; csrr a0, tselect; li t1, 2; csrw tselect, t1; csrr a1, tselect; csrr a2, tdata1; csrr a3, tinfo;"
        f"li t1, {control(xlen, 0xFFF)}; csrw tdata1, t1; csrr a4, tdata1; li t1, {everything}; csrw tdata1, t1; csrr a5, tdata1;"
        f"csrw tdata2, t1; csrr a6, tdata2; csrw tselect, zero; csrr a7, tdata2",
    )
    assert (guest.x("a0"), guest.x("a1"), guest.x("a3")) == (1, 1, 4)
    assert guest.x("a2") == guest.x("a5") == control(xlen, 0)
    assert guest.x("a4") == control(xlen, M | S | U | FETCH | STORE | LOAD)  # match 15 does not exist
    assert (guest.x("a6"), guest.x("a7")) == (everything, 0)
    assert guest.x("s0") == 0


@pytest.mark.parametrize(
    ("bits", "access", "hits"),
    [
        (LOAD, "lw a0, 0(s10)", True),
        (LOAD, "lb a0, 0(s10)", True),
        (LOAD, "lw a0, -2(s10)", True),  # one of its bytes
        (LOAD, "lw a0, 4(s10)", False),
        (LOAD, "lb a0, 1(s10)", False),
        (LOAD, "sw a0, 0(s10)", False),
        (STORE, "sw a0, 0(s10)", True),
        (STORE, "lw a0, 0(s10)", False),
        (STORE, "amoadd.w a0, a0, (s10)", True),
        (LOAD, "amoadd.w a0, a0, (s10)", True),
        (LOAD | AT_LEAST, "lw a0, 64(s10)", True),
        (LOAD | AT_LEAST, "lw a0, -64(s10)", False),
        (STORE | BELOW, "sw a0, -64(s10)", True),
        (STORE | BELOW, "sw a0, 64(s10)", False),
    ],
)
def test_loads_and_stores(guest, xlen, bits, access, hits):
    guest.put(DATA, 7, 4)
    warm = "lw a1, 0(s10); sw a1, 0(s10)"  # both translations are remembered
    labels = run(guest, f"li a0, 99; {warm}; {arm(xlen, M | bits)}; at: {access}; csrw tdata1, zero; lw a2, 0(s10)")
    assert guest.x("s0") == hits
    if hits:
        assert (guest.x("s1"), guest.x("s3"), guest.x("a0"), guest.word(DATA, 4)) == (3, labels["at"], 99, 7)
        assert guest.x("s2") in (DATA, DATA - 2, DATA + 64, DATA - 64)


def test_a_fetch(guest, xlen):
    labels = run(guest, f"la t2, at; {arm(xlen, M | FETCH, 't2')}; li a0, 1; at: li a0, 2; li a1, 3; lw a2, 0(t2)")
    assert (guest.x("s0"), guest.x("a0"), guest.x("a1")) == (1, 1, 3)
    assert (guest.x("s1"), guest.x("s2"), guest.x("s3")) == (3, labels["at"], labels["at"])


def test_a_fetch_in_a_hot_loop(guest, xlen):
    """The loop has been running for a while when the trigger is set; then it goes away again."""
    run(
        guest,
        f"li s4, 3; li s5, 0; la t2, at; "
        f"again: li a0, 300; loop: addi a0, a0, -1; at: addi s5, s5, 1; bnez a0, loop; addi s4, s4, -1;"
        f"beqz s4, out; li t1, 2; bne s4, t1, off; {arm(xlen, M | FETCH, 't2')}; j again; off: csrw tdata1, zero; j again; out: nop",
    )
    assert (guest.x("s0"), guest.x("s5")) == (300, 600)


def test_two_triggers(guest, xlen):
    run(guest, f"{arm(xlen, M | LOAD)}; li t1, 1; csrw tselect, t1; addi t2, s10, 64; csrw tdata2, t2; li t1, {control(xlen, M | STORE)};"
               "csrw tdata1, t1; lw a0, 0(s10); sw a0, 64(s10); sw a0, 0(s10); lw a0, 64(s10)")  # fmt: skip
    assert guest.x("s0") == 2


def test_not_while_interrupts_are_off(guest, xlen):
    run(guest, f"csrci mstatus, 8; {arm(xlen, M | LOAD)}; lw a0, 0(s10); csrsi mstatus, 8; lw a0, 0(s10)")
    assert guest.x("s0") == 1


@pytest.mark.parametrize(("mode", "hits"), [(U, 1), (S, 0), (M, 0)])
def test_modes(guest, xlen, mode, hits):
    """A load in user mode; the handler then sees an ECALL."""
    run(
        guest,
        f"""li t1, -1; csrw pmpaddr0, t1; li t1, 31; csrw pmpcfg0, t1; {arm(xlen, mode | LOAD)}
            la t1, user; csrw mepc, t1; li t1, 0x1800; csrc mstatus, t1; la t1, leave; csrw mtvec, t1; mret
            .balign 4
            leave: csrr t1, mcause; li t2, 3; beq t1, t2, count; wfi
            count: addi s0, s0, 1; csrr t1, mepc; addi t1, t1, 4; csrw mepc, t1; mret
            user: lw a0, 0(s10); ecall""",
    )
    assert guest.x("s0") == hits


def test_without(engine, xlen):
    guest = Guest(engine, xlen, debug="off")
    try:
        run(guest, "csrr a0, tselect")
        assert guest.x("s1") == 2
    finally:
        guest.close()


def test_other_harts_do_not_stop(xlen):
    guest = Guest("compiled", xlen, cpus=2)
    try:
        run(guest, arm(xlen, M | LOAD))
        assert int(guest.hart.triggers) == LOAD
        assert int(guest.engine.vcpus[1].cpu.triggers) == 0
    finally:
        guest.close()


def test_a_snapshot_keeps_them(xlen):
    guest = Guest("compiled", xlen)
    try:
        run(guest, arm(xlen, M | LOAD))
        saved = guest.cpu.save()
        guest.machine.reset("cold")
        assert int(guest.hart.triggers) == 0
        guest.cpu.load(saved)
        assert int(guest.hart.triggers) == LOAD
        guest.hart.pc = u64(RAM)
        run(guest, "lw a0, 0(s10)")
        assert guest.x("s0") == 1
    finally:
        guest.close()
