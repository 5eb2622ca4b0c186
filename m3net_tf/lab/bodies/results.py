# SPDX-License-Identifier: Apache-2.0
"""The run folder of a trained body: network, int8 export, and its agreement with the teacher.

There are no labels, so nothing in it is an accuracy. ``m3net model pack`` makes a network's folder
with its card of it.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import DatasetInfo
from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.export.from_run import detector_of_run, unplanned_manifest
from m3net_tf.export.manifest import Calibration, Quantization
from m3net_tf.export.writing import built_in_vectors, write_export
from m3net_tf.lab.bodies.sounds import PATCH_SAMPLES, RATE_HZ
from m3net_tf.lab.bodies.yamnet import class_names
from m3net_tf.networks.models.complexity import count_macs
from m3net_tf.quantization.ptq import evenly_spaced, quantize_int8
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import provenance, sha256_of, write_json
from m3net_tf.system.keras import keras
from m3net_tf.system.locks import writes_into
from m3net_tf.system.processor import Computer
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.loss.teacher_file import TeacherFacts
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.recipe.recipe import save_recipe
from m3net_tf.training.run import Run
from m3net_tf.training.run.archive import write_archive
from m3net_tf.training.run.folder import design_of
from m3net_tf.training.run.metrics import RunMetrics
from m3net_tf.training.scoring.metrics import wilson_interval

DATASET, PROTOCOL = "unlabelled", "held-out sources"

_LICENCE = "each source's own"
_CITATION = "M. Plakal and D. Ellis, YAMNet, tensorflow/models, 2019"
_URL = "https://github.com/tensorflow/models/tree/master/research/audioset/yamnet"
_FEW = 5

Int8 = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Patches of sources that did not train.

    Attributes:
        maps: int8 features, shape (patches, bins, frames).
        logits: the teacher's, shape (patches, classes).
        sources: names of the sources.
    """

    maps: Int8
    logits: Floats
    sources: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Material:
    """What a body has learnt from, and what judges it.

    Attributes:
        sources: names of the sources that trained.
        maps: int8 features of training patches, of which some calibrate the int8 network.
    """

    teacher: TeacherFacts
    sources: tuple[str, ...]
    maps: Int8
    validation: HeldOut
    test: HeldOut


class TrainingFacts(TypedDict):
    """How a body was trained, for ``metrics.json``."""

    epochs: int
    training_s: float
    computers: list[Computer]


class Agreement(TypedDict):
    """How well a network agrees with the teacher.

    Attributes:
        patches: number of patches that were compared.
        agreement: share of patches for which both have the same most probable class.
        agreement_of_five: share of patches for which the teacher's most probable class is one of
            the network's five.
        score_difference: mean absolute difference of all classes' probabilities.
    """

    patches: int
    agreement: float
    agreement_95_low: float
    agreement_95_high: float
    agreement_of_five: float
    score_difference: float


