"""What can go wrong when a script drives a machine."""

from __future__ import annotations


class MachineError(Exception):
    """A machine cannot be made or do what was asked; the message names the option and the nearest valid value."""


class RunTimeout(MachineError, TimeoutError):
    """What was waited for did not come in time. The machine stands still and can go on. `transcript` is what its serial port said."""

    def __init__(self, message: str, transcript: str = "") -> None:
        super().__init__(message)
        self.transcript = transcript
        if transcript:
            self.add_note(f"the end of the serial output:\n{transcript[-2000:]}")


class MachineEnded(MachineError):
    """The guest powered off, or the machine stopped by itself, before what was waited for came. `status` is the run state."""

    def __init__(self, message: str, status: str = "", exit_code: int | None = None, transcript: str = "") -> None:
        super().__init__(message)
        self.status, self.exit_code, self.transcript = status, exit_code, transcript
        if transcript:
            self.add_note(f"the end of the serial output:\n{transcript[-2000:]}")
