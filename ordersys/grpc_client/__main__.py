"""`python -m ordersys.grpc_client`: talks to the system from a command line."""

from ordersys.console import interrupts, output

if __name__ == "__main__":
    # First of all: what is imported next takes most of a second, in which Ctrl-C would end in a traceback.
    interrupts.end_at_once()
    output.prepare()
    from ordersys.grpc_client.command_line import main

    main()
