# SPDX-License-Identifier: GPL-2.0-or-later
"""A real pseudo-terminal, and what a person would see on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from masters import wait_for
from program import PROGRAM

# The bar appears at once, which is otherwise seen only on a busy machine.
AT_ONCE = {"FDROID_BB_TEST_PROGRESS": "1"}


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """That of whoever runs the tests, without what changes colours."""
    unwanted = {"NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "COLUMNS", "CI"}
    own = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**own, "TERM": "xterm-256color", **more}


class Terminal:
    """fdroid-bb with a terminal of its own as its stdin, stdout and stderr."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        columns: int = 80,
        stopped: bool = False,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """With `stopped`, the terminal takes nothing, as after Ctrl-S."""
        self.columns = columns
        self.raw = b""
        self._host, self._line = os.openpty()
        termios.tcsetwinsize(self._line, (24, columns))
        self.settings = termios.tcgetattr(self._line)
        if stopped:
            termios.tcflow(self._line, termios.TCOOFF)
        self.process = subprocess.Popen(
            [PROGRAM, *map(str, arguments)],
            stdin=self._line,
            stdout=self._line,
            stderr=self._line,
            cwd=cwd,
            env=environment({**AT_ONCE, **(env or {})}),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # It ends once nobody has the other end open.
        with contextlib.suppress(OSError):
            while more := os.read(self._host, 65536):
                self.raw += more

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._host, keys)

    def is_held(self) -> bool:
        """Whether a thread waits for the terminal to take what it writes."""
        write = str(1)  # the number of this system call on x86-64
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/syscall")
        calls = []
        for task in tasks:
            # Threads of it end meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                calls.append(task.read_text().split())
        return any(call[0] == write and call[1] in ("0x1", "0x2") for call in calls)

    def wait_until_held(self) -> None:
        """Wait until it is in the middle of its work."""
        wait_for("the program to write", self.is_held, 60)

    def end(self, seconds: float = 60) -> int:
        """The exit status. Fails if it does not end, or the terminal is not as it was."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it hangs: {self.raw.decode()[-2000:]}") from None
        assert termios.tcgetattr(self._line) == self.settings
        os.close(self._line)
        self._reader.join(10)
        os.close(self._host)
        text = self.raw.decode()
        assert text.count("\x1b[?25l") == text.count("\x1b[?25h"), "the cursor is hidden"
        return status

    def screen(self) -> list[str]:
        """The lines that stay on the screen, as if it were endlessly wide."""
        lines, column = [""], 0
        for part in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", self.raw.decode()):
            if part == "\r":
                column = 0
            elif part == "\n":
                lines.append("")
                column = 0
            elif part == "\x1b[2K":
                lines[-1] = ""
            elif part.startswith("\x1b"):
                assert part.endswith("m"), f"unexpected {part!r}"
            else:
                line = lines[-1].ljust(column)
                lines[-1] = line[:column] + part + line[column + len(part) :]
                column += len(part)
        return [line.rstrip() for line in lines]

    def bars(self) -> list[str]:
        """Every progress bar that was drawn."""
        return re.findall(r"(?:reading apps|submitting builds) [^\r\n\x1b]*", self.raw.decode())
