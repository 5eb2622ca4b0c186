# SPDX-License-Identifier: Apache-2.0
"""Types the commands of docs/evidence/transcripts and writes what they print into the pages.

``python docs/make_transcripts.py FOLDER [PAGE …]`` types the lines that begin with ``$`` into a
shell in FOLDER, which must exist. It replaces the lines below each by its output, and its comment
by the seconds that it took. An output that the page leaves out, as ``…`` alone, stays so. A page
that makes a checkout starts in a folder of its own; the other pages continue in the checkout of the
page before them. ADDRESS in a page stands for this checkout.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).parent
#: Names of the pages, in the order in which they are typed.
PAGES = (
    *("classify", "own_folder", "another_board", "plain_c"),
    *("long_clips", "paper_table", "fine_tune", "ten_recordings"),
)
_BLOCK = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ (.*?)(?: +# .*)?$", re.MULTILINE)
_LEFT_OUT = re.compile(r"^\$ (.*?)(?: +# .*)?\n…\n(?=\$ |\Z)", re.MULTILINE)
_PROGRESS = re.compile(r".*( left|: \d+/\d+ \w+)$")  # the first line has no estimate
_LAST_EPOCH = re.compile(r"epoch (\d+)/\1\b")
_END = "end-of-the-output"
#: Commands whose output is not shown: it is long, and depends on the computer.
_QUIET = ("git ", "make setup", "pip ", "python3 -m venv")


def path_of(page: str) -> Path:
    """File of a page."""
    return DOCS / "evidence" / "transcripts" / f"{page}.md"


def commands_of(text: str) -> list[str]:
    """Commands of a page, without their comments."""
    return [command for block in _BLOCK.findall(text) for command in _COMMAND.findall(block)]


def printed_lines(text: str) -> list[str]:
    """Lines that a page's commands printed."""
    lines = "".join(_BLOCK.findall(text)).splitlines()
    return [line for line in lines if not line.startswith(("$ ", "…"))]


class Shell:
    """A bash in a folder, to which commands are typed one by one.

    Args:
        folder: where it starts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, command: str) -> str:
        """Run a command.

        Returns:
            Its output, with paths relative to the folder.

        Raises:
            RuntimeError: it failed; the message has the output.
        """
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n{_END} %s\\n' $?\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.startswith(_END):
                break
            lines.append(line.rstrip())
        else:
            line = f"{_END} 1"
        output = "\n".join(lines).strip("\n").replace(f"{self._folder}/", "")
        if line.split()[1] != "0":
            raise RuntimeError(f"{command}\n{output}")
        return output

    def close(self) -> None:
        """End the shell."""
        self._process.communicate()


def transcribe(text: str, run: Callable[[str], str]) -> str:
    """A page with new outputs and times.

    Args:
        text: the page.
        run: runs a command and returns its output.
    """

    def block(match: re.Match[str]) -> str:
        lines = ["```text"]
        left_out = _LEFT_OUT.findall(match[1])
        for command in _COMMAND.findall(match[1]):
            start_s = time.monotonic()
            output = run(command)
            seconds = round(time.monotonic() - start_s)
            lines.append(f"$ {command:74} # {seconds} s" if seconds else f"$ {command}")
            if command in left_out:
                lines.append("…")
            elif output and not command.startswith(_QUIET):
                lines += _shortened(output.splitlines())
        return "\n".join([*lines, "```"])

    return _BLOCK.sub(block, text)


def _shortened(lines: list[str]) -> list[str]:
    """Without progress; of trainings only the first one's first and last epoch, and the folds."""
    lines = [line for line in lines if not _PROGRESS.match(line)]
    epochs = [i for i, line in enumerate(lines) if line.startswith("epoch ")]
    if len(epochs) < 4:
        return lines
    last = next((i for i in epochs if _LAST_EPOCH.match(lines[i])), epochs[-1])
    shown: list[str] = []
    for i, line in enumerate(lines):
        if i <= epochs[0] or i == last or i > epochs[-1] or line.startswith("fold "):
            shown.append(line)
        elif shown[-1] != "…":
            shown.append("…")
    return shown


def main(folder: Path, pages: tuple[str, ...]) -> None:
    """Write the pages.

    Args:
        folder: where the commands are typed.
        pages: some of :data:`PAGES`.
    """
    shell = Shell(folder)
    for page in pages:
        text = path_of(page).read_text()
        if "$ git clone " in text:
            shell.close()
            place = folder / page
            place.mkdir()
            shell = Shell(place)
        path_of(page).write_text(transcribe(text, functools.partial(_type, shell)))
    shell.close()


def _type(shell: Shell, command: str) -> str:
    print(command, flush=True)
    return shell.type(command.replace("ADDRESS", str(DOCS.parent)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(sys.argv[2:]) or PAGES)
