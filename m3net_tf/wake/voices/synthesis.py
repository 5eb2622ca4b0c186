# SPDX-License-Identifier: Apache-2.0
"""Installed speech synthesisers, an adapter each: a voice and a text → samples.

espeak-ng is necessary, because its phonemes check what the others say; those add voices.
"""

import functools
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import soundfile

from m3net_tf.audio.datasets.audio import Audio, mixed
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.extras import is_installed
from m3net_tf.wake.voices.neural import Hibari, Kokoro, Piper, installed_voices
from m3net_tf.wake.voices.phonemes import cmu_phones, espeak_text, from_cmu
from m3net_tf.wake.voices.programs import output_of
from m3net_tf.wake.voices.synthesiser import Speech, Synthesiser, Voice, covers

_WORDS_PER_MINUTE = 150  # of espeak-ng at rate 1; single words are spoken slowly
_FLITE_PITCH_HZ = {"kal": 95, "kal16": 95, "awb": 120, "rms": 95, "slt": 170}
_FILE = "FILE"  # stands for the sound file in a command
_MBROLA_DATA = Path("/usr/share/mbrola")
_RHVOICE_DATA = Path("/usr/share/RHVoice/voices")
_PICO_DATA = Path("/usr/share/pico/lang")


class Espeak(Synthesiser):
    """espeak-ng: formant synthesis, each accent of a language with about a hundred throats."""

    name, licence, takes_phonemes = "espeak-ng", "GPL-3.0-or-later", True

    def voices(self, language: str) -> list[Voice]:
        """Accents times variants; a variant is one speaker."""
        # By the name of its file: espeak-ng 1.51 ignores variants of the code en-gb.
        files = [file for _, file in _espeak_voices(language) if not file.startswith("mb/")]
        accents = [file.rpartition("/")[2].lower() for file in files]
        variants = ["", *(file.partition("/")[2] for _, file in _espeak_voices("variant"))]
        return [
            Voice(f"{accent}+{variant}" if variant else accent, f"espeak-ng_{variant or 'default'}")
            for variant in variants
            for accent in accents
        ]

    def speak(self, voice: Voice, speech: Speech) -> tuple[Audio, int]:
        """See :meth:`Synthesiser.speak`."""
        said = espeak_text(speech.pronunciation) if speech.pronunciation else speech.text
        tempo = str(round(_WORDS_PER_MINUTE * speech.rate))
        height = str(min(99, max(0, round(100 * speech.pitch) - 50)))
        return _spoken(
            ["espeak-ng", "-v", voice.name, "-s", tempo, "-p", height, "-w", _FILE], said
        )


class Mbrola(Espeak):
    """MBROLA: diphones of recorded speakers, driven by espeak-ng."""

    name, licence = "mbrola", "AGPL-3.0-or-later; voices not for military use"

    def voices(self, language: str) -> list[Voice]:
        """Voices whose diphones are installed."""
        names = [file.partition("/")[2] for _, file in _espeak_voices("mb", language)]
        bases = {name: name.removeprefix("mb-").partition("-")[0] for name in names}
        return [
            Voice(name, f"mbrola_{base}")
            for name, base in bases.items()
            if (_MBROLA_DATA / base / base).is_file()
        ]


class Flite(Synthesiser):
    """Flite: diphones and cluster units of a few English speakers, and ``.flitevox`` files."""

    name, licence, takes_phonemes = "flite", "MIT-CMU", True

    def __init__(self, files: Sequence[Path] = ()) -> None:
        self._files = {path.stem: path for path in files}

    def voices(self, language: str) -> list[Voice]:
        """The built-in voices, except one that only tells the time, and the voices in files."""
        if language.partition("-")[0] != "en":
            return []
        listed = output_of(["flite", "-lv"]).decode().partition(":")[2].split()
        names = [name for name in listed if not name.endswith("_time")]
        return [Voice(name, _person("flite", name)) for name in (*names, *self._files)]

    def speak(self, voice: Voice, speech: Speech) -> tuple[Audio, int]:
        """See :meth:`Synthesiser.speak`."""
        said = ["-t", speech.text]
        if speech.pronunciation:
            said = ["-p", " ".join(["pau", *cmu_phones(speech.pronunciation), "pau"])]
        settings = ["--setf", f"duration_stretch={1 / speech.rate:.3f}"]
        if voice.name in _FLITE_PITCH_HZ:
            pitch_hz = _FLITE_PITCH_HZ[voice.name] * speech.pitch
            settings += ["--setf", f"int_f0_target_mean={pitch_hz:.0f}"]
        return _spoken(["flite", *self._voice(voice), *settings, "-o", _FILE, *said])

    def pronounced(self, voice: Voice, text: str) -> list[str] | None:
        """See :meth:`Synthesiser.pronounced`."""
        printed = output_of(["flite", *self._voice(voice), "-ps", "-o", "/dev/null", "-t", text])
        return from_cmu(printed.decode().split())

    def _voice(self, voice: Voice) -> list[str]:
        return ["-voice", str(self._files.get(voice.name, voice.name))]


