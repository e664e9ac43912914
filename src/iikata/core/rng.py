"""Name every random stream, so that adding one never shifts another."""

import hashlib


def stream_seed(*names: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on the names alone, e.g. `("lora", 0, "layers.3.q_proj")`."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
