# SPDX-License-Identifier: Apache-2.0
"""Speaks wake words and near phrases in many voices into a folder, as labelled clips."""

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from m3net_tf.audio.datasets.audio import Audio, resampled, to_pcm16, wav_bytes
from m3net_tf.audio.datasets.pitch import HIGH_HZ, pitch_hz
from m3net_tf.audio.datasets.protocols import rank
from m3net_tf.system.artifacts import read_json, write_bytes, write_json
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.system.threads import WORKERS, map_ahead
from m3net_tf.system.words import counted
from m3net_tf.wake.voices.near import (
    Line,
    installed_words,
    near_phrases,
    other_speech,
    unlike_words,
)
from m3net_tf.wake.voices.phonemes import (
    Pronunciation,
    careful,
    corrected,
    distance,
    ipa_text,
    pronunciations,
)
from m3net_tf.wake.voices.synthesis import Espeak, available, other_languages
from m3net_tf.wake.voices.synthesiser import Speech, Synthesiser, Voice, covers
from m3net_tf.wake.voices.variety import RATE_HZ, Float, distinct, timbre, variety

RECORD_NAME = "voices.json"
NEAR_FOLDER, WORDS_FOLDER, FOREIGN_FOLDER = "_near_", "_words_", "_foreign_"
_WORD_COUNT = 30  # clips of each word that is also recorded
_UNLIKE_COUNT = 250  # clips of each random word
_UNLIKE_SHARE = 16 / 3000  # number of random words, for each clip of other texts
_FOREIGN_SHARE = 0.5  # clips of voices of other languages, for each clip of other texts
_SLOW_SHARES = {"phrase": 1.0, "other": 0.0, "foreign": 0.0}  # of a slow synthesiser's clips, ...
_SLOW_SHARE = 0.5  # ... for each that it would have if it were fast; the last two are long
_VALIDATION_SHARE = 0.2
_RATES, _PITCHES = (0.6, 1.25), (0.8, 1.3)
_CAREFUL = 0.3  # share of clips of a phrase with full vowels
_INTONATIONS = ("", ".", "?", "!")  # signs that change the melody of most synthesisers
_LEVEL_DB = -26.0
_LOUDEST = 0.98
_SILENT_DB, _MARGIN_S = -45.0, 0.05  # of the loudest 10 ms; left at both ends
_FEWEST_PHONEMES = 4
_MISSAID, _CORRECTED = 0.2, 0.2  # largest distance: of each phoneme; of a phrase that --say gives


@dataclasses.dataclass(frozen=True)
class SpokenClip:
    """What is spoken in a file, and how.

    Attributes:
        text: what is spoken, with a sign that draws its intonation.
        phonemes: in IPA; '' if the synthesiser chose them.
        kind: ``phrase``, or the kind of a near phrase.
        speaker: who is heard; the group of the clip.
        split: ``train`` or ``validation``, the same for all clips of a speaker.
    """

    path: str
    text: str
    phonemes: str
    kind: str
    synthesiser: str
    voice: str
    speaker: str
    split: str
    rate: float
    pitch: float
    licence: str


@dataclasses.dataclass(frozen=True)
class SpokenVoices:
    """What :func:`say_phrases` has written.

    Attributes:
        phonemes: phonemes of each phrase, in IPA.
        speakers: number of speakers that sound different.
        variety: their effective number; see :func:`.variety.variety`.
        left_out: a line for each synthesiser or speaker that does not speak, and why.
    """

    clips: tuple[SpokenClip, ...]
    phonemes: dict[str, str]
    speakers: int
    variety: float
    left_out: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Speaker:
    """A speaker with its voices, and whether they are high."""

    synthesiser: Synthesiser
    name: str
    voices: tuple[Voice, ...]
    split: str = "train"
    is_high: bool = False


@dataclasses.dataclass(frozen=True)
class _Planned:
    """A clip that is to be spoken; without phonemes the synthesiser pronounces the text."""

    clip: SpokenClip
    synthesiser: Synthesiser
    voice: Voice
    pronunciation: Pronunciation


