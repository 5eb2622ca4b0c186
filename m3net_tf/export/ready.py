# SPDX-License-Identifier: Apache-2.0
"""Which runs have an int8 network already, so that an export needs no clips; no TensorFlow."""

from pathlib import Path

from m3net_tf.export.writing import existing_export
from m3net_tf.networks.pretrained import packed_tflite
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import silent
from m3net_tf.training.run import Run


def has_int8_network(run: Run, export: Path) -> bool:
    """Whether ``m3net quantize`` or an earlier export has made the int8 network of a run.

    Raises:
        ModelError: the folder holds other files.
    """
    if not run.finished:
        return False
    if run.quantized_path.exists():
        return True
    bundle = existing_export(export, silent)
    if bundle is None or bundle.manifest.quantization.chosen:
        return False
    return bundle.manifest.trained_model_sha256 == _trained_sha256(run)


def require_clips(run: Run) -> None:
    """Check that the clips are available with which an export calibrates the int8 network.

    Raises:
        ModelError: the run is unfinished.
        DataError: they are not; the message says why they are needed, and how to name them.
    """
    try:
        run.check(None)
    except DataError as error:
        raise DataError(
            f"{run.folder} has no int8 network yet, and its calibration needs clips: {error}"
        ) from None


def packed_network(run: Run) -> Path | None:
    """The exported ``.tflite`` that was packed with a run's trained network; None without.

    ``m3net model pack`` puts both into one folder. A copy of a trained network of the package has
    the package's ``.tflite``.
    """
    return packed_tflite(run.folder, _trained_sha256(run)) if run.finished else None


def _trained_sha256(run: Run) -> str:
    return sha256_of(run.model_path.read_bytes())
