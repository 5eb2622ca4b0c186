# SPDX-License-Identifier: Apache-2.0
"""The page of a board that listens, served on this computer: ``m3net monitor --web``.

- ``board.py``: the board's stream as messages for pages, and what their requests do on the board;
- ``requests.py``: the requests, checked by their types;
- ``clips.py``: the newest sound of the stream, and the sounds that pages label;
- ``server.py``: the page and its WebSocket, on 127.0.0.1 only;
- ``command.py``: the command, from the port to the end of the stream;
- ``templates/``: the page; its look and its drawing come from ``pages``.
"""
