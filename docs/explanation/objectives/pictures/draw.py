"""Draw the pictures of the objectives into the folder of this file: ``python draw.py``.

White letters on middling colours and grey lines can be read on a light page and on a dark one, so the ground stays
clear. Places are in pixels; a box is given by the middle of its upper edge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

WIDTH, LINE, LETTER, MARGIN = 720, 19, 8.4, 8  # of a picture, a line's height, a letter (a wide one), inside a box
TEXT, NET, VIEW, LOSS = "#5c6670", "#33699e", "#96611a", "#3b7a4b"
GREY = "#808080"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Arial, sans-serif"
Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A box's middle, upper edge, width and height."""

    x: float
    y: float
    width: float
    height: float

    def below(self, aside: float = 0) -> Point:
        return self.x + aside, self.y + self.height

    def above(self, aside: float = 0) -> Point:
        return self.x + aside, self.y

    def left(self) -> Point:
        return self.x - self.width / 2, self.y + self.height / 2

    def right(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass
class Picture:
    """Boxes and arrows, as SVG."""

    says: str
    height: float = 0
    parts: list[str] = field(default_factory=list)

    def box(self, colour: str, x: float, y: float, width: float, *lines: str) -> Box:
        """A box with centred lines; the first is bold where there are several."""
        made = Box(x, y, width, 2 * MARGIN + LINE * len(lines))
        for line in lines:
            assert len(line) * LETTER <= width - MARGIN, f"too long for a box of {width}: {line}"
        assert width / 2 <= x <= WIDTH - width / 2, lines
        self.parts.append(
            f'<rect x="{x - width / 2:g}" y="{y:g}" width="{width:g}" height="{made.height:g}" rx="7" fill="{colour}"/>'
        )
        for number, line in enumerate(lines):
            bold = ' font-weight="bold"' if number == 0 and len(lines) > 1 else ""
            self._write(x, y + MARGIN + LINE * number + 14, line, f'fill="#fff" text-anchor="middle"{bold}')
        self.height = max(self.height, y + made.height)
        return made

    def arrow(self, *points: Point, head: bool = True) -> None:
        """A line through some points, with a head or without."""
        path = "L".join(f"{x:g} {y:g}" for x, y in points)
        end = ' marker-end="url(#head)"' * head
        self.parts.append(f'<path d="M{path}" class="line"{end}/>')

    def label(self, x: float, y: float, *lines: str, anchor: str = "middle") -> None:
        """Words beside an arrow."""
        for number, line in enumerate(lines):
            self._write(x, y + LINE * number, line, f'fill="{GREY}" text-anchor="{anchor}"')

    def _write(self, x: float, y: float, text: str, style: str) -> None:
        self.parts.append(f'<text x="{x:g}" y="{y:g}" {style}>{escape(text)}</text>')

    def svg(self) -> str:
        height, drawn = self.height + 4, "\n".join(self.parts)
        return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}" viewBox="0 0 {WIDTH} {height:g}"
  font-family="{FONT}" font-size="14" role="img">
<title>{escape(self.says)}</title>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
  <path d="M0 0L8 4L0 8Z" fill="{GREY}"/></marker></defs>
