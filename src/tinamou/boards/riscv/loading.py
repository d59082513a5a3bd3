"""`-bios` and `-kernel` of microcontrollers: a program goes where its file says."""

from __future__ import annotations

from tinamou.firmware import linux, loaders
from tinamou.machine.machine import Machine
from tinamou.machine.props import PropertyError


def load_at(m: Machine, what: str, name: str | None, start: int) -> None:
    """Load an ELF, HEX or raw file; raw bytes go to `start`. Raises PropertyError."""
    if name in (None, "none", "default"):
        return
    assert name is not None
    path = linux.find_data(m, name) if what == "bios" else name
    try:
        image = loaders.load(loaders.read_file(path or name), start)
    except (OSError, loaders.ImageError) as e:
        text = f'Unable to load the RISC-V firmware "{name}"' if what == "bios" else f"could not load kernel '{name}'"
        raise PropertyError(text, linux.reason(e)) from None
    linux.check_architecture(m, image, name)
    linux.place(m, name, image)
    if what == "kernel":
        m.kernel_entry = image.entry
