import json
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from control.vm_harness import FakeCpu, FakeRunner
from tinamou.control.building import build
from tinamou.control.commandline import parse
from tinamou.control.request import OPTIONS, Finished, OptionError
from tinamou.control.running import complain, main
from tinamou.machine.memory import MiB

PROGRAM = "qemu-system-riscv64"


def make(*words):
    return build(parse([*words], PROGRAM), FakeCpu, FakeRunner(), "riscv64")


def told(*words):
    """What standard error shows for a mistake."""
    with pytest.raises(OptionError) as e:
        make(*words)
    return complain(PROGRAM, e.value)


BASE = ("-M", "virt", "-bios", "none", "-display", "none")
MISTAKES = [
    (["-foo"], "-foo: invalid option"), (["-m"], "-m: requires an argument"), (["-M", "virtt"], "unsupported machine type"),
    (["-m", "foo"], "-m foo: Parameter 'size' expects a non-negative number below 2^64"),
    ([*BASE, "-smp", "9999"], "Invalid SMP CPUs 9999. The max CPUs supported by machine 'virt' is 512"),
    ([*BASE, "-serial", "foo"], "-serial foo: 'foo' is not a valid char driver"),
    ([*BASE, "-chardev", "foo,id=a"], "-chardev foo,id=a: 'foo' is not a valid char driver name"),
    ([*BASE, "-chardev", "socket"], "-chardev socket: chardev: no id specified"),
    ([*BASE, "-chardev", "file,id=a"], "-chardev file,id=a: chardev: file: no filename given"),
    ([*BASE, "-device", "foo"], "-device foo: 'foo' is not a valid device model name"),
    ([*BASE, "-device", "foo=bar"], "-device foo=bar: Parameter 'driver' is missing"),
    ([*BASE, "-device", "virtio-blk-pci"], "-device virtio-blk-pci: drive property not set"),
    ([*BASE, "-device", "virtio-blk-pci,drive=zz"],
     "-device virtio-blk-pci,drive=zz: Property 'virtio-blk-device.drive' can't find value 'zz'"),
    ([*BASE, "-device", "virtio-rng-pci,period=x"], "-device virtio-rng-pci,period=x: Parameter 'period' expects integer"),
    ([*BASE, "-device", "virtio-rng-pci,rng=zz"], "-device virtio-rng-pci,rng=zz: Device 'zz' not found"),
    ([*BASE, "-device", "virtio-rng-pci,foo=1"], "-device virtio-rng-pci,foo=1: Property 'virtio-rng-pci.foo' not found"),
    ([*BASE, "-device", "virtio-rng-pci,addr=zz"],
     "-device virtio-rng-pci,addr=zz: Property 'virtio-rng-pci.addr' doesn't take value 'zz'"),
    ([*BASE, "-device", "virtio-rng-pci,bus=zz"], "-device virtio-rng-pci,bus=zz: Bus 'zz' not found"),
    ([*BASE, "-device", "virtconsole"], "-device virtconsole: No 'virtio-serial-bus' bus found for device 'virtconsole'"),
    ([*BASE, "-device", "virtio-rng-pci,id=_a"], "-device virtio-rng-pci,id=_a: Parameter 'id' expects an identifier"),
    ([*BASE, "-device", "virtio-rng-pci,id=a", "-device", "virtio-rng-pci,id=a"],
     "-device virtio-rng-pci,id=a: Duplicate ID 'a' for device"),
    ([*BASE, "-device", "virtio-rng-pci,addr=1,id=a", "-device", "virtio-rng-pci,addr=1"],
     "-device virtio-rng-pci,addr=1: PCI: slot 1 function 0 not available for virtio-rng-pci, in use by virtio-rng-pci,id=a"),
    (["-M", "virt", "-append", "x"], "-append only allowed with -kernel option"),
    (["-M", "virt", "-initrd", "x"], "-initrd only allowed with -kernel option"),
    (["-M", "virt", "-bios", "/nonexistent"], 'Unable to load the RISC-V firmware "/nonexistent"'),
    (["-M", "virt,foo=1"], "Property 'virt-machine.foo' not found"),
    (["-M", "virt,kernel"], "-M virt,kernel: Expected '=' after parameter 'kernel'"),
    ([*BASE, "-drive", "if=foo"], "-drive if=foo: unsupported bus type 'foo'"),
    ([*BASE, "-name", "a,b=c"], "-name a,b=c: Invalid parameter 'b'"), ([*BASE, "-uuid", "x"], "-uuid x: failed to parse UUID"),
    ([*BASE, "-rtc", "base=foo"], "-rtc base=foo: invalid datetime format"),
    ([*BASE, "-icount", "foo"], "-icount foo: icount: Invalid shift value"),
    ([*BASE, "-accel", "foo"], "-accel foo: invalid accelerator foo"), (["-accel", "tcg,foo=1"], "Property 'tcg-accel.foo' not found"),
    (["-accel", "tcg,thread=two"], "Invalid 'thread' setting two"),
    (["-display", "foo"], "does not accept value 'foo'"),
    ([*BASE, "-object", "foo,id=a"], "-object qom-type=foo,id=a: Parameter 'qom-type' does not accept value 'foo'"),
    ([*BASE, "-blockdev", "driver=foo,node-name=a"], "foo"), ([*BASE, "-D", "/nonexistent/x", "-d", "int"], "Error opening logfile"),
    ([*BASE, "-smp", "4,sockets=1,cores=3,threads=1"], "product of the hierarchy must match maxcpus"),
    ([*BASE, "-serial", "stdio", "-monitor", "stdio"], "cannot use stdio by multiple character devices"),
    ([*BASE, "-loadvm", "/nonexistent"], "-loadvm /nonexistent: Could not open '/nonexistent'")]
