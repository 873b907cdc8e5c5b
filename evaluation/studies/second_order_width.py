"""The study of second-order optimizers at growing width: which rates hold, and which features still move."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from evaluation.report.charts import Series, chart
from evaluation.report.drawing import Drawing
from evaluation.studies.bench import Bench
from evaluation.studies.parametrisation import DAMPINGS, DIRECTIONS, Direction, feature_changes
from evaluation.studies.study import Criterion, Findings, Study, Table
from evaluation.studies.widening import ACTIVATION, Network, sweep
from velo.shapes import Float

PAPER = ("sgd", "adam", "shampoo", "kfac")
"""The paper's optimizers, of which the criteria speak; SOAP runs beside them."""
SECOND_ORDER = ("shampoo", "kfac")
_LARGEST = {"sgd": 4.0, "adam": 0.125, "shampoo": 0.5, "kfac": 2.0, "soap": 0.125}
LARGEST_RATES = {"mlp": _LARGEST, "cnn": {**_LARGEST, "kfac": 2.0**-6}, "cbow": {**_LARGEST, "sgd": 128.0}}
"""Largest rate of each grid, at which networks of the base width diverge or stall; the rates halve from there."""
RATE_STEPS_OF_STANDARD = ("sgd", "shampoo")
"""Optimizers whose best rate moves in the standard parametrisation. K-FAC's has no exponents, Adam's moves less."""
STEPS = (*((one, "relative") for one in DIRECTIONS), *((one, "constant") for one in SECOND_ORDER))
"""(optimizer, damping) pairs whose single steps are measured."""
STEP_DAMPING = 0.1
"""Damping of the measured single steps, relative or constant."""
LAYERS = ("first", "second", "output")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecondOrderWidth(Study):
    """Best rates, best dampings and feature changes as functions of the width."""

    name, title, paper = "second_order_width", "Second-order optimizers at growing width", "2312.12226"
    claim = (
        "In muP, with rates and damping by layer, K-FAC and Shampoo change the features of wide networks as much as "
        "those of narrow ones, and the best rate and damping stay where they are; in the standard parametrisation, or "
        "with constant damping, they don't."
    )
    widths: tuple[int, ...] = (64, 128, 256)
    """Widths of the two hidden layers of the network of digits; the first is the base width."""
    cnn_widths: tuple[int, ...] = (4, 16)
    """Channels of the first of two convolutions."""
    cbow_widths: tuple[int, ...] = (32, 256)
    """Embedding sizes of a bag of words on text."""
    step_widths: tuple[int, ...] = (256, 512, 1024)
    """Widths at which the feature change of a single step is measured."""
    num_rates: int = 8
    """Number of learning rates, a factor of two apart."""
    dampings: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    num_steps: int = 80
    batch_size: int = 128
    num_seeds: int = 1
    damping: float = 1e-2
    """Relative damping used while rates are swept."""

    def __post_init__(self):
        for field in ("widths", "cnn_widths", "cbow_widths", "step_widths"):
            widths = getattr(self, field)
            if len(widths) < 2 or list(widths) != sorted(set(widths)) or widths[0] < 1:
                raise ValueError(f"SecondOrderWidth: {field} must be two growing widths or more, got {widths}")

    @classmethod
    def quick(cls):
        return cls(
            widths=(16, 64), cnn_widths=(2, 4), cbow_widths=(8, 16), step_widths=(32, 128), num_rates=3,
            dampings=(1e-3, 1e-1), num_steps=12, batch_size=16,
        )  # fmt: skip

    def run(self, bench):
        changes = self._changes(bench)
        losses = {kind: self._sweeps(bench, kind) for kind in ("mlp", "cnn", "cbow")}
        damped = self._damping_sweeps(bench, losses["mlp"])
        return Findings(
            ran=(
                f"Networks of two hidden tanh layers on 8 x 8 digits, convolutional networks on the same, and bags of "
                f"words on text: {self.num_steps} steps of {self.batch_size} examples, "
                f"{self.num_rates} rates a factor of two apart, {self.num_seeds} seeds. One step's change is the "
                f"derivative of a layer's output along it."
            ),
            criteria=(
                *self._step_criteria(changes),
                *self._rate_criteria(losses["mlp"]),
                *self._damping_criteria(damped),
            ),
            drawings=(*self._step_drawings(changes), *self._rate_drawings(losses), *self._damping_drawings(damped)),
            tables=(self._rate_table(losses),),
            notes=(
                "The paper's networks are wider, trained for longer and on FashionMNIST, CIFAR and WikiText; these are "
                "what a core trains in an hour. Damping is relative in both parametrisations where rates are swept, so "
                "that these differ in initial weights and rates alone.",
                "SOAP is not of this paper. Its rates by layer are those of 2512.05620, and no criterion counts it.",
            ),
        )

    def rates(self, kind: str, optimizer: str) -> np.ndarray:
        """The grid of learning rates, in rising order."""
        return LARGEST_RATES[kind][optimizer] * 2.0 ** -np.arange(self.num_rates - 1.0, -1.0, -1.0)

    def _widths(self, kind: str) -> tuple[int, ...]:
        return {"mlp": self.widths, "cnn": self.cnn_widths, "cbow": self.cbow_widths}[kind]

    def _sweeps(self, bench: Bench, kind: str) -> dict[tuple[str, bool], np.ndarray]:
        """(optimizer, in muP) -> final losses [widths, rates]."""
        found = {}
        for optimizer in DIRECTIONS:
            settings = [(rate, self.damping) for rate in self.rates(kind, optimizer)]
            for in_mup in (False, True):
                found[optimizer, in_mup] = self._losses(bench, kind, optimizer, in_mup, "relative", settings)
        return found

    def _damping_sweeps(self, bench: Bench, losses: dict) -> dict[tuple[str, str], np.ndarray]:
        """(optimizer, damping) -> final losses [widths, dampings] in muP, at the best rate of the base width."""
        best = {one: self.rates("mlp", one)[np.argmin(losses[one, True][0])] for one in SECOND_ORDER}
        return {
            (one, damping): self._losses(
                bench, "mlp", one, True, damping, [(best[one], value) for value in self.dampings]
            )
            for one in SECOND_ORDER
            for damping in DAMPINGS
        }

    def _losses(self, bench: Bench, kind: str, optimizer: str, in_mup: bool, damping: str, settings) -> np.ndarray:
        widths, network = self._widths(kind), Network(kind, self.batch_size)
        return sweep(
            bench, [network.at(width, in_mup=in_mup, base_width=widths[0]) for width in widths],
            [f"{kind}_{width}_{'mup' if in_mup else 'standard'}" for width in widths],
            Direction(optimizer, damping, network.base(widths[0]) if in_mup else None),
            settings, num_steps=self.num_steps, num_seeds=self.num_seeds,
        )  # fmt: skip

    def _changes(self, bench: Bench) -> dict[tuple[str, str], np.ndarray]:
        """(optimizer, damping) -> [widths, layers] mean feature changes, divided by those at the smallest width."""
        network, base_width = Network("mlp", self.batch_size), self.widths[0]
        found = {}
        for optimizer, damping in STEPS:
            records = [
                bench.record(
                    feature_changes,
                    family=network.at(width, in_mup=True, base_width=base_width),
                    direction=Direction(optimizer, damping, network.base(base_width)),
                    damping=STEP_DAMPING,
                    activation=ACTIVATION,
                    num_seeds=3,
                )
                for width in self.step_widths
            ]
            changes = np.array([record["changes"].mean(axis=0) for record in records])
            found[optimizer, damping] = changes / changes[0]
        return found

    def _step_criteria(self, changes) -> Iterator[Criterion]:
        flat = {key: np.max(np.abs(rows - 1.0)) for key, rows in changes.items() if key[1] == "relative"}
        yield Criterion(
            f"one step in muP changes each layer alike, within 10 %, from width {self.step_widths[0]} to "
            f"{self.step_widths[-1]}",
            "order 1 at every width; .0466 to .0468 for K-FAC, recomputed",
            ", ".join(f"{optimizer} {change:.0%}" for (optimizer, _), change in flat.items()),
            all(flat[optimizer, "relative"] <= 0.1 for optimizer in PAPER),
        )
        # A tenfold fall over the factor of 32 between 256 and 8192, scaled to the factor between the widths here.
        factor = (self.step_widths[-1] / self.step_widths[0]) ** (math.log(10) / math.log(32))
        falls = {optimizer: 1.0 / changes[optimizer, "constant"][-1, :2].max() for optimizer in SECOND_ORDER}
        yield Criterion(
            f"with constant damping the change of K-FAC's hidden layers falls by {factor:.1f} times or more, "
            "as ten from 256 to 8192",
            "vanishes with the width; .0466 to .0015 for K-FAC, recomputed",
            ", ".join(f"{optimizer} {fall:.1f} times" for optimizer, fall in falls.items()),
            bool(falls["kfac"] >= factor),
        )

    def _rate_criteria(self, losses) -> Iterator[Criterion]:
        moves = {key: _move(rows) for key, rows in losses.items()}
        falls = {optimizer: _fall(losses[optimizer, False]) for optimizer in DIRECTIONS}
        yield Criterion(
            "the best rate in muP moves by one grid step (a factor of two) at most",
            "it transfers from narrow to wide",
            _listed({optimizer: moves[optimizer, True] for optimizer in DIRECTIONS}, "steps"),
            all(moves[optimizer, True] <= 1 for optimizer in PAPER),
        )
        yield Criterion(
            "in the standard parametrisation it falls by two or more from the base to the widest, for SGD and Shampoo",
            "it falls with the width",
            _listed(falls, "steps"),
            self._or_too_narrow(all(falls[optimizer] >= 2 for optimizer in RATE_STEPS_OF_STANDARD)),
        )
        worst = {key: _worst_growth(rows) for key, rows in losses.items()}
        yield Criterion(
            "at the base's best rate a wider network in muP is never worse by more than 2 %",
            "wider is better",
            ", ".join(f"{optimizer} {worst[optimizer, True]:+.1%}" for optimizer in DIRECTIONS),
            all(worst[optimizer, True] <= 0.02 for optimizer in PAPER),
        )
        yield Criterion(
            "in the standard parametrisation it is, for SGD and Shampoo",
            "accuracy falls beyond some width",
            ", ".join(f"{optimizer} {worst[optimizer, False]:+.1%}" for optimizer in DIRECTIONS),
            self._or_too_narrow(all(worst[optimizer, False] > 0.02 for optimizer in RATE_STEPS_OF_STANDARD)),
        )

    def _or_too_narrow(self, is_met: bool) -> bool | None:
        """`is_met`, but None instead of False if the widths span less than a factor of eight."""
        return True if is_met else None if self.widths[-1] < 8 * self.widths[0] else False

    def _damping_criteria(self, damped) -> Iterator[Criterion]:
        moves = {damping: {one: _move(damped[one, damping]) for one in SECOND_ORDER} for damping in DAMPINGS}
        yield Criterion(
            "the best relative damping moves by one decade at most",
            "it transfers",
            _listed(moves["relative"], "decades"),
            all(move <= 1 for move in moves["relative"].values()),
        )
        yield Criterion(
            "the best constant damping moves by two decades or more",
            "it has to follow the width, layer by layer",
            _listed(moves["constant"], "decades"),
            self._or_too_narrow(all(move >= 2 for move in moves["constant"].values())),
        )

    def _step_drawings(self, changes) -> Iterator[Drawing]:
        for index, layer in enumerate(LAYERS):
            yield chart(
                f"step_{layer}", f"Change of the {layer} layer by one step in muP", "width",
                f"change / change at {self.step_widths[0]}",
                [
                    Series(f"{optimizer}, constant damping" if damping == "constant" else optimizer,
                           np.array(self.step_widths), rows[:, index],
                           style="dashed" if damping == "constant" else "solid")
                    for (optimizer, damping), rows in changes.items()
                ],
            )  # fmt: skip

    def _rate_drawings(self, losses) -> Iterator[Drawing]:
        for kind, sweeps in losses.items():
            for (optimizer, in_mup), rows in sweeps.items():
                form = "muP" if in_mup else "the standard parametrisation"
                series = [
                    Series(f"width {width}", self.rates(kind, optimizer), row)
                    for width, row in zip(self._widths(kind), rows, strict=True)
                ]
                name = f"rates_{kind}_{optimizer}_{'mup' if in_mup else 'standard'}"
                yield chart(name, f"{kind}: {optimizer} in {form}", "learning rate", "final training loss", series)

    def _damping_drawings(self, damped) -> Iterator[Drawing]:
        for (optimizer, damping), rows in damped.items():
            series = [
                Series(f"width {width}", np.array(self.dampings), row)
                for width, row in zip(self.widths, rows, strict=True)
            ]
            yield chart(
                f"damping_{optimizer}_{damping}", f"mlp: {optimizer} in muP, {damping} damping", "damping",
                "final training loss", series,
            )  # fmt: skip

    def _rate_table(self, losses) -> Table:
        rows = []
        for kind, sweeps in losses.items():
            for (optimizer, in_mup), found in sweeps.items():
                best = self.rates(kind, optimizer)[np.argmin(found, axis=1)]
                at_base = found[:, np.argmin(found[0])]
                rows.append(
                    (kind, optimizer, "muP" if in_mup else "standard", ", ".join(map(str, self._widths(kind))),
                     ", ".join(f"{rate:.4g}" for rate in best), str(_move(found)),
                     ", ".join(f"{loss:.3g}" for loss in at_base))
                )  # fmt: skip
        columns = ("network", "optimizer", "form", "widths", "best rates", "steps moved", "losses at the base's best")
        return Table("rates", "Best rates", columns, tuple(rows))


def _move(losses: Float[np.ndarray, "widths settings"]) -> int:
    """Grid steps between the largest and the smallest of the best settings over the widths."""
    best = np.argmin(losses, axis=1)
    return int(best.max() - best.min())


def _fall(losses: Float[np.ndarray, "widths settings"]) -> int:
    """Grid steps from the best setting at the base width down to the best at the largest width."""
    best = np.argmin(losses, axis=1)
    return int(best[0] - best[-1])


def _worst_growth(losses: Float[np.ndarray, "widths settings"]) -> float:
    """Largest relative rise of the loss from one width to the next, at the setting that is best at the base width."""
    at_base = losses[:, np.argmin(losses[0])]
    return float(np.nanmax(at_base[1:] / at_base[:-1]) - 1.0)


def _listed(moves: dict[str, int], unit: str) -> str:
    return ", ".join(f"{name} {move}" for name, move in moves.items()) + f" {unit}"
