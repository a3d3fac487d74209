"""Tests on pynq's own classes want an environment with pynq: test_board_with_pynq.py runs them in one."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("pynq") else ["on_pynq"]
