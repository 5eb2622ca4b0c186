# SPDX-License-Identifier: Apache-2.0
"""A ``.tflite`` file as a checked graph, and a changed graph as the file.

- ``model_file.py``: the bytes of a file, or of a C source with its array;
- ``unpack.py``: the objects of its FlatBuffer, of which a damaged file may claim too many;
- ``read.py``, ``graph.py``: operators and tensors;
- ``write.py``: the file with what was changed in its graph;
- ``ends.py``: float and uint8 inputs and outputs around an int8 network.

No other code of the package imports the schema.
"""
