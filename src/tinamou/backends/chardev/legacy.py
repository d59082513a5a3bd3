"""The short spellings that `-serial`, `-monitor`, `-qmp` and `-gdb` take: `tcp:HOST:PORT,server`, `unix:PATH`, `stdio`."""

from __future__ import annotations

import re

from tinamou.machine.props import PropertyError, choices

SIMPLE = ("null", "pty", "stdio", "vc", "ringbuf")
KNOWN = (*SIMPLE, "none", "file:", "pipe:", "tcp:", "telnet:", "unix:", "udp:", "mon:", "chardev:", "/dev/")


def options(text: str, id_: str) -> dict[str, str]:
    """Option text as `-chardev` options with the given id. Raises PropertyError naming the text."""
    name, _, rest = text.partition(":")
    base = {"backend": name, "id": id_}
    if text in SIMPLE or text == "msmouse":
        return base
    if name == "vc" and rest:
        return base
    if name == "file" and rest:
        path, *more = rest.split(",")
        return {**base, "path": path, **_flags(more)}
    if name == "pipe" and rest:
        return {**base, "path": rest}
    if name in ("tcp", "telnet", "unix", "websocket"):
        address, *more = rest.split(",")
        flags = _flags(more)
        if name == "unix":
            return {"backend": "socket", "id": id_, "path": address, **flags}
        m = re.fullmatch(r"(?:\[([^\]]*)\]|([^:]*)):(\d+)", address)
        if not m:
            raise PropertyError(f"'{text}' is not a valid char driver", "expected HOST:PORT")
        telnet = {"telnet": "on"} if name == "telnet" else {}
        return {"backend": "socket", "id": id_, "host": m[1] or m[2] or "", "port": m[3], **telnet, **flags}
    if name == "udp" and rest:
        m = re.fullmatch(r"([^:@]*):(\d+)(?:@([^:]*):(\d+))?", rest)
        if not m:
            raise PropertyError(f"'{text}' is not a valid char driver", "expected HOST:PORT@LOCAL:PORT")
        return {**base, "host": m[1] or "localhost", "port": m[2], "localaddr": m[3] or "", "localport": m[4] or "0"}
    if text.startswith("/dev/"):
        return {"backend": "serial", "id": id_, "path": text}
    raise PropertyError(f"'{text}' is not a valid char driver", choices(text, KNOWN))


def _flags(parts: list[str]) -> dict[str, str]:
    """`server,nowait,nodelay` and `server=on,wait=off` mean the same."""
    out = {}
    for p in parts:
        key, sign, value = p.partition("=")
        if sign:
            out[key] = value
        elif key.startswith("no") and key != "nodelay":
            out[key[2:]] = "off"
        elif key:
            out[key] = "on"
    return out
