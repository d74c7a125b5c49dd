"""The error that models raise for requests that cannot be fulfilled."""

DECIDES = "nothing"


class ModelError(ValueError):
    """One line that says what was asked for and what is allowed or missing."""
