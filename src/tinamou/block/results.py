"""What a format tells about an image as a whole: the result of `check`, its internal snapshots."""

from __future__ import annotations


class CheckResult:
    """What `check` found and repaired. `messages` are the lines for the user, in the order found."""

    def __init__(self) -> None:
        self.corruptions = 0
        self.leaks = 0
        self.errors = 0
        self.corruptions_fixed = 0
        self.leaks_fixed = 0
        self.total_clusters = 0
        self.allocated_clusters = 0
        self.fragmented_clusters = 0
        self.compressed_clusters = 0
        self.image_end = 0
        self.messages: list[str] = []

    def report(self, message: str) -> None:
        """One more corruption; the first 10,000 are told."""
        if self.corruptions < 10_000:
            self.messages.append(message)
        self.corruptions += 1


class Snapshot:
    """An internal snapshot as listed by `snapshot -l` and `info`."""

    def __init__(
        self,
        id: str,
        name: str,
        vm_state_size: int = 0,
        date_sec: int = 0,
        date_nsec: int = 0,
        vm_clock_nsec: int = 0,
        icount: int | None = None,
        disk_size: int = 0,
    ) -> None:
        self.id = id
        self.name = name
        self.vm_state_size = vm_state_size
        self.date_sec = date_sec
        self.date_nsec = date_nsec
        self.vm_clock_nsec = vm_clock_nsec
        self.icount = icount
        self.disk_size = disk_size
