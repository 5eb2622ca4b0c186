# SPDX-License-Identifier: Apache-2.0
"""Sounds that are learnt from a few examples, without training.

The prototype of a sound is the sum of a network's outputs for its examples. Its score for a new
sound is the cosine between the sound's output and the prototype (J. Snell, K. Swersky and R. Zemel,
"Prototypical Networks for Few-shot Learning", 2017, equation 1). ``firmware/core/prototypes.c``
gives the same scores, also of :class:`NormalSounds`: these have many prototypes and one score, the
distance from the nearest.

A word's threshold is the lowest at which no sound of a background has the word. Three hours then
show that it has at most one false accept an hour there (95 %, one-sided: 3 / hours).
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.runtime.detector_config import DetectorConfig, at_threshold
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.errors import DataError, ModelError

BACKGROUND = "background_int8.bin"
"""File of an export with the background: a row of int8 outputs for each sound."""
WORDS = "words.json"
"""File of an export with the words that are enrolled."""

NAME_BYTES = 15
"""Longest name of a word, in UTF-8."""
MOST_EXAMPLES = 100
"""Most examples of a word, so that the firmware's 16-bit sums do not overflow."""
UNUSUAL = "unusual"
"""Class of sounds that are far from all normal ones."""
_TOP = 255  # score of a cosine of 1, above the lowest score
_SQUARES_LIMIT = 1 << 46


class _Saved(TypedDict):
    """A word of :data:`WORDS`."""

    place: int
    name: str
    examples: int
    sums: list[int]


@dataclasses.dataclass
class _Word:
    name: str
    examples: int
    sums: npt.NDArray[np.int64]


