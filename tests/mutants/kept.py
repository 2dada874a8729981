"""`python -m tests.mutants.kept FILE COMMAND …`: runs a service, and runs it anew whenever it was killed.

FILE has its process id, for whoever kills it. Any other end is the end, with its exit status; so is SIGTERM, which is
passed on.
"""

import signal
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Runs it until it ends by itself."""
    _, file, *command = sys.argv
    ending: list[int] = []
    running: list[subprocess.Popen[bytes]] = []

    def end(number: int, frame: object) -> None:
        ending.append(number)
        for process in running:
            process.send_signal(number)

    signal.signal(signal.SIGTERM, end)
    status = -signal.SIGKILL
    while status == -signal.SIGKILL and not ending:
        process = subprocess.Popen(command)
        running[:] = [process]
        Path(file).write_text(f"{process.pid}\n", encoding="utf-8")
        if ending:  # it was told to end before there was this process
            process.terminate()
        status = process.wait()
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
