"""The error that a user reads."""


class UserError(ValueError):
    """jbn can't use what the user gave. Each line names one mistake and says what to do."""
