"""Write the pictures of the objectives as SVG files into the folder of this file: ``python draw.py``.

The background is transparent: white text on medium colors and gray lines are readable on light and dark pages.
Coordinates are in pixels; a box is given by the center of its upper edge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

# Width of a picture, height of a line, width of a wide letter, and margin inside a box.
WIDTH, LINE_HEIGHT, LETTER_WIDTH, MARGIN = 720, 19, 8.4, 8
TEXT, TRAINED, BOTTLENECK, LOSS = "#5c6670", "#33699e", "#96611a", "#3b7a4b"
GRAY = "#808080"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Arial, sans-serif"
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """Center of the upper edge, width and height of a box."""

    x: float
    y: float
    width: float
    height: float

    def below(self, offset: float = 0) -> Point:
        return self.x + offset, self.y + self.height

    def above(self, offset: float = 0) -> Point:
        return self.x + offset, self.y

    def left(self) -> Point:
        return self.x - self.width / 2, self.y + self.height / 2

    def right(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass
class Picture:
    """Boxes, arrows and labels of an SVG picture."""

    title: str
    height: float = 0
    parts: list[str] = field(default_factory=list)

    def box(self, color: str, x: float, y: float, width: float, *lines: str) -> Box:
        """Add a box with centered lines; if there are several, the first one is bold."""
        box = Box(x, y, width, 2 * MARGIN + LINE_HEIGHT * len(lines))
        for line in lines:
            assert len(line) * LETTER_WIDTH <= width - MARGIN, f"too long for a box of {width}: {line}"
        assert width / 2 <= x <= WIDTH - width / 2, lines
        self.parts.append(
            f'<rect x="{x - width / 2:g}" y="{y:g}" width="{width:g}" height="{box.height:g}" rx="7" fill="{color}"/>'
        )
        for number, line in enumerate(lines):
            bold = ' font-weight="bold"' if number == 0 and len(lines) > 1 else ""
            self._write(x, y + MARGIN + LINE_HEIGHT * number + 14, line, f'fill="#fff" text-anchor="middle"{bold}')
        self.height = max(self.height, y + box.height)
        return box

    def arrow(self, *points: Point, head: bool = True) -> None:
        """Add a line through points, with or without an arrowhead."""
        path = "L".join(f"{x:g} {y:g}" for x, y in points)
        end = ' marker-end="url(#head)"' * head
        self.parts.append(f'<path d="M{path}" class="line"{end}/>')

    def label(self, x: float, y: float, *lines: str, anchor: str = "middle") -> None:
        """Add text beside an arrow."""
        for number, line in enumerate(lines):
            self._write(x, y + LINE_HEIGHT * number, line, f'fill="{GRAY}" text-anchor="{anchor}"')

    def _write(self, x: float, y: float, text: str, style: str) -> None:
        self.parts.append(f'<text x="{x:g}" y="{y:g}" {style}>{escape(text)}</text>')

    def svg(self) -> str:
        height, elements = self.height + 4, "\n".join(self.parts)
        return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}" viewBox="0 0 {WIDTH} {height:g}"
  font-family="{FONT}" font-size="14" role="img">
<title>{escape(self.title)}</title>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
  <path d="M0 0L8 4L0 8Z" fill="{GRAY}"/></marker></defs>
<style>.line{{fill:none;stroke:{GRAY};stroke-width:1.6}}</style>
{elements}
</svg>
"""


def mlm() -> Picture:
    picture = Picture("Masked language modeling: a masked text, the encoder, the head, the predicted words")
    text = picture.box(TEXT, 360, 4, 340, "text", "[CLS] t1 t2 t3 t4 … tn [SEP]")
    masked = picture.box(TEXT, 360, 96, 340, "masked text", "[CLS] t1 ▢ t3 t4 … ▢ [SEP]")
    picture.arrow(text.below(), masked.above())
    picture.label(376, 81, "15 % of the tokens, whole words", anchor="start")
    encoder = picture.box(TRAINED, 360, 180, 340, "encoder")
    picture.arrow(masked.below(), encoder.above())
    head = picture.box(TRAINED, 360, 265, 340, "head")
    picture.arrow(encoder.below(), head.above())
    picture.label(376, 246, "hidden states of masked tokens", anchor="start")
    picture.arrow(head.below(), picture.box(LOSS, 360, 330, 340, "encoder: the masked words").above())
    return picture


