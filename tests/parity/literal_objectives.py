"""Literal float64 implementations of the objectives' equations, one vector at a time, without batches or padding."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from encloze.models.layers.masking import IGNORE_INDEX, TokenBatch
from encloze.models.pretraining_module import PretrainingModule
from encloze.objectives.base import Objective
from encloze.objectives.bow import Bow
from encloze.objectives.cocondenser import CoCondenser
from encloze.objectives.condenser import Condenser
from encloze.objectives.cotmae import CotMae
from encloze.objectives.cotmae_v2 import CotMaeV2
from encloze.objectives.cropping import Cropping
from encloze.objectives.dupmae import DupMae
from encloze.objectives.lexmae import LexMae
from encloze.objectives.mlm import Mlm
from encloze.objectives.simcse import SimCse

VOCABULARY, HIDDEN_SIZE, HEADS, MASK = 50, 32, 2, 4
DROPOUT_SEED = 5


def layer_norm(vector: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = vector.mean()
    return (vector - mean) / torch.sqrt(((vector - mean) ** 2).mean() + 1e-12) * weight + bias


def gelu(vector: Tensor) -> Tensor:
    return vector * (1 + torch.erf(vector / math.sqrt(2))) / 2


def positive_part(vector: Tensor) -> Tensor:
    return torch.where(vector > 0, vector, torch.zeros_like(vector))


def negative_log_likelihood(logits: Tensor, token: int) -> Tensor:
    return torch.log(torch.exp(logits).sum()) - logits[token]


class Equations:
    """Parameters of a module, a batch and its sampled masks; accumulates losses, correct predictions and counts."""

    def __init__(self, module: PretrainingModule, batch: TokenBatch, sampled: Any) -> None:
        self.module, self.batch, self.sampled = module, batch, sampled
        self.parameters = dict(module.named_parameters(remove_duplicate=False))
        self.token_embeddings = self.parameters["backbone.model.bert.embeddings.word_embeddings.weight"]
        self.lengths = [int(row.sum()) for row in batch.attention_mask]
        self.rows = range(len(batch.ids))
        self.sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
        self.correct: dict[str, int] = defaultdict(int)
        self.counts: dict[str, int] = defaultdict(int)

    def add_prediction(self, term: str, logits: Tensor, token: int) -> None:
        self.sums[term] = self.sums[term] + negative_log_likelihood(logits, token)
        self.correct[f"{term}_accuracy"] += int(logits.argmax()) == token
        self.counts[term] += 1
        self.counts[f"{term}_accuracy"] += 1

    def linear(self, name: str, vector: Tensor) -> Tensor:
        return self.parameters[f"{name}.weight"] @ vector + self.parameters[f"{name}.bias"]

    def norm(self, name: str, vector: Tensor) -> Tensor:
        return layer_norm(vector, self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"])

    def add_position(self, vector: Tensor, position: int) -> Tensor:
        """BERT's embedding layer applied to a vector in place of a token embedding."""
        name = "backbone.model.bert.embeddings"
        position_embedding = self.parameters[f"{name}.position_embeddings.weight"][position]
        token_type = self.parameters[f"{name}.token_type_embeddings.weight"][0]
        return self.norm(f"{name}.LayerNorm", vector + position_embedding + token_type)

    def mlm_head(self, vector: Tensor) -> Tensor:
        name = "backbone.model.cls.predictions"
        inner = gelu(self.linear(f"{name}.transform.dense", vector))
        normalized = self.norm(f"{name}.transform.LayerNorm", inner)
        return self.token_embeddings @ normalized + self.parameters[f"{name}.bias"]

    def attend(self, name: str, query: Tensor, context: list[Tensor], visible: list[int]) -> Tensor:
        """Multi-head attention of one query over the visible context vectors."""
        query = self.linear(f"{name}.query", query)
        keys = {j: self.linear(f"{name}.key", context[j]) for j in visible}
        values = {j: self.linear(f"{name}.value", context[j]) for j in visible}
        outputs = []
        for head in range(HEADS):
            part = slice(head * HIDDEN_SIZE // HEADS, (head + 1) * HIDDEN_SIZE // HEADS)
            scores = torch.stack([query[part] @ keys[j][part] / math.sqrt(HIDDEN_SIZE / HEADS) for j in visible])
            weights = torch.exp(scores) / torch.exp(scores).sum()
            output = torch.zeros(HIDDEN_SIZE // HEADS, dtype=torch.float64)
            for weight, j in zip(weights, visible, strict=True):
                output = output + weight * values[j][part]
            outputs.append(output)
        return torch.cat(outputs)

    def layer(self, name: str, queries: list[Tensor], context: list[Tensor], visible: list[list[int]]) -> list[Tensor]:
        """A BERT layer with separate queries and context; ``visible[i]`` are the positions that query i sees."""
        outputs = []
        for query, own_visible in zip(queries, visible, strict=True):
            attended = self.attend(f"{name}.attention.self", query, context, own_visible)
            attended = self.linear(f"{name}.attention.output.dense", attended)
            attended = self.norm(f"{name}.attention.output.LayerNorm", attended + query)
            inner = gelu(self.linear(f"{name}.intermediate.dense", attended))
            output = self.linear(f"{name}.output.dense", inner)
            outputs.append(self.norm(f"{name}.output.LayerNorm", output + attended))
        return outputs

    def layers(
        self, name: str, count: int, vectors: list[Tensor], visible: list[list[int]] | None = None
    ) -> list[Tensor]:
        """A stack of layers; by default each position sees all positions."""
        visible = visible or [list(range(len(vectors)))] * len(vectors)
        for number in range(count):
            vectors = self.layer(f"{name}.layers.{number}", vectors, vectors, visible)
        return vectors

    def hidden_states(self, row: int) -> tuple[Tensor, ...]:
        """The hidden states of all layers of transformers' BERT for a masked text alone, without padding."""
        ids = self.sampled.encoder.ids[row : row + 1, : self.lengths[row]]
        output = self.module.backbone.model.bert(input_ids=ids, output_hidden_states=True)
        return tuple(state[0] for state in output.hidden_states)

    def add_mlm(self, row: int) -> Tensor:
        """Add the encoder's masked language modeling and return its last hidden states."""
        hidden = self.hidden_states(row)[-1]
        for position in self.labeled_positions(row, row, self.sampled.encoder):
            self.add_prediction("encoder", self.mlm_head(hidden[position]), int(self.batch.ids[row, position]))
        return hidden

    def labeled_positions(self, row: int, text: int, masked: Any) -> list[int]:
        """The labeled positions in a row of masked tokens, after checking that the row holds this text of the batch."""
        length, ids = self.lengths[text], self.batch.ids[text]
        labeled = [position for position in range(length) if int(masked.labels[row, position]) != IGNORE_INDEX]
        assert labeled and all(int(self.batch.word_ids[text, position]) >= 0 for position in labeled)
        assert [int(masked.labels[row, position]) for position in labeled] == ids[labeled].tolist()
        others = [position for position in range(length) if position not in labeled]
        assert masked.ids[row, others].tolist() == ids[others].tolist()
        return labeled

    def pool(self, hidden: Tensor, pooling: str) -> Tensor:
        return {"cls": hidden[0], "mean": hidden.sum(dim=0) / len(hidden), "max": hidden.max(dim=0).values}[pooling]

    def content_positions(self, row: int) -> list[int]:
        return [position for position in range(self.lengths[row]) if int(self.batch.word_ids[row, position]) >= 0]

    def decoder_input(self, embedding: Tensor, ids: list[int]) -> list[Tensor]:
        return [embedding] + [self.add_position(self.token_embeddings[ids[i]], i) for i in range(1, len(ids))]

    def add_enhanced_decoding(self, row: int, embedding: Tensor) -> None:
        """Add RetroMAE's decoder, which predicts every token of the text, each with its own mask."""
        length, ids = self.lengths[row], self.batch.ids[row].tolist()
        mask = self.sampled.decoder_attention_mask[row]
        queries = [self.add_position(embedding, position) for position in range(length)]
        visible = [[j for j in range(length) if mask[position, j]] for position in range(length)]
        assert all(position not in own_visible for position, own_visible in enumerate(visible))
        outputs = self.layer("decoder.layers.0", queries, self.decoder_input(embedding, ids[:length]), visible)
        for position in self.content_positions(row):
            self.add_prediction("decoder", self.mlm_head(outputs[position]), ids[position])

    def add_bag_of_words(self, row: int, logits: Tensor, weight: float) -> None:
        for token in {int(self.batch.ids[row, position]) for position in self.content_positions(row)}:
            self.sums["bow"] = self.sums["bow"] + weight * negative_log_likelihood(logits, token)
        self.counts["bow"] += 1

    def add_contrastive(self, vectors: list[Tensor], temperature: float) -> None:
        """Add the loss of finding the partner, half a batch away, among all vectors of other sources."""
        half = len(vectors) // 2
        source = self.batch.source_ids[:half].tolist() * 2
        for row, vector in enumerate(vectors):
            partner = (row + half) % len(vectors)
            candidates = [j for j in range(len(vectors)) if j == partner or source[j] != source[row]]
            scores = {j: vector @ vectors[j] / temperature for j in candidates}
            total = torch.stack([torch.exp(score) for score in scores.values()]).sum()
            self.sums["contrastive"] = self.sums["contrastive"] - torch.log(torch.exp(scores[partner]) / total)
            self.correct["in_batch_accuracy"] += max(scores, key=lambda j: float(scores[j].detach())) == partner
            self.counts["contrastive"] += 1
            self.counts["in_batch_accuracy"] += 1


def add_mlm(equations: Equations, _: Mlm) -> None:
    for row in equations.rows:
        equations.add_mlm(row)


def add_dupmae(equations: Equations, settings: DupMae) -> None:
    for row in equations.rows:
        hidden = equations.add_mlm(row)
        equations.add_enhanced_decoding(row, equations.pool(hidden, settings.bottleneck or "cls"))
        content = equations.content_positions(row)
        if settings.preset == "paper":
            unmasked = [position for position in content if int(equations.sampled.encoder.ids[row, position]) != MASK]
            matrix = equations.parameters["projection.weight"]
            logits = torch.stack([matrix @ hidden[position] for position in unmasked or content])
            weight = 1.0
        else:
            logits = torch.stack([equations.mlm_head(hidden[position]) for position in range(1, len(hidden))])
            weight = 1 / len(content)
        equations.add_bag_of_words(row, logits.max(dim=0).values, weight)


def add_bow(equations: Equations, settings: Bow) -> None:
    for row in equations.rows:
        embedding = equations.pool(equations.add_mlm(row), settings.bottleneck or "cls")
        distinct = {int(equations.batch.ids[row, position]) for position in equations.content_positions(row)}
        equations.add_bag_of_words(row, equations.mlm_head(embedding), 1 / len(distinct))


def encoded_pairs(equations: Equations, settings: CotMae | CotMaeV2) -> list[tuple[int, int]]:
    """The encoded texts, each with the text that is reconstructed from it."""
    half = len(equations.rows) // 2
    pairs = [(row, row + half) for row in range(half)]
    return pairs if settings.encode_contexts is False else pairs + [(context, text) for text, context in pairs]


def add_cotmae(equations: Equations, settings: CotMae) -> None:
    decoder = equations.sampled.decoder
    for row, (text, context) in enumerate(encoded_pairs(equations, settings)):
        assert row == text
        embedding = equations.pool(equations.add_mlm(text), settings.bottleneck or "cls")
        labeled, length = equations.labeled_positions(row, context, decoder), equations.lengths[context]
        vectors = equations.decoder_input(embedding, decoder.ids[row, :length].tolist())
        outputs = equations.layers("decoder", settings.decoder_layers, vectors)
        for position in labeled:
            token = int(equations.batch.ids[context, position])
            equations.add_prediction("decoder", equations.mlm_head(outputs[position]), token)


def add_cotmae_v2(equations: Equations, settings: CotMaeV2) -> None:
    for row, (text, context) in enumerate(encoded_pairs(equations, settings)):
        hidden = equations.add_mlm(text)
        dense = equations.pool(hidden, settings.bottleneck or "cls")
        sparse = cotmae_v2_sparse_view(equations, settings, text, hidden)
        labeled = equations.labeled_positions(row, context, equations.sampled.decoder)
        length = equations.lengths[context]
        masked = equations.sampled.decoder.ids[row, :length].tolist()
        original = equations.batch.ids[context, :length].tolist()
        window = settings.window or length
        visible = [[j for j in range(t + 1) if j == 0 or j > t - window] for t in range(length)]
        for view, vector in (("dense", dense), ("sparse", sparse)):
            prefix = "sparse_" if view == "sparse" and not settings.shared_decoders else ""
            vectors = equations.decoder_input(vector, masked)
            outputs = equations.layers(f"{prefix}auto_encoding", settings.decoder_layers, vectors)
            for position in labeled:
                equations.add_prediction(f"ae_{view}", equations.mlm_head(outputs[position]), original[position])
            vectors = equations.decoder_input(vector, original)
            outputs = equations.layers(f"{prefix}auto_regressive", settings.decoder_layers, vectors, visible)
            for position in range(length - 1):  # each position predicts the next token, up to the last special token
                equations.add_prediction(f"ar_{view}", equations.mlm_head(outputs[position]), original[position + 1])


def cotmae_v2_sparse_view(equations: Equations, settings: CotMaeV2, row: int, hidden: Tensor) -> Tensor:
    positions = range(len(hidden)) if settings.pool_special_tokens else equations.content_positions(row)
    logits = torch.stack([equations.mlm_head(hidden[position]) for position in positions]).max(dim=0).values
    positive = positive_part(logits)
    weights = {"raw": logits, "relu": positive, "log1p_relu": torch.log(1 + positive)}[settings.activation]
    if settings.projection == "distribution":
        weights = torch.exp(logits) / torch.exp(logits).sum()
    if settings.top_k and settings.top_k < VOCABULARY:
        threshold = sorted(weights.tolist(), reverse=True)[settings.top_k - 1]
        weights = torch.where(weights >= threshold, weights, torch.zeros_like(weights))
        assert int((weights != 0).sum()) == settings.top_k
    vector = torch.zeros(HIDDEN_SIZE, dtype=torch.float64)
    for token, weight in enumerate(weights):
        if settings.projection == "linear":
            vector = vector + weight * equations.parameters["projection.weight"][:, token]
        else:
            vector = vector + weight * equations.token_embeddings[token].detach()
    return equations.norm("norm", vector)


def add_lexmae(equations: Equations, settings: LexMae) -> None:
    for row in equations.rows:
        hidden, sampled = equations.add_mlm(row), equations.sampled
        positions = equations.content_positions(row)
        logits = torch.stack([equations.mlm_head(hidden[position]) for position in positions]).max(dim=0).values
        weights = torch.exp(logits) if settings.distribution == "softmax" else torch.log(1 + positive_part(logits))
        mixture = torch.zeros(HIDDEN_SIZE, dtype=torch.float64)
        for token, weight in enumerate(weights / weights.sum()):
            mixture = mixture + weight * equations.token_embeddings[token].detach()
        labeled, length = equations.labeled_positions(row, row, sampled.decoder), equations.lengths[row]
        assert set(labeled) >= set(equations.labeled_positions(row, row, sampled.encoder))
        vectors = equations.decoder_input(mixture, sampled.decoder.ids[row, :length].tolist())
        outputs = equations.layers("decoder", settings.decoder_layers, vectors)
        bias = equations.parameters["backbone.model.cls.predictions.bias"]
        for position in labeled:
            inner = equations.norm("transform.2", gelu(equations.linear("transform.0", outputs[position])))
            token = int(equations.batch.ids[row, position])
            equations.add_prediction("decoder", equations.token_embeddings @ inner + bias, token)


def add_condenser(equations: Equations, settings: Condenser | CoCondenser) -> None:
    embeddings = []
    for row in equations.rows:
        early = equations.hidden_states(row)[settings.early_layer or 1]  # the default is 3 layers // 2
        last = equations.add_mlm(row)
        outputs = equations.layers("condenser", settings.head_layers, [last[0], *early[1:]])
        for position in equations.labeled_positions(row, row, equations.sampled.encoder):
            token = int(equations.batch.ids[row, position])
            equations.add_prediction("decoder", equations.mlm_head(outputs[position]), token)
        embeddings.append(last[0])
    if isinstance(settings, CoCondenser):
        equations.add_contrastive(embeddings, settings.temperature)


def add_cropping(equations: Equations, settings: Cropping) -> None:
    embeddings = []
    for row in equations.rows:
        ids = equations.batch.ids[row : row + 1, : equations.lengths[row]]
        hidden = equations.module.backbone.model.bert(input_ids=ids).last_hidden_state[0]
        embedding = equations.pool(hidden, settings.pooling or "cls")
        embeddings.append(embedding / torch.sqrt((embedding**2).sum()) if settings.normalize else embedding)
    equations.add_contrastive(embeddings, settings.temperature)


def add_simcse(equations: Equations, settings: SimCse) -> None:
    twice = [torch.cat([tensor, tensor]) for tensor in (equations.batch.ids, equations.batch.attention_mask.long())]
    torch.manual_seed(DROPOUT_SEED)
    hidden = equations.module.backbone.model.bert(*twice).last_hidden_state
    embeddings = []
    for row in range(2 * len(equations.rows)):
        real = hidden[row, : equations.lengths[row % len(equations.rows)]]
        embedding = equations.pool(real, settings.pooling or "cls")
        embeddings.append(embedding / torch.sqrt((embedding**2).sum()))
    equations.add_contrastive(embeddings, settings.temperature)


LITERAL: dict[type[Objective], Callable[[Equations, Any], None]] = {
    Bow: add_bow,
    CoCondenser: add_condenser,
    Condenser: add_condenser,
    CotMae: add_cotmae,
    CotMaeV2: add_cotmae_v2,
    Cropping: add_cropping,
    DupMae: add_dupmae,
    LexMae: add_lexmae,
    Mlm: add_mlm,
    SimCse: add_simcse,
}
