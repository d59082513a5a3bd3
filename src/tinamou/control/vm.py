"""A running emulator as monitors see it: the machine, what executes it, its run state, back ends and events."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tinamou import __version__
from tinamou.backends.chardev.base import Chardev
from tinamou.backends.loop import Loop
from tinamou.machine.cpu import Runner
from tinamou.machine.device import Device
from tinamou.machine.machine import Machine
from tinamou.machine.props import Link, PropertyError, choices

COMPATIBLE = (5, 1, 0)
RUN_STATES = ("debug", "inmigrate", "internal-error", "io-error", "paused", "postmigrate", "prelaunch", "finish-migrate",
              "restore-vm", "running", "save-vm", "shutdown", "suspended", "watchdog", "guest-panicked", "colo", "preconfig")


class CommandError(Exception):
    """A monitor command failed; `kind` is the QMP error class."""

    def __init__(self, message: str, kind: str = "GenericError") -> None:
        super().__init__(message)
        self.kind = kind


class Idle:
    """Executes nothing: a machine without an accelerator (`-accel qtest`)."""

    name = "qtest"

    def start(self, only: Sequence[int] | None = None) -> None: ...

    def stop(self) -> None: ...

    def step(self, index: int, flags: int, others: Sequence[int] = ()) -> tuple[int, str, int] | None:
        raise CommandError("this machine executes nothing")

    def set_break(self, kind: str, address: int, size: int) -> None: ...

    def clear_break(self, kind: str, address: int, size: int) -> None: ...


class Vm:
    """What monitor commands act on."""

    def __init__(self, machine: Machine, runner: Runner | None = None, loop: Loop | None = None, *, name: str = "",
                 arch: str = "riscv64", no_reboot: bool = False, no_shutdown: bool = False) -> None:
        self.machine, self.runner = machine, runner or Idle()
        self.loop = loop or Loop(machine.lock, machine.time)
        self.name, self.arch, self.no_reboot, self.no_shutdown = name, arch, no_reboot, no_shutdown
        self.uuid = uuid.UUID(int=0)
        self.status = "prelaunch"
        self.chardevs: dict[str, Chardev] = {}
        self.drives: dict[str, Any] = {}
        self.objects: dict[str, Any] = {}
        self.debuggers: list[Any] = []  # gdb servers
        self.nodes: dict[str, Any] = {}
        self.globals: Sequence[tuple[str, str, str]] = ()  # -global
        self.exit_code = 0
        self.ended = False
        self.version = COMPATIBLE
        self.package = f"tinamou {__version__}"
        self._listeners: list[Callable[[dict[str, Any]], object]] = []
        self.state_changed: list[Callable[[str], object]] = []
        machine.on_request(self.requested)

    # --- events

    def on_event(self, f: Callable[[dict[str, Any]], object]) -> Callable[[], None]:
        """Call `f` with each event; returns a function that ends it."""
        self._listeners.append(f)
        return lambda: self._listeners.remove(f)

    def emit(self, event: str, data: dict[str, Any] | None = None) -> None:
        """Tell every monitor."""
        now = time.time_ns() // 1000
        message: dict[str, Any] = {"timestamp": {"seconds": now // 1_000_000, "microseconds": now % 1_000_000}, "event": event}
        if data is not None:
            message["data"] = data
        for f in list(self._listeners):
            f(message)

    # --- the run state

    @property
    def running(self) -> bool:
        return self.status == "running"

    def _become(self, status: str) -> None:
        self.status = status
        for f in self.state_changed:
            f(status)

    def start(self, only: Sequence[int] | None = None) -> None:
        """Let the machine run, or only some of its CPUs. Raises CommandError when it must be reset first."""
        if self.running or self.ended:
            return
        if self.status in ("shutdown", "internal-error", "guest-panicked"):
            raise CommandError("Resetting the Virtual Machine is required")
        if self.status == "inmigrate":
            raise CommandError("guest is waiting for an incoming migration")
        self._become("running")
        self.emit("RESUME")
        for d in self.machine.everything():
            retry = getattr(d, "retry", None)
            if retry is not None:
                retry()
        self.machine.time.start()
        self.runner.start(only)

    def stop(self, status: str = "paused") -> None:
        """Stop CPUs and time."""
        if self.running:
            self.runner.stop()
            self.machine.drain()
            self.machine.time.stop()
            self._become(status)
            self.emit("STOP")
        elif status != "paused":
            self._become(status)

    @contextmanager
    def stopped_for(self, status: str) -> Iterator[None]:
        """The machine stands still meanwhile, then it is as before."""
        before = self.status
        self.stop(status)
        try:
            yield
        finally:
            self.resume(before)

    def resume(self, status: str) -> None:
        """Go on, or stand still, as before `stop`."""
        if status == "running":
            self.start()
        else:
            self._become(status)

    def quit(self, reason: str = "host-qmp-quit", code: int = 0, guest: bool = False) -> None:
        """End the emulator."""
        if self.ended:
            return
        self.emit("SHUTDOWN", {"guest": guest, "reason": reason})
        self.runner.stop()
        self.machine.time.stop()
        self.exit_code, self.ended = code, True
        self.loop.stop()

    def reset(self, reason: str = "host-qmp-system-reset", guest: bool = False, done: bool = False) -> None:
        """Reset the machine (or end, with -no-reboot). `done`: a CPU has done it, between two instructions, and goes on."""
        if self.no_reboot and guest:
            self.quit(reason, guest=True)
            return
        if done:
            self.emit("RESET", {"guest": guest, "reason": reason})
            return
        was = self.running
        if was:
            self.runner.stop()
        self.machine.reset("warm")
        if self.status in ("shutdown", "internal-error", "guest-panicked"):
            self._become("prelaunch")
        self.emit("RESET", {"guest": guest, "reason": reason})
        if was:
            self.runner.start()

    def powerdown(self) -> None:
        """Ask the guest to shut down."""
        self.emit("POWERDOWN")
        for d in self.machine.everything():
            press = getattr(d, "power_button", None)
            if press is not None:
                press()

    def requested(self, what: str, details: dict[str, Any]) -> None:
        """The machine asks for something; done from the loop, because CPUs cannot wait for themselves."""
        if what in ("shutdown", "reset"):
            self.runner.stop()  # here and now: the same instruction in every run
        if what == "shutdown":
            self.loop.soon(lambda: self._guest_shutdown(details.get("cause", "guest-shutdown"), details.get("code", 0)))
        elif what == "reset":
            self.loop.soon(lambda: self._guest_reset(details.get("cause", "guest-reset")))
        elif what == "restarted":
            if self.no_reboot and details["guest"]:
                self.runner.stop()
            self.loop.soon(lambda: self._guest_reset(details["cause"], details["guest"], done=True))
        elif what == "block-io-error":
            stopping = details["action"] == "stop"
            data = {k: details[k] for k in ("device", "node", "operation", "action", "nospace", "reason")}
            self.emit("BLOCK_IO_ERROR", {("node-name" if k == "node" else k): v for k, v in data.items()})
            if stopping:
                self.loop.soon(lambda: self.stop("io-error"))

    def _guest_shutdown(self, cause: str, code: int) -> None:
        if self.no_shutdown:
            self.emit("SHUTDOWN", {"guest": True, "reason": cause})
            self.stop("shutdown")
        else:
            self.quit(cause, code, guest=True)

    def _guest_reset(self, cause: str, guest: bool = True, done: bool = False) -> None:
        if cause == "watchdog":
            self.emit("WATCHDOG", {"action": "reset"})
            cause = "guest-reset"
        self.reset(cause, guest, done)

    def call(self, action: Callable[[], object]) -> None:
        """Have the loop do it, from another thread, and wait."""
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self.loop.soon(act)
        while not done.wait(1.0) and not self.ended:
            pass

    # --- looking things up

    def resolve(self, link: Link, prop: str, text: str) -> Any:
        """The object a property's text names. Raises PropertyError in the original's words."""
        if link.what == "drive":
            if text in self.drives:
                return self.drives[text]
            if text in self.nodes:
                return self.nodes[text]
            raise PropertyError(f"can't find value '{text}'", choices(text, [*self.drives, *self.nodes]))
        if link.what == "chardev":
            if text not in self.chardevs:
                raise PropertyError(f"can't find value '{text}'", choices(text, self.chardevs))
            return self.chardevs[text]
        if text not in self.objects:
            raise PropertyError(f"Device '{text}' not found", choices(text, self.objects))
        return self.objects[text]

    def plug(self, options: dict[str, Any], hot: bool = False) -> Device:
        """`-device` and `device_add`: make a device and put it on its bus. Raises PropertyError or CommandError."""
        from tinamou.control.plugging import plug

        return plug(self, options, hot)
