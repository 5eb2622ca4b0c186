# SPDX-License-Identifier: Apache-2.0
"""The sections of a recipe, each validated on construction."""

import dataclasses
from typing import Annotated, Any, Literal

from msgspec import Meta

from m3net_tf.system.conversion import (
    HASHED_IF_CHANGED,
    AtLeastOne,
    Count,
    NotNegative,
    Positive,
    Seed,
    Share,
    ShareAboveZero,
    ShareBelowOne,
    check_values,
    newer_defaults,
)
from m3net_tf.system.errors import ConfigError

NoiseKind = Literal["white", "pink", "brown", "blue", "violet"]
_IN_COPIES = ("stretch", "pitch", "vocal_tract", "speed", "band", "telephone")
IN_COPIES = "in_copies"
"""Metadata of augmentation keys: False if stored copies do not depend on the key."""


def newer(default: Any, *, in_copies: bool = True) -> Any:
    """A key that leaves the hashes of recipes unchanged where it has its default."""
    metadata = {HASHED_IF_CHANGED: True, IN_COPIES: in_copies}
    return dataclasses.field(default=default, metadata=metadata)


def outside_copies(default: Any) -> Any:
    """A key of augmentation on which stored copies do not depend, so their maps are shared."""
    return dataclasses.field(default=default, metadata={IN_COPIES: False})


@dataclasses.dataclass(frozen=True)
class DatasetSection:
    """The data set and the protocol by which it is split.

    Attributes:
        name: data set, as printed by ``m3net data list``.
        protocol: split of the clips; default: the data set's official one.
        fold: held-out fold, for protocols with folds.
        seed: seed of random splits, of synthetic sounds and of ``training_share``.
        options: other options of the data set.
        training_share: share of the training clips of each class that is used, drawn at random; a
            smaller share is a part of a larger one. It shows how accuracy depends on the number of
            clips.
    """

    name: str
    protocol: str | None = None
    fold: int | None = None
    seed: int = 0
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    training_share: ShareAboveZero = newer(1.0)

    def __post_init__(self) -> None:
        check_values(self, "dataset")
        for key in self.options:
            if key in ("name", "data_dir", "protocol", "fold", "seed", "training_share"):
                raise ConfigError(
                    f"dataset.options.{key} is not a data set option: give dataset.{key}"
                )

    @property
    def in_windows(self) -> bool:
        """Whether clips that are longer than the delivered length are used window by window."""
        return bool(self.options.get("long_clips") == "windows")


