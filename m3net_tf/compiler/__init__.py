# SPDX-License-Identifier: Apache-2.0
"""Compiling a full-int8 ``.tflite`` into readable C without an interpreter.

:func:`m3net_tf.compiler.network.compile_network` goes through the stages, one file each:

- ``read.py``: a file's :class:`~m3net_tf.tflite.graph.Graph`, if the compiler can take it;
- ``passes/``: exact rewrites of the graph, then of the calls;
- ``operators/``: each operator as calls of kernels in ``firmware/engine/``;
- ``plan.py``: one arena with fixed offsets;
- ``emit.py``: the C source and its header.

``host.py`` builds the result as a shared library and runs it here. docs/design/engine.md explains
it all.
"""