@writes_into("folder", makes=True)
def say_phrases(
    phrases: Sequence[str],
    folder: Path,
    *,
    language: str = "en",
    count: int = 1500,
    near_count: int = 3000,
    words: Sequence[str] = (),
    seed: int = 0,
    say: Mapping[str, str] | None = None,
    models: Sequence[Path] = (),
    log: Log = silent,
) -> SpokenVoices:
    """Speak each phrase and texts near to them: ``FOLDER/<phrase>/*.wav``, ``FOLDER/_near_/*.wav``.

    Words that are classes of their own are spoken, too: ``FOLDER/_words_/<word>/*.wav``. They are
    those given, or random words of the language. ``FOLDER/_foreign_/*.wav`` are random words read
    by the rules of other languages, whose speech has other sounds.

    Files are mono, 16 kHz and 16 bits, with the level -26 dB and short pauses at both ends.
    ``FOLDER/voices.json`` records each. A complete folder stays as it is, with the synthesisers of
    its time. Otherwise, files with an unchanged record are kept, and those that are no longer
    asked for are removed.

    Args:
        language: as ``en`` (all its varieties) or ``en-us``.
        count: clips of each phrase.
        near_count: clips of other texts; voices of other languages speak half as many more.
        words: words of which there are recordings; each is a class of its own.
        seed: draws voices, tempo, pitch, texts and the split.
        say: how phrases are said; see :func:`.phonemes.corrected`.
        models: voices in files; see :func:`.synthesis.available`.

    Raises:
        ConfigError: espeak-ng is not installed, or a phrase cannot be spoken or is too short.
        DataError: no voice speaks.
    """
    names = folder_names(phrases)
    asked: dict[str, Any] = {
        "phrases": list(phrases),
        "language": language,
        "count": count,
        "near_count": near_count,
        "words": list(words),
        "seed": seed,
        "say": dict(say or {}),
        "models": [str(path) for path in models],
    }
    if earlier := _earlier(folder, asked):
        return earlier
    synthesisers = available(models)
    wanted = _pronounced(phrases, language, say or {}, log)
    left_out: list[str] = []
    spoken_as = _ways(synthesisers, wanted, language, say or {}, left_out, log)
    ready = [each for each in synthesisers if (each.name, phrases[0]) in spoken_as]
    speakers, timbres = _audition(ready, phrases[0], spoken_as, language, left_out, log)
    if not speakers:
        raise DataError(f"no voice of {language!r} says {phrases[0]!r}: {'; '.join(left_out)}")
    speakers = _with_splits(speakers, seed)
    score = variety(timbres)
    counts = Counter(speaker.synthesiser.name for speaker in speakers)
    log(
        f"voices: {', '.join(f'{number} of {name}' for name, number in counts.items())}; together "
        f"as different as {score:.0f} voices that have nothing in common"
    )
    for line in left_out:
        log(f"left out: {line}")

    planned: list[_Planned] = []
    for phrase, name in names.items():
        rng = np.random.default_rng([seed, *phrase.encode()])
        lines = _phrase_lines(phrase, wanted[phrase], count, language, rng)
        planned += _plan(lines, name, speakers, spoken_as, rng)
    rng = np.random.default_rng([seed, near_count])
    known = installed_words(language)
    if not known:
        log(
            f"no words of {language!r} in /usr/share/dict: near phrases are phonemes and numbers, "
            "and no random words are classes: install a word list, such as wamerican"
        )
    lines = near_phrases(wanted, language, near_count, rng, known)
    planned += _plan(lines, NEAR_FOLDER, speakers, spoken_as, rng)
    clips_of = dict.fromkeys(words, _WORD_COUNT)
    if not words:
        unlike = unlike_words(wanted, language, round(_UNLIKE_SHARE * near_count), rng, known)
        clips_of = dict.fromkeys(unlike, _UNLIKE_COUNT)
    for word, clip_count in clips_of.items():
        lines = [Line(word, "class")] * clip_count
        planned += _plan(lines, f"{WORDS_FOLDER}/{word}", speakers, spoken_as, rng)

    rng = np.random.default_rng([seed, near_count, 1])
    lines = other_speech(round(_FOREIGN_SHARE * near_count), rng, known, "foreign")
    foreign = _foreign_speakers(synthesisers, language, speakers, seed)
    planned += _plan(lines, FOREIGN_FOLDER, foreign, spoken_as, rng)

    result = SpokenVoices(
        tuple(each.clip for each in planned),
        {phrase: ipa_text(said) for phrase, said in wanted.items()},
        len(speakers),
        score,
        tuple(left_out),
    )
    _remove_changed(folder, planned)
    record = folder / RECORD_NAME
    _write_record(record, asked, result, complete=False)
    result = dataclasses.replace(result, clips=tuple(_spoken(planned, folder, log)))
    _write_record(record, asked, result, complete=True)
    return result


