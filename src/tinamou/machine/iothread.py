"""Blocking work of a device in a thread of its own, so that CPUs go on meanwhile."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

IDLE = 5.0  # seconds after which the thread ends; it begins again with the next work
BATCH = 16  # results that are handed over at once


class IoThread:
    """Does pieces of work one after the other, and hands their results to `finished` in batches, with the machine's `lock` held.

    Work runs without that lock: it may touch host files and guest memory, nothing else.
    """

    def __init__(self, lock: AbstractContextManager[Any], finished: Callable[[list[Any]], object], name: str = "I/O") -> None:
        self.lock, self.finished, self.name = lock, finished, name
        self._changed = threading.Condition()
        self._todo: deque[Callable[[], Any]] = deque()
        self._done: list[Any] = []
        self._busy = False
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], Any]) -> None:
        with self._changed:
            self._todo.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    @property
    def idle(self) -> bool:
        """Nothing is under way, and all results were handed over."""
        with self._changed:
            return not (self._todo or self._busy or self._done)

    def drain(self) -> None:
        """Wait for all work and hand its results over.  The caller holds the machine's lock."""
        while not self.idle:
            with self._changed:
                while self._todo or self._busy:
                    self._changed.wait()
            self._hand_over()

    def _hand_over(self) -> None:
        with self._changed:
            results, self._done = self._done, []
        if results:
            self.finished(results)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._todo and not self._changed.wait_for(lambda: self._todo, IDLE):
                    self._thread = None
                    return
                work = self._todo.popleft()
                self._busy = True
            result = work()
            with self._changed:
                self._done.append(result)
                self._busy = False
                more = bool(self._todo) and len(self._done) < BATCH
                self._changed.notify_all()
            if not more:
                with self.lock:
                    self._hand_over()
