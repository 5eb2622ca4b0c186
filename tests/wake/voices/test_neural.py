# SPDX-License-Identifier: Apache-2.0
import importlib.machinery
import json
import sys
import types

import numpy as np
import pytest

from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.wake.voices import synthesis
from m3net_tf.wake.voices.phonemes import respelled
from m3net_tf.wake.voices.synthesiser import Speech, Voice

SAID = respelled("kom-PYOO-ter")


@pytest.fixture
def piper(monkeypatch):
    """The package piper-tts; its voice returns what it was asked as samples and rate."""
    module = types.ModuleType("piper")
    module.__spec__ = importlib.machinery.ModuleSpec("piper", None)
    asked = []

    class PiperVoice:
        @classmethod
        def load(cls, path):
            return cls()

        def synthesize(self, text, settings):
            asked.append((text, settings))
            chunk = types.SimpleNamespace(audio_float_array=np.ones(5), sample_rate=22_050)
            return [chunk, chunk] if text else []

    module.PiperVoice = PiperVoice
    module.SynthesisConfig = dict
    monkeypatch.setitem(sys.modules, "piper", module)
    return asked


def voice_file(folder, speakers):
    path = folder / f"voice{speakers}.onnx"
    path.touch()
    settings = {"espeak": {"voice": "en-us"}, "num_speakers": speakers}
    path.with_name(f"{path.name}.json").write_text(json.dumps(settings))
    return path


def available(play_program, models):
    play_program("espeak-ng", "")
    return synthesis.available(models)[-1]


def test_piper(play_program, piper, tmp_path):
    found = available(play_program, [voice_file(tmp_path, 1), voice_file(tmp_path, 2)])
    assert [each.name for each in found.voices("en")] == ["voice1#0", "voice2#0", "voice2#1"]
    assert found.voices("en-gb") == found.voices("de") == []
    audio, rate_hz = found.speak(Voice("voice1#0", ""), Speech("computer", rate=0.5))
    assert (audio.shape, audio.dtype, rate_hz) == ((10,), np.float32, 22_050)
    found.speak(Voice("voice2#1", ""), Speech("computer", SAID))
    assert piper == [
        ("computer", {"speaker_id": None, "length_scale": 2.0}),
        ("[[ kɒmpjˈuːtə ]]", {"speaker_id": 1, "length_scale": 1.0}),
    ]
    with pytest.raises(DataError, match="says nothing"):
        found.speak(Voice("voice1#0", ""), Speech(""))


def test_kokoro(play_program, monkeypatch, tmp_path):
    asked = []

    class Kokoro:
        @classmethod
        def from_session(cls, session, voices):
            asked.append((session, voices))
            return cls()

        def get_voices(self):
            return ["af_heart", "bm_george", "jf_alpha"]

        def create(self, text, **settings):
            asked.append((text, settings))
            return np.ones(7), 24_000

    onnx = types.SimpleNamespace(
        SessionOptions=types.SimpleNamespace,
        InferenceSession=lambda model, options, providers: (model, options.intra_op_num_threads),
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", onnx)
    monkeypatch.setitem(sys.modules, "kokoro_onnx", types.SimpleNamespace(Kokoro=Kokoro))
    model = tmp_path / "kokoro-v1.0.onnx"
    model.touch()
    with pytest.raises(ConfigError, match="no voices"):
        available(play_program, [model])
    styles = tmp_path / "voices-v1.0.bin"
    styles.touch()
    found = synthesis.available([model])[-1]
    assert [(each.name, each.speaker) for each in found.voices("en")] == [
        ("af_heart@en-us", "kokoro_af_heart"),
        ("bm_george@en-gb", "kokoro_bm_george"),
        ("jf_alpha@en-us", "kokoro_jf_alpha"),  # who has no variety of its own
        ("jf_alpha@en-gb", "kokoro_jf_alpha"),
    ]
    assert found.voices("de") == []
    audio, rate_hz = found.speak(found.voices("en-gb")[1], Speech("computer", SAID, rate=1.1))
    assert (audio.shape, audio.dtype, rate_hz) == ((7,), np.float32, 24_000)
    settings = {"voice": "bm_george", "speed": 1.1, "lang": "en-gb", "is_phonemes": True}
    assert asked == [((str(model), 1), str(styles)), ("kɒmpjˈuːtə", settings)]


def test_hibari(play_program, monkeypatch):
    asked = []

    class Heart:
        sample_rate = 24_000

        def __call__(self, text, speed, seed):
            asked.append((text, speed))
            return np.ones(3)

        def from_phonemes(self, phonemes, speed, seed):
            asked.append((phonemes, speed))
            return np.ones(4)

    monkeypatch.setitem(sys.modules, "hibari", types.SimpleNamespace(Hibari=Heart))
    monkeypatch.setattr(synthesis, "is_installed", lambda package: package == "hibari")
    found = available(play_program, [])
    assert found.voices("en-us") == found.voices("en") != []
    assert found.voices("en-gb") == []
    voice = found.voices("en")[0]
    audio, rate_hz = found.speak(voice, Speech("computer", rate=1.2))
    assert (audio.shape, audio.dtype, rate_hz) == ((3,), np.float32, 24_000)
    found.speak(voice, Speech("hey jarvis", respelled("hay JAR-vis")))
    assert asked == [("computer", 1.2), ("hAʤˈɑvɪs", 1.0)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("voice.onnx", "pip install piper-tts"),
        ("kokoro.onnx", "pip install kokoro-onnx"),
        ("ann.flitevox", "apt-get install flite"),
        ("voice.bin", r"\.flitevox"),
        ("missing/voice.onnx", "does not exist"),
    ],
)
def test_what_a_file_needs_is_said(play_program, monkeypatch, tmp_path, name, message):
    for module in ("piper", "kokoro_onnx"):
        monkeypatch.setitem(sys.modules, module, None)
    play_program("espeak-ng", "")
    programs = tmp_path / "programs"
    monkeypatch.setattr(synthesis.shutil, "which", lambda name: (programs / name).exists())
    path = tmp_path / name
    if path.parent == tmp_path:
        path.touch()
    with pytest.raises(ConfigError, match=message):
        synthesis.available([path])


@pytest.mark.parametrize("text", ["[]", "{}", '{"espeak": {}}', "{"])
def test_damaged_settings_of_piper(play_program, piper, tmp_path, text):
    path = voice_file(tmp_path, 1)
    path.with_name(f"{path.name}.json").write_text(text)
    with pytest.raises((ConfigError, DataError), match=r"voice1\.onnx\.json"):
        available(play_program, [path])


def test_voices_from_pip_need_no_option(play_program, piper, tmp_path, monkeypatch):
    package = tmp_path / "site" / "anna_piper_voice"
    package.mkdir(parents=True)
    voice_file(package, 3)
    facts = package.parent / "anna_piper_voice-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: anna-piper-voice\nVersion: 1.0\n")
    files = ("voice3.onnx", "voice3.onnx.json")
    (facts / "RECORD").write_text("".join(f"anna_piper_voice/{name},,\n" for name in files))
    monkeypatch.syspath_prepend(str(package.parent))
    found = available(play_program, [voice_file(tmp_path, 1)])
    assert "voice1#0" in (names := [each.name for each in found.voices("en")])
    assert "voice3#2" in names
