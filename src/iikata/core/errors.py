"""What iikata raises when the user's input, and not iikata, is at fault."""


class IikataError(Exception):
    """The input is at fault: the message says where, what was seen, what is allowed, what to do. Exit 1."""

    exit_code = 1
