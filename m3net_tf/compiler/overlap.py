# SPDX-License-Identifier: Apache-2.0
"""The least distance at which an output may alias an input without overwriting unread items.

Kernels compute their output pixel by pixel. If the output begins some bytes before an input that no
later call reads, it overwrites only items that have been read. A chain of such calls needs little
more memory than its largest tensor.
"""

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.calls import View
from m3net_tf.compiler.structures import Window

Places = npt.NDArray[np.int64]


def window_slack(input_view: View, output: View, window: Window, channels_at_once: bool) -> int:
    """Least bytes from the output's start to the input's, for convolutions and pooling.

    It may be negative. Views have the shape (batches, rows, columns, channels), channels
    contiguous. With ``channels_at_once`` a pixel is written after its whole window has been read,
    else each channel after it has been read.
    """
    first_read = _first_reads(input_view, output.shape, window) - input_view.offset
    _, rows, columns, channels = output.shape
    written = _pixel_places(output, rows, columns) - output.offset
    last_written = np.maximum.accumulate(written + channels * output.item)
    reads = np.minimum.accumulate(first_read[::-1])[::-1]
    slack = [np.max(last_written[:-1] - reads[1:], initial=np.iinfo(np.int64).min)]
    if not channels_at_once:
        before = np.concatenate([[np.iinfo(np.int64).min // 2], last_written[:-1]])
        slack += [np.max(written - reads), np.max(before - reads)]
    # The input may begin at any distance if nothing is read after the first write.
    return max(int(max(slack)), -input_view.block.size)


def line_slack(input_view: View, output: View, window: Window) -> int:
    """As :func:`window_slack`, if each row of the output is computed channel by channel."""
    batches, rows = output.shape[:2]
    reads = _first_reads(input_view, output.shape, window) - input_view.offset
    written = _pixel_places(output, *output.shape[1:3]) - output.offset + output.shape[3]
    first_read = reads.reshape(batches * rows, -1).min(axis=1)
    last_written = np.maximum.accumulate(written.reshape(batches * rows, -1).max(axis=1))
    later_reads = np.minimum.accumulate(first_read[::-1])[::-1]
    return max(int(np.max(last_written - later_reads)), -input_view.block.size)


def _pixel_places(view: View, rows: int, columns: int) -> Places:
    """Offset of each pixel in the block, in the order of the loops."""
    batches = np.arange(view.shape[0])[:, None, None] * view.strides[0]
    y = np.arange(rows)[None, :, None] * view.strides[1]
    x = np.arange(columns)[None, None, :] * view.strides[2]
    return (view.offset + batches + y + x).reshape(-1)


def _first_reads(view: View, output_shape: tuple[int, ...], window: Window) -> Places:
    """Lowest offset that each output pixel reads."""
    y = _lowest(
        output_shape[1],
        window.row_stride,
        window.top,
        window.rows,
        window.row_dilation,
        view.shape[1],
        view.strides[1],
    )
    x = _lowest(
        output_shape[2],
        window.column_stride,
        window.left,
        window.columns,
        window.column_dilation,
        view.shape[2],
        view.strides[2],
    )
    batches = np.arange(view.shape[0])[:, None, None] * view.strides[0]
    return (view.offset + batches + y[None, :, None] + x[None, None, :]).reshape(-1)


def _lowest(
    count: int, stride: int, before: int, taps: int, dilation: int, size: int, step: int
) -> Places:
    """Lowest offset along one dimension that each output reads inside the input."""
    first = np.arange(count) * stride - before
    inside = -(-np.maximum(-first, 0) // dilation), (size - 1 - first) // dilation  # taps
    inside = inside[0], np.minimum(inside[1], taps - 1)
    far = np.iinfo(np.int64).max // 4
    tap = inside[0] if step >= 0 else inside[1]
    lowest: Places = np.where(inside[0] <= inside[1], (first + tap * dilation) * step, far)
    return lowest
