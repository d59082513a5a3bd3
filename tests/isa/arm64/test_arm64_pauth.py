"""Pointer authentication: QARMA's published vector, and what codes do to pointers."""

from __future__ import annotations

from arm64_harness import CODE, Engine, GoldenEngine, State, place
from hypothesis import given
from hypothesis import strategies as st

from tinamou.isa.arm64 import isa
from tinamou.isa.arm64.ext_pauth import compute_pac, shuffled, tweaked, untweaked
from tinamou.native.types import u64

words = st.integers(0, (1 << 64) - 1).map(u64)


def test_published_vector() -> None:
    """R. Avanzi, The QARMA Block Cipher Family, appendix: QARMA-64 with sigma 2 and five rounds."""
    key1, key0 = u64(0xEC28_02D4_E0A4_88E9), u64(0x84BE_85CE_9804_E94B)
    assert compute_pac(u64(0xFB62_3599_DA6E_8127), u64(0x477D_469D_EC0B_8762), key1, key0) == 0xC003_B939_99B3_3765


@given(words)
def test_shuffles_are_undone(x: u64) -> None:
    assert shuffled(shuffled(x, False), True) == x
    assert untweaked(tweaked(x)) == x


def run(engine: Engine, name: str, state: State, **fields: int) -> State:
    place(state, isa().by_name[name].encode(**fields).to_bytes(4, "little"))
    outcome = engine.run(state)
    assert outcome.exception is None
    return outcome.state


def test_sign_and_authenticate() -> None:
    engine = GoldenEngine()
    for n in range(10):
        engine.core.keys[n] = u64(0x0123_4567_89AB_CDEF * (n + 1) & (1 << 64) - 1)
    pointer, modifier = 0x0000_7FFF_1234_5678, 42
    state = State(x=[pointer, modifier] + [0] * 29)
    for key in ("ia", "ib", "da", "db"):
        signed = run(engine, f"pac.pac{key}", State(x=list(state.x)), Rd=0, Rn=1)
        assert signed.x[0] & ~(0x7F << 48) == pointer
        assert run(engine, f"pac.aut{key}", State(x=list(signed.x)), Rd=0, Rn=1).x[0] == pointer
        assert run(engine, "xpaci", State(x=list(signed.x)), Rd=0).x[0] == pointer
        signed.x[0] ^= 1 << 50
        wrong = run(engine, f"pac.aut{key}", State(x=list(signed.x)), Rd=0, Rn=1).x[0]
        assert wrong == pointer | (2 if key[1] == "b" else 1) << 53
    engine.core.pac_enabled = type(engine.core.pac_enabled)(0)
    assert run(engine, "pac.pacia", State(x=list(state.x)), Rd=0, Rn=1).x[0] == pointer


def test_hints_use_the_link_register() -> None:
    engine = GoldenEngine()
    state = State(x=[0] * 30 + [CODE], sp=0x7FFF_0000)
    signed = run(engine, "pac30sp.pacia", state)
    again = State(x=list(signed.x), sp=signed.sp)
    assert run(engine, "pac30sp.autia", again).x[30] == CODE
