"""Loading with transformers: quietly, and with an error that says what is wrong and what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError

from encloze.errors import CheckpointError, EnclozeError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bars and tables: what matters of them is said by the caller."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()


@contextlib.contextmanager
def loading(folder: Path, kind: str = "an encoder") -> Iterator[None]:
    """Let transformers load what is in a folder: quietly, and with CheckpointError for whatever goes wrong."""
    try:
        with quiet():
            yield
    except UnpicklingError as error:  # transformers reads a pickle for weights alone
        raise CheckpointError(
            f"the pytorch_model.bin in {folder} is damaged or holds more than weights, which could be code, so it was "
            "not opened. Ask for the model's weights as model.safetensors"
        ) from error
    except EnclozeError:
        raise
    except Exception as error:  # a damaged file may fail in any way
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{folder} cannot be loaded as {kind}: {first}") from error
