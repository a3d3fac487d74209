"""Lets the kit import what starts a server of ours, where it is not pointed at another: import this first."""

from __future__ import annotations

import sys
from pathlib import Path

for _folder in ("serving", "."):
    sys.path.append(str(Path(__file__).resolve().parent.parent / _folder))
