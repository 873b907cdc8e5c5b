"""Small generated sets: spirals in the plane, arithmetic modulo a prime, text of a random Markov chain."""

import numpy as np

from tasks.data.split import shuffle_split

NUM_ARMS = 3
PRIME = 31
MARKOV_VOCABULARY = 64


def spirals():
    """3,000 points of three noisy interleaved arms of two turns; labels are the arms."""
    rng = np.random.default_rng(0)
    arms = rng.integers(NUM_ARMS, size=3000)
    radius = np.sqrt(rng.random(3000))
    angle = 4 * np.pi * radius + 2 * np.pi * arms / NUM_ARMS
    points = 1.7 * radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return shuffle_split((points + 0.05 * rng.normal(size=points.shape)).astype(np.float32), arms.astype(np.int32))


def modular_addition():
    """All pairs below 31 as text a, b, a + b mod 31: one row of tokens, pairs in random order, with separators.

    A language model can only predict the third token of each four; the last fifth of the pairs validates.
    """
    rng = np.random.default_rng(0)
    first, second = np.divmod(rng.permutation(PRIME**2), PRIME)
    rows = np.stack([first, second, (first + second) % PRIME, np.full_like(first, PRIME)], axis=1).astype(np.int32)
    cut = len(rows) * 4 // 5
    return rows[:cut].reshape(-1), rows[cut:].reshape(-1)


def markov_text():
    """200,000 tokens of a second-order Markov chain on 64 tokens whose next tokens follow a power law."""
    rng = np.random.default_rng(0)
    size = MARKOV_VOCABULARY
    chances = (1.0 + np.arange(size)) ** -1.5
    ends = np.cumsum(chances / chances.sum())
    ranks = np.minimum(np.searchsorted(ends, rng.random(200_000)), size - 1)
    # The token before decides the ranking of the next one and the token before that shifts it.
    rankings = np.stack([rng.permutation(size) for _ in range(size)])
    shifts = rng.integers(0, 4, size=size)
    tokens = np.zeros(len(ranks), np.int32)
    before, last = 0, 0
    for index, rank in enumerate(ranks):
        before, last = last, int(rankings[last, (rank + shifts[before]) % size])
        tokens[index] = last
    cut = len(tokens) * 9 // 10
    return tokens[:cut], tokens[cut:]
