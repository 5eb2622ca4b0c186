# SPDX-License-Identifier: Apache-2.0
"""Networks of other publishers, as teachers: fetched like data sets, into the user's cache."""

import dataclasses
from pathlib import Path

from m3net_tf.system.artifacts import cache_folder, file_sha256
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.locks import in_use
from m3net_tf.system.progress import Log, silent


@dataclasses.dataclass(frozen=True)
class PublishedNetwork:
    """A file that its publisher offers.

    Attributes:
        sha256: of each known version of the file.
        licence: by the publisher's words.
        about: what it is, for the user.
    """

    url: str
    sha256: tuple[str, ...]
    licence: str
    about: str


NETWORKS = {
    "yamnet": PublishedNetwork(
        url="https://storage.googleapis.com/download.tensorflow.org/models/tflite/task_library/"
        "audio_classification/android/lite-model_yamnet_classification_tflite_1.tflite",
        sha256=(
            # Without metadata: the file that this project measured.
            "687f226c147a2caab4706fbbab5e9cecb14b9a368264bf61108078b1fddf68f5",
            # With metadata, 4,126,810 bytes: what users of the address quote.
            "10c95ea3eb9a7bb4cb8bddf6feb023250381008177ac162ce169694d05c317de",
        ),
        licence="Apache-2.0, Google (tensorflow/models, research/audioset/yamnet)",
        about="YAMNet, trained on AudioSet: 15,600 samples at 16 kHz to 521 scores; its embedding "
        "is global_average_pooling2d/Mean",
    ),
}


def network_path(name: str) -> Path:
    """Where :func:`fetch_network` puts a network."""
    return cache_folder() / "teachers" / f"{name}.tflite"


def find_teacher(name: str) -> Path:
    """The file that ``distillation.teacher`` names: a path, or a fetched network.

    Raises:
        ConfigError: there is no such file.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    fetched = network_path(name)
    if name in NETWORKS and fetched.is_file():
        return fetched
    remedy = f"run m3net data fetch {name}" if name in NETWORKS else "name a .tflite or .keras"
    raise ConfigError(f"distillation.teacher {name} is not a file: {remedy}")


def fetch_network(
    name: str, *, url: str | None = None, log: Log = silent, pause_s: float = 1.0
) -> Path:
    """Download a network, unless it is there, and verify it.

    Args:
        name: one of :data:`NETWORKS`.
        url: a mirror: the file's address, or a local path.
        pause_s: seconds before the first retry.

    Raises:
        DataError: server or disk fail, or the file has another checksum.
        InUseError: another fetch is running.
    """
    # Checks of a recipe read this file, and a light installation has no requests.
    from m3net_tf.audio.datasets.download import Downloader, forget_part

    network = NETWORKS[name]
    target = network_path(name)
    source = url or network.url
    with in_use(target.parent):
        if target.is_file() and file_sha256(target) in network.sha256:
            log(f"{target}: {name} is already there")
            return target
        part = target.with_name(f"{name}.part")
        arrived = target.with_name(f"{name}.arrived")
        try:
            Downloader(part, log, pause_s)(source, str(arrived), None)
        except OSError as error:
            raise DataError(
                f"{part}: cannot be written ({error.strerror or error}); free some space, or set "
                "M3NET_CACHE"
            ) from None
        forget_part(part)
        found = file_sha256(arrived)
        if found not in network.sha256:
            arrived.unlink()
            raise DataError(
                f"{source}: the SHA-256 of the file is {found}, not a known one of {name} "
                f"({', '.join(network.sha256)}), so it was deleted; choose another with --url"
            )
        arrived.replace(target)
    return target
