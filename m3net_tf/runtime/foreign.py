# SPDX-License-Identifier: Apache-2.0
"""A ``.tflite`` from elsewhere, with the front end and the class names that are given beside it.

Both are checked against the network's input and output, so that a network gets the features that it
was trained on and each score the name of its class.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from m3net_tf.audio.frontend import (
    PRESETS,
    FrontendConfig,
    column_count,
    frontend_preset,
    named_frontend,
)
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.interpreter import load_interpreter, tensor_quantization
from m3net_tf.runtime.metadata import Metadata, has_metadata, network_of, read_metadata
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.progress import Log, silent
from m3net_tf.tflite.model_file import read_model_file

_UNKNOWN = "unknown"
_FEATURES = (1 / 128, 0)  # scale and zero point of the input of a network that we quantise
_PROBABILITIES = (1 / 256, -128)  # of TFLite's softmax and logistic function
_RANGE_STEPS = 0.5  # by which the ends of two ranges may differ: a converter rounds the zero point


def read_network(
    path: Path,
    recipe: str | Path | FrontendConfig | None = None,
    labels: str | Path | Sequence[str] | None = None,
    log: Log = silent,
) -> tuple[bytes, Metadata]:
    """The network of a ``.tflite`` with its metadata, or with what is given instead.

    Args:
        recipe: for a file without metadata: a recipe, whose section ``frontend`` is used, the name
            of a front end, or its settings.
        labels: for a file without metadata: a text file with a class name on each line, in the
            order of the outputs, or the names.
        log: receives a line for each input and output that is float or uint8 in the file. The
            network that is returned has int8 there.

    Raises:
        ModelError: the file is missing or damaged, has no metadata and no ``recipe`` and
            ``labels``, or has another input or output than these.
        ConfigError: ``recipe`` or ``labels`` is wrong, or the file needs neither.
    """
    if recipe is None and labels is None:
        return read_metadata(path)
    data = read_model_file(path)
    if has_metadata(data):
        raise ConfigError(
            f"{path} has metadata with its own front end and class names: leave out recipe and "
            "labels"
        )
    if recipe is None or labels is None:
        missing = "recipe" if recipe is None else "labels"
        raise ConfigError(f"{path} has no metadata: give {missing}, too")
    network, lines = _with_int8_ends(network_of(data))
    for line in lines:
        log(f"{path}: {line}")
    return network, described(
        path, Int8Network(network), _read_frontend(recipe), _read_labels(labels)
    )


def _with_int8_ends(network: bytes) -> tuple[bytes, list[str]]:
    """The network without float and uint8 ends, and a line for each that it had."""
    try:  # tflite-runtime has no FlatBuffer schema
        from m3net_tf.tflite.ends import int8_network
    except ImportError:
        return network, []
    return int8_network(network)


def _read_frontend(recipe: str | Path | FrontendConfig) -> FrontendConfig:
    """Settings of a front end from a recipe, or by its name."""
    if isinstance(recipe, FrontendConfig):
        return recipe
    path = Path(recipe)
    if str(recipe) in PRESETS and not path.exists():
        return frontend_preset(str(recipe))
    if not path.is_file():
        raise ConfigError(
            f"{recipe} is neither a recipe nor a front end: name a YAML file with a section "
            f"frontend, or one of {', '.join(PRESETS)}"
        )
    from m3net_tf.system.yaml_files import read_yaml  # PyYAML is not on every small computer

    values = read_yaml(path)
    if not isinstance(values, Mapping) or not {"frontend", "model"} & {*values}:
        raise ConfigError(f"{path} is not a recipe: give it a section frontend")
    section = values.get("frontend", {})
    try:
        expanded = named_frontend(section) if isinstance(section, Mapping) else section
        config: FrontendConfig = from_plain(FrontendConfig, expanded, "frontend")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return config


def _read_labels(labels: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Class names from a text file, or as they are."""
    if not isinstance(labels, str | Path):
        source = "labels"
        names = tuple(labels)
    else:
        source = str(labels)
        try:
            text = Path(labels).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{labels} cannot be read ({error}): name a text file with a class on each line"
            ) from None
        names = tuple(line.strip() for line in text.rstrip().splitlines())
    if "" in names:
        raise ConfigError(f"{source}: line {names.index('') + 1} is empty: name a class on each")
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ConfigError(f"{source}: class {repeated[0]!r} is named twice: give each its own name")
    return names


