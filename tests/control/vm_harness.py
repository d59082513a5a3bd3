"""A `virt` machine with CPUs that execute nothing, and talkers for its monitors."""

import json

from board_harness import IdleCpu
from tinamou.control.gdb_riscv import description
from tinamou.control.qmp import Session
from tinamou.control.vm import Vm
from tinamou.machine import board
from tinamou.machine.machine import Settings
from tinamou.machine.memory import MiB


class FakeCpu(IdleCpu):
    """Has registers and an address space that is physical, but page 0x5000 which nothing maps."""

    def __init__(self, *args):
        super().__init__(*args)
        self.registers = {r.name: 0 for r in description(64, 64, privileged=True).numbered().values()}
        self.thread_id, self.halted = 100 + self.index, False

    def csrs(self):
        return []

    def register(self, name):
        return self.registers[name]

    def set_register(self, name, value):
        self.registers[name] = value

    def translate(self, address):
        return None if address >> 12 == 5 else address

    def describe(self):
        return f" pc       {self.registers['pc']:016x}\n"


class FakeRunner:
    """Notes what it is told."""

    name = "test"

    def __init__(self):
        self.log = []

    def start(self, only=None):
        self.log.append("start")

    def stop(self):
        self.log.append("stop")

    def step(self, index, flags, others=()):
        self.log.append(("step", index, flags))

    def set_break(self, *what):
        self.log.append(("set", *what))

    def clear_break(self, *what):
        self.log.append(("clear", *what))


def make(name="virt", **settings):
    vm_options = {k: settings.pop(k) for k in ("no_reboot", "no_shutdown") if k in settings}
    b = board.find(name)
    settings.setdefault("ram_size", 16 * MiB)
    m = b.make(Settings(bios="none", **settings), cpu_factory=FakeCpu)
    return Vm(m, FakeRunner(), **vm_options)


class Qmp:
    def __init__(self, vm, negotiate=True):
        self.out = bytearray()
        self.session = Session(vm, self.out.extend)
        self.session.open()
        self.greeting = self.take()[0]
        if negotiate:
            assert self.ask("qmp_capabilities") == {"return": {}}

    def take(self):
        rows = [json.loads(r) for r in bytes(self.out).split(b"\r\n") if r]
        self.out.clear()
        return rows

    def raw(self, text):
        self.session.feed(text if isinstance(text, bytes) else text.encode())
        return self.take()

    def ask(self, execute, arguments=None):
        request = {"execute": execute} | ({"arguments": arguments} if arguments is not None else {})
        return self.raw(json.dumps(request))[-1]

    def error(self, execute, arguments=None):
        answer = self.ask(execute, arguments)["error"]
        return answer["class"], answer["desc"]
