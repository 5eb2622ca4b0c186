# SPDX-License-Identifier: Apache-2.0
"""A small network, its export folder and its firmware, made once for all firmware tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exported_library import WARP, make_bundle
from firmware_helpers import (
    BOARD,
    CLASSES,
    FRAMES,
    BuiltFirmware,
    random_features,
    skip_or_fail,
    small_model,
    write_bundle,
)
from monitor_host import build_monitor

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_compiled, build_firmware
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.export import Bundle
from m3net_tf.export.manifest import Manifest
from m3net_tf.runtime import DetectorConfig
from m3net_tf.runtime.network import Int8Network


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of firmware with TensorFlow Lite Micro are slow: compiling it once takes minutes."""
    for item in items:
        if isinstance(item, pytest.Function) and "tflm_possible" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def firmware_possible() -> None:
    """Skip where firmware with the compiled engine cannot be built and emulated."""
    if reason := why_no_emulation(BOARD):
        skip_or_fail(reason)


@pytest.fixture(scope="session")
def tflm_possible() -> None:
    """Skip without tools or sources of TensorFlow Lite Micro; fail if M3NET_REQUIRE_TFLM=1."""
    if reason := why_no_emulation(BOARD, "tflm"):
        skip_or_fail(reason)


@pytest.fixture(scope="session")
def small_tflite() -> bytes:
    """An int8 network of a few thousand parameters with the operators of the real ones."""
    from m3net_tf.quantization.ptq import quantize_int8
    from m3net_tf.system.keras import keras

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
def streaming_tflite() -> bytes:
    """An int8 network of stride two without padding in time, which streams."""
    from m3net_tf.quantization.ptq import quantize_int8
    from m3net_tf.system.keras import keras

    keras.utils.set_random_seed(5)
    layers = keras.layers
    inputs = layers.Input((FrontendConfig().mel_bins, FRAMES, 1))
    x = layers.Conv2D(8, (10, 3), strides=(4, 2), activation="relu")(inputs)
    x = layers.DepthwiseConv2D(3, activation="relu")(x)
    x = layers.Conv2D(16, 1, activation="relu")(x)
    x = layers.AveragePooling2D((6, 22))(x)
    head = layers.Conv2D(CLASSES, 1)
    outputs = layers.Softmax()(layers.Flatten()(head(x)))
    head.set_weights([60 * weights for weights in head.get_weights()])  # decided scores
    network = keras.Model(inputs, outputs, name="streamed")
    return quantize_int8(network, random_features(20, seed=1)[..., None])


@pytest.fixture(scope="session")
def arm_emulation() -> None:
    """Skip without compiler or emulator."""
    tools = ("arm-none-eabi-gcc", "arm-none-eabi-g++", "qemu-system-arm")
    if missing := [name for name in tools if shutil.which(name) is None]:
        skip_or_fail(f"{', '.join(missing)} not installed")


@pytest.fixture(scope="session")
def library_bundle(
    tmp_path_factory: pytest.TempPathFactory,
    make_manifest: Callable[..., Manifest],
    small_tflite: bytes,
) -> Bundle:
    """An export of the small network as far as libraries for other tools need it."""
    folder = tmp_path_factory.mktemp("library") / "export"
    return make_bundle(folder, make_manifest, Int8Network(small_tflite))


@pytest.fixture(scope="session")
def streaming_bundle(
    tmp_path_factory: pytest.TempPathFactory,
    make_manifest: Callable[..., Manifest],
    streaming_tflite: bytes,
) -> Bundle:
    """The same of a network whose live detection streams."""
    folder = tmp_path_factory.mktemp("streaming") / "export"
    return make_bundle(folder, make_manifest, Int8Network(streaming_tflite), push_columns=4)


@pytest.fixture(scope="session")
def warped_bundle(
    tmp_path_factory: pytest.TempPathFactory, make_manifest: Callable[..., Manifest]
) -> Bundle:
    """The same with two networks of a few parameters and the warp between them."""
    from m3net_tf.quantization.ptq import quantize_int8
    from m3net_tf.system.keras import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = layers.Input((WARP.bins, WARP.frames_in, 1))
    x = layers.Conv2D(1, (WARP.bins, 1), activation="sigmoid")(inputs)
    importance = keras.Model(inputs, layers.Reshape((WARP.frames_in,))(x))
    inputs = layers.Input((WARP.bins, WARP.frames_out, 3))
    x = layers.AveragePooling2D((10, 6))(layers.Conv2D(CLASSES, 1)(inputs))
    head = layers.Conv2D(CLASSES, (4, 4))
    x = layers.Flatten()(head(x))
    classifier = keras.Model(inputs, layers.Softmax()(x))
    head.set_weights([20 * weights for weights in head.get_weights()])  # decided scores
    maps = np.random.default_rng(2).integers(-128, 128, (20, WARP.bins, WARP.frames_out, 3))
    network = Int8Network(
        quantize_int8(classifier, maps.astype(np.int8)),
        quantize_int8(importance, random_features(20, seed=1)[..., None]),
        WARP,
    )
    return make_bundle(tmp_path_factory.mktemp("warped") / "export", make_manifest, network)


@pytest.fixture(scope="session")
def built(
    firmware_possible: None, small_tflite: bytes, tmp_path_factory: pytest.TempPathFactory
) -> BuiltFirmware:
    """The firmware of the small network on the first board, with the compiled engine."""
    folder = tmp_path_factory.mktemp("firmware")
    model = small_model(small_tflite)
    bundle = write_bundle(folder / "bundle", model)
    image = build_compiled(bundle, model, BOARD, folder / "build")
    return BuiltFirmware(bundle, image, find_machine(BOARD), small_tflite)


@pytest.fixture(scope="session")
def built_tflm(
    tflm_possible: None, small_tflite: bytes, tmp_path_factory: pytest.TempPathFactory
) -> BuiltFirmware:
    """The same with TensorFlow Lite Micro."""
    folder = tmp_path_factory.mktemp("tflm")
    bundle = write_bundle(folder / "bundle", small_model(small_tflite))
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
        config: FrontendConfig | None = None,
        detector: DetectorConfig | None = None,
        app_dir: Path | None = None,
        settings: tuple[str, ...] = (),
    ) -> Path:
        model = small_model(built.tflite, config)
        bundle = write_bundle(folder / "bundle", model, config, detector=detector)
        image = build_compiled(
            bundle, model, BOARD, folder / "build", app_dir=app_dir, settings=settings
        )
        elf = folder / f"{next(elf_count)}.elf"
        shutil.copyfile(image.elf, elf)
        return elf

    return build


@pytest.fixture(scope="session")
def build_tflm(
    built_tflm: BuiltFirmware, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """As :func:`build_variant` with TensorFlow Lite Micro, its arena and facts of the network."""
    folder = tmp_path_factory.mktemp("tflm_variants")
    elf_count = iter(range(10_000))

    def build(build_arena_bytes: int | None = None, **facts: object) -> Path:
        bundle = write_bundle(folder / "bundle", small_model(built_tflm.tflite, **facts))
        image = build_firmware(bundle, BOARD, folder / "build", build_arena_bytes)
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
