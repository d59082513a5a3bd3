"""The linker: every relocation it knows, for both hosts, looked at and executed."""

import ctypes
import itertools
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import native_arm64 as arm
import pytest
from native_arm64 import BASE, EMULATOR, CrossPack, executable, execute, placed
from native_harness import argument_types, edges, elf_object
from program_writer import Writer
from test_native_functions import FUNCTIONS as WITH_FUNCTIONS
from test_native_statements import FUNCTIONS as STATEMENTS
from test_native_words import common, shifts, signed, unsigned

from tinamou.native import llvm
from tinamou.native.arena import Arena
from tinamou.native.image import Loaded, pack, unpack
from tinamou.native.link import AARCH64, PAGE, X86_64, LinkError, link
from tinamou.native.types import i8, i64, i128, u16, u32, u256

needs_emulator = pytest.mark.skipif(not EMULATOR, reason="qemu-aarch64 is not installed")

# -- this host


def native(text: str, opt: int = 2) -> Loaded:
    return Loaded(link(llvm.compile_object(f'target triple = "{llvm.triple()}"\n{text}', opt)))


def call(image: Loaded, name: str, *values: int) -> int:
    return image.function(name, ctypes.c_uint64, *[ctypes.c_uint64] * len(values))(*values)


def test_data() -> None:
    image = native("""
@constant = internal constant [4 x i64] [i64 3, i64 1, i64 4, i64 1]
@variable = internal global i64 5
@zeros = internal global [600 x i64] zeroinitializer
@text = internal constant [6 x i8] c"hello\\00"
@table = internal constant [3 x ptr] [ptr @text, ptr @one, ptr getelementptr (i8, ptr @zeros, i64 16)]
@seen = global i64 11
declare i64 @strlen(ptr)
define internal i64 @one() noinline { ret i64 1 }
define i64 @element(i64 %n) { %p = getelementptr [4 x i64], ptr @constant, i64 0, i64 %n
  %v = load i64, ptr %p
  ret i64 %v }
define i64 @count(i64 %by) { %a = load i64, ptr @variable
  %b = add i64 %a, %by
  store i64 %b, ptr @variable
  %p = getelementptr [600 x i64], ptr @zeros, i64 0, i64 %by
  store i64 %b, ptr %p
  %z = load i64, ptr getelementptr ([600 x i64], ptr @zeros, i64 0, i64 2)
  %c = add i64 %b, %z
  ret i64 %c }
define i64 @length() { %p = load ptr, ptr @table
  %n = call i64 @strlen(ptr %p)
  ret i64 %n }
define i64 @through(i64 %n) { %q = getelementptr [3 x ptr], ptr @table, i64 0, i64 %n
  %f = load volatile ptr, ptr %q
  %v = call i64 %f()
  ret i64 %v }
define i64 @exported() { %v = load i64, ptr @seen
  %w = add i64 %v, 1
  store i64 %w, ptr @seen
  ret i64 %v }
""")
    assert [call(image, "element", n) for n in range(4)] == [3, 1, 4, 1]
    assert [call(image, "count", n) for n in (1, 2, 3)] == [6, 8 + 8, 11 + 8]
    assert call(image, "length") == 5 and call(image, "through", 1) == 1
    assert [call(image, "exported") for _ in range(3)] == [11, 12, 13]
    assert ctypes.c_uint64.from_address(image["seen"]).value == 14


def test_switch_and_memory_functions() -> None:
    """Jump tables in read-only data; memcpy and memset by stubs."""
    arms = "".join(f"a{k}: ret i64 {k * k + 7}\n" for k in range(40))
    cases = " ".join(f"i64 {k}, label %a{k}" for k in range(40))
    image = native(f"""
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define i64 @square(i64 %n) {{ switch i64 %n, label %no [ {cases} ]
{arms}
no: ret i64 0 }}
define void @copy(ptr %to, ptr %from, i64 %n) {{ call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %n, i1 false)
  %e = getelementptr i8, ptr %to, i64 %n
  call void @llvm.memset.p0.i64(ptr %e, i8 7, i64 %n, i1 false)
  ret void }}
""")
    assert [call(image, "square", n) for n in range(42)] == [n * n + 7 for n in range(40)] + [0, 0]
    room = ctypes.create_string_buffer(b"abcdef", 32)
    call(image, "copy", ctypes.addressof(room) + 8, ctypes.addressof(room), 6)
    assert room.raw[8:22] == b"abcdef" + b"\7" * 6 + bytes(2)


