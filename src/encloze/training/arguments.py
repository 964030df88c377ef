"""Settings of the training loop: learning rates, batch splitting, precision, logging and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from encloze.models.precision import Precision
from encloze.settings import Settings
from encloze.training.lr_scheduler import LrScheduler


@dataclass(frozen=True)
class TrainingArguments(Settings):
    """Optimizer, learning rate schedule, logging and checkpoints of a training run.

    Raises:
        ValueError: A value is outside its range.

    Example:
        >>> TrainingArguments(learning_rate=2e-5, epochs=3, micro_batches=4).max_grad_norm
        1.0
    """

    learning_rate: float = 1e-4
    """Peak learning rate of AdamW."""
    encoder_learning_rate: float | None = None
    """Peak learning rate of the encoder's parameters; by default learning_rate. Set a lower value if a newly
    initialized output head or decoder needs a higher learning rate than the encoder."""
    lr_scheduler: LrScheduler = "linear"
    """Learning rate schedule after the warmup: linear or cosine decay to 0, or constant."""
    warmup_ratio: float = 0.1
    """Fraction of the training steps over which the learning rate increases linearly to its peak."""
    weight_decay: float = 0.01
    """Weight decay of AdamW; not applied to biases and normalization weights."""
    max_grad_norm: float = 1.0
    """Maximum norm of the gradients; larger gradients are scaled down to it (clipping)."""
    epochs: float = 1.0
    """Number of training epochs; may be fractional."""
    steps: int | None = None
    """Number of optimizer steps; overrides epochs."""
    micro_batches: int = 1
    """Number of parts that each batch is split into to save memory. Loss and gradients are those of the whole batch,
    except for dropout. If a loss compares texts across a batch (in-batch negatives), gradient caching is used, with
    which training takes a third longer than without micro-batches."""
    freeze_encoder_steps: int | None = None
    """Number of steps at the beginning in which the encoder is frozen and only the new parameters (output head,
    decoder) are trained. The default is 0; if pre-training starts with a newly initialized language modeling head, it
    is a tenth of the steps, at most 100."""
    precision: Precision = "auto"
    """Precision of matrix multiplications: float32 or bfloat16; auto selects bfloat16 if the hardware supports it."""
    logging_steps: int = 10
    """Number of steps between two lines of log.jsonl."""
    save_steps: int | None = None
    """Number of steps between two checkpoints, from which --resume continues; 0 saves no checkpoint. By default a
    quarter of the steps, at most 500."""
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio", "comet_ml", "swanlab", "aim"], ...] = ()
    """Experiment trackers, to which loss terms and metrics are also sent (through the library accelerate)."""

    def __post_init__(self) -> None:
        positive = "learning_rate encoder_learning_rate epochs steps micro_batches max_grad_norm logging_steps".split()
        for name in positive:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        for name in ("weight_decay", "freeze_encoder_steps", "save_steps"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 <= self.warmup_ratio < 1:
            raise ValueError(f"warmup_ratio must be at least 0 and below 1, not {self.warmup_ratio}")
