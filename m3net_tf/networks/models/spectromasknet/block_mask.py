# SPDX-License-Identifier: Apache-2.0
"""Fixed or learnt masks of square blocks on a time-frequency map."""

import math
from typing import Any

from m3net_tf.networks.layers.configured import Configured
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.keras_internals import RandomLayer

_EDGE_SOFTNESS = 1.0  # width of a soft block's edge, in bins or frames
_RATIO_SOFTNESS = 0.1  # width of a soft selection of blocks, as a share of the map


@keras.utils.register_keras_serializable("m3net_tf")
class BlockMask(Configured, RandomLayer):
    """Set square blocks of a map to zero, in training only.

    SpectroMaskNet, "Analysis of the impact of masking strategy", figures 9 and 10, table 3:

    - ``random``: the map is divided into cells of ``block`` x ``block``; each is masked with
      probability ``ratio``;
    - ``high_energy``: the share ``ratio`` of the same cells with the largest means is masked;
    - ``grid``: one block per period of block / sqrt(ratio) along both axes, so that the share
      ``ratio`` of the map is masked; the pattern has a random offset.

    With ``learnable`` the block size and the ratio are randomly initialised weights. The mask is
    hard; the gradient comes from a soft mask (straight-through), whose block edges are one bin or
    frame wide and whose selection of cells is blurred over a tenth of the map.

    Args:
        kind: ``random``, ``grid`` or ``high_energy``.
        block: edge of a block in bins and frames, at least 1; not used if ``learnable``.
        ratio: masked share of the map, in (0, 1); not used if ``learnable``.
        learnable: learn both in training.
        smallest_block: lower bound of a learnt block.
        largest_block: upper bound of a learnt block, at most half the bins.
        seed: seed of the masks; default: drawn from the global seed.

    Shapes:
        (batch, frequency, time, channels) in and out; ``valid`` is (batch, 1, time, 1), 1 for
        frames of the clip and 0 for padding, which the selection of cells ignores.

    Raises:
        ConfigError: the map is too small for learnt blocks.
    """

    def __init__(
        self,
        kind: str = "random",
        block: float = 10.0,
        ratio: float = 0.5,
        *,
        learnable: bool = False,
        smallest_block: float = 2.0,
        largest_block: float = 20.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.kind = kind
        self.block = block
        self.ratio = ratio
        self.learnable = learnable
        self.smallest_block = smallest_block
        self.largest_block = largest_block
        self.seed = seed

    def build(self, input_shape: tf.TensorShape) -> None:
        # At least two cells per axis: a map of few cells would often be masked completely.
        self._largest = min(self.largest_block, (input_shape[1] or math.inf) / 2)
        if self.learnable:
            if self._largest <= self.smallest_block:
                raise ConfigError(
                    f"a map of {input_shape[1]} bins is too small for learnt blocks of at least "
                    f"{self.smallest_block:g}: use a fixed block"
                )
            first, second = (keras.initializers.RandomUniform(-1.5, 1.5) for _ in range(2))
            self.block_logit = self.add_weight("block_logit", (), initializer=first)
            self.ratio_logit = self.add_weight("ratio_logit", (), initializer=second)
        super().build(input_shape)

    def current(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Block size in bins and masked share, as scalar tensors."""
        if not self.learnable:
            return tf.constant(self.block, tf.float32), tf.constant(self.ratio, tf.float32)
        span = self._largest - self.smallest_block
        block = self.smallest_block + span * tf.sigmoid(tf.cast(self.block_logit, tf.float32))
        return block, tf.sigmoid(tf.cast(self.ratio_logit, tf.float32))

    def learnt(self) -> dict[str, float]:
        """Learnt values for the training log; empty if they are fixed."""
        if not self.learnable:
            return {}
        block, ratio = self.current()
        return {"mask_block": float(block), "mask_ratio": float(ratio)}

    def call(
        self, inputs: tf.Tensor, valid: tf.Tensor | None = None, training: bool | None = None
    ) -> tf.Tensor:
        """Mask the map in training; otherwise return it unchanged."""
        if not training:
            return tf.identity(inputs)
        keep = 1.0 - self.mask(tf.cast(inputs, tf.float32), valid)
        return inputs * tf.cast(keep, inputs.dtype)  # (batch, F, T, channels)

    def mask(self, inputs: tf.Tensor, valid: tf.Tensor | None = None) -> tf.Tensor:
        """Draw a mask for each map: (batch, F, T, 1), 1 where the map is masked."""
        block, ratio = self.current()
        draw = self._grid if self.kind == "grid" else self._cells
        hard, soft = draw(inputs, valid, block, ratio)
        if self.learnable:
            hard = soft + tf.stop_gradient(hard - soft)
        return hard[..., None]

    def _grid(
        self, inputs: tf.Tensor, valid: tf.Tensor | None, block: tf.Tensor, ratio: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One block per period along both axes; hard and soft mask, (batch, F, T)."""
        batch, bins, frames = (tf.shape(inputs)[axis] for axis in range(3))
        period = block / tf.sqrt(ratio)
        shift = self.uniform((2, batch, 1))
        hard, soft = [], []
        for axis, size in enumerate((bins, frames)):
            position = _centres(size)[None] + shift[axis] * period  # (batch, size)
            offset = position - period * tf.stop_gradient(tf.floor(position / period))
            depth = block / 2 - tf.abs(offset - period / 2)  # distance to the block's edge
            hard.append(tf.cast(depth > 0, tf.float32))
            soft.append(tf.sigmoid(depth / _EDGE_SOFTNESS))
        return (
            hard[0][:, :, None] * hard[1][:, None],
            soft[0][:, :, None] * soft[1][:, None],
        )

    def _cells(
        self, inputs: tf.Tensor, valid: tf.Tensor | None, block: tf.Tensor, ratio: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Selected cells of the partition; hard and soft mask, (batch, F, T)."""
        batch, bins, frames = (tf.shape(inputs)[axis] for axis in range(3))
        smallest = self.smallest_block if self.learnable else self.block
        hard_axes, soft_axes = zip(
            *(_membership(size, block, smallest) for size in (bins, frames)), strict=True
        )
        if self.kind == "random":
            cells = (batch, tf.shape(hard_axes[0])[1], tf.shape(hard_axes[1])[1])
            order = self.uniform(cells)
        else:
            order = _rank_by_energy(inputs, valid, *hard_axes)
        distance = ratio - order  # a cell is masked if this is positive
        join = "bij,fi,tj->bft"
        hard = tf.einsum(join, tf.cast(distance > 0, tf.float32), *hard_axes)
        soft = tf.einsum(join, tf.sigmoid(distance / _RATIO_SOFTNESS), *soft_axes)
        return hard, soft


def _centres(size: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.range(size), tf.float32) + 0.5


def _membership(size: tf.Tensor, block: tf.Tensor, smallest: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Cell of each bin, hard and soft: (size, cells); each row sums to (about) 1."""
    cells = tf.cast(tf.math.ceil(tf.cast(size, tf.float32) / smallest), tf.int32)
    centres = _centres(size)
    hard = tf.one_hot(tf.cast(centres / block, tf.int32), cells)
    edges = block * tf.cast(tf.range(cells + 1), tf.float32)
    above = tf.sigmoid((centres[:, None] - edges[None]) / _EDGE_SOFTNESS)  # (size, cells + 1)
    return hard, above[:, :-1] - above[:, 1:]


def _rank_by_energy(
    inputs: tf.Tensor, valid: tf.Tensor | None, rows: tf.Tensor, columns: tf.Tensor
) -> tf.Tensor:
    """Rank of each cell by descending mean, as a share of all cells: (batch, i, j)."""
    level = tf.stop_gradient(tf.reduce_mean(inputs, axis=-1))  # (batch, F, T)
    counted = tf.ones_like(level)
    if valid is not None:
        counted *= tf.cast(valid[..., 0], tf.float32)
    cut = "bft,fi,tj->bij"
    area = tf.einsum(cut, counted, rows, columns)
    energy = tf.einsum(cut, level * counted, rows, columns) / tf.maximum(area, 1.0)
    energy = tf.where(area > 0, energy, tf.constant(-float("inf")))
    flat = tf.reshape(energy, (tf.shape(energy)[0], -1))
    rank = tf.argsort(tf.argsort(flat, direction="DESCENDING", stable=True), stable=True)
    rank = tf.reshape(tf.cast(rank, tf.float32), tf.shape(energy))
    cells = tf.reduce_sum(tf.cast(area > 0, tf.float32), axis=(1, 2), keepdims=True)
    return (rank + 0.5) / cells