def test_assembly_relocations() -> None:
    """R_X86_64_64, PC32, PLT32, GOTPCREL, GOTPCRELX, REX_GOTPCRELX, PC64, with addends, to both parts of the image."""
    if not llvm.triple().startswith("x86_64"):
        pytest.skip("for x86-64 hosts")
    image = native("".join(f'module asm "{line}"\n' for line in """
.text
.globl f, g, h, j, k
f: movq value+8(%rip), %rax
  ret
g: call f@PLT
  addq $1, %rax
  ret
h: movq other@GOTPCREL(%rip), %rax
  movq (%rax), %rax
  ret
j: leaq distance(%rip), %rdx
  movq (%rdx), %rax
  addq %rdx, %rax
  movq (%rax), %rax
  ret
k: movq pointer(%rip), %rax
  movslq short(%rip), %rcx
  movq (%rax), %rax
  addq %rcx, %rax
  pushq strlen@GOTPCREL(%rip)
  popq %rcx
  ret
.section .rodata
distance: .quad value - .
short: .long f - .
.data
.zero 70000
value: .quad 1, 42
pointer: .quad other + 8
.globl other
other: .quad 77, 99
""".strip().splitlines()))
    assert [call(image, name) for name in "fghj"] == [42, 43, 77, 1]
    short = call(image, "k") - 99
    assert ctypes.c_int64(short).value < 0


def test_alignment_and_parts() -> None:
    image = link(llvm.compile_object(f"""target triple = "{llvm.triple()}"
@a = constant i8 1
@b = constant i256 7, align 64
@c = global i8 3
@d = global i256 9, align 128
@e = global [100000 x i8] zeroinitializer, align 4096
define ptr @f() {{ ret ptr @d }}
"""))
    assert image.code_size % PAGE == 0 == len(image.content) % PAGE
    at = image.symbols
    assert at["b"] % 64 == 0 == at["d"] % 128 == at["e"] % 4096
    assert max(at["f"], at["a"], at["b"]) < image.code_size <= min(at["c"], at["d"], at["e"])
    assert image.content[at["b"]] == 7 and image.content[at["d"]] == 9 and len(image.content) > image.code_size + 100_000
    assert [unpack(pack(image)).symbols, unpack(pack(image)).content] == [image.symbols, image.content]


def test_code_is_not_writable() -> None:
    image = native("define i64 @f() { ret i64 7 }")
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(n, 16) for n in line.split()[0].split("-"))
        if start <= image["f"] < end:
            assert line.split()[1] == "r-xp"


def test_host_function_missing() -> None:
    with pytest.raises(AttributeError, match="no_such_function"):
        native("declare i64 @no_such_function()\ndefine i64 @f() { %a = call i64 @no_such_function()\n ret i64 %a }")


def test_what_is_not_linked() -> None:
    fine = elf_object(X86_64, {".text": (6, 4, bytes(4))}, [], [])
    for obj in (b"", b"MZ" + bytes(200), fine[:4] + b"\1" + fine[5:], fine[:5] + b"\2" + fine[6:]):
        with pytest.raises(LinkError, match="not a little-endian ELF64 object"):
            link(obj)
    tls = f'target triple = "{llvm.triple()}"\n@t = thread_local global i64 3\ndefine ptr @f() {{ ret ptr @t }}'
    with pytest.raises(LinkError, match=r"relocation type \d+ of |symbol .* is in no section"):
        link(llvm.compile_object(tls))
    common_symbol = f'target triple = "{llvm.triple()}"\n@t = common global i64 0\ndefine ptr @f() {{ ret ptr @t }}'
    with pytest.raises(LinkError, match="symbol t is in no section of the image"):
        link(llvm.compile_object(common_symbol))


FAULTY = """
define i64 @f(ptr %p, i64 %v) {
  %q = call ptr asm "", "=r,0,r"(ptr %p, i64 %v)
  %n = icmp eq ptr %q, null
  br i1 %n, label %bad, label %good, !make.implicit !0
good:
  store i64 %v, ptr %q
  ret i64 %v
bad:
  ret i64 222
}
define i64 @g(ptr %p) {
  %q = call ptr asm "", "=r,0"(ptr %p)
  %n = icmp eq ptr %q, null
  br i1 %n, label %bad, label %good, !make.implicit !0
good:
  %v = load i32, ptr %q
  %w = zext i32 %v to i64
  ret i64 %w
bad:
  ret i64 333
}
!0 = !{}
"""


