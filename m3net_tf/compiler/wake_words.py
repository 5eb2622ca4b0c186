# SPDX-License-Identifier: Apache-2.0
"""Wake words of microWakeWord: the JSON file of one, and its detection in C.

The JSON file names a ``.tflite`` beside it, and says how its probabilities become a detection, as
in ESPHome's ``components/micro_wake_word/__init__.py``. The C decides as ``streaming_model.cpp`` in
that folder does, without its second network for voice activity.
"""

import dataclasses
from pathlib import Path
from string import Template
from typing import NotRequired, TypedDict

from m3net_tf.compiler.names import require_name
from m3net_tf.compiler.network import CompiledNetwork
from m3net_tf.system.artifacts import parse_json, read_file, write_json
from m3net_tf.system.errors import ModelError
from m3net_tf.tflite.read import read_graph

SUFFIX = ".json"
FEATURES = 40  # of a column
_FULL = 255  # ESPHome's units of a cutoff of 1
_MOST_BYTES = 1 << 16
_MOST_WINDOW = 255
_MOST_STEP_MS = 30  # as ESPHome
_FIRST_STEP_MS = 20  # of all networks with a file of version 1
_COLD_COLUMNS = 100
_BESIDES_TENSORS = 14 << 10  # bytes that TensorFlow Lite Micro takes, at most, for such a network


class _Micro(TypedDict):
    probability_cutoff: float
    sliding_window_size: NotRequired[int]
    sliding_window_average_size: NotRequired[int]
    feature_step_size: NotRequired[int]


class _File(TypedDict):
    type: str
    version: int
    wake_word: str
    model: str
    micro: _Micro


@dataclasses.dataclass(frozen=True)
class WakeWord:
    """A wake word of microWakeWord.

    Attributes:
        phrase: what is said.
        model: the ``.tflite`` file.
        cutoff: the mean probability above which it is detected.
        window: number of probabilities that the mean is taken over.
        step_ms: time from one column of features to the next.
    """

    phrase: str
    model: Path
    cutoff: float
    window: int
    step_ms: int


def read_wake_word(path: Path) -> WakeWord:
    """Read the JSON file of a wake word, of version 1 or 2.

    Raises:
        ModelError: it cannot be read, or is not such a file.
    """
    try:
        values: _File = parse_json(read_file(path, _MOST_BYTES), _File)
        version, micro = values["version"], values["micro"]
        if values["type"] != "micro" or version not in (1, 2):
            raise ValueError("its type is not micro, or its version not 1 or 2")
        cutoff = micro["probability_cutoff"]
        if version == 2:
            window, step_ms = micro.get("sliding_window_size", 0), micro.get("feature_step_size", 0)
        else:
            window, step_ms = micro.get("sliding_window_average_size", 0), _FIRST_STEP_MS
        if not (
            1 / _FULL <= cutoff <= 1 and 0 < window <= _MOST_WINDOW and 0 < step_ms <= _MOST_STEP_MS
        ):
            raise ValueError(
                "in micro, the cutoff, the window or the step is missing or out of range"
            )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(
            f"{path} is not the JSON file of a wake word of microWakeWord ({reason}): name one as "
            "of github.com/esphome/micro-wake-word-models, or a .tflite file"
        ) from None
    model = path.parent / values["model"]
    return WakeWord(values["wake_word"], model, cutoff, window, step_ms)


def write_wake_word(word: WakeWord, path: Path, language: str) -> None:
    """Write the JSON file, of version 2, of a wake word whose model is beside it.

    Args:
        language: of the voices that the network was trained with, as ``en``.

    Raises:
        ModelError: the model is damaged.
    """
    graph = read_graph(read_file(word.model))
    computed = sum(tensor.size for tensor in graph.tensors() if tensor.data is None)
    write_json(
        path,
        {
            "type": "micro",
            "version": 2,
            "wake_word": word.phrase,
            "author": "m3net wake",
            "trained_languages": [language],
            "model": word.model.name,
            "micro": {
                "probability_cutoff": word.cutoff,
                "sliding_window_size": word.window,
                "feature_step_size": word.step_ms,
                "tensor_arena_size": computed + _BESIDES_TENSORS,
                "minimum_esphome_version": "2024.7.0",
            },
        },
    )


