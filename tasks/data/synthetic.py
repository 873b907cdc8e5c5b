"""Small generated data sets: spirals, textures, shapes, arithmetic modulo a prime, text of a random Markov chain."""

import numpy as np

from tasks.data.split import shuffle_split

NUM_ARMS = 3
PRIME = 31
MARKOV_VOCABULARY = 64
NUM_TEXTURES = 10
TEXTURE_SIZE = 8
NUM_SHAPES = 8
SHAPE_SIZE = 10


def spirals():
    """3,000 points on three noisy interleaved arms of two turns, labelled with their arms; a fifth validates."""
    rng = np.random.default_rng(0)
    arms = rng.integers(NUM_ARMS, size=3000)
    radius = np.sqrt(rng.random(3000))
    angle = 4 * np.pi * radius + 2 * np.pi * arms / NUM_ARMS
    points = 1.7 * radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return shuffle_split((points + 0.05 * rng.normal(size=points.shape)).astype(np.float32), arms.astype(np.int32))


def textures():
    """6,000 standardised 8 x 8 x 3 patches of ten textures: noise with a power law, a direction and colours of its own.

    As in photographs, neighbouring pixels and channels are correlated, and contrast varies from patch to patch.
    """
    rng = np.random.default_rng(0)
    labels = rng.integers(NUM_TEXTURES, size=6000)
    size = 2 * TEXTURE_SIZE  # a patch is cut out of a wider field, so that it doesn't wrap around
    row, column = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    amplitudes, colours = [], []
    for _ in range(NUM_TEXTURES):
        angle, stretch, power = rng.uniform(0, np.pi), rng.uniform(1, 4), rng.uniform(1, 3)
        along = np.cos(angle) * row + np.sin(angle) * column
        across = np.cos(angle) * column - np.sin(angle) * row
        amplitude = (along**2 + (stretch * across) ** 2 + size**-2.0) ** (-power / 2)
        amplitudes.append(amplitude / np.linalg.norm(amplitude))
        colours.append(0.5 + rng.normal(0.0, 0.5, size=(3, 3)))
    fields = np.fft.fft2(rng.normal(size=(len(labels), 3, size, size))) * np.stack(amplitudes)[labels][:, None]
    patches = np.fft.ifft2(fields).real[:, :, :TEXTURE_SIZE, :TEXTURE_SIZE]
    patches = np.einsum("nchw,ncd->nhwd", patches, np.stack(colours)[labels])
    patches = patches * np.exp(rng.normal(0.0, 0.5, size=(len(labels), 1, 1, 1)))
    return shuffle_split((patches / patches.std()).astype(np.float32), labels.astype(np.int32))


def shapes():
    """6,000 standardised 10 x 10 grey pictures of eight shapes in noise; place, size and contrast are random."""
    rng = np.random.default_rng(0)
    labels = rng.integers(NUM_SHAPES, size=6000)
    row, column = np.meshgrid(np.arange(SHAPE_SIZE), np.arange(SHAPE_SIZE), indexing="ij")
    centre = rng.uniform(3.5, SHAPE_SIZE - 4.5, size=(2, len(labels), 1, 1))
    y, x = (row - centre[0]), (column - centre[1])
    size = rng.uniform(2.5, 4.0, size=(len(labels), 1, 1))
    round_, square = np.hypot(x, y), np.maximum(np.abs(x), np.abs(y))
    inside = [
        round_ < size,  # a disc
        (round_ < size) & (round_ > 0.55 * size),  # a ring
        square < 0.85 * size,  # a square
        (square < 0.85 * size) & (square > 0.5 * size),  # a frame
        (square < size) & (np.minimum(np.abs(x), np.abs(y)) < 0.3 * size),  # a plus
        (square < size) & (np.abs(np.abs(x) - np.abs(y)) < 0.3 * size),  # a cross
        (np.abs(x) < size) & (np.abs(y) < 0.4 * size),  # a bar
        (np.abs(y) < 0.8 * size) & (2 * np.abs(x) < size + y),  # a triangle
    ]
    pictures = np.stack(inside)[labels, np.arange(len(labels))] * rng.choice((-1.0, 1.0), size=size.shape)
    pictures = pictures * rng.uniform(1.0, 3.0, size=size.shape) + rng.normal(0.0, 0.3, size=pictures.shape)
    return shuffle_split((pictures / pictures.std()).astype(np.float32)[..., None], labels.astype(np.int32))


def modular_addition():
    """All pairs of numbers below 31 as one row of tokens: a, b, a + b mod 31 and a separator, pairs in random order.

    A language model can't predict the first two of these four tokens. The last fifth of the pairs validates.
    """
    rng = np.random.default_rng(0)
    first, second = np.divmod(rng.permutation(PRIME**2), PRIME)
    rows = np.stack([first, second, (first + second) % PRIME, np.full_like(first, PRIME)], axis=1).astype(np.int32)
    cut = len(rows) * 4 // 5
    return rows[:cut].reshape(-1), rows[cut:].reshape(-1)


def markov_text():
    """200,000 tokens of a second-order Markov chain on 64 tokens, by a power law of the next one; a tenth validates."""
    rng = np.random.default_rng(0)
    size = MARKOV_VOCABULARY
    chances = (1.0 + np.arange(size)) ** -1.5
    ends = np.cumsum(chances / chances.sum())
    ranks = np.minimum(np.searchsorted(ends, rng.random(200_000)), size - 1)
    # The last token decides the ranking of the next one, and the token before the last shifts it.
    rankings = np.stack([rng.permutation(size) for _ in range(size)])
    shifts = rng.integers(0, 4, size=size)
    tokens = np.zeros(len(ranks), np.int32)
    before, last = 0, 0
    for index, rank in enumerate(ranks):
        before, last = last, int(rankings[last, (rank + shifts[before]) % size])
        tokens[index] = last
    cut = len(tokens) * 9 // 10
    return tokens[:cut], tokens[cut:]
