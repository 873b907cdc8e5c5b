"""Two evaluations as one: for a change of weights, of versions, of anything."""

import dataclasses
from pathlib import Path

from evaluation import saved_evaluation as manifest
from evaluation.results import Entry, Results
from evaluation.saved_evaluation import Manifest


def merge(first: Path, second: Path) -> Manifest:
    """The optimizers of both on the tasks that both have; the reference is the first's.

    An optimizer whose curves are the same in both appears once; others of one name get their folder's name appended.

    Raises:
        ValueError: in one line, if a folder holds no evaluation, or they share no task, seeds or numbers of steps.
    """
    manifests = [manifest.read(path) for path in (first, second)]
    one, two = (found.results for found in manifests)
    tasks = tuple(task for task in one.tasks if task in two.tasks)
    if not tasks:
        raise ValueError(f"{first} and {second} have no finished task in common")
    for task in tasks:
        shapes = [results.entry(task, results.reference).train_loss.shape for results in (one, two)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{task} has (seeds, steps) {shapes[0]} in {first} and {shapes[1]} in {second}: run both alike"
            )
    labels = [Path(path).resolve().name for path in (first, second)]
    if labels[0] == labels[1]:
        labels = [f"{label} {number}" for number, label in enumerate(labels, 1)]
    names: list[str] = []
    entries: list[Entry] = []
    reference = one.reference
    for results, other, label in ((one, two, labels[0]), (two, one, labels[1])):
        for name in results.optimizers:
            shared = name in other.optimizers
            same = shared and all(_keys(one.entry(task, name)) == _keys(two.entry(task, name)) for task in tasks)
            if same and results is two:
                continue
            new_name = f"{name} ({label})" if shared and not same else name
            if results is one and name == one.reference:
                reference = new_name
            names.append(new_name)
            entries += [dataclasses.replace(results.entry(task, name), optimizer=new_name) for task in tasks]
    merged = Results(tasks, tuple(names), reference, tuple(entries))
    notes = tuple(f"{label}: {note}" for found, label in zip(manifests, labels, strict=True) for note in found.notes)
    return Manifest(manifests[0].settings, merged, notes)


def _keys(entry: Entry) -> list[str]:
    return [curve.key for curve in entry.reported]
