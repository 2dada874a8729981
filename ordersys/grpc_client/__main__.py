"""`ordersys` and `python -m ordersys.grpc_client`: talks to the system from a command line."""

from typing import NoReturn

from ordersys.console import interrupts, output


def main() -> NoReturn:
    """Runs the command that was typed."""
    # First of all: what is imported next may take half a second, in which Ctrl-C would end in a traceback.
    interrupts.end_at_once()
    output.prepare()
    from ordersys.grpc_client import command_line  # noqa: PLC0415 - see above

    command_line.main()


if __name__ == "__main__":
    main()
