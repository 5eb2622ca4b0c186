# SPDX-License-Identifier: Apache-2.0
"""A small network, its export folder and its firmware, made once for all firmware tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from firmware_helpers import (
    ARENA_BYTES,
    BOARD,
    CLASSES,
    FRAMES,
    BuiltFirmware,
    random_features,
    skip_or_fail,
    write_bundle,
)
from monitor_host import build_monitor

from m3net_tf.emulation import find_machine
from m3net_tf.emulation.starting import why_no_emulation
from m3net_tf.firmware.build import build_firmware
from m3net_tf.frontend import FrontendConfig


@pytest.fixture(scope="session")
def firmware_possible() -> None:
    """Skip where tools or sources are not available; fail there if M3NET_REQUIRE_TFLM=1."""
    if reason := why_no_emulation(BOARD, "tflm"):
        skip_or_fail(reason)


@pytest.fixture(scope="session")
def small_tflite() -> bytes:
    """An int8 network of a few thousand parameters with the operators of the real ones."""
    from m3net_tf.keras import keras
    from m3net_tf.quantization.ptq import quantize_int8

    keras.utils.set_random_seed(7)
    layers = keras.layers
    inputs = layers.Input((FrontendConfig().mel_bins, FRAMES, 1))
    x = layers.Conv2D(8, (10, 4), strides=4, padding="same", activation="relu")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Conv2D(16, 1, activation="relu")(x)
    x = layers.AveragePooling2D((10, 13))(x)
    # A 1x1 convolution, because desktop and device round FULLY_CONNECTED differently.
    x = layers.Flatten()(layers.Conv2D(CLASSES, 1)(x))
    outputs = layers.Softmax()(x)
    network = keras.Model(inputs, outputs, name="small")
    return quantize_int8(network, random_features(20, seed=1)[..., None])


@pytest.fixture(scope="session")
def built(
    firmware_possible: None, small_tflite: bytes, tmp_path_factory: pytest.TempPathFactory
) -> BuiltFirmware:
    """The firmware of the small network on the first board."""
    folder = tmp_path_factory.mktemp("firmware")
    bundle = write_bundle(folder / "bundle", small_tflite)
    image = build_firmware(bundle, BOARD, folder / "build")
    return BuiltFirmware(bundle, image, find_machine(BOARD), small_tflite)


@pytest.fixture(scope="session")
def build_variant(
    built: BuiltFirmware, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Builds variants of the shared firmware in one folder, so that little is compiled again."""
    folder = tmp_path_factory.mktemp("variants")
    elf_count = iter(range(10_000))

    def build(
        *,
        change: Callable[[Path], None] | None = None,
        config: FrontendConfig | None = None,
        arena_bytes: int | None = None,
        exported_arena_bytes: int = ARENA_BYTES,
        operators: tuple[str, ...] | None = None,
        app_dir: Path | None = None,
        settings: tuple[str, ...] = (),
    ) -> Path:
        bundle = write_bundle(
            folder / "bundle", built.tflite, config, exported_arena_bytes, operators
        )
        if change:
            change(bundle)
        image = build_firmware(
            bundle, BOARD, folder / "build", arena_bytes, app_dir=app_dir, settings=settings
        )
        elf = folder / f"{next(elf_count)}.elf"
        shutil.copyfile(image.elf, elf)
        return elf

    return build


@pytest.fixture(scope="session")
def monitor_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The monitor compiled for the host with sanitisers and a stand-in for a model."""
    return build_monitor(tmp_path_factory.mktemp("monitor"))


@pytest.fixture(scope="session")
def energy_monitor_host(monitor_host: Path) -> Path:
    """The same, but it starts in the benchmark's energy mode with another model id."""
    choices = ("M3NET_EEMBC_MODE=energy", "M3NET_EEMBC_MODEL_ID=ic01")
    return build_monitor(monitor_host.parent, *choices)


@pytest.fixture()
def counting() -> tuple[list[tuple[int, int]], Callable[[int, int], None]]:
    """A progress callback and the list of its calls."""
    calls: list[tuple[int, int]] = []
    return calls, lambda done, total: calls.append((done, total))
