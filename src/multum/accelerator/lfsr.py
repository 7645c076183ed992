"""Where pivots come from: a shift register of 16 bits, the same numbers in Python and in Verilog.

A linear-feedback shift register steps once a clock cycle. Its taps (16, 15, 13, 4) are those of a primitive polynomial,
so that it goes through all 65,535 states but zero before it repeats.
"""

from dataclasses import dataclass

from multum.core import invalid

BITS = 16
"""Width of the register."""
TAPS = (16, 15, 13, 4)
"""Bits that are added up (modulo two) to the next one, counted from 1."""
SEED = 0xACE1
"""The state after a reset."""


@dataclass
class Lfsr:
    """The register.

    Raises:
        UserError: A state outside 1..65535; zero would stay zero.

    >>> register = Lfsr()
    >>> register.step(1), register.below(10)
    (22979, 3)
    """

    state: int = SEED
    """What it holds now."""

    def __post_init__(self) -> None:
        if not 1 <= self.state < 1 << BITS:
            raise invalid("the seed of the pivots", f"in 1..{(1 << BITS) - 1}", self.state)

    def step(self, num_cycles: int = 1) -> int:
        """Shift so many cycles on; gives the new state."""
        for _ in range(num_cycles):
            bit = 0
            for tap in TAPS:
                bit ^= self.state >> (tap - 1)
            self.state = (self.state << 1 | bit & 1) & ((1 << BITS) - 1)
        return self.state

    def below(self, limit: int) -> int:
        """A number in 0..limit - 1 from the present state: a multiplication and a shift, no division."""
        return self.state * limit >> BITS
