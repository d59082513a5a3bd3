"""Whole machines beside qemu-system-riscv64: boot to a shell, programs, a device's registers, a disk, and a snapshot of ours.

    python bench/machines.py [--runs 3] [boot compute uart disk snapshot]

The programs are the kernels of bench/run.py, one after the other under Linux.  The guests are those of the tests (OpenSBI and Debian's
riscv64 kernel by package name, busybox in an initramfs, a few assembled instructions).  Both programs take turns; CPU time is that of all
threads of the process between two lines of the guest's output, so on a busy machine the ratio of CPU times is the one to look at.  Ratios
are tinamou / original: below 1 is faster than the original.

Whole machines keep the interpreter on disk and no guest code.  "First run" is with an empty cache, once: it builds the interpreter.  "Cold"
and warm runs are the same otherwise: with the interpreter there, all guest code is decoded and compiled anew.  A goal is reached when
both CPU and wall time reach it.
"""

from __future__ import annotations

import argparse
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import build

from support.machines import initramfs, kernel, modules, opensbi

OURS = [sys.executable, "-m", "tinamou.tools.main", "system", "riscv64"]
THEIRS = ["qemu-system-riscv64"]
TICK = os.sysconf("SC_CLK_TCK")
UART_LOOPS = 300_000
DISK_MIB = 256
RAM = 0x8000_0000

DISK_INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs devtmpfs /dev
$b insmod /modules/virtio_blk.ko
$b dd if=/dev/vda of=/dev/null bs=1M count=1 2>/dev/null
echo "MARK one"
$b dd if=/dev/vda of=/dev/null bs=1M 2>&1
echo "MARK two"
$b poweroff -f
"""
BOOT_INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs devtmpfs /dev
echo "MARK shell"
$b sh -c 'echo MARK command'
$b poweroff -f
"""
COMPUTE_INIT = """\
#!/bin/busybox sh
b=/bin/busybox
run() { $b chmod 755 /bin/$1; echo "MARK $1"; /bin/$1 $2 > /dev/null; echo "MARK end"; }
$b mount -t devtmpfs devtmpfs /dev
"""
UART = f"""
    li s0, 0x10000000; li s1, 65; jal ra, mark
    li s2, {UART_LOOPS}; {{loop}}
    li s1, 66; jal ra, mark; li t0, 0x100000; li t1, 0x5555; sw t1, 0(t0); j .
    mark: li t0, 77; sb t0, 0(s0); sb s1, 0(s0); li t0, 10; sb t0, 0(s0); ret
"""
READ_LSR = "again: lbu t0, 5(s0); addi s2, s2, -1; bnez s2, again"


class Broken(Exception):
    """Why there is no measurement."""


@dataclass
class Moment:
    """When a line came: seconds of CPU and of wall time since the start of the process."""

    line: str
    cpu: float
    wall: float


def cpu_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def watch(command: list[str], marks: str = "MARK", limit: float = 400.0, environment: dict[str, str] | None = None) -> list[Moment]:
    """Run to the end; a Moment for each line of output that begins so."""
    moments: list[Moment] = []
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env=os.environ | (environment or {}))  # fmt: skip
    assert process.stdout
    text = b""
    try:
        while True:
            if not select.select([process.stdout], [], [], max(0.0, limit - (time.perf_counter() - start)))[0]:
                raise Broken(f"{command[0]}: no end after {limit:g} s:\n{text[-2000:].decode(errors='replace')}")
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                break
            *lines, _ = (text.rpartition(b"\n")[2] + data).split(b"\n")
            now = Moment("", cpu_time(process.pid), time.perf_counter() - start)
            moments += [Moment(line.decode(errors="replace").strip(), now.cpu, now.wall) for line in lines if marks.encode() in line]
            text = (text + data)[-4000:]
        if process.wait(20):
            raise Broken(f"{command[0]} ended with {process.returncode}:\n{text.decode(errors='replace')}")
    finally:
        process.kill()
        process.wait()
    return moments


def machine(tinamou: bool, *words: str | Path) -> list[str]:
    return [*(OURS if tinamou else THEIRS), "-M", "virt", "-display", "none", "-serial", "stdio", "-monitor", "none", *map(str, words)]


