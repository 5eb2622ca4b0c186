# SPDX-License-Identifier: Apache-2.0
"""Changes of training clips: stored copies, copies that each epoch draws anew, and maps."""