OTHER_OPTIONS = [
    (["-boot", "order=z"], ": Invalid boot device 'z'"), (["-boot", "cc"], ": Boot device 'c' was given twice"),
    (["-boot", "foo=1"], ": Parameter 'boot.foo' is unexpected"),
    (["-boot", "strict=maybe"], "Parameter 'boot.strict' expects 'on' or 'off'"),
    (["-boot", "reboot-timeout=70000"], ": reboot timeout is invalid,it should be a value between -1 and 65535"),
    (["-boot", "splash-time=-2"], ": splash-time is invalid,it should be a value between 0 and 65535"),
    (["-boot", "once=d"], ": no function defined to set boot device list for this architecture"),
    (["-action", "foo=bar"], "-action foo=bar: Invalid parameter 'foo'\naccepted: reboot, shutdown, panic, watchdog"),
    (["-action", "reboot=shutdwn"], "Parameter 'reboot' does not accept value 'shutdwn'\nnearest: shutdown"),
    (["-watchdog-action", "foo"], "Parameter 'watchdog' does not accept value 'foo'"), (["-enable-kvm"], ": invalid accelerator kvm"),
    (["-usbdevice", "tablet"], "-usbdevice tablet: Error: no usb bus to attach usbdevice tablet"),
    (["-dfilter", "foo"], "-dfilter foo: Bad range specifier"), (["-dfilter", "5..4"], "-dfilter 5..4: Invalid range"),
    (["-vnc", ":1"], "-vnc :1: not supported yet\nUse -nographic"), (["-numa", "node"], "-numa node: not supported yet: NUMA nodes"),
    (["-incoming", "tcp:0:4444"], "-incoming tcp:0:4444: not supported yet: migration from another process\nUse -loadvm"),
    (["-virtfs", "local"], "not supported yet: shared folders"), (["-semihosting"], "-semihosting: not supported yet: semihosting"),
    ([*BASE, "-drive", "if=sd"], "machine type does not support if=sd,bus=0,unit=0"),
    ([*BASE, "-drive", "if=ide,index=3"], "machine type does not support if=ide,bus=1,unit=1"),
    ([*BASE, "-drive", "if=pflash,index=2"], "machine type does not support if=pflash,bus=0,unit=2")]