def retromae() -> Picture:
    picture = Picture(
        "RetroMAE: a one-layer decoder predicts every token from the embedding and a random half of the others"
    )
    _enhanced(picture, "encoder: MLM", 105, "decoder: every token of the text", 540)
    return picture


def dupmae() -> Picture:
    picture = Picture("DupMAE: RetroMAE, and the other tokens' vectors predict which tokens the text contains")
    _enhanced(picture, "encoder: MLM", 92, "decoder: every token of the text", 565)
    picture.arrow((170, 220), (170, 425))
    picture.label(180, 360, "hidden states of", "all but the first", anchor="start")
    max_logit = picture.box(TRAINED, 297, 495, 225, "maximum logit", "of each token")
    picture.arrow((297, 460), max_logit.above())
    picture.arrow(max_logit.below(), picture.box(LOSS, 297, 585, 225, "bow: the text's tokens").above())
    return picture


def _enhanced(picture: Picture, encoder_loss: str, encoder_x: float, decoder_loss: str, decoder_x: float) -> None:
    """Add the parts of RetroMAE."""
    text = picture.box(TEXT, 360, 4, 320, "text", "[CLS] t1 t2 t3 t4 … tn [SEP]")
    masked = picture.box(TEXT, 165, 100, 290, "masked text", "[CLS] t1 ▢ t3 t4 … ▢ [SEP]")
    picture.arrow(text.below(-60), (300, 78), (165, 78), masked.above())
    picture.label(150, 72, "30 %, whole words", anchor="end")
    encoder = picture.box(TRAINED, 165, 185, 290, "encoder")
    picture.arrow(masked.below(), encoder.above())
    view = picture.box(BOTTLENECK, 265, 275, 110, "embedding")
    picture.arrow((265, 220), view.above())
    picture.label(275, 248, "pooled", anchor="start")
    decoder = picture.box(
        TRAINED, 540, 268, 345, "decoder: one layer",
        "queries: embedding + position",
        "context: embedding + random half",
        "of the tokens, sampled for each",
        "position, never its own token",
    )  # fmt: skip
    picture.arrow(text.below(60), (420, 78), (540, 78), decoder.above())
    picture.label(550, 130, "unmasked tokens", anchor="start")
    picture.arrow(view.right(), (decoder.left()[0], view.right()[1]))
    picture.box(TRAINED, 360, 425, 700, "MLM head of the encoder")
    picture.arrow((55, 220), (55, 425))
    picture.label(65, 280, "hidden states,", "masked", anchor="start")
    picture.arrow(decoder.below(), (540, 425))
    picture.label(550, 409, "all tokens", anchor="start")
    picture.arrow((encoder_x, 460), picture.box(LOSS, encoder_x, 495, 165, encoder_loss).above())
    picture.arrow((decoder_x, 460), picture.box(LOSS, decoder_x, 495, 290, decoder_loss).above())


def bow() -> Picture:
    picture = Picture(
        "Bag-of-words prediction: the embedding, through the head, predicts which tokens the text contains"
    )
    text = picture.box(TEXT, 360, 4, 340, "text", "[CLS] t1 t2 t3 t4 … tn [SEP]")
    masked = picture.box(TEXT, 360, 96, 340, "masked text", "[CLS] t1 ▢ t3 t4 … ▢ [SEP]")
    picture.arrow(text.below(), masked.above())
    picture.label(376, 81, "30 % of the tokens, whole words", anchor="start")
    encoder = picture.box(TRAINED, 360, 180, 340, "encoder")
    picture.arrow(masked.below(), encoder.above())
    view = picture.box(BOTTLENECK, 480, 265, 120, "embedding")
    picture.arrow(encoder.below(120), view.above())
    picture.label(490, 242, "pooled", anchor="start")
    head = picture.box(TRAINED, 360, 350, 460, "MLM head, the same for both")
    picture.arrow(encoder.below(-120), head.above(-120))
    picture.label(228, 275, "hidden states,", "masked", anchor="end")
    picture.arrow(view.below(), head.above(120))
    picture.arrow(head.below(-120), picture.box(LOSS, 230, 430, 200, "encoder: MLM").above(10))
    picture.arrow(head.below(120), picture.box(LOSS, 480, 430, 260, "bow: all tokens of the text").above())
    return picture


