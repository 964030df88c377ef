"""RetroMAE against a literal float64 re-implementation of its equations (section 3 of the paper), row by row."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import toys
from encloze.models.layers.masking import IGNORED, TokenBatch, visible_to_decoder
from encloze.objectives.retromae import RetroMae, RetroMaeModule

VOCABULARY, WIDTH, HEADS = 50, 32, 2


def batch(lengths: tuple[int, ...] = (9, 6), seed: int = 3, epoch: int = 1) -> TokenBatch:
    """Texts of the given lengths: ids 5 to 49, first token 1, last 2, padding 0; every third token goes on a word."""
    draw = torch.Generator().manual_seed(0)
    width = max(lengths)
    ids, words = torch.zeros(len(lengths), width, dtype=torch.int64), torch.full((len(lengths), width), -1)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, VOCABULARY, (length,), generator=draw)
        ids[row, 0], ids[row, length - 1] = 1, 2
        starts = torch.tensor([place % 3 != 2 for place in range(length - 2)])
        words[row, 1 : length - 1] = starts.cumsum(0) - 1
    attention = torch.arange(width) < torch.tensor(lengths)[:, None]
    numbers = torch.arange(len(lengths)) + 7
    return TokenBatch(ids, attention, words, numbers, numbers, seed, epoch)


def module(settings: RetroMae, pooling: str = "cls") -> RetroMaeModule:
    """The objective's module over a tiny BERT, in float64, without dropout."""
    torch.manual_seed(1)
    made = RetroMaeModule(settings, toys.backbone(VOCABULARY), toys.OnlyMask(), pooling).double()  # type: ignore[arg-type]
    for parameter in made.decoder.parameters():  # biases and norms start at 0 and 1, which would hide a mistake
        torch.nn.init.normal_(parameter, std=0.3)
    return made.train()


def norm(vector: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = vector.mean()
    return (vector - mean) / torch.sqrt(((vector - mean) ** 2).mean() + 1e-12) * weight + bias


def literal(made: RetroMaeModule, given: TokenBatch, settings: RetroMae, pooling: str) -> tuple[Tensor, Tensor]:
    """Both summed losses, written out one token at a time."""
    drawn = made.draw(given)
    tables = made.backbone.encoder.embeddings
    layer = dict(made.decoder.layers[0].named_parameters())
    encoder_sum, decoder_sum = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for row in range(len(given.ids)):
        length = int(given.attention[row].sum())
        ids = given.ids[row, :length]
        hidden = made.backbone.model.bert(input_ids=drawn.encoder.ids[row : row + 1, :length]).last_hidden_state[0]
        c = hidden[0] if pooling == "cls" else hidden.mean(dim=0)
        positions, types = tables.position_embeddings.weight, tables.token_type_embeddings.weight[0]
        scale, shift = tables.LayerNorm.weight, tables.LayerNorm.bias
        context = [c] + [
            norm(tables.word_embeddings.weight[ids[i]] + positions[i] + types, scale, shift) for i in range(1, length)
        ]
        for i in range(length):
            if settings.query_stream == "raw":
                query = c + positions[i]
            else:
                query = norm(c + positions[i] + types, scale, shift)
            seen = [j for j in range(length) if drawn.visible[row, i, j]]
            parts = []
            for head in range(HEADS):
                part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
                q = (layer["attention.self.query.weight"] @ query + layer["attention.self.query.bias"])[part]
                scores, values = [], []
                for j in seen:
                    k = (layer["attention.self.key.weight"] @ context[j] + layer["attention.self.key.bias"])[part]
                    v = (layer["attention.self.value.weight"] @ context[j] + layer["attention.self.value.bias"])[part]
                    scores.append((q @ k) / math.sqrt(WIDTH / HEADS))
                    values.append(v)
                shares = torch.softmax(torch.stack(scores), dim=0)
                parts.append(sum(share * value for share, value in zip(shares, values, strict=True)))
            found = layer["attention.output.dense.weight"] @ torch.cat(parts) + layer["attention.output.dense.bias"]
            joined = norm(
                found + query, layer["attention.output.LayerNorm.weight"], layer["attention.output.LayerNorm.bias"]
            )
            inner = torch.nn.functional.gelu(
                layer["intermediate.dense.weight"] @ joined + layer["intermediate.dense.bias"]
            )
            out = layer["output.dense.weight"] @ inner + layer["output.dense.bias"]
            rebuilt = norm(out + joined, layer["output.LayerNorm.weight"], layer["output.LayerNorm.bias"])
            if 0 < i < length - 1:  # every token of the text, and neither the first nor the last
                decoder_sum = decoder_sum - torch.log_softmax(made.backbone.predict(rebuilt[None])[0], dim=0)[ids[i]]
            label = int(drawn.encoder.labels[row, i])
            if label != IGNORED:
                logits = made.backbone.predict(hidden[i][None])[0]
                encoder_sum = encoder_sum - torch.log_softmax(logits, dim=0)[label]
    return encoder_sum, decoder_sum


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("query_stream", ["normalised", "raw"])
def test_losses_and_gradients_are_those_of_the_equations(pooling: str, query_stream: str) -> None:
    settings = RetroMae(query_stream=query_stream)  # type: ignore[arg-type]
    made, given = module(settings, pooling), batch()
    drawn = made.draw(given)
    sums, counts = made(drawn).sums, drawn.counts()
    (sums["encoder"] / counts["encoder"] + sums["decoder"] / counts["decoder"]).backward()
    gradients = {
        name: parameter.grad.clone() for name, parameter in made.named_parameters() if parameter.grad is not None
    }
    made.zero_grad()
    encoder, decoder = literal(made, given, settings, pooling)
    assert abs(float((sums["encoder"] - encoder).detach())) < 1e-6
    assert abs(float((sums["decoder"] - decoder).detach())) < 1e-6
    (encoder / counts["encoder"] + decoder / counts["decoder"]).backward()
    names = {name for name, parameter in made.named_parameters() if parameter.grad is not None}
    assert names == gradients.keys()
    for name, parameter in made.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-6, rtol=1e-6)


