"""Compare RetroMAE steps of encloze with the published way, per token of real passages.

    python benchmarks/retromae_step.py --corpus medquad

The published way is written here from the descriptions of the released code (FlagEmbedding): 8 texts a batch in random
order, padded to the longest; logits of the whole vocabulary for every position, for the encoder and for the decoder;
AdamW in a loop over tensors; float32. It also runs under bfloat16 autocast. encloze runs as ``encloze pretrain`` does,
with its batches of 8,192 tokens. Both train MiniLM with a language modeling head, on the same passages, with one
thread. The figures are CPU milliseconds a token, without padding, the medians of all rounds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM

from encloze.commands.pretrain import Pretrain
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.models.allocator import keep_freed_memory
from encloze.models.origins.base import Origin
from encloze.models.precision import autocast
from encloze.objectives.retromae import RetroMae
from encloze.storage.model_folders import locate
from encloze.storage.provenance import versions
from encloze.text.tokenizer import Tokenizer

RESULTS = Path(__file__).parent / "results" / "retromae_step.json"
NUM_TEXTS, MAX_TOKENS, BATCH_SIZE, ROUNDS = 48, 512, 8, 3
ENCODER_MASK_RATE, DECODER_MASK_RATE, POOL = 0.3, 0.5, 128
CPU = torch.device("cpu")


class PublishedDecoder(nn.Module):
    """One post-LN transformer layer whose queries and residuals are the first stream, with a mask for each position."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        size, self.heads = config.hidden_size, config.num_attention_heads
        self.query, self.key, self.value, self.output = (nn.Linear(size, size) for _ in range(4))
        self.expand, self.contract = (
            nn.Linear(size, config.intermediate_size),
            nn.Linear(config.intermediate_size, size),
        )
        self.attention_norm, self.norm = (nn.LayerNorm(size, config.layer_norm_eps) for _ in range(2))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, queries: Tensor, context: Tensor, hidden: Tensor) -> Tensor:
        """Return the states, batch x length x size, for a mask that is true for hidden positions."""
        batch, length, size = queries.shape
        query, key, value = (
            layer(states).view(batch, length, self.heads, -1).transpose(1, 2)
            for layer, states in ((self.query, queries), (self.key, context), (self.value, context))
        )
        scores = query @ key.transpose(-1, -2) / (size // self.heads) ** 0.5
        scores = scores + hidden[:, None] * torch.finfo(scores.dtype).min
        mixed = (self.dropout(scores.softmax(-1)) @ value).transpose(1, 2).reshape(batch, length, size)
        attended = self.attention_norm(self.dropout(self.output(mixed)) + queries)
        states: Tensor = self.norm(self.dropout(self.contract(nn.functional.gelu(self.expand(attended)))) + attended)
        return states


class Published:
    """RetroMAE as released."""

    def __init__(self, texts: list[str], tokenizer: Tokenizer, precision: str) -> None:
        torch.manual_seed(0)
        self._model = AutoModelForMaskedLM.from_pretrained(locate("minilm")).train()
        self._decoder, self._tokenizer = PublishedDecoder(self._model.config).train(), tokenizer
        self._texts, self._precision, self._draw = texts, precision, np.random.default_rng(0)
        parameters = [*self._model.parameters(), *self._decoder.parameters()]
        self._optimizer = torch.optim.AdamW(parameters, 1e-4, foreach=True)

    def round(self) -> int:
        """Train on all texts once. Return the number of their tokens."""
        order, count = self._draw.permutation(len(self._texts)), 0
        for start in range(0, len(order), BATCH_SIZE):
            texts = [self._texts[number] for number in order[start : start + BATCH_SIZE]]
            ends = [self._tokenizer.special_id("cls")], [self._tokenizer.special_id("sep")]
            encoded = [text.ids[: MAX_TOKENS - 2] for text in self._tokenizer.encode(texts)]
            rows = [np.concatenate([ends[0], ids, ends[1]]) for ids in encoded]
            count += sum(map(len, rows))
            self._step(rows)
        return count

    def _step(self, rows: list[np.ndarray]) -> None:
        length = max(map(len, rows))
        ids, attention = (np.zeros((len(rows), length), np.int64) for _ in range(2))
        masked, labels = np.zeros_like(ids), np.full((2, *ids.shape), -100)
        hidden = np.ones((len(rows), length, length), np.float32)
        for row, tokens in enumerate(rows):
            size = len(tokens)
            ids[row, :size], attention[row, :size] = tokens, 1
            chosen = self._mask(size, ENCODER_MASK_RATE)
            masked[row, :size] = np.where(chosen, self._tokenizer.special_id("mask"), tokens)
            labels[0, row, :size] = np.where(chosen, tokens, -100)
            labels[1, row, 1 : size - 1] = tokens[1:-1]
            pool = np.stack([self._mask(size, DECODER_MASK_RATE) for _ in range(min(size, POOL))])
            hidden[row, :size, :size] = pool[self._draw.integers(0, len(pool), size)]
            hidden[row, np.arange(size), np.arange(size)] = 1
        with autocast(self._precision, CPU):  # type: ignore[arg-type]
            encoder = self._model.base_model
            tensors = (torch.from_numpy(array) for array in (masked, ids, attention, labels, hidden))
            inputs, originals, mask, targets, blocked = tensors
            states = self._model.base_model(input_ids=inputs, attention_mask=mask).last_hidden_state
            cls = states[:, :1]
            queries = encoder.embeddings(inputs_embeds=cls.expand_as(states))
            context = torch.cat([cls, encoder.embeddings(input_ids=originals)[:, 1:]], dim=1)
            decoded = self._decoder(queries, context, blocked)
            losses = [
                nn.functional.cross_entropy(self._model.cls(output).float().flatten(0, 1), target.flatten())
                for output, target in ((states, targets[0]), (decoded, targets[1]))
            ]
        (losses[0] + losses[1]).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _mask(self, size: int, rate: float) -> np.ndarray:
        """Return a mask over the tokens of a text, without its first and last one."""
        chosen = np.zeros(size, bool)
        chosen[1 + self._draw.permutation(size - 2)[: max(1, round(size * rate))]] = True
        return chosen


class Own:
    """RetroMAE as ``encloze pretrain`` trains it."""

    def __init__(self, corpus: Path, precision: str) -> None:
        command = Pretrain(
            corpus=Format.from_name(str(corpus)),
            model=Origin.from_name("minilm"),
            objective=RetroMae(),
            output=corpus.parent / "output",
            max_tokens=MAX_TOKENS,
            monitors=(),
        )
        prepared = command.prepare()
        self._module, self._data, self._plan = prepared.module.train(), prepared.data, prepared.plan
        self._precision, self._epoch = precision, 0
        self._optimizer = torch.optim.AdamW(self._module.parameters(), 1e-4, fused=True)

    def round(self) -> int:
        """Train on all texts once. Return the number of their tokens."""
        count = 0
        for numbers in self._plan.epoch(self._epoch):
            batch = self._data.make_batch(self._data.training[numbers], self._epoch, CPU)
            sample = self._module.sample(batch)
            with autocast(self._precision, CPU):  # type: ignore[arg-type]
                output = self._module(sample)
            counts = sample.counts()
            sum(output.sums[name] / counts[name] for name in self._module.loss_weights).backward()
            self._optimizer.step()
            self._optimizer.zero_grad()
            count += int(self._data.lengths[self._data.training[numbers]].sum())
        self._epoch += 1
        return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="python_docs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    texts = list(itertools.islice(Corpus.load(arguments.corpus).texts(), 4000))
    random.Random(0).shuffle(texts)
    texts = texts[:NUM_TEXTS]
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.jsonl"
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        tokenizer = Tokenizer.load(locate("minilm"))
        made: dict[str, Published | Own] = {}
        for precision in ("float32", "bfloat16"):
            made[f"published, {precision}"] = Published(texts, tokenizer, precision)
            made[f"encloze, {precision}"] = Own(file, precision)
        for _ in range(ROUNDS):
            for name, variant in made.items():
                start = time.process_time()
                count = variant.round()
                seconds.setdefault(name, []).append((time.process_time() - start) / count)
    measured = {
        name: {"median": float(np.median(values) * 1000), "min": min(values) * 1000, "max": max(values) * 1000}
        for name, values in seconds.items()
    }
    for name, figures in measured.items():
        ratio = measured["published, float32"]["median"] / figures["median"]
        print(
            f"{name}: {figures['median']:.3f} ms a token ({figures['min']:.3f} to {figures['max']:.3f}), {ratio:.2f}x"
        )
    result = {"milliseconds": measured, "texts": NUM_TEXTS, "max_tokens": MAX_TOKENS, "versions": versions()}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
