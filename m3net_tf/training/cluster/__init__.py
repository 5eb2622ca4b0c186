# SPDX-License-Identifier: Apache-2.0
"""One training in worker processes of Ray, on this computer or a cluster."""
