"""What iikata raises when the user's input, and not iikata, is at fault; what others raised, in a line."""


class IikataError(Exception):
    """The input is at fault: the message says where, what was seen, what is allowed, what to do. Exit 1."""

    exit_code = 1


def first_line(error: Exception) -> str:
    """Return an error's kind and the first line of what it says; the second too where the first ends in a colon."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or ["no reason given"]
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__}: {said[:400]}"
