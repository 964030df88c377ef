"""transformers' models that write, sequence-to-sequence or causal ones, and their tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encloze.backbones._loading import loading
from encloze.errors import CheckpointError

_CAUSAL = ("ForCausalLM", "LMHeadModel")


class Generating:
    """A model that writes, with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.is_causal = not model.config.is_encoder_decoder
        self.converses = self.is_causal and bool(tokenizer.chat_template)
        self._ends = [*_listed(model.generation_config.eos_token_id)]
        tokenizer.padding_side = "left" if self.is_causal else "right"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.pad_token_id is None:
            raise CheckpointError(
                f"{name}: the tokenizer has neither a pad nor an eos token. Name one of its tokens so"
            )
        if self.is_causal and not self.converses:  # it would go on with more examples of its own
            texts = tokenizer.batch_decode([[number] for number in range(len(tokenizer))])
            self._ends += [number for number, text in enumerate(texts) if "\n" in text]

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype) -> Generating:
        """What is in a folder; which of both kinds it is, its config.json tells. Raises CheckpointError."""
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING as CAUSAL
        from transformers import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING as TWO_SIDED
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        with loading(folder, "a model that writes"):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            named = config.architectures or []
            is_causal = type(config) in CAUSAL and any(name.endswith(_CAUSAL) for name in named)
            is_two_sided = config.is_encoder_decoder and type(config) in TWO_SIDED
            if not is_causal and not is_two_sided:
                raise CheckpointError(
                    f"{folder} writes no text (its config.json names {', '.join(named) or 'nothing'}). Give a "
                    "sequence-to-sequence model, such as T5, or a causal language model"
                )
            kind = AutoModelForSeq2SeqLM if is_two_sided else AutoModelForCausalLM
            model, report = kind.from_pretrained(folder, config=config, dtype=dtype, output_loading_info=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if missing := sorted(report["missing_keys"]):
            raise CheckpointError(f"{folder} lacks weights of a model that writes: {', '.join(missing[:3])}")
        if not tokenizer.is_fast:
            raise CheckpointError(f"{folder} has no fast tokenizer. Save it with a tokenizer.json")
        return cls(model.eval(), tokenizer, str(folder))

    def cut(self, texts: Sequence[str], tokens: int) -> list[str]:
        """The texts, at most so many tokens of each."""
        plain = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
        found = self.tokenizer(list(texts), truncation=True, max_length=tokens, return_offsets_mapping=True, **plain)
        ends = (max((end for _, end in places), default=0) for places in found["offset_mapping"])
        return [text[:end] for text, end in zip(texts, ends, strict=True)]

    @torch.inference_mode()
    def write(
        self, prompts: Sequence[Any], each: int, max_new_tokens: int, choose: Callable[[Tensor, int], Tensor]
    ) -> list[str]:
        """So many texts ``each`` for every prompt, a text or a conversation, the first prompt's first.

        ``choose`` takes scores of the next tokens (rows x vocabulary) and their place, and gives the tokens (rows).
        """
        batch = self._read(prompts)
        width, limit = batch["input_ids"].shape[1], getattr(self.model.config, "max_position_embeddings", None)
        if limit and width + max_new_tokens * self.is_causal > limit:
            raise CheckpointError(
                f"a prompt has {width} tokens{f' and {max_new_tokens} are to follow' * self.is_causal}, and "
                f"{self.name} takes {limit}. Lower max_document_tokens, or give fewer examples"
            )
        found = self.model.generate(
            **batch.to(self.model.device),
            generation_config=self._how(each, max_new_tokens),
            logits_processor=[_Chooser(choose)],
        )
        texts = self.tokenizer.batch_decode(found[:, width * self.is_causal :], skip_special_tokens=True)
        return [str(text) for text in texts]

    def _read(self, prompts: Sequence[Any]) -> Any:
        told = {"padding": True, "return_tensors": "pt", "return_token_type_ids": False, "verbose": False}
        if not self.converses:
            return self.tokenizer(list(prompts), **told)
        written = self.tokenizer.apply_chat_template(list(prompts), add_generation_prompt=True, tokenize=False)
        return self.tokenizer(written, add_special_tokens=False, **told)  # the template wrote them

    def _how(self, each: int, max_new_tokens: int) -> Any:
        from transformers import GenerationConfig

        own = self.model.generation_config
        return GenerationConfig(
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=each,
            max_new_tokens=max_new_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=own.bos_token_id,
            eos_token_id=self._ends or None,
            decoder_start_token_id=own.decoder_start_token_id,
            forced_bos_token_id=own.forced_bos_token_id,
        )


class _Chooser:
    """Leaves of all next tokens the chosen one, so that transformers has nothing to draw from but that."""

    def __init__(self, choose: Callable[[Tensor, int], Tensor]) -> None:
        self._choose, self._place = choose, 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        chosen = self._choose(scores, self._place)
        self._place += 1
        return torch.full_like(scores, float("-inf")).scatter_(1, chosen[:, None], 0.0)


def _listed(value: Any) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
