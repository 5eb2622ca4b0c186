# SPDX-License-Identifier: Apache-2.0
"""Phonemes of a text by espeak-ng, of a respelling such as ``kom-PYOO-ter``, and their distance."""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Sequence

import numpy as np

from m3net_tf.system.errors import ConfigError
from m3net_tf.wake.voices.programs import output_of


@dataclasses.dataclass(frozen=True)
class Phoneme:
    """A phoneme.

    Attributes:
        ipa: in the International Phonetic Alphabet, without stress.
        mnemonic: espeak-ng's name, without stress.
        stress: ``'`` (primary) or ``,`` (secondary) before a stressed vowel, otherwise ''.
    """

    ipa: str
    mnemonic: str
    stress: str = ""


Pronunciation = tuple[Phoneme, ...]

# IPA of English: espeak-ng's mnemonic and the phones of CMU's dictionary.
_ENGLISH = {
    "ə": ("@", "ax"),
    "ɐ": ("a#", "ax"),
    "ɜː": ("3:", "er"),
    "ɚ": ("3", "er"),
    "æ": ("a", "ae"),
    "a": ("a", "ae"),
    "ɑː": ("A:", "aa"),
    "ɒ": ("0", "aa"),
    "ʌ": ("V", "ah"),
    "ɛ": ("E", "eh"),
    "e": ("E", "eh"),
    "ɪ": ("I", "ih"),
    "ᵻ": ("I2", "ih"),
    "i": ("i", "iy"),
    "iː": ("i:", "iy"),
    "ʊ": ("U", "uh"),
    "uː": ("u:", "uw"),
    "ɔː": ("O:", "ao"),
    "oː": ("O:", "ao"),
    "eɪ": ("eI", "ey"),
    "aɪ": ("aI", "ay"),
    "ɔɪ": ("OI", "oy"),
    "aʊ": ("aU", "aw"),
    "oʊ": ("oU", "ow"),
    "əʊ": ("oU", "ow"),
    "eə": ("e@", "eh r"),
    "ɪə": ("i@", "ih r"),
    "iə": ("i@", "iy ax"),
    "ʊə": ("U@", "uh r"),
    "əl": ("@L", "ax l"),
    **{letter: (letter, letter) for letter in "bdfklmnpstvwz"},
    "ð": ("D", "dh"),
    "dʒ": ("dZ", "jh"),
    "ɡ": ("g", "g"),
    "h": ("h", "hh"),
    "j": ("j", "y"),
    "ɫ": ("l", "l"),
    "n̩": ("n-", "ax n"),
    "ŋ": ("N", "ng"),
    "ɹ": ("r", "r"),
    "r": ("r", "r"),
    "ʃ": ("S", "sh"),
    "ɾ": ("t#", "t"),
    "tʃ": ("tS", "ch"),
    "θ": ("T", "th"),
    "x": ("x", "k"),
    "ʒ": ("Z", "zh"),
    "ʔ": ("?", ""),
}
_IPA_OF_CMU = {cmu: ipa for ipa, (_, cmu) in reversed(_ENGLISH.items()) if cmu and " " not in cmu}

# Respelled English: letters → IPA, where a syllable is stressed and where it is not.
_RESPELLED = {
    "eye": "aɪ",
    "igh": "aɪ",
    "air": "eə",
    "eer": "ɪə",
    "ear": "ɪə",
    "oor": "ʊə",
    "tch": "tʃ",
    "ah": "ɑː",
    "ar": "ɑː",
    "aw": "ɔː",
    "ay": "eɪ",
    "ai": "eɪ",
    "ee": "iː",
    "ea": "iː",
    "eh": "ɛ",
    "er": "ɜː",
    "ur": "ɜː",
    "ih": "ɪ",
    "oh": "oʊ",
    "oa": "oʊ",
    "oo": "uː",
    "or": "ɔː",
    "ow": "aʊ",
    "oy": "ɔɪ",
    "oi": "ɔɪ",
    "uh": "ʌ",
    "uu": "ʊ",
    "ch": "tʃ",
    "ck": "k",
    "dh": "ð",
    "kh": "x",
    "ng": "ŋ",
    "ph": "f",
    "qu": "k w",
    "sh": "ʃ",
    "th": "θ",
    "wh": "w",
    "zh": "ʒ",
    "a": "æ",
    **{letter: letter for letter in "bdfhklmnpstvwz"},
    "c": "k",
    "e": "ɛ",
    "g": "ɡ",
    "i": "ɪ",
    "j": "dʒ",
    "o": "ɒ",
    "r": "ɹ",
    "u": "ʌ",
    "x": "k s",
    "y": "j",
}
_WEAK = {"ʌ": "ə", "ɜː": "ə"}  # in unstressed syllables
_SCHWAS, _FULL = ("ə", "ɐ"), ("ʌ", "ɒ", "ɛ", "æ")

