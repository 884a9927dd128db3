"""The one base class of every error that a user of the workbench can cause."""


class WorkbenchError(ValueError):
    """What was wrong with a value, what is accepted and what to do, in one line.

    The command line prints it as it is and exits with 1; the app shows it as a message.
    """
