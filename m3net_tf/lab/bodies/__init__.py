# SPDX-License-Identifier: Apache-2.0
"""Bodies: small networks for everybody's sounds, which learn from YAMNet on unlabelled sound."""
