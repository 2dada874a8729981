"""`python -m ordersys.live`: serves the live page of a running system."""

from ordersys.console import interrupts, output

if __name__ == "__main__":
    # First of all: what is imported next takes some time, in which Ctrl-C would end in a traceback.
    interrupts.end_at_once()
    output.prepare()
    from ordersys.live.command_line import main

    main()