<style>.line{{fill:none;stroke:{GREY};stroke-width:1.6}}</style>
{drawn}
</svg>
"""


def mlm() -> Picture:
    made = Picture("Masked language modelling: a text with holes, the encoder, the head, the missing words")
    text = made.box(TEXT, 360, 4, 340, "text", "[CLS] t1 t2 t3 t4 … tn [SEP]")
    holes = made.box(TEXT, 360, 96, 340, "text with holes", "[CLS] t1 ▢ t3 t4 … ▢ [SEP]")
    made.arrow(text.below(), holes.above())
    made.label(376, 81, "15 % of the tokens, whole words", anchor="start")
    encoder = made.box(NET, 360, 180, 340, "encoder")
    made.arrow(holes.below(), encoder.above())
    head = made.box(NET, 360, 265, 340, "head")
    made.arrow(encoder.below(), head.above())
    made.label(376, 246, "hidden states of the holes", anchor="start")
    made.arrow(head.below(), made.box(LOSS, 360, 330, 340, "encoder: which words stood there").above())
    return made


def retromae() -> Picture:
    made = Picture(
        "RetroMAE: a one-layer decoder rebuilds every token from the embedding and a random half of the rest"
    )
    _enhanced(made, "encoder: the holes", 105, "decoder: every token of the text", 540)
    return made


def dupmae() -> Picture:
    made = Picture("DupMAE: RetroMAE, and the other tokens' vectors say which tokens the text holds")
    _enhanced(made, "encoder: the holes", 92, "decoder: every token of the text", 565)
    made.arrow((170, 220), (170, 425))
    made.label(180, 360, "hidden states of", "all but the first", anchor="start")
    most = made.box(NET, 297, 495, 225, "highest logit", "of each word")
    made.arrow((297, 460), most.above())
    made.arrow(most.below(), made.box(LOSS, 297, 585, 225, "bag: the text's words").above())
    return made


def _enhanced(made: Picture, encoder_says: str, encoder_x: float, decoder_says: str, decoder_x: float) -> None:
    """RetroMAE's parts, down to the two losses."""
    text = made.box(TEXT, 360, 4, 320, "text", "[CLS] t1 t2 t3 t4 … tn [SEP]")
    holes = made.box(TEXT, 165, 100, 290, "text with holes", "[CLS] t1 ▢ t3 t4 … ▢ [SEP]")
    made.arrow(text.below(-60), (300, 78), (165, 78), holes.above())
    made.label(150, 72, "30 %, whole words", anchor="end")
    encoder = made.box(NET, 165, 185, 290, "encoder")
    made.arrow(holes.below(), encoder.above())
    view = made.box(VIEW, 265, 275, 110, "embedding")
    made.arrow((265, 220), view.above())
    made.label(275, 248, "pooled", anchor="start")
    decoder = made.box(
        NET, 540, 268, 345, "decoder: one layer",
        "asks: embedding + position, everywhere",
        "sees: the embedding, and of the tokens",
        "a random half, other for each place,",
        "never the one that it rebuilds",
    )  # fmt: skip
    made.arrow(text.below(60), (420, 78), (540, 78), decoder.above())
    made.label(550, 130, "tokens as they are", anchor="start")
    made.arrow(view.right(), (decoder.left()[0], view.right()[1]))
    made.box(NET, 360, 425, 700, "head, the encoder's own")
    made.arrow((55, 220), (55, 425))
    made.label(65, 280, "hidden states", "of the holes", anchor="start")
    made.arrow(decoder.below(), (540, 425))
    made.label(550, 409, "all text tokens", anchor="start")
    made.arrow((encoder_x, 460), made.box(LOSS, encoder_x, 495, 165, encoder_says).above())
    made.arrow((decoder_x, 460), made.box(LOSS, decoder_x, 495, 290, decoder_says).above())


def bow() -> Picture:
    made = Picture("Bag-of-words prediction: the embedding, through the head, says which words the text holds")
    text = made.box(TEXT, 360, 4, 340, "text", "[CLS] t1 t2 t3 t4 … tn [SEP]")
    holes = made.box(TEXT, 360, 96, 340, "text with holes", "[CLS] t1 ▢ t3 t4 … ▢ [SEP]")
    made.arrow(text.below(), holes.above())
    made.label(376, 81, "30 % of the tokens, whole words", anchor="start")
    encoder = made.box(NET, 360, 180, 340, "encoder")
    made.arrow(holes.below(), encoder.above())
    view = made.box(VIEW, 480, 265, 120, "embedding")
    made.arrow(encoder.below(120), view.above())
    made.label(490, 242, "pooled", anchor="start")
    head = made.box(NET, 360, 350, 460, "head, the same for both")
    made.arrow(encoder.below(-120), head.above(-120))
    made.label(228, 275, "hidden states", "of the holes", anchor="end")
    made.arrow(view.below(), head.above(120))
    made.arrow(head.below(-120), made.box(LOSS, 230, 430, 200, "encoder: the holes").above(10))
    made.arrow(head.below(120), made.box(LOSS, 480, 430, 260, "bag: all words of the text").above())
    return made


def cotmae() -> Picture:
    made = Picture("CoT-MAE: a decoder fills the holes of another span from a span's embedding")
    source = made.box(TEXT, 360, 4, 560, "a document: … t1 t2 t3 t4 … tn … s1 s2 s3 s4 … sm …")
    first = made.box(TEXT, 165, 97, 290, "a span with holes", "[CLS] t1 ▢ t3 t4 … ▢ [SEP]")
    second = made.box(TEXT, 550, 97, 320, "another span with more holes", "[CLS] s1 ▢ ▢ s4 … sm [SEP]")
    made.arrow(source.below(-195), first.above())
    made.arrow(source.below(190), second.above())
    made.label(175, 72, "30 %", anchor="start")
    made.label(560, 72, "45 %", anchor="start")
    encoder = made.box(NET, 165, 185, 290, "encoder")
    made.arrow(first.below(), encoder.above())
    view = made.box(VIEW, 265, 275, 110, "embedding")
    made.arrow((265, 220), view.above())
    made.label(275, 248, "pooled", anchor="start")
    decoder = made.box(
        NET, 550, 256, 320, "decoder: two layers", "reads [embedding, s1 ▢ ▢ s4 … sm]", "all places see all places"
    )
    made.arrow(second.below(), decoder.above())
    made.label(560, 205, "token vectors", anchor="start")
    made.arrow(view.right(), decoder.left())
    head = made.box(NET, 360, 385, 700, "head, the encoder's own")
    made.arrow((55, 220), (55, 385))
    made.label(65, 280, "hidden states", "of the holes", anchor="start")
    made.arrow(decoder.below(), (550, head.y))
    made.arrow((130, 420), made.box(LOSS, 130, 455, 240, "encoder: the span's holes").above())
    made.arrow((550, 420), made.box(LOSS, 550, 455, 310, "decoder: the other span's holes").above())
    made.label(360, 520, "and the other way round: the other span is encoded, too, and rebuilds the first")
    made.height = 528
    return made


