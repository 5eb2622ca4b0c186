# SPDX-License-Identifier: Apache-2.0
"""An export of an untrained network, for measurements that its weights do not change."""

from dataclasses import dataclass
from pathlib import Path

from m3net_tf.audio.frontend import FrontendConfig, write_c_tables
from m3net_tf.boards.builds.build import ARENA_SLACK_BYTES
from m3net_tf.compiler.goals import DEFAULT_GOAL, GoalName
from m3net_tf.export.c_files import CModel
from m3net_tf.export.operators import operators_of
from m3net_tf.export.warp_tables import write_warp_tables
from m3net_tf.runtime.detector_config import DetectorConfig, write_c_header
from m3net_tf.runtime.interpreter import Int8, host_arena_bytes
from m3net_tf.runtime.network import Int8Network

_MOST_BINS = 64


@dataclass(frozen=True)
class Quantizations:
    """What the numbers at the ends of a network mean: scale and zero point of each."""

    input: tuple[float, int] = (1 / 128, 0)
    output: tuple[float, int] = (1 / 256, -128)


def write_untrained(
    network: Int8Network,
    clips: Int8,
    classes: int,
    folder: Path,
    frontend: FrontendConfig | None = None,
    optimise: GoalName = DEFAULT_GOAL,
    weights_in_ram: int = 0,
    ends: Quantizations = Quantizations(),
) -> tuple[CModel, Int8]:
    """Write what a firmware is built with.

    Args:
        clips: its inputs, int8 of shape (clips, bins, frames, channels), where a waveform has one
            bin, or of any other shape.
        folder: an empty folder.
        frontend: computes the network's inputs; by default one with as many bins.
        optimise: as ``weights_in_ram``, see :class:`.CModel`.
        ends: for what the board prints; its network does not need them.

    Returns:
        The facts of the network, and the clips as the firmware takes them: int8 of shape (clips,
        bins, columns).
    """
    config = frontend or FrontendConfig(mel_bins=_bins_of(clips))
    # Other inputs are also sent as int8 features, in as many columns as their bytes fill.
    columns = clips.reshape(len(clips), config.feature_bins, -1)
    frames = columns.shape[2]
    labels = tuple(f"class{index}" for index in range(classes))
    operators = {kind for part in network.parts for kind in operators_of(part)}
    model = CModel(
        name="untrained",
        tflite=network.tflite,
        labels=labels,
        operators=tuple(sorted(operators)),
        input_bytes=clips[0].size,
        input_quantization=ends.input,
        output_quantization=ends.output,
        arena_bytes=sum(map(host_arena_bytes, network.parts)) + ARENA_SLACK_BYTES,
        arena_source="TFLite Micro on a 64-bit host, with room to spare",
        licence="Apache-2.0",
        importance=network.importance,
        optimise=optimise,
        weights_in_ram=weights_in_ram,
    )
    model.write(folder)
    if network.warp:
        write_warp_tables(network.warp, folder)
    write_c_tables(config, folder, frames=frames)
    write_c_header(DetectorConfig.default(config, frames, labels), folder)
    return model, columns


def _bins_of(clips: Int8) -> int:
    """The rows of maps, or bins that fill columns with inputs of any other shape."""
    if clips.ndim == 4 and clips.shape[1] > 1:
        return int(clips.shape[1])
    size = int(clips[0].size)
    choices: tuple[int, ...] = (FrontendConfig().mel_bins, *range(_MOST_BINS, 1, -1), size)
    return next(bins for bins in choices if size % bins == 0)
