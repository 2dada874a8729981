"""Tests. What they start is insecure unless a test says otherwise: they read and cut what is sent."""

import os

os.environ["ORDERSYS_INSECURE"] = "true"
