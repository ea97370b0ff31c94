"""A program in a terminal of a given width, and what is to be seen there in the end.

The screen does what the programs here ask of it: text that wraps, carriage returns, line feeds,
moves of the cursor and erasing.  Other sequences (colours, a hidden cursor) move nothing.
"""

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time

SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b\][^\x07]*\x07|\x1b[=>]")


class Screen:
    def __init__(self, columns):
        self.columns, self.lines, self.y, self.x = columns, [[]], 0, 0

    def feed(self, text):
        at = 0
        while at < len(text):
            found = SEQUENCE.match(text, at)
            if found:
                at = found.end()
                self.control(found[1] or "", found[2] or "")
            else:
                self.put(text[at])
                at += 1

    def put(self, letter):
        if letter == "\r":
            self.x = 0
        elif letter == "\n":
            self.move(self.y + 1)
        elif letter in {"\x1b", "\x07"}:
            raise AssertionError(f"a sequence that this screen does not know: {letter!r}")
        else:
            if self.x == self.columns:
                self.x = 0
                self.move(self.y + 1)
            line = self.lines[self.y]
            line += " " * (self.x + 1 - len(line))
            line[self.x] = letter
            self.x += 1

    def move(self, y):
        self.y = max(y, 0)
        while len(self.lines) <= self.y:
            self.lines.append([])

    def control(self, number, letter):
        count = int(number) if number.isdigit() else 1
        if letter == "A":
            self.move(self.y - count)
        elif letter == "B":
            self.move(self.y + count)
        elif letter == "K" and number == "2":
            self.lines[self.y] = []
        elif letter == "K" and number in ("", "0"):
            self.lines[self.y] = self.lines[self.y][: self.x]
        elif letter not in ("m", "h", "l", ""):
            raise AssertionError(f"a sequence that this screen does not know: {number}{letter}")

    def text(self):
        return [line for line in ("".join(line).rstrip() for line in self.lines) if line]


def seen(command, columns, *, stdout=None, seconds=60):
    """Run a Python command in a terminal; return (lines on the screen, bytes, exit code)."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    around = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    running = subprocess.Popen(
        [sys.executable, *command],
        stdin=slave,
        stdout=slave if stdout is None else stdout,
        stderr=slave,
        env=around | {"TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(slave)
    raw, until = b"", time.monotonic() + seconds
    while time.monotonic() < until:
        ready, _, _ = select.select([master], [], [], 0.5)
        try:
            more = os.read(master, 65536) if ready else b""
        except OSError:
            break  # nobody is left who writes
        raw += more
        if ready and not more:
            break
    code = running.wait(10)
    os.close(master)
    screen = Screen(columns)
    screen.feed(raw.decode())
    return screen.text(), raw, code
