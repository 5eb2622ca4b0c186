# SPDX-License-Identifier: Apache-2.0
"""From a run to sounds that an emulated board learns, which the classifier then knows."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typed_commands import m3net

from m3net_tf.boards.device.enrolment import enrol, keep_words
from m3net_tf.boards.device.live import play
from m3net_tf.boards.device.session import connect
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.export import Bundle
from m3net_tf.export.reference import read_vectors
from m3net_tf.runtime import Classifier

BOARD = "qemu:mps2_an386"
NAMES = ("one", "two")


@pytest.mark.slow
def test_the_classifier_knows_what_the_board_was_taught(exported_run: Path, tmp_path: Path):
    if reason := why_no_emulation("mps2_an386"):
        pytest.skip(reason)
    shutil.copytree(exported_run, tmp_path / "run")
    m3net(["export", str(tmp_path / "run"), "--enrol", "3"])
    assert (
        Bundle.load(tmp_path / "run" / "export").labels
        == Bundle.load(exported_run / "export").labels
    )
    run = tmp_path / "run_enrol"
    bundle = Bundle.load(run / "export")
    sounds = read_vectors(bundle).pcm[: len(NAMES)]
    columns: list[np.ndarray] = []
    runs: list[tuple[int, bytes]] = []
    with connect(BOARD, run) as device:
        for name, pcm in zip(NAMES, sounds, strict=True):
            path = tmp_path / f"{name}.wav"
            soundfile.write(path, pcm, bundle.frontend.sample_rate_hz)
            enrol(device, name, [path], bundle.prototypes(), bundle.detector, whole=True)
        keep_words(device, run / "export")
        keep_words(device, tmp_path / "run" / "export")  # of another network
        device.request("stream host columns scores")
        for message in play(device, np.concatenate([*sounds])):
            if message.word == "column":
                columns.append(np.frombuffer(bytes.fromhex(message.fields["values"]), np.int8))
            elif message.word == "scores":
                runs.append((len(columns), bytes.fromhex(message.fields["out"])))
    classifier = Classifier(run)
    words = classifier.prototypes()
    assert classifier.labels == (*NAMES, "word2") and words.names == (*NAMES, "")
    own = classifier.prototypes()
    for name in NAMES:
        own.forget(name)
        for example in classifier.examples(tmp_path / f"{name}.wav", whole=True):
            own.add(name, example)
    assert len(runs) > 5
    for end, scores in runs:
        window = np.stack(columns[end - bundle.manifest.frames : end], axis=1)
        output = classifier.run(window[None, ..., None])
        assert scores == words.scores(output).tobytes() == own.scores(output).tobytes()
    assert [*tmp_path.rglob("words.json")] == [run / "export" / "words.json"]
