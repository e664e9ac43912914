"""Cross-check an interval by flipping the signs of the clusters' differences."""

import zlib
from functools import lru_cache

import numpy as np

PERMUTATIONS = 9999
EXACT_UP_TO = 13
"""Clusters up to which all 2^C sign patterns are gone through (fewer than PERMUTATIONS)."""
SEED = zlib.crc32(b"iikata sign flips over clusters")


def sign_flip_p(means: np.ndarray) -> np.ndarray:
    """Return the two-sided p of the mean of means[..., C] being 0, under symmetry about 0 (Fisher 1935).

    p = (1 + extreme) / (1 + PERMUTATIONS) with random signs; with few clusters all patterns are gone through,
    the observed one among them. Seeds are averaged before: with three seeds there is nothing to flip.
    """
    C = means.shape[-1]
    signs = _signs(C)
    # A pattern that ties with the observed one must count, however its sum was rounded.
    least = np.abs(means.sum(axis=-1)) - 1e-12 * np.abs(means).sum(axis=-1)
    extreme = (np.abs(means @ signs.T) >= least[..., None]).sum(axis=-1)
    p: np.ndarray = extreme / len(signs) if C <= EXACT_UP_TO else (1 + extreme) / (1 + len(signs))
    return p


@lru_cache(maxsize=8)
def _signs(C: int) -> np.ndarray:
    """Return sign patterns [pattern, cluster], all of them where they are few."""
    if C <= EXACT_UP_TO:
        return 1.0 - 2.0 * ((np.arange(2**C)[:, None] >> np.arange(C)) & 1)
    return np.random.default_rng([SEED, C]).choice([-1.0, 1.0], size=(PERMUTATIONS, C))
