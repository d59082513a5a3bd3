"""Named CPUs: the features that each has and its ID registers.

Arm Cortex-A53, -A57 and -A72 MPCore Processor Technical Reference Manuals, 4.3; Arm Architecture Reference Manual, Arm ARM DDI 0487, D17.2
(ID_AA64... fields) and A2 (features).
"""

from __future__ import annotations

from dataclasses import dataclass

from .state import Core

V8_0 = frozenset("base fp simd aes pmull sha1 sha2 crc32".split())
V8_1 = V8_0 | set("lse rdm lor pan vhe hafdbs hpds".split())
V8_2 = V8_1 | set("fp16 dpb sha512 sha3 sm3 sm4 dotprod fhm uao xnx".split())
V8_3 = V8_2 | {"pauth", "jscvt", "fcma", "rcpc"}
V8_4 = V8_3 | {"flagm", "rcpc2", "dit", "ttst"}
V8_5 = V8_4 | set("flagm2 frintts bti sb ssbs rng mte dpb2 e0pd".split())
CORTEX = V8_0 | {"cortex"}  # with the registers that Cortex-A53, -A57 and -A72 have beside the architecture's

# What a feature adds to an ID register: its number CRm<2:0>:op2, the field's lowest bit, the field's value.
PFR0, PFR1, DFR0, ISAR0, ISAR1, MMFR0, MMFR1, MMFR2 = 0o40, 0o41, 0o50, 0o60, 0o61, 0o70, 0o71, 0o72
MIDR, MPIDR, REVIDR = 0o00, 0o05, 0o06
FIELDS: tuple[tuple[str, int, int, int], ...] = (
    ("aes", ISAR0, 4, 1), ("pmull", ISAR0, 4, 2), ("sha1", ISAR0, 8, 1), ("sha2", ISAR0, 12, 1), ("sha512", ISAR0, 12, 2),
    ("crc32", ISAR0, 16, 1), ("lse", ISAR0, 20, 2), ("rdm", ISAR0, 28, 1), ("sha3", ISAR0, 32, 1), ("sm3", ISAR0, 36, 1),
    ("sm4", ISAR0, 40, 1), ("dotprod", ISAR0, 44, 1), ("fhm", ISAR0, 48, 1), ("flagm", ISAR0, 52, 1), ("flagm2", ISAR0, 52, 2),
    ("rng", ISAR0, 60, 1), ("dpb", ISAR1, 0, 1), ("dpb2", ISAR1, 0, 2), ("pauth", ISAR1, 4, 1), ("pauth", ISAR1, 24, 1),
    ("jscvt", ISAR1, 12, 1), ("fcma", ISAR1, 16, 1), ("rcpc", ISAR1, 20, 1), ("rcpc2", ISAR1, 20, 2), ("frintts", ISAR1, 32, 1),
    ("sb", ISAR1, 36, 1), ("fp16", PFR0, 16, 1), ("fp16", PFR0, 20, 1), ("dit", PFR0, 48, 1), ("bti", PFR1, 0, 1), ("ssbs", PFR1, 4, 2),
    ("mte", PFR1, 8, 2), ("lor", MMFR1, 16, 1), ("hafdbs", MMFR1, 0, 2), ("vhe", MMFR1, 4, 2), ("vhe", MMFR1, 8, 1), ("hpds", MMFR1, 12, 1),
    ("pan", MMFR1, 20, 2), ("xnx", MMFR1, 28, 1), ("uao", MMFR2, 4, 1), ("ttst", MMFR2, 28, 1), ("e0pd", MMFR2, 60, 1),
)  # fmt: skip
PROPERTIES = {"pauth": ("pauth",), "mte": ("mte",), "aes": ("aes", "pmull"), "sve": ()}


@dataclass(frozen=True)
class Model:
    """A CPU by name; `fixed` are ID registers that do not follow from its features."""

    name: str
    extensions: frozenset[str]
    fixed: tuple[tuple[int, int], ...]
    ctr: int = 0x8444_C004

    def configured(self, text: str) -> Model:
        """The same with `property=on,property=off...` of a command line.  ValueError with a message."""
        properties = {}
        for item in filter(None, text.split(",")):
            name, equals, value = item.partition("=")
            if not equals:
                raise ValueError(f"Expected key=value format, found {item}.")
            if name not in PROPERTIES:
                known = f"\nThe properties are {', '.join(PROPERTIES)}."
                raise ValueError(f"can't apply global {self.name}-arm-cpu.{item}: Property '{self.name}-arm-cpu.{name}' not found{known}")
            if value not in ("on", "off", "yes", "no", "true", "false"):
                raise ValueError(f"can't apply global {self.name}-arm-cpu.{item}: Parameter '{name}' expects 'on' or 'off'")
            properties[name] = value in ("on", "yes", "true")
        try:
            return self.with_properties(**properties)
        except ValueError as mistake:
            raise ValueError(f"can't apply global {self.name}-arm-cpu.{text}: {mistake}") from None

    def with_properties(self, **properties: bool) -> Model:
        """The same with features switched.  ValueError for an unknown property, or for one that the model cannot have."""
        extensions = set(self.extensions)
        for name, on in properties.items():
            if name not in PROPERTIES:
                raise ValueError(f"CPU property {name!r} is not known; known are {', '.join(PROPERTIES)}")
            if (on and not set(PROPERTIES[name]) <= MODELS["max"].extensions) or (on and not PROPERTIES[name]):
                raise ValueError(f"no CPU here has {name}")
            if on and not set(PROPERTIES[name]) <= self.extensions:
                raise ValueError(f"CPU {self.name} has no {name}")
            extensions -= set() if on else set(PROPERTIES[name])
        return Model(self.name, frozenset(extensions), self.fixed, self.ctr)

    def without(self, extension: str) -> Model:
        """The same without a feature."""
        return Model(self.name, self.extensions - {extension}, self.fixed, self.ctr)

    @property
    def id_registers(self) -> dict[int, int]:
        """Values by CRm<2:0>:op2."""
        out = dict(self.fixed)
        for extension, register, shift, value in FIELDS:
            if extension in self.extensions:
                out[register] = out.get(register, 0) & ~(15 << shift) | value << shift
        return out

    def core(self) -> Core:
        """A processing element in its reset state."""
        core = Core()
        word = type(core.ctr)
        for number, value in self.id_registers.items():
            core.id[number] = word(value)
        core.ctr = word(self.ctr)
        return core


def _model(name: str, extensions: frozenset[str], midr: int, mmfr0: int, ctr: int = 0x8444_C004, pfr0: int = 0x2222) -> Model:
    fixed = ((MIDR, midr), (MPIDR, 0x8000_0000), (PFR0, pfr0), (DFR0, 0x1030_5106), (MMFR0, mmfr0))
    return Model(name, extensions, fixed, ctr)


MODELS = {
    m.name: m
    for m in (
        _model("cortex-a53", CORTEX, 0x410F_D034, 0x1122, 0x8444_8004),
        _model("cortex-a57", CORTEX, 0x411F_D070, 0x1124),
        _model("cortex-a72", CORTEX, 0x410F_D083, 0x1124),
        _model("max", V8_5, 0x000F_0510, 0x0010_1125, pfr0=0x1100_0000_0000_2222),  # CSV2, CSV3: nothing is speculated
    )
}
