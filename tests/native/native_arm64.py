"""Objects for 64-bit Arm: compiled here, linked, and run by an emulator where one is installed."""

import functools
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding as binding
from native_harness import SLOT, argument_types, read, result_types, wrapper

from tinamou.native import llvm
from tinamou.native.link import Image, link
from tinamou.native.lower import Hooks, Unit

TRIPLE = "aarch64-unknown-linux-gnu"
BASE = 0x40_0000  # of the linked image
DATA = 0x1000_0000  # arguments, then results
CODE, TABLE = 0x2000_0000, 0x3000_0000  # what calls the functions; their addresses
EMULATOR = shutil.which("qemu-aarch64")


@functools.cache
def machine(opt: int) -> Any:
    llvm.triple()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple(TRIPLE)
    return target.create_target_machine(cpu="generic", features="+lse", opt=opt, reloc="pic", codemodel="small")


def compile_object(text: str, opt: int = 2) -> bytes:
    """An object for Arm from LLVM IR."""
    module = binding.parse_assembly(text)
    module.verify()
    m = machine(opt)
    builder = binding.create_pass_builder(m, binding.create_pipeline_tuning_options(speed_level=opt))
    builder.getModulePassManager().run(module, builder)
    obj: bytes = m.emit_object(module)
    return obj


def placed(image: Image, base: int, resolve: Callable[[str], int]) -> bytes:
    """The image's bytes for an address."""
    content = bytearray(image.content)
    for slot, offset in image.bases:
        struct.pack_into("<Q", content, slot, base + offset)
    for slot, name in image.imports:
        struct.pack_into("<Q", content, slot, resolve(name))
    return bytes(content)


def executable(content: bytes, code_size: int, start: int, more: list[tuple[int, int, bytes]]) -> bytes:
    """A static ELF program: an image for BASE, and further segments (flags, address, bytes)."""
    segments = [(5, BASE, content[:code_size]), (6, BASE + code_size, content[code_size:]), *more]
    at = 0x1000
    heads, body = b"", b""
    for flags, address, part in segments:
        heads += struct.pack("<IIQQQQQQ", 1, flags, at, address, address, len(part), len(part), 0x1000)
        padded = part + bytes(-len(part) % 0x1000)
        body, at = body + padded, at + len(padded)
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, start, 64, 0, 0, 64, 56, len(segments), 0, 0, 0)
    return (head + heads).ljust(0x1000, b"\0") + body


def execute(program: bytes, folder: Path) -> bytes:
    """What the program writes."""
    file = folder / "program"
    file.write_bytes(program)
    file.chmod(0o755)
    assert EMULATOR
    return subprocess.run([EMULATOR, str(file)], capture_output=True, check=True, timeout=120).stdout


# Instructions, without what a relocation fills in (Arm Architecture Reference Manual, C6.2).
B, BL, BEQ, BNE, RET, SVC = 0x1400_0000, 0x9400_0000, 0x5400_0000, 0x5400_0001, 0xD65F_03C0, 0xD400_0001


def cbz(t: int) -> int:
    return 0xB400_0000 | t


def adrp(d: int) -> int:
    return 0x9000_0000 | d


def add(d: int, n: int, imm: int = 0) -> int:
    return 0x9100_0000 | imm << 10 | n << 5 | d


def subs(d: int, n: int, imm: int) -> int:
    return 0xF100_0000 | imm << 10 | n << 5 | d


def twice(d: int, n: int) -> int:
    return 0x8B00_0000 | n << 16 | n << 5 | d


def ldr(t: int, n: int) -> int:
    return 0xF940_0000 | n << 5 | t


def ldr_w(t: int, n: int) -> int:
    return 0xB940_0000 | n << 5 | t


def ldrh(t: int, n: int) -> int:
    return 0x7940_0000 | n << 5 | t


def ldrb(t: int, n: int) -> int:
    return 0x3940_0000 | n << 5 | t


