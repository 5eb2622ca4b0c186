# SPDX-License-Identifier: Apache-2.0
"""Another training's model on an emulated board: over its console, and back."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import APPS, BOARD, CLASSES, random_features, skip_or_fail
from refusals import refuses

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.builds import boards, build
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.boards.device import Device, open_port
from m3net_tf.boards.device.updating import image_for, return_to_former, slots_of, update
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.export import Bundle
from m3net_tf.export.from_file import export_file
from m3net_tf.export.model_image import model_image, structure_of
from m3net_tf.system.errors import FirmwareError, ModelError

LABELS = tuple(f"label{index}" for index in range(CLASSES))
FEATURES = random_features(1, seed=5)


def trained(seed: int, *, filters: int = 16) -> bytes:
    """An int8 network with a window for Winograd, a sum, and other weights for each seed."""
    from m3net_tf.quantization.ptq import quantize_int8
    from m3net_tf.system.keras import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = layers.Input((FrontendConfig().mel_bins, 49, 1))
    x = layers.Conv2D(8, (10, 4), strides=4, padding="same", activation="relu")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Add()([x, layers.Conv2D(8, 1)(x)])
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(CLASSES, 1)(layers.AveragePooling2D((10, 13))(x))
    network = keras.Model(inputs, layers.Softmax()(layers.Flatten()(x)), name=f"seed{seed}")
    return quantize_int8(network, random_features(20, seed=seed)[..., None])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """Exports a network of a seed as updatable, or as not."""
    folder = tmp_path_factory.mktemp("trainings")

    def export(seed: int, *, labels: tuple[str, ...] = LABELS, filters: int = 16) -> Bundle:
        run = folder / f"{seed}-{labels[0]}-{filters}"
        if not run.is_dir():
            run.mkdir()
            (run / "any.tflite").write_bytes(trained(seed, filters=filters))
        file = run / "any.tflite"
        bundle = export_file(file, run, recipe=FrontendConfig(), labels=labels)
        bundle.set_goal("cycles", updatable=True)
        return bundle

    return export


#: A board for each order of weights.
ORDERS = (BOARD, "mps2_an385", "mps3_an547", "qemu_riscv32")


@pytest.fixture(params=ORDERS)
def board(
    exported: Callable[..., Bundle],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Device]:
    """A board with the model of seed 1, and a storage in the memory that stands for its flash.

    This memory outlasts a reset.
    """
    name = request.param
    if reason := why_no_emulation(name):
        skip_or_fail(reason)
    usual = boards.load_board(name)
    flash = usual.memory["flash"]
    middle = flash.start + flash.bytes // 2
    storage = boards.Storage(start=middle, sector_bytes=0x400, sectors=2, word_bytes=4)
    facts = dataclasses.replace(usual, storage=storage)
    monkeypatch.setattr(build, "load_board", lambda _: facts)
    app = shutil.copytree(FIRMWARE_DIR / "app", tmp_path / "app")
    shutil.copy(APPS / "ram_flash" / "ram_flash.c", app)
    bundle = exported(1)
    code = bundle.code()
    image = build.build_compiled(
        bundle.folder, bundle.c_model, name, tmp_path / "build", code, app_dir=app
    )
    with Device(open_port(f"qemu:{name}", firmware=lambda _: image.elf)) as device:
        yield device


def scores(device: Device) -> np.ndarray:
    device.load(FEATURES[0])
    return device.infer().output


@pytest.mark.slow
def test_the_board_gives_the_bytes_of_each_training(board: Device, exported: Callable[..., Bundle]):
    others = [exported(2, labels=tuple(f"other{index}" for index in range(CLASSES))), exported(3)]
    want = [each.run_reference(FEATURES[..., None])[0] for each in (exported(1), *others)]
    assert len({each.tobytes() for each in want}) == 3
    np.testing.assert_array_equal(scores(board), want[0])
    for number, other in enumerate(others):
        slots = update(board, image_for(board, other.folder.parent, None))
        assert slots["active"] == str(number)
        np.testing.assert_array_equal(scores(board), want[1 + number])
        assert board.info().labels == other.labels
        board.require_model(other.manifest.model.sha256, "")
    return_to_former(board)
    np.testing.assert_array_equal(scores(board), want[1])
    wider = exported(1, filters=20)
    with refuses(FirmwareError, wider.folder.parent):
        image_for(board, wider.folder.parent, None)
    assert slots_of(board)["active"] == "0"


@pytest.mark.slow
def test_only_other_values_leave_the_structure(exported: Callable[..., Bundle]):
    first = exported(1)
    structure = structure_of(first.folder, first.code())
    tuned = exported(2)
    changed = tuple(
        dataclasses.replace(each, threshold=0.9, release=0.4) for each in tuned.detector.classes
    )
    tuned.set_detector(dataclasses.replace(tuned.detector, classes=changed))
    assert structure_of(tuned.folder, tuned.code()) == structure
    slower = tuple(dataclasses.replace(each, suppression_columns=7) for each in changed)
    tuned.set_detector(dataclasses.replace(tuned.detector, classes=slower))
    assert structure_of(tuned.folder, tuned.code()) != structure
    wider = exported(1, filters=20)
    assert structure_of(wider.folder, wider.code()) != structure


def test_an_export_with_its_weights_in_its_code_has_no_image(exported: Callable[..., Bundle]):
    bundle = exported(3)
    bundle.set_goal("cycles")
    with refuses(ModelError, bundle.folder, "--updatable"):
        model_image(bundle, "dsp")
