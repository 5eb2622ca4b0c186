# SPDX-License-Identifier: Apache-2.0
"""Quantises a trained float network to a full-int8 ``.tflite``."""
