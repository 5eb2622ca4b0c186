# SPDX-License-Identifier: Apache-2.0
"""What runs a classifier: threads share it, pickle keeps it, and the compiled engine is first."""

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.compiler import host
from m3net_tf.runtime import Classifier
from m3net_tf.runtime.desktop import ENGINES, compiled_unavailable_reason
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.errors import ConfigError

THREADS = 8
compiles = pytest.mark.skipif(
    bool(compiled_unavailable_reason()), reason=compiled_unavailable_reason()
)
pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_share_a_classifier(engine, exported, vectors):
    if engine == "tflm" and (reason := tflm_unavailable_reason()):
        pytest.skip(reason)
    if engine == "compiled" and (reason := compiled_unavailable_reason()):
        pytest.skip(reason)
    classifier = Classifier(exported.folder, engine=engine)
    clips = vectors[0]
    alone = [classifier.classify(clip).window_scores for clip in clips]
    start = threading.Barrier(THREADS)

    def scores(_: int) -> list[np.ndarray]:
        start.wait()
        return [classifier.classify(clip).window_scores for clip in clips]

    with ThreadPoolExecutor(THREADS) as pool:
        for beside_others in pool.map(scores, range(THREADS)):
            np.testing.assert_array_equal(beside_others, alone)


def test_a_pickle_needs_no_file(exported, vectors, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes((exported.folder / "model.tflite").read_bytes())
    classifier = Classifier(path)
    stored = pickle.dumps(classifier)
    path.unlink()
    again = pickle.loads(stored)
    assert (again.labels, again.engine) == (classifier.labels, classifier.engine)
    np.testing.assert_array_equal(
        again.classify(vectors[0][0]).scores, classifier.classify(vectors[0][0]).scores
    )


@compiles
def test_the_compiled_engine_is_the_default_and_is_kept(
    exported, vectors, monkeypatch, private_cache
):
    first = Classifier(exported.folder)
    assert (first.engine, first.why_not_compiled) == ("compiled", "")
    made = {path: path.stat().st_mtime_ns for path in (private_cache / "networks").iterdir()}
    assert made

    def unreachable(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(host, "_compile", unreachable)
    again = Classifier(exported.folder)
    assert made == {path: path.stat().st_mtime_ns for path in made}
    reference = Classifier(exported.folder, engine="litert")
    for pcm in vectors[0]:
        np.testing.assert_array_equal(
            again.classify(pcm).window_scores, reference.classify(pcm).window_scores
        )


@pytest.mark.parametrize("lacks", ["compiler", "sources", "cache"])
def test_without_the_compiled_engine_litert_runs_and_the_reason_is_told(
    lacks, exported, tmp_path, monkeypatch, capfd
):
    if lacks == "compiler":
        monkeypatch.setenv("PATH", "")
    elif lacks == "sources":
        monkeypatch.setenv("M3NET_SOURCES", str(tmp_path))
    else:
        monkeypatch.setenv("M3NET_CACHE", f"{os.devnull}/cache")
    classifier = Classifier(exported.folder)
    told = {"compiler": "no C compiler", "sources": "M3NET_SOURCES", "cache": os.devnull}
    assert classifier.engine == "litert" and told[lacks] in classifier.why_not_compiled
    assert capfd.readouterr() == ("", "")


def test_an_engine_that_is_asked_for_is_not_replaced(exported):
    classifier = Classifier(exported.folder, engine="litert")
    assert (classifier.engine, classifier.why_not_compiled) == ("litert", "")
    assert Classifier(exported.folder, fast=True).engine == "litert"
    with refuses(ConfigError, "litert"):
        Classifier(exported.folder, engine="compield")


@compiles
def test_a_library_that_cannot_be_loaded_is_named(exported, monkeypatch, tmp_path):
    monkeypatch.setenv("M3NET_CACHE", str(tmp_path))
    (tmp_path / "damaged").write_bytes(b"no library")
    monkeypatch.setattr(host, "build_library", lambda *_: tmp_path / "damaged")
    classifier = Classifier(exported.folder)
    (library,) = (tmp_path / "networks").iterdir()
    assert classifier.engine == "litert" and str(library) in classifier.why_not_compiled
