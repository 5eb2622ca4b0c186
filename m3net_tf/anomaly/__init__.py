# SPDX-License-Identifier: Apache-2.0
"""Normal sounds only: a network that reports what is not like them, and its threshold."""
