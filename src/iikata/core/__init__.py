"""The nouns and the floor under every room."""

VERSION = "0.1.0"