MORE_MISTAKES = [
    (["-M", "virt,usb=maybe"], "Parameter 'usb' expects 'on' or 'off'"), (["-M", "virt,accel=foo:bar"], "invalid accelerator foo:bar"),
    (["-M", "virt", "-nographic", "-daemonize"], ": -nographic cannot be used with -daemonize"),
    ([*BASE, "-netdev", "user,id=a"], "there are no network backends yet\naccepted: none"),
    ([*BASE, "-drive", "file=/dev/null,format=rwa"], "Unknown driver 'rwa'\nDid you mean 'raw'?"),
    ([*BASE, "-drive", "file=/dev/null,werror=stp"], "'stp' invalid write error action\nnearest: stop"),
    ([*BASE, "-drive", "file=/dev/null,rerror=enospc"], "'enospc' invalid read error action\naccepted: report, ignore, stop"),
    ([*BASE, "-drive", "media=cd"], "'cd' invalid media\naccepted: disk, cdrom"),
    ([*BASE, "-global", "virtio-mmio.force=off"], "can't apply global virtio-mmio.force=off: Property 'virtio-mmio.force' not found"),
    (["-M", "virt", "-bios", "/nonexistent"], 'Unable to load the RISC-V firmware "/nonexistent"\nno such file'),
    ([*BASE, "-kernel", "/nonexistent"], "could not load kernel '/nonexistent'\nNo such file or directory\n"),
    ([*BASE, "-kernel", "/dev/zero"], "could not load kernel '/dev/zero'\nit is no regular file\n"),
    ([*BASE, "-device", "virtio-rng-pci,addr=99"], "doesn't take value '99'\nexpected: SLOT from 0 to 1f"),
    ([*BASE, "-drive", "if=none,id=disk", "-device", "virtio-blk-pci,drive=dsik"], "can't find value 'dsik'\nnearest: disk"),
    ([*BASE, "-object", "rng-builtin,id=r", "-device", "virtio-rng-pci,rng=x"], "Device 'x' not found\naccepted: r"),
    ([*BASE, "-kernel", "/"], "could not load kernel '/'\nIs a directory\n")]


ALL_MISTAKES = MISTAKES + OTHER_OPTIONS + MORE_MISTAKES


@pytest.mark.parametrize("words,text", ALL_MISTAKES, ids=[" ".join(m[0][-2:]) for m in ALL_MISTAKES])
def test_mistakes(words, text):
    from tinamou.backends.chardev.streams import StdioChardev

    StdioChardev.used = False
    out = told(*words)
    StdioChardev.used = False
    assert out.startswith(f"{PROGRAM}: ") and text in out and "Traceback" not in out


def test_what_changes_nothing_is_taken(tmp_path):
    image = tmp_path / "cd.iso"
    image.write_bytes(bytes(2048))
    vm = make(*BASE, "-k", "de", "-vnc", "none", "-sandbox", "off", "-overcommit", "mem-lock=off,cpu-pm=on", "-usb", "-only-migratable",
              "-compat", "deprecated-input=accept,deprecated-output=accept", "-full-screen", "-rotate", "90", "-cdrom", str(image),
              "-watchdog-action", "pause", "-mem-prealloc")  # fmt: skip
    assert [d.id for d in vm.drives.values()] == ["none2"]


def test_actions():
    vm = make(*BASE, "-action", "reboot=shutdown,shutdown=pause,panic=none")
    assert vm.no_reboot and vm.no_shutdown
    vm = make(*BASE, "-no-reboot", "-action", "reboot=reset")
    assert not vm.no_reboot


def test_boot_is_told_to_the_firmware():
    from tinamou.devices.misc.fw_cfg import BOOT_MENU, NOGRAPHIC, UUID, FwCfg

    vm = make("-M", "virt", "-bios", "none", "-nographic", "-monitor", "none", "-serial", "none", "-uuid",
              "11111111-2222-3333-4444-555555555555", "-boot", "menu=on,strict=on,reboot-timeout=77,splash-time=5")  # fmt: skip
    fw_cfg = next(d for d in vm.machine.devices if isinstance(d, FwCfg))
    assert (fw_cfg.items[NOGRAPHIC], fw_cfg.items[BOOT_MENU]) == (b"\1\0", b"\1\0")
    assert fw_cfg.items[UUID].hex() == "11111111222233334444555555555555"
    assert fw_cfg.files == {"etc/boot-fail-wait": b"\x4d\0\0\0", "etc/boot-menu-wait": b"\5\0"}
    vm = make(*BASE)
    fw_cfg = next(d for d in vm.machine.devices if isinstance(d, FwCfg))
    assert fw_cfg.files == {"etc/boot-fail-wait": b"\xff" * 4} and fw_cfg.items[BOOT_MENU] == b"\0\0"