def folder_names(phrases: Sequence[str]) -> dict[str, str]:
    """The folder of each phrase: its letters in lower case, with ``_`` between words.

    Raises:
        ConfigError: there is no phrase, or one has other signs than letters, spaces, apostrophes
            and hyphens, or has the folder of another.
    """
    names: dict[str, str] = {}
    for phrase in phrases:
        if not re.fullmatch(r"[^\W\d_]+(?:[ '-]+[^\W\d_]+)*", phrase):
            raise ConfigError(f"the phrase {phrase!r} cannot be spoken: write it in letters")
        name = re.sub(r"[^\w]+", "_", phrase.lower())
        if name in names.values():
            raise ConfigError(f"the phrase {phrase!r} is given twice: give it once")
        names[phrase] = name
    if not names:
        raise ConfigError("no phrase is given: give one, such as 'computer'")
    return names


def _pronounced(
    phrases: Sequence[str], language: str, say: Mapping[str, str], log: Log
) -> dict[str, Pronunciation]:
    """Phonemes of each phrase, by its respelling or espeak-ng."""
    if not Espeak().voices(language):
        raise ConfigError(f"espeak-ng has no language {language!r}: espeak-ng --voices lists them")
    for phrase in say:
        if phrase not in phrases:
            raise ConfigError(f"{phrase!r} is respelled, but is not a phrase: give it as one")
    found = dict(zip(phrases, pronunciations(phrases, language), strict=True))
    found |= {phrase: corrected(text, language) for phrase, text in say.items()}
    for phrase, pronunciation in found.items():
        if not pronunciation:
            raise ConfigError(
                f"{phrase!r}: phonemes of the language {language!r} are not read: choose another"
            )
        if len(pronunciation) < _FEWEST_PHONEMES:
            raise ConfigError(
                f"{phrase!r} has {len(pronunciation)} phonemes, which are often heard by mistake: "
                f"choose a phrase of at least {_FEWEST_PHONEMES}"
            )
        log(f"{phrase}: {ipa_text(pronunciation)}")
    return found


def _ways(
    synthesisers: Sequence[Synthesiser],
    wanted: Mapping[str, Pronunciation],
    language: str,
    say: Mapping[str, str],
    left_out: list[str],
    log: Log,
) -> dict[tuple[str, str], Pronunciation]:
    """How each synthesiser says each phrase: () as it pronounces the text, or given phonemes.

    A pair without entry is left out: the synthesiser says something else and takes no phonemes. One
    that does not tell what it says is taken to say the same as espeak-ng.
    """
    ways: dict[tuple[str, str], Pronunciation] = {}
    by_text = dict(zip(wanted, pronunciations(list(wanted), language), strict=True))
    for synthesiser in synthesisers:
        try:
            voices = synthesiser.voices(language)[:1]
            told = {
                each: synthesiser.pronounced(voice, each) for voice in voices for each in wanted
            }
        except DataError as error:
            left_out.append(f"{synthesiser.name}: {error}")
            continue
        for phrase, pronunciation in wanted.items():
            said = told.get(phrase) or [each.ipa for each in by_text[phrase]]
            allowed = _CORRECTED if phrase in say else _MISSAID * len(pronunciation)
            if distance(said, [each.ipa for each in pronunciation]) <= allowed:
                ways[synthesiser.name, phrase] = ()
                continue
            line = f"{synthesiser.name} says {''.join(said)} for {phrase!r}"
            if synthesiser.takes_phonemes:
                ways[synthesiser.name, phrase] = pronunciation
                log(f"{line}: it gets the phonemes")
            else:
                left_out.append(line)
    return ways


def _audition(
    synthesisers: Sequence[Synthesiser],
    phrase: str,
    spoken_as: Mapping[tuple[str, str], Pronunciation],
    language: str,
    left_out: list[str],
    log: Log,
) -> tuple[list[_Speaker], list[Float]]:
    """The speakers that sound different, and their timbres; those that fail are left out."""
    speakers = _speakers(synthesisers, [language])

    def audition(speaker: _Speaker) -> tuple[Float, bool] | str:
        own = speaker.synthesiser
        try:
            speech = Speech(phrase, spoken_as[own.name, phrase])
            audio, rate_hz = own.speak(speaker.voices[0], speech)
            sound = finished(audio, rate_hz)
            return timbre(sound), pitch_hz(sound, RATE_HZ) > HIGH_HZ
        except DataError as error:
            return f"{speaker.name}: {error}"

    able = []
    timbres = []
    with track(log, "voices", len(speakers), "speakers") as progress:
        results = map_ahead(audition, iter(speakers), WORKERS)
        for speaker, result in zip(speakers, results, strict=True):
            progress.advance()
            if isinstance(result, str):
                left_out.append(result)
            else:
                heard, is_high = result
                able.append(dataclasses.replace(speaker, is_high=is_high))
                timbres.append(heard)
    kept = distinct(timbres)
    if len(kept) < len(able):
        left_out.append(f"{counted(len(able) - len(kept), 'speaker')} too like another")
    return [able[index] for index in kept], [timbres[index] for index in kept]