def test_fault_maps() -> None:
    """Loads and stores that may fault, sorted, each with a place to continue in the same function."""
    image = native(FAULTY)
    assert len(image.faults) == 2 and image.faults == sorted(image.faults)
    ends = sorted([image["f"], image["g"], image.base + image.code_size])
    for at, then in image.faults:
        within = [(a, b) for a, b in itertools.pairwise(ends) if a <= at < b]
        assert within and within[0][0] <= then < within[0][1]
        assert at != then


def test_arena() -> None:
    """Many images one after the other; the code is not writable where it runs."""
    arena = Arena(1 << 20)
    obj = llvm.compile_object(f"""target triple = "{llvm.triple()}"
@k = internal constant [3 x i64] [i64 5, i64 6, i64 7]
declare i64 @strlen(ptr)
@text = internal constant [4 x i8] c"abc\\00"
@p = internal constant [1 x ptr] [ptr @text]
define i64 @f(i64 %n) {{ %q = getelementptr [3 x i64], ptr @k, i64 0, i64 %n
  %v = load i64, ptr %q
  %s = load volatile ptr, ptr @p
  %l = call i64 @strlen(ptr %s)
  %w = add i64 %v, %l
  ret i64 %w }}""")
    image = link(obj, 16)
    strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value or 0
    places = []
    while (at := arena.place(image, {"strlen": strlen}.__getitem__)) is not None:
        places.append(at)
    assert len(places) > 100 and all(p % 64 == 0 and arena.holds(p) for p in places) and not arena.holds(arena.base + arena.size)
    for at in places[::50]:
        f = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)(at + image.symbols["f"])
        assert [f(n) for n in range(3)] == [8, 9, 10]
    mine = {f"{arena.base:x}", f"{arena.writable:x}"}  # other tests have arenas too
    maps = [line.split()[1] for line in Path("/proc/self/maps").read_text().splitlines() if line.partition("-")[0] in mine]
    assert sorted(maps) == ["r-xs", "rw-s"]
    arena.close()


# -- 64-bit Arm


TEXT, READ, DATA = 6, 2, 3  # flags of sections
START = arm.words(
    arm.BL, arm.B, arm.BEQ, arm.cbz(3), arm.adrp(0), arm.add(1, 0), arm.ldr(2, 0), arm.ldr_w(3, 0), arm.ldrh(4, 0), arm.ldrb(5, 0),
    arm.ldr_q(6, 0), arm.adrp(7), arm.ldr(7, 7), arm.adrp(8), arm.add(8, 8), arm.BL,
)  # fmt: skip
PAGE_OF, ADD_LOW, LDST8, LDST16, LDST32, LDST64, LDST128, GOT_PAGE, GOT_LOW = 275, 277, 278, 284, 285, 286, 299, 311, 312
CONDBR19, JUMP26, CALL26, ABS64, PREL64, PREL32 = 280, 282, 283, 257, 260, 261


def arm_object(gap: int, gap2: int) -> bytes:
    """Every relocation that the linker knows, over distances."""
    ret = arm.words(arm.RET)
    sections = {
        ".text": (TEXT, 4, START + bytes(gap) + ret),
        ".text.b": (TEXT, 4, ret),
        ".rodata": (READ, 8, bytes(24)),
        ".data": (DATA, 16, bytes(gap2) + struct.pack("<QQQIB", 1, 2, 3, 4, 5)),
    }
    symbols: list[tuple[str, str | int, int]] = [
        ("start", ".text", 0), ("near", ".text", len(START) + gap), ("end", ".text.b", 0), ("quad", ".data", gap2), ("outside", 0, 0),
        ("ro", ".rodata", 0),
    ]  # fmt: skip
    at = [
        (CALL26, "near", 0), (JUMP26, "end", 0), (CONDBR19, "end", 0), (CONDBR19, "near", 0), (PAGE_OF, "quad", 16), (ADD_LOW, "quad", 16),
        (LDST64, "quad", 16), (LDST32, "quad", 24), (LDST16, "quad", 24), (LDST8, "quad", 28), (LDST128, "quad", 0), (GOT_PAGE, "quad", 0),
        (GOT_LOW, "quad", 0), (PAGE_OF, "start", 0), (ADD_LOW, "start", 0), (CALL26, "outside", 0),
    ]  # fmt: skip
    relocations = [(".text", 4 * k, kind, symbol, addend) for k, (kind, symbol, addend) in enumerate(at)]
    relocations += [(".rodata", 0, PREL64, "end", 0), (".rodata", 8, PREL32, "start", 0), (".rodata", 16, ABS64, "end", 4)]
    return elf_object(AARCH64, sections, symbols, relocations)


