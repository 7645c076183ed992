"""Generators that belong to a name instead of a moment, so that no draw depends on what was drawn before it.

A generator that is passed along makes the thousandth draw depend on the 999 before it: a resumed training, another
order of the pictures, or a second thread changes everything. Here the keys alone decide (a seed, an epoch, the number
of a picture, the name of a class), so each draw can be repeated on its own.
"""

import hashlib

import torch


def seeded_generator(*keys: int | str) -> torch.Generator:
    """Make a generator whose numbers are a pure function of the keys.

    Args:
        keys: Whole numbers and words, in an order that the caller chooses and keeps.

    Returns:
        A generator on the CPU, the same on every machine.

    Example:
        >>> first, again = seeded_generator(7, "crop", 3), seeded_generator(7, "crop", 3)
        >>> torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=again))
        True
    """
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))
