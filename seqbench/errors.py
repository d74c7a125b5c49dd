"""Errors that a user can act on."""

DECIDES = "nothing"


class UserError(Exception):
    """Bad input: one line that names the file, key or value and says what to do.

    The command line prints it as ``error: <message>`` and exits with status 2, without a traceback.
    """
