"""Which way imports go, and what a start does not import.

Checked from the source: every import counts, also those inside functions.  Those under TYPE_CHECKING are names for annotations; they
count only where a package may not know another one at all.
"""

from __future__ import annotations

import ast
import functools
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "tinamou"

# package -> what it may import.  Everything may import the package itself (its version).
ALLOWED: dict[str, set[str]] = {
    "native": set(),
    "softfloat": {"native"},
    "engine": {"native"},
    "isa": {"native", "engine", "softfloat"},
    "machine": set(),
    "firmware": {"machine"},
    "backends": {"machine", "block"},
    "devices": {"machine", "backends"},
    "boards": {"machine", "devices", "isa", "firmware"},
    "block": set(),
    "user": {"native", "engine"},
    "control": {"machine", "devices", "backends", "block", "user"},
}
TOP = {"tools", "api", "pytest_plugin", "__init__"}  # may import everything
NOT_EVEN_NAMES = {"native", "softfloat", "block"}  # no import for annotations either

# modules -> packages that they may import besides
BESIDES = {
    "engine.machinecpu": {"machine"},  # the CPUs of a machine
    "engine.system": {"machine"},
    "isa.*.vcpu": {"machine"},  # an architecture's CPUs as parts of a machine
    "isa.*.runner": {"machine"},  # and what runs them, where engine.system does not
    "isa.*.linux": {"user"},  # an architecture's Linux ABI
    "devices.pci.gpex": {"firmware"},  # a host bridge writes its windows into the device tree
}

# Parts of one kind stand beside each other: none imports another, but all may import what they share.
PARTS = ["isa", "devices.*", "boards.*", "backends.chardev", "block.formats", "block.protocols", "block.filters", "user.calls",
         "tools.imgcmd", "control.commands", "control.human"]  # fmt: skip
