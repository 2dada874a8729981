"""Benchmarks: every goal is a ratio to a baseline of the same run on the same machine, with all guarantees on.

Systems are insecure, as their baselines are, unless a measurement says otherwise.
"""

import os

os.environ.setdefault("ORDERSYS_INSECURE", "true")