def cotmae() -> Picture:
    picture = Picture("CoT-MAE: a decoder predicts masked words of another span from a span's embedding")
    source = picture.box(TEXT, 360, 4, 560, "a document: … t1 t2 t3 t4 … tn … s1 s2 s3 s4 … sm …")
    first = picture.box(TEXT, 165, 97, 290, "a masked span", "[CLS] t1 ▢ t3 t4 … ▢ [SEP]")
    second = picture.box(TEXT, 550, 97, 320, "another span, masked more", "[CLS] s1 ▢ ▢ s4 … sm [SEP]")
    picture.arrow(source.below(-195), first.above())
    picture.arrow(source.below(190), second.above())
    picture.label(175, 72, "30 %", anchor="start")
    picture.label(560, 72, "45 %", anchor="start")
    encoder = picture.box(TRAINED, 165, 185, 290, "encoder")
    picture.arrow(first.below(), encoder.above())
    view = picture.box(BOTTLENECK, 265, 275, 110, "embedding")
    picture.arrow((265, 220), view.above())
    picture.label(275, 248, "pooled", anchor="start")
    decoder = picture.box(
        TRAINED, 550, 256, 320, "decoder: two layers", "reads [embedding, s1 ▢ ▢ s4 … sm]", "bidirectional attention"
    )
    picture.arrow(second.below(), decoder.above())
    picture.label(560, 205, "token embeddings", anchor="start")
    picture.arrow(view.right(), decoder.left())
    head = picture.box(TRAINED, 360, 385, 700, "MLM head of the encoder")
    picture.arrow((55, 220), (55, 385))
    picture.label(65, 280, "hidden states,", "masked", anchor="start")
    picture.arrow(decoder.below(), (550, head.y))
    picture.arrow((130, 420), picture.box(LOSS, 130, 455, 240, "encoder: the span's tokens").above())
    picture.arrow((550, 420), picture.box(LOSS, 550, 455, 310, "decoder: the other span's tokens").above())
    picture.label(360, 520, "and in the other direction: the other span is encoded, and the first one is predicted")
    picture.height = 528
    return picture


def cotmae_v2() -> Picture:
    picture = Picture("In the style of CoT-MAE v2: two views of a span, and two decoders for each")
    source = picture.box(TEXT, 360, 4, 560, "a document: … t1 t2 t3 t4 … tn … s1 s2 s3 s4 … sm …")
    first = picture.box(TEXT, 135, 97, 250, "a masked span", "[CLS] t1 ▢ t3 t4 … ▢ [SEP]")
    picture.arrow(source.below(-225), first.above())
    picture.label(145, 72, "30 %", anchor="start")
    encoder = picture.box(TRAINED, 135, 195, 250, "encoder")
    picture.arrow(first.below(), encoder.above())
    sparse = picture.box(
        TRAINED, 165, 280, 236, "MLM head at all positions:", "maximum logit per token,",
        "log(1 + max(0, x)),", "the 768 largest, × token", "embeddings; LayerNorm",
    )  # fmt: skip
    picture.arrow((165, 230), sparse.above())
    dense_view = picture.box(BOTTLENECK, 353, 195, 104, "dense view")
    picture.arrow(encoder.right(), dense_view.left())
    sparse_view = picture.box(BOTTLENECK, 353, sparse.right()[1] - 17.5, 104, "sparse view")
    picture.arrow(sparse.right(), sparse_view.left())
    masked = picture.box(TEXT, 572, 97, 244, "another masked span", "[CLS] s1 ▢ ▢ s4 … sm [SEP]")
    picture.arrow(source.below(212), masked.above())
    picture.label(582, 72, "45 %", anchor="start")
    auto_encoding = picture.box(TRAINED, 572, 186, 244, "auto-encoding decoder", "predicts masked tokens")
    picture.arrow(masked.below(), auto_encoding.above())
    unmasked = picture.box(TEXT, 572, 276, 244, "the other span, unmasked", "[CLS] s1 s2 s3 s4 … sm [SEP]")
    auto_regressive = picture.box(TRAINED, 572, 376, 244, "auto-regressive decoder", "predicts the next token")
    picture.arrow(unmasked.below(), auto_regressive.above())
    picture.arrow(dense_view.right(), auto_encoding.left())
    picture.arrow(sparse_view.right(), (424, sparse_view.right()[1]), head=False)
    picture.arrow((424, 213), (424, auto_regressive.left()[1]), auto_regressive.left())
    picture.label(352, 265, "each view", "separately")
    head = picture.box(TRAINED, 360, 470, 700, "MLM head of the encoder")
    picture.arrow((30, 230), (30, head.y))
    picture.label(40, 440, "hidden states of masked tokens", anchor="start")
    picture.arrow(auto_regressive.below(), (572, head.y))
    picture.arrow(auto_encoding.right(), (708, 213), (708, 452), (660, 452), (660, head.y))
    picture.arrow((100, 505), picture.box(LOSS, 100, 540, 180, "encoder: MLM").above())
    picture.arrow((330, 505), picture.box(LOSS, 330, 540, 240, "ae_dense, ae_sparse").above())
    picture.arrow((580, 505), picture.box(LOSS, 580, 540, 240, "ar_dense, ar_sparse").above())
    return picture