# Place (0 lips to 1 glottis), manner and voice of consonants.
_PLACES = (
    "pbmɸβʍw",
    "fvɱ",
    "θð",
    "tdnszɾlɹrɬɫɮ",
    "ʃʒɻʂʐɖʈɳɕʑ",
    "cɟɲçʝjʎ",
    "kɡŋxɣɰg",
    "qɢɴχʁʀ",
    "hɦʔħʕ",
)
_MANNERS = ("pbtdʈɖcɟkɡgqɢʔ", "mɱnɳɲŋɴ", "ɸβfvθðszʃʒʂʐɕʑçʝxɣχʁħʕhɦɬɮ", "wʍɹɻjɰlɫʎ", "ɾrʀ")
_VOICELESS = "ptʈckqʔɸfθsʃʂɕçxχħhɬʍ"
# Height (0 open to 1 close) and backness (0 front to 1 back) of vowels.
_VOWELS = {
    "i": (1.0, 0.0),
    "y": (1.0, 0.1),
    "ɨ": (1.0, 0.5),
    "ʉ": (1.0, 0.6),
    "ɯ": (1.0, 0.9),
    "u": (1.0, 1.0),
    "ɪ": (0.8, 0.2),
    "ᵻ": (0.8, 0.4),
    "ʏ": (0.8, 0.3),
    "ʊ": (0.8, 0.8),
    "e": (0.65, 0.05),
    "ø": (0.65, 0.2),
    "ɘ": (0.6, 0.5),
    "ɤ": (0.65, 0.9),
    "o": (0.65, 1.0),
    "ə": (0.5, 0.5),
    "ɚ": (0.5, 0.55),
    "ɛ": (0.4, 0.1),
    "œ": (0.4, 0.25),
    "ɜ": (0.4, 0.5),
    "ɝ": (0.4, 0.55),
    "ʌ": (0.35, 0.75),
    "ɔ": (0.35, 1.0),
    "æ": (0.15, 0.15),
    "ɐ": (0.25, 0.5),
    "a": (0.0, 0.3),
    "ɑ": (0.0, 0.9),
    "ɒ": (0.05, 1.0),
}
_WEAK_COST = 0.5
_WEAKLY_HEARD = frozenset("əɐhʔɹrɚ")
_LANGUAGE_MARK = re.compile(r"\([a-z-]+\)")  # before and after a word of another language
_STRESSES = {"ˈ": "'", "ˌ": ","}


def pronunciations(texts: Sequence[str], language: str) -> list[Pronunciation]:
    """Phonemes of texts by espeak-ng.

    Args:
        texts: words or phrases without line breaks.

    Returns:
        Phonemes of each text; none if the signs of espeak-ng and of the phonetic alphabet differ,
        as in languages with tones.

    Raises:
        ConfigError: espeak-ng has no such language.
        DataError: espeak-ng fails.
    """
    lines = "\n".join(texts)
    command = ["espeak-ng", "-q", "-v", language, "--sep=_"]
    names, sounds = (
        output_of([*command, option], lines).decode().strip("\n").split("\n")
        for option in ("-x", "--ipa")
    )
    if not len(texts) == len(names) == len(sounds):
        raise ConfigError("espeak-ng says a text in several sentences: give single phrases")
    return [_from_espeak(*pair) for pair in zip(names, sounds, strict=True)]