def described(
    path: Path,
    network: Int8Network,
    frontend: FrontendConfig,
    labels: tuple[str, ...],
) -> Metadata:
    """Metadata of a network that an export did not write, after the checks of its ends.

    Args:
        path: its file, which gives its name.

    Raises:
        ModelError: its input or output does not fit.
    """
    try:
        first, last = map(load_interpreter, (network.parts[0], network.tflite))
        tensors = first.get_input_details(), last.get_output_details()
        _check_types(*([tensor["dtype"].__name__ for tensor in side] for side in tensors))
        (source,), (target,) = tensors
        shape = tuple(map(int, source["shape"]))
        _check_input(shape, tensor_quantization(network.parts[0], "input"), frontend)
        output = tensor_quantization(network.tflite, "output")
        _check_output(tuple(target["shape"]), output, labels)
        columns = column_count(frontend, shape[2])
    except (ConfigError, ModelError) as error:
        raise ModelError(f"{path}: {error}") from None
    detector = DetectorConfig.default(frontend, columns, labels)
    model = {
        "name": path.stem,
        "sha256": sha256_of(network.tflite),
        "bytes": len(network.tflite),
        "input_shape": list(shape[1:]),
        "input_quantization": list(tensor_quantization(network.tflite, "input")),
        "output_quantization": list(output),
    }
    manifest = {
        "dataset": {"name": f"{_UNKNOWN} sounds", "protocol": _UNKNOWN, "fold": None},
        "detector": detector.to_dict(),
        "frontend": frontend.to_dict(),
        "labels": list(labels),
        "licence": _UNKNOWN,
        "model": model,
    }
    if network.warp:
        manifest["warp"] = dataclasses.asdict(network.warp)
    return Metadata(
        path.stem,
        _UNKNOWN,
        labels,
        frontend,
        shape[2],
        detector,
        warp=network.warp,
        importance=network.importance,
        manifest=manifest,
    )


def _check_types(inputs: Sequence[str], outputs: Sequence[str]) -> None:
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"the network has {len(inputs)} inputs and {len(outputs)} outputs: convert one that "
            "has one input and one output"
        )
    (taken,), (given,) = inputs, outputs
    if taken != given or taken not in ("int8", "int16"):
        raise ModelError(
            f"the network takes {taken} and gives {given}, and is not int8 inside: convert "
            "it to full int8, with optimizations and a representative_dataset"
        )


def _check_input(
    shape: tuple[int, ...], quantization: tuple[float, int], frontend: FrontendConfig
) -> None:
    bins = frontend.feature_bins
    if len(shape) != 4 or (shape[0], shape[1], shape[3]) != (1, bins, 1):
        remedy = (
            "put keras.layers.Permute((2, 1, 3)) in front of it"
            if len(shape) == 4 and shape[2] == bins
            else "give the recipe of its training, or put a layer that reshapes in front of it"
        )
        raise ModelError(
            f"the network's input is {_by(shape)}, but the front end gives 1 x {bins} x FRAMES x 1 "
            f"(a row for each bin): {remedy}"
        )
    scale, zero_point = quantization
    if _close(quantization, _FEATURES):
        return
    low, high = (-128 - zero_point) * scale, (127 - zero_point) * scale
    apart = max(abs(low - frontend.feature_min), abs(high - frontend.feature_max))
    if apart > _RANGE_STEPS * frontend.feature_step:
        raise ModelError(
            f"the network's int8 input stands for {low:.6g} to {high:.6g}, but the front end's for "
            f"{frontend.feature_min:g} to {frontend.feature_max:g}: in the recipe set "
            f"frontend.feature_min to {low:.6g} and feature_max to {high:.6g}; or, if it was "
            "trained on features scaled to -1 to 1, convert it with calibration data that reach "
            "from -1 to 127/128"
        )


def _check_output(
    shape: tuple[int, ...], quantization: tuple[float, int], labels: Sequence[str]
) -> None:
    if len(shape) != 2 or shape[0] != 1:
        raise ModelError(
            f"the network's output is {_by(shape)}: a classifier gives 1 x CLASSES; put a layer "
            "that reshapes at its end"
        )
    if shape[1] != len(labels):
        raise ModelError(
            f"the network has {shape[1]} classes, but labels names {len(labels)}: give a name for "
            "each, in the order of the outputs"
        )
    if not _close(quantization, _PROBABILITIES):
        raise ModelError(
            f"the network's output has scale {quantization[0]:.6g} and zero point "
            f"{quantization[1]}, so it gives no probabilities: put a softmax at its end"
        )


def _close(quantization: tuple[float, int], expected: tuple[float, int]) -> bool:
    same_scale = math.isclose(quantization[0], expected[0], rel_tol=1e-4)
    return same_scale and quantization[1] == expected[1]


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
