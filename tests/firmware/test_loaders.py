import bz2
import gzip
import lzma
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinamou.firmware.loaders import ImageError, elf, gunzip, intel_hex, linux_image, load, portable_size, read_file, uimage


def make_elf(bits, endian, segments, entry, symbols=(), machine=243):
    """Segments are (virtual, physical, bytes, memory size)."""
    e = "<" if endian == "little" else ">"
    wide = bits == 64
    header, ph, sh = (64, 56, 64) if wide else (52, 32, 40)
    body, rows = b"", []
    at = header + ph * len(segments)
    for virtual, physical, data, size in segments:
        rows.append(struct.pack(e + ("IIQQQQQQ" if wide else "IIIIIIII"), *(
            (1, 5, at + len(body), virtual, physical, len(data), size, 16) if wide else
            (1, at + len(body), virtual, physical, len(data), size, 5, 16))))
        body += data
    names, table = b"\0", b"\0" * (24 if wide else 16)
    for name, value in symbols:
        table += struct.pack(e + "IBBHQQ", len(names), 1, 0, 1, value, 0) if wide else \
            struct.pack(e + "IIIBBH", len(names), value, 0, 1, 0, 1)
        names += name.encode() + b"\0"
    table_at = at + len(body)
    names_at = table_at + len(table)
    sections_at = names_at + len(names)
    entsize = 24 if wide else 16
    fmt = e + ("IIQQQQIIQQ" if wide else "IIIIIIIIII")
    sections = struct.pack(fmt, *[0] * 10) + struct.pack(fmt, 0, 2, 0, 0, table_at, len(table), 2, 0, 8, entsize) \
        + struct.pack(fmt, 0, 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
    head = b"\x7fELF" + bytes([2 if wide else 1, 1 if endian == "little" else 2, 1]) + bytes(9)
    head += struct.pack(e + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"), 2, machine, 1, entry, header, sections_at, 5,
                        header, ph, len(segments), sh, 3, 2)
    return head + b"".join(rows) + body + table + names + sections


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_elf(bits, endian):
    data = make_elf(bits, endian, [(0x1000, 0x8000, b"code", 8), (0x3000, 0x9000, b"", 16)], 0x1002, [("tohost", 0x1234)])
    image = elf(data)
    assert [(s.address, s.data, s.size) for s in image.segments] == [(0x8000, b"code", 8), (0x9000, b"", 16)]
    assert (image.entry, image.symbols, image.bits, image.endian, image.machine, image.flags) == (
        0x8002, {"tohost": 0x1234}, bits, endian, "riscv", 5)
    assert (image.low, image.high) == (0x8000, 0x9010)
    assert elf(data, physical=False).entry == 0x1002
    assert elf(data, offset=0x100).segments[0].address == 0x8100
    assert load(data).kind == "elf"


@settings(deadline=None)
@given(st.data())
def test_damaged_elf_is_refused(data):
    raw = bytearray(make_elf(64, "little", [(0x1000, 0x1000, b"code" * 4, 32)], 0x1000, [("a", 1)]))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        elf(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    except ImageError:
        pass


HEX = b":020000040001F9\n:0400100001020304E2\n:0200140005" + b"06" + b"DF\n:04000005000100" + b"10E6\n:00000001FF\n"


def test_intel_hex():
    image = intel_hex(HEX)
    assert [(s.address, s.data) for s in image.segments] == [(0x10010, bytes([1, 2, 3, 4, 5, 6]))] and image.entry == 0x10010
    assert load(HEX).kind == "hex"
    for text, message in ((b":00000001FE\n", "checksum of line 1"), (b"garbage\n", "line 1 is no Intel HEX record"),
                          (b":0400100001020304E2\n", "end record is missing"), (b":00000009F7\n", "unknown record type 0x09")):
        with pytest.raises(ImageError, match=message):
            intel_hex(text)


def make_uimage(body, packed=0, load_at=0x8000, entry=0x8010, kind=2):
    head = struct.pack(">7I4B32s", 0x27051956, 0, 0, len(body), load_at, entry, zlib.crc32(body), 5, 26, kind, packed, b"Linux")
    return head[:4] + struct.pack(">I", zlib.crc32(head)) + head[8:] + body


def test_uimage():
    for packed, body in ((0, b"kernel"), (1, gzip.compress(b"kernel"))):
        image = uimage(make_uimage(body, packed))
        assert (image.segments[0].address, image.segments[0].data, image.entry, image.machine) == (
            0x8000, b"kernel", 0x8010, "riscv")
    good = bytearray(make_uimage(b"kernel"))
    for at, message in ((70 - 6, "data is wrong"), (20, "header is wrong")):
        bad = bytearray(good)
        bad[at] ^= 1
        with pytest.raises(ImageError, match=message):
            uimage(bytes(bad))
    with pytest.raises(ImageError, match="cut short"):
        uimage(bytes(good[:66]))
    with pytest.raises(ImageError, match="compression type 9"):
        uimage(make_uimage(b"x", 9))


@pytest.mark.parametrize("packed,pack", [(2, bz2.compress), (3, lambda data: lzma.compress(data, lzma.FORMAT_ALONE))])
def test_packed_uimages(packed, pack):
    body = pack(b"kernel" * 100)
    assert uimage(make_uimage(body, packed)).segments[0].data == b"kernel" * 100
    for bad in (body[:-20], b"\xff" * 40 + body, b""):
        with pytest.raises(ImageError, match="compressed data"):
            uimage(make_uimage(bad, packed))


def test_kernels_that_are_cut_short():
    """A PE header at 0x40 with an optional header of 8 bytes and sections that end at 0x300 and 0x500."""
    sections = b"".join(bytes(16) + struct.pack("<II", size, at) + bytes(16) for size, at in ((0x100, 0x200), (0x200, 0x300)))
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0" + struct.pack("<HH12xH", 0x5064, 2, 8).ljust(20, b"\0") + bytes(8)
    whole = (head + sections).ljust(0x500, b"\0")
    assert portable_size(whole) == 0x500
    assert all(portable_size(whole[:n]) > n for n in range(64, 0x500))
    assert portable_size(b"") == portable_size(whole[:60]) == portable_size(bytes(0x500)) == portable_size(b"MZ" + bytes(500)) == 0


def test_what_is_no_image_file(tmp_path):
    (tmp_path / "empty").touch()
    for path, why in ((tmp_path / "empty", "it is empty"), ("/dev/zero", "no regular file")):
        with pytest.raises(ImageError, match=why):
            read_file(path)
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(OSError):
            read_file(path)


def test_gzip_raw_and_linux_headers(tmp_path):
    assert load(gzip.compress(b"raw" * 10), 0x100).segments[0].data == b"raw" * 10
    with pytest.raises(ImageError, match="too long"):
        gunzip(gzip.compress(bytes(1000)), 100)
    with pytest.raises(ImageError, match="damaged"):
        gunzip(b"\x1f\x8b" + bytes(20))
    head = bytearray(64)
    head[8:32] = struct.pack("<QQQ", 0x200000, 0x1000, 0)
    head[56:60] = b"RSC\x05"
    assert linux_image(bytes(head)).image_size == 0x1000 and linux_image(bytes(64)) is None
    (tmp_path / "f").write_bytes(bytes(100))
    with pytest.raises(ImageError, match="more than 10"):
        read_file(tmp_path / "f", 10)
