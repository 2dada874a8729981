"""Tests. What they start is insecure unless a test says otherwise: they read and cut what is sent."""

import os

os.environ.setdefault("ORDERSYS_INSECURE", "true")
