# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.wake.voices import synthesis
from m3net_tf.wake.voices.phonemes import respelled
from m3net_tf.wake.voices.synthesiser import Speech, Voice

WRITES = """
while [ $# -gt 0 ]; do
  case "$1" in -o|-w) cat "$SOUND" > "$2";; -lv) echo "Voices available: kal awb_time slt";;
  -ps) echo "pau k ax m p y uw t er pau";; esac; shift
done
"""
SAID = respelled("kom-PYOO-ter")


def heard(audio, rate_hz):
    """Whether it is the tone of the programs."""
    assert rate_hz == 22_050
    assert audio.dtype == np.float32
    return np.abs(np.fft.rfft(audio, 22_050)).argmax() == pytest.approx(300, abs=3)


def test_flite(play_program):
    log = play_program("flite", WRITES)
    flite = synthesis.Flite()
    assert flite.voices("en") == [Voice("kal", "cmu_kal"), Voice("slt", "cmu_slt")]
    assert flite.voices("de") == []
    slt = flite.voices("en")[1]
    assert flite.pronounced(slt, "computer") == ["k", "ə", "m", "p", "j", "uː", "t", "ɜː"]
    assert heard(*flite.speak(slt, Speech("-computer", rate=2.0, pitch=0.5)))
    assert heard(*flite.speak(slt, Speech("computer", SAID)))
    arguments = log.read_text().split("\n")
    assert {"duration_stretch=0.500", "int_f0_target_mean=85", "-computer"} <= {*arguments}
    assert "pau k aa m p y uw t ax pau" in arguments


def test_files_of_flite(play_program, tmp_path):
    play_program("espeak-ng", "")
    log = play_program("flite", WRITES)
    path = tmp_path / "ann.flitevox"
    path.touch()
    flite = next(each for each in synthesis.available([path]) if each.name == "flite")
    ann = flite.voices("en")[-1]
    flite.speak(ann, Speech("computer"))
    assert str(path) in log.read_text().split("\n")


def test_festival(play_program):
    log = play_program(
        "festival",
        """case "$input" in
        *locations*) echo '((ked_diphone . "/voices/english/ked_diphone/")
        (pc_diphone . "/voices/italian/pc_diphone/"))';;
        *Segment*) echo '("pau" "k" "ax")';;
        *) cp "$SOUND" "$(expr "$input" : '.*"\\([^"]*wav\\)"')";; esac""",
    )
    festival = synthesis.Festival()
    assert festival.voices("en") == [Voice("ked_diphone", "festival_ked_diphone")]
    ked = festival.voices("en")[0]
    assert festival.pronounced(ked, "computer") == ["k", "ə"]
    assert heard(*festival.speak(ked, Speech('say "x"', rate=0.5)))
    assert r'(Utterance Text "say \"x\"")' in log.read_text()
    assert "'Duration_Stretch 2.000" in log.read_text()


def test_rhvoice(play_program, tmp_path, monkeypatch):
    log = play_program("RHVoice-test", WRITES)
    monkeypatch.setattr(synthesis, "_RHVOICE_DATA", tmp_path)
    for name, language in (("alan", "English"), ("anna", "Russian")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "voice.info").write_text(f"name={name.title()}\nlanguage={language}\n")
    rhvoice = synthesis.RhVoice()
    assert rhvoice.voices("en-us") == [Voice("Alan", "RHVoice_Alan")]
    assert heard(*rhvoice.speak(Voice("Alan", ""), Speech("computer", rate=1.2, pitch=0.9)))
    assert {"Alan", "120", "90", "computer"} <= {*log.read_text().split("\n")}


def test_pico(play_program, tmp_path, monkeypatch):
    log = play_program("pico2wave", WRITES)
    monkeypatch.setattr(synthesis, "_PICO_DATA", tmp_path)
    for name in ("en-GB_kh0_sg.bin", "en-GB_ta.bin", "de-DE_gl0_sg.bin"):
        (tmp_path / name).touch()
    pico = synthesis.Pico()
    assert pico.voices("en") == [Voice("en-GB", "pico2wave_en-GB")]
    assert heard(*pico.speak(Voice("en-GB", ""), Speech("computer", pitch=1.1)))
    assert '<speed level="100"><pitch level="110">computer</pitch></speed>' in log.read_text()


@pytest.mark.parametrize(
    ("script", "message"),
    [("echo no voice >&2; exit 3", "status 3: no voice"), ("exit 0", "writes no sound")],
)
def test_a_program_that_fails_is_named(play_program, script, message):
    play_program("flite", script)
    with pytest.raises(DataError, match=f"flite.*{message}"):
        synthesis.Flite().speak(Voice("kal", ""), Speech("computer"))


def test_without_synthesiser(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="apt-get install espeak-ng"):
        synthesis.available()


def test_espeak_has_accents_and_throats(espeak):
    espeak_ng = synthesis.Espeak()
    voices = espeak_ng.voices("en")
    named = {each.name: each.speaker for each in voices}
    assert len(named) == len(voices) > 50
    assert named["en"] == named["en-us"] == "espeak-ng_default"
    assert named["en+f1"] == named["en-us+f1"] == "espeak-ng_f1"
    assert all(each.name.startswith("de") for each in espeak_ng.voices("de"))
    assert espeak_ng.voices("xx") == []
    plain, rate_hz = espeak_ng.speak(Voice("en", ""), Speech("computer"))
    other, _ = espeak_ng.speak(Voice("en+f1", ""), Speech("computer"))
    slow, _ = espeak_ng.speak(Voice("en", ""), Speech("computer", rate=0.6))
    assert rate_hz == 22_050
    assert not np.array_equal(plain, other)
    assert slow.size > 1.2 * plain.size
    spoken, _ = espeak_ng.speak(Voice("en", ""), Speech("computer", SAID))
    assert not np.array_equal(plain, spoken)
