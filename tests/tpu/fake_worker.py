"""Stands in for the process that compiles ahead of time, and ends as the module that it is given says."""

from __future__ import annotations

import json
import os
import resource
import sys
import time

wish = sys.stdin.read()
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
if wish == "sleep":
    time.sleep(60)
if wish == "abort":
    os.abort()
if wish == "memory":
    bytearray(1 << 40)
if wish == "status":
    print("libtpu is broken", file=sys.stderr)
    sys.exit(3)
answers = {
    "unable": {"unable": "ABORTED: no libtpu here\nmore"},
    "refused": {"refused": "RESOURCE_EXHAUSTED: 17 GB of 16 GB hbm\nmore"},
}
print(
    json.dumps(answers.get(wish, {"operations": 12, "generation": sys.argv[1], "quiet": os.environ["JAX_PLATFORMS"]}))
)