class Festival(Synthesiser):
    """Festival: every installed voice, from diphones to HTS."""

    name, licence = "festival", "MIT-CMU; voices have their own"

    def voices(self, language: str) -> list[Voice]:
        """Voices in Festival's folders of a language."""
        found = []
        for name, folder in _festival_voices():
            spoken = _FESTIVAL_LANGUAGES.get(Path(folder).parent.name, "")
            if covers(language, spoken):
                found.append(Voice(name, _person("festival", name)))
        return found

    def speak(self, voice: Voice, speech: Speech) -> tuple[Audio, int]:
        """See :meth:`Synthesiser.speak`; the pitch stays."""
        stretch = f"(Parameter.set 'Duration_Stretch {1 / speech.rate:.3f})"
        script = f'{stretch} (utt.save.wave {_utterance(speech.text)} "{_FILE}")'
        return _spoken(["festival", "--pipe"], f"(voice_{voice.name}) {script}")

    def pronounced(self, voice: Voice, text: str) -> list[str] | None:
        """See :meth:`Synthesiser.pronounced`."""
        items = f"(utt.relation.items {_utterance(text)} 'Segment)"
        script = f"(voice_{voice.name}) (print (mapcar (lambda (s) (item.name s)) {items}))"
        printed = output_of(["festival", "--pipe"], script).decode()
        return from_cmu(re.findall(r'[^\s()"]+', printed))


class RhVoice(Synthesiser):
    """RHVoice: statistical parametric synthesis (HTS) of recorded speakers."""

    name, licence = "RHVoice", "LGPL-2.1-or-later; voices have their own"

    def voices(self, language: str) -> list[Voice]:
        """Voices in RHVoice's folder."""
        found = []
        for info in sorted(_RHVOICE_DATA.glob("*/voice.info")):
            facts = dict(re.findall(r"^(\w+)=(.*)$", info.read_text(), re.MULTILINE))
            if _RHVOICE_LANGUAGES.get(facts.get("language", "")) == language.partition("-")[0]:
                name = facts.get("name", info.parent.name)
                found.append(Voice(name, _person("RHVoice", name)))
        return found

    def speak(self, voice: Voice, speech: Speech) -> tuple[Audio, int]:
        """See :meth:`Synthesiser.speak`."""
        tempo = f"{100 * speech.rate:.0f}"
        height = f"{100 * speech.pitch:.0f}"
        command = ["RHVoice-test", "-p", voice.name, "-r", tempo, "-t", height, "-o", _FILE]
        return _spoken(command, speech.text)


class Pico(Synthesiser):
    """SVOX Pico: one speaker for each of six varieties of languages."""

    name, licence = "pico2wave", "Apache-2.0"

    def voices(self, language: str) -> list[Voice]:
        """The varieties whose resources are installed."""
        names = sorted({path.name[:5] for path in _PICO_DATA.glob("*_sg.bin")})
        return [
            Voice(name, f"pico2wave_{name}") for name in names if covers(language, name.lower())
        ]

    def speak(self, voice: Voice, speech: Speech) -> tuple[Audio, int]:
        """See :meth:`Synthesiser.speak`."""
        tempo = f"{100 * speech.rate:.0f}"
        height = f"{100 * speech.pitch:.0f}"
        said = f'<speed level="{tempo}"><pitch level="{height}">{speech.text}</pitch></speed>'
        return _spoken(["pico2wave", "-l", voice.name, "-w", _FILE, said])


