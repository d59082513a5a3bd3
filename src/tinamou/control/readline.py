"""Line editing over a character stream: what a person types is redrawn with VT100 sequences, as expect scripts know it."""

from __future__ import annotations

from collections.abc import Callable

HISTORY = 64
WIDTH = 80


class LineEditor:
    """One line at a time. `send` takes text for the terminal, `done(line)` gets a finished line,

    `complete(text)` gives (word to complete, candidates).
    """

    def __init__(self, send: Callable[[str], object], done: Callable[[str], object],
                 complete: Callable[[str], tuple[str, list[str]]] = lambda text: ("", [])) -> None:
        self.send, self.done, self.complete = send, done, complete
        self.prompt = ""
        self.text, self.cursor = "", 0
        self.history: list[str] = []
        self._at = -1
        self._shown, self._shown_cursor = "", 0
        self._escape = ""

    def show_prompt(self) -> None:
        """Print the prompt and begin a line."""
        self.send(self.prompt)
        self._shown, self._shown_cursor = "", 0

    def start(self, prompt: str) -> None:
        """A new, empty line."""
        self.prompt, self.text, self.cursor, self._at = prompt, "", 0, -1
        self.show_prompt()

    def feed(self, data: str) -> None:
        """What was typed."""
        for c in data:
            self._key(c)

    def _update(self) -> None:
        if self.text != self._shown:
            self.send("\x1b[D" * self._shown_cursor + self.text + "\x1b[K")
            self._shown, self._shown_cursor = self.text, len(self.text)
        delta = self.cursor - self._shown_cursor
        if delta:
            self.send(("\x1b[C" if delta > 0 else "\x1b[D") * abs(delta))
            self._shown_cursor = self.cursor

    def _key(self, c: str) -> None:
        if self._escape:
            self._sequence(c)
            return
        match c:
            case "\x01":
                self.cursor = 0
            case "\x04":
                self._delete()
            case "\x05":
                self.cursor = len(self.text)
            case "\t":
                self._completion()
            case "\n" | "\r":
                self._enter()
                return
            case "\x15":
                self.text, self.cursor = self.text[self.cursor :], 0
            case "\x17":
                self._delete_word()
            case "\x1b":
                self._escape = "\x1b"
                return
            case "\x7f" | "\x08":
                if self.cursor:
                    self.cursor -= 1
                    self._delete()
            case "\x9b":
                self._escape = "\x1b["
                return
            case "\x0b":
                self.text = self.text[: self.cursor]
            case "\x0e":
                self._recall(1)
            case "\x10":
                self._recall(-1)
            case "\x02":
                self.cursor = max(0, self.cursor - 1)
            case "\x06":
                self.cursor = min(len(self.text), self.cursor + 1)
            case _ if c >= " " and len(self.text) < 4095:
                self.text = self.text[: self.cursor] + c + self.text[self.cursor :]
                self.cursor += 1
        self._update()

    def _sequence(self, c: str) -> None:
        self._escape += c
        if self._escape in ("\x1b[", "\x1bO") or (c.isdigit() and len(self._escape) < 8):
            return
        sequence, self._escape = self._escape, ""
        match sequence:
            case "\x1b[A" | "\x1bOA":
                self._recall(-1)
            case "\x1b[B" | "\x1bOB":
                self._recall(1)
            case "\x1b[C" | "\x1bOC":
                self.cursor = min(len(self.text), self.cursor + 1)
            case "\x1b[D" | "\x1bOD":
                self.cursor = max(0, self.cursor - 1)
            case "\x1b[H" | "\x1bOH" | "\x1b[1~":
                self.cursor = 0
            case "\x1b[F" | "\x1bOF" | "\x1b[4~":
                self.cursor = len(self.text)
            case "\x1b[3~":
                self._delete()
            case "\x1bb":
                self.cursor = self._word_start()
            case "\x1bf":
                while self.cursor < len(self.text) and self.text[self.cursor] == " ":
                    self.cursor += 1
                while self.cursor < len(self.text) and self.text[self.cursor] != " ":
                    self.cursor += 1
        self._update()

    def _delete(self) -> None:
        self.text = self.text[: self.cursor] + self.text[self.cursor + 1 :]

    def _word_start(self) -> int:
        at = self.cursor
        while at and self.text[at - 1] == " ":
            at -= 1
        while at and self.text[at - 1] != " ":
            at -= 1
        return at

    def _delete_word(self) -> None:
        start = self._word_start()
        self.text, self.cursor = self.text[:start] + self.text[self.cursor :], start

    def _enter(self) -> None:
        self.cursor = len(self.text)
        self._update()
        self.send("\n")
        line = self.text
        if line:
            if line in self.history:
                self.history.remove(line)
            self.history.append(line)
            del self.history[:-HISTORY]
        self.text, self.cursor, self._at = "", 0, -1
        self._shown, self._shown_cursor = "", 0
        self.done(line)

    def _recall(self, step: int) -> None:
        if not self.history:
            return
        if self._at < 0:
            if step > 0:
                return
            self._at = len(self.history)
        self._at += step
        if self._at >= len(self.history):
            self._at, self.text = -1, ""
        else:
            self._at = max(0, self._at)
            self.text = self.history[self._at]
        self.cursor = len(self.text)

    def _completion(self) -> None:
        word, found = self.complete(self.text[: self.cursor])
        if not found:
            return
        if len(found) == 1:
            self._insert(found[0][len(word) :] + ("" if found[0].endswith("/") else " "))
            return
        width = max(10, max(len(f) for f in found) + 2)
        columns = max(1, WIDTH // width)
        rows = [found[i : i + columns] for i in range(0, len(found), columns)]
        common = found[0]
        for f in found:
            while not f.startswith(common):
                common = common[:-1]
        if len(common) > len(word):
            self.text = self.text[: self.cursor] + common[len(word) :] + self.text[self.cursor :]
            self.cursor += len(common) - len(word)
        self.send("\n" + "".join("".join(f.ljust(width) for f in row) + "\n" for row in rows))
        self.show_prompt()

    def _insert(self, text: str) -> None:
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor += len(text)
