"""Larger programs of Debian arm64: git, a compiler, Go, Rust, OpenSSL, with the results of native runs."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from support.debian import sysroot
from support.guests import run

PACKAGES = ("git", "gcc", "libc6-dev", "openssl", "ripgrep", "fzf")


@functools.cache
def root() -> Path:
    return sysroot("arm64", *PACKAGES)


def arm(name: str | Path, *words: str | Path, cpu: str = "max", **more: object) -> subprocess.CompletedProcess[str]:
    path = root() / "usr/bin" / name if isinstance(name, str) else name
    return run(path, *words, arch="aarch64", options=["-L", str(root()), "-cpu", cpu], **more)


def output(name: str | Path, *words: str | Path, **more: object) -> str:
    done = arm(name, *words, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def git(folder: Path, *words: str) -> str:
    settings = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main", "-c", "safe.directory=*"]
    return output("git", *settings, *words, cwd=folder)


def test_git(tmp_path: Path) -> None:
    """A repository made here, cloned, logged and packed; the host's git, which is another program, finds it whole."""
    one = tmp_path / "one"
    one.mkdir()
    git(one, "init", "-q")
    for n in range(5):
        for k in range(20):
            (one / f"file{k}").write_text(f"line {n}\n" * (k + 1))
        git(one, "add", ".")
        git(one, "commit", "-q", "-m", f"commit {n}")
    git(tmp_path, "clone", "-q", "--no-local", str(one), "two")
    two = tmp_path / "two"
    assert git(two, "log", "--format=%s").split("\n")[:5] == [f"commit {n}" for n in reversed(range(5))]
    assert "file3" in git(two, "diff", "--stat", "HEAD~1")
    git(two, "gc", "-q")
    assert list((two / ".git/objects/pack").glob("*.pack"))
    assert "dangling" not in git(two, "fsck", "--strict")
    native = subprocess.run(["git", "-c", "safe.directory=*", "fsck", "--strict"], cwd=two, capture_output=True, text=True)
    assert native.returncode == 0, native.stderr


SOURCE = r"""
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int compare(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }
int main(int count, char **words) {
    double sum = 0; unsigned hash = 5381;
    qsort(words + 1, count - 1, sizeof *words, compare);
    for (int i = 1; i < count; i++) for (char *p = words[i]; *p; p++) hash = hash * 33 ^ *p;
    for (int i = 1; i < 1000; i++) sum += sqrt(i) / (i * i);
    printf("%s %u %.12f\n", words[1], hash, sum);
    return count;
}
"""


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_gcc(level: str, tmp_path: Path) -> None:
    """The compiler itself is the guest: cc1, as and ld; then what it made runs."""
    source = tmp_path / "program.c"
    source.write_text(SOURCE)
    made = tmp_path / "program"
    done = arm("gcc", f"--sysroot={root()}", level, "-static", source, "-o", made, "-lm", timeout=800)
    assert (done.returncode, done.stderr) == (0, "")
    ran = arm(made, "pear", "apple", "fig")
    assert (ran.returncode, ran.stdout.split()[0]) == (4, "apple")
    total, number = 0.0, 5381
    for i in range(1, 1000):
        total += i**0.5 / (i * i)
    for letter in "applefigpear":
        number = (number * 33 ^ ord(letter)) & 0xFFFF_FFFF
    assert ran.stdout == f"apple {number} {total:.12f}\n"


def test_go(tmp_path: Path) -> None:
    """fzf is a Go program: goroutines, its own scheduler and signals."""
    lines = [f"/some/where/file{n}.{'py' if n % 3 else 'txt'}" for n in range(3000)]
    found = output("fzf", "-f", "file299.py$", input="\n".join(lines) + "\n").split()
    assert sorted(found) == sorted(line for line in lines if line.endswith("file299.py"))
    assert output("fzf", "--version").split()[0][0] in "0123456789"
    assert len(output("fzf", "-f", ".txt", input="\n".join(lines) + "\n").split()) == 1000


def test_rust(tmp_path: Path) -> None:
    for n in range(200):
        (tmp_path / f"f{n}.txt").write_text("".join(f"line {k} of {n}\n" for k in range(50)) + ("needle in it\n" if n % 10 == 0 else ""))
    found = output("rg", "-c", "need.e", "--sort", "path", ".", cwd=tmp_path).split()
    assert len(found) == 20 and all(f.endswith(":1") for f in found)
    assert output("rg", "-N", "--no-filename", "^line 49 of 1.?$", ".", cwd=tmp_path).count("\n") == 11


