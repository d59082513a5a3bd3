"""A Debian root file system on a qcow2 disk, for whole machines: packages unpacked here, configured by dpkg inside the guest.

As debootstrap does it, but that the packages are unpacked by the host: the guest finds dpkg's database with all of them in the state
"unpacked", and runs `dpkg --configure`.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from support.debian import CACHE, Apt, unpack
from support.machines import initramfs, kernel, modules, opensbi
from tinamou import Machine

PACKAGES = (
    "base-files base-passwd bash coreutils dash debianutils diffutils dpkg e2fsprogs findutils grep gzip hostname init-system-helpers "
    "initscripts libc-bin libpam-modules libpam-runtime login login.defs mawk mount ncurses-base ncurses-bin passwd perl-base procps "
    "python3-minimal python3 sed sysv-rc sysvinit-core sysvinit-utils tar tzdata util-linux hello"
).split()
HELD = "hello"  # its package is in /root, for the test to install
INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs devtmpfs /dev
for m in crc16 mbcache jbd2 crc32c_generic ext4 virtio_blk; do $b insmod /modules/$m.ko; done
$b mount -t ext4 ${rootmode:+-o $rootmode} /dev/vda /root || exec $b sh
$b mount -t devtmpfs devtmpfs /root/dev
$b umount /proc
exec $b switch_root -c /dev/console /root ${stage:-/sbin/init}
"""
CONFIGURE = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
ln -sf mawk /usr/bin/awk
dpkg --force-depends --configure base-passwd base-files libc6 perl-base mawk debconf
dpkg --force-depends --force-configure-any --configure --pending && echo "CONFIGURED ALL"
sed -i 's/^root:[^:]*:/root::/' /etc/passwd
echo guest > /etc/hostname
echo '/dev/vda / ext4 defaults 0 1' > /etc/fstab
cat > /etc/inittab <<END
id:2:initdefault:
si::sysinit:/etc/init.d/rcS
l0:0:wait:/etc/init.d/rc 0
l2:2:wait:/etc/init.d/rc 2
l6:6:wait:/etc/init.d/rc 6
ca:12345:ctrlaltdel:/sbin/shutdown -t1 -a -r now
T0:2:respawn:/sbin/agetty -L 115200 ttyS0 vt100
END
rm /configure
sync
mount -o remount,ro /
echo "READY TO GO"
exec poweroff -f 2>/dev/null || exec /sbin/halt -f -p
"""


def control(deb: Path, folder: Path) -> dict[str, str]:
    """The package's control files, and its fields."""
    folder.mkdir()
    subprocess.run(["dpkg-deb", "-e", deb, folder], check=True)
    fields: dict[str, str] = {}
    name = ""
    for line in (folder / "control").read_text().splitlines():
        if line[:1] in (" ", "\t"):
            fields[name] += "\n" + line
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def database(root: Path, debs: list[Path], scratch: Path) -> None:
    """dpkg's database with these packages unpacked."""
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "format").write_text("1\n")
    status = []
    for n, deb in enumerate(debs):
        folder = scratch / str(n)
        fields = control(deb, folder)
        name = fields["Package"] + (f":{fields['Architecture']}" if fields.get("Multi-Arch") == "same" else "")
        for file in folder.iterdir():
            if file.name not in ("control", "conffiles"):
                shutil.copy2(file, info / f"{name}.{file.name}")
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as tar:
            listing = subprocess.run(["tar", "-t"], stdin=tar.stdout, check=True, capture_output=True, text=True).stdout
        paths = [line.removeprefix(".").rstrip("/") or "/." for line in listing.splitlines()]
        (info / f"{name}.list").write_text("\n".join(paths) + "\n")
        rows = [f"Package: {fields.pop('Package')}", "Status: install ok unpacked", *(f"{k}: {v}" for k, v in fields.items())]
        status.append("\n".join(rows) + "\n")
    (root / "var/lib/dpkg/status").write_text("\n".join(status))
    (root / "var/lib/dpkg/available").touch()


def disk_initramfs(arch: str) -> bytes:
    """Mounts the disk and goes on there."""
    return initramfs(arch, INIT, modules(arch, "crc16", "mbcache", "jbd2", "crc32c_generic", "ext4", "virtio_blk"))


def machine(disk: Path, start: Path, append: str = "", **more: object) -> Machine:
    """`virt` with this disk."""
    words = f"console=ttyS0 quiet loglevel=4 {append}"
    return Machine("virt", memory="512M", bios=opensbi(64), kernel=kernel("riscv64"), initrd=start, append=words,
                   drives=[{"file": disk, "if": "virtio", "format": "qcow2"}], **more)  # type: ignore[arg-type]  # fmt: skip


def root_disk() -> Path:
    """The configured disk, made once; to be copied before it is written. Raises DebianError, tinamou.MachineError."""
    folder = CACHE / "debian" / "riscv64"
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(" ".join([*PACKAGES, INIT, CONFIGURE]).encode()).hexdigest()[:16]
    disk = folder / f"root-{digest}.qcow2"
    with open(folder / "root-lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not disk.exists():
            scratch = folder / f"root-{digest}.new"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            build(scratch)
            (scratch / "disk.qcow2").rename(disk)
            shutil.rmtree(scratch)
    return disk


def build(scratch: Path) -> None:
    root = scratch / "root"
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    debs = Apt(CACHE / "debian" / "riscv64" / "apt", "riscv64").fetch(list(PACKAGES))
    held = [d for d in debs if re.match(rf"{HELD}_", d.name)]
    debs = [d for d in debs if d not in held]
    for deb in debs:
        unpack(deb, root)
    (scratch / "control").mkdir()
    database(root, debs, scratch / "control")
    (root / "root").mkdir(exist_ok=True)
    shutil.copy(held[0], root / "root" / "hello.deb")
    (root / "configure").write_text(CONFIGURE)
    (root / "configure").chmod(0o755)
    raw, start = scratch / "disk.raw", scratch / "initramfs.gz"
    subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-d", root, raw, "1G"], check=True, capture_output=True)
    from tinamou.tools.img import main

    assert main(["convert", "-O", "qcow2", str(raw), str(scratch / "disk.qcow2")]) == 0
    start.write_bytes(disk_initramfs("riscv64"))
    with machine(scratch / "disk.qcow2", start, "stage=/configure") as m:
        m.run(until="CONFIGURED ALL", timeout=900)
        m.run(until="READY TO GO", timeout=200)
        m.run(timeout=60)
        assert m.status == "shutdown", m.serial.text[-2000:]


if __name__ == "__main__":
    print(root_disk())
