# SPDX-License-Identifier: Apache-2.0
"""Mixtures as feature maps with the teacher's answers, computed once and kept like feature maps.

They depend on the sources, the seed and the teacher alone, so all bodies learn from the same ones.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import graph
from m3net_tf.audio.frontend.store import KEY_BYTES, FeatureRows, RowStore
from m3net_tf.lab.bodies.kinds import kinds_of, shares_of
from m3net_tf.lab.bodies.mixing import Mixer
from m3net_tf.lab.bodies.sounds import Source
from m3net_tf.lab.bodies.yamnet import FRONTEND, Teacher
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.processor import arithmetic, machine
from m3net_tf.system.progress import Log, track

_LAYOUT = 2  # incremented when the same sounds give other lessons
_AT_ONCE = 64

Floats = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]


@dataclasses.dataclass(frozen=True)
class Lessons:
    """Mixtures with the teacher's answers.

    Attributes:
        every: the student sees one of so many frames.
        embedding: number of values of the teacher's embedding.
    """

    maps: FeatureRows
    answers: FeatureRows
    every: int
    embedding: int

    def __len__(self) -> int:
        """Number of mixtures."""
        return self.maps.shape[1]

    def maps_of(self, indices: npt.NDArray[np.integer] | slice) -> Int8:
        """The student's maps, int8, shape (mixtures, bins, frames)."""
        return np.asarray(self.maps[0, indices][..., :: self.every], np.int8)

    def answers_of(self, indices: npt.NDArray[np.integer] | slice) -> tuple[Floats, Floats]:
        """Logarithms of 1 + embedding, shape (mixtures, values), and logits of the classes."""
        answers = np.asarray(self.answers[0, indices][:, 0], np.float32)
        return np.log1p(answers[:, : self.embedding]), answers[:, self.embedding :]


def make_lessons(
    sources: Sequence[Source], count: int, teacher: Teacher, every: int, seed: int, log: Log
) -> Lessons:
    """Draw mixtures of some sources and let the teacher answer; stored ones are not made again.

    Args:
        count: number of mixtures. More of them begin with the same ones.
        every: see :class:`Lessons`.
    """
    hashes = sorted((source.name, source.sha256) for source in sources)
    kind = f"lessons {_LAYOUT} {seed} {hashes} {teacher.facts['sha256']} {FRONTEND.fingerprint()}"
    name = sha256_of(f"{kind} {arithmetic([machine()])}".encode())[:16]
    bins, frames, _ = teacher.input_shape
    size = teacher.facts["values"]
    maps = RowStore(f"{name}-maps", (bins, frames))
    answers = RowStore(f"{name}-answers", (1, size), "float32")
    keys = [sha256_of(f"{index}".encode())[:KEY_BYTES].encode() for index in range(count)]
    missing = maps.missing(keys) | answers.missing(keys)
    open_ones = [index for index, key in enumerate(keys) if key in missing]
    if open_ones:
        mixer = Mixer(sources, shares_of(kinds_of(sources, teacher, log)))
        _add(maps, answers, keys, open_ones, mixer, teacher, seed, log)
    map_rows, answer_rows = maps.rows([keys]), answers.rows([keys])
    assert map_rows is not None and answer_rows is not None
    return Lessons(map_rows, answer_rows, every, teacher.embedding)


def _add(
    maps: RowStore,
    answers: RowStore,
    keys: Sequence[bytes],
    indices: Sequence[int],
    mixer: Mixer,
    teacher: Teacher,
    seed: int,
    log: Log,
) -> None:
    network = teacher.network()
    with (
        maps.writing(log) as map_writer,
        answers.writing(log) as answer_writer,
        track(log, "mixtures", len(keys), "patches", done=len(keys) - len(indices)) as task,
    ):
        for first in range(0, len(indices), _AT_ONCE):
            part = indices[first : first + _AT_ONCE]
            waves = np.stack([mixer.draw(np.random.default_rng([seed, i])) for i in part])
            features = graph.batch_features(FRONTEND, waves, "float32")
            outputs = network.predict_on_batch(features[..., None])
            part_keys = [keys[index] for index in part]
            map_writer.add(part_keys, graph.batch_features(FRONTEND, waves))
            answer_writer.add(part_keys, np.concatenate(outputs, axis=-1)[:, None])
            task.advance(len(part))
