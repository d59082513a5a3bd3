"""A hobby servo: pulses of 0.5 to 2.5 ms, about every 20 ms, say where the arm goes (Futaba's convention; there is no standard)."""

from __future__ import annotations

from tinamou.devices.board.core import PinDevice, pin_prop
from tinamou.machine.lines import state
from tinamou.machine.props import U16, prop


class Servo(PinDevice, type="servo", desc="hobby servo"):
    """`angle` is where the last pulse sent the arm, in degrees; None before the first one."""

    signal: str = pin_prop("the control wire")
    low: int = prop(U16, default=544, help="microseconds of the pulse for 0 degrees", name="min")
    high: int = prop(U16, default=2400, help="microseconds of the pulse for 180 degrees", name="max")

    rose = state(-1)
    pulse = state(0)            # ns, the last one
    period = state(0)           # ns between the last two
    pulses = state(0)

    def wire(self) -> None:
        self.net("signal").listen(self.edge)

    def edge(self, level: bool) -> None:
        now = self.clock.ticks
        if level:
            if self.rose >= 0:
                self.period = now - self.rose
            self.rose = now
        elif self.rose >= 0 and 300_000 <= now - self.rose <= 3_000_000:
            self.pulse = now - self.rose
            self.pulses += 1

    @property
    def angle(self) -> float | None:
        """Degrees, from 0 to 180."""
        if not self.pulses:
            return None
        return max(0.0, min(180.0, (self.pulse / 1000 - self.low) * 180 / (self.high - self.low)))
