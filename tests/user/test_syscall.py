"""The framework of system calls: decoding, conversion, errors, strace; and the guide that explains it."""

from __future__ import annotations

import errno
import importlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import kernel_numbers
from support.guest_calls import ABIS, Guest
from tinamou.user import syscall
from tinamou.user.abi import Abi
from tinamou.user.host import HOST
from tinamou.user.layout import Struct, i8, i16, i64, layout_of, pointer, sigset, u32, u64
from tinamou.user.signals import SigInfo
from tinamou.user.structs import Timespec

GUIDE = Path(__file__).resolve().parents[2] / "docs/how-to/add-a-syscall.md"


class Example(Struct):
    small: i8
    wide: i64
    half: i16
    address: pointer
    when: Timespec


@pytest.mark.parametrize(
    ("name", "size", "offsets"),
    [
        ("generic64", 48, {"small": 0, "wide": 8, "half": 16, "address": 24, "when": 32}),
        ("generic32", 32, {"small": 0, "wide": 8, "half": 16, "address": 20, "when": 24}),
    ],
)
def test_layout(name: str, size: int, offsets: dict[str, int]) -> None:
    layout = layout_of(Example, ABIS[name])
    assert (layout.size, layout.offsets) == (size, offsets)


def test_wide_layout() -> None:
    assert layout_of(Timespec, ABIS["generic32"]).size == 8
    assert layout_of(Timespec, ABIS["generic32"], wide=True).size == 16


def test_alignment_of_i386() -> None:
    class I386(Abi):
        bits, max_align = 32, 4

    assert layout_of(Example, I386()).offsets == {"small": 0, "wide": 4, "half": 12, "address": 16, "when": 20}


def test_byte_order_and_defaults() -> None:
    little, big = (layout_of(Timespec, ABIS[name]) for name in ("generic64", "generic64be"))
    assert little.dump(Timespec(tv_sec=1)) == struct.pack("<qq", 1, 0)
    assert big.dump(Timespec(tv_nsec=-2)) == struct.pack(">qq", 0, -2)
    assert big.load(struct.pack(">qq", 3, 4)) == Timespec(tv_sec=3, tv_nsec=4)
    with pytest.raises(TypeError):
        Timespec(tv_usec=1)


@given(st.integers(0, 2**64 - 1))
def test_signal_sets(mask: int) -> None:
    for abi in ABIS.values():
        layout = layout_of(sigset, abi)
        data = layout.dump(mask)
        assert layout.load(data) == mask
        words = struct.unpack(f"{abi.order}{64 // abi.bits}{'Q' if abi.bits == 64 else 'I'}", data)
        assert bool(words[0] & 1) == bool(mask & 1)


@given(st.integers(-(2**70), 2**70))
def test_fields_are_cut_like_c(value: int) -> None:
    for kind, bits in ((i8, 8), (u32, 32), (i64, 64), (u64, 64)):
        layout = layout_of(kind, HOST)
        assert int.from_bytes(layout.dump(value), "little") == value % (1 << bits)


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize(
    "info",
    [
        SigInfo(10, 0, pid=5, uid=6),
        SigInfo(34, -1, pid=5, uid=6, value=0x12345678),
        SigInfo(11, 1, addr=0x1234, addr_lsb=0),
        SigInfo(17, 1, pid=7, uid=0, status=-3, utime=11, stime=12),
        SigInfo(29, 1, band=-5, fd=3),
        SigInfo(14, -2, timerid=1, overrun=2, value=3),
        SigInfo(31, 1, call_addr=4, syscall=5, arch=6),
    ],
)
def test_siginfo(abi: str, info: SigInfo) -> None:
    data = info.dump(ABIS[abi])
    again = SigInfo.load(ABIS[abi], data)
    assert len(data) == 128
    assert (again.signo, again.code, again.fields) == (info.signo, info.code, info.fields)


# ---- calls declared by the guide


@pytest.fixture(scope="module")
def examples() -> Iterator[dict[str, Any]]:
    """What the guide declares, for the time of these tests."""
    syscall.declared()
    before = dict(syscall._declared)
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL))
    module: dict[str, Any] = {"__name__": "guide"}
    import sys
    import types

    sys.modules["guide"] = found = types.ModuleType("guide")
    found.__dict__.update(module)
    exec(compile("from __future__ import annotations\n" + code, str(GUIDE), "exec"), found.__dict__)
    yield found.__dict__
    syscall._declared.clear()
    syscall._declared.update(before)
    del sys.modules["guide"]


@pytest.fixture(params=ABIS)
def guest(request: pytest.FixtureRequest, examples: dict[str, Any]) -> Iterator[Guest]:
    abi = ABIS[request.param]
    before = abi.numbers
    abi.numbers = before | {name: 5000 + n for n, name in enumerate(n for n in syscall._declared if n.startswith("example_"))}
    made = Guest(abi)
    yield made
    made.release()
    abi.numbers = before


