# SPDX-License-Identifier: Apache-2.0
"""What an export costs on boards, and whether its bytes are the same there."""
