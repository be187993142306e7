"""The one error that is meant for the person at the keyboard."""


class UserError(Exception):
    """Bad input, said in clear sentences: what was wrong (key or file, and its value) and what would be right.

    The command line prints it without a traceback and exits with status 1.
    """