SHARED = {"core", "bus", "port", "base", "common", "loading", "streams", "rings"}
SIDEWAYS = {  # the exceptions
    ("user.calls.clocks", "user.calls.notify"),
    ("user.calls.ioctls", "user.calls.sockets"),
    ("user.calls.mqueue", "user.calls.clocks"),
    ("user.calls.scheduling", "user.calls.polling"),
    ("block.protocols.host_device", "block.protocols.file"),
    ("tools.imgcmd.amend", "tools.imgcmd.create"),
    ("tools.imgcmd.convert", "tools.imgcmd.create"),
    ("tools.imgcmd.dd", "tools.imgcmd.create"),
    ("tools.imgcmd.measure", "tools.imgcmd.convert"),
    ("tools.imgcmd.measure", "tools.imgcmd.create"),
    ("tools.imgcmd.snapshot", "tools.imgcmd.info"),
    ("devices.virtio.pci", "devices.virtio.blk"),
    ("devices.virtio.pci", "devices.virtio.rng"),
    ("devices.virtio.pci", "devices.virtio.serial"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@functools.cache
def imports(path: Path) -> list[tuple[str, bool, int]]:
    return list(read_imports(path))


def read_imports(path: Path) -> Iterator[tuple[str, bool, int]]:
    """The modules that a file imports (those of Tinamou without `tinamou.`, others with a leading `/`), whether for annotations only."""
    tree = ast.parse(path.read_text())
    package = list(path.relative_to(ROOT).parts[:-1])
    names = set()
    for n in ast.walk(tree):
        if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test):
            names.update(map(id, ast.walk(n)))
    for n in ast.walk(tree):
        found: list[str] = []
        if isinstance(n, ast.Import):
            found = [a.name for a in n.names]
        elif isinstance(n, ast.ImportFrom):
            base = ["tinamou", *package][: len(package) + 2 - n.level] if n.level else []
            base += n.module.split(".") if n.module else []
            found = [".".join([*base, a.name]) for a in n.names] if base == ["tinamou"] or not n.module else [".".join(base)]
        for name in found:
            known = name == "tinamou" or name.startswith("tinamou.")
            yield (name.removeprefix("tinamou").removeprefix(".") if known else f"/{name}"), id(n) in names, getattr(n, "lineno", 0)


FILES = {module_name(p): p for p in sorted(ROOT.rglob("*.py"))}


def matches(name: str, pattern: str) -> bool:
    given, wanted = name.split("."), pattern.split(".")
    return len(given) == len(wanted) and all(w in ("*", g) for g, w in zip(given, wanted, strict=True))


def test_every_package_is_known() -> None:
    assert {name.split(".")[0] for name in FILES} == set(ALLOWED) | TOP & {name.split(".")[0] for name in FILES}


@pytest.mark.parametrize("package", ALLOWED)
def test_directions(package: str) -> None:
    wrong = []
    for name, path in FILES.items():
        if name.split(".")[0] != package:
            continue
        may = ALLOWED[package] | {package, ""} | {p for m, more in BESIDES.items() if matches(name, m) for p in more}
        for target, for_names, line in imports(path):
            if target.startswith("/") or (for_names and package not in NOT_EVEN_NAMES):
                continue
            if target.split(".")[0] not in may and target not in ("__version__", "version"):
                wrong.append(f"{path}:{line}: {name} imports {target}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", PARTS)
def test_no_part_imports_another(kind: str) -> None:
    wrong = []
    depth = len(kind.split("."))
    for name, path in FILES.items():
        parts = name.split(".")
        if len(parts) <= depth or not matches(".".join(parts[:depth]), kind):
            continue
        for target, for_names, line in imports(path):
            other = target.split(".")
            if for_names or other[:depth] != parts[:depth] or len(other) <= depth or other[depth] == parts[depth]:
                continue
            if other[depth] in SHARED or (name, ".".join(other[: depth + 1])) in SIDEWAYS:
                continue
            if ".".join(other[: depth + 1]) in FILES:  # else a name of the package itself
                wrong.append(f"{path}:{line}: {name} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_exceptions_are_needed() -> None:
    """The lists above say no more than there is."""
    edges = {(name, target) for name, path in FILES.items() for target, _, _ in imports(path)}
    for name, target in SIDEWAYS:
        assert any(a == name and (b == target or b.startswith(target + ".")) for a, b in edges), (name, target)
    for pattern, packages in BESIDES.items():
        for package in packages:
            assert any(matches(a, pattern) and b.split(".")[0] == package for a, b in edges), (pattern, package)


def test_one_module_imports_llvm() -> None:
    users = {name for name, path in FILES.items() for target, _, _ in imports(path) if target.split(".")[0] == "/llvmlite"}
    assert users == {"native.llvm"}


# -- what is imported when something starts


def modules_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def heavy(found: set[str], *more: str) -> set[str]:
    """What must not be there: LLVM, the compiler, whole families of the standard library."""
    unwanted = ("llvmlite", "unicorn", "cryptography", "asyncio", "unittest", "xml", "http", "email", "multiprocessing", *more)
    return {m for m in found if any(m == u or m.startswith(u + ".") for u in unwanted)}


def test_import_tinamou() -> None:
    found = modules_after("import tinamou")
    assert heavy(found, "ctypes", "subprocess", "socket", "tempfile", "logging", "json", "inspect", "dataclasses") == set()
    assert {m for m in found if m.startswith("tinamou.")} == set()


def test_image_tools() -> None:
    """The tools, every format, protocol and filter, and every subcommand."""
    names = [n for n in FILES if n.startswith("block") or n.split(".")[:2] in (["tools", "img"], ["tools", "imgcmd"], ["tools", "io"])]
    code = "import importlib\n" + "".join(f"importlib.import_module('tinamou.{n}')\n" for n in names)
    found = modules_after(code)
    assert {"tinamou.block.graph", "tinamou.tools.img", "tinamou.tools.io"} <= found
    assert heavy(found, "tinamou.native", "tinamou.engine", "tinamou.isa", "tinamou.machine", "tinamou.user", "inspect") == set()


# What a warm start does without: the compiler, the rows, what turns rows into handlers and regions.
FRONT_END = ["llvmlite", "tinamou.native.llvm", "tinamou.native.lower", "tinamou.native.intrinsics", "tinamou.native.floats",
             "tinamou.native.floatforms",
             "tinamou.engine.handlers", "tinamou.engine.decoder", "tinamou.engine.regions", "tinamou.engine.discovery",
             "tinamou.engine.patterns", "tinamou.engine.golden", "tinamou.engine.assemble", "tinamou.softfloat", "tinamou.isa.riscv.base",
             "tinamou.isa.riscv.operands", *(f"tinamou.{n}" for n in FILES if n.startswith(("isa.riscv.ext_", "isa.riscv.csr"))),
]  # fmt: skip

RUN = """
import sys
sys.path.insert(0, {tests!r})
from support.flat_guest import FlatGuest
from tinamou.isa.riscv.architecture import RV64
from tinamou.native.types import u64
guest = FlatGuest(RV64, 1 << 24)
guest.map(0x10000, 4096, 7)
guest.write(0x10000, bytes.fromhex("13052000 93051000 33b5a500 73000000"))
vcpu = guest.vcpu()
vcpu.cpu.pc = u64(0x10000)
thread = guest.thread(vcpu)
assert vcpu.run().cause == 8
thread.close()
"""


def test_warm_interpreter() -> None:
    code = RUN.format(tests=str(Path(__file__).parent))
    modules_after(code)  # from now on the cache is warm
    found = modules_after(code)
    assert "tinamou.engine.vcpu" in found
    assert heavy(found, *FRONT_END) == set()


def test_warm_user_program(tmp_path: Path) -> None:
    """A whole run of a program: exit(7)."""
    code = bytes.fromhex("13057000 9308d005 73000000")
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 243, 1, 0x10078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x10000, 0x10000, 132, 132, 4096)
    program = tmp_path / "program"
    program.write_bytes(head + segment + code)
    program.chmod(0o755)
    for _ in range(2):
        command = [sys.executable, "-X", "importtime", "-m", "tinamou.tools.main", "user", "riscv64", str(program)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 7, done.stderr
    found = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "tinamou.user.process" in found and "tinamou.engine.vcpu" in found
    assert heavy(found, "_hashlib", "socket", "pathlib", *FRONT_END) == set()


def test_warm_board(tmp_path: Path) -> None:
    """A microcontroller board: neither the compiler and the rows, nor what looks for packages with plug-ins."""
    firmware = tmp_path / "toggle.bin"
    firmware.write_bytes(struct.pack("<4H", 0x9A25, 0x9A1D, 0x0000, 0xCFFD))
    code = f"from tinamou.tools.run import main\nassert main([{str(firmware)!r}, '--seconds', '0.001']) == 0"
    modules_after(code)
    found = modules_after(code)
    rows = [f"tinamou.{n}" for n in FILES if n.startswith(("isa.avr.base", "isa.avr.ext_", "isa.avr.operands"))]
    assert "tinamou.isa.avr.runner" in found and len(rows) == 4
    assert heavy(found, "importlib.metadata", *FRONT_END, *rows) == set()