def lexmae() -> Picture:
    picture = Picture("LexMAE: the bottleneck is a distribution over words")
    text = picture.box(TEXT, 360, 4, 320, "text", "[CLS] t1 t2 t3 t4 … tn [SEP]")
    masked = picture.box(TEXT, 165, 100, 290, "masked text", "[CLS] t1 ▢ t3 t4 … tn [SEP]")
    picture.arrow(text.below(-60), (300, 78), (165, 78), masked.above())
    picture.label(150, 72, "30 % of the tokens", anchor="end")
    more = picture.box(TEXT, 550, 100, 290, "text, masked more", "[CLS] t1 ▢ t3 ▢ … ▢ [SEP]")
    picture.arrow(text.below(60), (420, 78), (550, 78), more.above())
    picture.label(560, 72, "50 %, including those", anchor="start")
    encoder = picture.box(TRAINED, 165, 185, 290, "encoder")
    picture.arrow(masked.below(), encoder.above())
    words = picture.box(
        TRAINED, 195, 265, 240, "MLM head at all tokens:", "maximum logit per token,", "softmax,",
        "× token embeddings",
    )  # fmt: skip
    picture.arrow((195, 220), words.above())
    view = picture.box(BOTTLENECK, 195, 395, 240, "sum of embeddings")
    picture.arrow(words.below(), view.above())
    decoder = picture.box(
        TRAINED, 550, 376, 290, "decoder: two layers", "reads [sum, t1 ▢ t3 ▢ … ▢]", "bidirectional attention"
    )
    picture.arrow(more.below(), decoder.above())
    picture.label(560, 270, "token embeddings", anchor="start")
    picture.arrow(view.right(), decoder.left())
    head = picture.box(TRAINED, 165, 485, 290, "the same head, masked tokens")
    picture.arrow((45, 220), (45, head.y))
    own = picture.box(TRAINED, 550, 485, 310, "its own transform, same matrix")
    picture.arrow(decoder.below(), own.above())
    picture.arrow(head.below(), picture.box(LOSS, 165, 555, 230, "encoder: MLM").above())
    picture.arrow(own.below(), picture.box(LOSS, 550, 555, 230, "decoder: MLM").above())
    return picture


def condenser() -> Picture:
    picture = Picture("Condenser: late layers reach the head through one vector only")
    _condenser(picture, "masked text", "[CLS] t1 ▢ t3 t4 … ▢ [SEP]")
    return picture


