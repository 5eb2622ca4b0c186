# SPDX-License-Identifier: Apache-2.0
"""Texts that a wake word must be told from: parts of it, words that sound alike, other speech."""

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from m3net_tf.wake.voices.phonemes import (
    Phoneme,
    Pronunciation,
    difference,
    distance,
    ipa_text,
    is_vowel,
    pronunciations,
)

Kind = Literal["phrase", "part", "word", "changed", "other", "foreign", "class"]
DIFFERENT = 1.0
"""Smallest phoneme distance of other words; accents of one word are nearer to each other."""
CHANGED = 0.25
"""Smallest distance of a phrase with changed phonemes, as a share of its phonemes.

It is not a word, so that people hear the word which it resembles.
"""
_SHARES: dict[Kind, float] = {"part": 0.15, "word": 0.25, "changed": 0.25}  # the rest is other
_WORD_FILES = {
    "en": ("american-english", "british-english", "words"),
    "de": ("ngerman", "ogerman"),
    "es": ("spanish",),
    "fr": ("french",),
    "it": ("italian",),
}
_WORD_FOLDER = Path("/usr/share/dict")
_SPELT_ALIKE = 1500  # words for each word of a phrase whose phonemes are compared
_NEAREST = 100  # words for each word of a phrase
_LONGER = 2  # phonemes that a word which sounds alike has more or fewer
_REPLACED = (0.2, 0.8)  # difference between a phoneme and the one that replaces it
_NUMBERS = 10_000
_UNLIKE = 1.5  # smallest distance of a word that is a class of its own
_UNLIKE_LENGTHS = range(4, 10)  # phonemes of such a word
_UNLIKE_TRIES = 20  # drawn words for each of them


@dataclasses.dataclass(frozen=True)
class Line:
    """What is spoken.

    Attributes:
        text: the text, or its phonemes in IPA.
        kind: the ``phrase`` itself, a ``part`` of it, a ``word`` that sounds alike, the phrase
            with ``changed`` phonemes, ``other`` speech, ``foreign`` voices, or a word that is a
            ``class`` of its own.
        pronunciation: phonemes that are spoken instead of the text's own; only a synthesiser that
            takes phonemes can.
    """

    text: str
    kind: Kind
    pronunciation: Pronunciation = ()


def installed_words(language: str) -> list[str]:
    """Words of a word list of the system; none if the language has none there."""
    for name in _WORD_FILES.get(language.partition("-")[0], ()):
        path = _WORD_FOLDER / name
        if path.is_file():
            words = path.read_text(encoding="utf-8", errors="ignore").split()
            return [word for word in words if word.isalpha() and word.islower() and len(word) > 1]
    return []


def near_phrases(
    phrases: Mapping[str, Pronunciation],
    language: str,
    count: int,
    rng: np.random.Generator,
    words: Sequence[str] = (),
) -> list[Line]:
    """Texts for ``count`` clips, in random order; the nearest ones repeat.

    Args:
        phrases: the wake words and their phonemes.
        rng: random generator; equal states give equal texts.
        words: words of the language, such as :func:`installed_words`.
    """
    if not count:
        return []  # sparing the pronunciation of thousands of words
    apart = _distance_from(phrases)
    alike = _spelt_alike(words, phrases)
    spoken = dict(zip(alike, pronunciations(alike, language), strict=True)) if alike else {}
    numbers = pronunciations([str(number) for number in range(100)], language)
    known = {each.ipa: each for said in (*numbers, *spoken.values()) for each in said}
    known |= {each.ipa: each for said in phrases.values() for each in said}
    candidates: dict[Kind, list[Line]] = {
        "part": [each for each in _parts(phrases) if apart(each.pronunciation) >= DIFFERENT],
        "word": list(_alike(phrases, spoken, language)),
    }
    texts: list[Line] = []
    for kind, share in _SHARES.items():
        wanted = round(share * count)
        if kind == "changed":
            texts += _changed(list(phrases.values()), list(known.values()), wanted, rng, apart)
        elif found := candidates[kind]:
            texts += [found[index % len(found)] for index in range(wanted)]
    texts += other_speech(count - len(texts), rng, words)
    return [texts[index] for index in rng.permutation(len(texts))]


def other_speech(
    count: int, rng: np.random.Generator, words: Sequence[str] = (), kind: Kind = "other"
) -> list[Line]:
    """Texts of random words for ``count`` clips.

    Args:
        words: words of the language, such as :func:`installed_words`.
    """
    return [Line(_random_text(words, rng), kind) for _ in range(count)]