def test_messages_with_time_and_name(capsys):
    words = ["-M", "none", "-display", "none", "-name", "box", "-msg", "timestamp=on,guest-name=on", "-d", "int,cpu", "-device", "foo"]
    assert main(words, PROGRAM, "riscv") == 1
    when = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z box "
    warning, error, *_ = capsys.readouterr().err.splitlines()
    told_of = "-d cpu: nothing is logged for that yet; what is: guest_errors, in_asm, int, unimp"
    assert re.fullmatch(when + f"{PROGRAM}: warning: {told_of}", warning)
    assert re.fullmatch(when + f"{PROGRAM}: -device foo: 'foo' is not a valid device model name", error)
    assert "Parameter 'timestamp' expects 'on' or 'off'" in told(*BASE, "-msg", "timestamp=maybe")


def test_every_group_of_a_configuration_file(tmp_path):
    config = tmp_path / "machine.cfg"
    config.write_text(
        '[machine]\n  type = "virt"\n  usb = "off"\n[memory]\n  size = "64M"\n[smp-opts]\n  cpus = "2"\n[boot-opts]\n  menu = "on"\n'
        '[icount]\n  shift = "3"\n[accel]\n  accel = "tcg"\n  jit = "off"\n[action]\n  reboot = "shutdown"\n[msg]\n  timestamp = "on"\n'
        '[fw_cfg]\n  name = "opt/x"\n  string = "y"\n[rtc]\n  base = "utc"\n[name]\n  guest = "box"\n'
        '[object "r0"]\n  qom-type = "rng-builtin"\n[device "d0"]\n  driver = "virtio-rng-pci"\n  rng = "r0"\n'
        '[chardev "c0"]\n  backend = "null"\n[mon]\n  chardev = "c0"\n  mode = "control"\n'
    )
    r = parse(["-readconfig", str(config)])
    assert (r.machine, r.settings.cpus, r.settings.ram_size) == ({"type": "virt", "usb": "off"}, 2, 64 * MiB)
    assert (r.settings.boot, r.icount["shift"], r.accelerators, r.no_reboot, r.timestamps) == ({"menu": "on"}, 3, ["tcg"], True, True)
    assert r.jit == "off"
    assert r.objects == [{"qom-type": "rng-builtin", "id": "r0"}] and r.devices[0][1]["rng"] == "r0" and r.name == "box"
    assert r.chardevs == [{"backend": "null", "id": "c0"}] and r.monitors == [("control", "chardev:c0")]


def test_ranges_of_the_log():
    r = parse(["-dfilter", "0x1000+0x200,0x5000..0x5fff,9000-0x10"])
    assert r.log_ranges == [(0x1000, 0x11FF), (0x5000, 0x5FFF), (9000 - 15, 9000)]
    log = build(parse([*BASE, "-dfilter", "0x1000+0x200"], PROGRAM), FakeCpu, FakeRunner(), "riscv64").machine.log
    assert [log.wants(a) for a in (0xFFF, 0x1000, 0x11FF, 0x1200)] == [False, True, True, False]


def test_every_option_of_the_original_is_known():
    """Those of the 7.2 -help."""
    names = (
        "h version machine cpu accel smp numa add-fd set global boot m mem-path mem-prealloc k audio-help audio audiodev device "
        "name uuid fda fdb hda hdb hdc hdd cdrom blockdev drive mtdblock sd snapshot fsdev virtfs iscsi usb usbdevice display "
        "nographic spice portrait rotate vga full-screen vnc netdev nic net chardev tpmdev bios pflash kernel append initrd dtb "
        "compat fw_cfg serial parallel monitor qmp qmp-pretty mon debugcon pidfile singlestep preconfig S overcommit gdb s d D "
        "dfilter seed L enable-kvm no-reboot no-shutdown action loadvm daemonize option-rom rtc icount watchdog-action echr "
        "incoming only-migratable nodefaults chroot runas semihosting semihosting-config sandbox readconfig no-user-config "
        "trace plugin async-teardown msg dump-vmstate enable-sync-profile object"
    ).split()
    assert [n for n in names if n not in OPTIONS] == []


def test_hints_name_the_nearest():
    assert "nearest: virt" in told("-M", "virtt") and "nearest: virtio-rng-pci" in told(*BASE, "-device", "virtio-rng-pcy")
    assert "nearest: -" not in told("-qqqqqq") and "nearest: kernel" in told("-kernl")