def cocondenser() -> Picture:
    picture = Picture("coCondenser: Condenser, and a contrastive loss of two spans of a document")
    _condenser(picture, "two masked spans", "of the same document")
    contrast = picture.box(LOSS, 284, 287, 216, "contrastive: its partner", "in the whole batch")
    picture.arrow((384, 220), (384, contrast.y))
    return picture


def _condenser(picture: Picture, *text_lines: str) -> None:
    """Add the parts of Condenser."""
    masked = picture.box(TEXT, 160, 4, 290, *text_lines)
    picture.label(320, 37, "15 % of the tokens, whole words", anchor="start")
    early = picture.box(TRAINED, 160, 95, 290, "early layers of the encoder")
    picture.arrow(masked.below(), early.above())
    late = picture.box(TRAINED, 160, 185, 290, "late layers of the encoder")
    picture.arrow(early.below(), late.above())
    rest = picture.box(BOTTLENECK, 615, 95, 180, "others, early layer")
    picture.arrow(early.right(), rest.left())
    view = picture.box(BOTTLENECK, 445, 185, 160, "CLS, last layer")
    picture.arrow(late.right(), view.left())
    extra = picture.box(TRAINED, 555, 287, 300, "Condenser head: two layers", "bidirectional attention")
    picture.arrow((470, 220), (470, extra.y))
    picture.arrow(rest.below(), (615, extra.y))
    head = picture.box(TRAINED, 360, 395, 700, "MLM head of the encoder")
    picture.arrow((60, 220), (60, head.y))
    picture.label(70, 370, "hidden states of masked tokens", anchor="start")
    picture.arrow(extra.below(), (555, head.y))
    picture.arrow((115, 430), picture.box(LOSS, 115, 465, 200, "encoder: MLM").above())
    picture.arrow((555, 430), picture.box(LOSS, 555, 465, 240, "decoder: the same tokens").above())


def cropping() -> Picture:
    picture = Picture("Cropping: two crops of a text are matched within the batch")
    text = picture.box(TEXT, 360, 4, 420, "text", "t1 t2 t3 t4 t5 t6 t7 t8 t9 … tn")
    crops = []
    for x, words in ((180, "[CLS] t2 t3 t4 t5 [SEP]"), (540, "[CLS] t5 t6 t7 t8 t9 [SEP]")):
        crops.append(picture.box(TEXT, x, 97, 270, "a crop", words))
        picture.arrow((x, text.below()[1]), (x, 97))
    encoder = picture.box(TRAINED, 360, 185, 630, "encoder, the same for both")
    for crop in crops:
        picture.arrow(crop.below(), (crop.x, 185))
    _contrastive(picture, encoder, ("embedding", "embedding"), "contrastive: its partner among all other texts' crops")
    return picture


def simcse() -> Picture:
    picture = Picture("SimCSE: two encodings of a text, which differ by dropout, are matched within the batch")
    text = picture.box(TEXT, 360, 4, 340, "text", "[CLS] t1 t2 t3 t4 … tn [SEP]")
    encoder = picture.box(TRAINED, 360, 115, 630, "encoder, twice, with different dropout masks")
    picture.arrow(text.below(-100), (260, 115))
    picture.arrow(text.below(100), (460, 115))
    _contrastive(picture, encoder, ("first", "second"), "contrastive: its other encoding among all other texts")
    return picture


def _contrastive(picture: Picture, encoder: Box, names: tuple[str, str], loss: str) -> None:
    loss_y = encoder.y + 150
    for x, name in zip((180, 540), names, strict=True):
        view = picture.box(BOTTLENECK, x, encoder.y + 70, 140, name)
        picture.arrow((x, encoder.below()[1]), view.above())
        picture.arrow(view.below(), (x, loss_y))
    picture.box(LOSS, 360, loss_y, 630, loss)


PICTURES: tuple[Callable[[], Picture], ...] = (
    mlm,
    retromae,
    dupmae,
    bow,
    cotmae,
    cotmae_v2,
    lexmae,
    condenser,
    cocondenser,
    cropping,
    simcse,
)

if __name__ == "__main__":
    for draw in PICTURES:
        Path(__file__).with_name(f"{draw.__name__}.svg").write_text(draw().svg(), encoding="utf-8")
