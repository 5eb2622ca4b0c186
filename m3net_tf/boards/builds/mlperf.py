# SPDX-License-Identifier: Apache-2.0
"""Settings of a build for the MLPerf Tiny benchmark."""

from __future__ import annotations

from m3net_tf.system.errors import FirmwareError

MLPERF_MODES = ("performance", "energy")


def mlperf_settings(mode: str, model_id: str | None) -> list[str]:
    """Settings of a build for the MLPerf Tiny benchmark; empty for the defaults.

    Args:
        mode: mode after a reset, one of ``MLPERF_MODES``.
        model_id: the benchmark's id of the model; its runner selects a data set by it.

    Raises:
        FirmwareError: there is no such mode.
    """
    if mode not in MLPERF_MODES:
        raise FirmwareError(
            f"MLPerf Tiny has no mode {mode!r}: choose one of {', '.join(MLPERF_MODES)}"
        )
    settings = [] if mode == MLPERF_MODES[0] else [f"M3NET_EEMBC_MODE={mode}"]
    return settings + ([f"M3NET_EEMBC_MODEL_ID={model_id}"] if model_id is not None else [])
