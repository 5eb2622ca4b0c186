# SPDX-License-Identifier: Apache-2.0
"""Clips with all that this computer computes from them, for the comparison with a board."""

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset, Clip
from m3net_tf.audio.datasets.audio import to_pcm16
from m3net_tf.audio.frontend import FrontendConfig, features_int8
from m3net_tf.compiler.engines import COMPILED, TFLM, Engine
from m3net_tf.export.bundle import Bundle, VectorIndex
from m3net_tf.runtime.desktop import compiled_unavailable_reason, run_compiled
from m3net_tf.runtime.interpreter import Int8, run_reference, run_tflm, tflm_unavailable_reason
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.errors import ModelError
from m3net_tf.system.progress import Log

_Item = TypeVar("_Item", np.int8, np.int16)


@dataclasses.dataclass(frozen=True)
class Reference:
    """Clips, and what this computer computes from them.

    Attributes:
        source: origin of the clips, as a certificate names it.
        pcm: int16 samples, shape (clips, samples).
        features: Python's int8 features of exactly these samples, shape (clips, bins, frames, 1).
        scores: int8 scores by TFLite's reference kernels, shape (clips, classes).
        by_engine: the same scores by each engine that runs on this computer; empty until
            :func:`with_engines` adds them.
    """

    source: str
    pcm: npt.NDArray[np.int16]
    features: Int8
    scores: Int8
    by_engine: Mapping[Engine, Int8] = dataclasses.field(default_factory=dict)


def reference_of(bundle: Bundle, dataset: AudioDataset, clips: tuple[Clip, ...]) -> Reference:
    """The reference of held-out clips of a data set."""
    pcm, features = pcm_and_features(dataset, clips, bundle.frontend)
    source = f"held-out clips of {dataset.info.name}, {dataset.info.protocol}"
    return Reference(source, pcm, features, bundle.network.run(run_reference, features))


def read_vectors(bundle: Bundle) -> Reference:
    """The export's test vectors.

    Raises:
        ModelError: a file of the vectors is damaged.
        DataError: their index is damaged.
    """
    folder = bundle.folder / "vectors"
    index = read_json(folder / "vectors.json", VectorIndex)

    def load(name: str, kind: type[_Item]) -> npt.NDArray[_Item]:
        try:
            data = np.frombuffer((folder / name).read_bytes(), index[name]["dtype"])
            return data.reshape(index[name]["shape"]).astype(kind, copy=False)
        except ValueError as error:
            raise ModelError(f"{folder / name} is damaged ({error}): export again") from None

    sounds = index.get("source", f"held-out clips of {bundle.manifest.dataset.name}")
    return Reference(
        source=f"the export's test vectors, {sounds}",
        pcm=load("pcm_int16.bin", np.int16),
        features=load("features_int8.bin", np.int8),
        scores=load("outputs_int8.bin", np.int8),
    )


def with_engines(bundle: Bundle, reference: Reference, log: Log) -> Reference:
    """Add the scores of TFLite Micro and of the compiled engine, where this computer runs them."""
    log("TFLite Micro and the compiled engine on this computer")
    network = bundle.network
    scores: dict[Engine, Int8] = {}
    if not tflm_unavailable_reason():
        scores[TFLM] = network.run(run_tflm, reference.features)
    reason = compiled_unavailable_reason()
    if not reason:
        try:
            scores[COMPILED] = network.run(run_compiled, reference.features)
        except ModelError as error:
            reason = str(error)
    if reason:
        log(f"the compiled engine is not compared on the host: {reason}")
    return dataclasses.replace(reference, by_engine=scores)


def pcm_and_features(
    dataset: AudioDataset, clips: tuple[Clip, ...], config: FrontendConfig
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int8]]:
    """Clips as samples, and the features that a device should compute from them.

    Returns:
        int16 samples, shape (clips, samples), and the reference's int8 features of exactly these
        samples, shape (clips, bins, frames, 1).
    """
    pcm = np.stack([to_pcm16(dataset.load(clip)) for clip in clips])
    features = np.stack([features_int8(config, wave / 32768.0) for wave in pcm])
    return pcm, features[..., None]
