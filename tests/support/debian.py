"""Root directories made of Debian packages of another architecture, for programs to test with.

python tests/support/debian.py riscv64 busybox-static bash ...     makes one and prints its path

Packages and everything they depend on come by name from the archive that this machine's apt uses, through an apt state of its own below
the cache folder: neither the system's package lists nor its foreign architectures change, and no root is needed.  The release is the
configured one; for an architecture it lacks, the archive's `stable`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(os.environ.get("TINAMOU_TEST_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinamou-tests")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CONFIG = """\
Dir "{root}";
Dir::State::status "{root}/status";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::IndexTargets::deb::DEP-11::Defaultenabled "false";
"""


class DebianError(Exception):
    """Packages that cannot be had, in words for the user."""


def configured_archive() -> tuple[str, str]:
    """The URI and release of the system's Debian archive."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(LABEL)", "Created-By: Packages"]
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        uri, release, component, label = line.split()
        if (component, label) == ("main", "Debian") and "-" not in release:
            return uri, release
    raise DebianError("apt knows no Debian archive; run 'apt-get update' once")


class Apt:
    """An apt state for one architecture, with an empty package database: dependencies are those of an empty root."""

    def __init__(self, root: Path, arch: str) -> None:
        self.root = root
        for folder in (
            "etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/lib/dpkg", "var/cache/apt/archives/partial",
            "debs",
        ):  # fmt: skip
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        (root / "apt.conf").write_text(CONFIG.format(root=root, arch=arch))
        if not (root / "ready").exists():
            uri, release = configured_archive()
            for suite in dict.fromkeys((release, "stable")):
                (root / "sources.list").write_text(f"deb [signed-by={KEYRING}] {uri} {suite} main\n")
                self.run("apt-get", "-q", "update")
                if self.run("apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages").strip():
                    break
            else:
                raise DebianError(f"the archive has no packages for {arch}")
            (root / "ready").touch()

    def run(self, *command: str, cwd: Path | None = None) -> str:
        env = {**os.environ, "APT_CONFIG": str(self.root / "apt.conf"), "LC_ALL": "C"}
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=env)
        if done.returncode:
            raise DebianError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def fetch(self, names: list[str]) -> list[Path]:
        """The files of these packages and of what they need."""
        plan = self.run("apt-get", "-y", "-q", "--no-install-recommends", "--simulate", "install", *names)
        wanted = [f"{name}={version}" for name, version in re.findall(r"^Inst (\S+) \((\S+)", plan, re.MULTILINE)]
        listing = self.run("apt-get", "--print-uris", "download", *wanted)
        files, missing = [], False
        for _, name, size, digest in (line.split() for line in listing.splitlines()):
            path = self.root / "debs" / name
            files.append(path)
            if not path.exists() or path.stat().st_size != int(size) or sha256(path) != digest.split(":")[1]:
                missing = True
        if missing:
            self.run("apt-get", "-q", "download", *wanted, cwd=self.root / "debs")
        return files


def sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unpack(deb: Path, root: Path) -> None:
    """Unpack one package, through the symbolic links that root has for folders."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as dpkg:
        subprocess.run(["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", root], stdin=dpkg.stdout, check=True)
    if dpkg.returncode:
        raise DebianError(f"{deb} is damaged; remove it")


def sysroot(arch: str, *packages: str) -> Path:
    """A folder with these packages and all they depend on; made once, then found again.  Raises DebianError."""
    folder = CACHE / "debian" / arch
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / hashlib.sha256(" ".join(sorted(packages)).encode()).hexdigest()[:16]
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            fresh = root.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            for name in ("bin", "sbin", "lib", "lib64"):
                (fresh / "usr" / name).mkdir(parents=True)
                (fresh / name).symlink_to(f"usr/{name}")
            for deb in Apt(folder / "apt", arch).fetch(list(packages)):
                unpack(deb, fresh)
            for link in [p for p in fresh.rglob("*") if p.is_symlink() and p.readlink().is_absolute()]:
                inside = fresh / link.readlink().relative_to("/")
                link.unlink()
                link.symlink_to(os.path.relpath(inside, link.parent))
            fresh.rename(root)
    return root


if __name__ == "__main__":
    print(sysroot(sys.argv[1], *sys.argv[2:]))
