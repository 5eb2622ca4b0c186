# SPDX-License-Identifier: Apache-2.0
"""Recipes: everything that decides a result, in one validated YAML file."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from m3net_tf.errors import ConfigError
from m3net_tf.frontend import FrontendConfig, frontend_preset

SCHEDULES = ("cosine", "one_cycle", "plateau", "constant")
_LARGEST_SEED = 2**32 - 1  # of NumPy's global generator, which Keras seeds too


def _require_range(
    section: str, name: str, value: float, low: float, high: float = math.inf
) -> None:
    if not low <= value <= high or value == math.inf:
        wanted = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:.10g}"
        raise ConfigError(f"{section}.{name} is {value}: give {wanted}")


@dataclasses.dataclass(frozen=True)
class DatasetSection:
    """Which clips are used, and by which protocol they are split.

    Attributes:
        name: data set, as ``m3net data list`` prints it.
        protocol: how clips are split; the data set's official one by default.
        fold: held-out fold, for protocols with folds.
        seed: seed of random splits and of procedural sounds.
        options: further options of that data set.
    """

    name: str
    protocol: str | None = None
    fold: int | None = None
    seed: int = 0
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.options:
            if key in ("name", "data_dir", "protocol", "fold", "seed"):
                raise ConfigError(
                    f"dataset.options.{key} is no data set option: give dataset.{key}"
                )


@dataclasses.dataclass(frozen=True)
class ModelSection:
    """Which network is trained.

    Attributes:
        name: network.
        preset: one of its presets.
        arguments: arguments of the network that differ from the preset's (ablations).
    """

    name: str
    preset: str = "mcu"
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class AugmentationSection:
    """What is varied in training.

    Waveforms are varied in stored copies, in this order: random crop, stretch, pitch, room,
    speed, shift, gain, noise. Masks and mixtures are drawn anew in every step, from feature maps.

    Attributes:
        copies: stored copies of each training clip, varied as waveforms; each epoch takes one of
            these or the clean clip at random. 0 trains on clean clips alone.
        fresh: vary the waveforms anew in every epoch instead: slower, past the feature cache, and
            without stretch, pitch and speed, which need stored copies.
        random_crop: cut copies of clips that are longer than the data set delivers them from a
            random place, instead of by its length rule.
        stretch_probability: share of copies whose tempo changes while their pitch stays.
        stretch: lowest and highest tempo.
        pitch_probability: share of copies whose pitch changes while their tempo stays.
        pitch_semitones: lowest and highest change of pitch.
        room_probability: share of copies that sound as in a room, at the same level.
        room_s: shortest and longest reverberation time (to -60 dB) of rooms made of decaying
            noise.
        room_direct_db: lowest and highest level of the direct sound over such a room's echoes.
        room_folder: folder of recorded room responses (WAV); they replace the made ones.
        speed_probability: share of copies that are played faster or slower (pitch goes along).
        speed: lowest and highest speed.
        shift_s: largest shift in time, either way.
        gain_db: lowest and highest gain.
        noise_probability: share of copies with added noise.
        noise_snr_db: lowest and highest signal-to-noise ratio. The noise is the data set's own
            background recordings where it has some, else white.
        time_masks: masks of SpecAugment along time; their bins take the clip's mean.
        time_mask_frames: longest of them.
        frequency_masks: masks along frequency.
        frequency_mask_bins: widest of them.
        mixup_probability: share of clips that are mixed with another one of their batch.
        mixup_min: smallest weight of the first of the two.
        between_class_probability: share of clips that are mixed with another one as sounds are:
            their energies add up, and the label follows how loud each is heard.
        cutmix_probability: share of clips that get a rectangle of another one's map; labels go by
            area.
        cutmix_min: smallest share of its map that a clip keeps.
    """

    copies: int = 0
    fresh: bool = False
    random_crop: bool = False
    stretch_probability: float = 0.0
    stretch: tuple[float, float] = (0.8, 1.25)
    pitch_probability: float = 0.0
    pitch_semitones: tuple[float, float] = (-2.0, 2.0)
    room_probability: float = 0.0
    room_s: tuple[float, float] = (0.1, 0.6)
    room_direct_db: tuple[float, float] = (0.0, 15.0)
    room_folder: str | None = None
    speed_probability: float = 0.0
    speed: tuple[float, float] = (0.9, 1.12)
    shift_s: float = 0.1
    gain_db: tuple[float, float] = (-12.0, 8.0)
    noise_probability: float = 0.8
    noise_snr_db: tuple[float, float] = (0.0, 30.0)
    time_masks: int = 0
    time_mask_frames: int = 10
    frequency_masks: int = 0
    frequency_mask_bins: int = 6
    mixup_probability: float = 0.0
    mixup_min: float = 0.6
    between_class_probability: float = 0.0
    cutmix_probability: float = 0.0
    cutmix_min: float = 0.5

    def __post_init__(self) -> None:
        counts = ("copies", "time_masks", "time_mask_frames", "frequency_masks")
        for name in (*counts, "frequency_mask_bins", "shift_s"):
            _require_range("augmentation", name, getattr(self, name), 0)
        for name in ("copies", "stretch_probability", "pitch_probability", "speed_probability"):
            if self.fresh and getattr(self, name):
                raise ConfigError(
                    f"augmentation.{name} is {getattr(self, name)} with fresh: set it to 0, or "
                    "set fresh to false"
                )
        shares = [field.name for field in dataclasses.fields(self) if "probability" in field.name]
        for name in (*shares, "mixup_min", "cutmix_min"):
            _require_range("augmentation", name, getattr(self, name), 0, 1)
        # The limits: float32 samples overflow beyond 200 dB, and no sound is left at speed 10.
        limits = {
            "speed": (0.1, 10),
            "stretch": (0.1, 10),
            "pitch_semitones": (-24, 24),
            "room_s": (0.01, 10),
            "room_direct_db": (-60, 60),
            "gain_db": (-200, 200),
            "noise_snr_db": (-200, 200),
        }
        for name, (lowest, highest) in limits.items():
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ConfigError(
                    f"augmentation.{name} is {(low, high)}: give its lower and its upper end, "
                    f"both within {lowest} to {highest}"
                )


@dataclasses.dataclass(frozen=True)
class TrainingSection:
    """How the network is trained: Adam on cross-entropy, best epoch by validation accuracy.

    Attributes:
        epochs: passes over the training clips.
        batch_size: clips a step.
        learning_rate: peak rate of Adam.
        learning_rate_floor: lowest rate that a schedule goes down to.
        schedule: ``cosine`` (one warm-up epoch, then half a cosine), ``one_cycle`` (up to the
            peak and down again, cosines both), ``plateau`` (halved after ``plateau_patience``
            epochs without a better validation loss) or ``constant``.
        plateau_patience: see ``schedule``.
        label_smoothing: share of each target spread over all classes.
        weight_average: decay of the exponential moving average of the weights that is validated
            and exported; 0 uses the weights themselves.
        exit_weight: share of the last exit's answer in what early exits learn, in networks that
            have them; the labels have the rest.
        exit_temperature: softens both answers for that.
        seed: seed of initial weights, order and augmentation.
    """

    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 2e-3
    learning_rate_floor: float = 0.0
    schedule: str = "cosine"
    plateau_patience: int = 5
    label_smoothing: float = 0.1
    weight_average: float = 0.0
    exit_weight: float = 0.3
    exit_temperature: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ConfigError(
                f"training.schedule is {self.schedule!r}: choose one of {', '.join(SCHEDULES)}"
            )
        _require_range("training", "exit_weight", self.exit_weight, 0, 1)
        if not 0 < self.exit_temperature < math.inf:
            raise ConfigError(
                f"training.exit_temperature is {self.exit_temperature}: give more than 0"
            )
        for name in ("epochs", "batch_size", "plateau_patience"):
            _require_range("training", name, getattr(self, name), 1)
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"training.learning_rate is {self.learning_rate}: give more than 0")
        _require_range(
            "training", "learning_rate_floor", self.learning_rate_floor, 0, self.learning_rate
        )
        for name in ("label_smoothing", "weight_average"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"training.{name} is {getattr(self, name)}: give 0 up to 1")
        _require_range("training", "seed", self.seed, 0, _LARGEST_SEED)


@dataclasses.dataclass(frozen=True)
class QuantizationSection:
    """How the trained network becomes int8.

    Attributes:
        calibration_clips: training clips that set the ranges, drawn evenly over the classes.
        seed: seed of that draw.
    """

    calibration_clips: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        _require_range("quantization", "calibration_clips", self.calibration_clips, 1)
        _require_range("quantization", "seed", self.seed, 0, _LARGEST_SEED)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A whole experiment; see the sections for what each key means.

    Section ``frontend`` may start from a named front end, ``preset: kaldi_fbank`` (also with
    ``hop_ms``, and at another ``sample_rate_hz``); its other keys then change that one. A run
    folder's recipe has all keys written out.
    """

    dataset: DatasetSection
    model: ModelSection
    frontend: FrontendConfig = dataclasses.field(default_factory=FrontendConfig)
    augmentation: AugmentationSection = dataclasses.field(default_factory=AugmentationSection)
    training: TrainingSection = dataclasses.field(default_factory=TrainingSection)
    quantization: QuantizationSection = dataclasses.field(default_factory=QuantizationSection)

    def __post_init__(self) -> None:
        if self.augmentation.between_class_probability and not self.frontend.shows_energies:
            raise ConfigError(
                "augmentation.between_class_probability adds energies: it needs frontend.log ln "
                "or db and no mfcc_coefficients; use mixup_probability instead"
            )

    def to_dict(self) -> dict[str, Any]:
        """All sections as plain values; YAML and JSON have lists for tuples."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Any) -> Recipe:
        """Build a recipe from plain values.

        Raises:
            ConfigError: an unknown or missing key, or a value of the wrong kind; the message
                names the section and the keys that exist.
        """
        return _build(cls, values, "recipe")


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from YAML.

    Raises:
        ConfigError: the file is missing, not YAML, or not a valid recipe.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        beside = sorted(p.stem for p in path.parent.glob("*.yaml"))
        have = f"; {path.parent} has {', '.join(beside)}" if beside else ""
        raise ConfigError(f"{path} is missing: name an existing recipe{have}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): name a YAML file") from None
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid YAML: {text}") from None
    try:
        return Recipe.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as YAML that :func:`load_recipe` reads back to an equal one."""
    from m3net_tf.artifacts import write_text

    write_text(path, yaml.safe_dump(recipe.to_dict(), sort_keys=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _build(kind: type, values: Any, section: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(f"section {section!r} is {values!r}: give keys and values")
    if kind is FrontendConfig and "preset" in values:
        values = _named_frontend(values)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in fields:
            raise ConfigError(
                f"unknown key {key!r} in section {section!r}: known keys are {', '.join(fields)}"
            )
    arguments = {}
    for name, field in fields.items():
        if name in values:
            key = name if section == "recipe" else f"{section}.{name}"
            arguments[name] = _convert(hints[name], values[name], key)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"key {name!r} is missing in section {section!r}: add it")
    return kind(**arguments)


def _named_frontend(values: Mapping[str, Any]) -> dict[str, Any]:
    """All keys of the front end that ``preset`` names, under those that are given beside it."""
    given = dict(values)
    name = _convert(str, given.pop("preset"), "frontend.preset")
    rate_hz = _convert(int | None, given.get("sample_rate_hz"), "frontend.sample_rate_hz")
    hop_ms = _convert(float | None, given.pop("hop_ms", None), "frontend.hop_ms")
    return {**frontend_preset(name, sample_rate_hz=rate_hz, hop_ms=hop_ms).to_dict(), **given}


def _convert(kind: Any, value: Any, key: str) -> Any:
    """Check one value against its annotation; YAML's whole numbers may stand for floats."""
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast(type, kind), value, key)
    origin = typing.get_origin(kind)
    if origin is types.UnionType:
        if value is None:
            return None
        (kind,) = (option for option in typing.get_args(kind) if option is not types.NoneType)
        return _convert(kind, value, key)
    if origin is tuple:
        kinds = typing.get_args(kind)
        if not isinstance(value, list | tuple) or len(value) != len(kinds):
            raise ConfigError(f"{key} is {value!r}: give a list of {len(kinds)} values")
        return tuple(_convert(k, v, key) for k, v in zip(kinds, value, strict=True))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{key} is {value!r}: give keys and values")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 2e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{key} is {value!r}: give a value of type {kind.__name__}")
    return value
