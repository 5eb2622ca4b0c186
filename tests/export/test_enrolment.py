# SPDX-License-Identifier: Apache-2.0
"""An export that enrols words: the classifier's input in place of scores, a class for a place."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from refusals import refuses
from single_operators import Item, write_network

from m3net_tf.export import Bundle
from m3net_tf.export.enrolment import (
    background_embeddings,
    embedding_listener,
    enrolment_network,
)
from m3net_tf.export.from_file import export_file
from m3net_tf.export.reference import read_vectors
from m3net_tf.networks.pretrained import FOLDER
from m3net_tf.runtime import Classifier
from m3net_tf.runtime.desktop import run_compiled
from m3net_tf.runtime.metadata import read_metadata
from m3net_tf.runtime.prototypes import BACKGROUND, WORDS, read_background
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.errors import ConfigError, DataError, ModelError
from m3net_tf.tflite.read import read_graph

SHIPPED = FOLDER / "m3net-s-keywords" / "model.tflite"
SLOTS = 2


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Bundle:
    """An export of a trained network; do not write into it."""
    return export_file(SHIPPED, tmp_path_factory.mktemp("enrolment"), enrolment_slots=SLOTS)


def test_the_outputs_are_what_the_classifier_reads(exported):
    features = read_vectors(exported).features[:2]
    whole = Interpreter(
        model_path=str(SHIPPED),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    whole.allocate_tensors()
    (classifier,) = [each for each in whole._get_ops_details() if each["op_name"] == "CONV_2D"][-1:]
    outputs = exported.run_reference(features)
    assert outputs.shape == (2, len(exported.labels))
    for clip, output in zip(features, outputs, strict=True):
        whole.set_tensor(whole.get_input_details()[0]["index"], clip[None])
        whole.invoke()
        assert np.array_equal(whole.get_tensor(classifier["inputs"][0]).ravel(), output)
    assert np.array_equal(exported.network.run(run_compiled, features), outputs)


@pytest.fixture(scope="module")
def background(tmp_path_factory) -> Path:
    """A minute of tones that glide, at levels that change."""
    folder = tmp_path_factory.mktemp("background")
    rng = np.random.default_rng(0)
    points = rng.uniform((0.02, 200), (0.3, 3_000), (240, 2)).T
    level, hz = (np.repeat(values, 4_000) for values in points)
    soundfile.write(
        folder / "tones.wav", level * np.sin(np.cumsum(hz) * 2 * np.pi / 16_000), 16_000
    )
    return folder


@pytest.mark.slow
def test_a_background_whitens_what_the_classifier_reads(exported, background, tmp_path):
    metadata = read_metadata(SHIPPED)[1]
    heard = background_embeddings(exported.tflite, metadata, [background], print).astype(float)
    whitened = export_file(SHIPPED, tmp_path, enrolment_slots=SLOTS, background=[background])
    listener = embedding_listener(whitened.tflite, whitened.frontend, whitened.detector)
    outputs = listener(pcm_chunks(background / "tones.wav", 16_000)).scores.astype(float)
    assert outputs.shape == heard.shape
    assert whitened.manifest.model.output_quantization[1] == 0
    assert np.abs(outputs).max() in (126, 127)
    assert (np.abs(outputs.mean(axis=0)) < 0.5).all()
    centred = heard - heard.mean(axis=0)
    covariance = np.cov(centred, rowvar=False)
    ridge = 0.1 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    distances = np.einsum("ri,ij,rj->r", centred, np.linalg.inv(covariance + ridge), centred)
    ratio = (outputs**2).sum(axis=1) / distances
    assert np.allclose(ratio, np.median(ratio), rtol=0.1)
    assert np.array_equal(read_background(whitened.folder, outputs.shape[1]), outputs)
    features = read_vectors(whitened).features
    assert np.array_equal(
        whitened.network.run(run_compiled, features), whitened.run_reference(features)
    )


def test_a_background_of_silence_is_refused(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(160_000), 16_000)
    with pytest.raises(DataError, match="--background"):
        export_file(SHIPPED, tmp_path / "run", enrolment_slots=SLOTS, background=[tmp_path])


def test_a_word_is_heard_in_a_stream(exported):
    vectors = read_vectors(exported)
    classifier = Classifier(exported.folder)
    words = classifier.prototypes()
    words.add("own", classifier.run(vectors.features[:1])[0])
    recognizer = classifier.recognizer(words)
    silence = np.zeros(classifier.window_samples, np.int16)
    events = recognizer.push(np.concatenate([silence, vectors.pcm[0], silence]))
    assert exported.detector.labels == ("word0", "word1")
    assert [event.label for event in events] == [0]


def test_a_word_is_not_heard_where_the_background_has_it(exported, tmp_path):
    vectors = read_vectors(exported)
    shutil.copytree(exported.folder, tmp_path / "export")
    heard = exported.run_reference(vectors.features)
    (tmp_path / "export" / BACKGROUND).write_bytes(heard[:1].tobytes())
    classifier = Classifier(tmp_path / "export")
    words = classifier.prototypes()
    for output in heard[:2]:
        words.add("own", output)
    own, free = classifier.recognizer(words).detector.config.classes
    score = int(words.scores(heard[:1])[0, 0]) + 128
    assert own.threshold == (score + 1) / 256 and own.release < own.threshold
    assert free == exported.detector.classes[1]
    (tmp_path / "export" / BACKGROUND).write_bytes(b"?")
    with pytest.raises(ModelError, match=BACKGROUND):
        classifier.prototypes()


def test_saved_words_are_the_classes(exported, tmp_path):
    folder = shutil.copytree(exported.folder, tmp_path / "export")
    pcm = read_vectors(exported).pcm
    soundfile.write(tmp_path / "own.wav", pcm[0], 16_000)
    classifier = Classifier(folder)
    words = classifier.prototypes()
    examples = classifier.examples(tmp_path / "own.wav", whole=True)
    for name, outputs in (("free", examples), ("own", examples)):
        for output in outputs:
            words.add(name, output)
    words.forget("free")
    words.save(folder)
    classifier = Classifier(folder)
    assert classifier.labels == ("word0", "own") and classifier.prototypes().names == ("", "own")
    scores = classifier.predict(tmp_path / "own.wav")
    assert [*scores] == ["own", "word0"] and scores["own"] > 0.9 and scores["word0"] == 0
    assert np.array_equal(classifier.run(read_vectors(exported).features[:1])[0], examples[0])
    silence = np.zeros(classifier.window_samples, np.int16)
    events = classifier.recognizer().push(np.concatenate([silence, pcm[0], silence]))
    assert [classifier.labels[event.label] for event in events] == ["own"]


@pytest.mark.parametrize(
    "words",
    [
        "{}",
        '[{"place": 2, "name": "own", "examples": 1, "sums": [%s]}]',
        '[{"place": 0, "name": "own", "examples": 1, "sums": [40000, %s]}]',
        '[{"place": 0, "name": "own", "examples": 1, "sums": [1]}]',
    ],
)
def test_words_of_another_network_are_refused(exported, words, tmp_path):
    folder = shutil.copytree(exported.folder, tmp_path / "export")
    sums = ", ".join(["1"] * (len(exported.labels) - ("40000" in words)))
    (folder / WORDS).write_text(words.replace("%s", sums))
    with refuses(DataError, folder / WORDS):
        Classifier(folder)


def test_it_is_no_classifier(exported):
    sound = np.zeros(16_000, np.int16)
    for call in (Classifier(exported.folder).classify, Classifier(exported.folder).predict):
        with pytest.raises(ConfigError):
            call(sound, sample_rate_hz=16_000) if call.__name__ == "predict" else call(sound)
    with pytest.raises(ConfigError):
        Classifier(exported.folder).recognizer()
    with pytest.raises(ConfigError, match="--enrol"):
        Classifier(SHIPPED).prototypes()


@pytest.mark.parametrize(
    ("end", "end_options"),
    [("SOFTMAX", schema.SoftmaxOptionsT()), ("LOGISTIC", None)],
)
def test_a_network_of_two_layers(end, end_options):
    weights = Item((4, 4), 0.1, values=np.eye(4, dtype=np.int8))
    items = [Item((1, 4), 0.1, 3), Item((1, 4), 0.1, 3), Item((1, 4), 1 / 256, -128)]
    options = schema.FullyConnectedOptionsT()
    tflite = write_network(
        [
            ("FULLY_CONNECTED", [items[0], weights], [items[1]], options),
            (end, [items[1]], [items[2]], end_options),
        ]
    )
    assert [op.kind for op in read_graph(enrolment_network(tflite)).operations] == [
        "FULLY_CONNECTED"
    ]


def test_a_sigmoid_before_a_flatten():
    weights = Item((4, 4), 0.1, values=np.eye(4, dtype=np.int8))
    items = [Item((1, 4), 0.1, 3), Item((1, 4), 0.2, 5), Item((1, 4), 1 / 256, -128)]
    flatten = schema.ReshapeOptionsT()
    flatten.newShape = [1, 4]
    tflite = write_network(
        [
            ("FULLY_CONNECTED", [items[0], weights], [items[1]], schema.FullyConnectedOptionsT()),
            ("LOGISTIC", [items[1]], [items[2]], None),
            ("RESHAPE", [items[2]], [Item((1, 4), 1 / 256, -128)], flatten),
        ]
    )
    graph = read_graph(enrolment_network(tflite))
    assert [op.kind for op in graph.operations] == ["FULLY_CONNECTED", "RESHAPE"]
    assert (graph.outputs[0].scale, graph.outputs[0].zero_point) == (np.float32(0.2), 5)


def test_a_network_without_softmax_at_its_end_is_refused(exported, tmp_path):
    shutil.copy(exported.folder / "model.tflite", tmp_path / "logits.tflite")
    with pytest.raises(ModelError, match=r"logits\.tflite"):
        export_file(tmp_path / "logits.tflite", tmp_path, enrolment_slots=1)
