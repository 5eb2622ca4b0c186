# SPDX-License-Identifier: Apache-2.0
"""A ``.tflite`` file: read, checked for damage, as a graph of operators and tensors."""
