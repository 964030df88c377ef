"""Processes that run a command line and start in milliseconds: forks of a process that has imported everything.

As a script, this module is that process; ``CommandServer`` starts it and sends it the command lines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class CommandServer:
    """Start processes that run command lines of encloze. Use it in a ``with`` block."""

    def __init__(self) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "TOKENIZERS_PARALLELISM": "false",
        }
        command = [sys.executable, __file__]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def __enter__(self) -> CommandServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def prepare(self, arguments: list[str]) -> None:
        """Run a command line in the process that is forked, so that its forks have imported what it needs."""
        assert self._ask({"arguments": arguments, "log": None}) == "0\n"

    def start(self, arguments: list[str], log: Path) -> int:
        """Start a process; its output is written to a file. Return its id."""
        return int(self._ask({"arguments": arguments, "log": str(log)}))

    def wait(self, process: int) -> int:
        """Wait until a process ends. Return its exit code, or the negative number of the signal that has ended it."""
        return int(self._ask({"wait": process}))

    def run(self, arguments: list[str], log: Path) -> int:
        return self.wait(self.start(arguments, log))

    def _ask(self, request: dict[str, Any]) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(request)}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


def serve() -> None:
    from encloze.cli.main import main

    answers = os.fdopen(os.dup(1), "w")
    redirect(os.devnull)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif request["log"] is None:
            answer = main(request["arguments"])
        elif not (answer := os.fork()):
            redirect(request["log"])
            code = 1
            try:
                code = main(request["arguments"])
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(answer, file=answers, flush=True)


def redirect(file: str) -> None:
    """Write the output of this process to a file."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)


if __name__ == "__main__":
    serve()