def cotmae_v2() -> Picture:
    made = Picture("In the style of CoT-MAE v2: two views of a span, and two decoders for each")
    source = made.box(TEXT, 360, 4, 560, "a document: … t1 t2 t3 t4 … tn … s1 s2 s3 s4 … sm …")
    first = made.box(TEXT, 135, 97, 250, "a span with holes", "[CLS] t1 ▢ t3 t4 … ▢ [SEP]")
    made.arrow(source.below(-225), first.above())
    made.label(145, 72, "30 %", anchor="start")
    encoder = made.box(NET, 135, 195, 250, "encoder")
    made.arrow(first.below(), encoder.above())
    sparse = made.box(
        NET, 165, 280, 236, "head at every place:", "highest logit of each word,",
        "log(1 + max(0, x)),", "the 768 largest, × the", "words' embeddings; norm",
    )  # fmt: skip
    made.arrow((165, 230), sparse.above())
    dense_view = made.box(VIEW, 353, 195, 104, "dense view")
    made.arrow(encoder.right(), dense_view.left())
    sparse_view = made.box(VIEW, 353, sparse.right()[1] - 17.5, 104, "sparse view")
    made.arrow(sparse.right(), sparse_view.left())
    holes = made.box(TEXT, 572, 97, 244, "another span with holes", "[CLS] s1 ▢ ▢ s4 … sm [SEP]")
    made.arrow(source.below(212), holes.above())
    made.label(582, 72, "45 %", anchor="start")
    fills = made.box(NET, 572, 186, 244, "auto-encoding decoder", "fills the holes")
    made.arrow(holes.below(), fills.above())
    whole = made.box(TEXT, 572, 276, 244, "the other span, whole", "[CLS] s1 s2 s3 s4 … sm [SEP]")
    tells = made.box(NET, 572, 376, 244, "auto-regressive decoder", "tells it from left to right")
    made.arrow(whole.below(), tells.above())
    made.arrow(dense_view.right(), fills.left())
    made.arrow(sparse_view.right(), (424, sparse_view.right()[1]), head=False)
    made.arrow((424, 213), (424, tells.left()[1]), tells.left())
    made.label(352, 265, "each view", "by itself")
    head = made.box(NET, 360, 470, 700, "head, the encoder's own")
    made.arrow((30, 230), (30, head.y))
    made.label(40, 440, "hidden states of the holes", anchor="start")
    made.arrow(tells.below(), (572, head.y))
    made.arrow(fills.right(), (708, 213), (708, 452), (660, 452), (660, head.y))
    made.arrow((100, 505), made.box(LOSS, 100, 540, 180, "encoder: the holes").above())
    made.arrow((330, 505), made.box(LOSS, 330, 540, 240, "ae_dense, ae_sparse").above())
    made.arrow((580, 505), made.box(LOSS, 580, 540, 240, "ar_dense, ar_sparse").above())
    return made


def lexmae() -> Picture:
    made = Picture("LexMAE: the bottleneck is a mixture of word embeddings")
    text = made.box(TEXT, 360, 4, 320, "text", "[CLS] t1 t2 t3 t4 … tn [SEP]")
    holes = made.box(TEXT, 165, 100, 290, "text with holes", "[CLS] t1 ▢ t3 t4 … tn [SEP]")
    made.arrow(text.below(-60), (300, 78), (165, 78), holes.above())
    made.label(150, 72, "30 % of the tokens", anchor="end")
    more = made.box(TEXT, 550, 100, 290, "text with more holes", "[CLS] t1 ▢ t3 ▢ … ▢ [SEP]")
    made.arrow(text.below(60), (420, 78), (550, 78), more.above())
    made.label(560, 72, "50 %, those included", anchor="start")
    encoder = made.box(NET, 165, 185, 290, "encoder")
    made.arrow(holes.below(), encoder.above())
    words = made.box(
        NET, 195, 265, 240, "head at every text token:", "highest logit of each word,", "softmax,",
        "× the words' embeddings",
    )  # fmt: skip
    made.arrow((195, 220), words.above())
    view = made.box(VIEW, 195, 395, 240, "a mixture of words")
    made.arrow(words.below(), view.above())
    decoder = made.box(
        NET, 550, 376, 290, "decoder: two layers", "reads [mixture, t1 ▢ t3 ▢ … ▢]", "all places see all places"
    )
    made.arrow(more.below(), decoder.above())
    made.label(560, 270, "token vectors", anchor="start")
    made.arrow(view.right(), decoder.left())
    head = made.box(NET, 165, 485, 290, "the same head, at the holes")
    made.arrow((45, 220), (45, head.y))
    own = made.box(NET, 550, 485, 310, "its own head, on the same matrix")
    made.arrow(decoder.below(), own.above())
    made.arrow(head.below(), made.box(LOSS, 165, 555, 230, "encoder: its holes").above())
    made.arrow(own.below(), made.box(LOSS, 550, 555, 230, "decoder: its holes").above())
    return made