def corrected(text: str, language: str) -> Pronunciation:
    """Phonemes that a user gives.

    Args:
        text: a respelling, see :func:`respelled`, or espeak-ng's own phonemes in two pairs of
            brackets, as ``[[k@mpj'u:t@]]``, in any language.

    Raises:
        ConfigError: the text has another form, or a respelling is not for English.
    """
    if text.startswith("[["):
        return pronunciations([text], language)[0]
    if language.partition("-")[0] != "en":
        raise ConfigError(
            f"{text!r} is a respelling, which only English has: give espeak-ng's phonemes, "
            "[[...]], which espeak-ng -x prints"
        )
    return respelled(text)


def respelled(text: str) -> Pronunciation:
    """Phonemes of an English respelling.

    Args:
        text: syllables between hyphens, the stressed one in capitals, as ``kom-PYOO-ter``; words
            between spaces.

    Raises:
        ConfigError: a letter has no sound.
    """
    phonemes: list[Phoneme] = []
    for syllable in re.findall(r"[^-\s]+", text):
        stressed = syllable.isupper()
        for ipa in _sounds(syllable.lower(), text):
            if not stressed:
                ipa = _WEAK.get(ipa, ipa)
            stress = "'" if stressed and ipa[0] in _VOWELS else ""
            phonemes.append(Phoneme(ipa, _ENGLISH[ipa][0], stress))
    if not phonemes:
        raise ConfigError(f"{text!r} has no syllable: give a respelling, as kom-PYOO-ter")
    return tuple(phonemes)


def careful(said: Pronunciation, rng: np.random.Generator) -> Pronunciation:
    """English with a full vowel in place of each schwa but a last one, as in careful speech."""
    vowels = rng.choice(_FULL, len(said)).tolist()
    changed = [
        Phoneme(vowel, _ENGLISH[vowel][0]) if each.ipa in _SCHWAS else each
        for each, vowel in zip(said, vowels, strict=True)
    ]
    return (*changed[:-1], *said[-1:])


def espeak_text(pronunciation: Pronunciation) -> str:
    """Phonemes as espeak-ng reads them in a text, ``[[k@mpj'u:t@]]``."""
    return f"[[{'|'.join(phoneme.stress + phoneme.mnemonic for phoneme in pronunciation)}]]"


def ipa_text(pronunciation: Pronunciation) -> str:
    """Phonemes in one IPA word, ``kəmpjˈuːtə``."""
    marks = {mark: ipa for ipa, mark in _STRESSES.items()}
    return "".join(marks.get(phoneme.stress, "") + phoneme.ipa for phoneme in pronunciation)


def cmu_phones(pronunciation: Pronunciation) -> list[str]:
    """Phonemes as the phones of CMU's dictionary, in lower case and without stress.

    A phoneme that it lacks becomes the phone that sounds most like it.
    """
    sounds = (ipa for phoneme in pronunciation for ipa in _english(phoneme.ipa))
    return [phone for ipa in sounds for phone in _ENGLISH[ipa][1].split()]


def from_cmu(phones: Sequence[str]) -> list[str]:
    """IPA of CMU's phones; unknown ones, such as pauses, are left out."""
    return [_IPA_OF_CMU[phone] for phone in phones if phone in _IPA_OF_CMU]


def distance(one: Sequence[str], other: Sequence[str], *, within: bool = False) -> float:
    """How differently two phoneme sequences sound: a weighted edit distance (Levenshtein's).

    A replaced phoneme costs 0 to 1 by how far the two are apart in place, manner and voice, or in
    height and backness; a left out or added one costs 1, or half if it is hardly heard (schwa, h).

    Args:
        within: compare with the most similar part of ``other`` instead of the whole.
    """
    costs = list(itertools.accumulate(map(_alone, other), initial=0.0))
    if within:
        costs = [0.0] * len(costs)
    for phoneme in one:
        row = [costs[0] + _alone(phoneme)]
        for index, rival in enumerate(other):
            row.append(
                min(
                    costs[index + 1] + _alone(phoneme),
                    row[-1] + _alone(rival),
                    costs[index] + difference(phoneme, rival),
                )
            )
        costs = row
    return min(costs) if within else costs[-1]


