# SPDX-License-Identifier: Apache-2.0
"""The clips of shards as a stream of ``tf.data``, in an order that only its seed decides."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.shards.files import Shard, local_shard
from m3net_tf.audio.shards.index import Shards
from m3net_tf.system.errors import ConfigError, M3NetError
from m3net_tf.system.keras import tf

_READ_AT_ONCE = 4  # shards
_SHUFFLED_BYTES = 256 * 2**20
_SHUFFLED_CLIPS = 4096


def clip_stream(
    shards: Shards,
    samples: int,
    counts: npt.NDArray[np.int64],
    *,
    seed: list[int],
    worker: int = 0,
    workers: int = 1,
) -> tf.data.Dataset:
    """An endless stream of the training clips of one worker.

    Each worker has every ``workers``-th shard, always the same ones, so that a computer copies
    only its share. The shards are read in a random order, some at once, and their clips are
    shuffled in a buffer of at most 256 MiB.

    Args:
        counts: how often each clip occurs before the stream starts again, shape (clips,).

    Returns:
        Waveforms, float32 of shape (samples,), and the clips' indices in the split. A damaged shard
        ends the stream with a TensorFlow error that ends in this package's.

    Raises:
        ConfigError: there are fewer shards than workers.
    """
    files = shards.of_split("train")
    if workers > len(files):
        raise ConfigError(
            f"{workers} workers cannot share {len(files)} training shards of {shards.url}: write "
            "more by a smaller --clips-per-shard"
        )
    own = np.arange(worker, len(files), workers)
    rng = np.random.default_rng([*seed, worker])
    rng_seed = int(rng.integers(2**31))

    def decoded(record: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        kind = {"audio": tf.io.FixedLenFeature([], tf.string)}
        pcm = tf.io.decode_raw(tf.io.parse_single_example(record, kind)["audio"], tf.int16)
        return tf.ensure_shape(tf.cast(pcm, tf.float32) / 32768.0, [samples]), index

    buffer = max(1, min(_SHUFFLED_CLIPS, _SHUFFLED_BYTES // (2 * samples)))
    return (
        tf.data.Dataset.from_tensor_slices(own)
        .shuffle(len(own), seed=rng_seed)
        .interleave(
            _reader(shards, files, tf.constant(counts)),
            cycle_length=_READ_AT_ONCE,
            block_length=1,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .shuffle(buffer, seed=rng_seed + 1)
        .repeat()
        .map(decoded, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    )


def _reader(
    shards: Shards, files: Sequence[Shard], counts: tf.Tensor
) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """Function of a shard's number that gives its records and their indices in the split."""
    first = tf.constant(np.cumsum([0, *(shard.clips for shard in files)])[:-1])

    def path_of(number: npt.NDArray[np.int64]) -> bytes:
        try:
            return str(local_shard(shards.url, shards.sha256, files[int(number)])).encode()
        except M3NetError as error:
            raise ValueError(str(error)) from None

    def repeated(index: tf.Tensor, record: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors((record, index)).repeat(counts[index])

    def records(number: tf.Tensor) -> tf.data.Dataset:
        path = tf.ensure_shape(tf.numpy_function(path_of, [number], tf.string), [])
        return tf.data.TFRecordDataset(path).enumerate(first[number]).flat_map(repeated)

    return records
