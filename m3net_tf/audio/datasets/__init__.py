# SPDX-License-Identifier: Apache-2.0
"""Data sets by name, in a module each: ``load_dataset("synth")``.

Importing this package requires neither TensorFlow nor any data. To add a data set, add one module
(see :mod:`m3net_tf.audio.datasets.registry`).
"""

from m3net_tf.audio.datasets.audio import fit_length, from_pcm16, read_audio, to_pcm16
from m3net_tf.audio.datasets.clips import SPLITS, Archive, Clip, DatasetInfo
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.registry import (
    data_folder,
    dataset_info,
    dataset_names,
    dataset_options,
    load_dataset,
    register,
)
from m3net_tf.audio.datasets.statements import (
    cut_statement,
    protocol_statement,
    silence_statement,
    split_facts,
)

__all__ = [
    "SPLITS",
    "Archive",
    "AudioDataset",
    "Clip",
    "DatasetInfo",
    "cut_statement",
    "data_folder",
    "dataset_info",
    "dataset_names",
    "dataset_options",
    "fit_length",
    "from_pcm16",
    "load_dataset",
    "protocol_statement",
    "read_audio",
    "register",
    "silence_statement",
    "split_facts",
    "to_pcm16",
]
