"""The released per-parameter network over all tensors at once, in two passes that store none of its inputs.

Twelve inputs depend on a parameter's row or column alone. Their mean squares, and their share of the first layer, are
computed on rows and columns; only that share is expanded to the parameters. The other inputs are computed twice, block
by block: once for their mean squares and once for the network. `tests/velo/reference_steered.py` computes the same
with all inputs stored.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from velo.architectures import blocks
from velo.architectures.published.accumulators import FACTOR_FLOOR, average_once, clean
from velo.architectures.published.arrangement import MAX_PARTS, Arrangement, Expanded, Factored, Part, Vectors
from velo.architectures.published.parameter_network import MAX_GRADIENT_FEATURE
from velo.learned_optimizer import Theta
from velo.shapes import Float

Pages = Float[jax.Array, "pages width"]

NUM_DECAYS = 3
NUM_FACTORED_INPUTS = 4 * NUM_DECAYS  # rows, columns, and the inverse roots of both
MAX_WRITTEN_OUT = 128
"""Most weights of a layer that is written out; a larger layer is a matrix product."""


class Averages(NamedTuple):
    """Averages of gradients in float32, one entry for each part; entries without a part are empty.

    The momenta are separate arrays, so that each is updated in place.
    """

    momenta: tuple[tuple[Pages, Pages, Pages], ...]
    second_moment: tuple[Pages, ...]
    factored: Factored


class Decays(NamedTuple):
    """Decays of the averages; numbers, or traced where they are learned."""

    momenta: Any  # three numbers
    second_moment: Any
    factored: Float[jax.Array, " decays"]


class Tensors(NamedTuple):
    """What the second pass reads besides the averages; one entry per part, except for `mean_squares`."""

    grad: tuple[Pages, ...]
    params: tuple[Pages, ...]
    factored: list[Expanded]  # second moments that normalise gradient and momenta
    mean_squares: Float[jax.Array, "tensors inputs"]  # of the network's inputs
    page_statistics: list[Any]  # of each part's pages


@dataclasses.dataclass(frozen=True)
class TwoPasses:
    """The tensors and what differs between the architectures; static."""

    arrangement: Arrangement
    with_clipped: bool
    """Whether the network reads the clipped and the normalised gradient too."""
    max_gradient: float
    unfactored_epsilon: float
    """Added to an unfactored moment before its inverse root scales the momentum."""
    page_statistics: Callable[..., Any] = lambda *_: ()
    """Further sums over each page in the first pass: a function of its momenta, second moment and number of
    parameters."""

    @property
    def num_own(self) -> int:
        """Number of inputs before the factored ones; three more follow those."""
        return 15 if self.with_clipped else 13

    def init(self) -> Averages:
        """Averages of zero."""
        shapes = [(part.layout.num_pages, part.layout.page_size) for part in self.arrangement.parts]
        shapes += [(0, 0)] * (MAX_PARTS - len(shapes))
        momenta = tuple((jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(shape)) for shape in shapes)
        return Averages(momenta, tuple(map(jnp.zeros, shapes)), self.arrangement.init(NUM_DECAYS))

    def accumulate(
        self, averages: Averages, grads: list[jax.Array], params: tuple[jax.Array, ...], decays: Decays
    ) -> tuple[Averages, Tensors]:
        """The first pass: the averages after `grads`, and the mean squares of the network's inputs.

        Args:
            averages: before `grads`.
            grads: one array per tensor, in the arrangement's order.
            params: the parameters, packed.
            decays: of the averages.
        """
        arrangement = self.arrangement
        grad = arrangement.pack(grads)
        factored = arrangement.update(averages.factored, grads, grad, decays.factored, self.max_gradient)
        expanded = arrangement.expand(jnp.multiply, self._factors(factored), factored.unfactored, padding=1.0)

        def first_pass(updated, read, lanes):
            momenta, second_moment = updated
            grad, weights, factored, page = read
            factored = _at_parameters(jnp.multiply, factored, lanes, page)
            grad = self._clean(grad)
            momenta = tuple(average_once(old, grad, decay) for old, decay in zip(momenta, decays.momenta, strict=True))
            second_moment = average_once(second_moment, jnp.square(grad), decays.second_moment)
            squares = self._squares(grad, weights, momenta, second_moment, factored, page)
            sums = jnp.stack([jnp.sum(square, axis=-1) for square in squares], axis=-1)
            return (momenta, second_moment), (sums, self.page_statistics(momenta, second_moment, page[:, 1:2]))

        updated, sums, page_statistics = [], [], []
        parts = zip(arrangement.parts, *averages[:2], grad, params, expanded, strict=False)
        for part, momenta, second_moment, *read, scales in parts:
            new, (of_pages, statistics) = blocks.map_blocks(
                functools.partial(first_pass, lanes=scales.lanes),
                part.layout.num_blocks,
                (momenta, second_moment),
                (*read, scales.pages, self._of_pages(part)),
            )
            updated.append(new)
            sums.append(part.layout.sum_by_tensor(of_pages))
            page_statistics.append(statistics)
        own = jnp.concatenate(sums) / np.maximum(arrangement.sizes, 1).astype(np.float32)[:, None]
        of_factored = self._mean_squares_of_factored(factored)
        mean_squares = jnp.concatenate([own[:, : self.num_own], of_factored, own[:, self.num_own :]], axis=1)
        places = zip(*averages[:2], strict=True)
        momenta, second_moment = zip(*updated, *list(places)[len(updated) :], strict=True)
        tensors = Tensors(grad, params, expanded, mean_squares, page_statistics)
        return Averages(momenta, second_moment, factored), tensors

    def steps(
        self,
        averages: Averages,
        tensors: Tensors,
        layers: Theta,
        size: Float[jax.Array, " tensors"],
        magnitude_multiplier: float,
    ) -> list[jax.Array]:
        """The second pass: each tensor's steps, size * direction * exp(magnitude_multiplier * magnitude).

        Args:
            averages: after the first pass.
            tensors: from the first pass.
            layers: of each tensor's network (leading axis), for inputs of unit mean square.
            size: of the steps of each tensor.
            magnitude_multiplier: factor on the network's second output.
        """
        arrangement = self.arrangement
        first, *rest = layers
        scales = jax.lax.rsqrt(1e-5 + tensors.mean_squares)
        ends = self.num_own, self.num_own + NUM_FACTORED_INPUTS
        own, factored, last = jnp.split(first["w"] * scales[:, None], ends, axis=2)
        hidden = arrangement.expand(jnp.add, *self._hidden(factored, first["b"], averages.factored), padding=0.0)
        layers = {"first": jnp.concatenate([own, last], axis=2), "rest": [*rest[:-1], _two_outputs(rest[-1])]}

        def second_pass(grad, read, lanes, begin):
            """The steps take the place of the gradients."""
            weights, momenta, second_moment, factored, hidden, page = read
            factored = _at_parameters(jnp.multiply, factored, lanes[0], page)
            hidden = _at_parameters(jnp.add, hidden, lanes[1], page)
            tensor = begin + page[:, 0].astype(jnp.int32)
            of_page = jax.tree.map(lambda leaf: leaf[tensor], layers)
            inputs = self._inputs(self._clean(grad), weights, momenta, second_moment, factored, page)
            units = _multiply_add(of_page["first"], inputs, hidden)
            for layer in of_page["rest"]:
                bias = [layer["b"][:, row, None] for row in range(layer["b"].shape[1])]
                units = _multiply_add(layer["w"], [jax.nn.relu(unit) for unit in units], bias)
            direction, magnitude = units
            # XLA never duplicates a division. If this were a product, XLA would compute all of it again for each tensor
            # that is sliced out of the pages.
            return size[tensor][:, None] * direction / jnp.exp(-magnitude_multiplier * magnitude), ()

        steps = []
        parts = zip(arrangement.parts, *tensors[:3], *averages[:2], hidden, strict=False)
        for part, grad, params, scales, momenta, second_moment, bias in parts:
            function = functools.partial(second_pass, lanes=(scales.lanes, bias.lanes), begin=part.begin)
            read = (params, momenta, second_moment, scales.pages, bias.pages, self._of_pages(part))
            pages, _ = blocks.map_blocks(function, part.layout.num_blocks, grad, read)
            steps += part.layout.unpack(pages)
        return steps

    def params_square(self, tensors: Tensors) -> Float[jax.Array, " tensors"]:
        """Mean square of each tensor's parameters."""
        return tensors.mean_squares[:, 2 if self.with_clipped else 1]

    def _clean(self, grad):
        return clean([grad], self.max_gradient)[0]

    def _of_pages(self, part: Part) -> Float[jax.Array, "pages 5"]:
        """Columns: the page's tensor within the part, its number of parameters, what is added to a moment before its
        inverse root scales a gradient or a momentum, and the index of its vectors over lanes.
        """
        layout = part.layout
        unfactored = (part.begin == 0) * (np.arange(layout.num_pages) < self.arrangement.num_unfactored_pages)
        added = 1e-9 * unfactored, self.unfactored_epsilon * unfactored
        return jnp.asarray(np.stack([layout.tensor_of_page, layout.filled, *added, part.lane_vectors], 1), jnp.float32)

    def _squares(self, grad, weights, momenta, second_moment, factored, page) -> list[Pages]:
        """Squares of all inputs but the factored ones, in their order."""
        occupied = jnp.arange(grad.shape[1])[None] < page[:, 1, None]
        inverse = 1.0 / (second_moment + 1e-6)
        square = jnp.square(grad)
        clipped = jnp.square(jnp.clip(grad, -MAX_GRADIENT_FEATURE, MAX_GRADIENT_FEATURE))
        moments = zip(momenta, factored, strict=True)
        return [
            square,
            *([clipped] if self.with_clipped else []),
            jnp.square(weights),
            *(jnp.square(momentum) for momentum in momenta),
            jnp.square(second_moment),
            *(momentum * (momentum * inverse) for momentum in momenta),
            jnp.where(occupied, inverse, 0.0),
            *(square / (moment + page[:, 2, None]) for moment in factored),
            *([square * inverse] if self.with_clipped else []),
            *(momentum * (momentum / (moment + page[:, 3, None])) for momentum, moment in moments),
        ]

    def _inputs(self, grad, weights, momenta, second_moment, factored, page) -> list[Pages]:
        """All inputs but the factored ones, in their order."""
        root = jax.lax.rsqrt(second_moment + 1e-6)
        return [
            grad,
            *([jnp.clip(grad, -MAX_GRADIENT_FEATURE, MAX_GRADIENT_FEATURE)] if self.with_clipped else []),
            weights,
            *momenta,
            second_moment,
            *(momentum * root for momentum in momenta),
            root,
            *(grad * jax.lax.rsqrt(moment + page[:, 2, None]) for moment in factored),
            *([grad * root] if self.with_clipped else []),
            *(
                momentum * jax.lax.rsqrt(moment + page[:, 3, None])
                for momentum, moment in zip(momenta, factored, strict=True)
            ),
        ]

    def _factors(self, factored: Factored) -> Vectors:
        """Factors of rows and columns, whose product is the second moment that normalises a gradient."""
        vectors = []
        for group, (rows, columns) in zip(self.arrangement.groups, self.arrangement.vectors(factored), strict=True):
            rows = rows / (jnp.mean(rows, axis=group.second_of_rows, keepdims=True) + 1e-9)
            vectors.append((jnp.maximum(rows, FACTOR_FLOOR), jnp.maximum(columns, FACTOR_FLOOR)))
        return vectors

    def _mean_squares_of_factored(self, factored: Factored) -> Float[jax.Array, "tensors inputs"]:
        parts = [self._mean_squares_of_unfactored(factored)] if self.arrangement.num_unfactored else []
        for rows, columns in self.arrangement.vectors(factored):
            of_rows, of_columns = (
                [jnp.mean(x.reshape(*x.shape[:2], -1), axis=-1) for x in _squares_of_moments(vector)]
                for vector in (rows, columns)
            )
            parts.append(jnp.concatenate([of_rows[0], of_columns[0], of_rows[1], of_columns[1]]).T)
        return jnp.concatenate(parts)

    def _mean_squares_of_unfactored(self, factored: Factored) -> Float[jax.Array, "tensors inputs"]:
        layout, count = self.arrangement.parts[0].layout, self.arrangement.num_unfactored
        occupied = layout.occupied[: self.arrangement.num_unfactored_pages]
        sums = [jnp.sum(jnp.where(occupied, x, 0.0), axis=-1) for x in _squares_of_moments(factored.unfactored)]
        sums = jnp.concatenate([sums[0], sums[0], sums[1], sums[1]])
        sums = jnp.pad(sums, ((0, 0), (0, layout.num_pages - sums.shape[1])))
        return layout.sum_by_tensor(sums.T)[:count] / np.maximum(layout.sizes[:count], 1).astype(np.float32)[:, None]

    def _hidden(
        self,
        weights: Float[jax.Array, "tensors outputs inputs"],
        bias: Float[jax.Array, "tensors outputs"],
        factored: Factored,
    ) -> tuple[Vectors, Float[jax.Array, "outputs pages width"]]:
        """What rows and columns add to the first layer: for the groups, and for the unfactored tensors' pages."""
        of_row, of_column, of_row_root, of_column_root = jnp.split(weights, 4, axis=2)
        rows_weights = jnp.concatenate([of_row, of_row_root], axis=2)
        columns_weights = jnp.concatenate([of_column, of_column_root], axis=2)
        vectors = []
        for group, pair in zip(self.arrangement.groups, self.arrangement.vectors(factored), strict=True):
            place = slice(group.begin, group.end)
            rows, columns = (
                jnp.einsum("gkd,dg...->kg...", own[place], _moments_and_roots(vector))
                for own, vector in zip((rows_weights, columns_weights), pair, strict=True)
            )
            vectors.append((rows + bias[place].T.reshape(-1, group.count, *[1] * (rows.ndim - 2)), columns))
        num_pages = self.arrangement.num_unfactored_pages
        tensor = self.arrangement.parts[0].layout.tensor_of_page[:num_pages]
        weights, bias = (rows_weights + columns_weights)[tensor], bias[tensor]
        start = [bias[:, row, None] for row in range(bias.shape[1])]
        return vectors, jnp.stack(_multiply_add(weights, list(_moments_and_roots(factored.unfactored)), start))


