# SPDX-License-Identifier: Apache-2.0
"""The warp of DiffRes, frame by frame and as matrices."""

from __future__ import annotations

from collections.abc import Callable

from m3net_tf.system.keras import tf

Warp = Callable[[tf.Tensor, tf.Tensor, int, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]


def warp_by_loop(
    power: tf.Tensor, scores: tf.Tensor, frames_out: int, positions: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The warp as the paper describes it: clip by clip, frame by frame, then row by row.

    Args:
        power: shape (batch, T, F).
        scores: rescaled scores of shape (batch, T).
        frames_out: number of rows t.
        positions: positional encoding, shape (T, F).

    Returns:
        Sums, maxima and encoding, each (batch, t, F).
    """

    def clip(inputs: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        frames, weights = inputs
        count = frames.shape[0]
        columns = tf.TensorArray(tf.float32, count)

        def frame(
            j: tf.Tensor, row: tf.Tensor, room: tf.Tensor, columns: tf.TensorArray
        ) -> tuple[tf.Tensor, ...]:
            here = tf.minimum(weights[j], room)
            rest = weights[j] - here
            column = tf.one_hot(row, frames_out) * here + tf.one_hot(row + 1, frames_out) * rest
            full = tf.logical_and(weights[j] >= room, row < frames_out - 1)
            return (
                j + 1,
                tf.where(full, row + 1, row),
                tf.where(full, 1.0 - rest, room - here),
                columns.write(j, column),
            )

        *_, columns = tf.while_loop(
            lambda j, *_: j < count, frame, (tf.constant(0), tf.constant(0), 1.0, columns)
        )
        matrix = tf.transpose(columns.stack())  # (t, T)

        def row(weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            weighted = frames * weights[:, None]
            encoded = tf.reduce_sum(positions * weights[:, None], axis=0)
            return tf.reduce_sum(weighted, axis=0), tf.reduce_max(weighted, axis=0), encoded

        return tf.map_fn(row, matrix, fn_output_signature=(tf.float32,) * 3)

    return tf.map_fn(clip, (power, scores), fn_output_signature=(tf.float32,) * 3)


def warp_by_matrix(
    power: tf.Tensor, scores: tf.Tensor, frames_out: int, positions: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The warp by equation 5 and appendix A.5 (equations 9 to 12); arguments as for the loop."""
    ends = tf.cumsum(scores, axis=1)[:, None]  # (batch, 1, T)
    rows = tf.range(frames_out, dtype=tf.float32)[:, None]
    last = rows == frames_out - 1  # also takes sums that rounding puts above t
    inside = tf.logical_and(ends > rows, tf.logical_or(ends <= rows + 1.0, last))
    matrix = tf.where(inside, scores[:, None], 0.0)  # W_0, (batch, t, T)
    lack = tf.cumsum(1.0 - tf.reduce_sum(matrix, axis=2, keepdims=True), axis=1)
    edges = tf.sign(matrix)
    edges = tf.pad(edges[..., 1:] - edges[..., :-1], [[0, 0], [0, 0], [1, 0]])
    added = lack * tf.nn.relu(-edges)
    taken = tf.pad(lack[:, :-1] * tf.nn.relu(edges[:, 1:]), [[0, 0], [1, 0], [0, 0]])
    matrix = added - taken + matrix
    largest = tf.reduce_max(matrix[..., None] * power[:, None], axis=2)
    return tf.matmul(matrix, power), largest, tf.matmul(matrix, positions)
