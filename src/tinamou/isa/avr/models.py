"""AVR parts by name.  Data sheets DS40002061B (ATmega168, ATmega328P), 2549Q-AVR (ATmega1280, ATmega2560); AVR Instruction Set Manual,
DS40002198B, appendix A (which core has which instructions); the families are those of the GNU tools.
"""

from __future__ import annotations

from dataclasses import dataclass

from .state import EIND, RAMPD, RAMPX, RAMPY, RAMPZ, SPH, SPL, SREG

KIB = 1024

_AVR1 = frozenset({"core"})
_AVR2 = _AVR1 | {"sram"}
_AVR25 = _AVR2 | {"movw", "spm", "break"}
_AVR3 = _AVR2 | {"jmp"}
_AVR35 = _AVR3 | {"movw", "spm", "break"}
_AVR5 = _AVR35 | {"mul"}
_AVR51 = _AVR5 | {"elpm", "elpmx"}
_AVR6 = _AVR51 | {"eijmp"}
_XMEGA = _AVR5 | {"spmx", "rmw", "des"}

FAMILIES: dict[str, tuple[str, frozenset[str]]] = {  # family -> its core (operands.CORES) and extensions
    "avr1": ("e", _AVR1),
    "avr2": ("e", _AVR2),
    "avr25": ("e", _AVR25),
    "avr3": ("e", _AVR3),
    "avr31": ("e", _AVR3 | {"elpm"}),
    "avr35": ("e", _AVR35),
    "avr4": ("e", _AVR25 | {"mul"}),
    "avr5": ("e", _AVR5),
    "avr51": ("e", _AVR51),
    "avr6": ("e", _AVR6),
    "avrtiny": ("rc", _AVR2 | {"break"}),
    "avrxmega2": ("xm", _XMEGA),
    "avrxmega3": ("xt", _AVR5 | {"spmx"}),
    "avrxmega4": ("xm", _XMEGA | {"elpm", "elpmx"}),
    "avrxmega5": ("xm", _XMEGA | {"elpm", "elpmx"}),
    "avrxmega6": ("xm", _XMEGA | {"elpm", "elpmx", "eijmp"}),
    "avrxmega7": ("xm", _XMEGA | {"elpm", "elpmx", "eijmp"}),
}


@dataclass(frozen=True)
class Model:
    """A part: sizes in bytes, `ram` the data address of its SRAM, `vectors` with reset, `signature` its three bytes."""

    name: str
    family: str
    flash: int
    sram: int
    ram: int
    eeprom: int = 512
    vectors: int = 26
    signature: bytes = b"\x1e\0\0"

    @property
    def core(self) -> str:
        return FAMILIES[self.family][0]

    @property
    def extensions(self) -> frozenset[str]:
        return FAMILIES[self.family][1]

    @property
    def wide(self) -> bool:
        """The program counter has 22 bits."""
        return "eijmp" in self.extensions

    @property
    def far(self) -> bool:
        """Data addresses have 24 bits."""
        return self.family in ("avrxmega5", "avrxmega7")

    @property
    def vector_size(self) -> int:
        """Bytes: a jmp, or an rjmp where there is no jmp."""
        return 4 if "jmp" in self.extensions else 2

    @property
    def own(self) -> int:
        """Which of the registers RAMPD to SREG the CPU has: bit 0 is RAMPD."""
        numbers = [SPL, SREG] if self.sram <= 128 else [SPL, SPH, SREG]
        if self.far:
            numbers += [RAMPD, RAMPX, RAMPY]
        if "elpm" in self.extensions:
            numbers += [RAMPZ]
        if self.wide:
            numbers.append(EIND)
        return sum(1 << n - RAMPD for n in set(numbers))


def _models() -> list[Model]:
    return [
        Model("ATmega168", "avr5", 16 * KIB, 1 * KIB, 0x100, 512, 26, b"\x1e\x94\x06"),
        Model("ATmega328P", "avr5", 32 * KIB, 2 * KIB, 0x100, 1024, 26, b"\x1e\x95\x0f"),
        Model("ATmega1280", "avr51", 128 * KIB, 8 * KIB, 0x200, 4096, 57, b"\x1e\x97\x03"),
        Model("ATmega2560", "avr6", 256 * KIB, 8 * KIB, 0x200, 4096, 57, b"\x1e\x98\x01"),
        # a family's name: as large a part as it may have
        Model("avr1", "avr1", 1 * KIB, 32, 0x60),
        Model("avr2", "avr2", 8 * KIB, 512, 0x60),
        Model("avr25", "avr25", 8 * KIB, 512, 0x60),
        Model("avr3", "avr3", 64 * KIB, 4 * KIB, 0x100),
        Model("avr31", "avr31", 128 * KIB, 4 * KIB, 0x60),
        Model("avr35", "avr35", 64 * KIB, 4 * KIB, 0x100),
        Model("avr4", "avr4", 8 * KIB, 1 * KIB, 0x100),
        Model("avr5", "avr5", 64 * KIB, 4 * KIB, 0x100),
        Model("avr51", "avr51", 128 * KIB, 16 * KIB, 0x200),
        Model("avr6", "avr6", 256 * KIB, 8 * KIB, 0x200),
        Model("avrtiny", "avrtiny", 2 * KIB, 128, 0x40),
        Model("avrxmega2", "avrxmega2", 32 * KIB, 4 * KIB, 0x2000),
        Model("avrxmega3", "avrxmega3", 32 * KIB, 4 * KIB, 0x3000),
        Model("avrxmega4", "avrxmega4", 128 * KIB, 8 * KIB, 0x2000),
        Model("avrxmega5", "avrxmega5", 64 * KIB, 8 * KIB, 0x2000),
        Model("avrxmega6", "avrxmega6", 256 * KIB, 16 * KIB, 0x2000),
        Model("avrxmega7", "avrxmega7", 128 * KIB, 8 * KIB, 0x2000),
    ]


MODELS = {m.name: m for m in _models()}


def find(name: str) -> Model:
    """The model of that name, in any case, also with `-avr-cpu` behind it.  KeyError."""
    wanted = name.lower().removesuffix("-avr-cpu")
    for m in MODELS.values():
        if m.name.lower() == wanted:
            return m
    raise KeyError(name)
