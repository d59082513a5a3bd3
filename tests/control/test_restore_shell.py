"""A snapshot in memory of a machine whose guest is at its shell: restored, the shell answers as if nothing had happened since."""

from __future__ import annotations

import socket
import time

import pytest
from running_vm import Running

from support.machines import initramfs, kernel, opensbi
from tinamou.machine import snapshot


class Console:
    def __init__(self, r, path):
        self.r, self.text = r, ""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.settimeout(0)

    def look(self):
        try:
            self.text += self.socket.recv(65536).decode(errors="replace")
        except BlockingIOError:
            pass

    def until(self, text, seconds=240):
        def there():
            self.look()
            return text in self.text

        self.r.until(there, seconds)
        self.text = self.text.partition(text)[2]


@pytest.mark.slow
def test_a_shell_comes_back(tmp_path, capsys):
    disk = tmp_path / "initramfs"
    disk.write_bytes(initramfs("riscv64"))
    r = Running(tmp_path, None, "-m", "256", "-bios", str(opensbi(64)), "-kernel", str(kernel("riscv64")), "-initrd", str(disk),
                "-append", "console=ttyS0", "-serial", f"unix:{tmp_path / 'console'},server,nowait")  # fmt: skip
    try:
        console = Console(r, tmp_path / "console")
        r.vm.start()
        console.until("READY ")
        console.until("# ")
        console.socket.sendall(b"x=one; echo $x $x\n")
        console.until("one one")
        r.go_on(0.5)
        r.vm.stop()
        kept = snapshot.take(r.machine)
        times = []
        for _ in range(3):
            r.vm.start()
            console.socket.sendall(b"x=two; echo $x $x\n")
            console.until("two two")
            began = time.monotonic(), time.process_time()
            r.vm.stop()
            snapshot.restore(r.machine, kept)
            r.vm.start()
            times.append((time.monotonic() - began[0], time.process_time() - began[1]))
            console.socket.sendall(b"echo $x $x again\n")
            console.until("one one again")
            r.vm.stop()
            snapshot.restore(r.machine, kept)
        with capsys.disabled():
            print("\nstop, restore, start (wall, CPU):", ", ".join(f"{a * 1000:.0f} ms, {b * 1000:.0f} ms" for a, b in times))
    finally:
        r.close()