def linux(tinamou: bool, disk: Path, *words: str | Path) -> list[str]:
    return machine(tinamou, "-m", "256", "-bios", opensbi(64), "-kernel", kernel("riscv64"), "-initrd", disk, "-no-reboot",
                   "-append", "console=ttyS0 quiet", *words)  # fmt: skip


Pair = tuple[tuple[float, float], tuple[float, float]]  # (CPU, wall) of ours and theirs, in seconds


def sides(runs: int, once: Callable[[bool], tuple[float, float]]) -> Pair:
    """Medians of (CPU, wall) of ours and theirs, in turns."""
    samples: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for _ in range(runs):
        for tinamou in (True, False):
            samples[tinamou].append(once(tinamou))
    ours, theirs = ([statistics.median(column) for column in zip(*samples[k], strict=True)] for k in (True, False))
    return (ours[0], ours[1]), (theirs[0], theirs[1])


def verdict(reached: bool, goal: str) -> str:
    return f"goal {goal}: {'reached' if reached else 'NOT reached'}"


def show(name: str, unit: str, scale: float, pair: Pair, ratio: float = 0.0, below: float = 0.0, goal: str = "") -> None:
    """A row.  Goals: a ratio, or a value in `unit` that ours is below; `goal` is what they are called."""
    (cpu, wall), (their_cpu, their_wall) = pair
    reached = max(cpu / their_cpu, wall / their_wall) <= ratio if ratio else max(cpu, wall) * scale < below
    print(f"{name:<34} {cpu * scale:>9.3g} {their_cpu * scale:>9.3g} {unit:<3} CPU {cpu / their_cpu:>6.2f}x   "
          f"wall {wall * scale:>9.3g} {their_wall * scale:>9.3g} {wall / their_wall:>6.2f}x   "
          f"{verdict(reached, goal or f'{ratio}x') if ratio or below else ''}".rstrip(), flush=True)  # fmt: skip


def boot(folder: Path, runs: int) -> None:
    disk = folder / "boot.gz"
    disk.write_bytes(initramfs("riscv64", BOOT_INIT))
    for cpus in (1, 4):

        def once(tinamou: bool, cpus: int = cpus) -> tuple[float, float]:
            first = watch(linux(tinamou, disk, "-smp", str(cpus)))[0]
            return first.cpu, first.wall

        name = f"to shell, {cpus} CPU{'s' * (cpus > 1)}"
        once(True)  # what a first run compiles and keeps on disk
        pair = sides(runs, once)
        show(f"{name}, cold", "s", 1, pair, ratio=1.3)
        show(f"{name}, warm code cache", "s", 1, pair, ratio=0.7)
        if cpus == 1:
            first = watch(linux(True, disk), environment={"TINAMOU_CACHE": str(folder / "cache")})[0]
            show(f"{name}, first run", "s", 1, ((first.cpu, first.wall), pair[1]))


def compute(folder: Path, runs: int) -> None:
    disk, kernels = folder / "compute.gz", build.kernels()
    programs = {f"bin/{k}": build.compile(k, "riscv64").read_bytes() for k in kernels}
    lines = "".join(f"run {k.name} {k.rounds}\n" for k in kernels.values())
    disk.write_bytes(initramfs("riscv64", f"{COMPUTE_INIT}{lines}$b poweroff -f\n", programs))
    taken: dict[bool, list[list[Moment]]] = {True: [], False: []}
    for _ in range(runs):
        for tinamou in (True, False):
            taken[tinamou].append(watch(linux(tinamou, disk)))
    ratios: dict[str, list[float]] = {}
    for n, k in enumerate(kernels.values()):
        ours, theirs = (
            tuple(statistics.median(getattr(m[2 * n + 1], what) - getattr(m[2 * n], what) for m in taken[side]) for what in ("cpu", "wall"))
            for side in (True, False)
        )
        show(f"{k.name} under Linux", "s", 1, ((ours[0], ours[1]), (theirs[0], theirs[1])))
        ratios.setdefault(k.group, []).append(ours[1] / theirs[1])
    for group, found in ratios.items():
        print(f"{group} under Linux, geometric mean by wall time: {statistics.geometric_mean(found):.2f}x")


