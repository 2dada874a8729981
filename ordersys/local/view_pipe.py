"""The words by which a launcher talks to its view on the terminal: a JSON object a line, down a pipe."""

LINK = "link"
"""The address of the live page, with its key: a command line would show it to every user of the machine."""
LINE = "line"
"""A line that the launcher would have printed."""
SUSPEND = "suspend"
"""To give the terminal back and stop, as for Ctrl-Z: the launcher stops when its view has."""
