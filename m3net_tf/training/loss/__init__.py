# SPDX-License-Identifier: Apache-2.0
"""What a training minimises: the loss of the labels, of early exits and of teachers."""