@pytest.mark.parametrize("cpu", ["max", "cortex-a53,aes=off", "cortex-a53"])
def test_openssl(cpu: str, tmp_path: Path) -> None:
    """Digests and ciphers, with and without the instructions made for them: the same bytes."""
    data = tmp_path / "data"
    data.write_bytes(bytes(range(256)) * 700 + b"tail")
    digests = ["sha1", "sha224", "sha256", "sha384", "sha512", "md5", "sha3-256", "sha3-512", "blake2b512", "sm3"]
    for name in digests:
        native = subprocess.run(["openssl", "dgst", f"-{name}", data], capture_output=True, text=True, check=True).stdout
        assert output("openssl", "dgst", f"-{name}", data, cpu=cpu).split("= ")[1] == native.split("= ")[1]
    assert output("openssl", "dgst", "-sha256", data, cpu=cpu).split()[-1] == hashlib.sha256(data.read_bytes()).hexdigest()
    key = ["-K", "000102030405060708090a0b0c0d0e0f" * 2, "-iv", "0f0e0d0c0b0a09080706050403020100"]
    for name in ("aes-256-cbc", "aes-256-ctr", "chacha20"):
        ours, native = tmp_path / f"ours.{name}", tmp_path / f"native.{name}"
        output("openssl", "enc", f"-{name}", *key, "-in", data, "-out", ours, cpu=cpu)
        subprocess.run(["openssl", "enc", f"-{name}", *key, "-in", data, "-out", native], check=True)
        assert ours.read_bytes() == native.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("cpu", ["max", "cortex-a53,aes=off"])
def test_openssl_speed(cpu: str) -> None:
    done = arm("openssl", "speed", "-seconds", "1", "-bytes", "1024", "-evp", "aes-128-gcm", cpu=cpu, timeout=900)
    assert done.returncode == 0 and "AES-128-GCM" in done.stdout.upper()


CAPABILITIES = ["neon", "tick", "aes", "sha1", "sha256", "pmull", "sha512", "cpuid", "rng", "sm3", "sm4", "sha3"]  # bits of OPENSSL_armcap
DIGESTS = ["sha1", "sha224", "sha256", "sha384", "sha512", "sha512-256", "sha3-256", "sha3-512", "shake128", "sm3", "md5", "blake2s256"]
CIPHERS = {"aes-128-cbc": 16, "aes-192-ctr": 24, "aes-256-ecb": 32, "aes-256-cbc": 32, "aes-128-ctr": 16, "sm4-cbc": 16, "sm4-ctr": 16,
           "chacha20": 32, "camellia-128-cbc": 16}  # bytes of the key  # fmt: skip


def openssl_script(tool: str, data: Path) -> str:
    """Commands of a shell: each algorithm's result as a line."""
    lines = [f"{tool} dgst -{name} {'-xoflen 32' if name.startswith('shake') else ''} -r {data} | cut -d' ' -f1" for name in DIGESTS]
    for name, size in CIPHERS.items():
        key = f"-K {bytes(range(size)).hex()}" + ("" if "ecb" in name else f" -iv {bytes(range(16, 32)).hex()}")
        lines.append(f"{tool} enc -{name} {key} -in {data} -out {data}.out && {tool} dgst -sha256 -r {data}.out | cut -d' ' -f1")
        lines.append(f"{tool} enc -d -{name} {key} -in {data}.out | cmp - {data} && echo {name} back")
    for size in (16, 32):  # GHASH: polynomial multiplication
        key = f"-macopt hexkey:{bytes(range(size)).hex()} -macopt hexiv:{bytes(12).hex()}"
        lines.append(f"{tool} mac -cipher AES-{8 * size}-GCM {key} -in {data} GMAC")
    return "set -e\n" + "\n".join(lines) + "\n"


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("extensions", [*([c] for c in CAPABILITIES[2:] if c not in ("cpuid", "rng")), [], CAPABILITIES[2:]], ids="-".join)
def test_openssl_with_each_crypto_extension(extensions: list[str], tmp_path: Path) -> None:
    """OpenSSL told to use NEON and these extensions, whatever the CPU says: the same bytes as on the host."""
    data = tmp_path / "data"
    data.write_bytes(bytes(n * n & 0xFF for n in range(50_007)))
    native = subprocess.run(["sh", "-c", openssl_script("openssl", data)], capture_output=True, text=True)
    assert native.returncode == 0, native.stderr
    bits = 1 | sum(1 << CAPABILITIES.index(e) for e in extensions)
    small = sysroot("arm64", "openssl", "busybox-static")
    script = openssl_script(str(small / "usr/bin/openssl"), data)
    env = {**os.environ, "OPENSSL_armcap": hex(bits)}
    done = run(small / "usr/bin/busybox", "sh", "-c", script, arch="aarch64", options=["-L", str(small)], timeout=2500, env=env)
    assert (done.stderr, done.returncode, done.stdout) == ("", 0, native.stdout)


def test_a_cpu_without_an_extension_refuses_it(tmp_path: Path) -> None:
    """OpenSSL told to use AES instructions that the CPU does not have."""
    (tmp_path / "data").write_bytes(bytes(1000))
    words = ["enc", "-aes-128-ctr", "-K", bytes(16).hex(), "-iv", bytes(16).hex(), "-in", tmp_path / "data", "-out", tmp_path / "out"]
    for bits, status in ((1, 0), (5, -4)):
        assert arm("openssl", *words, cpu="cortex-a53,aes=off", env={**os.environ, "OPENSSL_armcap": hex(bits)}).returncode == status
