"""What whole machines boot in tests: firmware and kernels of Debian packages, and an initramfs around busybox."""

from __future__ import annotations

import fcntl
import gzip
import lzma
import shutil
from collections.abc import Mapping
from pathlib import Path

from support.debian import CACHE, Apt, sysroot, unpack

INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs devtmpfs /dev
echo "READY $($b uname -rm)"
$b sha256sum /bin/busybox
$b nproc
exec $b setsid $b cttyhack $b sh
"""


def package(arch: str, name: str) -> Path:
    """A folder with one package and nothing it depends on; a metapackage stands for its first dependency."""
    folder = CACHE / "debian" / arch
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / f"only-{name}"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            apt = Apt(folder / "apt", arch)
            real = name
            if name.startswith("linux-image-"):
                lines = apt.run("apt-cache", "depends", name).splitlines()
                real = next(line.split()[-1] for line in lines if "Depends: linux-image" in line)
            apt.run("apt-get", "-q", "download", real, cwd=apt.root / "debs")
            fresh = root.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            for deb in (apt.root / "debs").glob(f"{real}_*.deb"):
                unpack(deb, fresh)
            fresh.rename(root)
    return root


def opensbi(xlen: int) -> Path:
    """OpenSBI's generic firmware."""
    return package("riscv64", "opensbi") / f"usr/lib/riscv{xlen}-linux-gnu/opensbi/generic/fw_dynamic.bin"


def kernel(arch: str) -> Path:
    """Debian's kernel."""
    return next((package(arch, f"linux-image-{arch}") / "boot").glob("vmlinu[xz]-*"))


def modules(arch: str, *names: str) -> dict[str, bytes]:
    """Kernel modules as files of an initramfs, unpacked: `modules/NAME.ko`."""
    found = {p.name.partition(".")[0]: p for p in (package(arch, f"linux-image-{arch}") / "usr/lib/modules").rglob("*.ko.xz")}
    return {f"modules/{name}.ko": lzma.decompress(found[name].read_bytes()) for name in names}


def initramfs(arch: str, init: str = INIT, more: Mapping[str, bytes] | None = None) -> bytes:
    """A compressed cpio archive (newc) with busybox and an /init that ends in a shell on the console; `more` are further files."""
    busybox = (sysroot(arch, "busybox-static") / "bin/busybox").read_bytes()
    out = b""
    directories = [(f"{n}", 0o040755, b"", 0) for n in ("bin", "dev", "proc", "sys", "root", "modules")]
    files = [("bin/busybox", 0o100755, busybox, 0), ("init", 0o100755, init.encode(), 0), ("dev/console", 0o020600, b"", 5 << 8 | 1)]
    files += [(name, 0o100644, data, 0) for name, data in (more or {}).items()]
    for n, (name, mode, data, device) in enumerate([*directories, *files, ("TRAILER!!!", 0, b"", 0)]):
        fields = [n + 1, mode, 0, 0, 1, 0, len(data), 0, 0, device >> 8, device & 0xFF, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
        out += head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    return gzip.compress(out, 1, mtime=0)