def _at_parameters(combine, pages, lanes, page) -> list[Pages]:
    """An expanded part for the parameters of one block."""
    if lanes is None:
        return list(pages)
    vectors = page[:, 4].astype(jnp.int32)
    return [combine(one, lane[vectors]) for one, lane in zip(pages, lanes, strict=True)]


def _squares_of_moments(moments: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squares of the moments and of their inverse roots."""
    return jnp.square(moments), 1.0 / (moments + 1e-8)


def _moments_and_roots(moments: jax.Array) -> jax.Array:
    return jnp.concatenate([moments, jax.lax.rsqrt(moments + 1e-8)])


def _two_outputs(layer: Theta) -> Theta:
    """The output layer without its third output, which nothing reads."""
    return {"w": layer["w"][:, :2], "b": layer["b"][:, :2]}


def _multiply_add(weights: Float[jax.Array, "pages outputs inputs"], units: list[Pages], start: list) -> list[Pages]:
    """A layer with its own weights for each page, added to `start`.

    Small ones are written out in multiplications and additions, which XLA fuses into one loop over the parameters.
    """
    _, outputs, inputs = weights.shape
    if outputs * inputs > MAX_WRITTEN_OUT:
        products = weights @ jnp.stack(units, axis=1)
        return [products[:, row] + start[row] for row in range(outputs)]
    return [
        functools.reduce(
            jnp.add, (weights[:, row, column, None] * unit for column, unit in enumerate(units)), start[row]
        )
        for row in range(outputs)
    ]
