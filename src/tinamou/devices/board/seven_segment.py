"""A digit of seven segments and a point."""

from __future__ import annotations

from tinamou.devices.board.core import PinDevice, pin_prop
from tinamou.machine.props import enum, prop

SHAPES = {0x3F: "0", 0x06: "1", 0x5B: "2", 0x4F: "3", 0x66: "4", 0x6D: "5", 0x7D: "6", 0x07: "7", 0x7F: "8", 0x6F: "9", 0x77: "A",
          0x7C: "b", 0x39: "C", 0x5E: "d", 0x79: "E", 0x71: "F", 0x40: "-", 0x00: " ", 0x76: "H", 0x38: "L", 0x73: "P", 0x50: "r"}
SEGMENTS = "abcdefg"


class SevenSegment(PinDevice, type="seven-segment", desc="seven-segment digit", category="Display"):
    """`segments` is a mask (bit 0 is segment a, bit 7 the point), `text` what a person reads, `?` for no known shape."""

    a: str = pin_prop("pin of segment a", "")
    b: str = pin_prop("", "")
    c: str = pin_prop("", "")
    d: str = pin_prop("", "")
    e: str = pin_prop("", "")
    f: str = pin_prop("", "")
    g: str = pin_prop("", "")
    dp: str = pin_prop("pin of the point", "")
    common: str = prop(enum("SegmentCommon", "cathode", "anode"), default="cathode", help="what the segments share")

    @property
    def segments(self) -> int:
        mask = 0
        for n, name in enumerate([*SEGMENTS, "dp"]):
            if getattr(self, name) and self.pin(name).level == (self.common == "cathode"):
                mask |= 1 << n
        return mask

    @property
    def text(self) -> str:
        return SHAPES.get(self.segments & 0x7F, "?") + ("." if self.segments & 0x80 else "")

    def picture(self) -> str:
        """The digit, three lines high."""
        s = self.segments
        on = [s >> n & 1 for n in range(8)]
        return (f" {'_' if on[0] else ' '} \n{'|' if on[5] else ' '}{'_' if on[6] else ' '}{'|' if on[1] else ' '}\n"
                f"{'|' if on[4] else ' '}{'_' if on[3] else ' '}{'|' if on[2] else ' '}{'.' if on[7] else ''}")
