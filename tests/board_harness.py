"""A CPU that executes nothing, for tests of boards and devices."""

from tinamou.machine.lines import Pin

CAUSES = {"ssip": 1, "msip": 3, "stip": 5, "mtip": 7, "seip": 9, "meip": 11}


class IdleCpu:
    """Keeps the levels of its interrupt inputs and where it would start."""

    def __init__(self, machine, model, index, properties):
        self.index, self.model, self.properties, self.machine = index, model, properties, machine
        self.pins = {name: Pin(lambda level: None, name, cause, self) for name, cause in CAUSES.items()}
        self.pc = None

    def line(self, name):
        return self.pins[name]

    def reset(self, vector=None):
        self.pc = self.properties.get("resetvec", 0x1000) if vector is None else vector

    def timebase(self, clock):
        self.clock = clock

    def facts(self):
        xlen = 32 if "32" in self.model or self.model in ("lowrisc-ibex", "sifive-e31") else 64
        return {"isa": f"rv{xlen}imafdc", "xlen": xlen, "mmu": "sv48" if self.model == "rv64" else ""}

    def save(self):
        return {"pc": self.pc}

    def load(self, saved):
        self.pc = saved["pc"]