@pytest.mark.parametrize("words,start,status", [
    (["-version"], "QEMU emulator version 5.1.0 (Tinamou ", 0), (["--version"], "QEMU emulator version 5.1.0", 0),
    (["-machine", "help"], "Supported machines are:\nnone                 empty machine\n", 0),
    (["-M", "sifive_e,help"], "sifive_e-machine options:\n  revb=<bool>", 0), (["-device", "help"], "Storage devices:\nname ", 0),
    (["-device", "virtio-rng-pci,help"], "virtio-rng-pci options:\n", 0), (["-chardev", "help"], "Available chardev backend types", 0),
    (["-d", "help"], "Log items (comma separated):\n", 1), (["-d", "foo"], "Log items (comma separated):\n", 1),
    (["-accel", "help"], "Accelerators supported", 0), (["-display", "help"], "Available display", 0), (["-help"], "QEMU emulator", 0),
    (["-cpu", "help"], "", 0)])
def test_help(words, start, status):
    with pytest.raises(Finished) as e:
        parse(words)
    assert e.value.text.startswith(start) and e.value.status == status


def test_a_machine_with_everything(tmp_path):
    disk = tmp_path / "d.img"
    disk.write_bytes(bytes(1 << 20))
    vm = make("-M", "virt", "-bios", "none", "-smp", "2", "-m", "32", "-nodefaults", "-name", "guest=test,debug-threads=on",
              "-chardev", f"socket,id=mon0,path={tmp_path}/qmp,server,nowait", "-mon", "chardev=mon0,mode=control",
              "-chardev", f"file,id=s0,path={tmp_path}/serial", "-serial", "chardev:s0",
              "-drive", f"file={disk},format=raw,if=none,id=d0", "-device", "virtio-blk-pci,drive=d0,id=disk0,serial=xyz",
              "-drive", f"file={disk},format=raw,if=virtio,readonly=on", "-global", "virtio-rng-device.period=5",
              "-object", "rng-random,id=r0,filename=/dev/urandom", "-device", "virtio-rng-device,rng=r0,id=rng0",
              "-fw_cfg", "name=opt/x,string=hello", "-d", "guest_errors", "-D", str(tmp_path / "log"), "-S", "-no-reboot")
    m = vm.machine
    assert len(m.cpus) == 2 and m.settings.ram_size == 32 * MiB and vm.name == "test" and vm.no_reboot
    assert m.find_device("disk0").virtio.drive is vm.drives["d0"] and m.find_device("rng0").period == 5
    m.memory.write(0x1000_0000, ord("!"), 1)
    m.memory.read(0x0200_8000, 4)
    assert (tmp_path / "serial").read_bytes() == b"!" and "no register" in (tmp_path / "log").read_text()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(tmp_path / "qmp"))
        s.setblocking(False)
        s.sendall(b'{"execute": "qmp_capabilities"}{"execute": "query-name"}')
        said = bytearray()

        def answered():
            try:
                said.extend(s.recv(4096))
            except BlockingIOError:
                vm.loop.once(0.01)
            return said.count(b"\r\n") == 3

        assert vm.loop.run_until(answered, 20)
        rows = [json.loads(r) for r in said.splitlines()]
        assert rows[2] == {"return": {"name": "test"}}
    for c in vm.chardevs.values():
        c.close()
    for d in vm.drives.values():
        d.close()


def test_globals_reach_what_boards_make(capsys):
    """Transports of the board, devices of -device and their insides; what does not exist is told."""
    given = ("virtio-mmio.force-legacy=false", "virtio-rng-device.period=5", "vritio-mmio.x=1")
    vm = make("-M", "virt", "-bios", "none", "-nodefaults", *(word for text in given for word in ("-global", text)),
              "-device", "virtio-rng-pci,id=r", "-device", "virtio-rng-pci,period=6,id=s")
    slots = [d for d in vm.machine.devices if d.type_name == "virtio-mmio"]
    assert len(slots) == 8 and not any(s.legacy for s in slots)
    assert [vm.machine.find_device(n).virtio.period for n in "rs"] == [5, 6]
    assert capsys.readouterr().err.endswith("warning: global vritio-mmio.x has invalid class name\nnearest: virtio-mmio\n")


