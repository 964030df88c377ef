"""Worker process of the processes executor: ``python -m encloze.execution.executors._process_worker``."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
from typing import BinaryIO

from encloze.execution.executors._worker import Worker

_LENGTH = 8  # bytes


def main() -> None:
    """Read a computation from standard input, then inputs of shards, and write the outcomes to standard output."""
    inputs, outputs = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the outcomes
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one stops it
    computation = receive_message(inputs)
    if computation is None:
        return
    worker = Worker(pickle.loads(computation))  # from the process that has started this one, and from nowhere else
    with contextlib.suppress(BrokenPipeError):  # the process that wanted the outcomes was killed
        while (item := receive_message(inputs)) is not None:
            send_message(outputs, pickle.dumps(worker.compute(pickle.loads(item)), protocol=5))


def send_message(stream: BinaryIO, message: bytes) -> None:
    """Write the length of a message, and the message."""
    stream.write(len(message).to_bytes(_LENGTH, "little"))
    stream.write(message)
    stream.flush()


def receive_message(stream: BinaryIO) -> bytes | None:
    """Read a message; None at the end of the stream, even within a message."""
    length = int.from_bytes(stream.read(_LENGTH), "little")
    message = stream.read(length)
    return message if length and len(message) == length else None


if __name__ == "__main__":
    main()
