"""A Debian root file system on a qcow2 virtio disk: boots to a login, works with dpkg and Python, keeps what was written."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from support.debian_root import disk_initramfs, machine, root_disk
from tinamou.tools.img import main as img

PROMPT = "root@guest:~# "


def login(m):
    m.run(until="login: ", timeout=250)
    m.serial.write("root\n")
    m.run(until=PROMPT, timeout=100)


def shell(m, command, timeout=200.0):
    """What a command prints."""
    m.serial.write(command + "\n")
    m.run(until="\n")  # its echo
    text = m.run(until=PROMPT, timeout=timeout).removesuffix(PROMPT)
    return re.sub(r"\x1b\[\?2004[hl]\r?", "", text).replace("\r\n", "\n")  # the shell switches bracketed paste on and off


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_debian(tmp_path):
    disk, start = tmp_path / "disk.qcow2", tmp_path / "initramfs.gz"
    shutil.copy(root_disk(), disk)
    start.write_bytes(disk_initramfs("riscv64"))
    with machine(disk, start) as m:
        login(m)
        assert re.search(r"^Linux guest .* riscv64 GNU/Linux$", shell(m, "uname -a"), re.M)
        assert "No packages found" not in shell(m, "dpkg -l coreutils") and shell(m, "dpkg --audit") == ""
        assert "Setting up hello" in shell(m, "dpkg -i hello.deb")
        assert shell(m, "hello") == "Hello, world!\n"
        assert shell(m, "python3 -c 'import hashlib, json; print(hashlib.sha256(json.dumps(list(range(1000))).encode()).hexdigest())'") == (
            "3e726f1b6f58ece8e52f367572eb99447da3892ff52903b8790cc8472451385c\n"
        )
        shell(m, "dd if=/dev/urandom of=/root/random bs=64k count=64 2>/dev/null; sha256sum random > sum; cat sum")
        written = shell(m, "cat sum")
        m.serial.write("reboot\n")
        login(m)  # the same machine, after a reset
        assert shell(m, "sha256sum -c sum") == "random: OK\n"
        assert shell(m, "cat sum; hello; dpkg --verify hello") == written + "Hello, world!\n"
        m.serial.write("poweroff\n")
        m.run(timeout=250)
        assert (m.status, m.exit_code) == ("shutdown", 0)
    assert img(["check", str(disk)]) == 0
    assert img(["convert", "-O", "raw", str(disk), str(tmp_path / "raw")]) == 0
    done = subprocess.run(["/sbin/e2fsck", "-fn", tmp_path / "raw"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
