"""The error that is shown to a user in words."""


class UserError(ValueError):
    """What the user gave can't be used; each line names one mistake and what to do."""
