"""The original's disk tools, for comparison: from the system, or unpacked from Debian packages without installing them.

`tool("qemu-img")` gives the command to run. Packages go to a folder under the user's cache directory; they are fetched by
`apt-get download` on the first use.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

PACKAGES = {
    "qemu-img": (
        "qemu-utils libaio1 libglib2.0-0 libgmp10 libgnutls30 libhogweed6 libnettle8 libnuma1 liburing2 libzstd1 zlib1g "
        "libpcre2-8-0 libp11-kit0 libidn2-0 libunistring2 libtasn1-6 libffi8 libselinux1"
    ).split(),
}
PACKAGES["qemu-io"] = PACKAGES["qemu-img"]


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "tinamou-tests" / "debian"


@functools.cache
def tool(name: str) -> list[str]:
    """The command line that runs the original's program `name`; fails the test when it cannot be had."""
    found = shutil.which(name)
    if found and "tinamou" not in os.path.realpath(found):
        return [found]
    folder = cache_folder() / "root"
    program = folder / "usr/bin" / name
    if not program.exists():
        _fetch(PACKAGES[name], folder)
    libraries = [str(p) for p in folder.glob("**/lib/*-linux-gnu")]
    return ["env", f"LD_LIBRARY_PATH={':'.join(libraries)}", str(program)]


def folder() -> str:
    """A directory to put in front of PATH, with the original's `qemu-img` and `qemu-io`."""
    command = tool("qemu-img")
    if len(command) == 1:
        return str(Path(command[0]).parent)
    scripts = cache_folder() / "bin"
    scripts.mkdir(parents=True, exist_ok=True)
    for name in ("qemu-img", "qemu-io"):
        environment, program = tool(name)[1:]
        script = scripts / name
        if not script.exists():
            script.write_text(f'#!/bin/sh\nexec env {environment} {program} "$@"\n')
            script.chmod(0o755)
    return str(scripts)


def _fetch(packages: list[str], folder: Path) -> None:
    downloads = folder.parent / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    for package in packages:
        done = subprocess.run(["apt-get", "download", package], cwd=downloads, capture_output=True, text=True)
        if done.returncode and package == packages[0]:
            raise AssertionError(f"cannot download the Debian package {package}: {done.stderr}")
    for deb in downloads.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(deb), str(folder)], check=True)


def run(name: str, *args: str | os.PathLike[str], cwd: Path | None = None, check: bool = True) -> str:
    """Run the original's program; its stdout."""
    done = subprocess.run([*tool(name), *map(str, args)], cwd=cwd, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{name} {args}: {done.stdout}{done.stderr}"
    return done.stdout
