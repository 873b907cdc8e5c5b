"""Random graphs with about as many edges in each kind: (0/1 adjacency of shape (n, nodes, nodes), integer kinds)."""

from collections.abc import Callable, Sequence

import numpy as np

from tasks.data.split import shuffle_split

NUM_NODES = 16
NUM_GRAPHS = 4000
MEAN_DEGREE = 4
NUM_STRUCTURED_NODES = 12
NUM_EXTRA_EDGES = 12
"""Edges of a structured graph besides a path through all nodes; so all kinds have the same number of edges."""


def _uniform(rng: np.random.Generator) -> np.ndarray:
    """Every edge with the same probability (Erdos and Renyi)."""
    return rng.random((NUM_NODES, NUM_NODES)) < MEAN_DEGREE / (NUM_NODES - 1)


def _small_world(rng: np.random.Generator) -> np.ndarray:
    """A ring of near neighbours whose edges are rewired with a probability of .3 (Watts and Strogatz)."""
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
    """Two groups; an edge is five times as probable within a group as between them (Holland et al.)."""
    group = rng.permutation(NUM_NODES) % 2
    same = group[:, None] == group[None]
    return rng.random((NUM_NODES, NUM_NODES)) < MEAN_DEGREE / (NUM_NODES - 1) * np.where(same, 5 / 3, 1 / 3)


KINDS = (_uniform, _small_world, _scale_free, _blocks)


def _graphs(kinds: Sequence[Callable[[np.random.Generator], np.ndarray]], num_nodes: int):
    """`NUM_GRAPHS` undirected graphs of random kinds, nodes in random order, and their kinds; a fifth validates."""
    rng = np.random.default_rng(0)
    labels = rng.integers(len(kinds), size=NUM_GRAPHS)
    graphs = np.zeros((NUM_GRAPHS, num_nodes, num_nodes), np.int32)
    for number, label in enumerate(labels):
        upper = np.triu(kinds[label](rng), 1)
        order = rng.permutation(num_nodes)
        graphs[number] = (upper | upper.T)[np.ix_(order, order)]
    return shuffle_split(graphs, labels.astype(np.int32))


def random_graphs():
    """4,000 undirected graphs of 16 nodes in four kinds, nodes in random order."""
    return _graphs(KINDS, NUM_NODES)


def _path_and(allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A path through all nodes, and `NUM_EXTRA_EDGES` random edges between pairs that are `allowed`."""
    edges = np.eye(NUM_STRUCTURED_NODES, k=1, dtype=bool)
    pairs = np.flatnonzero(np.triu(allowed, 1) & ~edges)
    edges.flat[rng.choice(pairs, NUM_EXTRA_EDGES, replace=False)] = True
    return edges


def _anywhere(rng: np.random.Generator) -> np.ndarray:
    return _path_and(np.ones((NUM_STRUCTURED_NODES,) * 2, bool), rng)


def _bipartite(rng: np.random.Generator) -> np.ndarray:
    """No odd cycle: edges join even nodes with odd ones."""
    return _path_and(_distance() % 2 == 1, rng)


def _ladder(rng: np.random.Generator) -> np.ndarray:
    """A band: edges join nodes that are at most three apart on the path."""
    return _path_and(_distance() <= 3, rng)


def _hubs(rng: np.random.Generator) -> np.ndarray:
    """Every edge off the path ends at one of two random nodes."""
    hubs = np.zeros(NUM_STRUCTURED_NODES, bool)
    hubs[rng.choice(NUM_STRUCTURED_NODES, 2, replace=False)] = True
    return _path_and(hubs[:, None] | hubs[None], rng)


def _distance() -> np.ndarray:
    """[nodes, nodes] number of edges between two nodes along the path."""
    places = np.arange(NUM_STRUCTURED_NODES)
    return np.abs(places[:, None] - places[None])


STRUCTURED_KINDS = (_anywhere, _bipartite, _ladder, _hubs)


def structured_graphs():
    """4,000 undirected graphs of 12 nodes and 23 edges in four kinds, nodes in random order."""
    return _graphs(STRUCTURED_KINDS, NUM_STRUCTURED_NODES)
