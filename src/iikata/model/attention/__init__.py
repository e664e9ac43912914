"""Which tokens see which, and the code that attends."""
