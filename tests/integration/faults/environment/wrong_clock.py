"""A wrong clock: `python -m …faults.environment.wrong_clock SECONDS SERVICE` runs a service that many seconds ahead.

Only the time of day is wrong, from the beginning; how long something takes is measured by another clock.
"""

import runpy
import sys
import time

_NANOSECONDS = 1_000_000_000

if __name__ == "__main__":
    service, seconds = sys.argv.pop(), int(sys.argv.pop())
    right, right_ns = time.time, time.time_ns
    setattr(time, "time", lambda: right() + seconds)  # noqa: B010 - assigned, mypy would not have it
    setattr(time, "time_ns", lambda: right_ns() + seconds * _NANOSECONDS)  # noqa: B010 - as above
    runpy.run_module(f"ordersys.{service}", run_name="__main__", alter_sys=True)