def test_configuration_files(tmp_path):
    (tmp_path / "c").write_text('[machine]\n  type = "virt"\n[memory]\n  size = "64M"\n[device "r"]\n  driver = "virtio-rng-pci"\n'
                                '[smp-opts]\n  cpus = "2"\n[name]\n  guest = "a,b"\n')
    vm = make("-readconfig", str(tmp_path / "c"), "-bios", "none", "-nodefaults", "-set", "device.r.period=7")
    assert vm.machine.settings.ram_size == 64 * MiB and len(vm.machine.cpus) == 2
    assert vm.machine.find_device("r").virtio.period == 7 and vm.name == "a,b"
    (tmp_path / "bad").write_text("[device]\nx\n")
    assert "line 2: parse error" in told("-readconfig", str(tmp_path / "bad"))
    assert "Cannot read config file" in told("-readconfig", "/nonexistent")


def test_console_defaults():
    from tinamou.control.building import Builder

    for words, serials, monitors in (
            (["-nographic"], ["mon:stdio"], []), ([], ["vc"], [("readline", "vc")]), (["-nodefaults"], [], []),
            (["-nographic", "-serial", "stdio"], ["stdio"], []), (["-nographic", "-monitor", "none"], ["stdio"], [("readline", "none")]),
            (["-serial", "mon:stdio"], ["mon:stdio"], []), (["-monitor", "stdio"], ["vc"], [("readline", "stdio")])):
        assert Builder(parse(words)).consoles() == (serials, monitors), words


SCRIPT = "import sys; from tinamou.control.running import main; sys.exit(main(sys.argv[1:], 'qemu-system-riscv64', 'riscv'))"


def test_a_process_of_its_own(tmp_path):
    """Without an accelerator there are no CPUs: machine `none`, driven by QMP on standard input."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, "-M", "none", "-accel", "qtest", "-nodefaults", "-display", "none", "-qmp",
                           "stdio", "-pidfile", str(tmp_path / "pid")], capture_output=True, text=True, timeout=60,
                          input='{"execute":"qmp_capabilities"}{"execute":"query-status"}{"execute":"quit"}')
    rows = [json.loads(r) for r in done.stdout.splitlines()]
    assert done.returncode == 0 and rows[0]["QMP"] and rows[2]["return"]["status"] in ("prelaunch", "running")
    assert rows[-2]["event"] == "SHUTDOWN" and rows[-1] == {"return": {}} and not os.path.exists(tmp_path / "pid")


def test_status_of_mistakes():
    assert main(["-foo"], PROGRAM, "riscv") == 1 and main(["-version"], PROGRAM, "riscv") == 0 and main(["-d", "x"], PROGRAM, "riscv") == 1


@pytest.mark.skipif(not shutil.which("qemu-system-riscv64"), reason="compared with the original where it is installed")
@pytest.mark.parametrize("words", [w for w, _ in MISTAKES if w[:1] != ["-display"] and not {"-blockdev", "-object", "-loadvm", "-drive",
                                                                                           "-icount"} & set(w)
                                   and "virtt" not in w and w != ["-m"] and "-smp" not in w
                                   and "-foo" not in w], ids=lambda w: " ".join(w[-2:]))
def test_messages_are_the_originals(words):
    """The first line of standard error, byte for byte."""
    done = subprocess.run(["qemu-system-riscv64", *words, "-S"], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    from tinamou.backends.chardev.streams import StdioChardev

    StdioChardev.used = False
    mine = told(*words).splitlines()[0]
    StdioChardev.used = False
    if not done.stderr:
        pytest.skip("the original starts")
    theirs = done.stderr.splitlines()[0]
    # These options are checked when the machine is made here, and when they are read there: the prefix differs
    assert mine.split(": ", 1)[1].split(": ")[-1] == theirs.split(": ", 1)[1].split(": ")[-1]


@pytest.mark.parametrize("arch", ["riscv64", "avr"])
def test_machines_run_without_compiled_code(arch):
    from tinamou.tools.system import engine_of

    made = {}
    for mode in ("off", "on"):
        _, engine = engine_of(arch)(parse(["-accel", f"tcg,jit={mode},thread=multi,tb-size=64"]))
        made[mode] = engine
    assert told("-accel", "tcg,jit=of").splitlines()[1] == "nearest: off"
    assert arch == "avr" or [int(made[mode].shared.stencils != 0) for mode in ("off", "on")] == [0, int(os.uname().machine == "x86_64")]
    assert arch != "avr" or [made[mode].jit for mode in ("off", "on")] == ["off", "on"]