def unlike_words(
    phrases: Mapping[str, Pronunciation],
    language: str,
    count: int,
    rng: np.random.Generator,
    words: Sequence[str],
) -> list[str]:
    """Random words that sound unlike the phrases; fewer if there are not so many.

    As classes of their own they teach a network what tells words apart.

    Args:
        words: words of the language, such as :func:`installed_words`.
    """
    drawn = [words[index] for index in rng.permutation(len(words))[: _UNLIKE_TRIES * count]]
    apart = _distance_from(phrases)
    spoken = pronunciations(drawn, language) if drawn else []
    unlike = [
        word
        for word, said in zip(drawn, spoken, strict=True)
        if len(said) in _UNLIKE_LENGTHS and apart(said) >= _UNLIKE
    ]
    return unlike[:count]


def _distance_from(phrases: Mapping[str, Pronunciation]) -> Callable[[Pronunciation], float]:
    """The distance of a text from the phrase that it is nearest to."""
    sounds = [[phoneme.ipa for phoneme in phrase] for phrase in phrases.values()]

    def apart(pronunciation: Pronunciation) -> float:
        heard = [phoneme.ipa for phoneme in pronunciation]
        return min(distance(phrase, heard, within=True) for phrase in sounds)

    return apart


def _spelt_alike(words: Sequence[str], phrases: Iterable[str]) -> list[str]:
    """Words that share most pairs of letters with a word of a phrase (Dice's coefficient)."""
    pairs = {word: {*itertools.pairwise(word)} for word in words}
    chosen: dict[str, None] = {}
    for part in " ".join(phrases).lower().split():
        own = {*itertools.pairwise(part)}
        shares = {
            word: len(own & letters) / (len(own) + len(letters) or 1)
            for word, letters in pairs.items()
        }
        chosen |= dict.fromkeys(heapq.nlargest(_SPELT_ALIKE, shares, shares.__getitem__))
    return list(chosen)


def _parts(phrases: Mapping[str, Pronunciation]) -> Iterator[Line]:
    """Beginnings and ends of the phrases, cut between syllables."""
    for phrase in phrases.values():
        vowels = [index for index, phoneme in enumerate(phrase) if is_vowel(phoneme.ipa)]
        for before, vowel in itertools.pairwise(vowels):
            cut = max(before + 1, vowel - 1)
            for part in (phrase[:cut], phrase[cut:]):
                yield Line(ipa_text(part), "part", part)


def _alike(
    phrases: Mapping[str, Pronunciation],
    spoken: Mapping[str, Pronunciation],
    language: str,
) -> Iterator[Line]:
    """The phrases with one of their words replaced by those that sound most like it."""
    for phrase in phrases:
        parts = phrase.split()
        for index, said in enumerate(pronunciations(parts, language)):
            heard = [phoneme.ipa for phoneme in said]
            rivals = []
            for word, rival in spoken.items():
                if abs(len(rival) - len(said)) <= _LONGER:
                    apart = distance(heard, [phoneme.ipa for phoneme in rival], within=True)
                    if apart >= DIFFERENT:
                        rivals.append((apart, word))
            for _, word in sorted(rivals)[:_NEAREST]:
                yield Line(" ".join([*parts[:index], word, *parts[index + 1 :]]), "word")


def _changed(
    phrases: Sequence[Pronunciation],
    known: Sequence[Phoneme],
    count: int,
    rng: np.random.Generator,
    apart: Callable[[Pronunciation], float],
) -> Iterator[Line]:
    """Phrases with a few phonemes left out or replaced by similar ones of the language."""
    for number in range(count):
        phrase = phrases[number % len(phrases)]
        changed = phrase
        while apart(changed) < max(DIFFERENT, CHANGED * len(phrase)):
            changed = _with_a_change(changed, known, rng)
            if 2 * len(changed) < len(phrase):
                changed = phrase
        yield Line(ipa_text(changed), "changed", changed)


def _with_a_change(
    phrase: Pronunciation, known: Sequence[Phoneme], rng: np.random.Generator
) -> Pronunciation:
    place = int(rng.integers(len(phrase)))
    old = phrase[place]
    similar = [
        each for each in known if _REPLACED[0] <= difference(old.ipa, each.ipa) <= _REPLACED[1]
    ]
    new: Pronunciation = ()
    if similar and rng.random() < 0.8:
        chosen = similar[int(rng.integers(len(similar)))]
        new = (dataclasses.replace(chosen, stress=old.stress),)
    return (*phrase[:place], *new, *phrase[place + 1 :])


def _random_text(words: Sequence[str], rng: np.random.Generator) -> str:
    """One to eight random words, or a number, which every language has without a list."""
    if not words or rng.random() < 0.2:
        return str(rng.integers(_NUMBERS))
    chosen = rng.integers(len(words), size=int(rng.integers(1, 9)))
    return " ".join(words[index] for index in chosen)
