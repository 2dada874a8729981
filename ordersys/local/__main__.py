"""`python -m ordersys.local`: the whole system on this machine with one command."""

from ordersys.console import interrupts, output

if __name__ == "__main__":
    # First of all: what is imported next takes most of a second, in which Ctrl-C would end in a traceback.
    interrupts.end_at_once()
    output.prepare()
    from ordersys.local.command_line import main

    main()
