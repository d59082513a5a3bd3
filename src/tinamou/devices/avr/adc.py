"""Analog-to-digital converter and analog comparator of AVR microcontrollers: ATmega48A-328P data sheet, chapters 23 and 24;
ATmega640-2561 data sheet, chapters 25 and 26.

Voltages are those of the nets. A conversion takes 13 ADC clocks, the first after switching on 25; the input is sampled 1.5 (13.5)
clocks after the start. With auto trigger the prescaler is reset by the trigger and the sample taken after 2 clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinamou.devices.avr.core import AvrDevice
from tinamou.machine.device import timer
from tinamou.machine.lines import line, state
from tinamou.machine.pins import Net
from tinamou.machine.props import I32, OBJECT, U16, prop
from tinamou.machine.registers import Reg

DIVISORS = (2, 2, 4, 8, 16, 32, 64, 128)

# ATmega640-2561 data sheet, table 26-4: (positive, negative, gain) of MUX5:0 = 8 to 31 and 40 to 63
DIFFERENTIAL: dict[int, tuple[int, int, int]] = {}
for _half in (0, 8):
    _base = 0x08 if _half == 0 else 0x28
    for _k, (_pos, _neg, _gain) in enumerate([(0, 0, 10), (1, 0, 10), (0, 0, 200), (1, 0, 200), (2, 2, 10), (3, 2, 10),
                                              (2, 2, 200), (3, 2, 200), *[(p, 1, 1) for p in range(8)],
                                              *[(p, 2, 1) for p in range(6)]]):
        DIFFERENTIAL[_base + _k] = _pos + _half, _neg + _half, _gain


class Adc(AvrDevice, type="avr-adc", size=8):
    """Ten bits by successive approximation. `triggers` are functions of (device, f): call f at each event of ADTS 1 to 7."""

    channels: list[Net] = prop(OBJECT, default=None, help="the analog inputs by channel number")
    aref: Net | None = prop(OBJECT, default=None, help="the pin AREF")
    vcc: int = prop(U16, default=5000, help="millivolts of AVCC")
    celsius: int = prop(I32, default=25, help="degrees Celsius of the chip, for the temperature sensor", name="temperature")
    references: tuple[Any, ...] = prop(OBJECT, default=("aref", "avcc", None, 1100), help="by REFS1:0; numbers are millivolts")
    specials: dict[int, int | str] = prop(OBJECT, default=None, help="other channels: millivolts, or `temperature`")
    differential: dict[int, tuple[int, int, int]] = prop(OBJECT, default=None)
    triggers: list[Callable[[Callable[[], None]], Callable[[], None]] | None] = prop(OBJECT, default=None)

    ADCL = Reg(0)
    low = ADCL.ro()
    ADCH = Reg(1)
    high = ADCH.ro()
    ADCSRA = Reg(2)
    aden = ADCSRA.rw(7)
    adsc = ADCSRA.w1s(6)
    adate = ADCSRA.rw(5)
    adif = ADCSRA.w1c(4)
    adie = ADCSRA.rw(3)
    adps = ADCSRA.rw(2, 0)
    ADCSRB = Reg(3)
    acme = ADCSRB.rw(6)
    mux5 = ADCSRB.rw(3)
    adts = ADCSRB.rw(2, 0)
    ADMUX = Reg(4)
    refs = ADMUX.rw(7, 6)
    adlar = ADMUX.rw(5)
    mux = ADMUX.rw(4, 0)
    DIDR2 = Reg(5)
    off2 = DIDR2.rw()
    DIDR0 = Reg(6)
    off0 = DIDR0.rw()
    DIDR1 = Reg(7)
    off1 = DIDR1.rw()

    polled = ("ADCSRA",)
    cleared = {"irq": "adif"}
    result = state(0)           # ten bits, two's complement for differential channels
    locked = state(False)       # ADCL was read, ADCH not yet
    first = state(True)         # the next conversion initialises the analog circuitry
    chosen = state([0, 0])      # MUX and REFS of the conversion that runs
    sampled = state(0)
    base = state(0)             # cycle at which the ADC's prescaler was 0

    def setup(self) -> None:
        super().setup()
        self._end: Callable[[], None] | None = None
        self.digital: list[Callable[[int], object]] = []        # told DIDR0, DIDR1, DIDR2
        self.traces: list[Callable[[str, int], object]] = []

    @property
    def divisor(self) -> int:
        return DIVISORS[self.adps]

    # --- control

    @aden.on_write
    def enable(self, on: int) -> None:
        if not on:
            self.adsc = 0
            self.first = True
            self.sample.cancel()
            self.done.cancel()
        elif self.first and not self._busy():
            self.base = self.cycles

    def _busy(self) -> bool:
        return self.done.deadline is not None

    @adsc.on_write
    def start(self, on: int) -> None:
        if not self.aden or not self._powered:
            self.adsc = 0
        elif on and not self._busy():
            self.convert()

    @adate.on_write
    def automatic(self, on: int) -> None:
        self._choose_trigger()

    @adts.on_write
    def source(self, _: int) -> None:
        self._choose_trigger()

    def _choose_trigger(self) -> None:
        if self._end is not None:
            self._end()
            self._end = None
        table = self.triggers or []
        if self.adate and self.adts and self.adts < len(table):
            subscribe = table[self.adts]
            if subscribe is not None:
                self._end = subscribe(self.triggered)

    def triggered(self) -> None:
        """The event that ADTS chose."""
        if self.aden and self.adate and not self._busy() and self._powered:
            self.base = self.cycles
            self.convert(triggered=True)
            self.settle()

    def convert(self, triggered: bool = False) -> None:
        """Begin a conversion: at the next ADC clock."""
        d = self.divisor
        begin = self.cycles if triggered else self.base + -(-(self.cycles - self.base) // d) * d
        self.adsc = 1
        self.chosen = [self.mux5 << 5 | self.mux if self.differential else self.mux & 0xF, self.refs]
        half_clocks = 27 if self.first else 4 if triggered else 3
        clocks2 = 50 if self.first else 27 if triggered else 26
        self.first = False
        self.sample.at(begin + half_clocks * d // 2)
        self.done.at(begin + clocks2 * d // 2)

    @timer
    def sample(self) -> None:
        self.sampled = self.measure(*self.chosen)

    def reference_voltage(self, refs: int) -> float:
        """Volts."""
        what = self.references[refs]
        if what == "aref":
            return self.aref.voltage if self.aref is not None else 0.0
        return (self.vcc if what == "avcc" else what or self.vcc) / 1000

    def measure(self, mux: int, refs: int) -> int:
        """The number a channel gives."""
        vref = self.reference_voltage(refs)
        if vref <= 0:
            return 0x3FF
        if self.differential and mux in self.differential:
            positive, negative, gain = self.differential[mux]
            volts = (self.channels[positive].voltage - self.channels[negative].voltage) * gain
            return max(-512, min(511, int(volts * 512 // vref))) & 0x3FF
        special = (self.specials or {}).get(mux)
        if special == "temperature":
            volts = 0.314 + (self.celsius - 25) * 0.001       # table 24-2: 242 mV at -45, 314 at 25, 380 at 85 degrees
        elif special is not None:
            volts = int(special) / 1000
        else:
            n = mux - 24 if self.differential and mux >= 32 else mux
            if n >= len(self.channels or []):
                return 0
            volts = self.channels[n].voltage
        return max(0, min(0x3FF, int(volts * 1024 / vref + 1e-9)))

    @timer
    def done(self) -> None:
        if not self.locked:
            self.result = self.sampled
        for f in self.traces:
            f("adc", self.sampled)
        self.adsc, self.adif = 0, 1
        if self.adate and self.adts == 0:
            self.base = self.cycles
            self.convert()

    # --- the result

    def _word(self) -> int:
        return self.result << 6 if self.adlar else self.result

    @low.on_read
    def read_low(self) -> int:
        self.locked = True
        return self._word() & 0xFF

    @low.computed
    def see_low(self) -> int:
        return self._word() & 0xFF

    @high.on_read
    def read_high(self) -> int:
        self.locked = False
        return self._word() >> 8

    @high.computed
    def see_high(self) -> int:
        return self._word() >> 8

    def switched(self, _: int) -> None:
        for f in self.digital:
            f(self.off0 | self.off1 << 8 | self.off2 << 16)

    for _field in (off0, off1, off2):
        _field.on_write(switched)
    del _field

    def noise_reduction(self) -> None:
        """The CPU enters the ADC noise reduction mode: a conversion starts by itself."""
        if self.aden and not self._busy() and self._powered:
            self.convert()
            self.settle()

    @line
    def irq(self) -> int:
        return self.adif & self.adie

    def restored(self) -> None:
        self._choose_trigger()


class Comparator(AvrDevice, type="avr-comparator", size=1):
    """AIN0 against AIN1, the bandgap, or a channel of the ADC."""

    ain0: Net | None = prop(OBJECT, default=None)
    ain1: Net | None = prop(OBJECT, default=None)
    adc: Adc | None = prop(OBJECT, default=None)

    ACSR = Reg(0)
    acd = ACSR.rw(7)
    acbg = ACSR.rw(6)
    aco = ACSR.ro(5)
    aci = ACSR.w1c(4)
    acie = ACSR.rw(3)
    acic = ACSR.rw(2)
    acis = ACSR.rw(1, 0)

    cleared = {"irq": "aci"}
    last = state(False)

    def setup(self) -> None:
        super().setup()
        self.users: list[Callable[[bool], object]] = []         # told each change of the output (input capture)
        self.flag_users: list[Callable[[], None]] = []
        self._ends: list[Callable[[], None]] = []
        self._nets: list[Net] = []

    def on_reset(self, kind: str) -> None:
        self.follow()

    def inputs(self) -> list[Net | None]:
        negative = self.ain1
        if self.adc is not None and self.adc.acme and not self.adc.aden:
            n = self.adc.mux & 7 | (8 if self.adc.mux5 and self.adc.differential else 0)
            negative = self.adc.channels[n]
        return [None if self.acbg else self.ain0, negative]

    @aco.computed
    def output(self) -> int:
        if self.acd:
            return 0
        positive, negative = self.inputs()
        plus = positive.voltage if positive is not None else 1.1 if self.acbg else 0.0
        return int(plus > (negative.voltage if negative is not None else 0.0))

    def follow(self) -> None:
        """Listen to the inputs while an edge matters."""
        wanted = [n for n in self.inputs() if n is not None] if (self.acie or self.acic or self.flag_users) and not self.acd else []
        if wanted != self._nets:
            for end in self._ends:
                end()
            self._nets, self._ends = wanted, [n.meter(self.changed) for n in wanted]
        self.last = bool(self.output())

    def written(self, _: int) -> None:
        self.follow()

    for _field in (acd, acbg, acie, acic):
        _field.on_write(written)
    del _field

    def changed(self) -> None:
        now = bool(self.output())
        if now == self.last or not self.clock.hz:       # the edge detector needs clkIO: no wake-up source but in idle mode
            return
        self.last = now
        if self.acis == 0 or (self.acis == 2 and not now) or (self.acis == 3 and now):
            self.aci = 1
            for g in list(self.flag_users):
                g()
        for f in self.users:
            f(now)
        self.settle()

    @line
    def irq(self) -> int:
        return self.aci & self.acie

    def restored(self) -> None:
        self.follow()
