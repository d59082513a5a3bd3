"""Flattened device trees, version 17: Devicetree Specification 0.4, chapter 5 (all numbers big endian)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

MAGIC = 0xD00D_FEED
_BEGIN, _END, _PROP, _NOP, _FINISH = 1, 2, 3, 4, 9
_HEADER = struct.Struct(">10I")
_MAX_DEPTH = 64

Cell = int
Value = bytes | str | int | bool | list[int] | list[str] | tuple[int, ...]


class FdtError(ValueError):
    """Not a device tree, or a damaged one."""


def encode(value: Value) -> bytes:
    """A property's bytes: text with its NUL, numbers as 32-bit cells, True as an empty property."""
    match value:
        case bytes():
            return value
        case bool():
            return b""
        case str():
            return value.encode() + b"\0"
        case int():
            return struct.pack(">I", value)
        case _:
            if all(isinstance(v, str) for v in value):
                return b"".join(str(v).encode() + b"\0" for v in value)
            return struct.pack(f">{len(value)}I", *value)


def cells64(*values: int) -> list[int]:
    """Each number as two cells, high first."""
    return [half for v in values for half in (v >> 32, v & 0xFFFF_FFFF)]


@dataclass
class Node:
    """A node: its properties in order, and its children by name."""

    name: str = ""
    props: dict[str, bytes] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)
    tree: Tree | None = field(default=None, repr=False, compare=False)

    def __setitem__(self, key: str, value: Value) -> None:
        """Set a property; False removes it."""
        if value is False:
            self.props.pop(key, None)
        else:
            self.props[key] = encode(value)

    def __getitem__(self, key: str) -> bytes:
        return self.props[key]

    def __contains__(self, key: object) -> bool:
        return key in self.props

    def add(self, name: str, /, **props: Value) -> Node:
        """A new child, or the child of that name; properties as keywords with `_` for `-`."""
        node = self.children.get(name)
        if node is None:
            node = self.children[name] = Node(name, tree=self.tree)
        for key, value in props.items():
            node["device_type" if key == "device_type" else key.replace("_", "-")] = value
        return node

    def text(self, key: str) -> str:
        """The first string of a property."""
        return self.props[key].split(b"\0", 1)[0].decode(errors="replace")

    def texts(self, key: str) -> list[str]:
        """All strings of a property."""
        return [t.decode(errors="replace") for t in self.props[key].split(b"\0")[:-1]]

    def cells(self, key: str) -> list[int]:
        """A property as 32-bit cells. Raises FdtError when its length is no multiple of 4."""
        data = self.props[key]
        if len(data) % 4:
            raise FdtError(f"property {key} of {self.name or '/'} is not made of cells")
        return list(struct.unpack(f">{len(data) // 4}I", data))

    def walk(self, path: str = "") -> Iterator[tuple[str, Node]]:
        """(path, node) of this node and all below it."""
        here = f"{path}/{self.name}" if self.name else path
        yield here or "/", self
        for child in self.children.values():
            yield from child.walk(here)


