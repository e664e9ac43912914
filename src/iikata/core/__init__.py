"""The nouns and the floor under every room."""
