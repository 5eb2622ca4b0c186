# SPDX-License-Identifier: Apache-2.0
"""A file as teacher: its vector for each training clip, computed once and stored.

Clips that are longer than the teacher's input are cut into windows that overlap by half at least;
shorter ones end in zeros. A clip's vector is the mean over its windows of sign(x) log(1 + |x|),
because embeddings behind a ReLU have a few very large values.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.audio.datasets.networks import find_teacher
from m3net_tf.audio.frontend import dequantize_features, graph
from m3net_tf.audio.frontend.store import FeatureRows, RowStore
from m3net_tf.runtime.interpreter import load_interpreter
from m3net_tf.system.artifacts import read_file, sha256_of
from m3net_tf.system.errors import ModelError, one_line
from m3net_tf.system.keras import keras
from m3net_tf.system.processor import arithmetic, machine
from m3net_tf.system.progress import Log
from m3net_tf.system.threads import WORKERS
from m3net_tf.training.clips.features import row_keys, stored_rows
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run.folder import load

Floats = npt.NDArray[np.float32]
_LAYOUT = 1  # incremented when the same file gives other vectors
_MOST_BYTES = 1 << 30
_SMALL = 1e-6  # of the largest standard deviation: a constant


class TeacherFacts(TypedDict):
    """What taught a network, for ``metrics.json``: a recipe has only the name of the file."""

    file: str
    sha256: str
    output: str
    values: int


@dataclasses.dataclass(frozen=True)
class TeacherVectors:
    """The vectors of the training clips, which :meth:`of` standardises.

    Attributes:
        rows: float32, shape (copies, clips, 1, size); copy 0 is the original clip.
        mean: over the original clips, shape (size,).
        scale: one divided by the standard deviation over them; 0 for constants.
    """

    rows: FeatureRows
    mean: Floats
    scale: Floats
    facts: TeacherFacts

    def of(self, copies: npt.NDArray[np.integer], clips: npt.NDArray[np.integer]) -> Floats:
        """Standardised vectors of some copies of clips, shape (batch, size)."""
        return np.asarray((self.rows[copies, clips][:, 0] - self.mean) * self.scale, np.float32)


@dataclasses.dataclass(frozen=True)
class TeacherFile:
    """A file that gives a vector for each input.

    Attributes:
        shape: of one input, without the batch.
        compute: from inputs (n, *shape) to vectors (n, size).
        sha256: of the file.
    """

    shape: tuple[int, ...]
    compute: Callable[[Floats], Floats]
    sha256: str

    @property
    def samples(self) -> int:
        """Samples of a waveform as input; 0 if the input is none."""
        dims = [size for size in self.shape if size != 1]
        return dims[0] if len(dims) == 1 else 0


def open_teacher(path: Path, output: str = "") -> TeacherFile:
    """A file of any network, ready to give vectors.

    Args:
        output: end of the name of a tensor of a ``.tflite``, or a layer of a ``.keras``; '' for the
            first output.

    Raises:
        ModelError: the file cannot be read, has no such output, or has several inputs.
    """
    content = _content(path)
    if content[4:8] == b"TFL3":
        return _open_tflite(path, content, output)
    if path.suffix == ".keras":
        return _open_keras(path, content, output)
    raise ModelError(
        f"distillation.teacher {path} is neither a .tflite nor a .keras: convert it to .tflite"
    )


def teacher_vectors(
    recipe: Recipe, dataset: AudioDataset, shape: tuple[int, int, int], log: Log
) -> TeacherVectors:
    """The vectors of the file that a recipe names, for its training clips and their stored copies.

    Args:
        shape: input shape of the student, (bins, frames, channels).

    Raises:
        ModelError: the file cannot be read, has no such output, or takes another input.
        DataError: a clip cannot be read.
    """
    settings = recipe.distillation
    path = find_teacher(settings.teacher or "")
    file = open_teacher(path, settings.teacher_output)
    config = recipe.frontend
    dtype = recipe.training.features
    kind = f"teacher {_LAYOUT} {file.sha256} {settings.teacher_output}"
    kind += f" {arithmetic([machine()])}"
    rate_hz = dataset.info.sample_rate_hz
    takes_maps = _takes_maps(file.shape, shape)

    def of_maps(waves: Floats) -> Floats:
        maps = dequantize_features(graph.batch_features(config, waves, dtype))
        return file.compute(maps.reshape(-1, *file.shape))

    def of_waves(waves: Floats) -> Floats:
        return _of_windows(waves, file)

    if takes_maps:
        kind += f" {config.fingerprint()} {dtype}"
    elif file.samples == 0:
        raise ModelError(
            f"distillation.teacher {path} takes an input of shape {file.shape}: name a file that "
            f"takes a waveform of a fixed length, or this recipe's maps {shape}"
        )
    elif rate_hz != settings.teacher_sample_rate_hz:
        raise ModelError(
            f"distillation.teacher {path} takes a waveform at {settings.teacher_sample_rate_hz} "
            f"Hz, but {dataset.info.name} delivers {rate_hz} Hz: set the rates of dataset and "
            "frontend to the teacher's, or correct teacher_sample_rate_hz"
        )
    of = of_maps if takes_maps else of_waves
    size = of(np.zeros((1, dataset.info.clip_samples), np.float32)).shape[-1]
    store = RowStore(hashlib.sha256(kind.encode()).hexdigest()[:16], (1, size), "float32")
    augmentation = recipe.augmentation
    seed = recipe.copies_seed
    rows = stored_rows(
        store,
        dataset,
        "train",
        row_keys(dataset, "train", config if takes_maps else None, augmentation, seed),
        lambda waves: of(waves)[:, None],
        augmentation,
        seed,
        "teacher's vectors",
        log,
    )
    return _standardised(
        rows,
        {
            "file": path.name,
            "sha256": file.sha256,
            "output": settings.teacher_output,
            "values": size,
        },
    )


def _standardised(rows: FeatureRows, facts: TeacherFacts) -> TeacherVectors:
    originals = rows[0][:, 0].astype(np.float64)
    deviation = originals.std(axis=0)
    constant = deviation <= _SMALL * max(deviation.max(), _SMALL)
    scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))
    mean = originals.mean(axis=0)
    return TeacherVectors(rows, mean.astype(np.float32), scale.astype(np.float32), facts)


def _content(path: Path) -> bytes:
    try:
        return read_file(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise ModelError(
            f"distillation.teacher {path} cannot be read ({reason}): name a .tflite or .keras file"
        ) from None


def _takes_maps(shape: tuple[int, ...], maps: tuple[int, int, int]) -> bool:
    """Whether an input has the form of the student's maps; a single row is a waveform."""
    dims = [size for size in shape if size != 1]
    return len(dims) > 1 and dims == [size for size in maps if size != 1]


