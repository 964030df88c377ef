"""Context managers for calls of transformers: silence its output, and convert its errors to CheckpointError."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError

from encloze.errors import CheckpointError, EnclozeError
from encloze.storage.names import ONNX_ENCODER, ONNX_RERANKER


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide the progress bars of transformers and its log messages, except errors, inside the ``with`` block.

    Example:
        >>> with quiet_transformers():
        ...     model.save_pretrained("folder")
    """
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
    """Context manager for loading a model folder: silence transformers, and convert its errors to CheckpointError.

    Args:
        folder: The model folder, named in error messages.
        kind: The kind of model that is loaded, such as ``an encoder``, for error messages.

    Raises:
        CheckpointError: If the code in the ``with`` block raises an exception that is not one of encloze's own.
    """
    try:
        with quiet_transformers():
            yield
    except UnpicklingError as error:  # transformers unpickles weights only
        raise CheckpointError(
            f"{folder}: pytorch_model.bin is damaged or contains more than weights. It was not loaded, because such a "
            "file can run code. Save the weights as model.safetensors"
        ) from error
    except EnclozeError:
        raise
    except Exception as error:  # a damaged file can raise any exception
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if (folder / ONNX_ENCODER).is_file() or (folder / ONNX_RERANKER).is_file():
            reason = "it is an export, which has no weights to train. Give the model that was exported"
        raise CheckpointError(f"{folder} cannot be loaded as {kind}: {reason}") from error
