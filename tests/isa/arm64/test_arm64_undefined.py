"""Which of the 2^32 encodings are instructions: a sample of all, and neighbours of every row, against the disassembler of binutils.

binutils knows later architectures than ARMv8.5 and the registers of every exception level: what it shows and the CPU lacks must be of a
list.  It is stricter where the manual says (0) and (1), and about loads of a pair into one register: that is a list, too.
"""

from __future__ import annotations

import ctypes
import random
import re
from pathlib import Path

import pytest
from arm64_harness import random_word

from support.debian import sysroot
from support.guests import run
from tinamou.engine import decoder
from tinamou.engine.patterns import Insn
from tinamou.isa.arm64 import isa
from tinamou.isa.arm64.architecture import ARM64
from tinamou.isa.arm64.models import MODELS
from tinamou.native.types import u32, u64

# Features that came after ARMv8.5, by mnemonic, and what EL0 may not execute.
LATER = re.compile(
    r"bc\.\w+|[su](min|max)|abs|cnt|ctz"  # FEAT_HBC, FEAT_CSSC
    r"|bf(dot|cvtn?2?|mlal[bt]|mmla)|(us|su)dot|(s|u|us)mmla"  # FEAT_BF16, FEAT_I8MM
    r"|tcancel|tcommit|tstart|ttest|ld64b|st64b(v0?)?|wfet|wfit"  # FEAT_TME, FEAT_LS64, FEAT_WFxT
    r"|cpyf?[pme]\w*|setg?[pme]\w*"  # FEAT_MOPS
    r"|smstart|smstop"  # FEAT_SME
    r"|ldgm|stgm|stzgm|rprfm|chkfeat|gcs\w+|ldiapp|stilp|rcw\w+|sysp|msrr|mrrs"
    r"|mrs|msr|sys|sysl|at|tlbi|dc|ic|cfp|dvp|cpp|xafl?ag|axflag|cfinv|trcit"  # system registers and operations
)
SVE, SME = 2, 0  # bits 28:25; the latter with bit 31


def later(word: int, text: str) -> bool:
    mnemonic = text.split()[0]
    group = word >> 25 & 15
    if group == SVE or (group == SME and word >> 31):
        return True
    if mnemonic in ("fmlal", "fmlal2", "fmlsl", "fmlsl2"):
        return bool(word >> 22 & 1)  # C7.2 "if sz == '1' then UNDEFINED": binutils does not look
    if mnemonic == "dsb":
        return word >> 8 & 3 == 2 and word >> 5 & 7 == 1  # FEAT_XS
    return bool(LATER.fullmatch(mnemonic))


def stricter(insn: Insn, word: int) -> bool:
    """Where binutils refuses what the manual leaves to implementations."""
    stem = insn.name.split(".")[0]
    t, n, t2 = word & 31, word >> 5 & 31, word >> 10 & 31
    should = {
        "addg": (0xC000, 0), "subg": (0xC000, 0),
        "ldar": (0x1F_7C00, 0x1F_7C00), "stlr": (0x1F_7C00, 0x1F_7C00), "ldlar": (0x1F_7C00, 0x1F_7C00), "stllr": (0x1F_7C00, 0x1F_7C00),
        "ldxr": (0x1F_7C00, 0x1F_7C00), "stxr": (0x7C00, 0x7C00), "ldxp": (0x1F_0000, 0x1F_0000),
    }.get(stem)  # fmt: skip
    if should and word & should[0] != should[1]:
        return True
    if stem.startswith(("ldp", "ldnp", "ldxp")) and t == t2:
        return True
    return stem.startswith(("ldp_", "stp_", "ldr_", "str_", "stgp_")) and n in (t, t2)  # written back over what is transferred


def sample(r: random.Random, each: int, group: int) -> list[int]:
    words = []
    for insn in isa().insns:
        for _ in range(each):
            word = r.getrandbits(32) & ~insn.mask | insn.value
            for _ in range(r.choice((0, 1, 1, 2))):
                word ^= 1 << r.randrange(32)
            words.append(word)
    return words + [r.getrandbits(32) & ~(15 << 25) | k << 25 for k in range(16) for _ in range(group)]


def rows(words: list[int]) -> list[Insn | None]:
    """What the generated decoder makes of each word, on a CPU that has everything."""
    forms = decoder.forms(ARM64)
    by_number = {f.number: f.insn for f in forms} | {f.near: f.insn for f in forms if f.near}
    decode = decoder.decoder(ARM64, forms, lambda cpu, extension: True)
    entry = ctypes.create_string_buffer(64)
    at = u64(ctypes.addressof(entry))
    return [by_number.get(int(decode(None, at, u32(w), u64(0), u64(0)))) for w in words]


def listing(words: list[int], path: Path) -> list[str]:
    path.write_bytes(b"".join(w.to_bytes(4, "little") for w in words))
    root = sysroot("arm64", "binutils")
    flags = ["-D", "-z", "-b", "binary", "-m", "aarch64", "--no-show-raw-insn", path]
    done = run(root / "usr/bin/objdump", *flags, arch="aarch64", options=["-L", str(root)])
    assert done.returncode == 0, done.stderr
    return re.findall(r"^\s*[0-9a-f]+:\t(.*)$", done.stdout, re.MULTILINE)


def check(words: list[int], path: Path) -> None:
    texts = listing(words, path)
    assert len(texts) == len(words)
    wrong = []
    for word, insn, text in zip(words, rows(words), texts, strict=True):
        known = not text.startswith(".inst") and "undefined" not in text
        if (known and insn is None and not later(word, text)) or (not known and insn is not None and not stricter(insn, word)):
            wrong.append(f"{word:#x}: {insn.name if insn else 'undefined'}; {text}")
    assert wrong == []


@pytest.mark.timeout(1500)
def test_encodings(tmp_path: Path) -> None:
    check(sample(random.Random(1), 4, 500), tmp_path / "words")


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", range(10))
def test_many_encodings(seed: int, tmp_path: Path) -> None:
    check(sample(random.Random(f"many {seed}"), 30, 20_000), tmp_path / "words")


@pytest.mark.parametrize("name", ["cortex-a53", "cortex-a72"])
def test_a_cpu_without_a_feature_knows_none_of_its_instructions(name: str) -> None:
    enabled = MODELS[name].extensions
    r = random.Random(name)
    for insn in isa().insns:
        if insn.extension not in enabled and r.randrange(4) == 0:
            word = random_word(r, insn)
            found = isa().decode(word, enabled)
            assert found is None or (found.name in insn.over or found.name == "hint"), f"{insn.name} {word:#x}: {found}"