@pytest.mark.parametrize("gap", [0, 4, 4092, 70000])
@pytest.mark.parametrize("gap2", [0, 1 << 13, (1 << 21) + 16])
def test_arm_relocations(gap: int, gap2: int) -> None:
    image = link(arm_object(gap, gap2))
    code = placed(image, BASE, lambda name: 0xABCD)
    at = {n: BASE + a for n, a in image.symbols.items()}

    def word(n: int) -> tuple[int, int]:
        place = at["start"] + 4 * n
        return place, struct.unpack_from("<I", code, place - BASE)[0]

    def signed(value: int, bits: int) -> int:
        return (value ^ 1 << bits - 1) - (1 << bits - 1)

    def branch26(n: int) -> int:
        place, w = word(n)
        return place + signed(w & 0x3FF_FFFF, 26) * 4

    def branch19(n: int) -> int:
        place, w = word(n)
        return place + signed(w >> 5 & 0x7FFFF, 19) * 4

    def page(place: int, w: int) -> int:
        assert w >> 31 == 1 and w >> 24 & 31 == 16, "ADRP"
        return (place & ~0xFFF) + (signed((w >> 5 & 0x7FFFF) << 2 | w >> 29 & 3, 21) << 12)

    def low(n: int, scale: int) -> int:
        return (word(n)[1] >> 10 & 0xFFF) << scale

    assert branch26(0) == at["near"] and branch26(1) == branch19(2) == at["end"] and branch19(3) == at["near"]
    target = page(*word(4))
    assert target + low(5, 0) == target + low(6, 3) == at["quad"] + 16
    low12 = (at["quad"] + 24 & 0xFFF, at["quad"] + 28 & 0xFFF, at["quad"] & 0xFFF)
    assert (low(7, 2), low(9, 0), low(10, 4)) == low12 and low(8, 1) == low(7, 2)
    got = page(*word(11)) + low(12, 3)
    assert struct.unpack_from("<Q", code, got - BASE)[0] == at["quad"]
    assert page(*word(13)) + low(14, 0) == at["start"]
    stub = branch26(15)
    to_slot, from_slot, away = struct.unpack_from("<III", code, stub - BASE)
    assert (to_slot & 0x9F00_001F, from_slot & ~(0xFFF << 10), away) == (0x9000_0010, 0xF940_0211, 0xD61F_0220)
    slot = page(stub, to_slot) + ((from_slot >> 10 & 0xFFF) << 3)
    assert struct.unpack_from("<Q", code, slot - BASE)[0] == 0xABCD and slot >= BASE + image.code_size
    unchanged = [w & 0xFFC0_03FF for w in struct.unpack("<16I", START)]
    for n in (5, 6, 7, 8, 9, 10, 12, 14):
        assert word(n)[1] & 0xFFC0_03FF == unchanged[n]
    distance, short, address = struct.unpack_from("<qi4xQ", code, at["ro"] - BASE)
    assert (distance, short, address) == (at["end"] - at["ro"], at["start"] - at["ro"] - 8, at["end"] + 4)


@pytest.mark.parametrize("machine", [X86_64, AARCH64])
def test_unknown_relocations(machine: int) -> None:
    text = {".text": (TEXT, 4, bytes(8))}
    for kind in (3, 99, 279, 1000):
        with pytest.raises(LinkError, match=f"relocation type {kind} of {'x86-64' if machine == X86_64 else 'AArch64'}"):
            link(elf_object(machine, text, [("a", ".text", 0)], [(".text", 0, kind, "a", 0)]))
    for special in (0xFFF1, 0xFFF2):  # absolute and common symbols
        with pytest.raises(LinkError, match="symbol a is in no section of the image"):
            link(elf_object(machine, text, [("a", special, 0)], [(".text", 0, 257 if machine == AARCH64 else 1, "a", 0)]))


