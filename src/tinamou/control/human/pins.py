"""Pins of a board in the monitor: what is on them, and changing it from outside."""

from __future__ import annotations

from tinamou.control.hmp import Human, hmp
from tinamou.machine.props import PropertyError


@hmp("info pins", "", "show the pins of the board: voltage and what drives them")
def info_pins(h: Human) -> str:
    pins = h.vm.machine.pins
    if not len(pins):
        return f"machine '{h.vm.machine.name}' has no pins\n"
    return pins.describe() + "".join(f"{s}\n" for s in pins.shorts[-5:])


@hmp("pin", "name value", "drive a pin from outside: volts, `high`, `low`, or `release`")
def pin(h: Human, name: str, value: str) -> str:
    try:
        p = h.vm.machine.pins[name]
    except PropertyError as e:
        return f"Error: {e}\n" + (f"{e.hint.strip()}\n" if e.hint else "")
    if value == "release":
        p.release()
    elif value in ("high", "low"):
        p.drive(value == "high")
    else:
        try:
            p.voltage = float(value)
        except ValueError:
            return f"Error: '{value}' is no voltage; volts, high, low or release\n"
    return ""
