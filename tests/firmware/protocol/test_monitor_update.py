# SPDX-License-Identifier: Apache-2.0
"""Another model over the protocol, for the host's monitor behind a pty."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import run_tool
from monitor_host import CLASSES, behind_pty, build_monitor, expected_output
from refusals import refuses
from typer.testing import CliRunner

from m3net_tf.boards.device import Device, open_port
from m3net_tf.boards.device.messages import BoardError
from m3net_tf.boards.device.updating import image_for, return_to_former, slots_of, update
from m3net_tf.cli.app import app
from m3net_tf.export.model_image import known_features, pack_image
from m3net_tf.system.errors import FirmwareError, ModelError

STRUCTURE = bytes([1, 2, 3]).ljust(32, b"\0").hex()
PORTABLE = 3
WEIGHTS = 397  # of firmware/host/model.c
FEATURES = known_features(40 * 49).reshape(40, 49)


def image_of(
    added: int,
    structure: str = STRUCTURE,
    test_crc: int | None = None,
    sha256: str | None = None,
) -> bytes:
    """A model that adds a number to each sum of firmware/host/model.c."""
    parts = [b"\1" * WEIGHTS, added.to_bytes(4, "little")]
    texts = (
        f"model{added}",
        sha256 or f"{added:064x}",
        *(f"name{label}" for label in range(CLASSES)),
    )
    crc = zlib.crc32(scores_of(added).tobytes()) if test_crc is None else test_crc
    return pack_image(PORTABLE, structure, [(50_000, 40_000)] * CLASSES, texts, parts, crc)


def scores_of(added: int) -> np.ndarray:
    """Scores of that model for ``FEATURES``, int8 of shape (classes,)."""
    values = FEATURES.astype(int).ravel()
    sums = np.array([values[label::CLASSES].sum() + added for label in range(CLASSES)])
    return np.clip(sums // 64, -128, 127).astype(np.int8)


@pytest.fixture(scope="module")
def updatable_host(monitor_host: Path) -> Path:
    storage = "M3NET_HOST_STORAGE_WORD_BYTES=4"  # another test builds a board without
    return build_monitor(monitor_host.parent, storage, "M3NET_HOST_UPDATABLE=ON")


@pytest.fixture()
def device(updatable_host: Path) -> Iterator[Device]:
    with ExitStack() as stack:
        path = stack.enter_context(behind_pty(updatable_host))
        yield stack.enter_context(Device(open_port(path)))


def run(device: Device) -> np.ndarray:
    device.load(FEATURES)
    return device.infer().output


def test_an_update_changes_scores_names_and_thresholds_until_it_is_taken_back(device: Device):
    np.testing.assert_array_equal(run(device), expected_output(FEATURES))
    lines: list[str] = []
    assert update(device, image_of(640), lines.append)["active"] == "0"
    assert lines
    np.testing.assert_array_equal(run(device), scores_of(640))
    assert device.info().labels[1] == "name1"
    assert device.info().model["name"] == "model640"
    assert device.info().model["sha256"] == f"{640:064x}"
    assert device.request("threshold").lines[0].number("threshold") == 50_000
    assert update(device, image_of(1280))["active"] == "1"
    np.testing.assert_array_equal(run(device), scores_of(1280))
    assert return_to_former(device)["active"] == "0"
    np.testing.assert_array_equal(run(device), scores_of(640))


def test_saved_thresholds_belong_to_the_model(device: Device):
    device.request("threshold 0 30000 20000")
    device.request("save")
    update(device, image_of(640))
    assert device.request("threshold").number("saved") == 0
    return_to_former(device)
    assert device.request("threshold").number("saved") == 1


def begun(device: Device, image: bytes, count: int) -> None:
    device.request(f"model begin {len(image)}")
    for at in range(0, count, 256):
        device.send_block(at, image[at : at + 256])


def test_an_update_that_stops_changes_nothing(device: Device):
    update(device, image_of(640))
    begun(device, image_of(1280), 512)
    device.restart()
    assert slots_of(device)["active"] == "0"
    np.testing.assert_array_equal(run(device), scores_of(640))
    begun(device, image_of(1280), 512)
    device.request("model abort")
    with pytest.raises(BoardError, match="order"):
        device.request("model commit")
    begun(device, image_of(1280), 512)
    device.load(FEATURES)  # another input takes the place of the update
    with pytest.raises(BoardError, match="order"):
        device.request("model commit")
    assert update(device, image_of(1280))["active"] == "1"


def test_a_model_is_not_an_input_of_the_network(device: Device):
    image = image_of(640)
    begun(device, image, len(image))
    with pytest.raises(BoardError, match="no_input"):
        device.infer()
    assert device.request("model commit").last.fields["next"] == "0"
    assert slots_of(device)["active"] == "own"
    np.testing.assert_array_equal(run(device), expected_output(FEATURES))  # until it restarts


def test_blocks_that_do_not_fit_are_refused(device: Device):
    image = image_of(640)
    begun(device, image, 256)
    with pytest.raises(BoardError, match="block_offset"):
        device.send_block(512, image[512:])
    device.send_block(0, image[:256])  # the answer to it was lost
    with pytest.raises(BoardError, match="block_bytes"):
        device.send_block(256, image[256:257])
    device.send_block(256, image[256:512])
    with pytest.raises(BoardError, match="block_bytes"):
        device.send_block(512, image[512:] + b"more")


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (image_of(640, structure="ab" * 32), "structure"),
        (image_of(640, test_crc=1), "self_test"),
        (image_of(640)[:-1] + b"\7", "image"),
        (image_of(640).ljust(100_000, b"\0"), "room"),
        (image_of(640, sha256="ab"), "image"),
    ],
)
def test_the_board_refuses_and_keeps_its_model(device: Device, image: bytes, code: str):
    with pytest.raises(BoardError) as caught:
        update(device, image)
    assert caught.value.code == code
    assert slots_of(device)["next"] == "own"
    np.testing.assert_array_equal(run(device), expected_output(FEATURES))


def test_wrong_words_are_refused(device: Device):
    for words, code in (
        ("begin", "usage"),
        ("begin x", "number"),
        ("begin 0", "room"),
        ("commit 1", "usage"),
        ("return", "order"),
    ):
        with pytest.raises(BoardError) as caught:
            device.request(f"model {words}")
        assert caught.value.code == code


def test_files_for_other_boards_are_refused_before_they_are_sent(device: Device, tmp_path: Path):
    file = tmp_path / "other.m3net-model"
    file.write_bytes(image_of(640))
    assert image_for(device, tmp_path, file) == image_of(640)
    file.write_bytes(image_of(640, structure="ab" * 32))
    with refuses(FirmwareError, str(file)):
        image_for(device, tmp_path, file)
    dsp = pack_image(1, STRUCTURE, [], ("a", "0" * 64), [], 0)
    for content, error in (
        (dsp, FirmwareError),
        (image_of(640)[:-1], ModelError),
        (b"M3D", ModelError),
    ):
        file.write_bytes(content)
        with refuses(error, str(file)):
            image_for(device, tmp_path, file)


def test_the_command_updates_and_returns(updatable_host: Path, tmp_path: Path):
    files = [tmp_path / f"{added}.m3net-model" for added in (640, 1280)]
    for file, added in zip(files, (640, 1280), strict=True):
        file.write_bytes(image_of(added))
    with behind_pty(updatable_host) as path:

        def answer(*words: str | Path) -> dict[str, str]:
            command = ["device", "update", path, "--run", tmp_path, "--json", *words]
            result = CliRunner().invoke(app, [*map(str, command)])
            assert result.exit_code == 0, result.output
            return json.loads(result.stdout)

        assert answer("--image", files[0])["active"] == "0"
        assert answer("--image", files[1])["sha256"] == f"{1280:064x}"
        assert answer("--back")["sha256"] == f"{640:064x}"


def test_a_board_without_slots_says_so(monitor_host: Path):
    with (
        behind_pty(monitor_host) as path,
        Device(open_port(path)) as device,
        refuses(FirmwareError, "--updatable"),
    ):
        slots_of(device)


def test_the_monitor_survives_malformed_updates(updatable_host: Path):
    run_tool(updatable_host, "batter", 20_000, 2)
