"""dipir.arrays: seeds that depend on every name and on nothing else."""
from __future__ import annotations

import subprocess
import sys
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dipir.arrays import split_seed


@given(st.integers(0, 2**31 - 1), st.lists(st.one_of(st.text(max_size=5), st.integers()), max_size=4))
def test_a_seed_has_31_bits_and_is_the_same_again(seed, names):
    assert split_seed(seed, *names) == split_seed(seed, *names) in range(2**31)
    assert split_seed(seed, *names) != split_seed(seed, *names, "one more")


def test_seeds_are_those_of_every_process():
    """Python's own hashes of text change from process to process."""
    code = "from dipir.arrays import split_seed; print(split_seed(7, 'noise', 3))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(other) == split_seed(7, "noise", 3)


def test_neighbouring_seeds_share_nothing():
    seeds = [split_seed(s, "step", k) for s in range(50) for k in range(50)]
    assert len(set(seeds)) == 2500
    bits = Counter(b for seed in seeds for b in range(31) if seed >> b & 1)
    # Binomial(2500, 1/2): six standard deviations are 150.
    assert all(abs(bits[b] - 1250) < 150 for b in range(31))
