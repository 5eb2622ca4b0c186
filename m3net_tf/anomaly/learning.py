# SPDX-License-Identifier: Apache-2.0
"""What a trained network, the body, makes of normal sounds: prototypes, and scores of others."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.export.enrolment import embedding_listener, metadata_of_outputs
from m3net_tf.runtime.detector_config import ClassSettings, DetectorConfig
from m3net_tf.runtime.metadata import Metadata
from m3net_tf.runtime.prototypes import UNUSUAL, NormalSounds
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, track

PROTOTYPES = 32
"""Most prototypes: two bytes of flash for each output of the body, and of each of them."""
_SMOOTHED_S = 4.0
_MOST_RUNS = 255  # that the detector averages
_SCALE = 2047  # largest number of a prototype

Int8 = npt.NDArray[np.int8]
Pcm = npt.NDArray[np.int16]
Recording = Sequence[Path]
"""Files of one recording."""


@dataclasses.dataclass(frozen=True)
class NormalNetwork:
    """A body that knows normal sounds.

    Attributes:
        tflite: the network, whose outputs are compared with the prototypes.
        metadata: the body's, for this network and a detector of one class.
    """

    tflite: bytes
    metadata: Metadata
    normal: NormalSounds

    @property
    def frontend(self) -> FrontendConfig:
        """Front-end settings."""
        return self.metadata.frontend

    @property
    def detector(self) -> DetectorConfig:
        """Settings of live detection, with a threshold of 1."""
        return self.metadata.detector

    def listener(self) -> Callable[[Iterable[Pcm]], Int8]:
        """A function of sound in chunks that gives its scores in live detection, shape (runs,)."""
        outputs = embedding_listener(self.tflite, self.frontend, self.detector)
        return lambda chunks: self.normal.scores(outputs(chunks).scores)[:, 0]

    def clip_scorer(self) -> Callable[[Iterable[Pcm]], float]:
        """A function of a clip in chunks that gives its mean score; short clips are repeated."""
        listener = self.listener()
        least = self.frontend.sample_count(self.detector.window_columns)
        return lambda chunks: float(listener(looped(chunks, least)).mean())


def learn_normal(
    embedding: bytes, metadata: Metadata, recordings: Sequence[Recording], log: Log
) -> NormalNetwork:
    """Make prototypes of normal recordings.

    Args:
        embedding: as of :func:`.enrolment.embedding_network`.
        metadata: the body's.

    Raises:
        DataError: a file is missing or broken, or the normal sounds are digital zero.
    """
    described = _described(metadata, embedding)
    listener = embedding_listener(embedding, described.frontend, described.detector)
    _, zero_point = described.manifest["model"]["output_quantization"]
    outputs = []
    with track(log, "normal sounds", len(recordings), "recordings") as task:
        for recording in recordings:
            outputs.append(listener(sound_of(recording, described)).scores)
            task.advance()
    normal = NormalSounds(_prototypes(np.concatenate(outputs), zero_point), zero_point)
    manifest = {**described.manifest, "normal_prototypes": list(normal.rows)}
    described = dataclasses.replace(described, normal_prototypes=normal.rows, manifest=manifest)
    return NormalNetwork(embedding, described, normal)


def sound_of(recording: Recording, metadata: Metadata) -> Iterator[Pcm]:
    """The samples of a recording's files in chunks.

    They are repeated until live detection has averaged as many runs as it does.
    """
    config = metadata.detector
    columns = config.window_columns + config.classes[0].window_runs * config.run_columns
    least = metadata.frontend.sample_count(columns + 1)
    rate_hz = metadata.frontend.sample_rate_hz
    return looped((chunk for path in recording for chunk in pcm_chunks(path, rate_hz)), least)


def looped(chunks: Iterable[Pcm], least: int) -> Iterator[Pcm]:
    """Sound in chunks, repeated until it has as many samples."""
    kept: list[Pcm] = []
    samples = 0
    for chunk in chunks:
        if samples < least:
            kept.append(chunk)
        samples += len(chunk)
        yield chunk
    while 0 < samples < least:
        yield from kept
        samples += sum(map(len, kept))


def _described(metadata: Metadata, tflite: bytes) -> Metadata:
    """Metadata of the network that is compared with prototypes."""
    config = metadata.detector
    run_s = config.run_columns * metadata.frontend.hop_s
    unusual = ClassSettings(
        UNUSUAL,
        threshold=1.0,
        release=1.0,
        suppression_columns=config.window_columns,
        window_runs=min(max(1, round(_SMOOTHED_S / run_s)), _MOST_RUNS),
        hits=1,
    )
    detector = dataclasses.replace(config, classes=(unusual,), gate_level=None)
    return metadata_of_outputs(metadata, tflite, detector)


def _prototypes(outputs: Int8, zero_point: int) -> npt.NDArray[np.int16]:
    """Centres of the outputs' directions, by k-means, shape (prototypes, outputs)."""
    from sklearn.cluster import KMeans  # takes a second to load

    centred = outputs.astype(np.float64) - zero_point
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    directions = np.unique(centred[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0], axis=0)
    if not len(directions):
        raise DataError("the normal sounds give no output of the network: they are silence")
    count = min(PROTOTYPES, len(directions))
    centres = KMeans(count, n_init=1, random_state=0).fit(directions).cluster_centers_
    scaled = centres / np.abs(centres).max(axis=1, keepdims=True) * _SCALE
    return np.asarray(np.round(scaled), np.int16)
