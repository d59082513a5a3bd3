"""Virtio console device with ports: OASIS Virtual I/O Device 1.1, section 5.3."""

from __future__ import annotations

import struct
from typing import Any

from tinamou.backends.chardev.base import Chardev
from tinamou.devices.virtio.core import VirtioDevice
from tinamou.devices.virtio.rings import Virtqueue, take
from tinamou.machine.bus import Bus
from tinamou.machine.device import Device
from tinamou.machine.lines import state
from tinamou.machine.props import CHARDEV, STR, U32, PropertyError, prop

SIZE, MULTIPORT, EMERG_WRITE = 0, 1, 2
READY, ADD, REMOVE, PORT_READY, CONSOLE, RESIZE, OPEN, NAME = range(8)
_CONTROL = struct.Struct("<IHH")


class SerialBus(Bus):
    """Ports of one virtio-serial device."""

    type = "virtio-serial-bus"

    def __init__(self, name: str, owner: VirtioSerial) -> None:
        super().__init__(name, owner)
        self.serial = owner

    def insert(self, device: Device) -> None:
        assert isinstance(device, SerialPort)
        self.serial.add_port(device)

    def withdraw(self, device: Device) -> None:
        assert isinstance(device, SerialPort)
        self.serial.remove_port(device)


class VirtioSerial(VirtioDevice, type="virtio-serial-device", category="Input"):
    """A bundle of ports: port 0 is a console for drivers without MULTIPORT."""

    device_id = 3

    max_ports: int = prop(U32, default=31, name="max_ports")

    columns = state(0)
    rows = state(0)
    driver_ready = state(False)         # the driver asked for the ports

    def setup(self) -> None:
        super().setup()
        if not 1 <= self.max_ports <= 31:
            raise PropertyError(f"virtio-serial: max_ports {self.max_ports} is not between 1 and 31")
        self.ports: dict[int, SerialPort] = {}
        self.slots = SerialBus("virtio-serial-bus.0", self)
        self.control_waiting: list[bytes] = []
        for _ in range(self.max_ports + 1):
            self.add_queue(128, self.input_room)
            self.add_queue(128, self.output)
        self.queues[2].handler, self.queues[3].handler = self.control_room, self.control

    def buses(self) -> list[Bus]:
        return [self.slots]

    def attached(self, machine: Any) -> None:
        super().attached(machine)
        for d in self.slots.children:
            d.attached(machine)

    def offered(self) -> int:
        return 1 << MULTIPORT | 1 << EMERG_WRITE

    def config(self) -> bytes:
        return struct.pack("<HHII", self.columns, self.rows, self.max_ports, 0)

    def write_config(self, offset: int, data: bytes) -> None:
        if offset == 8 and 0 in self.ports:
            self.ports[0].output(data[:1])
        else:
            super().write_config(offset, data)

    # --- ports

    def add_port(self, port: SerialPort) -> None:
        if port.nr == 0xFFFF_FFFF:
            first = 0 if port.console else 1
            free = [n for n in range(first, self.max_ports) if n not in self.ports]
            if not free:
                raise PropertyError("virtio-serial-bus: Maximum port limit for this device reached")
            port.nr = free[0]
        if port.nr >= self.max_ports:
            raise PropertyError(f"virtio-serial-bus: Out-of-range port id specified, max. allowed: {self.max_ports - 1}")
        if port.nr in self.ports:
            raise PropertyError(f"virtio-serial-bus: A port already exists at id {port.nr}")
        self.ports[port.nr] = port
        port.serial = self
        if self.machine is not None:
            port.attached(self.machine)
        if self.driver_ready:
            self.tell(port.nr, ADD, 1)

    def remove_port(self, port: SerialPort) -> None:
        del self.ports[port.nr]
        port.serial = None
        if self.driver_ready:
            self.tell(port.nr, REMOVE, 1)

    def queue_of(self, port: int) -> int:
        """The number of a port's receive queue; transmit is the next."""
        return 0 if port == 0 else 2 + 2 * port

    def port_of(self, queue: Virtqueue) -> SerialPort | None:
        n = queue.index // 2
        return self.ports.get(0 if n == 0 else n - 1)

    # --- data

    def output(self, queue: Virtqueue) -> None:
        port, done = self.port_of(queue), False
        while (chain := queue.pop()) is not None:
            data = b"".join(bytes(v) for v in chain.readable)
            if port is not None:
                port.output(data)
            queue.push(chain)
            done = True
        if done:
            queue.notify()

    def input_room(self, queue: Virtqueue) -> None:
        port = self.port_of(queue)
        if port is not None and port.chardev is not None:
            port.chardev.accept_input()

    def room(self, port: SerialPort) -> int:
        """How many bytes the guest's next receive buffer takes."""
        queue = self.queues[self.queue_of(port.nr)]
        if not queue.working or not queue.waiting or (self.has(MULTIPORT) and not port.guest_open):
            return 0
        chain = queue.pop()
        if chain is None:
            return 0
        queue.unpop(chain)
        return chain.in_size

    def input(self, port: SerialPort, data: bytes) -> None:
        queue = self.queues[self.queue_of(port.nr)]
        chain = queue.pop()
        if chain is not None:
            queue.push(chain, chain.write(data))
            queue.notify()

    # --- control messages

    def tell(self, port: int, event: int, value: int, extra: bytes = b"") -> None:
        self.control_waiting.append(_CONTROL.pack(port, event, value) + extra)
        self.run(self.queues[2])

    def control_room(self, queue: Virtqueue) -> None:
        done = False
        while self.control_waiting and (chain := queue.pop()) is not None:
            queue.push(chain, chain.write(self.control_waiting.pop(0)))
            done = True
        if done:
            queue.notify()

    def control(self, queue: Virtqueue) -> None:
        while (chain := queue.pop()) is not None:
            data = b"".join(bytes(v) for v in take(chain.readable, 8))
            queue.push(chain)
            if len(data) == 8:
                self.heard(*_CONTROL.unpack(data))
        queue.notify()

    def heard(self, number: int, event: int, value: int) -> None:
        if event == READY:
            self.driver_ready = bool(value)
            for n in sorted(self.ports):
                self.tell(n, ADD, 1)
            return
        port = self.ports.get(number)
        if port is None:
            self.log.guest_error(f"{self.label}: control message for port {number}, which does not exist")
        elif event == PORT_READY and value:
            if port.console:
                self.tell(number, CONSOLE, 1)
            if port.name:
                self.tell(number, NAME, 1, port.name.encode() + b"\0")
            if port.host_open:
                self.tell(number, OPEN, 1)
        elif event == OPEN:
            port.guest_open = bool(value)
            if value and port.chardev is not None:
                port.chardev.accept_input()

    def on_restart(self) -> None:
        self.control_waiting, self.driver_ready = [], False
        for p in self.ports.values():
            p.guest_open = False


class SerialPort(Device, type="virtserialport", bus="virtio-serial-bus", category="Input", user_creatable=True):
    """A named channel to the host."""

    chardev: Chardev | None = prop(CHARDEV, default=None)
    nr: int = prop(U32, default=0xFFFF_FFFF)
    name: str = prop(STR, default="")
    console = False

    guest_open = state(False)

    def setup(self) -> None:
        self.serial: VirtioSerial | None = None
        self.host_open = self.console
        if self.chardev is not None:
            self.chardev.attach(self)

    def output(self, data: bytes) -> None:
        if self.chardev is not None:
            self.chardev.write(data)

    def can_receive(self) -> int:
        return self.serial.room(self) if self.serial else 0

    def receive(self, data: bytes) -> None:
        if self.serial:
            self.serial.input(self, data)

    def event(self, what: str) -> None:
        if what in ("opened", "closed") and not self.console:
            self.host_open = what == "opened"
            if self.serial is not None and self.serial.driver_ready:
                self.serial.tell(self.nr, OPEN, int(self.host_open))


class VirtConsole(SerialPort, type="virtconsole", bus="virtio-serial-bus", category="Input", user_creatable=True):
    """A port the guest uses as a console (hvc0)."""

    console = True
