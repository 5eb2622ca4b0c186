# SPDX-License-Identifier: Apache-2.0
"""A data set as TFRecord files at a URL, each with many clips, which many computers can read.

A shard has the sound of its clips as 16-bit samples of the delivered rate and length. Its list, a
JSON file beside it, names the clips; ``index.json`` names the shards and has their checksums.
"""

from m3net_tf.audio.shards.index import Shards, load_sharded_dataset, open_shards, require_section

__all__ = ["Shards", "load_sharded_dataset", "open_shards", "require_section"]
