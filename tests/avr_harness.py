"""AVR boards whose CPU executes nothing: tests touch the registers by name and let cycles pass."""

from tinamou.backends.chardev.base import MemoryChardev
from tinamou.machine import board
from tinamou.machine.lines import Pin
from tinamou.machine.machine import Settings

DATA = 0x80_0000


class IdleAvr:
    """What docs/avr.md promises devices, and a record of what they asked for."""

    def __init__(self, machine, model, index, properties):
        self.machine, self.model, self.index = machine, model, index
        self.clock = machine.clock(16_000_000)
        self.pins = {f"vector{n}": Pin(lambda level: None, f"vector{n}", n, self) for n in range(2, 58)}
        self.acknowledges = {}
        self.stalls, self.restarts, self.tables = [], [], []
        self.holds = set()
        self.closed = False
        self.protected = None
        self.on_sleep = self.on_watchdog = self.on_spm = self.on_lpm = None

    def line(self, name):
        return self.pins[name]

    def on_acknowledge(self, n, action):
        self.acknowledges[n] = action

    def stall(self, cycles):
        self.stalls.append(cycles)

    def restart(self, cause):
        self.restarts.append(cause)

    def hold(self, cause, on):
        (self.holds.add if on else self.holds.discard)(cause)

    def shut_out(self, on):
        self.closed = on

    def protect(self, boot, **what):
        self.protected = boot, what

    def vectors(self, address):
        self.tables.append(address)

    @property
    def cycles(self):
        return self.clock.ticks

    def reset(self, vector=None):
        pass

    def facts(self):
        return {}

    def save(self):
        return {}

    def load(self, saved):
        pass


class Bench:
    """A board on the bench. Registers are items: `b["TCCR0B"] = 3`; names as in the data sheet."""

    def __init__(self, on="uno", *, options=None, ports=4):
        kind = board.find(on, "avr")
        self.ports = [MemoryChardev(id=f"s{n}") for n in range(ports)]
        self.m = kind.make(Settings(ram_size=kind.ram, serials=list(self.ports)), options or {}, cpu_factory=IdleAvr)
        self.cpu, self.pins = self.m.cpus[0], self.m.pins
        self.logged = []
        self.m.log.items, self.m.log.sink = {"guest_errors"}, self.logged.append
        self.io = next(d for d in self.m.devices if d.type_name == "avr-io")
        self.at = {}
        for address, (device, _, reg) in self.io.owners.items():
            self.at[data_sheet_name(device.id, reg.name)] = address

    def __getitem__(self, name):
        if name + "L" in self.at and name not in self.at:
            low = self.m.memory.read(DATA + self.at[name + "L"], 1)
            return low | self.m.memory.read(DATA + self.at[name + "H"], 1) << 8
        return self.m.memory.read(DATA + self.at[name], 1)

    def __setitem__(self, name, value):
        if name + "L" in self.at and name not in self.at:
            self.m.memory.write(DATA + self.at[name + "H"], value >> 8, 1)
            self.m.memory.write(DATA + self.at[name + "L"], value & 0xFF, 1)
        else:
            self.m.memory.write(DATA + self.at[name], value, 1)

    @property
    def now(self):
        return self.cpu.clock.ticks

    def pass_(self, cycles):
        self.m.time.advance_to(self.cpu.clock.ns(self.now + cycles))
        return self

    def pending(self):
        """The vectors that ask for the CPU."""
        return [n for n in range(2, 58) if self.cpu.pins[f"vector{n}"].level]

    def enter(self, n):
        """The CPU takes the interrupt."""
        assert n in self.pending()
        self.cpu.acknowledges[n]()

    def device(self, name):
        return self.m.find_device(name)


def data_sheet_name(device, reg):
    """TCCRA of timer0 is TCCR0A."""
    n = device[-1]
    if device.startswith("timer"):
        for stem in ("TCCR", "OCR", "TCNT", "ICR", "TIFR", "TIMSK"):
            if reg.startswith(stem):
                return stem + n + reg[len(stem):]
    if device.startswith("usart"):
        return reg[:4] + n + reg[4:] if reg != "UDR" else "UDR" + n
    if device.startswith("port"):
        return reg + n.upper()
    return reg
