"""Where a model's files come from and what may be in them."""