_FESTIVAL_LANGUAGES = {"english": "en", "us": "en-us", "german": "de", "spanish": "es"}  # folders
_RHVOICE_LANGUAGES = {
    "Albanian": "sq",
    "Brazilian-Portuguese": "pt",
    "Czech": "cs",
    "English": "en",
    "Esperanto": "eo",
    "Georgian": "ka",
    "Kyrgyz": "ky",
    "Macedonian": "mk",
    "Polish": "pl",
    "Russian": "ru",
    "Slovak": "sk",
    "Tatar": "tt",
    "Ukrainian": "uk",
}
_RECORDED = re.compile("awb|bdl|clb|kal|rms|slt")  # people whose recordings several programs use


def available(models: Sequence[Path] = ()) -> list[Synthesiser]:
    """The installed synthesisers, with the voices of Piper that pip has installed.

    Args:
        models: voices in files: ``.flitevox`` for Flite, ``.onnx`` for Piper, or for Kokoro if the
            name begins with ``kokoro``.

    Raises:
        ConfigError: espeak-ng or the package of a model is not installed, or a file is not a voice.
    """
    if not shutil.which("espeak-ng"):
        raise ConfigError(
            "espeak-ng, which speaks the phrases, is missing: apt-get install espeak-ng"
        )
    for path in models:
        if not path.is_file():
            raise ConfigError(f"{path}: does not exist; name the file of a voice")
        if path.suffix not in (".flitevox", ".onnx"):
            raise ConfigError(
                f"{path}: is not a voice: name a file .flitevox (Flite) or .onnx (Piper)"
            )
    flitevox = [path for path in models if path.suffix == ".flitevox"]
    if flitevox and not shutil.which("flite"):
        raise ConfigError(f"{flitevox[0]} needs flite, which is missing: apt-get install flite")
    kokoro = [path for path in models if path.name.startswith("kokoro")]
    piper = [path for path in models if path.suffix == ".onnx" and path not in kokoro]
    piper += [path for path in installed_voices() if path not in piper]
    programs: dict[str, Synthesiser] = {
        "espeak-ng": Espeak(),
        "mbrola": Mbrola(),
        "flite": Flite(flitevox),
        "festival": Festival(),
        "RHVoice-test": RhVoice(),
        "pico2wave": Pico(),
    }
    found = [synthesiser for program, synthesiser in programs.items() if shutil.which(program)]
    if is_installed("hibari"):
        found.append(Hibari())
    return [*found, *([Piper(piper)] if piper else []), *map(Kokoro, kokoro)]


def other_languages(language: str) -> list[str]:
    """Codes of espeak-ng's languages without a language and its varieties, such as ``fr``."""
    own = language.partition("-")[0]
    return sorted({code.partition("-")[0] for code, _ in _espeak_voices("")} - {own})


def _espeak_voices(kind: str, language: str = "") -> list[tuple[str, str]]:
    """Language codes and files of espeak-ng's voices.

    Args:
        kind: a language, ``variant`` or ``mb``, or empty for all languages.
        language: language of the voices of MBROLA.
    """
    wanted = language or ("" if kind in ("variant", "mb") else kind)
    return [row for row in _listed_voices(kind) if not wanted or covers(wanted, row[0])]


@functools.cache
def _listed_voices(kind: str) -> list[tuple[str, str]]:
    lines = output_of(["espeak-ng", f"--voices={kind}"]).decode().splitlines()[1:]
    return [(row[1], row[4]) for row in map(str.split, lines)]


@functools.cache
def _festival_voices() -> list[tuple[str, str]]:
    """Names and folders of Festival's voices."""
    listed = output_of(["festival", "--pipe"], "(print voice-locations)").decode()
    return re.findall(r'\(([^\s()]+) \. "([^"]*)"\)', listed)


def _person(program: str, name: str) -> str:
    """Who is heard in a voice."""
    person = _RECORDED.search(name.lower())
    return f"cmu_{person[0]}" if person else f"{program}_{name}"


def _utterance(text: str) -> str:
    """A text as an utterance in Festival's language."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'(utt.synth (Utterance Text "{quoted}"))'


def _spoken(command: Sequence[str], text: str = "") -> tuple[Audio, int]:
    """Samples that a program writes into a file, and their rate in Hz.

    Args:
        command: the program, with :data:`_FILE` where the file's path stands.
    """
    with tempfile.TemporaryDirectory(prefix="m3net-voice-") as folder:
        path = str(Path(folder, "voice.wav"))
        output_of([part.replace(_FILE, path) for part in command], text.replace(_FILE, path))
        try:
            audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError):
            raise DataError(f"{command[0]} writes no sound") from None
    return mixed(audio), rate_hz
