"""What everything that this package refuses has in common."""


class Refused(Exception):
    """Something that cannot be done as it is asked; the message says why, and what to do."""