def ldr_q(t: int, n: int) -> int:
    return 0x3DC0_0000 | n << 5 | t


def ldr_next(t: int, n: int) -> int:
    return 0xF840_8400 | n << 5 | t


def str_(t: int, n: int, offset: int = 0) -> int:
    return 0xF900_0000 | offset // 8 << 10 | n << 5 | t


def mov(d: int, n: int) -> int:
    return 0xAA00_03E0 | n << 16 | d


def blr(n: int) -> int:
    return 0xD63F_0000 | n << 5


def number(d: int, value: int) -> list[int]:
    return [0xD280_0000 | (value & 0xFFFF) << 5 | d, 0xF2A0_0000 | (value >> 16) << 5 | d]


def words(*code: int | list[int]) -> bytes:
    flat = [w for c in code for w in (c if isinstance(c, list) else [c])]
    return struct.pack(f"<{len(flat)}I", *flat)


def back(branch: int, by: int) -> int:
    """A conditional branch `by` instructions back."""
    return branch | (-by & 0x7FFFF) << 5


def leave(buffer: int, size: int) -> bytes:
    """write(1, buffer, size), again for what is left; exit(0)."""
    loop = [*number(0, 1), *number(8, 64), SVC, 0x8B00_0021, 0xEB00_0042]  # add x1, x1, x0; subs x2, x2, x0
    return words(number(1, buffer), number(2, size), loop, back(BNE, len(loop)), number(0, 0), number(8, 93), SVC)


GIVEN = 8 * SLOT  # bytes of one set of arguments, and of results


class CrossPack:
    """Functions compiled for Arm; `run` gives what they return for some sets of arguments."""

    def __init__(self, functions: Sequence[Callable[..., Any]], opt: int = 2) -> None:
        self.functions, self.opt = list(functions), opt

    def run(self, sets: list[list[tuple[int, ...]]], folder: Path) -> list[list[tuple[Any, ...]]]:
        """`sets[k]`: the arguments for function k; equally many for each."""
        many = len(sets[0])
        data = bytearray(GIVEN * many * len(self.functions) * 2)
        results = DATA + len(data) // 2
        for k, (f, given) in enumerate(zip(self.functions, sets, strict=True)):
            for j, values in enumerate(given):
                for n, (t, v) in enumerate(zip(argument_types(f), values, strict=True)):
                    at = (k * many + j) * GIVEN + n * SLOT
                    size, mask = (1, 1) if t is bool else (t.size, t.mask)  # type: ignore[attr-defined]
                    data[at : at + size] = (v & mask).to_bytes(size, "little")
        unit = Unit(Hooks())
        symbols = [unit.export(wrapper(f), f"run_{k}") for k, f in enumerate(self.functions)]
        image = link(compile_object(unit.text(TRIPLE), self.opt))
        content = placed(image, BASE, lambda name: BASE + image.symbols[name])
        table = struct.pack(f"<{len(symbols)}Q", *(BASE + image.symbols[s] for s in symbols))
        inner = [mov(0, 20), mov(1, 21), blr(24), add(20, 20, GIVEN), add(21, 21, GIVEN), subs(23, 23, 1)]
        outer = [*number(23, many), ldr_next(24, 19), *inner, back(BNE, len(inner)), subs(22, 22, 1)]
        start = words(number(19, TABLE), number(20, DATA), number(21, results), number(22, len(symbols)), outer, back(BNE, len(outer)))
        start += leave(results, len(data) // 2)
        segments = [(5, CODE, start), (4, TABLE, table), (6, DATA, bytes(data))]
        out = execute(executable(content, image.code_size, CODE, segments), folder)
        found: list[list[tuple[Any, ...]]] = []
        for k, f in enumerate(self.functions):
            kinds = result_types(f)
            found.append([])
            for j in range(many):
                start = (k * many + j) * GIVEN
                found[-1].append(tuple(read(t, out[start + n * SLOT :]) for n, t in enumerate(kinds)))
        return found
