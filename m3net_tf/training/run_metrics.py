# SPDX-License-Identifier: Apache-2.0
"""``metrics.json`` of a finished run, with types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3net_tf.system.artifacts import read_json
from m3net_tf.system.errors import ModelError

Figures = Mapping[str, Any]
"""How well a split is recognised: what ``Evaluation.to_dict`` gives."""


@dataclasses.dataclass(frozen=True)
class TrainedData:
    """The data set of a training.

    Attributes:
        name: its name.
        labels: its classes.
        clip_list_sha256: hash of the clips of each split; empty in runs of early releases.
        facts: all that is recorded of it, such as its ``protocol`` in words.
    """

    name: str
    labels: tuple[str, ...]
    clip_list_sha256: Mapping[str, str]
    facts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class RunMetrics:
    """The result of a training, and what made it.

    Attributes:
        dataset: the data set, as it was split.
        parameters: of the network.
        macs: multiplications of one run of the network.
        validation: figures of the validation split.
        test: figures of the test split.
        values: the whole content of ``metrics.json``.
    """

    dataset: TrainedData
    parameters: int
    macs: int
    validation: Figures
    test: Figures
    values: Mapping[str, Any]

    @classmethod
    def from_dict(cls, values: Any, source: Path) -> RunMetrics:
        """From the content of ``metrics.json``.

        Args:
            values: the content.
            source: the file, for errors.

        Raises:
            ModelError: a key is missing or of the wrong kind; the message names file and key.
        """
        top = _Reader(values, source, "")
        data = _Reader(top.value("dataset", Mapping), source, "dataset.")
        return cls(
            dataset=TrainedData(
                name=data.value("name", str),
                labels=tuple(data.value("labels", list)),
                clip_list_sha256=data.values.get("clip_list_sha256") or {},
                facts=data.values,
            ),
            parameters=top.value("parameters", int),
            macs=top.value("macs", int),
            validation=top.value("validation", Mapping),
            test=top.value("test", Mapping),
            values=top.values,
        )

    @classmethod
    def read(cls, path: Path) -> RunMetrics:
        """Read ``metrics.json``.

        Raises:
            DataError: it is missing or half-written.
            ModelError: as :meth:`from_dict` raises.
        """
        return cls.from_dict(read_json(path), path)


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Checked look-ups in a section of the file."""

    values: Any
    source: Path
    prefix: str

    def value(self, key: str, kind: type) -> Any:
        """The value of a key, checked against its kind."""
        if not isinstance(self.values, Mapping) or key not in self.values:
            raise self._error(f"key {self.prefix + key!r} is missing")
        value = self.values[key]
        if not isinstance(value, kind):
            raise self._error(f"{self.prefix}{key} is {value!r}")
        return value

    def _error(self, problem: str) -> ModelError:
        return ModelError(
            f"{self.source}: {problem}: restore it, or delete {self.source.parent} and train again"
        )
