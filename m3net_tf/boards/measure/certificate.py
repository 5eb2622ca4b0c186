# SPDX-License-Identifier: Apache-2.0
"""The certificate of an export: Python against the compiled C over its test vectors."""

import dataclasses
import subprocess
from pathlib import Path

import numpy as np

from m3net_tf.audio.frontend import FrontendConfig, fixed_features_int8
from m3net_tf.boards.builds.boards import find_machine, load_board
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.sources import MissingError
from m3net_tf.boards.emulation.starting import prove_arena
from m3net_tf.boards.emulation.streaming import StreamCost, streamed_export
from m3net_tf.boards.measure.cost import Clips, Measurement, measure
from m3net_tf.export import Bundle
from m3net_tf.export.certificate import (
    BoardAnswer,
    Certificate,
    Expected,
    read_vectors,
    require_parity,
    valid_certificate,
    write_certificate,
)
from m3net_tf.runtime.desktop import compiled_unavailable_reason
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import ModelError
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent


@writes_into("folder", makes=True)
def certify_export(bundle: Bundle, board: str, folder: Path, log: Log = silent) -> Certificate:
    """Prove the arena and compare Python with the device's code over the export's test vectors.

    A certificate of the same firmware is kept.

    Returns:
        The certificate; without an emulator it says "host only" and gives the reason.

    Raises:
        FirmwareError: the firmware does not build or run, or its numbers drift from Python's.
    """
    find_machine(board)  # refuses a board without an emulator
    expected = read_vectors(bundle)
    try:
        image = prove_arena(bundle, board, folder, log)
    except MissingError as error:
        log(f"nothing is proven on a board, the certificate is of the host only: {error}")
        expected = with_host(bundle, expected, log)
        certificate = write_certificate(bundle, expected, None, str(error))
    else:
        if valid := valid_certificate(bundle, board, _image_sha256(image)):
            return valid
        log(f"running {len(expected.pcm)} test vectors on the emulated {board}")
        clips = Clips(expected.pcm, expected.features)
        measured = measure(bundle, image, clips, log, certified=True)
        expected = with_fixed_features(bundle.frontend, image, with_host(bundle, expected, log))
        stream = streamed_export(bundle, board, stream_folder(folder), expected.features, log)
        certificate = write_certificate(bundle, expected, board_answer(measured, stream))
    require_parity(bundle, certificate)
    return certificate


def with_host(bundle: Bundle, expected: Expected, log: Log) -> Expected:
    """Add the scores of TFLite Micro and of the compiled engine on the host, where they run."""
    log("TFLite Micro and the compiled engine on this computer")
    if not tflm_unavailable_reason():
        expected = dataclasses.replace(expected, host_scores=bundle.run_tflm(expected.features))
    if reason := compiled_unavailable_reason():
        log(f"the compiled engine is not compared on the host: {reason}")
        return expected
    try:
        scores = bundle.run_compiled(expected.features)
    except ModelError as error:
        log(f"the compiled engine is not compared on the host: {error}")
        return expected
    return dataclasses.replace(expected, compiled_scores=scores)


def with_fixed_features(
    frontend: FrontendConfig, image: FirmwareImage, expected: Expected
) -> Expected:
    """Add the fixed-point features that a firmware computes; waveforms are such in all."""
    if frontend.kind == "waveform":
        return dataclasses.replace(expected, fixed_features=expected.features[..., 0])
    if not (load_board(image.board).fixed_frontend or image.dsp_missing):
        return expected
    fixed = np.stack([fixed_features_int8(frontend, wave) for wave in expected.pcm])
    return dataclasses.replace(expected, fixed_features=fixed)


def _image_sha256(image: FirmwareImage) -> str:
    return sha256_of(image.elf.with_suffix(".bin").read_bytes())


def stream_folder(folder: Path) -> Path:
    """Folder of the streaming firmware, beside the folder of another firmware."""
    return folder.with_name(f"{folder.name}-stream")


def board_answer(measured: Measurement, stream: StreamCost | None = None) -> BoardAnswer:
    """A board's outputs for features and for samples, and its cost, for a certificate."""
    image, from_sound = measured.image, measured.from_sound
    emulator = find_machine(image.board).emulator
    version = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=False)
    return BoardAnswer(
        board=image.board,
        emulator=version.stdout.partition("\n")[0] or emulator,
        firmware_sha256=_image_sha256(image),
        outputs=measured.from_features.outputs,
        features=from_sound.features,
        labels=from_sound.labels,
        cost=measured.cost,
        stream=stream,
    )
