"""The frozen base, its adapters, its attention, and what is packed for it."""