@writes_into("run", makes=True)
def write_body(
    run: Run,
    recipe: Recipe,
    model: keras.Model,
    material: Material,
    training: TrainingFacts,
    log: Log = silent,
) -> RunMetrics:
    """Write a trained body as a finished run with its export.

    Args:
        recipe: of the body, from :func:`m3net_tf.lab.bodies.making.body_recipe`.
        model: MobileNet with 521 sigmoids, as that recipe's network is built.

    Raises:
        ModelError: a layer has no int8 form.
        InUseError: another process writes into the folder.
    """
    labels = class_names()
    calibration = evenly_spaced(material.maps, recipe.quantization.calibration_clips)[..., None]
    network = Int8Network(quantize_int8(model, calibration))
    save_recipe(recipe, run.recipe_path)
    write_archive(model, run.model_path)
    info = DatasetInfo(
        name=DATASET,
        labels=labels,
        sample_rate_hz=RATE_HZ,
        clip_s=PATCH_SAMPLES / RATE_HZ,
        protocols=(PROTOCOL,),
        protocol=PROTOCOL,
        licence=_LICENCE,
        citation=_CITATION,
        url=_URL,
        multi_label=True,
        group="source",
    )
    frames = model.input_shape[2]
    names = tuple(f"training patch {number}" for number in range(1, len(calibration) + 1))
    unplanned = unplanned_manifest(
        recipe,
        model,
        info,
        network,
        calibration=Calibration(names, hashlib.sha256(calibration.tobytes()).hexdigest()),
        detector=detector_of_run(run, network, frames, labels),
        quantization=Quantization("ptq", chosen=False),
        trained_model_sha256=sha256_of(run.model_path.read_bytes()),
    )
    vectors = built_in_vectors(recipe.frontend, frames)
    write_export(run.folder / "export", unplanned, network, vectors, log)
    held_out = {"validation": material.validation, "test": material.test}
    metrics: dict[str, Any] = {
        "recipe": recipe.to_dict(),
        "dataset": _data(info, material),
        "parameters": model.count_params(),
        "macs": count_macs(model),
        "design_sha256": design_of(recipe),
        "best_epoch": training["epochs"],  # the weights at the end
        "devices": 1,
        "threads": recipe.training.threads,
        "teacher": material.teacher,
        **training,
        **provenance(),
        **{name: agreement(_probabilities(model, part), part) for name, part in held_out.items()},
        "int8": {
            "model_sha256": sha256_of(network.tflite),
            **agreement(_int8_probabilities(network, material.test), material.test),
        },
    }
    write_json(run.metrics_path, metrics)  # last, because it marks the run as finished
    for state_file in (run.state_path, run.previous_state_path):
        state_file.unlink(missing_ok=True)
    figures = metrics["test"]
    log(
        f"{run.folder}: {100 * figures['agreement']:.1f} % of {figures['patches']} patches of "
        f"held-out sources have the teacher's class, in int8 "
        f"{100 * metrics['int8']['agreement']:.1f} %"
    )
    return RunMetrics.read(run.metrics_path)


def agreement(probabilities: Floats, held_out: HeldOut) -> Agreement:
    """Compare a network's probabilities, shape (patches, classes), with the teacher's."""
    count = len(probabilities)
    teacher = 1.0 / (1.0 + np.exp(-held_out.logits.astype(np.float64)))
    wanted = teacher.argmax(axis=1)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :_FEW]
    hits = best == wanted[:, None]
    same = float(hits[:, 0].mean())
    low, high = wilson_interval(same * count, count)
    return {
        "patches": count,
        "agreement": same,
        "agreement_95_low": low,
        "agreement_95_high": high,
        "agreement_of_five": float(hits.any(axis=1).mean()),
        "score_difference": float(np.abs(probabilities - teacher).mean()),
    }


def _probabilities(model: keras.Model, held_out: HeldOut) -> Floats:
    maps = dequantize_features(held_out.maps)[..., None]
    return np.asarray(model.predict(maps, batch_size=64, verbose=0))


def _int8_probabilities(network: Int8Network, held_out: HeldOut) -> Floats:
    scores = network.run(run_reference, held_out.maps[..., None])
    return (scores.astype(np.float32) + np.float32(128)) / np.float32(256)


def _data(info: DatasetInfo, material: Material) -> dict[str, Any]:
    """What trained and what judges, as other runs describe their data set."""
    held_out = (*material.validation.sources, *material.test.sources)
    return {
        "name": info.name,
        "protocol": info.protocol,
        "statement": "agreement with the teacher, without labels, on patches of "
        f"{len(held_out)} sources that did not train",
        "fold": None,
        "group": info.group,
        "groups_known": True,
        "leaking": False,
        "test_leak": 0.0,
        "notes": [],
        "labels": list(info.labels),
        "licence": info.licence,
        "citation": info.citation,
        "url": info.url,
        "sources": {
            "train": list(material.sources),
            "validation": list(material.validation.sources),
            "test": list(material.test.sources),
        },
        "clip_list_sha256": {
            "train": _hash_of(material.sources, material.maps),
            "validation": _hash_of(material.validation.sources, material.validation.maps),
            "test": _hash_of(material.test.sources, material.test.maps),
        },
    }


def _hash_of(sources: Sequence[str], maps: Int8) -> str:
    return sha256_of("\n".join(sources).encode() + np.ascontiguousarray(maps).tobytes())
