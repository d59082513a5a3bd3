"""Every row on random states: golden model, compiled interpreter and simavr give the same registers, SREG, memory and cycles."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import random

import pytest
from avr_engines import CompiledAvr, GoldenAvr, State, random_state, random_word

from support.simavr import Simavr
from support.told import AvrJit
from tinamou.engine.check import check
from tinamou.engine.cpu import Trap
from tinamou.engine.patterns import Insn
from tinamou.isa.avr import isa
from tinamou.isa.avr.architecture import architecture
from tinamou.isa.avr.models import FAMILIES, MODELS, Model

PARTS = ("ATmega168", "ATmega328P", "ATmega1280", "ATmega2560")
OTHERS = ("avr2", "avr25", "avr4", "avrtiny", "avrxmega2", "avrxmega3", "avrxmega6")
DEVICES = {"in", "out", "lds.io", "sts.io", "sbi", "cbi", "sbic", "sbis", "sleep", "wdr", "spm", "spm.z+", "break"}  # see test_avr_cpu.py
ROUNDS = 8


class SimavrPart:
    """simavr in place of an engine."""

    def __init__(self, part: Model, flash: bytearray) -> None:
        self.part, self.flash = part, flash
        self.simavr = Simavr({"ATmega328P": "ATmega328"}.get(part.name, part.name))
        self.t = self.simavr.t

    def run(self, state: State) -> State:
        t, part = self.t, self.part
        self.simavr.load(bytes(self.flash))
        at = ctypes.addressof(t.data.contents)
        ctypes.memmove(at, bytes(state.r), 32)
        ctypes.memmove(at + part.ram, state.sram, part.sram)
        t.sreg[:] = [state.sreg >> n & 1 for n in range(8)]
        t.data[0x5D], t.data[0x5E] = state.sp & 0xFF, state.sp >> 8
        if t.rampz:
            t.data[t.rampz] = state.rampz
        if t.eind:
            t.data[t.eind] = state.eind
        t.pc, before = state.pc, t.cycle
        self.simavr.one()
        sreg = sum(bool(t.sreg[n]) << n for n in range(8))
        sp, rampz = t.data[0x5D] | t.data[0x5E] << 8, t.data[t.rampz] if t.rampz else 0
        sram = ctypes.string_at(at + part.ram, part.sram)
        # simavr does not wrap the addresses of ret and jmp
        pc = t.pc & part.flash - 1
        return State(pc, t.data[:32], sreg, sp, rampz, t.data[t.eind] if t.eind else 0, sram, state.cycles + t.cycle - before)


@functools.cache
def engines(name: str) -> tuple[bytearray, GoldenAvr, CompiledAvr]:
    flash = bytearray(random.Random(name).randbytes(MODELS[name].flash))
    return flash, GoldenAvr(MODELS[name], flash), CompiledAvr(MODELS[name], flash)


@functools.cache
def oracle(name: str) -> SimavrPart:
    return SimavrPart(MODELS[name], engines(name)[0])


def defined(insn: Insn, word: int) -> bool:
    """The manual leaves the result of a load into its own pointer open, when that is changed too."""
    pointer = {"x": 26, "y": 28, "z": 30}.get(insn.name[-1] if "-" in insn.name else insn.name[-2:-1])
    if pointer is None or not insn.name.startswith(("ld.", "lpm", "elpm")) or ("+" not in insn.name and "-" not in insn.name):
        return True
    return insn.field(word, "d") not in (pointer, pointer + 1)


def cases(name: str, seed: int) -> list[tuple[Insn, int, State]]:
    part, r = MODELS[name], random.Random(seed)
    rows = isa(part.core, part.wide)
    out = []
    for insn in rows.insns:
        if insn.extension not in part.extensions or insn.name in DEVICES:
            continue
        for _ in range(ROUNDS):
            word = random_word(insn, rows, r)
            if insn.name in ("lds", "sts"):
                word = word & 0xFFFF | r.randrange(part.ram, part.ram + part.sram) << 16
            if defined(insn, word):
                out.append((insn, word, random_state(part, r)))
    return out


@pytest.mark.parametrize("name", PARTS + OTHERS)
def test_rows(name: str) -> None:
    part = MODELS[name]
    flash, golden, compiled = engines(name)
    simavr = oracle(name) if name in PARTS else None
    for insn, word, state in cases(name, 1):
        saved = bytes(flash[state.pc : state.pc + 4])
        flash[state.pc : state.pc + insn.size] = word.to_bytes(insn.size, "little")
        expected = golden.run(state)
        text = f"{isa(part.core, part.wide).disassemble(word, state.pc)} at {state.pc:#x}"
        assert compiled.run(state) == expected, text
        if simavr is not None:
            assert simavr.run(state) == expected, text
        flash[state.pc : state.pc + 4] = saved


@pytest.mark.parametrize("name", ["ATmega2560", "avrxmega2", "avrtiny"])
def test_rows_in_regions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row as a region of its own."""
    AvrJit.told(monkeypatch)
    monkeypatch.setattr(AvrJit, "limit", 1)
    part = MODELS[name]
    flash, golden, _ = engines(name)
    regions = CompiledAvr(part, flash)
    for insn, word, state in cases(name, 2)[::4]:
        saved = bytes(flash[state.pc : state.pc + 4])
        flash[state.pc : state.pc + insn.size] = word.to_bytes(insn.size, "little")
        expected = golden.run(state)
        regions.run(state)  # makes the entries
        assert regions.run_cycles(state, expected.cycles) == expected, isa(part.core, part.wide).disassemble(word, state.pc)
        flash[state.pc : state.pc + 4] = saved
    jit = regions.cpu.jit
    assert jit is not None and jit.statistics.regions > 150
    regions.engine.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_instructions_can_be_restarted(family: str) -> None:
    core, extensions = FAMILIES[family]
    assert list(check(architecture(core, "eijmp" in extensions))) == []