@needs_emulator
def test_arm_program(tmp_path: Path) -> None:
    """Calls into other sections, data of all sizes, the GOT, and imports through stubs, executed."""
    ret = arm.words(arm.RET)
    steps: list[tuple[int | list[int], int, str, int]] = [
        (arm.number(19, arm.DATA), 0, "", 0), (arm.number(0, 21), 0, "", 0), (arm.BL, CALL26, "external", 0), (arm.str_(0, 19), 0, "", 0),
        (arm.adrp(1), PAGE_OF, "value", 0), (arm.ldr_w(2, 1), LDST32, "value", 0), (arm.str_(2, 19, 8), 0, "", 0),
        (arm.adrp(3), GOT_PAGE, "value", 0), (arm.ldr(3, 3), GOT_LOW, "value", 0), (arm.add(3, 3, 4), 0, "", 0),
        (arm.ldrh(4, 3), 0, "", 0), (arm.str_(4, 19, 16), 0, "", 0), (arm.adrp(5), PAGE_OF, "pointer", 0),
        (arm.ldr(5, 5), LDST64, "pointer", 0), (arm.blr(5), 0, "", 0), (arm.str_(0, 19, 24), 0, "", 0),
        (arm.adrp(6), PAGE_OF, "value", 6), (arm.ldrb(7, 6), LDST8, "value", 6), (arm.str_(7, 19, 32), 0, "", 0),
        (arm.BL, CALL26, "near", 0),
    ]  # fmt: skip
    code, relocations = bytes(5000), []
    for step, kind, symbol, addend in steps:
        if kind:
            relocations.append((".text", len(code), kind, symbol, addend))
        code += arm.words(step)
    code += arm.leave(arm.DATA, 48)
    relocations.append((".data", 20016, ABS64, "double", 0))
    image = link(elf_object(AARCH64, {
        ".text": (TEXT, 4, code),
        ".text.other": (TEXT, 4, bytes(9000) + arm.words(arm.twice(0, 0)) + ret + arm.words(arm.str_(0, 19, 40)) + ret),
        ".data": (DATA, 8, bytes(20000) + struct.pack("<IHBxxQxQ", 0x12345, 0x678, 9, 0, 0)),
    }, [("start", ".text", 5000), ("double", ".text.other", 9000), ("near", ".text.other", 9008), ("value", ".data", 20000),
        ("pointer", ".data", 20016), ("external", 0, 0)], relocations))  # fmt: skip
    assert [name for _, name in image.imports] == ["external"]
    content = placed(image, BASE, lambda name: BASE + image.symbols["double"])
    out = execute(executable(content, image.code_size, BASE + image.symbols["start"], [(6, arm.DATA, bytes(4096))]), tmp_path)
    assert struct.unpack("<6Q", out) == (42, 0x12345, 0x678, 84, 9, 84)


def functions_for_arm() -> list[Callable[..., Any]]:
    found: list[Callable[..., Any]] = []
    for t in (i8, u16, u32, i64, i128, u256):
        found += common(t) + (signed(t) if t.signed else unsigned(t)) + shifts(t)
    uses_this_process = {"fields", "elements", "addresses", "evaluated_once", "comparison_evaluates_once", "logic_evaluates_in_order"}
    found += STATEMENTS + [f for f in WITH_FUNCTIONS if f.__name__ not in uses_this_process]
    return found + [Writer(seed).run for seed in range(7000, 7040)]


@needs_emulator
@pytest.mark.parametrize("opt", [2, 1])
def test_arm_functions(opt: int, tmp_path: Path) -> None:
    """The subset on Arm gives what it gives in CPython."""
    functions = functions_for_arm()
    r = random.Random(opt)

    def value(t: Any) -> int:
        if t is bool:
            return r.randrange(2)
        return r.choice(edges(t)) if r.random() < 0.7 else r.getrandbits(t.bits)

    sets = [[tuple(value(t) for t in argument_types(f)) for _ in range(8)] for f in functions]
    results = CrossPack(functions, opt).run(sets, tmp_path)
    for f, given, got in zip(functions, sets, results, strict=True):
        for values, result in zip(given, got, strict=True):
            words = [t(v) for t, v in zip(argument_types(f), values, strict=True)]
            try:
                expected = f(*words)
            except (ZeroDivisionError, UnboundLocalError):
                continue
            assert (expected if isinstance(expected, tuple) else (expected,)) == result, f"{f.__name__}{words}"


def test_arm_fault_maps() -> None:
    obj = arm.compile_object(f'target triple = "{arm.TRIPLE}"\n{FAULTY}')
    image = link(obj)
    assert len(image.faults) == 2
