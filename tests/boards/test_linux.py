"""Debian's kernel behind OpenSBI, with busybox in an initramfs: to a shell, and to a clean power-off."""

from __future__ import annotations

import hashlib
import re

import pytest

from support.debian import sysroot
from support.machines import initramfs, kernel, modules, opensbi, package
from tinamou import Machine

# The shell writes into the kernel's log: Debian's kernel has no driver for Spike's console, and sends its log there through the firmware.
LOGGED = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs devtmpfs /dev
exec > /dev/kmsg 2>&1
echo "READY $($b uname -rm), $($b nproc) CPUs"
$b sha256sum /bin/busybox
echo "a shell says $((6 * 7))"
for n in $($b seq 0 $(($($b nproc) - 1))); do
    $b taskset $((1 << n)) $b sh -c 'x=0; while [ $x -lt 200 ]; do x=$((x+1)); done; echo worked $x' &
done
wait
$b sleep 1
$b poweroff -f
"""

CONSOLE = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs devtmpfs /dev
exec < /dev/ttySIF0 > /dev/ttySIF0 2>&1
echo "READY $($b uname -rm)"
$b sha256sum /bin/busybox
$b --install -s /bin
exec $b sh -i
"""


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """Initramfs files by the script in them."""
    made = {}

    def make(*init):
        if init not in made:
            made[init] = tmp_path_factory.mktemp("disk") / "initramfs.gz"
            made[init].write_bytes(initramfs("riscv64", *init))
        return made[init]

    return make


def busybox_digest():
    return hashlib.sha256((sysroot("riscv64", "busybox-static") / "bin/busybox").read_bytes()).hexdigest()


def boot(board, cpus, disk, append, **more):
    return Machine(board, cpus=cpus, memory="512M", bios=opensbi(64), kernel=kernel("riscv64"), initrd=disk, append=append, **more)


def talk(m, cpus):
    """From the first message of the firmware to the power-off."""
    assert "riscv-virtio,qemu" in m.run(until="Boot HART MEDELEG")
    assert "riscv64" in m.run(until=re.compile(r"READY .*\n"), timeout=280)
    assert busybox_digest() in m.run(until="/bin/busybox")
    assert f"\n{cpus}\r\n" in m.run(until="# ")
    m.serial.write("echo $((6 * 7)) answers\n")
    m.run(until="42 answers")
    m.serial.write("poweroff -f\n")
    assert "Power down" in m.run(timeout=120)
    assert (m.status, m.exit_code) == ("shutdown", 0)


@pytest.mark.slow
@pytest.mark.parametrize("cpus", [1, 4])
def test_the_same_boot_twice(disk, cpus):
    """-icount: every byte and every instruction."""
    runs = []
    for _ in range(2):
        with boot("virt", cpus, disk(), "console=ttyS0", arguments=["-icount", "shift=0,sleep=off"]) as m:
            m.run(until="# ", timeout=280)
            m.serial.write("cat /proc/sys/kernel/random/uuid /proc/uptime; poweroff -f\n")
            m.run(timeout=120)
            runs.append((m.serial.text, [c.instructions for c in m.cpu], m.time))
    assert runs[0] == runs[1]


def test_virt_to_a_shell(disk):
    """The quick one: some seconds."""
    with boot("virt", 1, disk(), "console=ttyS0 quiet loglevel=4") as m:
        m.run(until=re.compile(r"READY .*\n"), timeout=200)
        assert busybox_digest() in m.run(until="/bin/busybox")
        m.run(until="# ")
        with m.snapshot() as shell:
            for n in range(3):
                m.restore(shell)
                m.serial.write(f"echo $((6 * {n})) answers\n")
                m.run(until=f"{6 * n} answers")
        assert m.cpu[0].registers["satp"] >> 60 == 9  # Sv48
        m.serial.write("poweroff -f\n")
        m.run(timeout=120)
        assert (m.status, m.exit_code) == ("shutdown", 0)


@pytest.mark.slow
@pytest.mark.parametrize("cpus", [1, 4])
def test_virt(disk, cpus):
    with boot("virt", cpus, disk(), "console=ttyS0") as m:
        talk(m, cpus)


