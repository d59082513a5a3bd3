import shutil
import struct
import subprocess

import pytest

from board_harness import IdleCpu
from tinamou.backends.chardev.base import MemoryChardev
from tinamou.firmware.fdt import Tree
from tinamou.machine import board, snapshot
from tinamou.machine.machine import Settings
from tinamou.machine.memory import MiB
from tinamou.machine.props import PropertyError


def make(name="virt", options=None, **settings):
    settings.setdefault("bios", "none")
    return board.find(name).make(Settings(**settings), options, cpu_factory=IdleCpu)


def test_memory_map():
    m = make()
    for base, name in ((0x1000, "riscv_virt_board.mrom"), (0x100000, "riscv.sifive.test"), (0x2000000, "riscv.sifive.clint"),
                       (0xC000000, "riscv.sifive.plic"), (0x10000000, "serial-mm"), (0x10008000, "virtio-mmio"),
                       (0x20000000, "virt.flash0"), (0x80000000, "riscv_virt_board.ram")):
        found = m.memory.find(base)
        assert found and (found.base, found.region.name) == (base, name)
    assert m.memory.read(0x1000_1000, 4) == 0x74726976 and m.memory.read(0x1000_1008, 4) == 0


def test_interrupts_reach_the_harts():
    host = MemoryChardev()
    m = make(cpus=2, serials=[host])
    plic = next(p.device for p in m.placed if p.device.type_name == "riscv.sifive.plic")
    assert plic.contexts == 4
    m.memory.write(0x0C00_0000 + 4 * 10, 1, 4)
    m.memory.write(0x0C00_2000 + 0x80 * 3, 1 << 10, 4)     # hart 1, S
    m.memory.write(0x1000_0001, 1, 1)
    host.deliver(b"x")
    assert m.cpus[1].line("seip").level and not m.cpus[1].line("meip").level and not m.cpus[0].line("seip").level
    m.memory.write(0x0200_0004, 1, 4)
    assert m.cpus[1].line("msip").level
    m.memory.write(0x0200_4000, 5, 8)
    m.time.advance(500)
    assert m.cpus[0].line("mtip").level


def test_reset_code_points_at_firmware_kernel_and_tree():
    m = make()
    code = m.memory.load(0x1000, 88)
    start, fdt, magic, version, kernel, mode, options, hart = struct.unpack_from("<8Q", code, 24)
    assert (start, magic, version, kernel, mode, options, hart) == (0x8000_0000, 0x4942534F, 2, 0, 1, 0, 0)
    assert m.memory.read(fdt, 4) == 0xEDFE0DD0
    tree = Tree.unpack(m.memory.load(fdt, int.from_bytes(m.memory.load(fdt + 4, 4), "big")))
    assert tree.find("/soc/serial").text("compatible") == "ns16550a"
    m.memory.store_rom(0x1000, b"junk")
    m.reset()
    assert m.memory.load(0x1000, 88) == code


def test_kernel_initrd_and_command_line(tmp_path):
    header = bytearray(8192)
    header[8:32] = struct.pack("<QQQ", 0x200000, 0x9000, 0)
    header[56:60] = b"RSC\x05"
    (tmp_path / "Image").write_bytes(header)
    (tmp_path / "initrd").write_bytes(b"rd" * 1000)
    m = make(kernel=str(tmp_path / "Image"), initrd=str(tmp_path / "initrd"), append="quiet", ram_size=64 * MiB)
    assert m.kernel_entry == 0x8000_0000 and m.memory.load(0x8000_0038, 4) == b"RSC\x05"
    chosen = m.fdt.find("/chosen")
    assert chosen.text("bootargs") == "quiet" and chosen.cells("linux,initrd-start") == [0, 0x8200_0000]
    assert chosen.cells("linux,initrd-end") == [0, 0x8200_0000 + 2000]
    assert m.memory.load(0x8200_0000, 4) == b"rdrd"


def test_what_users_get_wrong(tmp_path):
    big = tmp_path / "big"
    big.write_bytes(bytes(9 * MiB))
    x86 = tmp_path / "x86"
    x86.write_bytes(open("/bin/true", "rb").read())
    for settings, text in (
            ({"cpus": 513}, "Invalid SMP CPUs 513. The max CPUs supported by machine 'virt' is 512"),
            ({"kernel": "/nonexistent"}, "could not load kernel '/nonexistent'"),
            ({"kernel": str(big), "ram_size": 8 * MiB}, f"could not load '{big}': .* is not memory"),
            ({"kernel": str(x86)}, "is built for x86_64, this machine is riscv"),
            ({"append": "x"}, "-append only allowed with -kernel option"),
            ({"initrd": "x"}, "-initrd only allowed with -kernel option"),
            ({"bios": "/nonexistent"}, 'Unable to load the RISC-V firmware "/nonexistent"'),
            ({"dtb": str(big)}, "Couldn't open dtb file")):
        with pytest.raises(PropertyError, match=text):
            make(**settings)
    with pytest.raises(PropertyError, match="unsupported machine type") as e:
        make("virtt")
    assert "virt" in e.value.hint
    with pytest.raises(PropertyError, match=r"Property 'virt-machine.foo' not found"):
        make(options={"foo": "1"})
    with pytest.raises(PropertyError, match="max CPUs supported by machine 'spike' is 8"):
        make("spike", cpus=9)


