"""Named CPUs."""

from __future__ import annotations

import pytest

from tinamou.isa.riscv import isa
from tinamou.isa.riscv.models import MODELS, extensions


def test_the_names() -> None:
    rv32 = {"any", "lowrisc-ibex", "max", "rv32", "sifive-e31", "sifive-e34", "sifive-u34"}
    rv64 = {"any", "max", "rv64", "sifive-e51", "sifive-u54"}
    assert {n for x, n in MODELS if x == 32} == rv32
    assert {n for x, n in MODELS if x == 64} == rv64


@pytest.mark.parametrize(
    ("xlen", "name", "letters"),
    [(32, "sifive-e31", "acimu"), (32, "sifive-e34", "acfimu"), (32, "lowrisc-ibex", "cimu"), (64, "rv64", "acdfimsu")],
)
def test_misa(xlen: int, name: str, letters: str) -> None:
    misa = int(MODELS[xlen, name].hart().misa)
    assert misa >> xlen - 2 == xlen // 32
    assert "".join(chr(97 + n) for n in range(26) if misa >> n & 1) == letters


def test_max_has_every_row() -> None:
    for xlen in (32, 64):
        assert {i.extension for i in isa(xlen).insns} <= MODELS[xlen, "max"].extensions


def test_models_lack_what_they_lack() -> None:
    rows = isa(32)
    fadd, lr, c_fld = (rows.by_name[n].value for n in ("fadd.s", "lr.w", "c.fld"))
    assert rows.decode(fadd, MODELS[32, "sifive-e34"].extensions) is rows.by_name["fadd.s"]
    assert rows.decode(fadd, MODELS[32, "sifive-e31"].extensions) is None
    assert rows.decode(lr, MODELS[32, "lowrisc-ibex"].extensions) is None
    assert rows.decode(c_fld, MODELS[32, "sifive-e34"].extensions) is None
    assert rows.decode(c_fld, MODELS[32, "sifive-u34"].extensions) is rows.by_name["c.fld"]


def test_isa_strings() -> None:
    assert extensions("gc") == extensions("imafdc") == {*"imafdc", "zicsr", "zifencei", "zcf", "zcd"}
    assert extensions("i_zba_zbs") == {"i", "zba", "zbs", "zicsr", "zifencei"}
    for text, reason in (("iq", "'q' is not known"), ("i_zfoo", "'zfoo' is not known"), ("mac", "starts with i"), ("id", "d needs f")):
        with pytest.raises(ValueError, match=reason):
            extensions(text)
