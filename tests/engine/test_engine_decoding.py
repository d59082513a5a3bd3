"""The generated decoder, and how entries are shared, both in CPython."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tinamou.engine import decoder, predecode
from tinamou.engine.cpu import PAGE, Cpu, Shared
from tinamou.engine.patterns import Imm, Reg
from tinamou.isa.riscv import isa
from tinamou.isa.riscv.architecture import RV32, RV64
from tinamou.isa.riscv.models import MODELS
from tinamou.native.memory import peek, poke
from tinamou.native.types import Word, u32, u64

ARCHITECTURES = {32: RV32, 64: RV64}


@pytest.fixture(scope="module", params=[64, 32], ids=["rv64", "rv32"])
def decoding(request: pytest.FixtureRequest) -> Any:
    arch = ARCHITECTURES[request.param]
    forms = decoder.forms(arch)
    enabled = MODELS[request.param, "max"].extensions
    by_number = {f.number: f for f in forms} | {f.near: f for f in forms if f.near}
    decode = decoder.decoder(arch, forms, lambda cpu, extension: extension in enabled)
    return request.param, forms, by_number, decode


def operand(entry: int, slot: Any) -> int:
    value: Word = peek(slot.type, u64(entry + slot.offset))
    return int(value)


def test_operands(decoding: Any) -> None:
    """For every row: the number of its form, and each operand as the row itself reads it from the word."""
    xlen, forms, by_number, decode = decoding
    room = ctypes.create_string_buffer(32)
    entry = ctypes.addressof(room)
    r = random.Random(xlen)
    special: dict[str, list[Any]] = {}
    for i in isa(xlen).insns:
        for name in i.over:
            special.setdefault(name, []).append(i)
    for form in forms:
        insn = form.insn
        found = 0
        while found < 20:
            word = r.getrandbits(insn.width) & ~insn.mask | insn.value
            if not insn.matches(word) or any(i.matches(word) for i in special.get(insn.name, ())):
                continue
            found += 1
            offset = r.randrange(0, PAGE, 2)
            rest = r.getrandbits(32 - insn.width) << insn.width if insn.width < 32 else 0
            for near in (0, 1):
                room.raw = b"\xaa" * 32
                number = int(decode(None, u64(entry), u32(word | rest), u64(offset), u64(near)))
                assert by_number[number] is form
                for op, slot in form.operands + form.results:
                    if slot is None:
                        continue
                    expected = insn.number(word, op)
                    if isinstance(op.kind, Reg) and (op, slot) in form.results and op.kind.zero == expected:
                        expected = len(getattr(RV64.cpu(), op.kind.file)) - 1
                    if op.name == form.relative:
                        inside = bool(near) and 0 <= offset + expected < PAGE
                        assert number == (form.near if inside else form.number)
                        expected <<= ARCHITECTURES[xlen].shift if inside else 0
                    assert operand(entry, slot) == expected, (insn.name, op.name)
                    if isinstance(op.kind, Reg):
                        assert expected < 256
                assert room.raw[:8] == b"\xaa" * 8 and room.raw[16:] == b"\xaa" * 16


def test_no_instruction(decoding: Any) -> None:
    """Whatever word: the decoder agrees with the rows, and writes to nothing but the entry."""
    xlen, _, by_number, decode = decoding
    room = ctypes.create_string_buffer(48)
    entry = ctypes.addressof(room) + 16
    enabled = MODELS[xlen, "max"].extensions
    r = random.Random(5)
    illegal = 0
    for _ in range(8000):
        word = r.getrandbits(32)
        room.raw = b"\x77" * 48
        number = int(decode(None, u64(entry), u32(word), u64(r.randrange(0, PAGE, 2)), u64(1)))
        width = 32 if word & 3 == 3 else 16
        rows = (i for i in isa(xlen).ordered if i.width == width and i.extension in enabled)
        found = next((i for i in rows if i.matches(word & (1 << width) - 1)), None)
        assert (by_number[number].insn if number else None) is found, hex(word)
        illegal += number == 0
        assert room.raw[:24] == b"\x77" * 24 and room.raw[32:] == b"\x77" * 16
    assert 500 < illegal < 7500


def test_slots_do_not_overlap(decoding: Any) -> None:
    for form in decoding[1]:
        taken: list[int] = []
        for op, slot in form.operands + form.results:
            if slot is not None:
                assert slot.offset % slot.type.size == 0 and 8 <= slot.offset <= 16 - slot.type.size
                taken += range(slot.offset, slot.offset + slot.type.size)
                if isinstance(op.kind, Imm):
                    assert slot.type.signed == op.kind.signed or op.name == form.relative
        assert len(taken) == len(set(taken)), form.insn.name


def test_any_register_number_stays_in_the_cpu() -> None:
    """Operands of 8 bits that belong to another instruction: what they reach is the structure and the memory kept free behind it."""
    for arch in ARCHITECTURES.values():
        cpu = arch.cpu()
        for form in decoder.forms(arch):
            for op, slot in form.operands + form.results:
                if slot is not None and isinstance(op.kind, Reg):
                    field = type(cpu).fields[op.kind.file]
                    end = field.offset + 256 * field.layout.stride
                    assert end <= type(cpu).size + type(cpu).spare
                    assert all(type(cpu).fields[n].offset < field.offset for n in Cpu.fields), "the engine's own fields come first"


# -- sharing an entry


class Interleaving:
    """One entry and its code, and what else happens at a given access to memory."""

    SYMBOLS = {name: u64(0x1000 * (k + 1)) for k, name in enumerate(("h_decode", "h_busy", "h_stale", "h_straddle", "h_cross", "h_warm"))}

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = ctypes.create_string_buffer(2 * PAGE + 64)
        self.code = ctypes.addressof(self.room) + 64 & -16
        self.entries = ctypes.create_string_buffer(PAGE * 16)
        self.entry = ctypes.addressof(self.entries)
        self.cpu, self.shared = Cpu(), Shared()
        self.cpu.shared = u64(self.shared.address)
        self.at = -1
        self.then: Callable[[], None] = lambda: None
        self.count = 0
        for n in range(64):
            poke(u64, u64(self.entry + 16 * n), self.SYMBOLS["h_decode"])
        real = {n: getattr(predecode, n) for n in ("peek", "poke_release", "compare_exchange", "peek_acquire")}

        def watched(name: str) -> Callable[..., Any]:
            def access(*args: Any) -> Any:
                self.count += 1
                if self.count == self.at:
                    self.at = -1
                    self.then()
                return real[name](*args)

            return access

        for name in real:
            monkeypatch.setattr(predecode, name, watched(name))
        monkeypatch.setattr(predecode, "symbol", lambda name: self.SYMBOLS[name])
        monkeypatch.setattr(predecode, "handler_of", lambda number: u64(0x10_0000 + int(number)))
        monkeypatch.setattr(predecode, "ends_of", lambda number: False)
        monkeypatch.setattr(predecode, "length", lambda word: u64(4))
        monkeypatch.setattr(predecode, "shift", lambda: 3)
        monkeypatch.setattr(predecode, "code_address", lambda cpu, pc: u64(self.code))
        monkeypatch.setattr(predecode, "page_end", lambda cpu: u64(4096))
        monkeypatch.setattr(predecode, "AHEAD", 3)
        monkeypatch.setattr(predecode, "decode", self.decode)

    def decode(self, cpu: Any, entry: u64, word: u32, offset: u64, near: u64) -> u32:
        """Operands and form are the instruction itself."""
        predecode.peek(u32, u64(self.code))  # a place for something to happen
        poke(u32, entry + 8, word)
        predecode.peek(u32, u64(self.code))
        return word

    def state(self, n: int = 0) -> tuple[str | int, int]:
        handler = int(peek(u64, u64(self.entry + 16 * n)))
        name = next((k for k, v in self.SYMBOLS.items() if int(v) == handler), None)
        return name or handler - 0x10_0000, int(peek(u32, u64(self.entry + 16 * n + 8)))

    def write(self, *words: int) -> None:
        for k, w in enumerate(words):
            poke(u32, u64(self.code + 4 * k), u32(w))

    def run(self) -> None:
        predecode.predecode(self.cpu, u64(self.entry), u64(0))


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Interleaving]:
    yield Interleaving(monkeypatch)


def places(shared: Interleaving) -> int:
    """How many accesses one undisturbed run makes."""
    shared.write(5, 6, 7)
    shared.run()
    assert [shared.state(2 * n) for n in range(3)] == [(5, 5), (6, 6), (7, 7)]
    return shared.count


def test_code_changes_while_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a change and its undo() come between: afterwards no entry stands for the old code."""
    for place in range(1, places(Interleaving(monkeypatch)) + 1):
        shared = Interleaving(monkeypatch)
        shared.write(5, 6, 7)
        shared.at = place

        def change(shared: Interleaving = shared) -> None:
            shared.write(15, 16, 17)
            for n in range(6):
                predecode.undo(u64(shared.entry + 16 * n))

        shared.then = change
        shared.run()
        for n in range(3):
            assert shared.state(2 * n)[0] in ("h_decode", 15 + n), (place, n)
        shared.run()
        for n in range(3):
            assert shared.state(2 * n) in ((15 + n, 15 + n), ("h_decode", shared.state(2 * n)[1]))


