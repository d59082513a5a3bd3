"""The original's disk tools, cryptsetup and keyctl, for comparison: from the system, or unpacked from Debian packages without
installing them.

`tool("qemu-img")` gives the command to run. Packages go to a folder under the user's cache directory; they are fetched by
`apt-get download` on the first use.
"""

from __future__ import annotations

import functools
import os
import shlex
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
PACKAGES["cryptsetup"] = (
    "cryptsetup-bin libcryptsetup12 libpopt0 libargon2-1 libjson-c5 libdevmapper1.02.1 libudev1 libselinux1 libpcre2-8-0 libblkid1 "
    "libuuid1 libssl3"
).split()
PACKAGES["keyctl"] = ["keyutils", "libkeyutils1"]
SEARCH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "tinamou-tests" / "debian"


@functools.cache
def tool(name: str) -> list[str]:
    """The command line that runs the original's program `name`; fails the test when it cannot be had."""
    found = shutil.which(name, path=SEARCH)
    if found and "tinamou" not in os.path.realpath(found):
        return [found]
    folder = cache_folder() / "root"
    places = [folder / place / name for place in ("usr/bin", "usr/sbin", "sbin", "bin")]
    if not any(place.exists() for place in places):
        _fetch(PACKAGES[name], folder)
    program = next((place for place in places if place.exists()), places[0])
    libraries = [str(p) for p in folder.glob("**/lib/*-linux-gnu")]
    return ["env", f"LD_LIBRARY_PATH={':'.join(libraries)}", str(program)]


def folder() -> str:
    """A directory to put in front of PATH, with the original's tools and those that look at its images."""
    scripts = cache_folder() / "bin"
    scripts.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        script = scripts / name
        text = f'#!/bin/sh\nexec {shlex.join(tool(name))} "$@"\n'
        if not script.exists() or script.read_text() != text:
            fresh = script.with_suffix(f".{os.getpid()}")
            fresh.write_text(text)
            fresh.chmod(0o755)
            fresh.rename(script)
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
