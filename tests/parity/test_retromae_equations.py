"""RetroMAE equals a literal float64 implementation of the equations in section 3 of the paper, token by token."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import toys
from encloze.models.layers.masking import IGNORE_INDEX, TokenBatch, enhanced_decoding_mask
from encloze.objectives.retromae import RetroMae, RetroMaeModule
from encloze.text.tokens import pad_texts

VOCABULARY, HIDDEN_SIZE, HEADS = 50, 32, 2


def random_batch(lengths: tuple[int, ...] = (9, 6), seed: int = 3, epoch: int = 1) -> TokenBatch:
    """Texts of the given lengths: ids 5 to 49, first token 1, last 2, padding 0; every third token continues a word."""
    generator = torch.Generator().manual_seed(0)
    width = max(lengths)
    ids, word_ids = torch.zeros(len(lengths), width, dtype=torch.int64), torch.full((len(lengths), width), -1)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, VOCABULARY, (length,), generator=generator)
        ids[row, 0], ids[row, length - 1] = 1, 2
        starts = torch.tensor([position % 3 != 2 for position in range(length - 2)])
        word_ids[row, 1 : length - 1] = starts.cumsum(0) - 1
    attention_mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    example_ids = torch.arange(len(lengths)) + 7
    return TokenBatch(ids, attention_mask, word_ids, example_ids, example_ids, seed, epoch)


def build(settings: RetroMae, pooling: str = "cls") -> RetroMaeModule:
    """The objective's module over a tiny BERT, in float64, without dropout."""
    torch.manual_seed(1)
    backbone = toys.backbone(VOCABULARY)
    module = RetroMaeModule(settings, backbone, toys.OnlyMask(), pooling).double()  # type: ignore[arg-type]
    for parameter in module.decoder.parameters():  # initial biases of 0 and norms of 1 would hide errors
        torch.nn.init.normal_(parameter, std=0.3)
    return module.train()


