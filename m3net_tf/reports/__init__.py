# SPDX-License-Identifier: Apache-2.0
"""What came of it: the whole chain on held-out clips, as a table and as JSON."""