def _of_windows(waves: Floats, file: TeacherFile) -> Floats:
    """Vectors of waveforms (batch, samples), shape (batch, size)."""
    samples = file.samples
    waves = np.pad(waves, ((0, 0), (0, max(0, samples - waves.shape[1]))))
    spare = waves.shape[1] - samples
    count = 1 + math.ceil(spare / max(1, samples // 2))
    starts = np.linspace(0, spare, count).astype(int)
    windows = np.stack([waves[:, start : start + samples] for start in starts], axis=1)
    vectors = file.compute(windows.reshape(-1, *file.shape))
    return np.asarray(vectors.reshape(len(waves), count, -1).mean(axis=1), np.float32)


def _compressed(outputs: npt.NDArray[Any]) -> Floats:
    """Vectors (n, size) of outputs (n, ..., size), which keep few values from being very large."""
    means = outputs.reshape(len(outputs), -1, outputs.shape[-1]).astype(np.float32).mean(axis=1)
    return np.asarray(np.sign(means) * np.log1p(np.abs(means)))


def _open_keras(path: Path, content: bytes, output: str) -> TeacherFile:
    model = load(path)
    if output:
        names = [layer.name for layer in model.layers]
        if output not in names:
            raise ModelError(_no_output(path, output, names))
        model = keras.Model(model.inputs, model.get_layer(output).output)
    shapes = [tensor.shape[1:] for tensor in model.inputs]
    if len(shapes) != 1:
        raise ModelError(
            f"distillation.teacher {path} has {len(shapes)} inputs: name a file with one"
        )

    def compute(inputs: Floats) -> Floats:
        outputs = model.predict_on_batch(inputs)
        return _compressed(outputs[0] if isinstance(outputs, list) else outputs)

    return TeacherFile(tuple(size or 0 for size in shapes[0]), compute, sha256_of(content))


def _open_tflite(path: Path, content: bytes, output: str) -> TeacherFile:
    interpreter = _interpreter(path, content)
    inputs = interpreter.get_input_details()
    if len(inputs) != 1 or -1 in inputs[0]["shape_signature"][1:]:
        raise ModelError(
            f"distillation.teacher {path} has {len(inputs)} inputs of shapes "
            f"{[each['shape_signature'].tolist() for each in inputs]}: name a file with one input "
            "of a fixed length"
        )
    source = inputs[0]
    target = _tensor(interpreter, path, output)
    own = threading.local()
    pool = ThreadPoolExecutor(WORKERS)

    def one(values: Floats) -> npt.NDArray[Any]:
        if not hasattr(own, "interpreter"):
            own.interpreter = _interpreter(path, content)
        runner = own.interpreter
        runner.reset_all_variables()
        runner.set_tensor(source["index"], _quantized(values.reshape(source["shape"]), source))
        try:
            runner.invoke()
        except RuntimeError as error:
            raise ModelError(
                f"distillation.teacher {path} cannot be run ({one_line(error)}): convert it again"
            ) from None
        return _dequantized(runner.get_tensor(target["index"]), target)

    def compute(values: Floats) -> Floats:
        outputs = np.stack(list(pool.map(one, values)))
        return _compressed(outputs)

    shape = tuple(int(size) for size in source["shape"])
    return TeacherFile(shape, compute, sha256_of(content))


def _interpreter(path: Path, content: bytes) -> Any:
    try:
        return load_interpreter(content, every_tensor=True)
    except ModelError as error:
        raise ModelError(f"distillation.teacher {path}: {error}") from None


def _tensor(interpreter: Any, path: Path, output: str) -> dict[str, Any]:
    """The computed tensor with a name of this end; without one, the first output."""
    details: dict[int, dict[str, Any]] = {
        each["index"]: each for each in interpreter.get_tensor_details()
    }
    if not output:
        return details[interpreter.get_output_details()[0]["index"]]
    computed = [details[index] for op in interpreter._get_ops_details() for index in op["outputs"]]
    # A fused operation has the names of all its parts, the last one first.
    for part in (slice(1), slice(None)):
        found = [
            each
            for each in computed
            if any(name.endswith(output) for name in each["name"].split(";")[part])
        ]
        if len(found) == 1:
            return found[0]
    names = [each["name"].split(";")[0] for each in (found or computed)]
    raise ModelError(_no_output(path, output, names, several=bool(found)))


def _no_output(path: Path, output: str, names: Iterable[str], *, several: bool = False) -> str:
    listed = ", ".join([*names][-6:])
    found = "several tensors of that end" if several else "no layer or tensor of that name"
    return (
        f"distillation.teacher_output is {output!r}: {path} has {found}; choose another, such as "
        f"{listed}"
    )


def _quantized(values: Floats, detail: dict[str, Any]) -> npt.NDArray[Any]:
    """Values as a tensor's type."""
    dtype = np.dtype(detail["dtype"])
    if dtype.kind == "f":
        return values.astype(dtype)
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(dtype)
    steps: npt.NDArray[Any] = np.round(values / scale) + zero_point
    return np.asarray(np.clip(steps, limits.min, limits.max), dtype)


def _dequantized(values: npt.NDArray[Any], detail: dict[str, Any]) -> npt.NDArray[Any]:
    """A tensor's real values."""
    if values.dtype.kind == "f":
        return values
    scale, zero_point = detail["quantization"]
    return np.asarray((values.astype(np.float32) - zero_point) * scale)