def _speakers(synthesisers: Sequence[Synthesiser], languages: Sequence[str]) -> list[_Speaker]:
    """All speakers of languages, each with all of its voices."""
    speakers = []
    for synthesiser in synthesisers:
        by_name: dict[str, list[Voice]] = {}
        for voice in itertools.chain.from_iterable(map(synthesiser.voices, languages)):
            by_name.setdefault(voice.speaker, []).append(voice)
        speakers += [_Speaker(synthesiser, name, tuple(own)) for name, own in by_name.items()]
    return speakers


def _foreign_speakers(
    synthesisers: Sequence[Synthesiser], language: str, speakers: Sequence[_Speaker], seed: int
) -> list[_Speaker]:
    """Speakers of other languages; one that also speaks the language keeps its split."""
    split_of = {each.name: each.split for each in speakers}
    return [
        dataclasses.replace(each, split=split_of.get(each.name, each.split))
        for each in _with_splits(_speakers(synthesisers, other_languages(language)), seed)
    ]


def _with_splits(speakers: Sequence[_Speaker], seed: int) -> list[_Speaker]:
    """Speakers with their splits: a fifth of each synthesiser's validate."""
    splits: dict[str, str] = {}
    for program in dict.fromkeys(speaker.synthesiser.name for speaker in speakers):
        names = [each.name for each in speakers if each.synthesiser.name == program]
        validating = round(_VALIDATION_SHARE * len(names))
        for place, name in enumerate(sorted(names, key=lambda name: rank((seed, name)))):
            splits.setdefault(name, "validation" if place < validating else "train")
    return [dataclasses.replace(each, split=splits[each.name]) for each in speakers]


def _phrase_lines(
    phrase: str, said: Pronunciation, count: int, language: str, rng: np.random.Generator
) -> list[Line]:
    """A phrase as often as asked, sometimes said carefully."""
    lines = [Line(phrase, "phrase")] * count
    if covers("en", language):
        for place in np.flatnonzero(rng.random(count) < _CAREFUL):
            if (spoken := careful(said, rng)) != said:
                lines[place] = Line(phrase, "phrase", spoken)
    return lines


def _plan(
    lines: Sequence[Line],
    folder_name: str,
    speakers: Sequence[_Speaker],
    spoken_as: Mapping[tuple[str, str], Pronunciation],
    rng: np.random.Generator,
) -> Iterator[_Planned]:
    """Draw the speaker, voice, tempo, pitch and intonation of each line.

    A synthesiser speaks in proportion to the square root of its speakers, so that neither a few
    natural voices nor a hundred similar ones are lost among the others; a slow one says the phrases
    and fewer other texts. Half of the lines are of high voices, of which there are fewer.
    """
    sizes = Counter((each.synthesiser.name, each.split) for each in speakers)
    for number, line in enumerate(lines):
        split = "validation" if rng.random() < _VALIDATION_SHARE else "train"
        cast = [
            each
            for each in speakers
            if (each.synthesiser.takes_phonemes or not line.pronunciation)
            and (line.kind != "phrase" or (each.synthesiser.name, line.text) in spoken_as)
            and _share(each.synthesiser, line.kind)
        ]
        cast = [each for each in cast if each.split == split] or cast
        shares = np.array([_share(each.synthesiser, line.kind) for each in cast])
        weights = shares * [sizes[each.synthesiser.name, each.split] ** -0.5 for each in cast]
        high = np.array([each.is_high for each in cast])
        for part in (high, ~high):
            weights[part] /= weights[part].sum() or 1.0
        speaker = cast[int(rng.choice(len(cast), p=weights / weights.sum()))]
        voice = speaker.voices[int(rng.integers(len(speaker.voices)))]
        rate, pitch = (
            round(low * (high / low) ** rng.random(), 2) for low, high in (_RATES, _PITCHES)
        )
        sign = _INTONATIONS[int(rng.integers(len(_INTONATIONS)))]
        own = speaker.synthesiser
        pronunciation = line.pronunciation
        if line.kind == "phrase" and not pronunciation:
            pronunciation = spoken_as[own.name, line.text]
        voice_name = re.sub(r"[^\w+-]|_", "-", voice.name)
        yield _Planned(
            SpokenClip(
                path=f"{folder_name}/{own.name}_{voice_name}_{number:05d}.wav",
                text=line.text if pronunciation else line.text + sign,
                phonemes=ipa_text(pronunciation),
                kind=line.kind,
                synthesiser=own.name,
                voice=voice.name,
                speaker=speaker.name,
                split=speaker.split,
                rate=rate,
                pitch=pitch,
                licence=own.licence,
            ),
            own,
            voice,
            pronunciation,
        )


