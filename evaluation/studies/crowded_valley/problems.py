"""The benchmark's eight problems by name, at its sizes or at sizes that a core trains in a second."""

import dataclasses
from typing import NamedTuple

from evaluation.studies.crowded_valley.classifiers import AllConv, ThreeConv, TwoConv, WideResNet
from evaluation.studies.crowded_valley.epochs import Problem, ShuffledEpochs
from evaluation.studies.crowded_valley.generators import CharRNN, ConvVAE
from evaluation.studies.crowded_valley.quadratic import NoisyQuadratic
from tasks.fixed import FixedTask

SIZES = ("reduced", "full")
NUM_ORDERS = 8
"""Number of data orders of the networks. P1 has one: in the benchmark's log its batches are the same in every epoch."""
DIVISOR, LARGE_DIVISOR = 8, 16
"""Divisors of the reduced widths. The second is for All-CNN-C, which costs ten times as much as the others."""
QUADRATIC = "quadratic_deep"


class Entry(NamedTuple):
    """A problem of the benchmark."""

    number: str
    batch_size: int
    num_epochs: int
    metric: str


PROBLEMS = {
    QUADRATIC: Entry("P1", 128, 100, "loss"),
    "mnist_vae": Entry("P2", 64, 50, "loss"),
    "fmnist_2c2d": Entry("P3", 128, 100, "error rate"),
    "cifar10_3c3d": Entry("P4", 128, 100, "error rate"),
    "fmnist_vae": Entry("P5", 64, 100, "loss"),
    "cifar100_allcnnc": Entry("P6", 256, 350, "error rate"),
    "svhn_wrn164": Entry("P7", 128, 160, "error rate"),
    "tolstoi_char_rnn": Entry("P8", 50, 200, "error rate"),
}
"""Problems by the benchmark's names."""


def _problem(name: str, source: str, size: str) -> Problem:
    is_public, is_reduced = source == "public", size == "reduced"
    halved = is_reduced and not is_public
    divisor = 1 if not is_reduced else LARGE_DIVISOR if name == "cifar100_allcnnc" else DIVISOR

    def classifier(kind, packaged: str, public: str, l2: float = 0.0):
        return kind(public if is_public else packaged, source, divisor, halved, l2)

    match name:
        case "mnist_vae":
            return ConvVAE("mnist" if is_public else "digits", divisor, halved)
        case "fmnist_2c2d":
            return classifier(TwoConv, "digits", "fashion_mnist")
        case "cifar10_3c3d":
            return classifier(ThreeConv, "china", "cifar10", 0.002)
        case "fmnist_vae":
            return ConvVAE("fashion_mnist" if is_public else "grey_patches", divisor, halved)
        case "cifar100_allcnnc":
            return classifier(AllConv, "china_flower", "cifar100", 5e-4)
        case "svhn_wrn164":
            return classifier(WideResNet, "china", "svhn", 5e-4)
        case "tolstoi_char_rnn":
            return CharRNN(128 // DIVISOR, 20) if is_reduced else CharRNN()
    assert name == QUADRATIC, name
    return NoisyQuadratic()


def task(name: str, *, source: str, size: str, num_steps: int) -> FixedTask:
    """A problem as a task whose validation losses are its metric on the reported examples.

    Args:
        source: packaged or public data.
        size: reduced or full.
        num_steps: training steps of a reduced network; P1 and full networks train for the benchmark's epochs.
    """
    entry = PROBLEMS[name]
    if name == QUADRATIC:
        family = ShuffledEpochs(NoisyQuadratic(), entry.batch_size)
    else:
        family = ShuffledEpochs(_problem(name, source, size), entry.batch_size, NUM_ORDERS)
    if name == QUADRATIC or size == "full":
        num_examples = len(family.problem.load().train[0])
        num_steps = entry.num_epochs * (num_examples // entry.batch_size)
    return FixedTask(name, family, num_steps)


def chosen_on(task: FixedTask) -> FixedTask:
    """The same task, measured on the examples for choosing hyperparameters."""
    assert isinstance(task.family, ShuffledEpochs), task
    return dataclasses.replace(task, family=dataclasses.replace(task.family, held_out="valid"))
