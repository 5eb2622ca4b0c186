# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from m3net_tf.system.errors import ConfigError
from m3net_tf.wake.voices.near import CHANGED, DIFFERENT, near_phrases, unlike_words
from m3net_tf.wake.voices.phonemes import (
    Phoneme,
    careful,
    cmu_phones,
    corrected,
    difference,
    distance,
    espeak_text,
    from_cmu,
    ipa_text,
    pronunciations,
    respelled,
)

COMPUTER = ["k", "ə", "m", "p", "j", "uː", "t", "ə"]


@pytest.mark.parametrize(
    ("text", "ipa"),
    [
        ("kom-PYOO-ter", "kɒmpjˈuːtə"),
        ("hay JAR-vis", "heɪdʒˈɑːvɪs"),
        ("uh-LEK-suh", "əlˈɛksə"),
        ("MY-kroh-FOHN", "mˈaɪkɹoʊfˈoʊn"),
        ("HAP-ee", "hˈæpiː"),
    ],
)
def test_a_respelling_is_read(text, ipa):
    assert ipa_text(respelled(text)) == ipa


@pytest.mark.parametrize("text", ["com-PÜT-er", " - ", "123"])
def test_a_respelling_without_a_sound_is_refused(text):
    with pytest.raises(ConfigError, match="respel"):
        respelled(text)


def test_phonemes_for_programs():
    said = respelled("kom-PYOO-ter")
    assert espeak_text(said) == "[[k|0|m|p|j|'u:|t|@]]"
    assert cmu_phones(said) == ["k", "aa", "m", "p", "y", "uw", "t", "ax"]
    foreign = (Phoneme("ɔ", "O"), Phoneme("ç", "C"), Phoneme("ɲ", "n^"), Phoneme("ɑ̃", "A~"))
    assert cmu_phones(foreign) == ["ao", "sh", "ng", "aa"]
    assert from_cmu(["pau", "k", "ax", "m", "pau"]) == ["k", "ə", "m"]


def test_a_correction_in_another_language(espeak):
    assert ipa_text(corrected("[[h'alo:]]", "de")) == "hˈaloː"
    assert corrected("kom-PYOO-ter", "en-us") == respelled("kom-PYOO-ter")
    with pytest.raises(ConfigError, match="only English"):
        corrected("HA-loh", "de")


def test_similar_phonemes_differ_less():
    assert difference("p", "p") == 0
    assert difference("p", "b") < difference("p", "k") < difference("p", "z") <= 1
    assert difference("ɪ", "iː") < difference("ɪ", "ɑː") <= 1
    assert difference("t", "tʃ") > 0
    assert difference("s", "uː") == 1


def test_distance_is_an_edit_distance():
    commuter = [each for each in COMPUTER if each != "p"]
    assert distance(COMPUTER, COMPUTER) == 0
    assert distance(COMPUTER, commuter) == distance(commuter, COMPUTER) == 1
    assert distance(COMPUTER, COMPUTER[:-1]) == 0.5  # the schwa is hardly heard
    assert distance(COMPUTER, ["b", *COMPUTER, "z"]) == 2
    assert distance(COMPUTER, ["b", *COMPUTER, "z"], within=True) == 0


def test_espeak_speaks_its_own_phonemes(espeak):
    texts = ["computer", "hey jarvis", "comfier", "déjà vu", "42"]
    found = pronunciations(texts, "en")
    assert [each.ipa for each in found[0]] == COMPUTER
    again = pronunciations([espeak_text(each) for each in found], "en")
    assert [ipa_text(each) for each in again] == [ipa_text(each) for each in found]


def test_palatal_consonants_are_one_phoneme(espeak):
    said = pronunciations(["привет"], "ru")[0]
    assert [each.ipa for each in said] == ["p", "rʲ", "i", "vʲ", "e", "t"]
    assert pronunciations([espeak_text(said)], "ru")[0] == said


def test_careful_speech_has_full_vowels(espeak):
    said = pronunciations(["computer"], "en")[0]
    rng = np.random.default_rng(0)
    heard = {ipa_text(careful(said, rng)) for _ in range(40)}
    assert heard == {f"k{vowel}mpjˈuːtə" for vowel in "ʌɒɛæ"}
    jarvis = pronunciations(["jarvis"], "en")[0]
    assert careful(jarvis, rng) == jarvis


def test_near_phrases_are_not_the_phrase(espeak):
    words = ["computers", "commuter", "compute", "komputer", "window", "pewter", "blue", "amputate"]
    wanted = {"computer": pronunciations(["computer"], "en")[0]}
    lines = near_phrases(wanted, "en", 100, np.random.default_rng(0), words)
    assert len(lines) == 100
    by_kind = {
        kind: [each for each in lines if each.kind == kind]
        for kind in ("part", "word", "changed", "other")
    }
    assert all(by_kind.values())
    texts = {each.text for each in by_kind["word"]}
    assert {"commuter", "amputate"} <= texts
    assert not {"computers", "komputer"} & texts  # they contain the phrase
    assert "compute" not in texts  # it lacks what is hardly heard
    for line in lines:
        apart = distance(COMPUTER, [each.ipa for each in line.pronunciation], within=True)
        assert apart >= {"changed": CHANGED * 8, "part": DIFFERENT}.get(line.kind, 0)
    again = near_phrases(wanted, "en", 100, np.random.default_rng(0), words)
    assert again == lines
    without = near_phrases(wanted, "en", 20, np.random.default_rng(0))
    assert {each.kind for each in without} == {"part", "changed", "other"}


def test_unlike_words_are_far_from_the_phrase(espeak):
    words = ["computers", "commuter", "computer", "window", "to", "potatoes", "a"]
    wanted = {"computer": pronunciations(["computer"], "en")[0]}
    unlike = unlike_words(wanted, "en", 9, np.random.default_rng(0), words)
    assert sorted(unlike) == ["potatoes", "window"]
    assert len(unlike_words(wanted, "en", 1, np.random.default_rng(0), words)) == 1
    assert unlike_words(wanted, "en", 9, np.random.default_rng(0), []) == []