class Prototypes:
    """The words that were enrolled.

    Args:
        zero_point: zero point of the network's output.
        background: the network's outputs for hours of sounds without the words, shape (sounds,
            classes).
    """

    def __init__(
        self, slots: int, zero_point: int, background: npt.NDArray[np.int8] | None = None
    ) -> None:
        self._words: list[_Word | None] = [None] * slots
        self._zero_point = zero_point
        self._background = background

    @property
    def names(self) -> tuple[str, ...]:
        """The word in each place; empty where the place is free."""
        return tuple(word.name if word else "" for word in self._words)

    def add(self, name: str, output: npt.NDArray[np.int8]) -> None:
        """Add an example of a word, which takes the first free place if it is new.

        Args:
            output: the network's output for the example, shape (classes,).

        Raises:
            DataError: the name is empty, too long or not one word, no place is free, or the word
                has :data:`MOST_EXAMPLES` examples.
        """
        if not 0 < len(name.encode()) <= NAME_BYTES or name.split() != [name]:
            raise DataError(f"{name!r} is not a name: give one word of at most {NAME_BYTES} bytes")
        if name not in self.names:
            if "" not in self.names:
                raise DataError(f"{name}: all {len(self._words)} places are taken: delete a word")
            self._words[self.names.index("")] = _Word(name, 0, np.zeros(output.shape, np.int64))
        word = self._words[self.names.index(name)]
        assert word is not None
        if word.examples == MOST_EXAMPLES:
            raise DataError(f"{name} has {MOST_EXAMPLES} examples: delete it first")
        word.examples += 1
        word.sums += self._centred(output)

    def restore(self, place: int, name: str, sums: npt.NDArray[np.int16], examples: int) -> None:
        """Put a word in its place, as a board has it.

        Args:
            sums: sums of the outputs for its examples, without the zero point, shape (classes,).
        """
        self._words[place] = _Word(name, examples, sums.astype(np.int64))

    def save(self, folder: str | Path) -> None:
        """Write the words into the folder of their export, where a classifier reads them."""
        saved = [
            _Saved(place=place, name=word.name, examples=word.examples, sums=word.sums.tolist())
            for place, word in enumerate(self._words)
            if word
        ]
        write_json(Path(folder) / WORDS, saved)

    def load(self, folder: Path, outputs: int) -> None:
        """Put the words that :meth:`save` wrote into their places; none without the file.

        Args:
            outputs: number of the network's outputs.

        Raises:
            DataError: the file is damaged or of another network.
        """
        path = folder / WORDS
        if not path.is_file():
            return
        for word in read_json(path, list[_Saved]):
            place, sums = word["place"], word["sums"]
            fits = len(sums) == outputs and max(map(abs, sums)) < 1 << 15
            if not fits or place not in range(len(self._words)):
                raise DataError(f"{path} is of another network: delete it, and enrol again")
            self.restore(place, word["name"], np.array(sums, np.int16), word["examples"])

    def forget(self, name: str) -> None:
        """Forget a word.

        Raises:
            DataError: it is not known.
        """
        if not name or name not in self.names:
            known = ", ".join(filter(None, self.names)) or "none"
            raise DataError(f"{name} is not enrolled; known words: {known}")
        self._words[self.names.index(name)] = None

    def scores(self, outputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """Score of each place for sounds: -128 + floor(255 * cosine), at least -128.

        Args:
            outputs: the network's outputs for the sounds, shape (sounds, classes).

        Returns:
            Shape (sounds, places).
        """
        centred = self._centred(outputs)
        scores = np.zeros((len(outputs), len(self._words)), np.int64)
        for place, word in enumerate(self._words):
            if word:
                scores[:, place] = _cosines(centred, word.sums)
        return (scores - 128).astype(np.int8)

    def detector(self, exported: DetectorConfig) -> DetectorConfig:
        """Settings of live detection in which each word has its own threshold.

        Args:
            exported: the settings of the export, which stay where there is no background.
        """
        if self._background is None:
            return exported
        highest = self.scores(self._background).max(axis=0)
        classes = [
            at_threshold(settings, min((int(score) + 129) / 256, 1.0)) if word else settings
            for settings, score, word in zip(exported.classes, highest, self._words, strict=True)
        ]
        return dataclasses.replace(exported, classes=tuple(classes))

    def _centred(self, outputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
        return outputs.astype(np.int64) - self._zero_point


@dataclasses.dataclass(frozen=True, eq=False)
class NormalSounds:
    """Prototypes of normal sounds.

    Attributes:
        prototypes: without the zero point, shape (prototypes, outputs).
        zero_point: zero point of the network's output.
    """

    prototypes: npt.NDArray[np.int16]
    zero_point: int

    @classmethod
    def from_rows(cls, rows: Sequence[str], zero_point: int) -> "NormalSounds":
        """Read a manifest's ``normal_prototypes``: each in hexadecimal, little-endian."""
        values = np.frombuffer(bytes.fromhex("".join(rows)), "<i2")
        return cls(values.reshape(len(rows), -1).astype(np.int16), zero_point)

    @property
    def rows(self) -> tuple[str, ...]:
        """What :meth:`from_rows` reads."""
        return tuple(row.astype("<i2").tobytes().hex() for row in self.prototypes)

    def scores(self, outputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """Scores of :data:`UNUSUAL`: -128 + floor(255 * sine of the angle).

        The angle is the one to the nearest prototype, at most a right angle. The sine tells small
        angles apart, whose cosines are all near 1.

        Args:
            outputs: the network's outputs for the sounds, shape (sounds, classes).

        Returns:
            Shape (sounds, 1).
        """
        centred = outputs.astype(np.int64) - self.zero_point
        nearest = np.full(len(outputs), _TOP)
        for prototype in self.prototypes.astype(np.int64):
            nearest = np.minimum(nearest, _sines(centred, prototype))
        return (nearest - 128).astype(np.int8)[:, None]


def _cosines(outputs: npt.NDArray[np.int64], sums: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """255 times the cosines, rounded down as the firmware does; 0 where they are negative."""
    dots, both = _squares(outputs, sums)
    return np.asarray(np.minimum(np.sqrt(dots * _TOP**2 // both), _TOP), np.int64)


def _sines(outputs: npt.NDArray[np.int64], sums: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """255 times the sines, rounded down as the firmware does; 255 where cosines are negative."""
    dots, both = _squares(outputs, sums)
    return np.asarray(np.sqrt((both - dots) * _TOP**2 // both), np.int64)


def _squares(
    outputs: npt.NDArray[np.int64], sums: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Squares of dot products, and the products of the squared lengths, as the firmware has them.

    The first is 0 and the second 1 or more where the cosine is not positive.
    """
    dots = np.maximum(outputs @ sums, 0)
    both = (outputs * outputs).sum(axis=1) * int(sums @ sums)
    while (large := both >= _SQUARES_LIMIT).any():
        both[large] //= 4
        dots[large] //= 2
    return dots * dots, np.maximum(both, 1)


def read_background(folder: Path, classes: int) -> npt.NDArray[np.int8] | None:
    """The background of an export, shape (sounds, classes); None if it has none.

    Raises:
        ModelError: the file is damaged.
    """
    path = folder / BACKGROUND
    if not path.is_file():
        return None
    values = np.frombuffer(path.read_bytes(), np.int8)
    if not len(values) or len(values) % classes:
        raise ModelError(f"{path} is damaged: export again")
    return values.reshape(-1, classes)
