"""Digital temperature sensor LM75: Texas Instruments SNOS808, section 7.5 (registers)."""

from __future__ import annotations

from tinamou.devices.i2c.bus import I2cDevice
from tinamou.machine.lines import line, state
from tinamou.machine.props import I32, U8, prop


class Lm75(I2cDevice, type="lm75", desc="I2C temperature sensor"):
    """Nine bits of half a degree; the output OS is active (low in the data sheet, high here) above TOS until below THYST."""

    address: int = prop(U8, default=0x48)
    millidegrees: int = prop(I32, default=25_000, help="temperature in thousandths of a degree Celsius", name="temperature")

    pointer = state(0)
    configuration = state(0)
    hysteresis = state(75 << 8)
    overtemperature = state(80 << 8)
    half = state(0)             # which byte of a 16-bit register comes next
    hot = state(False)

    @property
    def celsius(self) -> float:
        """The temperature the sensor has."""
        return self.millidegrees / 1000

    @celsius.setter
    def celsius(self, degrees: float) -> None:
        self.millidegrees = round(degrees * 1000)
        self._compare()
        self.settle()

    @property
    def reading(self) -> int:
        """The temperature register: two's complement, 1 is 1/256 degree, steps of half a degree."""
        return (max(-55_000, min(125_000, self.millidegrees)) // 500 << 7) & 0xFFFF

    def _compare(self) -> None:
        now = _signed(self.reading)
        if now >= _signed(self.overtemperature):
            self.hot = True
        elif now < _signed(self.hysteresis):
            self.hot = False

    def start(self, address: int, read: bool) -> bool:
        self.half = 0 if read else -1
        return True

    def receive(self, byte: int) -> bool:
        if self.half < 0:
            self.pointer, self.half = byte & 3, 0
            return True
        name = (None, "configuration", "hysteresis", "overtemperature")[self.pointer]
        if name == "configuration":
            self.configuration = byte & 0x1F
        elif name is not None:
            shift = 8 if self.half == 0 else 0
            setattr(self, name, getattr(self, name) & ~(0xFF << shift) | byte << shift & (0xFF80 if not shift else 0xFF00))
            self.half ^= 1
            self._compare()
            self.settle()
        return name is not None

    def transmit(self) -> int:
        if self.pointer == 1:
            return self.configuration
        value = (self.reading, 0, self.hysteresis, self.overtemperature)[self.pointer]
        self.half ^= 1
        return value >> 8 if self.half else value & 0xFF

    @line
    def os(self) -> int:
        return self.hot and not self.configuration & 1


def _signed(value: int) -> int:
    return value - 0x10000 if value & 0x8000 else value
