"""LEDs and a push button of the Blinky board: Blinky data sheet, chapter 5."""

from __future__ import annotations

from tinamou.machine.device import Device
from tinamou.machine.lines import line, state
from tinamou.machine.props import U32, prop
from tinamou.machine.registers import Reg


class BlinkyLeds(Device, type="blinky-leds", compatible="blinky,leds", node="leds", size=0x100, access=(4, 4)):
    """One bit for each LED; the button's press stays until the program clears it."""

    count: int = prop(U32, default=8, help="how many LEDs are fitted")

    LEDS = Reg(0x00)
    leds = LEDS.rw(31, 0)
    TOGGLE = Reg(0x04)
    toggle = TOGGLE.wo(31, 0)
    BUTTON = Reg(0x08)
    pressed = BUTTON.w1c(0)
    COUNT = Reg(0x0C)
    fitted = COUNT.ro(7, 0)

    changes = state(0)

    @leds.legal
    def only_what_is_fitted(self, value: int) -> int:
        return value & (1 << self.count) - 1

    @leds.on_write
    def shine(self, value: int) -> None:
        self.changes += 1

    @toggle.on_write
    def flip(self, value: int) -> None:
        self.leds = (self.leds ^ value) & (1 << self.count) - 1
        self.changes += 1

    @fitted.computed
    def how_many(self) -> int:
        return self.count

    @line
    def button(self) -> int:
        return self.pressed

    def press(self) -> None:
        """Somebody pushes the button."""
        self.pressed = 1
        self.settle()
