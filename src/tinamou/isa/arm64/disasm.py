"""Assembly text of A64 instructions.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C1.2, C3 (aliases), C6.2 and C7.2.

Immediates are written as LLVM does: decimal, logical immediates and system operands in hexadecimal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Self

from . import operations, sysregs

Shown = Mapping[str, Any]

X_NAMES = [f"x{n}" for n in range(31)] + ["xzr", "sp"]
CONDITIONS = "eq ne hs lo mi pl vs vc hi ls ge lt gt le al nv".split()
BARRIERS = {1: "oshld", 2: "oshst", 3: "osh", 5: "nshld", 6: "nshst", 7: "nsh", 9: "ishld", 10: "ishst", 11: "ish", 13: "ld", 14: "st", 15: "sy"}  # fmt: skip


ID_REGISTERS = {
    0o00: "midr_el1", 0o05: "mpidr_el1", 0o06: "revidr_el1", 0o40: "id_aa64pfr0_el1", 0o41: "id_aa64pfr1_el1", 0o44: "id_aa64zfr0_el1",
    0o50: "id_aa64dfr0_el1", 0o51: "id_aa64dfr1_el1", 0o54: "id_aa64afr0_el1", 0o55: "id_aa64afr1_el1", 0o60: "id_aa64isar0_el1",
    0o61: "id_aa64isar1_el1", 0o62: "id_aa64isar2_el1", 0o70: "id_aa64mmfr0_el1", 0o71: "id_aa64mmfr1_el1", 0o72: "id_aa64mmfr2_el1",
}  # fmt: skip


def bitmask(n: int, immr: int, imms: int, width: int) -> int | None:
    """A logical immediate (DecodeBitMasks), or None if reserved."""
    length = (n << 6 | ~imms & 63).bit_length() - 1
    if length < 1:
        return None
    size = 1 << length
    s, r = imms & size - 1, immr & size - 1
    if s == size - 1 or size > width:
        return None
    ones = (1 << s + 1) - 1
    element = (ones >> r | ones << size - r) & (1 << size) - 1
    return sum(element << i for i in range(0, width, size))


def float_immediate(imm8: int) -> float:
    """VFPExpandImm."""
    exponent = (imm8 >> 4 & 7 ^ 4) - 3
    value = (16 + (imm8 & 15)) / 16 * 2.0**exponent
    return -value if imm8 & 0x80 else value


def _fp(s: Shown) -> str:
    return f"{float_immediate(_imm8(s)):.8f}"


def _imm8(s: Shown) -> int:
    return int(s["imm8"])


def _prefetch(s: Shown) -> str:
    n = int(s["prfop"])
    kind, level, policy = n >> 3, n >> 1 & 3, n & 1
    if kind == 3 or level == 3:
        return f"#{n}"
    return ("pld", "pli", "pst")[kind] + f"l{level + 1}" + ("strm" if policy else "keep")


def signed(value: int, width: int) -> int:
    value &= (1 << width) - 1
    return value - (1 << width) if value >> width - 1 else value


def _shift(s: Shown) -> str:
    """`, lsl #3` behind a shifted register."""
    kind, amount = s["<sh>"], int(s["imm6"])
    return "" if not amount and kind == "lsl" else f", {kind} #{amount}"


def _logical(s: Shown) -> int:
    value = bitmask(s["N"], int(s.get("immr", 0)), int(s["imms"]) | s["HIGH"], width_of(s, "Rn"))
    assert value is not None
    return value


def _operation(s: Shown) -> str:
    """SYS, by the name of the operation if it has one."""
    number, register = int(s["SR"]), s["Rt"]
    name = operations.NAMES.get(number)
    if name is None:
        return f"sys #{number >> 11}, c{number >> 7 & 15}, c{number >> 3 & 15}, #{number & 7}" + ("" if zr(register) else f", {register}")
    return name if zr(register) and name in operations.ALONE else f"{name}, {register}"


def _page(s: Shown) -> str:
    return f"{(s['imm'].pc & ~0xFFF) + (s['imm'] << 12) & 0xFFFF_FFFF_FFFF_FFFF:#x}"


def _simd8(s: Shown) -> int:
    """The 64-bit MOVI immediate: each bit makes a byte."""
    return sum(0xFF << 8 * i for i in range(8) if _imm8(s) >> i & 1)


def _extend(s: Shown) -> str:
    """Behind an extended register.  With SP, the extension that changes nothing is a shift, or nothing."""
    kind, amount = s["<ext>"], int(s["imm3"])
    if kind == ("uxtw" if width_of(s, "Rn") == 32 else "uxtx") and (is_sp(s["Rn"]) or is_sp(s["Rd"])):
        return f", lsl #{amount}" if amount else ""
    return f", {kind} #{amount}" if amount else f", {kind}"


def _extended_register(s: Shown) -> str:
    return str(s["Rm"]) if s["<ext>"].endswith("x") else "w" + str(s["Rm"])[1:]


def _index(s: Shown) -> str:
    """An index register with its extension and shift; a shift of 0 is written when its bit is set."""
    kind, scale = s["<ext>"], s["SCALE"]
    if kind == "lsl" and s["sx"]:
        kind = "sxtx"
    register = str(s["Rm"]) if kind in ("lsl", "sxtx") else "w" + str(s["Rm"])[1:]
    amount = f" #{scale}" if s["S"] else ""
    return register if kind == "lsl" and not s["S"] else f"{register}, {kind}{amount}"


def _register_list(first: int, count: int, arrangement: str) -> str:
    return "{ " + ", ".join(f"v{(first + k) % 32}.{arrangement}" for k in range(count)) + " }"


def _arrangement(s: Shown) -> str:
    """Of the whole registers: by size, a field or bits of the row, and Q."""
    size = int(str(s["size"]), 2) if isinstance(s["size"], str) else int(s["size"])
    return f"{(8 << int(s['QQ' if 'Q' not in s else 'Q'])) >> size}{'bhsd'[size]}"


def _pair(s: Shown, field: str) -> str:
    letter, n = s["pair"], int(s[field])
    return ", ".join(f"{letter}{k}" if k < 31 else f"{letter}zr" for k in (n, n + 1))


COMPUTED: dict[str, Callable[[Shown], Any]] = {
    "cc": lambda s: CONDITIONS[s["cond"]],
    "shift_of": _shift,
    "bitmask": lambda s: f"{_logical(s):#x}",
    "signed_bitmask": lambda s: signed(_logical(s), width_of(s, "Rn")),
    "high": lambda s: s["imm"] >> 12,
    "moved": lambda s: signed(s["imm16"] << s["hw"], width_of(s)),
    "inverted": lambda s: signed(~(s["imm16"] << s["hw"]), width_of(s)),
    "hw_shift": lambda s: f", lsl #{s['hw']}" if s["hw"] else "",
    "extend_of": _extend,
    "Rm_ext": _extended_register,
    "Rn_w": lambda s: "w" + str(s["Rn"])[1:],
    "Rt_bit": lambda s: ("x" if s["bit"] > 31 else "w") + str(s["Rt"])[1:],
    "hint": lambda s: s["CRm"] << 3 | s["op2"],
    "id_register": lambda s: ID_REGISTERS.get(s["ID"], f"s3_0_c0_c{s['ID'] >> 3}_{s['ID'] & 7}").upper(),
    "register": lambda s: sysregs.name_of(s["SR"]).upper(),
    "operation": _operation,
    "page": _page,
    "plus": lambda s: f", #{s['imm']}" if s["imm"] else "",
    "index": _index,
    "al": lambda s: ("a" if s["A"] else "") + ("l" if s["R"] else ""),
    "a": lambda s: "a" if s["o0"] else "",
    "l": lambda s: "l" if s["o0"] else "",
    "pair_s": lambda s: _pair(s, "Rs"),
    "pair_t": lambda s: _pair(s, "Rt"),
    "list": lambda s: _register_list(s["Rt"], s["COUNT"], _arrangement(s)),
    "lane_list": lambda s: _register_list(s["Rt"], s["COUNT"], s["<e>"]),
    "base": lambda s: "sp" if s["Rn"] == 31 else f"x{s['Rn']}",
    "post": lambda s: f", #{s['STEP']}" if s["Rm"] == 31 else f", x{s['Rm']}",
    "Rd_q": lambda s: "q" + str(s["Rd"])[1:],
    "Rn_q": lambda s: "q" + str(s["Rn"])[1:],
    "right": lambda s: s["K"] - s["imm"],
    "Rm_v": lambda s: "v" + str(s["Rm"])[1:],
    "table": lambda s: _register_list(s["Rn"], s["K"], "16b"),
    "lsl_amount": lambda s: f", lsl #{s['amount']}" if s["amount"] else "",
    "msl": lambda s: s["amount"] + 8,
    "fp": _fp,
    "fbits": lambda s: (32 if s["sf"] == "0" else 64) - (s["scale"] & (31 if s["sf"] == "0" else 63)),
    "prefetch": _prefetch,
    "barrier": lambda s: BARRIERS.get(s["CRm"], f"#{s['CRm']}"),
    "bytemask": lambda s: f"{_simd8(s):#016x}",
}


class _Fields(dict[str, Any]):
    """What a template may name: the row's fields, its table, Q-dependent texts and what is computed of them."""

    def __init__(self, shown: Shown, row: Mapping[str, Any]) -> None:
        super().__init__(shown)
        self.row = row

    def __missing__(self, name: str) -> Any:
        if name.startswith("Q_"):
            return self.row[f"<{name[2:]}>"][int(self["Q"])]
        if name in COMPUTED:
            return COMPUTED[name](self)
        return self.row[name]


class Asm(str):
    """An assembly template; `<...>` in it was replaced by the row's table."""

    row: Mapping[str, Any]
    alias: Callable[[Shown], str | None] | None

    @classmethod
    def of(cls, text: str, row: Mapping[str, Any], alias: Callable[[Shown], str | None] | None) -> Self:
        def put(match: re.Match[str]) -> str:
            value = row[match[0]]
            return "{Q_" + match[1] + "}" if isinstance(value, tuple) else str(value)

        self = cls(re.sub(r"<(\w+)>", put, text))
        self.row, self.alias = row, alias
        return self

    def format_map(self, shown: Any, /) -> str:
        fields = _Fields(shown, self.row)
        other = self.alias(fields) if self.alias else None
        return (other if other is not None else str(self)).format_map(fields)


# -- registers by name


def zr(name: Any) -> bool:
    return str(name) in ("xzr", "wzr")


def is_sp(name: Any) -> bool:
    return str(name) in ("sp", "wsp")


def width_of(s: Shown, field: str = "Rd") -> int:
    return 32 if str(s[field])[0] == "w" else 64
