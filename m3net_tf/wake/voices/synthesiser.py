# SPDX-License-Identifier: Apache-2.0
"""What every speech synthesiser does: a voice and a text → samples."""

import abc
import dataclasses

from m3net_tf.audio.datasets.audio import Audio
from m3net_tf.wake.voices.phonemes import Pronunciation


@dataclasses.dataclass(frozen=True)
class Voice:
    """A voice of a synthesiser.

    Attributes:
        speaker: who is heard: ``PROGRAM_NAME``, or ``cmu_NAME`` for people whose recordings
            several programs use. Voices of one speaker, such as one throat in several accents,
            never stand on both sides of a split.
    """

    name: str
    speaker: str


@dataclasses.dataclass(frozen=True)
class Speech:
    """What a voice says, and how.

    Attributes:
        pronunciation: phonemes that are spoken instead, if the synthesiser takes them.
        rate: tempo relative to the voice's own.
        pitch: pitch relative to the voice's own, where the program has such a setting.
    """

    text: str
    pronunciation: Pronunciation = ()
    rate: float = 1.0
    pitch: float = 1.0


class Synthesiser(abc.ABC):
    """Speaks texts.

    Attributes:
        licence: licence of the program, or of its voices if those have another.
        takes_phonemes: whether it speaks given phonemes.
        is_slow: whether a word takes it about a second.
    """

    name: str
    licence: str
    takes_phonemes = False
    is_slow = False

    @abc.abstractmethod
    def voices(self, language: str) -> list[Voice]:
        """Voices of a language (``en``) or one of its varieties (``en-gb``)."""

    @abc.abstractmethod
    def speak(self, voice: Voice, speech: Speech) -> tuple[Audio, int]:
        """Speak with one of the synthesiser's voices.

        Returns:
            float32 samples of shape (samples,), and their rate in Hz.

        Raises:
            DataError: the synthesiser fails.
        """

    def pronounced(self, voice: Voice, text: str) -> list[str] | None:
        """Phonemes in IPA that the voice says for a text; None if the program does not tell."""
        del voice, text
        return None


def covers(language: str, spoken: str) -> bool:
    """Whether a voice of a variety speaks a language: ``en-us`` speaks ``en`` and ``en-us``."""
    return spoken == language or spoken.startswith(f"{language}-")
