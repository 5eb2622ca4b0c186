# SPDX-License-Identifier: Apache-2.0
"""What every wing stands on: files, locks, processes, the terminal, YAML, optional packages."""