def uart(folder: Path, runs: int) -> None:
    from tinamou.isa.riscv.pseudo import assembler

    images = {}
    for name, loop in (("none", ""), ("read", READ_LSR)):
        images[name] = folder / f"uart-{name}.bin"
        images[name].write_bytes(assembler(64).assemble(UART.format(loop=loop), RAM).data)

    def once(tinamou: bool) -> tuple[float, float]:
        one, two = watch(machine(tinamou, "-m", "32", "-bios", images["read"]), "M")
        return (two.cpu - one.cpu) / UART_LOOPS, (two.wall - one.wall) / UART_LOOPS

    show("UART register access", "us", 1e6, sides(runs, once), below=2, goal="2 us")


def disk(folder: Path, runs: int) -> None:
    start, image = folder / "disk.gz", folder / "disk.img"
    start.write_bytes(initramfs("riscv64", DISK_INIT, modules("riscv64", "virtio_blk")))
    with open(image, "wb") as file:
        for _ in range(DISK_MIB):
            file.write(os.urandom(1 << 20))

    def once(tinamou: bool) -> tuple[float, float]:
        one, two = watch(linux(tinamou, start, "-drive", f"file={image},if=virtio,format=raw"))
        return two.cpu - one.cpu, two.wall - one.wall

    show(f"virtio-blk, {DISK_MIB} MiB in sequence", "s", 1, sides(runs, once), ratio=1 / 0.7, goal="0.7x throughput")


def snapshot(folder: Path, runs: int) -> None:
    """Ours alone: the original has no snapshots in memory."""
    from tinamou import Machine

    start = folder / "shell.gz"
    start.write_bytes(initramfs("riscv64"))
    with Machine("virt", memory="512M", bios=opensbi(64), kernel=kernel("riscv64"), initrd=start, append="console=ttyS0 quiet") as m:
        m.run(until="# ", timeout=300)
        begin = time.perf_counter()
        shell = m.snapshot()
        taken = time.perf_counter() - begin
        rows: list[tuple[float, float, float]] = []
        for n in range(max(5, runs)):
            begin, cpu = time.perf_counter(), time.process_time()
            m.restore(shell)
            restored = time.perf_counter() - begin
            m.serial.write(f"echo $((1000 + {n}))\n")
            m.run(until=f"\n{1000 + n}")
            rows.append((restored, time.perf_counter() - begin, time.process_time() - cpu))
        forks = []
        for _ in range(max(5, runs)):
            begin = time.perf_counter()
            m.fork().close()
            forks.append(time.perf_counter() - begin)
    restored, answered, cpu = (statistics.median(column) * 1e3 for column in zip(*rows, strict=True))
    print(f"in-memory snapshot of a shell: taken in {taken * 1e3:.0f} ms, restored in {restored:.0f} ms, the shell's next answer "
          f"{answered:.0f} ms after restore began ({cpu:.0f} ms of CPU); fork {statistics.median(forks) * 1e3:.0f} ms   "
          f"{verdict(answered < 100, '100 ms')}")  # fmt: skip


ALL = {"boot": boot, "compute": compute, "uart": uart, "disk": disk, "snapshot": snapshot}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("what", nargs="*", metavar="NAME", help=f"{', '.join(ALL)}; all when none is named")
    arguments = parser.parse_args()
    for name in arguments.what:
        if name not in ALL:
            parser.error(f"no benchmark '{name}'; one of {', '.join(ALL)}")
    if arguments.runs < 1:
        parser.error(f"--runs {arguments.runs}: at least 1")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs; tinamou, original, ratio; medians of {arguments.runs} runs")
    with tempfile.TemporaryDirectory(prefix="tinamou-bench-") as folder:
        try:
            for name in arguments.what or ALL:
                ALL[name](Path(folder), arguments.runs)
        except Broken as e:
            print(f"bench: {e}", file=sys.stderr)
            return 1
    print(f"load average {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
