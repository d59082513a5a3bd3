"""Named CPUs and their ID registers."""

from __future__ import annotations

import pytest

from tinamou.isa.arm64 import isa
from tinamou.isa.arm64.models import ISAR0, ISAR1, MIDR, MODELS, PFR0, PFR1
from tinamou.isa.arm64.privileged import EXTENSIONS


def test_every_feature_has_rows_and_every_row_a_cpu() -> None:
    """... or is something that a machine's core does otherwise (`privileged`)."""
    extensions = {i.extension for i in isa().insns}
    assert MODELS["max"].extensions == extensions | (set(EXTENSIONS) - {"cortex"})
    assert all(m.extensions <= extensions | set(EXTENSIONS) for m in MODELS.values())


def test_id_registers_of_the_manuals() -> None:
    for name, midr in (("cortex-a53", 0x410F_D034), ("cortex-a57", 0x411F_D070), ("cortex-a72", 0x410F_D083)):
        registers = MODELS[name].id_registers
        assert (registers[MIDR], registers[ISAR0], registers[PFR0]) == (midr, 0x0001_1120, 0x2222)
        assert ISAR1 not in registers
    assert MODELS["max"].id_registers[ISAR0] == 0x1021_1111_1021_2120
    assert MODELS["max"].id_registers[PFR1] == 0x0221


def test_reset_state() -> None:
    core = MODELS["cortex-a57"].core()
    assert (core.id[MIDR], core.ctr, core.dczid) == (0x411F_D070, 0x8444_C004, 4)


def test_properties() -> None:
    model = MODELS["max"].with_properties(pauth=False, mte=False, sve=False)
    assert MODELS["max"].extensions - model.extensions == {"pauth", "mte"}
    assert model.id_registers[ISAR1] & 0xFF0 == 0
    for name, properties, reason in (
        ("max", {"sve": True}, "no CPU here has sve"),
        ("cortex-a53", {"mte": True}, "CPU cortex-a53 has no mte"),
        ("max", {"pacs": True}, "CPU property 'pacs' is not known; known are pauth, mte, aes, sve"),
    ):
        with pytest.raises(ValueError, match=reason):
            MODELS[name].with_properties(**properties)
