# SPDX-License-Identifier: Apache-2.0
"""Content of the page as values: what a section shows, without its layout."""

import dataclasses
from collections.abc import Callable, Sequence

from m3net_tf.pages.report.charts import Spec
from m3net_tf.pages.report.gather import RunData


class Block:
    """A part of a section."""

    @property
    def kind(self) -> str:
        """Name of its form in the template."""
        return type(self).__name__.lower()


@dataclasses.dataclass(frozen=True)
class Chart(Block):
    """A chart.

    Attributes:
        spec: Vega-Lite specification with its data.
        text: what the chart shows, for readers who do not see it.
        caption: line below the chart; '' for none.
        plays: whether a click on a mark plays the sound that its datum's ``sound`` names.
        wide: whether it takes the whole width.
    """

    spec: Spec
    text: str
    caption: str = ""
    plays: bool = False
    wide: bool = False


@dataclasses.dataclass(frozen=True)
class Table(Block):
    """A table.

    Attributes:
        rows: cells as text; columns after the first are right-aligned if all are figures.
        caption: line above the table; '' for none.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def numeric(self, column: int) -> bool:
        """Whether a column after the first has only figures, '' and signs."""
        return column > 0 and all(
            row[column] in ("", "-") or row[column].lstrip("+-~")[:1].isdigit() for row in self.rows
        )


@dataclasses.dataclass(frozen=True)
class Tiles(Block):
    """Single figures: (name, figure, remark) each."""

    figures: Sequence[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class Note(Block):
    """A sentence; ``command`` is the command that makes what is missing, '' for none."""

    text: str
    command: str = ""


@dataclasses.dataclass(frozen=True)
class Drawing(Block):
    """An SVG that this package has drawn; ``text`` describes it."""

    svg: str
    text: str


@dataclasses.dataclass(frozen=True)
class Source(Block):
    """Text to copy, such as a command; folded behind ``summary`` unless that is ''."""

    text: str
    summary: str = ""


@dataclasses.dataclass(frozen=True)
class ClipCard:
    """A clip with its sound and pictures.

    Attributes:
        truth: its classes and their probability.
        answer: the network's answer and probability.
        map_picture: data URI of the feature map.
        saliency_picture: data URI of the map with the saliency over it.
        spoken: what the pictures show, for readers who do not see them.
    """

    name: str
    truth: str
    answer: str
    sound: str
    map_picture: str
    saliency_picture: str
    spoken: str


@dataclasses.dataclass(frozen=True)
class Gallery(Block):
    """Clips side by side; ``axes`` are the lowest and highest frequency and the length in words."""

    clips: Sequence[ClipCard]
    axes: tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Playlist(Block):
    """Sounds that charts name and a list plays: (key, words, data URI) each."""

    label: str
    sounds: Sequence[tuple[str, str, str]]

    @property
    def by_key(self) -> dict[str, str]:
        """Data URIs by key."""
        return {key: uri for key, _, uri in self.sounds}


@dataclasses.dataclass(frozen=True)
class Trial(Block):
    """A network to try on sounds.

    Attributes:
        module: its WebAssembly module, base64.
        events: whether each class makes events.
        frequencies: lowest and highest frequency of its features, in words.
        samples_as_features: whether a column of features is a hop of samples.
        colours: CSS colours of the features from -128 to 127.
        clips: words and WAV, as data URI, of sounds at the front end's rate.
    """

    name: str
    module: str
    labels: Sequence[str]
    events: Sequence[bool]
    frequencies: tuple[str, str]
    samples_as_features: bool
    colours: Sequence[str]
    clips: Sequence[tuple[str, str]]

    @property
    def facts(self) -> dict[str, object]:
        """What the page's script needs."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Part:
    """Blocks under one heading, the run's name where there are several runs; '' for none."""

    heading: str
    blocks: Sequence[Block]


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        explanation: how to read it, in a sentence or two.
        parts: side by side on a wide screen, below each other on a narrow one.
    """

    key: str
    title: str
    explanation: str
    parts: Sequence[Part]

    @property
    def missing(self) -> list[str]:
        """Commands that make what the section lacks."""
        blocks = (block for part in self.parts for block in part.blocks)
        return [block.command for block in blocks if isinstance(block, Note) and block.command]


def side_by_side(
    runs: Sequence[RunData], blocks: Callable[[RunData], Sequence[Block]]
) -> tuple[Part, ...]:
    """A part for each run."""
    return tuple(Part(run.name if len(runs) > 1 else "", blocks(run)) for run in runs)
