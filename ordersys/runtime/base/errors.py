"""The one kind of error that ends a process at its start, whatever part of it can't be had."""


class StartupError(Exception):
    """A reason why a process can't start: one line for whoever starts it, with the thing and the way out.

    Settings, seed files, databases and addresses have one each. The process ends with exit status 2.
    """
