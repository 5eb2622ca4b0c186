# SPDX-License-Identifier: Apache-2.0
"""Settings of live detection, in Python and as generated C."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from m3net_tf.audio.frontend import FrontendConfig, column_bins
from m3net_tf.audio.frontend.level import MOST_DB, Gain
from m3net_tf.audio.labels import is_event
from m3net_tf.system.artifacts import write_text
from m3net_tf.system.conversion import ShareAboveZero, check_values, from_plain
from m3net_tf.system.csource import defines, guarded, notice
from m3net_tf.system.errors import ConfigError

FULL_SCALE = 65_536
"""Full scale of scores in the detector: an int8 score q is 256 * (q + 128)."""

RELEASE_SHARE = 0.75  # release as a share of the threshold
LEAST_HISTORY_RUNS = 8  # so that a monitor can lengthen a window on the device
_LATER = ("gain_db", "automatic_gain", "inset_s", "several_labels")
_Runs = Annotated[int, Meta(ge=1, le=255)]
_Columns = Annotated[int, Meta(ge=0, le=65_535)]
_AtLeastOneColumn = Annotated[int, Meta(ge=1, le=65_535)]


@dataclasses.dataclass(frozen=True)
class ClassSettings:
    """Settings of one class.

    Attributes:
        event: whether it triggers events; silence and unknown sounds do not.
        threshold: lowest smoothed score of a hit, 0 to 1; since scores are at most 255/256, a class
            with threshold 1 is never detected.
        release: an event ends when the score falls below this; then the next one may begin.
        suppression_columns: columns after an event without another one.
        window_runs: number of runs of the model over which the score is averaged.
        hits: number of consecutive hits that trigger an event.

    Raises:
        ConfigError: a value is out of range.
    """

    label: str
    event: bool = True
    threshold: ShareAboveZero = 0.6
    release: ShareAboveZero = 0.4
    suppression_columns: _Columns = 50
    window_runs: _Runs = 3
    hits: _Runs = 2

    def __post_init__(self) -> None:
        name = f"detector.classes.{self.label}"
        check_values(self, name)
        if self.release > self.threshold:
            raise ConfigError(
                f"{name}.release is {self.release}: give at most threshold ({self.threshold})"
            )

    @functools.cached_property
    def threshold_units(self) -> int:
        """The threshold in the detector's units."""
        return _units(self.threshold)

    @functools.cached_property
    def release_units(self) -> int:
        """The release threshold in the detector's units."""
        return _units(self.release)


def at_threshold(settings: ClassSettings, threshold: float, **others: Any) -> ClassSettings:
    """A class with a threshold, its release, and other settings."""
    release = round(threshold * RELEASE_SHARE, 4)
    return dataclasses.replace(settings, threshold=threshold, release=release, **others)


def _units(share: float) -> int:
    return min(max(int(share * FULL_SCALE + 0.5), 1), FULL_SCALE - 1)