# AVR Instruction Set Manual, DS40002198B, tables 5-2 to 5-6: clocks of AVRe, AVRxm, AVRxt, AVRrc.  a/b: with 16 and 22 bits of program
# counter; of a condition: false and true.  AVRrc loads from program memory, and SPM, are left out.
CLOCKS = """
add adc sub subi sbc sbci and andi or ori eor com neg inc dec cp cpc cpi   1 1 1 1
adiw sbiw mul muls mulsu fmul fmuls fmulsu                                 2 2 2 -
des                                                                        - 2 - -
rjmp ijmp                                                                  2 2 2 2
eijmp                                                                      2 2 2 -
jmp                                                                        3 3 3 -
rcall icall                                                                3/4 2/3 2/3 3
eicall                                                                     4 3 3 -
call                                                                       4/5 3/4 3/4 -
ret reti                                                                   4/5 4/5 4/5 6
cpse sbrc sbrs                                                             1 1 1 1
sbic sbis                                                                  1 2 1 1
brcs breq brmi brvs brlt brhs brts brie brcc brne brpl brvc brge brhc brtc brid   1 1 1 1
mov ldi                                                                    1 1 1 1
movw                                                                       1 1 1 -
lds                                                                        2 3 3 -
lds.rc                                                                     - - - 2
ld.x ld.y ld.z                                                             2 2 2 1
ld.x+ ld.y+ ld.z+                                                          2 2 2 2
ld.-x ld.-y ld.-z                                                          2 3 2 2
ldd.y ldd.z                                                                2 3 2 -
sts                                                                        2 2 2 -
sts.rc                                                                     - - - 1
st.x st.x+ st.y st.y+ st.z st.z+                                           2 1 1 1
st.-x st.-y st.-z                                                          2 2 1 2
std.y std.z                                                                2 2 1 -
lpm lpm.z lpm.z+ elpm elpm.z elpm.z+                                       3 3 3 -
in out                                                                     1 1 1 1
push                                                                       2 1 1 1
pop                                                                        2 2 2 3
xch las lac lat                                                            - 2 - -
sbi cbi                                                                    2 1 1 1
lsr ror asr swap bst bld                                                   1 1 1 1
sec sez sen sev ses seh set sei clc clz cln clv cls clh clt cli            1 1 1 1
break nop sleep wdr                                                        1 1 1 1
"""
CORES = ("e", "xm", "xt", "rc")


def clocks() -> dict[str, list[str]]:
    out = {}
    for line in CLOCKS.split("\n"):
        words = line.split()
        out |= dict.fromkeys(words[:-4], words[-4:])
    return out


@pytest.mark.parametrize("core,wide", [("e", False), ("e", True), ("xm", False), ("xm", True), ("xt", False), ("rc", False)])
def test_cycles_of_the_cores(core: str, wide: bool) -> None:
    """The table of the manual, whole: as executed, loads from RAM."""
    enabled = frozenset().union(*(extensions for c, extensions in FAMILIES.values() if c == core))
    insns, table, n = isa(core, wide).insns, clocks(), CORES.index(core)
    known = {i.name for i in insns if i.extension in enabled}
    special = ("in.sreg", "in.spl", "in.sph", "out.sreg", "out.spl", "out.sph", "lds.io", "sts.io")
    over = {i.name: i.over[0] for i in insns if i.name in special}
    left_out = {"eijmp", "eicall", "elpm", "elpm.z", "elpm.z+"} if core == "xt" else set()  # no family here has them
    assert known - {"spm", "spm.z+"} - set(over) == {name for name, row in table.items() if row[n] != "-"} - left_out
    for i in insns:
        if i.extension not in enabled or i.name in ("spm", "spm.z+"):
            continue
        wanted = table[over.get(i.name, i.name)][n].split("/")
        more = (i.name.startswith(("ld.", "ldd.", "lds")) and core == "xm") or i.name == "des"
        assert i.cost + more == int(wanted[-1] if wide else wanted[0]), (core, wide, i.name)


