# SPDX-License-Identifier: Apache-2.0
"""From sound files to a network's int8 input: data sets, their shards, and the front end."""
