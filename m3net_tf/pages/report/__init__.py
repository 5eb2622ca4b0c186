# SPDX-License-Identifier: Apache-2.0
"""Finished runs as one HTML page that opens offline.

:func:`m3net_tf.pages.report.page.write_report` goes through the stages:

- ``gather.py``: run folders, and their test clips where the data set is at hand, to ``RunData``;
- ``overview.py``, ``classes.py``, ``clips.py``, ``trial.py``, ``reliability.py``, ``networks.py``,
  ``boards.py``, ``origin.py``: a function for each section, from ``RunData`` to the blocks of
  ``content.py``;
- ``page.py`` and ``templates/``: the blocks as HTML, which has no figures of its own.
"""
