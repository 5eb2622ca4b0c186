# SPDX-License-Identifier: Apache-2.0
"""The firmware of a run folder, with the choices that a user has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from m3net_tf.errors import FirmwareError
from m3net_tf.export import Bundle
from m3net_tf.firmware.build import build_firmware
from m3net_tf.firmware.image import FirmwareImage
from m3net_tf.progress import Log

MLPERF_MODES = ("performance", "energy")


def mlperf_settings(mode: str, model_id: str | None) -> list[str]:
    """Choices of a build for the MLPerf Tiny benchmark; none where they are the usual ones.

    Args:
        mode: one of ``MLPERF_MODES``, in which the firmware starts.
        model_id: the benchmark's name of the model, by which its runner chooses a data set.

    Raises:
        FirmwareError: there is no such mode.
    """
    if mode not in MLPERF_MODES:
        raise FirmwareError(
            f"MLPerf Tiny has no mode {mode!r}: choose one of {', '.join(MLPERF_MODES)}"
        )
    settings = [] if mode == MLPERF_MODES[0] else [f"M3NET_EEMBC_MODE={mode}"]
    return settings + ([f"M3NET_EEMBC_MODEL_ID={model_id}"] if model_id is not None else [])


def build_run(run: Path, board: str, settings: Sequence[str], report: Log) -> FirmwareImage:
    """Build the firmware of an exported run, below ``RUN/firmware``.

    With choices it goes into ``<board>-custom``, so that neither it nor the plain firmware, which
    other commands build again, takes the other's place.

    Raises:
        ModelError, DataError: the run has no whole export.
        FirmwareError: the firmware does not build.
    """
    bundle = Bundle.load(run / "export")
    folder = run / "firmware" / (f"{board}-custom" if settings else board)
    return build_firmware(bundle.folder, board, folder, settings=settings, report=report)
