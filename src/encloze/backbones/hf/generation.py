"""Transformers models that generate text (sequence-to-sequence or causal), with their tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encloze.backbones.hf.loading import loading
from encloze.backbones.hf.weights import load_config
from encloze.errors import CheckpointError

_CAUSAL = ("ForCausalLM", "LMHeadModel")


class TextGenerationModel:
    """A sequence-to-sequence or causal language model with its tokenizer.

    Attributes:
        model: The transformers model.
        tokenizer: Its fast tokenizer.
        name: The name of the model in error messages.
        is_causal: Whether the model is causal and continues its prompt. If false, it is a sequence-to-sequence model,
            whose encoder reads the prompt.
        uses_chat_template: Whether prompts are lists of chat messages.

    Example:
        >>> model = TextGenerationModel.load(Path("my_t5"), torch.float32)
        >>> greedy = lambda scores, position: scores.argmax(dim=1)
        >>> model.generate(["A river flows to the sea."], 1, 16, greedy)
        ['where do rivers flow']
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.is_causal = not model.config.is_encoder_decoder
        self.uses_chat_template = self.is_causal and bool(tokenizer.chat_template)
        self._end_ids = [*_as_list(model.generation_config.eos_token_id)]
        tokenizer.padding_side = "left" if self.is_causal else "right"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.pad_token_id is None:
            raise CheckpointError(
                f"{name}: the tokenizer has no pad_token and no eos_token. Set one of them in tokenizer_config.json"
            )
        if self.is_causal and not self.uses_chat_template:  # stop at a line break, else it invents further examples
            texts = tokenizer.batch_decode([[number] for number in range(len(tokenizer))])
            self._end_ids += [number for number, text in enumerate(texts) if "\n" in text]

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype) -> TextGenerationModel:
        """Load the model in a folder; its config.json determines whether it is sequence-to-sequence or causal.

        Args:
            folder: A model folder in the layout of transformers, with a fast tokenizer.
            dtype: The data type of the weights.

        Returns:
            The model in evaluation mode.

        Raises:
            CheckpointError: If the folder contains no text generation model, lacks weights, or has no fast tokenizer.
        """
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING as CAUSAL
        from transformers import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING as SEQ_TO_SEQ
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        with loading(folder, "a text generation model"):
            config = load_config(folder)
            names = config.architectures or []
            is_causal = type(config) in CAUSAL and any(name.endswith(_CAUSAL) for name in names)
            is_seq_to_seq = config.is_encoder_decoder and type(config) in SEQ_TO_SEQ
            if not is_causal and not is_seq_to_seq:
                raise CheckpointError(
                    f"{folder} cannot generate text (architectures in its config.json: {', '.join(names) or 'none'}). "
                    "Use a sequence-to-sequence model, such as T5, or a causal language model"
                )
            auto_class = AutoModelForSeq2SeqLM if is_seq_to_seq else AutoModelForCausalLM
            model, report = auto_class.from_pretrained(
                folder, config=config, dtype=dtype, output_loading_info=True, trust_remote_code=False
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if missing := sorted(report["missing_keys"]):
            raise CheckpointError(
                f"{folder} lacks weights of a text generation model: {', '.join(missing[:3])}. Download it again"
            )
        if not tokenizer.is_fast:
            raise CheckpointError(f"{folder} has no fast tokenizer. Save the tokenizer with a tokenizer.json")
        return cls(model.eval(), tokenizer, str(folder))

    def truncate(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        """Return the texts, each cut after its first ``max_tokens`` tokens."""
        options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
        encoded = self.tokenizer(
            list(texts), truncation=True, max_length=max_tokens, return_offsets_mapping=True, **options
        )
        ends = (max((end for _, end in offsets), default=0) for offsets in encoded["offset_mapping"])
        return [text[:end] for text, end in zip(texts, ends, strict=True)]

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Any],
        num_return_sequences: int,
        max_new_tokens: int,
        sample_tokens: Callable[[Tensor, int], Tensor],
    ) -> list[str]:
        """Generate texts for a batch of prompts.

        Args:
            prompts: Texts, or lists of chat messages if ``uses_chat_template`` is true.
            num_return_sequences: Number of texts for each prompt.
            max_new_tokens: Maximum number of generated tokens of each text.
            sample_tokens: Function from the scores of the next tokens (rows x vocabulary) and the position in the
                generated text (from 0) to the ids of the chosen tokens (int64, rows).

        Returns:
            ``len(prompts) * num_return_sequences`` texts, grouped by prompt.

        Raises:
            CheckpointError: If a prompt and its new tokens are longer than the model allows.
        """
        batch = self._tokenize(prompts)
        length, limit = batch["input_ids"].shape[1], getattr(self.model.config, "max_position_embeddings", None)
        if limit and length + max_new_tokens * self.is_causal > limit:
            raise CheckpointError(
                f"a prompt has {length} tokens{f', plus {max_new_tokens} new tokens' * self.is_causal}, but "
                f"{self.name} is limited to {limit} tokens. Lower max_document_tokens, or give fewer few-shot examples"
            )
        output = self.model.generate(
            **batch.to(self.model.device),
            generation_config=self._generation_config(num_return_sequences, max_new_tokens),
            logits_processor=[_TokenSampler(sample_tokens)],
        )
        texts = self.tokenizer.batch_decode(output[:, length * self.is_causal :], skip_special_tokens=True)
        return [str(text) for text in texts]

    def _tokenize(self, prompts: Sequence[Any]) -> Any:
        options = {"padding": True, "return_tensors": "pt", "return_token_type_ids": False, "verbose": False}
        if not self.uses_chat_template:
            return self.tokenizer(list(prompts), **options)
        texts = self.tokenizer.apply_chat_template(list(prompts), add_generation_prompt=True, tokenize=False)
        return self.tokenizer(texts, add_special_tokens=False, **options)  # the template has added them

    def _generation_config(self, num_return_sequences: int, max_new_tokens: int) -> Any:
        from transformers import GenerationConfig

        own = self.model.generation_config
        return GenerationConfig(
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=num_return_sequences,
            max_new_tokens=max_new_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=own.bos_token_id,
            eos_token_id=self._end_ids or None,
            decoder_start_token_id=own.decoder_start_token_id,
            forced_bos_token_id=own.forced_bos_token_id,
        )


class _TokenSampler:
    """Logits processor that chooses the next token: all other tokens get the score -inf."""

    def __init__(self, sample_tokens: Callable[[Tensor, int], Tensor]) -> None:
        self._sample_tokens, self._position = sample_tokens, 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        tokens = self._sample_tokens(scores, self._position)
        self._position += 1
        return torch.full_like(scores, float("-inf")).scatter_(1, tokens[:, None], 0.0)


def _as_list(value: Any) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