def perform(guest: Guest, name: str, *registers: int) -> int:
    number = guest.abi.numbers[name]
    return guest.process.table.perform(guest.thread, number, (*registers, 0, 0, 0, 0, 0, 0)[:7])


def test_python_call(guest: Guest) -> None:
    numbers = guest.put(struct.pack(f"{guest.abi.order}4i", 1, 2, 3, -10))
    assert perform(guest, "example_sum", numbers, 3) == 6
    assert perform(guest, "example_sum", numbers, 4) == -4
    assert perform(guest, "example_sum", numbers, 5000) == -errno.EINVAL
    assert perform(guest, "example_sum", numbers, (1 << 32) - 1) == -errno.EINVAL
    assert perform(guest, "example_sum", 0x10, 1) == -errno.EFAULT
    assert perform(guest, "example_sum", 1 << 27, 1000) == -errno.EFAULT
    assert perform(guest, "example_sum", guest.abi.mask - 4, 4) == -errno.EFAULT


def test_unknown_calls_are_logged(guest: Guest) -> None:
    assert perform(guest, "example_read", 0, 0, 0) == -errno.ENOSYS  # the host has no such call
    assert guest.process.table.perform(guest.thread, 77777, (0,) * 7) == -errno.ENOSYS
    assert guest.logged == ["Unsupported syscall: 77777\n"]


def test_strace(guest: Guest) -> None:
    digits = guest.abi.bits // 4
    at = guest.put(layout_of(Timespec, guest.abi).dump(Timespec(tv_sec=5, tv_nsec=6)))
    name = guest.put(b"/tmp/x\0")

    def shown(call: str, *registers: int) -> str:
        return guest.process.table.show(guest.thread, guest.abi.numbers[call], (*registers, 0, 0, 0, 0, 0, 0)[:7])

    assert shown("example_sum", at, 7) == f"example_sum(0x{at:0{digits}x},7)"
    assert shown("example_time", name, at, 0) == 'example_time("/tmp/x",{tv_sec = 5,tv_usec = 6},NULL)'
    assert shown("example_time", 16, 16, 16) == f"example_time({', '.join([f'0x{16:0{digits}x}'] * 3)})".replace(", ", ",")
    assert shown("example_read", (1 << 32) - 1, 0, 3) == "example_read(-1,NULL,3)"


def test_results_as_text(guest: Guest) -> None:
    assert syscall.result_text(guest.thread, 3) == "3"
    assert syscall.result_text(guest.thread, -2) == "-1 errno=2 (No such file or directory)"
    assert syscall.result_text(guest.thread, 0xFFFF_F000) == f"0x{0xFFFFF000:0{guest.abi.bits // 4}x}"


def test_a_name_is_declared_once() -> None:
    syscall.declared()
    with pytest.raises(TypeError, match="system call read is declared in"):

        @syscall.syscall
        def read(fd: syscall.Fd) -> syscall.Result: ...

    with pytest.raises(TypeError, match="restart"):
        syscall.syscall(restart="perhaps")
    with pytest.raises(TypeError, match="is no kind of system call parameter"):
        syscall.kind_of(int)


def test_aligned_pairs() -> None:
    class Pairs(Abi):
        bits, aligned_pairs = 32, True

    def pread(fd: syscall.Fd, offset: syscall.Offset, count: syscall.Size) -> syscall.Result: ...

    def bound(abi: Abi) -> syscall.Call:
        return syscall.Call(syscall.Declaration(pread, "pread64", "sys", False), abi, HOST)

    little = Pairs()
    assert bound(little).raw((1, 99, 0x5, 0x2, 7, 0, 0)) == [1, 0x2_0000_0005, 7]
    big = Pairs()
    big.order = ">"
    assert bound(big).raw((1, 99, 0x2, 0x5, 7, 0, 0)) == [1, 0x2_0000_0005, 7]
    assert bound(ABIS["generic64"]).raw((1, 0x2_0000_0005, 7, 0, 0, 0, 0)) == [1, 0x2_0000_0005, 7]


@pytest.mark.parametrize("name", ["unified", "generic", *kernel_numbers.HEADERS])
def test_numbers_are_those_of_the_headers(name: str) -> None:
    assert (kernel_numbers.NUMBERS / f"{name}.py").read_text() == kernel_numbers.module(name)


@pytest.mark.parametrize("abi", kernel_numbers.HEADERS)
def test_numbers_of_each_architecture_are_whole(abi: str) -> None:
    assert importlib.import_module(f"tinamou.user.numbers.{abi}").NUMBERS == kernel_numbers.numbers(abi)


def test_every_call_can_be_bound() -> None:
    """Signatures are evaluated when a call is first used: do it for all of them, on all layouts."""
    for abi in ABIS.values():
        for declaration in syscall.declared().values():
            call = syscall.Call(declaration, abi, HOST)
            assert sum(kind.registers for kind in call.kinds) <= 7, call.name


