"""Loading a compiled image into this process, from the cache or from a fresh build.

Neither LLVM nor the compiler is imported when the cache has the image: the key is made of the text of the sources, the versions of
llvmlite and Tinamou, and the host CPU.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import resource
import struct
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from . import cache as store
from .cache import blake2b
from .link import Image, link

PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 0, 1, 2, 4
SHORT, OTHER = 1, 2  # how a process ends that could not build an image: for want of memory, for another reason
MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE = 0x02, 0x20, 0x4000

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mremap.restype = ctypes.c_void_p
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

NEVER_COMPILED = ("linux.py",)
ROOM = 512 << 20  # bytes behind an image from which code is copied
KEEP = 4  # images of one name that stay in the cache


def allocate(size: int, protection: int = PROT_READ | PROT_WRITE) -> int:
    """Zeroed memory that is not backed before it is touched; OSError when the host refuses."""
    at = libc.mmap(None, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if at in (None, ctypes.c_void_p(-1).value):
        number = ctypes.get_errno()
        raise OSError(number, f"cannot reserve {size} bytes: {os.strerror(number)}")
    return int(at)


def address_space_left() -> int:
    """Bytes of address space that RLIMIT_AS allows still."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return 1 << 64
    with open("/proc/self/statm") as file:
        return max(limit - int(file.read().split()[0]) * resource.getpagesize(), 0)


def allocate_most(size: int) -> tuple[int, int]:
    """That much memory, or a quarter of what RLIMIT_AS allows still if that is less: (address, size).  OSError when the host refuses."""
    size = min(size, max(address_space_left() // 4, 1 << 20) & -4096)
    return allocate(size), size


def release(address: int, size: int) -> None:
    libc.munmap(address, size)


class Loaded:
    """An image in memory: addresses of its symbols, and of the loads and stores that may fault."""

    def __init__(self, image: Image) -> None:
        self.size = len(image.content)
        room = ROOM if "stencils" in image.symbols else 0
        try:
            self.base = allocate(self.size + room, PROT_NONE)
        except OSError:
            room = 0
            self.base = allocate(self.size, PROT_NONE)
        self.beyond = self.base + self.size if room else 0  # ROOM bytes of address space within reach of its code, for code to come
        libc.mprotect(self.base, self.size, PROT_READ | PROT_WRITE)
        self.code_size = image.code_size
        content = bytearray(image.content)
        for slot, offset in image.bases:
            struct.pack_into("<Q", content, slot, self.base + offset)
        for slot, name in image.imports:
            struct.pack_into("<Q", content, slot, _host_function(name))
        ctypes.memmove(self.base, bytes(content), self.size)
        if libc.mprotect(self.base, self.code_size, PROT_READ | PROT_EXEC):
            raise OSError(ctypes.get_errno(), "the host refuses executable memory")
        self.offsets, self.notes = image.symbols, image.notes
        self.faults = [(self.base + a, self.base + b) for a, b in image.faults]

    def __getitem__(self, symbol: str) -> int:
        return self.base + self.offsets[symbol]

    def function(self, symbol: str, result: type | None, *arguments: type) -> Callable[..., int]:
        """A symbol as a function; the interpreter lock is released while it runs."""
        return ctypes.CFUNCTYPE(result, *arguments)(self[symbol])


def _host_function(name: str) -> int:
    at = ctypes.cast(getattr(libc, name), ctypes.c_void_p).value
    assert at
    return at


@cache
def host_key() -> str:
    """What compiled code depends on besides its source: llvmlite's version and the CPU."""
    found = importlib.util.find_spec("llvmlite")
    version = ""
    if found and found.origin:
        site = os.path.dirname(os.path.dirname(found.origin))
        version = " ".join(sorted(name for name in os.listdir(site) if name.startswith("llvmlite-") and name.endswith(".dist-info")))
    cpu = os.uname().machine
    try:
        for line in open("/proc/cpuinfo", encoding="utf-8", errors="replace"):
            if line.startswith(("model name", "flags", "Features", "CPU part")):
                cpu += line
            elif not line.strip():
                break
    except OSError:
        pass
    return f"{version}|{cpu}"


@cache
def sources_key(packages: tuple[str, ...]) -> str:
    """A digest over the text of all modules of these packages (folders below src/tinamou), but for what none of them compiles."""
    root = os.path.dirname(os.path.dirname(__file__))
    digest = blake2b(digest_size=16)
    for package in packages:
        found = [(folder, name) for folder, _, names in os.walk(os.path.join(root, package)) for name in names if name.endswith(".py")]
        for folder, name in sorted(found):
            if name not in NEVER_COMPILED:
                with open(os.path.join(folder, name), "rb") as file:
                    digest.update(f"{package} {folder.removeprefix(root)} {name}\0".encode() + file.read() + b"\0")
    return digest.hexdigest()


def load(
    name: str,
    packages: Iterable[str],
    build: Callable[[], tuple[bytes, dict[str, Any]]],
    options: str = "",
    finish: Callable[[Image], None] | None = None,
) -> Loaded:
    """The image `name`: from the cache if it was made from the same sources, else from the object (and notes) that build() gives.

    `finish` may add to a new image before it is kept.  Raises MemoryError where the limit of the address space leaves no room to build it.
    """
    parts = "|".join([sources_key(tuple(packages)), options, host_key()])
    key = blake2b(parts.encode(), digest_size=12).hexdigest()
    file = f"{name}-{key}.image"
    raw = store.read(file)
    if raw is None:

        def make() -> bytes:
            obj, notes = build()
            image = link(obj)
            image.notes = notes
            if finish:
                finish(image)
            return pack(image)

        limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        raw = (made_apart(make) if limited else None) or make()
        store.write(file, raw)
        store.trim(name, KEEP)
    return Loaded(unpack(raw))


def made_apart(make: Callable[[], bytes]) -> bytes | None:
    """What make() gives, in a process of its own: LLVM aborts where it gets no memory, and leaves less of a limited address space.

    None for another failure.  Raises MemoryError.
    """
    end, begin = os.pipe()
    pid = os.fork()
    if not pid:
        status = SHORT
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            with open(begin, "wb") as out:
                out.write(make())
            status = 0
        except (MemoryError, OSError):
            pass
        except BaseException:
            status = OTHER
        finally:
            os._exit(status)
    os.close(begin)
    with open(end, "rb") as made:
        raw = made.read()
    status = os.waitpid(pid, 0)[1]
    if status and os.waitstatus_to_exitcode(status) != OTHER:
        raise MemoryError("no room to compile the interpreter under this limit of the address space (ulimit -v)")
    return None if status else raw


def pack(image: Image) -> bytes:
    head = {k: v for k, v in vars(image).items() if k not in ("content", "pieces")}
    text = json.dumps(head, separators=(",", ":")).encode()
    return struct.pack("<I", len(text)) + text + image.content


def unpack(raw: bytes) -> Image:
    (n,) = struct.unpack_from("<I", raw)
    return Image(**json.loads(raw[4 : 4 + n]), content=raw[4 + n :])
