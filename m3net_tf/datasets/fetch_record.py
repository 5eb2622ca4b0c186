# SPDX-License-Identifier: Apache-2.0
"""Where the archives of a data set come from and what became of them, in one JSON file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3net_tf.artifacts import read_json, write_json
from m3net_tf.errors import DataError

Facts = dict[str, Any]


class FetchRecord:
    """Where archives come from and what became of them, kept in one JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        archives = read_json(path).get("archives") if path.is_file() else {}
        if not isinstance(archives, dict):
            raise DataError(f"{path} is no record of downloads: delete it and run again")
        self._archives: dict[str, Facts] = archives

    def get(self, name: str) -> Facts:
        """The facts of an archive, empty for a new one."""
        return self._archives.get(name, {})

    def checksum(self, name: str, key: str) -> str:
        """Checksum of a volume of the archive ``key`` that was once unpacked well, else ''."""
        return self.get(name).get("checksum", "") if "folder" in self.get(key) else ""

    def begin(self, name: str, source: str) -> None:
        """Note where an archive is about to come from."""
        if self.get(name).get("url") != source:
            self._archives[name] = {"url": source}
            self._write()

    def place(self, key: str, fetched: Mapping[str, Facts], place: Path) -> None:
        """Note the folder that an archive becomes, right before it does: it is good, then.

        Args:
            key: name of the archive.
            fetched: the facts of each of its volumes.
            place: the folder.
        """
        for name, facts in fetched.items():
            self._archives[name] = {**facts}
        self._archives[key]["folder"] = place.name
        self._write()

    def unpacked(self, name: str) -> bool:
        """Whether the archive's folder is there; it comes by one rename, so it is whole."""
        place = self.get(name).get("folder")
        return place is not None and (self.path.parent / place).is_dir()

    def _write(self) -> None:
        write_json(self.path, {"archives": self._archives})