@dataclasses.dataclass(frozen=True)
class DetectorConfig:
    """All settings of live detection.

    Attributes:
        window_columns: columns of the model's input, after which it first runs.
        run_columns: columns from one run of the model to the next.
        gate_bins: number of features of a column whose mean is its level: all of a mel spectrum,
            the first of a cepstrum; for samples the mean of their magnitudes.
        gate_level: a column below this level (int8 features) is silence; None keeps the gate open.
        gate_hold_columns: columns for which the gate stays open after the last loud one.
        gain_db: fixed gain of the microphone before the front end, 0 to 36 dB.
        automatic_gain: whether the gain rises by what a quiet microphone lacks, up to 36 dB
            (:mod:`m3net_tf.audio.frontend.level`).
        classes: settings of each class, in the order of the model's outputs.
        inset_s: time by which a sound begins after its score has crossed the threshold, and ends
            before; for tables of events (:mod:`.spans`), the device does not need it.
        several_labels: whether several classes may sound at once, so that those that reach their
            thresholds are the answer. A run triggers at most one event; then a class that another
            one outranked in a run has its event in the next run, whatever its score is there.

    Raises:
        ConfigError: a value is out of range.
    """

    window_columns: _AtLeastOneColumn
    gate_bins: _AtLeastOneColumn
    classes: tuple[ClassSettings, ...]
    run_columns: _AtLeastOneColumn = 5
    gate_level: Annotated[int, Meta(ge=-128, le=127)] | None = None
    gate_hold_columns: _Columns = 50
    gain_db: Annotated[float, Meta(ge=0, le=MOST_DB)] = 0.0
    automatic_gain: bool = False
    inset_s: Annotated[float, Meta(ge=-10, le=10)] = 0.0
    several_labels: bool = False

    def __post_init__(self) -> None:
        check_values(self, "detector")
        if not self.classes or len(set(self.labels)) < len(self.classes):
            raise ConfigError("detector.classes: give each class once, and at least one")

    @classmethod
    def default(
        cls, frontend: FrontendConfig, window_columns: int, labels: Sequence[str]
    ) -> DetectorConfig:
        """Initial settings: an open gate, and events of all classes except silence and unknown.

        Suppression and the gate's hold time last as long as a sound stays in the model's window.
        """
        return cls(
            window_columns=window_columns,
            gate_bins=1 if frontend.mfcc_coefficients else column_bins(frontend),
            gate_hold_columns=window_columns,
            classes=tuple(
                ClassSettings(label, is_event(label), suppression_columns=window_columns)
                for label in labels
            ),
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the model's outputs."""
        return tuple(settings.label for settings in self.classes)

    @property
    def gate_sum(self) -> int:
        """The lowest sum of ``gate_bins`` features that is not silence."""
        return self.gate_bins * (-128 if self.gate_level is None else self.gate_level)

    @property
    def history_runs(self) -> int:
        """Number of runs whose scores the detector keeps."""
        return max(LEAST_HISTORY_RUNS, *(settings.window_runs for settings in self.classes))

    @property
    def gain(self) -> Gain:
        """The microphone's gain before the front end."""
        return Gain(self.gain_db, self.automatic_gain)

    def with_gain(self, gain: Gain) -> DetectorConfig:
        """These settings with another gain of the microphone."""
        return dataclasses.replace(self, gain_db=gain.fixed_db, automatic_gain=gain.automatic)

    def to_dict(self) -> dict[str, object]:
        """All settings as plain values; without later ones as earlier releases read them."""
        values = {**dataclasses.asdict(self), "classes": [*map(dataclasses.asdict, self.classes)]}
        return {key: values[key] for key in values if key not in _LATER or values[key]}

    @classmethod
    def from_dict(cls, values: Any) -> DetectorConfig:
        """Build a config from plain values.

        Raises:
            ConfigError: an unknown or missing key, or a value that the config refuses.
        """
        return from_plain(cls, values, "detector")

    def check_fits(
        self, frontend: FrontendConfig, window_columns: int, labels: Sequence[str]
    ) -> None:
        """Check that the settings fit a network.

        Raises:
            ConfigError: they are for another network.
        """
        if self.labels != tuple(labels):
            raise ConfigError(
                f"detector.classes are {', '.join(self.labels)}, but the network has "
                f"{', '.join(labels)}: give these in this order"
            )
        if self.window_columns != window_columns:
            raise ConfigError(
                f"detector.window_columns is {self.window_columns}: the network's input has "
                f"{window_columns}"
            )
        if self.gate_bins > column_bins(frontend):
            raise ConfigError(
                f"detector.gate_bins is {self.gate_bins}: a column has {column_bins(frontend)} "
                "features"
            )


def slot_labels(slots: int) -> tuple[str, ...]:
    """Classes of a detector of enrolled words, one for each place (:mod:`.prototypes`)."""
    return tuple(f"word{place}" for place in range(slots))


def load_detector(path: Path) -> DetectorConfig:
    """Read a detector's settings from YAML.

    Raises:
        ConfigError: the file is missing, not YAML, or not valid settings.
    """
    from m3net_tf.system.yaml_files import (
        read_yaml,
    )  # not installed on small machines, which only classify

    values = read_yaml(path)
    try:
        return DetectorConfig.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def save_detector(config: DetectorConfig, path: Path) -> None:
    """Write settings as YAML; :func:`load_detector` reads equal ones."""
    import yaml

    write_text(path, yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True))


def write_c_header(config: DetectorConfig, folder: Path) -> Path:
    """Write ``detector_config.h`` for ``firmware/core/detector.c``.

    Returns:
        Its path. Equal configs give equal bytes.
    """
    # At least one class, as C has no arrays of none.
    events = [label for label, row in enumerate(config.classes) if row.event] or [0]
    settings: dict[str, int | str] = {
        "CLASS_COUNT": len(config.classes),
        "EVENT_COUNT": len(events),
        "EVENTS": _braced(events),
        "HISTORY_RUNS": config.history_runs,
        "FIRST_RUN_COLUMNS": config.window_columns,
        "RUN_COLUMNS": config.run_columns,
        "GATE_BINS": config.gate_bins,
        "GATE_HOLD_COLUMNS": config.gate_hold_columns,
        "GATE_SUM": f"({config.gate_sum})",
    }
    if config.several_labels:
        settings["SEVERAL_LABELS"] = 1
    if config.gain.fixed:
        settings["GAIN"] = config.gain.fixed
    if config.automatic_gain:
        settings["AUTOMATIC_GAIN"] = 1
    rows = [
        f"  {{{row.threshold_units}, {row.release_units}, {row.suppression_columns}, "
        f"{row.window_runs}, {row.hits if row.event else 0}}},"
        for row in config.classes
    ]
    opening = "#define M3NET_DETECTOR_CLASSES"
    width = max(map(len, [opening, *rows])) + 1
    lines = [
        defines("M3NET_DETECTOR_", settings),
        "/* Threshold, release, suppression in columns, window in runs, hits (0 = no event). */",
        *(f"{line:{width}}\\" for line in [opening, *rows[:-1]]),
        rows[-1],
    ]
    origin = notice("from the detector's config; change that, not this file")
    path = folder / "detector_config.h"
    write_text(path, origin + "\n" + guarded("M3NET_DETECTOR_CONFIG_H_", "\n".join(lines)))
    return path


def _braced(values: Iterable[int]) -> str:
    return f"{{{', '.join(map(str, values))}}}"
