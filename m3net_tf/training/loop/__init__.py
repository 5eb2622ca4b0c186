# SPDX-License-Identifier: Apache-2.0
"""The training loop: network, batches, steps, epochs and the state that resumes it."""
