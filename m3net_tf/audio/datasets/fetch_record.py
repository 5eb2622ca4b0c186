# SPDX-License-Identifier: Apache-2.0
"""Records the sources and states of a data set's archives in a JSON file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.errors import DataError


class ArchiveState(TypedDict, total=False):
    """Source and state of an archive.

    Attributes:
        checksum: ``md5:...`` or ``sha256:...``; recorded once it is unpacked.
        checksum_origin: ``published`` or ``first download``.
    """

    url: str
    checksum: str
    checksum_origin: str
    bytes: int
    folder: str


class FetchRecord:
    """Sources and states of archives, stored in a JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        archives = read_json(path).get("archives") if path.is_file() else {}
        if not isinstance(archives, dict):
            raise DataError(f"{path} is not a download record: delete it and run again")
        self._archives: dict[str, ArchiveState] = archives

    def get(self, name: str) -> ArchiveState:
        """The state of an archive; empty for a new one."""
        return self._archives.get(name, {})

    def checksum(self, name: str, key: str) -> str:
        """Checksum of a volume of the archive ``key`` if that was unpacked, else ''."""
        return self.get(name).get("checksum", "") if "folder" in self.get(key) else ""

    def begin(self, name: str, source: str) -> None:
        """Record the source of an archive before its download."""
        if self.get(name).get("url") != source:
            self._archives[name] = {"url": source}
            self._write()

    def place(self, key: str, fetched: Mapping[str, ArchiveState], folder: Path) -> None:
        """Record the folder of an unpacked archive right before it is moved there."""
        for name, state in fetched.items():
            self._archives[name] = {**state}
        self._archives[key]["folder"] = folder.name
        self._write()

    def unpacked(self, name: str) -> bool:
        """Whether the archive's folder exists; it is created by one rename, so it is complete."""
        folder = self.get(name).get("folder")
        return folder is not None and (self.path.parent / folder).is_dir()

    def _write(self) -> None:
        write_json(self.path, {"archives": self._archives})
