"""The pytest plug-in: machines as fixtures, closed at the end of the test, their serial output in the report of a failure.

    def test_boot(machine):
        m = machine("virt", kernel="firmware.elf", bios="none")
        m.run(until="ready")

`machine` makes machines with the arguments of `tinamou.Machine`; `machine_snapshots` (for the session) boots once and gives every
test a machine in that state.  `--machine-timeout` is how long `run` waits when a test does not say.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Unpack

import pytest

if TYPE_CHECKING:
    from tinamou.api.machine import Arguments, Machine, Snapshot

MACHINES = pytest.StashKey[list["Machine"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tinamou", "emulated machines")
    group.addoption("--machine-timeout", type=float, default=60.0, metavar="SECONDS", help="how long Machine.run waits by default")


class Factory:
    """Makes machines for one test."""

    def __init__(self, made: list[Machine], timeout: float) -> None:
        self._made, self._timeout = made, timeout

    def __call__(self, board: str = "virt", **arguments: Unpack[Arguments]) -> Machine:
        from tinamou.api.machine import Machine

        return self.adopt(Machine(board, **arguments))

    def adopt(self, machine: Machine) -> Machine:
        """Close this machine at the end of the test, and show its output when the test fails."""
        machine.timeout = self._timeout
        self._made.append(machine)
        return machine


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Generator[Factory, None, None]:
    """A function that makes machines."""
    made: list[Machine] = []
    request.node.stash[MACHINES] = made
    yield Factory(made, request.config.getoption("--machine-timeout"))
    for m in made:
        m.close()


class Snapshots:
    """Machines that were booted once: `get(name, boot)` calls `boot()` the first time, which gives a machine that stands still."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Machine, Snapshot]] = {}

    def get(self, name: str, boot: Callable[[], Machine]) -> Machine:
        """The machine of that name in the state that `boot` left it in. It belongs to the session: a test does not close it."""
        if name not in self._kept:
            machine = boot()
            self._kept[name] = machine, machine.snapshot()
        machine, snapshot = self._kept[name]
        machine.restore(snapshot)
        return machine

    def close(self) -> None:
        for machine, snapshot in self._kept.values():
            snapshot.close()
            machine.close()


@pytest.fixture(scope="session")
def machine_snapshots() -> Generator[Snapshots, None, None]:
    """Machines in the states they were left in by a boot that happens once."""
    kept = Snapshots()
    yield kept
    kept.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """What the machines said, behind the traceback."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        made: list[Machine] = item.stash.get(MACHINES, [])
        for n, m in enumerate(made):
            for k, port in enumerate(m.serials):
                if port.data:
                    report.sections.append((f"machine {n} ({m.machine.name}), serial port {k}", port.text[-8000:]))


__all__ = ["Factory", "Snapshots"]
