"""Encrypted images: `tinamou-img` beside the original's on the same images, and key slots looked at by cryptsetup."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support import originals
from support.beside import FLAKY, blur, both, parsed, run, write_shims

SECRETS = {"S0": "secret,id=s0,data=hunter2", "S1": "secret,id=s1,data=other words", "S2": "secret,id=s2,data=third"}
ENVIRONMENT = {
    **{name: f"--object {text.replace(' ', '_')}" for name, text in SECRETS.items()},
    "BAD": "--object secret,id=bad,data=/w==,format=base64",
    "A": "driver=luks,file.filename=a.luks,key-secret=s0",
    "ONE": "driver=luks,file.filename=one.luks,key-secret=s0",
    "FULL": "driver=luks,file.filename=full.luks,key-secret=s0",
    "Q": "driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=s0",
    "AES": "driver=qcow2,file.filename=aes.qcow2,encrypt.key-secret=s0",
    "K": "--object secret,id=k,format=base64,data=a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=",
    "ESSIV": "cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,hash-alg=sha1",
    "IV": "aWlpaWlpaWlpaWlpaWlpaQ==",
    "WRAPPED": "vI0OE2kgFIpNoQunC9nnRg==",
}
SETUP = """
qemu-img create -q -f raw plain.raw 2M
qemu-io -f raw -c "write -P 7 100k 300k" -c "write -P 9 1M 70k" plain.raw
qemu-img convert -f raw -O qcow2 plain.raw plain.qcow2
qemu-img convert $S0 -f raw -O luks -o key-secret=s0,iter-time=10 plain.raw a.luks
qemu-img amend $S0 $S1 --image-opts $A -o state=active,new-secret=s1,iter-time=10
qemu-img create -q -f luks $S0 -o key-secret=s0,iter-time=10 one.luks 64k
qemu-img convert $S0 -f raw -O luks -o key-secret=s0,iter-time=10,$ESSIV plain.raw essiv.luks
qemu-img convert $S0 -f raw -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10 plain.raw luks.qcow2
qemu-img amend $S0 $S1 --image-opts $Q -o encrypt.state=active,encrypt.new-secret=s1,encrypt.iter-time=10
qemu-img convert $S0 -f raw -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10,compat=0.10 plain.raw v2.qcow2
qemu-img convert $S0 -f raw -O qcow2 -o encrypt.format=aes,encrypt.key-secret=s0 plain.raw aes.qcow2
qemu-img create -q -f luks $S0 -o key-secret=s0,iter-time=10 full.luks 64k
for i in 1 2 3 4 5 6 7; do qemu-img amend $S0 $S1 --image-opts $FULL -o state=active,new-secret=s1,iter-time=10 || exit 1; done
qemu-img create -q -f qcow2 $S0 -b "json:{'driver':'qcow2','file.filename':'luks.qcow2','encrypt.key-secret':'s0'}" -F qcow2 over.qcow2
qemu-io $S0 -c "write -P 5 0 100k" over.qcow2
printf hunter2 > s0.key
printf other_words > s1.key
printf third > s2.key
echo aHVudGVyMg== > s0.b64
"""
CASES = [
    pytest.param(line.removeprefix("slow: "), marks=[pytest.mark.slow] if line.startswith("slow: ") else [])
    for line in Path(__file__).with_name("encryption_cases.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory, shims: Path) -> Path:
    """Made by the original, but most key slots by us: it takes seconds of processor time for each."""
    folder = tmp_path_factory.mktemp("encrypted")
    for line in SETUP.strip().splitlines():
        line = line.replace("'", '\\"') if "json:" in line else line
        ours = "iter-time" in line and " a.luks" not in line
        path = str(shims) if ours else originals.folder()
        for _ in range(12):
            done = run(line, folder, path, **ENVIRONMENT)
            if FLAKY not in done.err:
                break
        assert done.code == 0, f"{line}: {done.err}"
    return folder


@pytest.fixture(scope="session")
def shims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shims(tmp_path_factory.mktemp("bin"))


def needed(case: str, images: Path) -> list[Path]:
    names = {image.name for image in images.iterdir() if image.name in case}
    used = {"$A ": "a.luks", "$ONE": "one.luks", "$FULL": "full.luks", "$Q": "luks.qcow2", "$AES": "aes.qcow2", "over": "luks.qcow2"}
    names |= {name for mark, name in used.items() if mark in f"{case} "}
    return sorted(images / name for name in names)


def veil(text: str) -> str:
    """What another key or another measurement changes."""
    text = re.sub(r"(uuid|iters|master key iters): .*", r"\1: ?", blur(text))
    return re.sub(r"[0-9.,]* *[KMG]?i?B/sec.*", "?", text)


@pytest.mark.parametrize("case", CASES)
def test_same_as_the_original(case: str, images: Path, shims: Path, tmp_path: Path) -> None:
    command = case.partition(";;")[0]
    (theirs, after_theirs), (ours, after_ours) = both(case, needed(case, images), shims, tmp_path, **ENVIRONMENT)
    assert ours.code == theirs.code, ours.err
    assert blur(ours.err) == blur(theirs.err)
    if "--output=json" in command and theirs.out.startswith(("{", "[")):
        assert parsed(ours.out) == parsed(theirs.out)
    elif command.startswith("create -f luks -o help"):
        assert [line for line in ours.out.splitlines() if "detached-header" not in line] == theirs.out.splitlines()
    else:
        assert blur(ours.out) == blur(theirs.out)
    assert (after_ours.code, veil(after_ours.out), after_ours.err) == (after_theirs.code, veil(after_theirs.out), after_theirs.err)


def test_the_tools_it_needs() -> None:
    """cryptsetup is there: otherwise half of the comparisons above would compare two failures."""
    assert subprocess.run(["sh", "-c", "PATH=$PATH:/usr/sbin cryptsetup --version"], capture_output=True).returncode == 0


def test_the_guide(tmp_path: Path) -> None:
    """The commands of docs/encryption.md, one after the other; the slots end up as its text says."""
    text = (Path(__file__).parents[2] / "docs" / "encryption.md").read_text()
    folder = tmp_path / "bin"
    folder.mkdir()
    write_shims(folder)
    for name in ("img", "io"):
        (folder / f"qemu-{name}").rename(folder / f"tinamou-{name}")
    script = "set -e\n" + "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S))
    done = run(script, tmp_path, str(folder))
    assert done.code == 0, done.err
    look = "tinamou-img info disk.luks; tinamou-io --object secret,id=s1,file=other.txt --image-opts {} -c 'read -P 7 0 1M'"
    answer = run(look.format("driver=luks,file.filename=disk.luks,key-secret=s1"), tmp_path, str(folder))
    assert answer.code == 0 and "Pattern verification failed" not in answer.out
    assert re.findall(r"active: (\w+)", answer.out) == ["false", "true", *["false"] * 6]
