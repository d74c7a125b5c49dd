"""Stand-in."""


def tables(tables):
    """Nothing yet."""
    return {}
