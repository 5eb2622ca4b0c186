# SPDX-License-Identifier: Apache-2.0
"""Networks of other publishers, fetched from a local server."""

import hashlib
import json
from pathlib import Path

import pytest
from refusals import refuses
from typer.testing import CliRunner

from m3net_tf.audio.datasets import networks
from m3net_tf.audio.datasets.networks import NETWORKS, PublishedNetwork, fetch_network, find_teacher
from m3net_tf.cli import app
from m3net_tf.system.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("private_cache")
CONTENT = b"network" * 3000


@pytest.fixture
def published(server, monkeypatch) -> PublishedNetwork:
    """A small file on the server in place of YAMNet."""
    (server.folder / "small.tflite").write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    small = PublishedNetwork(f"{server.url}small.tflite", ("0" * 64, sha256), "Apache-2.0", "small")
    monkeypatch.setitem(networks.NETWORKS, "yamnet", small)
    return small


def test_a_network_is_fetched_once(published, server):
    server.cut_after = [5000]
    path = fetch_network("yamnet", pause_s=0.01)
    assert path.read_bytes() == CONTENT
    assert [bytes_range for _, bytes_range, _ in server.asked] == [None, "bytes=5000-"]
    assert find_teacher("yamnet") == path
    server.forget()
    assert fetch_network("yamnet") == path
    assert server.asked == []
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_another_file_is_refused(published, server, tmp_path):
    (server.folder / "small.tflite").write_bytes(b"other")
    with refuses(DataError, published.url, published.sha256[1], "--url"):
        fetch_network("yamnet")
    with refuses(ConfigError, "yamnet", "m3net data fetch yamnet"):
        find_teacher("yamnet")
    own = tmp_path / "own.tflite"
    own.write_bytes(CONTENT)
    assert fetch_network("yamnet", url=str(own)).read_bytes() == CONTENT


def test_a_file_of_the_user_comes_first(published, tmp_path, monkeypatch):
    fetch_network("yamnet")
    monkeypatch.chdir(tmp_path)
    Path("yamnet").write_bytes(b"own")
    assert find_teacher("yamnet") == Path("yamnet")
    with refuses(ConfigError, "other.tflite", ".keras"):
        find_teacher("other.tflite")


def test_the_command_says_licence_and_use(published):
    result = CliRunner().invoke(app, ["data", "fetch", "yamnet"])
    assert result.exit_code == 0, result.output
    assert "Apache-2.0" in result.stdout
    assert "teacher: yamnet" in result.stdout
    result = CliRunner().invoke(app, ["data", "fetch", "yamnet", "--json"])
    facts = json.loads(result.stdout)
    assert facts["sha256"] == published.sha256[1]
    assert Path(facts["file"]).read_bytes() == CONTENT
    assert facts["licence"] == "Apache-2.0"


def test_yamnet_has_a_checksum_of_the_shared_copy():
    path = Path(__file__).parents[4] / "shared" / "data" / "yamnet.tflite"
    if not path.is_file():
        pytest.skip(f"no real data: {path} is missing")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in NETWORKS["yamnet"].sha256
