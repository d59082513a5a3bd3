import re
import select
import socket

import pytest

from control.vm_harness import Qmp, make
from tinamou.backends.chardev.base import MemoryChardev
from tinamou.backends.chardev.base import make as make_chardev
from tinamou.backends.chardev.mux import MuxChardev
from tinamou.control.hmp import Human, HumanSession
from tinamou.devices.virtio.pci import VirtioRngPci


@pytest.fixture
def h():
    return Human(make(cpus=2))


@pytest.mark.parametrize("line,answer", [
    ("foo", "unknown command: 'foo'\n"), ("info foo", "unknown command: 'info foo'\n"), ("", ""),
    ("print 1+2", "3\n"), ("p/x 0x10+5*2", "0x1a\n"), ("p/d 077", "63\n"), ("p/c 65", "'A'\n"), ("p/o 8", "010\n"),
    ("p -1", "-1\n"), ("p/u -1", "18446744073709551615\n"), ("p (1+2)*3", "9\n"), ("p ~0&0xff", "255\n"), ("p 'A'", "65\n"),
    ("p 5/0", 'division by zero\nTry "help p" for more information\n'),
    ("p (1+2", '\')\' expected\nTry "help p" for more information\n'),
    ("p $zz", 'unknown register\nTry "help p" for more information\n'),
    ("x", 'unexpected end of expression\nTry "help x" for more information\n'),
    ("stop foo", 'stop|s: extraneous characters at the end of line\nTry "help stop" for more information\n'),
    ("info mtree -z", 'mtree: unsupported option -z\nTry "help info mtree" for more information\n'),
    ("cpu 5", "invalid CPU index\n"), ("info status", "VM status: paused (prelaunch)\n"),
    ("info uuid", "00000000-0000-0000-0000-000000000000\n"), ("help stop", "stop|s  -- stop emulation\n"),
    ("help x", "x /fmt addr -- virtual memory dump starting at 'addr'\n"),
    ("info cpus", "* CPU #0: thread_id=100\n  CPU #1: thread_id=101\n"), ("info kvm", "kvm support: not compiled\n"),
    ("info mice", "No mouse devices connected\n"),
    ("device_add virtio-rng-pcie", "Error: 'virtio-rng-pcie' is not a valid device model name\n"
     "nearest: virtio-rng-pci, virtio-blk-pci, virtio-serial-pci\n"),
    ("device_del zz", "Error: Device 'zz' not found\n"), ("xp/4xb 0xffff0000000", "00000ffff0000000: Cannot access memory\n"),
    ("x/1xw 0x5000", "0000000000005000: Cannot access memory\n")])
def test_lines(h, line, answer):
    assert h.run(line) == answer


def test_dumps(h):
    h.vm.machine.memory.store_rom(0x1000, bytes.fromhex("970200001386820273254 0f1".replace(" ", "")))
    assert h.run("x/2xw 0x1000") == "0000000000001000: 0x00000297 0x02828613\n"
    assert h.run("xp /1xg 0x1000") == "0000000000001000: 0x0282861300000297\n"
    assert h.run("xp/3xh 0x1000") == "0000000000001000: 0x0297 0x0000 0x8613\n"
    assert h.run("xp/2d 0x1000") == "0000000000001000:   663     0\n"      # the size stays as it was
    assert h.run("xp/2c 0x80000000") == "0000000080000000: '\\x00' '\\x00'\n"
    assert h.run("xp/9xb 0x1000").count("\n") == 2


def test_dumping_a_device_changes_nothing():
    host = MemoryChardev()
    vm = make(serials=[host])
    host.deliver(b"k")
    uart = next(d for d in vm.machine.devices if d.type_name == "serial-mm")
    assert Human(vm).run("xp/8xb 0x10000000") and len(uart.rx) == 1


def test_registers_of_chosen_cpus(h):
    h.vm.machine.cpus[1].registers["pc"] = 0x1234
    assert h.run("info registers 1") == "\nCPU#1\n pc       0000000000001234\n"
    h.run("cpu 1")
    assert h.run("info registers").startswith("\nCPU#1") and h.run("p/x $zero") == "0x0\n"
    assert h.run("info registers -a").count("CPU#") == 2


def test_trees(h):
    pcie = next(b for b in h.vm.machine.buses() if b.name == "pcie.0")
    rng = VirtioRngPci()
    rng.id = "r0"
    pcie.plug(rng)
    tree = h.run("info qtree")
    assert tree.startswith("bus: main-system-bus\n  type System\n") and 'dev: virtio-rng-pci, id "r0"' in tree
    assert "    bus: pcie.0\n      type PCI" in tree and "num-harts = 2 (0x2)" in tree
    assert "(prio 0, romd): virt.flash0" in h.run("info mtree") and "memory-region: gpex_mmio_window" in h.run("info mtree")
    assert "FlatView" in h.run("info mtree -f")
    assert "/r0 (virtio-rng-pci)" in h.run("info qom-tree")
    assert 'addr=0000000000001000' in h.run("info roms")
    pci = h.run("info pci")
    assert "    Host bridge: PCI device 1b36:0008\n      PCI subsystem 1af4:1100\n" in pci and 'id "r0"' in pci