def layer_norm(vector: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = vector.mean()
    return (vector - mean) / torch.sqrt(((vector - mean) ** 2).mean() + 1e-12) * weight + bias


def attend(layer: dict[str, Tensor], query: Tensor, context: list[Tensor], visible: list[int]) -> Tensor:
    """Multi-head attention of one query over the visible context vectors (Eq. 5 and 6)."""
    outputs = []
    for head in range(HEADS):
        part = slice(head * HIDDEN_SIZE // HEADS, (head + 1) * HIDDEN_SIZE // HEADS)

        def project(name: str, vector: Tensor, part: slice = part) -> Tensor:
            return (layer[f"attention.self.{name}.weight"] @ vector + layer[f"attention.self.{name}.bias"])[part]

        q, keys = project("query", query), [project("key", context[j]) for j in visible]
        values = [project("value", context[j]) for j in visible]
        weights = torch.softmax(torch.stack([(q @ k) / math.sqrt(HIDDEN_SIZE / HEADS) for k in keys]), dim=0)
        outputs.append(torch.stack([weight * value for weight, value in zip(weights, values, strict=True)]).sum(dim=0))
    return layer["attention.output.dense.weight"] @ torch.cat(outputs) + layer["attention.output.dense.bias"]


def decoder_output(layer: dict[str, Tensor], query: Tensor, context: list[Tensor], visible: list[int]) -> Tensor:
    """Output of the decoder layer at one position, with the query in the residual connection."""
    weight, bias = layer["attention.output.LayerNorm.weight"], layer["attention.output.LayerNorm.bias"]
    attended = layer_norm(attend(layer, query, context, visible) + query, weight, bias)
    inner = layer["intermediate.dense.weight"] @ attended + layer["intermediate.dense.bias"]
    output = layer["output.dense.weight"] @ torch.nn.functional.gelu(inner) + layer["output.dense.bias"]
    return layer_norm(output + attended, layer["output.LayerNorm.weight"], layer["output.LayerNorm.bias"])


def literal_losses(
    module: RetroMaeModule, batch: TokenBatch, settings: RetroMae, pooling: str
) -> tuple[Tensor, Tensor]:
    """The summed losses of the encoder and of the decoder, one token at a time."""
    sampled, tables = module.sample(batch), module.backbone.encoder.embeddings
    layer = dict(module.decoder.layers[0].named_parameters())
    positions, types = tables.position_embeddings.weight, tables.token_type_embeddings.weight[0]
    scale, shift = tables.LayerNorm.weight, tables.LayerNorm.bias

    def negative_log_likelihood(vector: Tensor, token: Tensor | int) -> Tensor:
        return -torch.log_softmax(module.backbone.mlm_logits(vector[None])[0], dim=0)[token]

    encoder_loss, decoder_loss = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for row in range(len(batch.ids)):
        length = int(batch.attention_mask[row].sum())
        ids = batch.ids[row, :length]
        masked_ids = sampled.encoder.ids[row : row + 1, :length]
        hidden = module.backbone.model.bert(input_ids=masked_ids).last_hidden_state[0]
        embedding = hidden[0] if pooling == "cls" else hidden.mean(dim=0)
        context = [embedding] + [
            layer_norm(tables.word_embeddings.weight[ids[i]] + positions[i] + types, scale, shift)
            for i in range(1, length)
        ]
        for i in range(length):
            if settings.query_stream == "raw":
                query = embedding + positions[i]
            else:
                query = layer_norm(embedding + positions[i] + types, scale, shift)
            visible = [j for j in range(length) if sampled.decoder_attention_mask[row, i, j]]
            output = decoder_output(layer, query, context, visible)
            if 0 < i < length - 1:  # all tokens except the special tokens
                decoder_loss = decoder_loss + negative_log_likelihood(output, ids[i])
            label = int(sampled.encoder.labels[row, i])
            if label != IGNORE_INDEX:
                encoder_loss = encoder_loss + negative_log_likelihood(hidden[i], label)
    return encoder_loss, decoder_loss


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("query_stream", ["normalized", "raw"])
def test_losses_and_gradients_equal_the_equations(pooling: str, query_stream: str) -> None:
    settings = RetroMae(query_stream=query_stream)  # type: ignore[arg-type]
    module, batch = build(settings, pooling), random_batch()
    sampled = module.sample(batch)
    sums, counts = module(sampled).sums, sampled.counts()
    (sums["encoder"] / counts["encoder"] + sums["decoder"] / counts["decoder"]).backward()
    gradients = {
        name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.grad is not None
    }
    module.zero_grad()
    encoder_loss, decoder_loss = literal_losses(module, batch, settings, pooling)
    assert abs(float((sums["encoder"] - encoder_loss).detach())) < 1e-6
    assert abs(float((sums["decoder"] - decoder_loss).detach())) < 1e-6
    (encoder_loss / counts["encoder"] + decoder_loss / counts["decoder"]).backward()
    assert {name for name, parameter in module.named_parameters() if parameter.grad is not None} == gradients.keys()
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-6, rtol=1e-6)


def test_decoder_output_does_not_depend_on_the_token_at_its_position() -> None:
    module, batch = build(RetroMae()), random_batch((12,))
    embedding = torch.randn(1, HIDDEN_SIZE, dtype=torch.float64)
    visible = enhanced_decoding_mask(batch, 0.5)
    before = module.decoder(module.backbone, embedding, batch.ids, visible)
    num_changed = 0
    for position in range(1, 11):
        ids = batch.ids.clone()
        ids[0, position] = 5 + (ids[0, position] - 4) % 45
        after = module.decoder(module.backbone, embedding, ids, visible)
        torch.testing.assert_close(after[0, position], before[0, position], atol=0, rtol=0)
        num_changed += int((after != before).any(dim=2).sum())
    assert num_changed > 20  # outputs at other positions do depend on it


def test_settings_of_the_two_decodings_cannot_be_combined() -> None:
    with pytest.raises(ValueError, match="enhanced decoding has one"):
        RetroMae(decoder_layers=2)
    for settings in ({"query_stream": "raw"}, {"num_decoder_masks": 4}):
        with pytest.raises(ValueError, match="require decoding: enhanced"):
            RetroMae(decoding="basic", **settings)  # type: ignore[arg-type]
    assert len(build(RetroMae(decoder_layers=2, decoding="basic")).decoder.layers) == 2


def test_basic_decoding_predicts_the_masked_tokens_with_one_mask_per_text() -> None:
    module = build(RetroMae(decoding="basic", decoder_mask_rate=0.5, decoder_layers=2))
    batch = random_batch((20, 12))
    sampled = module.sample(batch)
    selected = sampled.decoder.labels != IGNORE_INDEX
    assert int(selected[0].sum()) in (9, 10) and int(selected[1].sum()) in (5, 6)
    assert (sampled.decoder.ids[~selected] == batch.ids[~selected]).all()
    embedding = torch.randn(2, HIDDEN_SIZE, dtype=torch.float64)
    ids, mask = sampled.decoder.ids, sampled.decoder_attention_mask
    both = module.decoder(module.backbone, embedding, ids, mask)
    alone = module.decoder(module.backbone, embedding[1:], ids[1:, :12], mask[1:, :12, :12])
    torch.testing.assert_close(both[1:, :12], alone)  # padding has no effect


def test_the_decoder_learns_to_use_the_embedding() -> None:
    """After a short training the decoder is less accurate with the embedding of another text."""
    torch.manual_seed(0)
    tokenizer = toys.tokenizer()
    module = RetroMae().build_module(toys.backbone(tokenizer.vocab_size), tokenizer, "cls").train()
    padded = pad_texts(tokenizer.encode(toys.texts()), tokenizer, 64)
    ids, attention_mask, word_ids = (
        torch.from_numpy(array) for array in (padded.ids, padded.attention_mask, padded.word_ids)
    )
    numbers = torch.arange(len(ids))
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    for epoch in range(60):
        sampled = module.sample(TokenBatch(ids, attention_mask, word_ids, numbers, numbers, 0, epoch))
        sums, counts = module(sampled).sums, sampled.counts()
        loss = sums["encoder"] / counts["encoder"] + sums["decoder"] / counts["decoder"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.eval()
    with torch.no_grad():
        hidden = module.backbone.encode(ids, attention_mask)[:, 0]
        only_embedding = torch.zeros_like(sampled.decoder_attention_mask)
        only_embedding[:, 1:, 0] = True
        only_embedding[:, 0, 1] = True

        def accuracy(embeddings: Tensor) -> float:
            output = module.decoder(module.backbone, embeddings, ids, only_embedding)
            predicted = module.backbone.mlm_logits(output).argmax(dim=2)
            return float((predicted == ids)[word_ids >= 0].float().mean())

        assert accuracy(hidden) > accuracy(hidden.roll(1, dims=0)) + 0.02
