"""The two kinds of errors that say more than that something failed: it can't start, it is not there for now."""


class StartupError(Exception):
    """A reason why a process can't start: one line for whoever starts it, with the thing and the way out.

    Settings, seed files, databases and addresses have one each. The process ends with exit status 2.
    """


class Unavailable(Exception):
    """Something a process works with can't be used for now, such as its disk: the same may succeed later.

    Whoever works for nobody in particular catches this, waits, and tries again: a consumer, a relay, a periodic job.
    """