def detection_header(word: WakeWord, network: CompiledNetwork, name: str) -> str:
    """The C of a wake word's detection, for a header beside the network's.

    Args:
        network: the compiled ``.tflite``.
        name: prefix of all names in C, as of the network.

    Raises:
        ModelError: the network does not take columns of 40 features, or has more than one
            probability.
    """
    require_name(name)
    graph = network.graph
    forms = [(tensor.dtype, tensor.shape) for tensor in (*graph.inputs, *graph.outputs)]
    match forms:
        case [("int8", (1, stride, columns)), ("uint8", (1, 1))] if columns == FEATURES:
            return _TEMPLATE.substitute(
                name=name,
                upper=name.upper(),
                phrase="".join(each if each.isalnum() else " " for each in word.phrase),
                stride=stride,
                features=FEATURES,
                cutoff=int(word.cutoff * _FULL),
                window=word.window,
                step_ms=word.step_ms,
                cold=_COLD_COLUMNS,
            )
    raise ModelError(
        f"{word.model} is not a network of microWakeWord: it has other ends than int8 columns of "
        f"{FEATURES} features and one uint8 probability"
    )


_TEMPLATE = Template("""\
// SPDX-License-Identifier: Apache-2.0
// Generated by m3net compile; do not edit.
// Detection of the wake word below from columns of features, as micro_wake_word of ESPHome does it.
// $phrase

#ifndef ${upper}_DETECTION_H_
#define ${upper}_DETECTION_H_

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "$name.h"

#define ${upper}_STEP_MS $step_ms  // from one column of features to the next
#define ${upper}_FEATURES $features
#define ${upper}_RUN_COLUMNS $stride
#define ${upper}_CUTOFF $cutoff  // of the mean probability, in 255ths
#define ${upper}_WINDOW $window  // probabilities
#define ${upper}_COLD_COLUMNS $cold  // below the cutoff before the first detection, and after each

/// State of the detection, owned by the caller.
typedef struct {
  uint8_t probabilities[${upper}_WINDOW];  ///< Of the latest runs.
  uint8_t newest;                          ///< Place of the last one.
  uint8_t columns;                         ///< In the network's input.
  uint8_t cold;                            ///< Columns until the next detection may follow.
  bool is_new;                             ///< Whether the last probability was not decided on.
} ${name}_detection;

/// Begins a new sequence, also of the network in the arena.
static inline void ${name}_detection_reset(${name}_detection *detection, int8_t *arena) {
  memset(detection, 0, sizeof(*detection));
  detection->cold = ${upper}_COLD_COLUMNS;
  ${name}_reset(arena);
}

static inline bool ${name}_detection_decides(${name}_detection *detection) {
  uint32_t sum = 0;
  if (!detection->is_new || detection->cold > 0u) return false;
  detection->is_new = false;
  for (uint32_t i = 0; i < ${upper}_WINDOW; ++i) sum += detection->probabilities[i];
  if (sum <= (uint32_t)${upper}_CUTOFF * ${upper}_WINDOW) return false;
  memset(detection->probabilities, 0, sizeof(detection->probabilities));
  detection->cold = ${upper}_COLD_COLUMNS;
  return true;
}

/// Takes the next column of ${upper}_FEATURES features, and runs the network if it is due.
///
/// @return whether the wake word is detected.
static inline bool ${name}_hear(${name}_detection *detection, int8_t *arena, const int8_t *column) {
  int8_t *input = arena + ${upper}_INPUT_0_OFFSET;
  memcpy(input + detection->columns * ${upper}_FEATURES, column, ${upper}_FEATURES);
  if (++detection->columns == ${upper}_RUN_COLUMNS) {
    detection->columns = 0;
    ${name}_run(arena);
    detection->newest = (uint8_t)((detection->newest + 1u) % ${upper}_WINDOW);
    detection->probabilities[detection->newest] = (uint8_t)arena[${upper}_OUTPUT_0_OFFSET];
    detection->is_new = true;
  }
  if (detection->cold > 0u && detection->probabilities[detection->newest] < ${upper}_CUTOFF) {
    --detection->cold;
  }
  return ${name}_detection_decides(detection);
}

#endif  // ${upper}_DETECTION_H_
""")