@functools.cache
def difference(one: str, other: str) -> float:
    """How differently two phonemes in IPA sound, 0 to 1."""
    if one == other:
        return 0.0
    if is_vowel(one) != is_vowel(other):
        return 1.0
    if is_vowel(one):
        ends = zip(_vowel_ends(one), _vowel_ends(other), strict=True)
        return min(1.0, sum(math.dist(*pair) for pair in ends) / 2)
    apart = min(1.0, abs(_place(one) - _place(other)) / 3)
    manner = _manner(one) != _manner(other)
    voice = _voice(one) != _voice(other)
    return 0.4 * apart + 0.4 * manner + 0.2 * voice


def is_vowel(ipa: str) -> bool:
    """Whether a phoneme in IPA is a vowel or diphthong."""
    return ipa[0] in _VOWELS


def _vowel_ends(ipa: str) -> list[tuple[float, float]]:
    """Height and backness of a vowel at its start and end."""
    ends = [_VOWELS[letter] for letter in ipa if letter in _VOWELS]
    return [ends[0], ends[-1]]


def _place(ipa: str) -> int:
    return next((index for index, letters in enumerate(_PLACES) if ipa[0] in letters), -3)


def _manner(ipa: str) -> str:
    if len(ipa) > 1 and _manner(ipa[0]) == "0" and _manner(ipa[1]) == "2":
        return "affricate"
    return str(next((index for index, letters in enumerate(_MANNERS) if ipa[0] in letters), -1))


def _voice(ipa: str) -> bool:
    return ipa[0] not in _VOICELESS


def _alone(ipa: str) -> float:
    """Cost of a phoneme that only one of two sequences has."""
    return _WEAK_COST if ipa in _WEAKLY_HEARD else 1.0


def _from_espeak(mnemonics: str, sounds: str) -> Pronunciation:
    """Phonemes of a line of espeak-ng's mnemonics and the same line in IPA; none if they differ."""
    names, signs = (
        re.split(" +|_", _LANGUAGE_MARK.sub("", line).strip()) for line in (mnemonics, sounds)
    )
    if len(names) != len(signs):
        # In IPA a palatal consonant is one sign.
        names = "_".join(names).replace("_;", ";").split("_")
    if len(names) != len(signs):
        return ()
    phonemes = []
    for name, sound in zip(names, signs, strict=True):
        stress = name[0] if name[:1] in ("'", ",") else ""
        mnemonic = name.strip("',")
        ipa = "".join(sign for sign in sound if sign not in _STRESSES)
        if mnemonic and ipa:
            phonemes.append(Phoneme(ipa, mnemonic, stress))
    return tuple(phonemes)


def _english(ipa: str) -> list[str]:
    """English phonemes of IPA without stress, longest first; the nearest one for any other."""
    sounds = []
    start = 0
    while start < len(ipa):
        size = next((size for size in (2, 1) if ipa[start : start + size] in _ENGLISH), 0)
        if not size:
            return [min(_ENGLISH, key=lambda english: difference(ipa, english))]
        sounds.append(ipa[start : start + size])
        start += size
    return sounds


def _sounds(syllable: str, text: str) -> list[str]:
    """IPA of a respelled syllable; longer spellings go first, and doubled letters count once."""
    sounds: list[str] = []
    start = 0
    while start < len(syllable):
        if syllable[start:] == "y" and sounds:  # my
            return [*sounds, "aɪ"]
        size = next((size for size in (3, 2, 1) if syllable[start : start + size] in _RESPELLED), 0)
        if not size:
            raise ConfigError(f"{text!r} has {syllable[start]!r}, which has no sound: respell it")
        for sound in _RESPELLED[syllable[start : start + size]].split():
            if sounds[-1:] != [sound]:
                sounds.append(sound)
        start += size
    return sounds