def test_cycles_of_loads_on_xmega() -> None:
    """One less from I/O: note 3 of the tables.  DES behind DES takes one cycle."""
    flash, golden, compiled = engines("avrxmega2")
    rows, part = isa("xm").by_name, MODELS["avrxmega2"]
    at = {"ld.x": 26, "ld.y": 28, "ld.z": 30, "ld.x+": 26, "ld.-z": 30, "ldd.y": 28, "lds": 26}
    for name, pointer in at.items():
        for address, saved in ((0x0FF8, 1), (part.ram + 8, 0), (part.ram, 0)):
            state = random_state(part, random.Random(name))
            place = address + {"ld.-z": 1, "ldd.y": -1}.get(name, 0)
            state.r[pointer], state.r[pointer + 1] = place & 0xFF, place >> 8
            word = rows[name].value | 5 << 4 | (name == "ldd.y") | (address << 16 if name == "lds" else 0)
            kept, flash[state.pc : state.pc + 4] = flash[state.pc : state.pc + 4], word.to_bytes(4, "little")
            wanted = int(clocks()[name][1]) - saved
            assert golden.run(state).cycles == compiled.run(state).cycles == wanted, (name, hex(address))
            flash[state.pc : state.pc + 4] = kept
    state = random_state(part, random.Random(2))
    kept, flash[state.pc : state.pc + 32] = flash[state.pc : state.pc + 32], bytes(b for k in range(16) for b in (k << 4 | 0xB, 0x94))
    assert golden.run(state, 16).cycles == compiled.run(state, 16).cycles == 17
    flash[state.pc : state.pc + 32] = kept


@pytest.mark.parametrize("decrypt", [False, True])
def test_des(decrypt: bool) -> None:
    """Sixteen rounds are the cipher: FIPS 46-3's example and random blocks, against another implementation."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    flash, golden, compiled = engines("avrxmega2")
    part, r = MODELS["avrxmega2"], random.Random(8)
    blocks = [(bytes.fromhex("0123456789ABCDEF"), bytes.fromhex("133457799BBCDFF1"))]
    blocks += [(r.randbytes(8), r.randbytes(8)) for _ in range(20)]
    for n, (data, key) in enumerate(blocks):
        state = random_state(part, r)
        state.r[:16] = [*reversed(data), *reversed(key)]
        state.sreg = state.sreg & ~0x20 | decrypt << 5
        kept, flash[state.pc : state.pc + 32] = flash[state.pc : state.pc + 32], bytes(b for k in range(16) for b in (k << 4 | 0xB, 0x94))
        cipher = Cipher(TripleDES(key * 3), modes.ECB())
        way = cipher.decryptor() if decrypt else cipher.encryptor()
        wanted = way.update(data)
        after = [e.run(state, 16) for e in ((golden, compiled) if n < 3 else (compiled,))]
        for a in after:
            assert bytes(reversed(a.r[:8])) == wanted and bytes(reversed(a.r[8:16])) == key
        if n == 0 and not decrypt:
            assert wanted.hex() == "85e813540f0ab405"
        flash[state.pc : state.pc + 32] = kept


@pytest.mark.parametrize("jit", ["off", "eager"])
@pytest.mark.parametrize("name", ["ATmega168", "ATmega2560", "ATtiny25", "avr1"])
def test_random_programs(name: str, jit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some hundred instructions in one slice end where the golden model ends, in the same state and cycle."""
    monkeypatch.setenv("TINAMOU_JIT", jit)
    monkeypatch.setitem(MODELS, "ATtiny25", Model("ATtiny25", "avr25", 2048, 128, 0x60, 128, 15, b"\x1e\x91\x08"))
    part = MODELS[name]
    rows = isa(part.core, part.wide)
    without = DEVICES | {"in", "out", "reti", "sei", "out.sreg", "out.spl", "out.sph"}
    insns = [i for i in rows.insns if i.extension in part.extensions and i.name not in without]
    flash = bytearray(part.flash)
    golden, compiled = GoldenAvr(part, flash), CompiledAvr(part, flash)
    r = random.Random(7)
    at = 0
    while at < part.flash - 2:
        insn = r.choice([i for i in insns if at + i.size <= part.flash])
        word = random_word(insn, rows, r)
        if insn.name in ("lds", "sts"):
            word = word & 0xFFFF | r.randrange(part.ram, part.ram + part.sram) << 16
        flash[at : at + insn.size] = word.to_bytes(insn.size, "little")
        at += insn.size
    small, compared = part.flash < 4096, 0
    for n in range(60 if small else 6):
        state = random_state(part, r)
        if small and n & 1:
            state.pc = part.flash - 2 * r.randrange(1, 40)  # over the end of flash, in the middle of a page of entries
        with contextlib.suppress(Trap):  # the second half of an instruction may be none
            expected = golden.run(state, 300)
            assert compiled.run_cycles(state, expected.cycles) == expected
            compared += 1
    assert compared > (40 if small else 5)
