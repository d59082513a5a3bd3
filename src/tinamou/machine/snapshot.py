"""Snapshots of a whole machine, in memory or in a file, walked from the declarations of its devices.

File layout (little endian): the line `TINAMOU-SNAPSHOT 1\\n`, u64 length of a JSON text, the JSON (machine name, time,
CPUs, devices, RAM sizes), then for each RAM block: u16 name length, name, and pieces of u64 offset, u32 length,
zlib-compressed bytes; a piece of length 0 ends the block.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import zlib
from dataclasses import dataclass, field
from typing import IO, Any

from tinamou.machine.machine import Machine

MAGIC = b"TINAMOU-SNAPSHOT 1\n"
_PIECE = struct.Struct("<QI")


class SnapshotError(Exception):
    """The snapshot is damaged or belongs to another machine."""


@dataclass
class Snapshot:
    """A machine's state in memory. RAM is kept in sparse memory files; restoring maps them copy-on-write."""

    state: dict[str, Any]
    rams: dict[str, int] = field(default_factory=dict)

    def close(self) -> None:
        """Give the memory back."""
        for fd in self.rams.values():
            os.close(fd)
        self.rams = {}

    def __del__(self) -> None:
        self.close()


def state(machine: Machine) -> dict[str, Any]:
    """Everything but RAM, as plain values."""
    machine.drain()
    machine.time.fire()  # what is due has happened: no line's level is older than the time
    return {
        "machine": machine.name,
        "time": machine.time.now,
        "rams": {name: ram.size for name, ram in machine.rams.items()},
        "cpus": [cpu.save() for cpu in machine.cpus],
        "devices": {path: d.save() for path, d in paths(machine)},
    }


def paths(machine: Machine) -> list[tuple[str, Any]]:
    """(unique name, device) in a stable order."""
    out, seen = [], dict[str, int]()
    for d in machine.everything():
        if d.parent is not None:
            continue
        name = d.id or d.type_name or type(d).__name__
        n = seen.get(name, 0)
        seen[name] = n + 1
        out.append((f"{name}[{n}]", d))
    return out


def take(machine: Machine) -> Snapshot:
    """A snapshot in memory. The machine must not be running."""
    with machine.lock:
        return Snapshot(state(machine), {name: ram.host.save() for name, ram in machine.rams.items()})


def restore(machine: Machine, snapshot: Snapshot) -> None:
    """Put a machine back into the state of a snapshot of it. Raises SnapshotError, the machine unchanged."""
    with machine.lock:
        machine.drain()
        _check(machine, snapshot.state)
        for name, fd in snapshot.rams.items():
            machine.rams[name].host.restore(fd)
        _load(machine, snapshot.state)


def _check(machine: Machine, saved: dict[str, Any]) -> None:
    if saved.get("machine") != machine.name:
        raise SnapshotError(f"the snapshot is of machine '{saved.get('machine')}', this is '{machine.name}'")
    rams = {name: ram.size for name, ram in machine.rams.items()}
    if saved.get("rams") != rams:
        raise SnapshotError("the snapshot's memory sizes differ from this machine's")
    have, want = {p for p, _ in paths(machine)}, set(saved.get("devices", {}))
    if have != want:
        missing, extra = sorted(want - have), sorted(have - want)
        raise SnapshotError("the snapshot has other devices"
                            + (f"; missing here: {', '.join(missing)}" if missing else "")
                            + (f"; not in it: {', '.join(extra)}" if extra else ""))
    if len(saved.get("cpus", [])) != len(machine.cpus):
        raise SnapshotError(f"the snapshot has {len(saved.get('cpus', []))} CPUs, this machine {len(machine.cpus)}")


def _load(machine: Machine, saved: dict[str, Any]) -> None:
    machine.time.set(saved["time"])
    machine.pins.quiet = True
    try:
        for path, d in paths(machine):
            d.load(saved["devices"][path])
        for cpu, s in zip(machine.cpus, saved["cpus"], strict=True):
            cpu.load(s)
    except (KeyError, ValueError, TypeError) as e:
        machine.pins.quiet = False
        raise SnapshotError(str(e)) from None
    high: dict[Any, int] = {}
    for d in machine.devices:
        for pin, n in d.relevel().items():
            high[pin] = high.get(pin, 0) + n
    for pin, n in high.items():
        pin.recount(n)
    machine.pins.quiet = False
    for ram in machine.rams.values():
        for listener in ram.listeners:
            listener.ram_written(ram, 0, ram.size)
    machine.memory.update()


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(zlib.compress(value)).decode()}
    if isinstance(value, dict):
        return {k: _encode(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_encode(v) for v in value]
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if list(value) == ["bytes"] and isinstance(value["bytes"], str):
            return zlib.decompress(base64.b64decode(value["bytes"]))
        return {k: _decode(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_decode(v) for v in value]
    return value


def write(machine: Machine, file: IO[bytes]) -> None:
    """Save to an open file."""
    with machine.lock:
        text = json.dumps(_encode(state(machine))).encode()
        file.write(MAGIC + struct.pack("<Q", len(text)) + text)
        for name, ram in machine.rams.items():
            label = name.encode()
            file.write(struct.pack("<H", len(label)) + label)
            for at, n in ram.host.used_chunks():
                packed = zlib.compress(ram.buffer[at : at + n], 1)
                file.write(_PIECE.pack(at, len(packed)) + packed)
            file.write(_PIECE.pack(0, 0))


def read(machine: Machine, file: IO[bytes]) -> None:
    """Restore from an open file. Raises SnapshotError; RAM may be partly changed when the file is damaged."""

    def take_bytes(n: int) -> bytes:
        data = file.read(n)
        if len(data) != n:
            raise SnapshotError("the snapshot file ends too early")
        return data

    with machine.lock:
        machine.drain()
        if file.read(len(MAGIC)) != MAGIC:
            raise SnapshotError("not a snapshot file of this version")
        (n,) = struct.unpack("<Q", take_bytes(8))
        if n > 1 << 30:
            raise SnapshotError("the snapshot file is damaged: its header is too long")
        try:
            saved = _decode(json.loads(take_bytes(n)))
        except (ValueError, zlib.error):
            raise SnapshotError("the snapshot file is damaged: its header cannot be read") from None
        if not isinstance(saved, dict):
            raise SnapshotError("the snapshot file is damaged: its header cannot be read")
        _check(machine, saved)
        for _ in machine.rams:
            (k,) = struct.unpack("<H", take_bytes(2))
            name = take_bytes(k).decode(errors="replace")
            ram = machine.rams.get(name)
            if ram is None:
                raise SnapshotError(f"the snapshot has memory '{name}', this machine has not")
            ram.host.clear()
            while True:
                at, packed = _PIECE.unpack(take_bytes(_PIECE.size))
                if not packed:
                    break
                if packed > 1 << 21 or at >= ram.size:
                    raise SnapshotError("the snapshot file is damaged: a piece of memory is out of range")
                d = zlib.decompressobj()
                try:
                    data = d.decompress(take_bytes(packed), 1 << 20)
                except zlib.error:
                    raise SnapshotError("the snapshot file is damaged: a piece of memory cannot be read") from None
                if at + len(data) > ram.size:
                    raise SnapshotError("the snapshot file is damaged: a piece of memory is out of range")
                ram.buffer[at : at + len(data)] = data
        _load(machine, saved)
