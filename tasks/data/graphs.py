"""Random graphs of several kinds with about the same number of edges: (adjacency of 0 and 1, integer kinds)."""

import numpy as np

from tasks.data.split import shuffle_split

NUM_NODES = 16
NUM_GRAPHS = 4000
MEAN_DEGREE = 4


def _uniform(rng: np.random.Generator) -> np.ndarray:
    """Every edge with the same chance (Erdos and Renyi)."""
    return rng.random((NUM_NODES, NUM_NODES)) < MEAN_DEGREE / (NUM_NODES - 1)


def _small_world(rng: np.random.Generator) -> np.ndarray:
    """A ring whose edges are rewired with a chance of .3 (Watts and Strogatz)."""
    edges = np.zeros((NUM_NODES, NUM_NODES), bool)
    for node in range(NUM_NODES):
        for distance in range(1, MEAN_DEGREE // 2 + 1):
            end = rng.integers(NUM_NODES) if rng.random() < 0.3 else (node + distance) % NUM_NODES
            edges[min(node, end), max(node, end)] = True
    return edges


def _scale_free(rng: np.random.Generator) -> np.ndarray:
    """New nodes choose neighbours in proportion to their degree (Barabasi and Albert)."""
    edges = np.zeros((NUM_NODES, NUM_NODES), bool)
    degrees = np.ones(NUM_NODES)
    for node in range(1, NUM_NODES):
        num_new = min(node, MEAN_DEGREE // 2)
        ends = rng.choice(node, num_new, replace=False, p=degrees[:node] / degrees[:node].sum())
        edges[ends, node] = True
        degrees[ends] += 1
        degrees[node] += num_new
    return edges


def _blocks(rng: np.random.Generator) -> np.ndarray:
    """Two groups with five times as many edges inside as between (Holland et al.)."""
    group = rng.permutation(NUM_NODES) % 2
    same = group[:, None] == group[None]
    return rng.random((NUM_NODES, NUM_NODES)) < MEAN_DEGREE / (NUM_NODES - 1) * np.where(same, 5 / 3, 1 / 3)


KINDS = (_uniform, _small_world, _scale_free, _blocks)


def random_graphs():
    """4,000 undirected graphs of 16 nodes in four kinds, nodes in random order."""
    rng = np.random.default_rng(0)
    labels = rng.integers(len(KINDS), size=NUM_GRAPHS)
    graphs = np.zeros((NUM_GRAPHS, NUM_NODES, NUM_NODES), np.int32)
    for number, label in enumerate(labels):
        upper = np.triu(KINDS[label](rng), 1)
        order = rng.permutation(NUM_NODES)
        graphs[number] = (upper | upper.T)[np.ix_(order, order)]
    return shuffle_split(graphs, labels.astype(np.int32))
