# SPDX-License-Identifier: Apache-2.0
"""``metrics.json`` of a finished run, with types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3net_tf.system.artifacts import read_json
from m3net_tf.system.conversion import convert
from m3net_tf.system.errors import ConfigError, ModelError

Figures = Mapping[str, Any]
"""How well a split is recognised: what ``Evaluation.to_dict`` gives."""


@dataclasses.dataclass(frozen=True)
class TrainedData:
    """The data set of a training.

    Attributes:
        clip_list_sha256: hash of the clips of each split; empty in runs of early releases.
        facts: all that is recorded of it, such as its ``protocol`` in words.
    """

    name: str
    labels: tuple[str, ...]
    clip_list_sha256: Mapping[str, str]
    facts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class RunMetrics:
    """The result of a training, and what made it."""

    dataset: TrainedData
    parameters: int
    macs: int
    validation: Figures
    test: Figures
    values: Mapping[str, Any]

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Threshold of each class, of clips with several labels; else empty."""
        thresholds: dict[str, float] = convert(
            dict[str, float], self.values.get("thresholds", {}), "thresholds"
        )
        return thresholds

    @classmethod
    def from_dict(cls, values: Any, source: Path) -> RunMetrics:
        """From the content of ``metrics.json``.

        Raises:
            ModelError: a key is missing or of the wrong kind; the message names file and key.
        """
        try:
            values = convert(dict[str, Any], values, "content")
            data = convert(dict[str, Any], values["dataset"], "dataset")
            return cls(
                dataset=TrainedData(
                    name=convert(str, data["name"], "dataset.name"),
                    labels=convert(tuple[str, ...], data["labels"], "dataset.labels"),
                    clip_list_sha256=data.get("clip_list_sha256") or {},
                    facts=data,
                ),
                parameters=convert(int, values["parameters"], "parameters"),
                macs=convert(int, values["macs"], "macs"),
                validation=convert(dict[str, Any], values["validation"], "validation"),
                test=convert(dict[str, Any], values["test"], "test"),
                values=values,
            )
        except (ConfigError, KeyError) as error:
            problem = f"key {error} is missing" if isinstance(error, KeyError) else error
            raise ModelError(
                f"{source}: {problem}: restore it, or delete {source.parent} and train again"
            ) from None

    @classmethod
    def read(cls, path: Path) -> RunMetrics:
        """Read ``metrics.json``.

        Raises:
            DataError: it is missing or half-written.
            ModelError: as :meth:`from_dict` raises.
        """
        return cls.from_dict(read_json(path), path)