def condenser() -> Picture:
    made = Picture("Condenser: late layers can speak to the head through one vector only")
    _condenser(made, "text with holes", "[CLS] t1 ▢ t3 t4 … ▢ [SEP]")
    return made


def cocondenser() -> Picture:
    made = Picture("coCondenser: Condenser, and two spans of a document that find each other")
    _condenser(made, "two spans with holes", "of the same document")
    contrast = made.box(LOSS, 284, 287, 216, "contrast: its partner", "among the whole batch")
    made.arrow((384, 220), (384, contrast.y))
    return made


def _condenser(made: Picture, *holes_lines: str) -> None:
    """Condenser's parts."""
    holes = made.box(TEXT, 160, 4, 290, *holes_lines)
    made.label(320, 37, "15 % of the tokens, whole words", anchor="start")
    early = made.box(NET, 160, 95, 290, "early layers of the encoder")
    made.arrow(holes.below(), early.above())
    late = made.box(NET, 160, 185, 290, "late layers of the encoder")
    made.arrow(early.below(), late.above())
    rest = made.box(VIEW, 615, 95, 180, "other tokens, early")
    made.arrow(early.right(), rest.left())
    view = made.box(VIEW, 445, 185, 160, "first token, last")
    made.arrow(late.right(), view.left())
    extra = made.box(NET, 555, 287, 300, "Condenser's head: two layers", "all places see all places")
    made.arrow((470, 220), (470, extra.y))
    made.arrow(rest.below(), (615, extra.y))
    head = made.box(NET, 360, 395, 700, "head, the encoder's own")
    made.arrow((60, 220), (60, head.y))
    made.label(70, 370, "hidden states of the holes", anchor="start")
    made.arrow(extra.below(), (555, head.y))
    made.arrow((115, 430), made.box(LOSS, 115, 465, 200, "encoder: the holes").above())
    made.arrow((555, 430), made.box(LOSS, 555, 465, 240, "decoder: the same holes").above())


def cropping() -> Picture:
    made = Picture("Cropping: two crops of a text find each other among those of the batch")
    text = made.box(TEXT, 360, 4, 420, "text", "t1 t2 t3 t4 t5 t6 t7 t8 t9 … tn")
    sides = []
    for x, words in ((180, "[CLS] t2 t3 t4 t5 [SEP]"), (540, "[CLS] t5 t6 t7 t8 t9 [SEP]")):
        sides.append(made.box(TEXT, x, 97, 270, "a crop", words))
        made.arrow((x, text.below()[1]), (x, 97))
    encoder = made.box(NET, 360, 185, 630, "encoder, the same for both")
    for crop in sides:
        made.arrow(crop.below(), (crop.x, 185))
    _contrast(made, encoder, ("embedding", "embedding"), "contrast: its partner is nearer than all other texts' crops")
    return made


def simcse() -> Picture:
    made = Picture("SimCSE: two encodings of a text, which differ by dropout, find each other among those of the batch")
    text = made.box(TEXT, 360, 4, 340, "text", "[CLS] t1 t2 t3 t4 … tn [SEP]")
    encoder = made.box(NET, 360, 115, 630, "encoder, twice, with dropout drawn anew")
    made.arrow(text.below(-100), (260, 115))
    made.arrow(text.below(100), (460, 115))
    _contrast(made, encoder, ("first", "second"), "contrast: its other encoding is nearer than all other texts'")
    return made


def _contrast(made: Picture, encoder: Box, names: tuple[str, str], says: str) -> None:
    loss_y = encoder.y + 150
    for x, name in zip((180, 540), names, strict=True):
        view = made.box(VIEW, x, encoder.y + 70, 140, name)
        made.arrow((x, encoder.below()[1]), view.above())
        made.arrow(view.below(), (x, loss_y))
    made.box(LOSS, 360, loss_y, 630, says)


DRAWN: tuple[Callable[[], Picture], ...] = (
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
    for draw in DRAWN:
        Path(__file__).with_name(f"{draw.__name__}.svg").write_text(draw().svg(), encoding="utf-8")
