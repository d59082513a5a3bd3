"""Threads that work off jobs in the order given. (`concurrent.futures` does the same; importing it takes 7 ms.)"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from .notation import Any


class Job:
    """A call that is being made somewhere; `result()` waits for it and returns, or raises, what came of it."""

    __slots__ = ("argument", "call", "done", "error", "value")

    def __init__(self, call: Callable[[Any], Any], argument: Any) -> None:
        self.call = call
        self.argument = argument
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def run(self) -> None:
        try:
            self.value = self.call(self.argument)
        except BaseException as error:
            self.error = error
        finally:
            self.done.release()

    def result(self) -> Any:
        with self.done:
            if self.error is not None:
                raise self.error
            return self.value


class Pool:
    """At most `threads` threads, started as jobs come. Leaving the block drops the jobs that have not begun and waits for the
    others."""

    def __init__(self, threads: int) -> None:
        self.limit = threads
        self.threads: list[threading.Thread] = []
        self.jobs: deque[Job] = deque()
        self.tokens = threading.Semaphore(0)
        self.closing = False

    def submit(self, call: Callable[[Any], Any], argument: Any) -> Job:
        job = Job(call, argument)
        self.jobs.append(job)
        if len(self.threads) < self.limit:
            thread = threading.Thread(target=self._work, daemon=True)
            self.threads.append(thread)
            thread.start()
        self.tokens.release()
        return job

    def _work(self) -> None:
        while True:
            self.tokens.acquire()
            if self.closing:
                return
            try:
                job = self.jobs.popleft()
            except IndexError:
                continue
            job.run()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.closing = True
        for _ in self.threads:
            self.tokens.release()
        for thread in self.threads:
            thread.join()
        while self.jobs:
            job = self.jobs.popleft()
            job.error = RuntimeError("the pool was closed")
            job.done.release()
