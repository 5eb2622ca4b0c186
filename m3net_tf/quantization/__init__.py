# SPDX-License-Identifier: Apache-2.0
"""From a trained float network to a full-int8 ``.tflite``."""
