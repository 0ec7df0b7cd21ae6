"""The one base of every error that a user can cause."""


class ZoeJaxError(Exception):
    """Something a user can mend: the message says what was wrong, where, and what would be right.

    The command line prints it as one line and exits with status 2; a traceback means a bug.
    """