def _share(synthesiser: Synthesiser, kind: str) -> float:
    """How often a synthesiser says a kind of text, relative to a fast one of as many speakers."""
    return _SLOW_SHARES.get(kind, _SLOW_SHARE) if synthesiser.is_slow else 1.0


def _remove_changed(folder: Path, planned: Sequence[_Planned]) -> None:
    """Remove the files of an earlier call whose record is no longer the same."""
    asked = {each.clip.path: dataclasses.asdict(each.clip) for each in planned}
    former = {str(clip.get("path")): clip for clip in _record(folder).get("clips", [])}
    for path in folder.rglob("*.wav"):
        name = path.relative_to(folder).as_posix()
        if name in former and former[name] != asked.get(name):
            path.unlink()


class _Record(TypedDict, total=False):
    """What is read of a record, whose other keys are :class:`SpokenVoices`'s."""

    asked: dict[str, Any]
    clips: list[dict[str, Any]]
    complete: bool


def _record(folder: Path) -> dict[str, Any]:
    """The record of an earlier call; empty without one."""
    path = folder / RECORD_NAME
    record: dict[str, Any] = read_json(path, _Record) if path.exists() else {}
    return record


def _write_record(
    path: Path, asked: Mapping[str, Any], result: SpokenVoices, *, complete: bool
) -> None:
    write_json(path, {**dataclasses.asdict(result), "asked": asked, "complete": complete})


def _earlier(folder: Path, asked: Mapping[str, Any]) -> SpokenVoices | None:
    """The result of an earlier call with the same arguments, if it is complete."""
    facts = _record(folder)
    if not facts.pop("complete", False) or facts.pop("asked", None) != asked:
        return None
    try:
        earlier = from_plain(SpokenVoices, facts, RECORD_NAME)
    except ConfigError as error:
        raise DataError(
            f"{folder / RECORD_NAME} is of another version ({error}): delete it and run again"
        ) from None
    lost = any(not (folder / clip.path).exists() for clip in earlier.clips)
    return None if lost else earlier


def _spoken(planned: Sequence[_Planned], folder: Path, log: Log) -> list[SpokenClip]:
    """Speak the clips that have no file; those without sound are left out."""
    missing = [each for each in planned if not (folder / each.clip.path).exists()]
    silent_ones: set[str] = set()

    def speak(each: _Planned) -> str:
        try:
            clip = each.clip
            speech = Speech(clip.text, each.pronunciation, clip.rate, clip.pitch)
            audio, rate_hz = each.synthesiser.speak(each.voice, speech)
            pcm = to_pcm16(finished(audio, rate_hz))
        except DataError:
            return each.clip.path
        write_bytes(folder / each.clip.path, wav_bytes(pcm, RATE_HZ))
        return ""

    done = len(planned) - len(missing)
    with track(log, "speaking", len(planned), "clips", done=done) as progress:
        for path in map_ahead(speak, iter(missing), WORKERS):
            silent_ones.add(path)
            progress.advance()
    silent_ones.discard("")
    if silent_ones:
        log(f"{len(silent_ones)} of {counted(len(planned), 'clip')} could not be spoken")
    return [each.clip for each in planned if each.clip.path not in silent_ones]


def finished(audio: Audio, rate_hz: int) -> Audio:
    """A spoken text at 16 kHz, without long pauses at its ends, at the level -26 dB.

    Args:
        audio: shape (samples,).

    Raises:
        DataError: it is silent.
    """
    if rate_hz != RATE_HZ and audio.size:
        audio = resampled(audio, rate_hz, RATE_HZ)
    block = RATE_HZ // 100
    blocks = audio[: audio.size // block * block].reshape(-1, block)
    levels = np.sqrt(np.mean(blocks**2, axis=1))
    if not levels.size or levels.max() < 1e-4:
        raise DataError("the synthesiser says nothing")
    loud = np.flatnonzero(levels > levels.max() * 10 ** (_SILENT_DB / 20)) * block
    margin = round(_MARGIN_S * RATE_HZ)
    audio = audio[max(0, loud[0] - margin) : loud[-1] + block + margin]
    gain = 10 ** (_LEVEL_DB / 20) / np.sqrt(np.mean(audio**2))
    return audio * np.float32(min(gain, _LOUDEST / np.abs(audio).max()))
