# SPDX-License-Identifier: Apache-2.0
"""What a body makes of clips: the input of its classifier for each window.

A body of this project is an int8 network without the classifier at its end, behind the front end of
the board, so that its bytes are the board's. A file of another publisher takes the waveform and
gives floats.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset, Clip, fit_length, to_pcm16
from m3net_tf.audio.datasets.audio import Audio, FitRule, from_pcm16
from m3net_tf.audio.datasets.dataset import READERS
from m3net_tf.audio.datasets.networks import NETWORKS, find_teacher
from m3net_tf.audio.frontend import features_int8
from m3net_tf.audio.frontend.windows import TAIL_S, counting, level_of, window_starts
from m3net_tf.export.enrolment import enrolment_network
from m3net_tf.runtime.classifier import find_model
from m3net_tf.runtime.desktop import load_adaptive
from m3net_tf.runtime.interpreter import tensor_quantization
from m3net_tf.runtime.metadata import Metadata, has_metadata, read_metadata
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.progress import Log, track
from m3net_tf.system.threads import map_ahead
from m3net_tf.tflite.model_file import read_model_file
from m3net_tf.training.augmentation.waveforms import augment_waveform
from m3net_tf.training.loss.teacher_file import open_teacher
from m3net_tf.training.recipe.sections import AugmentationSection, DistillationSection

Int8 = npt.NDArray[np.int8]
Floats = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class Body:
    """A trained network without the classifier at its end.

    Attributes:
        sha256: of the network, or of the file of another publisher.
        rate_hz: of the sound that it takes.
        samples: of a window.
        embed: from windows, float32 of shape (n, samples), to their embeddings, int8 or float32 of
            shape (n, channels); several threads may call it at once.
        quantization: scale and zero point of an int8 embedding; None for floats.
        trained_on: data set of the training; '' if it is not known.
        network: int8, from features to embedding, and metadata of the whole one; None for a file of
            another publisher.
    """

    name: str
    sha256: str
    rate_hz: int
    samples: int
    embed: Callable[[Audio], npt.NDArray[np.generic]]
    quantization: tuple[float, int] | None = None
    trained_on: str = ""
    network: tuple[bytes, Metadata] | None = None


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """The embeddings of a data set's clips.

    Attributes:
        windows: of those with sound, int8 or float32, shape (windows, channels).
        copies: the same of augmented copies, which only train, shape (copies, windows, channels).
        clip: index of each window's clip, shape (windows,).
        quantization: scale and zero point of int8; None for floats.
    """

    windows: npt.NDArray[np.generic]
    copies: npt.NDArray[np.generic]
    clip: npt.NDArray[np.int64]
    quantization: tuple[float, int] | None

    def training(
        self, clips: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """What fits a classifier: the windows of clips and their copies, with their clips.

        Returns:
            Embeddings in real numbers, shape (rows, channels), and indices of clips, shape (rows,).
        """
        chosen = np.isin(self.clip, clips)
        rows = np.concatenate([self.windows[None], self.copies])[:, chosen]
        return self.real(rows.reshape(-1, rows.shape[-1])), np.tile(self.clip[chosen], len(rows))

    def real(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """Embeddings in real numbers."""
        scale, zero_point = self.quantization or (1.0, 0)
        return scale * (values.astype(np.float64) - zero_point)

    def over_windows(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """Mean over the windows of each clip: (windows, n) to (clips, n)."""
        sums = np.zeros((int(self.clip.max()) + 1, values.shape[1]))
        np.add.at(sums, self.clip, values.astype(np.float64))
        return np.asarray(sums / np.bincount(self.clip)[:, None])


def open_bodies(name: str, outputs: Sequence[str] = ()) -> list[Body]:
    """The bodies of a name: one, or one for each output of a file of another publisher.

    Args:
        name: a trained network of the package, a run, an export or its ``.tflite``; or a file of
            another publisher, see :class:`.DistillationSection`.
        outputs: ends of the names of its tensors, or names of layers; default: its first output.

    Raises:
        ModelError: there is no such network, or it has no classifier at its end.
        ConfigError: ``name`` is a published network that was not fetched.
    """
    try:
        path = find_teacher(name) if name in NETWORKS else find_model(Path(name))
        if name in NETWORKS or path.suffix == ".keras" or not has_metadata(read_model_file(path)):
            return [_published(name, path, output) for output in outputs or [""]]
    except (ConfigError, ModelError) as error:  # of teachers, which name the keys of a recipe
        words = str(error).replace("distillation.teacher_output", "--output")
        raise type(error)(words.removeprefix("distillation.teacher ")) from None
    return [_own(name, path)]


def _own(name: str, path: Path) -> Body:
    tflite, metadata = read_metadata(path)
    if metadata.warp or metadata.enrolment_slots:
        raise ModelError(f"{path} has no classifier behind one network: name another body")
    config = metadata.frontend
    try:
        cut = enrolment_network(tflite)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    run = load_adaptive(Int8Network(cut))

    def embed(windows: Audio) -> Int8:
        features = [features_int8(config, from_pcm16(to_pcm16(each))) for each in windows]
        return run(np.stack(features)[..., None])

    return Body(
        name,
        sha256_of(tflite),
        config.sample_rate_hz,
        metadata.window_samples,
        embed,
        tensor_quantization(cut, "output"),
        metadata.manifest.get("dataset", {}).get("name", ""),
        (cut, metadata),
    )


def _published(name: str, path: Path, output: str) -> Body:
    file = open_teacher(path, output)
    if not file.samples:
        raise ModelError(
            f"{path} takes an input of shape {file.shape}: name a file that takes a waveform of a "
            "fixed length"
        )
    return Body(
        f"{name} {output}".strip(),
        file.sha256,
        DistillationSection().teacher_sample_rate_hz,
        file.samples,
        file.compute,
    )


def embed_clips(
    body: Body,
    dataset: AudioDataset,
    clips: Sequence[Clip],
    augmentation: AugmentationSection,
    log: Log,
) -> Embeddings:
    """Embeddings of the windows with sound of clips, and of augmented copies.

    The windows are half a window apart.

    Args:
        augmentation: of the copies of each window, as a training from a body makes them.

    Raises:
        DataError: a clip cannot be read.
    """
    rule = dataset.info.fit
    tail = round(TAIL_S * body.rate_hz)

    def embed(index: int) -> npt.NDArray[np.generic]:
        windows = windows_of(dataset.load(clips[index]), body.samples, tail, rule)
        windows = windows[counting(np.array([level_of(each) for each in windows]))]
        variants = [windows]
        for copy in range(1, augmentation.copies + 1):
            rng = np.random.default_rng([copy, index])
            copied = [
                augment_waveform(each, augmentation, (), body.rate_hz, rng) for each in windows
            ]
            variants.append(np.stack(copied))
        embedded = body.embed(np.concatenate(variants))
        return embedded.reshape(len(variants), len(windows), -1)

    found = []
    with track(log, f"{body.name}: {dataset.info.name}", len(clips), "clips") as task:
        for embeddings in map_ahead(embed, iter(range(len(clips))), READERS):
            found.append(embeddings)
            task.advance()
    owners = np.repeat(np.arange(len(clips)), [each.shape[1] for each in found])
    variants = np.concatenate(found, axis=1)
    return Embeddings(variants[0], variants[1:], owners, body.quantization)


def windows_of(sound: Audio, samples: int, tail: int, rule: FitRule) -> Audio:
    """Windows of a sound, half a window apart, shape (n, samples); the last one ends with it.

    Args:
        tail: least rest of the sound, in samples, for which a further window is worthwhile.
        rule: how a sound shorter than a window becomes one.
    """
    if len(sound) < samples:
        sound = fit_length(sound, samples, rule)
    starts = window_starts(len(sound), samples, tail)
    return np.stack([sound[start : start + samples] for start in starts])