def test_a_token_never_tells_of_itself() -> None:
    """With the embedding held still, the decoder's output at a place does not move with the token that stands there."""
    made, given = module(RetroMae()), batch((12,))
    embedding = torch.randn(1, WIDTH, dtype=torch.float64)
    visible = visible_to_decoder(given, 0.5)
    before = made.decoder(made.backbone, embedding, given.ids, visible)
    moved = 0
    for place in range(1, 11):
        other = given.ids.clone()
        other[0, place] = 5 + (other[0, place] - 4) % 45
        after = made.decoder(made.backbone, embedding, other, visible)
        torch.testing.assert_close(after[0, place], before[0, place], atol=0, rtol=0)
        moved += int((after != before).any(dim=2).sum())
    assert moved > 20  # but others see it


def test_enhanced_decoding_refuses_a_second_layer() -> None:
    with pytest.raises(ValueError, match="enhanced decoding has one"):
        RetroMae(decoder_layers=2)
    for settings in ({"query_stream": "raw"}, {"decoder_patterns": 4}):
        with pytest.raises(ValueError, match="are of enhanced decoding"):
            RetroMae(decoding="basic", **settings)  # type: ignore[arg-type]
    assert len(module(RetroMae(decoder_layers=2, decoding="basic")).decoder.layers) == 2


def test_basic_decoding_predicts_the_masked_tokens_only_from_one_view() -> None:
    made, given = module(RetroMae(decoding="basic", decoder_mask_rate=0.5, decoder_layers=2)), batch((20, 12))
    drawn = made.draw(given)
    hidden = drawn.decoder.labels != IGNORED
    assert int(hidden[0].sum()) in (9, 10) and int(hidden[1].sum()) in (5, 6)
    assert (drawn.decoder.ids[~hidden] == given.ids[~hidden]).all()
    embedding = torch.randn(2, WIDTH, dtype=torch.float64)
    full = made.decoder(made.backbone, embedding, drawn.decoder.ids, drawn.visible)
    alone = made.decoder(made.backbone, embedding[1:], drawn.decoder.ids[1:, :12], drawn.visible[1:, :12, :12])
    torch.testing.assert_close(full[1:, :12], alone)  # padding is not seen


def test_the_embedding_is_used() -> None:
    """A short run makes the decoder lean on the text's own embedding: another text's serves worse."""
    torch.manual_seed(0)
    tokenizer = toys.tokenizer()
    made = RetroMae().module(toys.backbone(tokenizer.size), tokenizer, "cls").train()
    from encloze.text.tokens import pad

    padded = pad(tokenizer.encode(toys.texts()), tokenizer, 64)
    arrays = (torch.from_numpy(array) for array in (padded.ids, padded.attention, padded.words))
    ids, attention, words = arrays
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    for epoch in range(60):
        drawn = made.draw(TokenBatch(ids, attention, words, torch.arange(len(ids)), torch.arange(len(ids)), 0, epoch))
        sums, counts = made(drawn).sums, drawn.counts()
        loss = sums["encoder"] / counts["encoder"] + sums["decoder"] / counts["decoder"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made.eval()
    with torch.no_grad():
        hidden = made.backbone.encode(ids, attention)[:, 0]
        visible = torch.zeros_like(drawn.visible)
        visible[:, 1:, 0] = True  # nothing but the embedding
        visible[:, 0, 1] = True

        def right(embeddings: Tensor) -> float:
            guesses = made.backbone.predict(made.decoder(made.backbone, embeddings, ids, visible)).argmax(dim=2)
            return float((guesses == ids)[words >= 0].float().mean())

        assert right(hidden) > right(hidden.roll(1, dims=0)) + 0.02