@pytest.mark.slow
@pytest.mark.parametrize("cpus", [1, 4])
def test_spike(disk, cpus):
    with boot("spike", cpus, disk(LOGGED), "earlycon=sbi keep_bootcon printk.devkmsg=on") as m:
        assert "ucbbar,spike-bare,qemu" in m.run(until="Boot HART MEDELEG")
        assert f", {cpus} CPUs" in m.run(until=re.compile(r"READY .*\n"), timeout=280)
        assert busybox_digest() in m.run(until="/bin/busybox")
        m.run(until="a shell says 42")
        assert m.run(timeout=120).count("worked 200") == cpus
        assert (m.status, m.exit_code) == ("shutdown", 0)


@pytest.mark.slow
def test_sifive_u(disk):
    """A monitor core of the E series and two of the U series, which run Linux: it starts again, and powers off."""
    with boot("sifive_u", 3, disk(CONSOLE), "console=ttySIF0") as m:
        assert "SiFive HiFive Unleashed A00" in m.run(until="Boot HART MEDELEG")
        m.run(until=re.compile(r"READY .*\n"), timeout=280)
        assert busybox_digest() in m.run(until="/bin/busybox")
        m.run(until="# ")
        m.serial.write("echo $((6 * 7)) answers from $(busybox nproc)\n")
        m.run(until="42 answers from 2")
        m.serial.write("reboot -f\n")
        m.run(until=re.compile(r"READY .*\n"), timeout=280)
        m.run(until="# ")
        m.serial.write("poweroff -f\n")
        assert "Power down" in m.run(timeout=120)
        assert (m.status, m.exit_code) == ("shutdown", 0)


DISKS = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs devtmpfs /dev
for m in virtio_mmio virtio_blk; do $b insmod /modules/$m.ko; done
for d in vda vdb; do
    echo "$d packed $($b cut -c35 /sys/block/$d/device/features) $($b cat /sys/block/$d/device/modalias)"
    $b dd if=/dev/urandom of=/root/random bs=64k count=32 2> /dev/null
    $b dd if=/root/random of=/dev/$d bs=64k oflag=direct 2> /dev/null
    $b sync
    echo 3 > /proc/sys/vm/drop_caches
    $b cmp -n 2097152 /root/random /dev/$d && echo "$d keeps what it got"
    for k in 1 2 3 4; do $b dd if=/dev/$d of=/dev/null bs=4k skip=$((k * 100)) count=200 iflag=direct 2> /dev/null & done
    wait
done
$b poweroff -f
"""


@pytest.mark.slow
def test_packed_rings(tmp_path):
    """Linux's driver on both transports."""
    start = tmp_path / "initramfs.gz"
    start.write_bytes(initramfs("riscv64", DISKS, modules("riscv64", "virtio_mmio", "virtio_blk")))
    words = ["-global", "virtio-mmio.force-legacy=false"]
    for n, model in enumerate(("virtio-blk-pci", "virtio-blk-device")):
        (tmp_path / f"disk{n}").write_bytes(bytes(4 << 20))
        words += ["-drive", f"file={tmp_path / f'disk{n}'},format=raw,if=none,id=d{n}", "-device", f"{model},drive=d{n},packed=on"]
    with boot("virt", 2, start, "console=ttyS0", arguments=words) as m:
        text = m.run(timeout=280)
    for name in ("vda", "vdb"):
        assert f"{name} packed 1 virtio:d00000002v" in text and f"{name} keeps what it got" in text


def test_u_boot():
    """To its prompt, where it finds the memory, and its command to power off."""
    boot = package("riscv64", "u-boot-qemu") / "usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin"
    with Machine("virt", memory="256M", bios=opensbi(64), kernel=boot) as m:
        m.run(until="Hit any key to stop autoboot")
        m.serial.write("\n")
        m.run(until="=> ")
        m.serial.write("bdinfo\n")
        assert re.search(r"start\s+= 0x0*80000000\r\n-> size\s+= 0x0*10000000", m.run(until="=> "))
        m.serial.write("poweroff\n")
        m.run()
        assert (m.status, m.exit_code) == ("shutdown", 0)
