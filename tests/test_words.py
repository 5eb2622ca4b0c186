# SPDX-License-Identifier: Apache-2.0
import pytest

from m3net_tf.system.words import counted, in_words


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "clip", "1 clip"),
        (0, "clip", "0 clips"),
        (2, "class", "2 classes"),
        (2, "epoch", "2 epochs"),
        (1200, "augmented copy", "1,200 augmented copies"),
        (2, "day", "2 days"),
    ],
)
def test_a_noun_agrees_with_its_number(number, noun, text):
    assert counted(number, noun) == text


def test_a_list_reads_as_a_sentence():
    assert in_words(["a"]) == "a"
    assert in_words(["a", "b", "c"]) == "a, b and c"
