"""Encrypted images: `tinamou-img` beside the original's on the same images, and key slots looked at by cryptsetup."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support import originals
from support.beside import FLAKY, blur, run, same, write_shims

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
    same(case, needed(case, images), shims, tmp_path, veil, **ENVIRONMENT)


IO_CASES = [
    "-c length a.luks",
    "-c length -f luks a.luks",
    "-c length luks.qcow2",
    "-c length aes.qcow2",
    "$S2 -c length --image-opts driver=luks,file.filename=a.luks,key-secret=s2",
    "$S0 -c length --image-opts driver=luks,file.filename=a.luks,key-secret=nosuch",
    "$BAD -c length --image-opts driver=luks,file.filename=a.luks,key-secret=bad",
    "$S0 -c length -c info -c map --image-opts $A",
    "$S0 -c 'open -o $A' -c length -c close",
    "$S0 -c 'open -o driver=luks,key-secret=s0 a.luks' -c length",
    "$S0 -c 'read -v 102390 40' -c 'read -P 7 100k 300k' -c 'read -P 8 100k 512' --image-opts $A",
    "$S0 -c 'discard 0 64k' -c 'write -z 100k 64k' -c 'read -P 0 100k 64k' -c 'read -P 7 164k 1k' --image-opts $A",
    "$S0 -c 'writev -P 3 100 200 300' -c 'readv -P 3 100 500' -c 'truncate 3M' -c length -c flush --image-opts $A",
    "$S0 -c 'write -c 0 64k' --image-opts $A",
    "$S0 -c 'aio_write -P 4 1000 70000' -c aio_flush -c 'read -P 4 1000 70000' --image-opts $Q",
    "$S0 -c 'write -c 0 64k' --image-opts $Q",
    "$S0 -c 'read -P 5 0 100k' -c 'read -P 7 100k 300k' -c 'write -P 6 1M 5k' -c 'read -P 6 1M 5k' over.qcow2",
    "-c 'read 0 1k' over.qcow2",
]


@pytest.mark.parametrize("case", IO_CASES)
def test_io_same_as_the_original(case: str, images: Path, shims: Path, tmp_path: Path) -> None:
    answers = []
    for name, path in (("theirs", originals.folder()), ("ours", str(shims))):
        (tmp_path / name).mkdir()
        for image in needed(case, images):
            subprocess.run(["cp", "--sparse=always", "-p", str(image), str(tmp_path / name)], check=True)
        line = case.replace("'open -o $A'", '"open -o $A"')
        answer = run(f"qemu-io {line}", tmp_path / name, path, **ENVIRONMENT)
        out = re.sub(r"ops; .*", "ops", veil(answer.out))
        contents = sorted((p.name, p.read_bytes()) for p in (tmp_path / name).iterdir())
        answers.append((answer.code, out, answer.err, contents if "qcow2" not in case and "$Q" not in case else None))
    assert answers[0] == answers[1]


def test_interrupted_while_deriving_a_key(tmp_path: Path, shims: Path) -> None:
    """Ctrl-C is heard within PBKDF2, and the file goes."""
    command = [shims / "qemu-img", "create", "-q", "-f", "luks", "--object", "secret,id=s0,data=x", "-o", "key-secret=s0,iter-time=20000"]
    child = subprocess.Popen([*command, "a.luks", "1M"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    for _ in range(500):
        if (tmp_path / "a.luks").exists():
            break
        time.sleep(0.02)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert (child.returncode, errors) == (130, "qemu-img: interrupted\n")
    assert not (tmp_path / "a.luks").exists()


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