def test_every_info_command_answers(h):
    for line in h.run("info").splitlines():
        name = re.match(r"info ([\w-]+)", line)[1]
        assert "unknown command" not in h.run(f"info {name}")
    for line in h.run("help").splitlines():
        assert " -- " in line


def test_log_items(h):
    assert h.run("log foo").startswith("Log items (comma separated):\n") and not h.vm.machine.log.items
    assert h.run("log int,guest_errors") == "" and h.vm.machine.log.items == {"int", "guest_errors"}
    assert h.run("log all") == "" and "in_asm" in h.vm.machine.log.items
    assert h.run("log none") == "" and not h.vm.machine.log.items


def test_gdb_server(h, tmp_path):
    assert h.run("gdbserver none") == "Disabled gdbserver\n"
    assert h.run("gdbserver foo:").startswith("Could not open gdbserver on device 'foo:'\n")
    for where in ("tcp:127.0.0.1:0", f"unix:{tmp_path}/gdb"):
        assert h.run(f"gdbserver {where}") == f"Waiting for gdb connection on device '{where}'\n" and len(h.vm.debuggers) == 1
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"{tmp_path}/gdb")
        s.sendall(b"$qC#b4")
        while not select.select([s], [], [], 0.05)[0]:
            h.vm.loop.once(0)
        assert s.recv(1) == b"+"
    assert h.run("gdbserver none") == "Disabled gdbserver\n" and not h.vm.debuggers


def test_monitor_over_qmp():
    vm = make()
    assert Qmp(vm).ask("human-monitor-command", {"command-line": "info status"}) == {
        "return": "VM status: paused (prelaunch)\r\n"}


class Terminal:
    def __init__(self, vm):
        self.host = MemoryChardev()
        self.session = HumanSession(vm, self.host.write)
        self.host.attach(self.session)

    def type(self, text):
        self.host.sent.clear()
        self.host.deliver(text.encode())
        return bytes(self.host.sent)


def test_line_editing_is_redrawn_as_the_original_does():
    t = Terminal(make())
    assert bytes(t.host.sent) == b"QEMU 5.1.0 monitor - type 'help' for more information\r\n(qemu) "
    assert t.type("inf\n") == (b"i\x1b[K\x1b[Din\x1b[K\x1b[D\x1b[Dinf\x1b[K\r\nunknown command: 'inf'\r\n(qemu) ")
    assert t.type("stop\x7f\x7fx\n") == (
        b"s\x1b[K\x1b[Dst\x1b[K\x1b[D\x1b[Dsto\x1b[K\x1b[D\x1b[D\x1b[Dstop\x1b[K\x1b[D\x1b[D\x1b[D\x1b[Dsto\x1b[K"
        b"\x1b[D\x1b[D\x1b[Dst\x1b[K\x1b[D\x1b[Dstx\x1b[K\r\nunknown command: 'stx'\r\n(qemu) ")
    t.type("ab")
    assert t.type("\x01") == b"\x1b[D\x1b[D" and t.type("\x05") == b"\x1b[C\x1b[C" and t.type("\x15") == b"\x1b[D\x1b[D\x1b[K"
    assert t.type("\x1b[A") == b"stx\x1b[K" and t.type("\x1b[A") == b"\x1b[D\x1b[D\x1b[Dinf\x1b[K"


def test_completion():
    t = Terminal(make())
    t.type("info sta")
    assert t.type("\t").endswith(b"tus \x1b[K")
    t.type("\x15syste")
    out = t.type("\t")
    assert out.startswith(b"\r\nsystem_powerdown  system_reset      \r\n(qemu) system_\x1b[K")


def test_console_and_monitor_on_one_device():
    inner = MemoryChardev()
    mux = MuxChardev(inner=inner)
    vm = make(serials=[mux])
    session = HumanSession(vm, mux.write)
    mux.attach(session)
    mux.focus = 0
    inner.sent.clear()
    vm.machine.memory.write(0x1000_0000, ord("G"), 1)
    inner.deliver(b"k")
    assert inner.sent == b"G" and vm.machine.memory.read(0x1000_0000, 1) == ord("k")
    inner.deliver(b"\x01c")
    inner.deliver(b"info name\n")
    assert b"(qemu) " in inner.sent


def test_character_devices(h):
    h.vm.chardevs["r"] = make_chardev({"backend": "ringbuf", "id": "r"})
    h.run("ringbuf_write r hello")
    assert h.run("ringbuf_read r 99") == "hello\n" and h.run("info chardev") == "r: filename=ringbuf\n"
    assert h.run("chardev-add null,id=n") == "" and "n: filename=null" in h.run("info chardev")
    assert h.run("chardev-add null,id=n") == "Error: Chardev with id 'n' already exists\n"
    h.run("chardev-remove n")
    assert "n:" not in h.run("info chardev")
