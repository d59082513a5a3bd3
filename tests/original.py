"""The original as a black box: its qtest socket, where its binaries are installed."""

import os
import socket
import subprocess
import tempfile


class Original:
    """A stopped machine of the original whose bus tests may touch."""

    def __init__(self, machine, *args, binary="qemu-system-riscv64"):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "qtest")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            listener.settimeout(20)
            self.process = subprocess.Popen(
                [binary, "-M", machine, *args, "-display", "none", "-serial", "none", "-monitor", "none", "-S",
                 "-qtest", f"unix:{path}", "-qtest-log", os.devnull], stderr=subprocess.DEVNULL)
            self.socket, _ = listener.accept()
        self.socket.settimeout(20)
        self.file = self.socket.makefile("rw")

    def command(self, text):
        self.file.write(text + "\n")
        self.file.flush()
        while True:
            answer = self.file.readline().split()
            if not answer or answer[0] == "OK":
                return answer[1:]
            if answer[0] == "FAIL":
                raise AssertionError(f"{text}: {' '.join(answer)}")

    def read(self, address, size=4):
        return int(self.command(f"read{' bw l   q'[size]} {address:#x}")[0], 16)

    def write(self, address, value, size=4):
        self.command(f"write{' bw l   q'[size]} {address:#x} {value:#x}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.file.close()
        self.socket.close()
        self.folder.cleanup()