@dataclasses.dataclass(frozen=True)
class ModelSection:
    """The network to be trained.

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
    """Augmentation of the training clips.

    Waveforms are augmented in stored copies, in this order: random crop, stretch, pitch, vocal
    tract, room, speed, shift, gain, noise, band, telephone. Masks and mixtures are drawn again in
    every step, on feature maps.

    Attributes:
        copies: number of stored copies of each training clip, augmented as waveforms; each epoch
            uses one of them or the original clip at random. 0 trains only on original clips.
        copies_seed: seed of the stored copies; trainings of other seeds then share them. Default:
            ``training.seed``.
        fresh: augment the waveforms again in every epoch instead: slower, without the feature
            cache, and without stretch, pitch, vocal tract, speed, band and telephone, which need
            stored copies.
        random_crop: cut copies of clips that are longer than the delivered length at a random
            position, instead of by the data set's length rule. A position without sound is drawn
            again.
        stretch_probability: share of copies with another tempo at the same pitch.
        stretch: lowest and highest tempo.
        pitch_probability: share of copies with another pitch at the same tempo.
        pitch_semitones: lowest and highest change of pitch.
        vocal_tract_probability: share of copies by a longer or shorter vocal tract: other formants
            at the same pitch, as of other speakers.
        vocal_tract: shortest and longest vocal tract relative to the speaker's own.
        room_probability: share of copies with reverberation, at the same level.
        room_s: shortest and longest reverberation time (to -60 dB) of synthetic rooms, which are
            decaying noise.
        room_direct_db: lowest and highest level of the direct sound relative to the echoes of a
            synthetic room.
        room_folder: folder of recorded room responses (WAV), which replace synthetic ones.
        speed_probability: share of copies played faster or slower, which also changes the pitch.
        speed: lowest and highest speed.
        shift_s: largest shift in time, in either direction.
        gain_db: lowest and highest gain.
        noise_probability: share of copies with added noise.
        noise_snr_db: lowest and highest signal-to-noise ratio. The noise comes from the data set's
            background recordings if it has some, otherwise it is white.
        noise_kinds: artificial noise instead: one of these kinds is drawn for each step's batch.
            ``white``, ``pink``, ``brown``, ``blue`` and ``violet`` change by 0, -3, -6, 3 and 6 dB
            per octave. Needs ``fresh``.
        band_probability: share of copies in a narrow band, as of a small microphone.
        band_low_hz: lowest and highest lower edge of the band.
        band_high_hz: lowest and highest upper edge.
        telephone_probability: share of copies as 8-bit mu-law at 8 kHz (G.711).
        time_warp: standard deviation of the logarithm of the tempo, which changes within a map; 0 =
            none.
        frequency_warp: the same along frequency.
        frequency_gain_db: standard deviation of the gains along frequency, as of other microphones;
            0 = none. Features must be logarithms of energies.
        time_masks: number of SpecAugment masks along time, filled with the clip's mean.
        time_mask_frames: greatest length of a mask in frames.
        time_mask_share: greatest length of a mask as a share of the map's frames, so that masks
            last equally long at every hop; 0 = ``time_mask_frames``.
        frequency_masks: number of masks along frequency.
        frequency_mask_bins: greatest width of a mask in bins.
        frequency_mask_share: greatest width of a mask as a share of the map's bins; 0 =
            ``frequency_mask_bins``.
        mixup_probability: share of clips mixed with another clip of their batch.
        mixup_min: smallest weight of the first clip.
        between_class_probability: share of clips mixed with another clip by adding energies; the
            label depends on the loudness of each.
        cutmix_probability: share of clips that get a rectangle of another clip's map; labels are
            mixed by area.
        cutmix_min: smallest share of its map that a clip keeps.
        one_mixture: draw one of the mixtures with a probability above 0 for each step's batch,
            instead of applying all of them in turn.
    """

    copies: Count = outside_copies(0)
    fresh: bool = outside_copies(False)
    random_crop: bool = False
    stretch_probability: Share = 0.0
    stretch: tuple[float, float] = (0.8, 1.25)
    pitch_probability: Share = 0.0
    pitch_semitones: tuple[float, float] = (-2.0, 2.0)
    room_probability: Share = 0.0
    room_s: tuple[float, float] = (0.1, 0.6)
    room_direct_db: tuple[float, float] = (0.0, 15.0)
    room_folder: str | None = None
    speed_probability: Share = 0.0
    speed: tuple[float, float] = (0.9, 1.12)
    shift_s: NotNegative = 0.1
    gain_db: tuple[float, float] = (-12.0, 8.0)
    noise_probability: Share = 0.8
    noise_snr_db: tuple[float, float] = (0.0, 30.0)
    time_masks: Count = outside_copies(0)
    time_mask_frames: Count = outside_copies(10)
    frequency_masks: Count = outside_copies(0)
    frequency_mask_bins: Count = outside_copies(6)
    mixup_probability: Share = outside_copies(0.0)
    mixup_min: Share = outside_copies(0.6)
    between_class_probability: Share = outside_copies(0.0)
    cutmix_probability: Share = outside_copies(0.0)
    cutmix_min: Share = outside_copies(0.5)
    noise_kinds: tuple[NoiseKind, ...] = newer((), in_copies=False)
    one_mixture: bool = newer(False, in_copies=False)
    time_mask_share: Share = newer(0.0, in_copies=False)
    frequency_mask_share: Share = newer(0.0, in_copies=False)
    vocal_tract_probability: Share = newer(0.0)
    vocal_tract: tuple[float, float] = newer((0.85, 1.18))
    band_probability: Share = newer(0.0)
    band_low_hz: tuple[float, float] = newer((50.0, 400.0))
    band_high_hz: tuple[float, float] = newer((3000.0, 7500.0))
    telephone_probability: Share = newer(0.0)
    time_warp: NotNegative = newer(0.0, in_copies=False)
    frequency_warp: NotNegative = newer(0.0, in_copies=False)
    frequency_gain_db: NotNegative = newer(0.0, in_copies=False)
    copies_seed: Seed | None = newer(None, in_copies=False)

    @property
    def of_copies(self) -> dict[str, Any]:
        """The settings on which the sound of stored copies depends.

        Effects that are newer than stored maps are left out where they are not used, so that the
        maps keep their keys.
        """
        unused = newer_defaults(self)
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata.get(IN_COPIES, True) and field.name not in unused
        }

    def __post_init__(self) -> None:
        check_values(self, "augmentation")
        for name in ("copies", *(f"{effect}_probability" for effect in _IN_COPIES)):
            if self.fresh and getattr(self, name):
                raise ConfigError(
                    f"augmentation.{name} is {getattr(self, name)} with fresh: set it to 0, or "
                    "set fresh to false"
                )
        if self.noise_kinds and not self.fresh:
            raise ConfigError(
                f"augmentation.noise_kinds is {', '.join(self.noise_kinds)} without fresh, which "
                "draws a kind in each step: set fresh to true, or remove noise_kinds"
            )
        # float32 samples overflow beyond 200 dB, and almost no sound is left at speed 10.
        limits = {
            "speed": (0.1, 10),
            "stretch": (0.1, 10),
            "pitch_semitones": (-24, 24),
            "vocal_tract": (0.5, 2),
            "band_low_hz": (1, 1e6),
            "band_high_hz": (1, 1e6),
            "room_s": (0.01, 10),
            "room_direct_db": (-60, 60),
            "gain_db": (-200, 200),
            "noise_snr_db": (-200, 200),
        }
        for name, (lowest, highest) in limits.items():
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ConfigError(
                    f"augmentation.{name} is {(low, high)}: give its lower and upper limit, "
                    f"both within {lowest} to {highest}"
                )


@dataclasses.dataclass(frozen=True)
class TrainingSection:
    """Training with cross-entropy; validation selects the best epoch.

    The validation score is accuracy, or mean average precision for several labels per clip. The
    lower loss decides between equal scores.

    Attributes:
        epochs: passes over the training clips.
        batch_size: clips that are computed at once, over all devices and computers; without
            ``accumulate`` also the clips of a step.
        optimizer: ``adam``, ``adamw`` or ``sgd``.
        momentum: momentum of ``sgd``.
        weight_decay: share of each kernel, times the learning rate, that is subtracted in a step
            (Loshchilov and Hutter, 2019); not for ``adam``. Biases, normalisation and other vectors
            and scalars do not decay.
        gradient_norm: largest global norm of the gradients, which are scaled down to it; 0 = no
            limit.
        learning_rate: peak rate.
        learning_rate_floor: lowest rate of a schedule.
        schedule: ``cosine`` (half a cosine down), ``one_cycle`` (a cosine up to the peak and one
            down), ``plateau`` (halved after ``plateau_patience`` epochs without a better validation
            loss), ``step`` or ``constant``.
        warm_up_epochs: number of first epochs in which the rate rises from 0; default: 1 for
            ``cosine``, otherwise 0. ``one_cycle`` has its own warm-up.
        plateau_patience: see ``schedule``.
        step_start: first epoch, counted from 1, with a lower rate under ``step``.
        step_factor: factor on the rate at that epoch ...
        step_every: ... and again each time after this number of epochs.
        label_smoothing: share of each target spread over all classes.
        class_weights: ``none``, or ``balanced``: a clip's weight is inversely proportional to the
            number of training clips of its class. For single-label data sets.
        sampling: order of the clips in an epoch: ``uniform``, each clip once, or ``balanced``: as
            many clips are drawn with replacement. A clip's probability is proportional to the sum,
            over its classes, of one divided by the class's number of training clips.
        weight_average: decay of an exponential moving average of the weights, which is validated
            and exported; 0 = no averaging.
        keep: ``best``, the weights of the epoch with the best validation score, of equal ones with
            the lowest validation loss; or ``last``, the weights at the end of the schedule, for
            data sets with too few validation clips.
        early_stopping: number of epochs without a better one, by the same rule, after which
            training ends; 0 = never.
        exit_weight: weight of the last exit's output in the targets of early exits, in networks
            that have them; the labels have the remaining weight.
        exit_temperature: temperature that softens both outputs for this.
        mixed_precision: compute in half precision (float16 on a GPU, bfloat16 on a CPU, where it
            is slow), with weights and probabilities in single precision. The resulting network
            computes in single precision.
        half_precision: its format under ``mixed_precision``: ``auto``, ``float16`` or ``bfloat16``.
        accumulate: batches whose gradients are averaged before each step, so that a step has
            ``accumulate * batch_size`` clips in the memory of ``batch_size``. It equals a step of
            one batch of that size, except that batch normalisation uses the statistics of each
            batch.
        stock_layers: compute a step by the network's own layers on a CPU, too, as results before 29
            November 2026 were; otherwise by the faster form of
            :func:`m3net_tf.networks.layers.training_form.training_form`, which rounds otherwise.
        xla: compile the gradients with XLA, which is faster on GPUs for most networks and rounds
            differently. The first step takes longer.
        threads: threads of each operation on the CPU. They determine how sums are rounded, and so
            the weights; the number of cores does not.
        tensorboard: also write each epoch's figures for TensorBoard.
        seed: seed of initial weights, order and augmentation.
        loss: ``cross_entropy`` over the classes, or ``binary_cross_entropy``: the mean of one per
            class, with independent probabilities per class (sigmoids). With several labels per
            clip both are the latter.
        cross_validation: protocol with folds, such as ``grouped-5fold``: ``m3net train`` then also
            trains with each fold as the test, which gives the accuracy on all clips.
        features: precision of the network's input in training and evaluation: ``int8``, as a
            device computes it, or ``float32``. Quantisation and export always use int8.
    """

    epochs: AtLeastOne = 60
    batch_size: AtLeastOne = 64
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    momentum: ShareBelowOne = 0.9
    weight_decay: NotNegative = 0.0
    gradient_norm: NotNegative = 0.0
    learning_rate: Positive = 2e-3
    learning_rate_floor: NotNegative = 0.0
    schedule: Literal["cosine", "one_cycle", "plateau", "step", "constant"] = "cosine"
    warm_up_epochs: NotNegative | None = None
    plateau_patience: AtLeastOne = 5
    step_start: AtLeastOne = 11
    step_factor: ShareAboveZero = 0.5
    step_every: AtLeastOne = 5
    label_smoothing: ShareBelowOne = 0.1
    class_weights: Literal["none", "balanced"] = "none"
    weight_average: ShareBelowOne = 0.0
    keep: Literal["best", "last"] = "best"
    early_stopping: Count = 0
    exit_weight: Share = 0.3
    exit_temperature: Positive = 3.0
    mixed_precision: bool = False
    tensorboard: bool = False
    seed: Seed = 0
    loss: Literal["cross_entropy", "binary_cross_entropy"] = newer("cross_entropy")
    features: Literal["int8", "float32"] = newer("int8")
    sampling: Literal["uniform", "balanced"] = newer("uniform")
    half_precision: Literal["auto", "float16", "bfloat16"] = newer("auto")
    accumulate: AtLeastOne = newer(1)
    stock_layers: bool = newer(False)
    xla: bool = newer(False)
    threads: Annotated[int, Meta(ge=1, le=1024)] = newer(1)
    cross_validation: str = newer("")

    @property
    def step_clips(self) -> int:
        """Clips of an optimiser step."""
        return self.batch_size * self.accumulate

    def __post_init__(self) -> None:
        check_values(self, "training")
        if self.half_precision != "auto" and not self.mixed_precision:
            raise ConfigError(
                f"training.half_precision is {self.half_precision} without mixed_precision: set "
                "mixed_precision to true, or remove half_precision"
            )
        if self.keep == "last" and self.early_stopping:
            raise ConfigError(
                f"training.early_stopping is {self.early_stopping} with keep last, which needs the "
                "whole schedule: remove one of them"
            )
        if self.weight_decay and self.optimizer == "adam":
            raise ConfigError(
                f"training.weight_decay is {self.weight_decay} with optimizer adam: choose adamw "
                "or sgd, or remove it"
            )
        if self.warm_up_epochs is not None and self.schedule == "one_cycle":
            raise ConfigError(
                f"training.warm_up_epochs is {self.warm_up_epochs} with schedule one_cycle, "
                "which has its own warm-up: remove it"
            )
        if self.learning_rate_floor > self.learning_rate:
            raise ConfigError(
                f"training.learning_rate_floor is {self.learning_rate_floor}: give at most "
                f"learning_rate ({self.learning_rate})"
            )


@dataclasses.dataclass(frozen=True)
class QuantizationSection:
    """Quantisation of the trained network to int8.

    Attributes:
        calibration_clips: number of training clips that set the ranges, drawn evenly over the
            classes.
        seed: seed of that draw.
        epochs: epochs of methods that train (``qat``, ``prune50``).
        learning_rate: peak rate of these epochs, with Adam and half a cosine down.
    """

    calibration_clips: AtLeastOne = 200
    seed: Seed = 0
    epochs: AtLeastOne = 5
    learning_rate: Positive = 5e-4

    def __post_init__(self) -> None:
        check_values(self, "quantization")


@dataclasses.dataclass(frozen=True)
class DistillationSection:
    """A trained network as teacher in addition to the labels (Hinton et al., 2015).

    Attributes:
        run: folder of the teacher's finished run, or name of a trained network of the package;
            default: no teacher.
        ensemble: more teachers, named likewise; the mean of all probabilities teaches.
        weight: weight of the teacher; the labels have the remaining weight.
        temperature: temperature that softens both networks' outputs.
        teacher: a file instead of a run: a ``.tflite`` of any network, a ``.keras`` with the layers
            of this package, or ``yamnet`` after ``m3net data fetch yamnet``. It takes a waveform in
            ±1 of a fixed length, or this recipe's feature maps. A dense layer that only the
            training has predicts its vector from what the network's classifier reads.
            ``weight: 1.0`` learns no labels.
        teacher_output: the teacher's vector: a layer of a ``.keras``, or a tensor of a ``.tflite``
            by the end of its name, averaged over time and frequency; default: the first output.
        teacher_sample_rate_hz: rate of the waveform that it takes.
    """

    run: str | None = None
    weight: Share = 0.5
    temperature: Positive = 3.0
    ensemble: tuple[str, ...] = newer(())
    teacher: str | None = newer(None)
    teacher_output: str = newer("")
    teacher_sample_rate_hz: AtLeastOne = newer(16_000)

    def __post_init__(self) -> None:
        if self.ensemble and not self.run:
            raise ConfigError("distillation.ensemble adds teachers: name distillation.run too")
        check_values(self, "distillation")
        if self.teacher and self.run:
            raise ConfigError("distillation has a run and a teacher, a file: name one of them")
        if self.teacher_output and not self.teacher:
            raise ConfigError("distillation.teacher_output needs a file: name distillation.teacher")

    @property
    def runs(self) -> tuple[str, ...]:
        """All teachers."""
        return (self.run, *self.ensemble) if self.run else ()


@dataclasses.dataclass(frozen=True)
class FineTuningSection:
    """A trained network to start from, except for its head, which depends on the classes.

    Attributes:
        run: folder of that network's finished run, or name of a trained network of the package
            (``m3net model list``); default: random weights. ``from`` is another spelling.
        freeze: name prefixes of layers that are not trained.
        add: folders of labelled clips, one folder for each class, that are added to the run's
            clips. The classes are the run's, so the head is kept. See ``m3net train --add``.
        add_times: how often each added training clip is drawn in an epoch, each time with an
            augmentation of its own, so that a few clips count beside thousands.
        hold_out: hold out a quarter of the added recordings, which tests what was gained.
        fit_head: the first epoch fits the head on the trained network's embeddings, which takes
            seconds and suits few clips (:mod:`m3net_tf.training.loop.head`). The epochs after it
            train the whole network, and validation chooses among all.
    """

    run: str | None = None
    freeze: tuple[str, ...] = ()
    add: tuple[str, ...] = newer(())
    add_times: AtLeastOne = newer(1)
    hold_out: bool = newer(True)
    fit_head: bool = newer(False)

    def __post_init__(self) -> None:
        check_values(self, "fine_tuning")
        for key in ("freeze", "add", "fit_head"):
            if getattr(self, key) and not self.run:
                raise ConfigError(f"fine_tuning.{key} needs trained layers: name fine_tuning.run")

    @property
    def runs(self) -> tuple[str, ...]:
        """The trained network, if there is one."""
        return (self.run,) if self.run else ()


@dataclasses.dataclass(frozen=True)
class DetectorSection:
    """Live detection of exports, for runs without a ``detector.yaml``.

    Attributes:
        automatic_gain: amplify a microphone that is much too quiet
            (docs/reference/on_the_board.md). ``m3net init`` sets it.
    """

    automatic_gain: bool = newer(False)

    def __post_init__(self) -> None:
        check_values(self, "detector")