class Tree:
    """A whole device tree."""

    def __init__(self) -> None:
        self.root = Node(tree=self)
        self.reserved: list[tuple[int, int]] = []
        self.boot_cpu = 0
        self._handles: dict[object, int] = {}
        self._nodes: dict[int, Node] = {}

    def phandle(self, owner: object, node: Node | None = None) -> int:
        """The number that stands for `owner` (a device, a CPU, a name); with `node` that node carries it."""
        key = owner if isinstance(owner, (str, tuple)) else id(owner)
        n = self._handles.get(key)
        if n is None:
            n = self._handles[key] = len(self._handles) + 1
        if node is not None:
            node["phandle"] = n
            self._nodes[n] = node
        return n

    def find(self, path: str) -> Node | None:
        """The node at a path; a missing unit address matches the first of that name."""
        node = self.root
        for part in path.strip("/").split("/"):
            if not part:
                continue
            found = node.children.get(part) or next(
                (c for c in node.children.values() if c.name.split("@")[0] == part), None)
            if found is None:
                return None
            node = found
        return node

    def make(self, path: str) -> Node:
        """The node at a path, made with its parents when missing."""
        node = self.root
        for part in path.strip("/").split("/"):
            if part:
                node = node.add(part)
        return node

    # --- binary form

    def pack(self, size: int = 0) -> bytes:
        """The binary tree. `size` pads it (room for firmware to add nodes); raises FdtError when it does not fit."""
        strings = bytearray()
        offsets: dict[str, int] = {}
        body = bytearray()

        def emit(node: Node) -> None:
            body.extend(struct.pack(">I", _BEGIN) + _padded(node.name.encode() + b"\0"))
            for key, data in node.props.items():
                if key not in offsets:
                    offsets[key] = len(strings)
                    strings.extend(key.encode() + b"\0")
                body.extend(struct.pack(">III", _PROP, len(data), offsets[key]) + _padded(data))
            for child in node.children.values():
                emit(child)
            body.extend(struct.pack(">I", _END))

        emit(self.root)
        body.extend(struct.pack(">I", _FINISH))
        reserved = b"".join(struct.pack(">QQ", a, n) for a, n in [*self.reserved, (0, 0)])
        at_reserved = _HEADER.size
        at_body = at_reserved + len(reserved)
        at_strings = at_body + len(body)
        total = at_strings + len(strings)
        if size and size < total:
            raise FdtError(f"the device tree has {total} bytes, more than {size}")
        total = max(total, size)
        header = _HEADER.pack(MAGIC, total, at_body, at_strings, at_reserved, 17, 16, self.boot_cpu,
                              len(strings), len(body))
        return (header + reserved + body + strings).ljust(total, b"\0")

    @classmethod
    def unpack(cls, data: bytes) -> Tree:
        """Read a binary tree. Raises FdtError."""
        if len(data) < _HEADER.size:
            raise FdtError("a device tree needs at least 40 bytes")
        magic, total, at_body, at_strings, at_reserved, version, compatible, boot, n_strings, n_body = _HEADER.unpack(
            data[: _HEADER.size])
        if magic != MAGIC:
            raise FdtError("not a device tree: the magic number is missing")
        if version < 16 or compatible > 17:
            raise FdtError(f"device tree version {version} is not supported")
        if version < 17:
            n_body = at_strings - at_body if at_strings > at_body else total - at_body
        if total > len(data) or at_body + n_body > total or at_strings + n_strings > total or at_reserved + 16 > total:
            raise FdtError("the device tree is cut short")
        tree = cls()
        tree.boot_cpu = boot
        at = at_reserved
        while at + 16 <= total:
            address, n = struct.unpack_from(">QQ", data, at)
            at += 16
            if not address and not n:
                break
            tree.reserved.append((address, n))
        strings = data[at_strings : at_strings + n_strings]
        body = data[at_body : at_body + n_body]
        tree._read(body, strings)
        return tree

    def _read(self, body: bytes, strings: bytes) -> None:
        stack: list[Node] = []
        at, seen_root = 0, False

        def word() -> int:
            nonlocal at
            if at + 4 > len(body):
                raise FdtError("the device tree is cut short")
            (n,) = struct.unpack_from(">I", body, at)
            at += 4
            return int(n)

        while True:
            match word():
                case 1:
                    end = body.find(b"\0", at)
                    if end < 0 or len(stack) >= _MAX_DEPTH or (not stack and seen_root):
                        raise FdtError("the device tree's nodes are damaged")
                    name = body[at:end].decode(errors="replace")
                    at = end + 4 & ~3
                    if stack:
                        node = Node(name, tree=self)
                        if name in stack[-1].children:
                            raise FdtError(f"two nodes are called {name}")
                        stack[-1].children[name] = node
                    else:
                        node, seen_root = self.root, True
                    stack.append(node)
                case 2:
                    if not stack:
                        raise FdtError("the device tree's nodes are damaged")
                    stack.pop()
                case 3:
                    n, name_at = word(), word()
                    end = strings.find(b"\0", name_at)
                    if not stack or at + n > len(body) or name_at >= len(strings) or end < 0:
                        raise FdtError("the device tree's properties are damaged")
                    key = strings[name_at:end].decode(errors="replace")
                    stack[-1].props[key] = body[at : at + n]
                    at = at + n + 3 & ~3
                    if key in ("phandle", "linux,phandle") and n == 4:
                        self._nodes[int.from_bytes(stack[-1].props[key], "big")] = stack[-1]
                case 4:
                    pass
                case 9:
                    if stack or not seen_root:
                        raise FdtError("the device tree's nodes are damaged")
                    return
                case other:
                    raise FdtError(f"unknown token {other:#x} in the device tree")

    # --- source form

    def dts(self) -> str:
        """The tree as source text that `dtc` reads."""
        lines = ["/dts-v1/;", ""]
        lines += [f"/memreserve/ {a:#018x} {n:#018x};" for a, n in self.reserved]
        _source(self.root, 0, lines)
        return "\n".join(lines) + "\n"


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


_TEXT = re.compile(rb"[\x20-\x7e]+(\0[\x20-\x7e]+)*\0", re.DOTALL)
_NUMBERS = ("reg", "interrupts", "phandle", "ranges")


def _shown(key: str, data: bytes) -> str:
    numeric = key in _NUMBERS or key.startswith("#") or key.endswith(("-map", "-frequency", "-cells"))
    if _TEXT.fullmatch(data) and not (numeric and len(data) % 4 == 0):
        parts = data[:-1].split(b"\0")
        return ", ".join('"' + p.decode().replace("\\", "\\\\").replace('"', '\\"') + '"' for p in parts)
    if len(data) % 4 == 0:
        return "<" + " ".join(f"{c:#x}" for (c,) in struct.iter_unpack(">I", data)) + ">"
    return "[" + data.hex(" ") + "]"


def _source(node: Node, depth: int, lines: list[str]) -> None:
    pad = "\t" * depth
    lines.append(f"{pad}{node.name or '/'} {{")
    for key, data in node.props.items():
        lines.append(f"{pad}\t{key};" if not data else f"{pad}\t{key} = {_shown(key, data)};")
    for child in node.children.values():
        lines.append("")
        _source(child, depth + 1, lines)
    lines.append(f"{pad}}};")