def test_two_decode_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another CPU decodes in between, the same code or, after an undo(), other code: operands are always those of the handler."""
    for changed in (False, True):
        for place in range(1, places(Interleaving(monkeypatch)) + 1):
            shared = Interleaving(monkeypatch)
            shared.write(5, 6, 7)
            shared.at = place

            def other(shared: Interleaving = shared, changed: bool = changed) -> None:
                if changed:
                    shared.write(15, 16, 17)
                    for n in range(6):
                        predecode.undo(u64(shared.entry + 16 * n))
                shared.run()
                for n in range(3):
                    handler, operands = shared.state(2 * n)
                    if isinstance(handler, int):
                        assert handler == operands

            shared.then = other
            shared.run()
            for n in range(3):
                handler, operands = shared.state(2 * n)
                assert handler == "h_decode" or handler == operands == (15 if changed else 5) + n, (place, n)
                assert handler not in ("h_busy", "h_stale")


def test_undo_waits_for_nobody(shared: Interleaving) -> None:
    """What an entry is after it was undone, from each state."""
    for before, after in (("h_decode", "h_decode"), ("h_busy", "h_stale"), ("h_stale", "h_stale"), ("h_straddle", "h_decode")):
        poke(u64, u64(shared.entry), shared.SYMBOLS[before])
        predecode.undo(u64(shared.entry))
        assert shared.state()[0] == after
    poke(u64, u64(shared.entry), u64(0x10_0005))
    predecode.undo(u64(shared.entry))
    assert shared.state()[0] == "h_decode"


def test_end_of_page(shared: Interleaving) -> None:
    """An instruction that goes on in the next page has an entry of its own kind; nothing behind it is touched."""
    predecode.predecode(shared.cpu, u64(shared.entry), u64(PAGE - 2))
    assert shared.state()[0] == "h_straddle" and shared.state(1)[0] == "h_decode"