def listing(tree):
    skip = {"rng-seed", "riscv,isa", "riscv,event-to-mhpmcounters"}
    out = {}
    for path, node in tree.root.walk():
        for key, value in node.props.items():
            if key not in skip:
                out[path, key] = value
    return out


@pytest.mark.skipif(not shutil.which("qemu-system-riscv64"), reason="compared with the original where it is installed")
@pytest.mark.parametrize("name,cpus", [("virt", 1), ("virt", 4), ("spike", 2)])
def test_device_tree_is_the_originals(tmp_path, name, cpus):
    dtb = tmp_path / "dtb"
    subprocess.run(["qemu-system-riscv64", "-M", f"{name},dumpdtb={dtb}", "-smp", str(cpus), "-m", "256M", "-bios", "none",
                    "-display", "none"], check=True, capture_output=True, timeout=30)
    theirs, ours = Tree.unpack(dtb.read_bytes()), make(name, cpus=cpus, ram_size=256 * MiB).fdt
    handles = [{n.cells("phandle")[0]: p for p, n in t.root.walk() if "phandle" in n} for t in (theirs, ours)]
    a, b = listing(theirs), listing(ours)

    def readable(table, handle, key):
        """Phandles are numbered in another order: compare what they name."""
        value = table.get(key)
        if value is not None and key[1] in ("interrupt-parent", "cpu", "regmap", "phandle"):
            return handle[int.from_bytes(value, "big")]
        if value is not None and key[1] in ("interrupts-extended", "interrupt-map"):
            cells = struct.unpack(f">{len(value) // 4}I", value)
            step, at = (2, 0) if key[1] == "interrupts-extended" else (6, 4)
            return [handle[c] if i % step == at else c for i, c in enumerate(cells)]
        return value

    known = {("/pmu", "compatible"), ("/platform-bus@4000000", "compatible")}   # parts this board does not have
    left = {k[0] for k in known}
    different = {k for k in a.keys() | b.keys() if k[0] not in left and readable(a, handles[0], k) != readable(b, handles[1], k)}
    assert different == set()


def test_snapshot_in_memory_and_in_a_file(tmp_path):
    m = make(ram_size=16 * MiB)
    m.memory.store(0x8000_0000, b"first")
    m.memory.write(0x1000_0007, 0x5A, 1)
    kept = snapshot.take(m)
    path = tmp_path / "snap"
    with open(path, "wb") as f:
        snapshot.write(m, f)
    assert path.stat().st_size < 200_000
    for restore in (lambda: snapshot.restore(m, kept), lambda: snapshot.read(m, open(path, "rb"))):
        m.memory.store(0x8000_0000, b"other")
        m.memory.store(0x8050_0000, b"more")
        m.memory.write(0x1000_0007, 0, 1)
        m.cpus[0].pc = 1
        restore()
        assert m.memory.load(0x8000_0000, 5) == b"first" and m.memory.load(0x8050_0000, 4) == bytes(4)
        assert m.memory.read(0x1000_0007, 1) == 0x5A and m.cpus[0].pc == 0x1000
    other = make("spike", ram_size=16 * MiB)
    with pytest.raises(snapshot.SnapshotError, match="is of machine 'virt'"):
        snapshot.restore(other, kept)
    kept.close()
    data = path.read_bytes()
    for damaged in (b"", b"x" * 100, data[:60], data[: len(data) // 2], data[:30] + b"\xff" * 8 + data[38:]):
        path.write_bytes(damaged)
        with pytest.raises(snapshot.SnapshotError):
            snapshot.read(make(ram_size=16 * MiB), open(path, "rb"))


def test_htif_console_and_exit():
    host = MemoryChardev()
    m = make("spike", serials=[host], ram_size=16 * MiB)
    seen = []
    m.on_request(lambda what, details: seen.append((what, details["code"])))
    fromhost, tohost = 0x0100_0000, 0x0100_0008
    m.memory.write(tohost, 0x0101_0000_0000_0041, 8)
    assert host.sent == b"A" and m.memory.read(fromhost, 8) == 0x0101_0000_0000_0141 and m.memory.read(tohost, 8) == 0
    m.memory.write(fromhost, 0, 8)
    m.memory.write(tohost, 0x0100_0000_0000_0000, 8)
    assert m.memory.read(fromhost, 8) == 0
    host.deliver(b"z")
    assert m.memory.read(fromhost, 8) == 0x0100_0000_0000_017A
    m.memory.write(tohost, 3 << 1 | 1, 4)
    m.memory.write(tohost + 4, 0, 4)
    assert seen == [("shutdown", 3)]
