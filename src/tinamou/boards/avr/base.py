"""Microcontrollers as data: where each peripheral's registers lie, its pins, its interrupt vectors, its bit in the power reduction
registers. ATmega48A/PA/88A/PA/168A/PA/328/P data sheet, chapters 1 (pins), 12 (vectors), 36 (registers); ATmega640/1280/1281/
2560/2561 data sheet, chapters 1, 14 and 33. Addresses are data addresses, vectors are numbered from 1 (reset)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tinamou.machine.props import PropertyError


@dataclass(frozen=True)
class TimerAt:
    """A timer/counter; `outputs` are the pins of its compare units, `power` is its power reduction register and bit."""

    name: str
    kind: str
    base: int
    tifr: int
    timsk: int
    outputs: tuple[str, ...]
    vectors: dict[str, int]
    power: tuple[int, int]
    t: str = ""
    icp: str = ""


@dataclass(frozen=True)
class UsartAt:
    """A USART; `vectors` are receive complete, data register empty, transmit complete."""

    name: str
    base: int
    rxd: str
    txd: str
    xck: str
    vectors: tuple[int, int, int]
    power: tuple[int, int]


@dataclass(frozen=True)
class Family:
    """Parts that differ only in the sizes of their memories."""

    io: int
    ports: dict[str, int]
    timers: tuple[TimerAt, ...]
    usarts: tuple[UsartAt, ...]
    interrupts: tuple[str, ...]                 # the INT pins
    changes: dict[int, str]                     # the PCINT pins
    channels: tuple[str, ...]                   # the ADC's pins
    comparator: tuple[str, str]                 # AIN0, AIN1
    spi: tuple[str, str, str, str]              # SS, SCK, MOSI, MISO
    twi: tuple[str, str]                        # SDA, SCL
    digital: tuple[str, ...]                    # what DIDR0, DIDR1 and DIDR2 switch off, eight each
    vectors: dict[str, int]
    references: tuple[str | int | None, ...]
    specials: dict[int, int | str]
    differential: bool = False
    asynchronous: int = 0                       # INT pins whose edges are seen without a clock
    registers: dict[str, int] = field(default_factory=dict)
    power_spi: tuple[int, int] = (0, 2)
    power_twi: tuple[int, int] = (0, 7)
    power_adc: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Part:
    """A microcontroller. Sizes in bytes; `fuses` are low, lock, extended, high as the board's maker programs them
    (see Fuses)."""

    name: str
    family: Family
    flash: int
    sram: int
    eeprom: int
    page: int
    boot: int               # byte address of the boot loader section with BOOTSZ = 00: the no-read-while-write section
    fuses: bytes
    signature: bytes
    mach: str               # the family of the GNU tools: EF_AVR_MACH of programs
    boot_in_extended: bool = False  # the fuses BOOTSZ and BOOTRST are in the extended byte, BODLEVEL in the high one


def _pins(port: str, count: int = 8, first: int = 0) -> list[str]:
    return [f"P{port}{n}" for n in range(first, first + count)]


SYSTEM = {"GPIOR0": 0x3E, "GPIOR1": 0x4A, "GPIOR2": 0x4B, "SMCR": 0x53, "MCUSR": 0x54, "MCUCR": 0x55, "CLKPR": 0x61, "PRR0": 0x64,
          "OSCCAL": 0x66}

MEGA_X8 = Family(
    io=0x100,
    ports={"B": 0x23, "C": 0x26, "D": 0x29},
    timers=(
        TimerAt("timer0", "avr-timer8", 0x44, 0x35, 0x6E, ("PD6", "PD5"), {"compa": 15, "compb": 16, "ovf": 17}, (0, 5), t="PD4"),
        TimerAt("timer1", "avr-timer16", 0x80, 0x36, 0x6F, ("PB1", "PB2"), {"capt": 11, "compa": 12, "compb": 13, "ovf": 14}, (0, 3),
                t="PD5", icp="PB0"),
        TimerAt("timer2", "avr-timer2", 0xB0, 0x37, 0x70, ("PB3", "PD3"), {"compa": 8, "compb": 9, "ovf": 10}, (0, 6)),
    ),
    usarts=(UsartAt("usart0", 0xC0, "PD0", "PD1", "PD4", (19, 20, 21), (0, 1)),),
    interrupts=("PD2", "PD3"),
    changes={n: p for n, p in enumerate([*_pins("B"), *_pins("C", 7), "", *_pins("D")]) if p},
    channels=(*_pins("C", 6), "ADC6", "ADC7"),
    comparator=("PD6", "PD7"),
    spi=("PB2", "PB5", "PB3", "PB4"),
    twi=("PC4", "PC5"),
    digital=(*_pins("C", 6), "", "", "PD6", "PD7"),
    vectors={"int": 2, "pcint": 4, "wdt": 7, "spi": 18, "adc": 22, "eeprom": 23, "comparator": 24, "twi": 25, "spm": 26},
    references=("aref", "avcc", None, 1100),
    specials={8: "temperature", 14: 1100, 15: 0},
    registers=SYSTEM,
)


def _timer16(n: int, base: int, tifr: int, timsk: int, outputs: tuple[str, str, str], first: int, power: tuple[int, int], t: str,
             icp: str) -> TimerAt:
    names = ("capt", "compa", "compb", "compc", "ovf")
    return TimerAt(f"timer{n}", "avr-timer16", base, tifr, timsk, outputs, {v: first + k for k, v in enumerate(names)}, power, t, icp)


MEGA_X0 = Family(
    io=0x200,
    ports={"A": 0x20, "B": 0x23, "C": 0x26, "D": 0x29, "E": 0x2C, "F": 0x2F, "G": 0x32, "H": 0x100, "J": 0x103, "K": 0x106, "L": 0x109},
    timers=(
        TimerAt("timer0", "avr-timer8", 0x44, 0x35, 0x6E, ("PB7", "PG5"), {"compa": 22, "compb": 23, "ovf": 24}, (0, 5), t="PD7"),
        _timer16(1, 0x80, 0x36, 0x6F, ("PB5", "PB6", "PB7"), 17, (0, 3), "PD6", "PD4"),
        TimerAt("timer2", "avr-timer2", 0xB0, 0x37, 0x70, ("PB4", "PH6"), {"compa": 14, "compb": 15, "ovf": 16}, (0, 6)),
        _timer16(3, 0x90, 0x38, 0x71, ("PE3", "PE4", "PE5"), 32, (1, 3), "PE6", "PE7"),
        _timer16(4, 0xA0, 0x39, 0x72, ("PH3", "PH4", "PH5"), 42, (1, 4), "PH7", "PL0"),
        _timer16(5, 0x120, 0x3A, 0x73, ("PL3", "PL4", "PL5"), 47, (1, 5), "PL2", "PL1"),
    ),
    usarts=(
        UsartAt("usart0", 0xC0, "PE0", "PE1", "PE2", (26, 27, 28), (0, 1)),
        UsartAt("usart1", 0xC8, "PD2", "PD3", "PD5", (37, 38, 39), (1, 0)),
        UsartAt("usart2", 0xD0, "PH0", "PH1", "PH2", (52, 53, 54), (1, 1)),
        UsartAt("usart3", 0x130, "PJ0", "PJ1", "PJ2", (55, 56, 57), (1, 2)),
    ),
    interrupts=(*_pins("D", 4), *_pins("E", 4, 4)),
    changes=dict(enumerate([*_pins("B"), "PE0", *_pins("J", 7), *_pins("K")])),
    channels=(*_pins("F"), *_pins("K")),
    comparator=("PE2", "PE3"),
    spi=("PB0", "PB1", "PB2", "PB3"),
    twi=("PD1", "PD0"),
    digital=(*_pins("F"), "PE2", "PE3", "", "", "", "", "", "", *_pins("K")),
    vectors={"int": 2, "pcint": 10, "wdt": 13, "spi": 25, "comparator": 29, "adc": 30, "eeprom": 31, "twi": 40, "spm": 41},
    references=("aref", "avcc", 1100, 2560),
    specials={30: 1100, 31: 0},
    differential=True,
    asynchronous=0x0F,
    registers={**SYSTEM, "PRR1": 0x65, "XMCRA": 0x74, "XMCRB": 0x75},
)

KIB = 1024
PARTS = {p.name: p for p in (
    Part("ATmega168", MEGA_X8, 16 * KIB, 1 * KIB, 512, 128, 14 * KIB, b"\xff\xcf\xf8\xdd", b"\x1e\x94\x06", "avr5", boot_in_extended=True),
    Part("ATmega328P", MEGA_X8, 32 * KIB, 2 * KIB, 1024, 128, 28 * KIB, b"\xff\xcf\xfd\xde", b"\x1e\x95\x0f", "avr5"),
    Part("ATmega1280", MEGA_X0, 128 * KIB, 8 * KIB, 4096, 256, 120 * KIB, b"\xff\xcf\xf5\xda", b"\x1e\x97\x03", "avr51"),
    Part("ATmega2560", MEGA_X0, 256 * KIB, 8 * KIB, 4096, 256, 248 * KIB, b"\xff\xcf\xfd\xd8", b"\x1e\x98\x01", "avr6"),
)}  # fmt: skip
MACHINES = {1: "avr1", 2: "avr2", 25: "avr25", 3: "avr3", 31: "avr31", 35: "avr35", 4: "avr4", 5: "avr5", 51: "avr51", 6: "avr6",
            100: "avrtiny", 102: "avrxmega2", 103: "avrxmega3", 104: "avrxmega4", 105: "avrxmega5", 106: "avrxmega6", 107: "avrxmega7"}

# --- fuses and lock bits: data sheets, sections 27.8, 28.1 and 28.2, and 29.8, 30.1 and 30.2. A fuse is programmed when its bit is 0.

CRYSTAL = 16_000_000
RC, SLOW_RC = 8_000_000, 128_000
BROWN_OUT = {6: 1800, 5: 2700, 4: 4300}     # BODLEVEL2:0 -> millivolts


@dataclass(frozen=True)
class Fuses:
    """The fuse bytes and lock bits of a part, and what follows from them."""

    part: Part
    low: int
    high: int
    extended: int
    lock: int

    @classmethod
    def sold(cls, part: Part) -> Fuses:
        """As the board's maker programs them."""
        low, lock, extended, high = part.fuses
        return cls(part, low, high, extended, lock)

    def given(self, fuses: str, lock: str) -> Fuses:
        """With what the board's properties say: `ff:de:fd` is low, high and extended. Raises PropertyError."""
        new = self
        if fuses:
            try:
                low, high, extended = (byte(x) for x in fuses.split(":"))
            except ValueError:
                sold = f"{self.low:02x}:{self.high:02x}:{self.extended:02x}"
                raise PropertyError(f"Property 'fuses': '{fuses}' is not three bytes in hexadecimal",
                                    f"low, high and extended fuses, as in fuses={sold}") from None
            new = replace(new, low=low, high=high, extended=extended)
        if lock:
            try:
                new = replace(new, lock=byte(lock))
            except ValueError:
                raise PropertyError(f"Property 'lock': '{lock}' is not a byte in hexadecimal",
                                    f"lock bits, as in lock={self.lock:02x}") from None
        return new

    def from_program(self, fuses: bytes, lock: bytes) -> Fuses:
        """With what an ELF file's sections .fuse (low, high, extended) and .lock say."""
        low, high, extended = (*fuses[:3], *(self.low, self.high, self.extended)[len(fuses) :])
        return replace(self, low=low, high=high, extended=extended, lock=lock[0] if lock else self.lock)

    @property
    def row(self) -> bytes:
        """As LPM reads them: low, lock, extended, high."""
        return bytes((self.low, self.lock, self.extended, self.high))

    @property
    def hz(self) -> int:
        """CKSEL3:0. The crystal is that of the board; an external clock is taken for the same."""
        return {2: RC, 3: SLOW_RC}.get(self.low & 0xF, CRYSTAL)

    @property
    def startup(self) -> int:
        """CKSEL3:0 and SUT1:0: cycles until the oscillator runs after power-down and power-save; chapter 9, tables of start-up times."""
        source, slow = self.low & 0xF, self.low >> 4 & 3
        if source < 4:
            return 6
        if source < 6:
            return 32_768 if source & 1 else 1024
        return (1024, 16_384, 16_384, 16_384)[slow] if source & 1 else (258, 258, 1024, 1024)[slow]

    @property
    def divided(self) -> bool:
        """CKDIV8."""
        return not self.low & 0x80

    @property
    def watchdog(self) -> bool:
        """WDTON: the watchdog cannot be switched off."""
        return not self.high & 0x10

    @property
    def reset_pin(self) -> bool:
        """The pin RESET resets: not where RSTDISBL is programmed."""
        return self.part.family is not MEGA_X8 or bool(self.high & 0x80)

    @property
    def _boot(self) -> int:
        return self.extended if self.part.boot_in_extended else self.high

    @property
    def boot_start(self) -> int:
        """BOOTSZ1:0: byte address of the boot loader section, which halves with each step."""
        largest = self.part.flash - self.part.boot
        return self.part.flash - (largest >> (self._boot >> 1 & 3))

    @property
    def boot_reset(self) -> bool:
        """BOOTRST: reset starts the boot loader."""
        return not self._boot & 1

    @property
    def brown_out(self) -> int:
        """BODLEVEL2:0: millivolts below which the part resets; 0: never."""
        return BROWN_OUT.get((self.high if self.part.boot_in_extended else self.extended) & 7, 0)


def byte(text: str) -> int:
    """Raises ValueError."""
    value = int(text, 16)
    if not 0 <= value <= 0xFF:
        raise ValueError(text)
    return value
