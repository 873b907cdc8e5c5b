"""The pool of Ray worker processes: starts them, watches their calls, and replaces those that die or hang."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from meta_train.set_aside import Report


class Process(NamedTuple):
    """Where an actor runs."""

    node: str  # Ray's identifier of the node
    address: str  # IP address of the node
    number: int  # process identifier


def this_process() -> Process:
    """Where the calling actor runs."""
    return Process(ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), os.getpid())


class Killer:
    """An actor whose constructor kills another process of its node.

    `ray.kill` only asks a process to exit, which a stuck one ignores.

    Args:
        number: identifier of the process.
    """

    def __init__(self, number: int):
        os.kill(number, signal.SIGKILL)


class Outcome(NamedTuple):
    """How a call of a worker process ended."""

    slot: int
    item: Any  # as it was submitted
    kind: Literal["done", "lost", "hung"]
    value: Any  # what the call returned; a message if it was lost or hung


@dataclass
class Slot:
    """The place of one process in the pool; `generation` counts the processes that it had before this one."""

    handle: Any
    pending: Any  # the reference that is waited for: of the start, or of a call; none if idle
    item: Any = None
    started: float = 0.0
    ready: bool = False
    generation: int = 0
    process: Process | None = None
    holds: set = field(default_factory=set)  # what the user of the pool notes about the process


class Pool:
    """Asks Ray for `size` actors and uses those that run; the others may start later, when nodes join.

    `start(slot)` makes an actor with a method `process()` that returns `this_process()`.
    """

    def __init__(
        self, start: Callable[[int], Any], size: int, *, deadline_seconds: float, max_restarts: int, report: Report
    ):
        self._start = start
        self._deadline_seconds = deadline_seconds
        self._max_restarts = max_restarts
        self._report = report
        self._failed_starts = 0
        self._killers: list[Any] = []
        self.slots = [self._launch(index, 0) for index in range(size)]

    def _launch(self, index: int, generation: int) -> Slot:
        handle = self._start(index)
        return Slot(handle, handle.process.remote(), generation=generation)

    def idle(self) -> list[int]:
        """Slots whose process runs and has nothing to do."""
        return [index for index, slot in enumerate(self.slots) if slot.ready and slot.pending is None]

    @property
    def num_running(self) -> int:
        """Processes that have started."""
        return sum(slot.ready for slot in self.slots)

    def submit(self, index: int, item: Any, reference: Any) -> None:
        """Registers a call of the slot's actor: its reference, and `item`, which its outcome will carry."""
        slot = self.slots[index]
        slot.item, slot.pending, slot.started = item, reference, time.monotonic()

    def wait(self, timeout: float) -> list[Outcome]:
        """The outcomes that have arrived, after at most `timeout` seconds; none if no call has ended.

        Raises:
            RuntimeError: too many processes in a row could not start.
        """
        by_reference = {slot.pending: index for index, slot in enumerate(self.slots) if slot.pending is not None}
        if by_reference:
            references = list(by_reference)
            done, _ = ray.wait(references, num_returns=1, timeout=timeout)
            if done:  # take all that have arrived, so that one scan of the references serves them all
                done, _ = ray.wait(references, num_returns=len(references), timeout=0)
        else:
            time.sleep(timeout)
            done = []
        outcomes = [outcome for reference in done if (outcome := self._settle(by_reference[reference])) is not None]
        return outcomes + self._overdue()

    def _settle(self, index: int) -> Outcome | None:
        slot = self.slots[index]
        try:
            value: Any = ray.get(slot.pending)
        except RayTaskError as error:
            if not slot.ready:
                return self._lost(index, error)
            slot.pending = None  # the call failed, for example because an argument is lost; the process is healthy
            return Outcome(index, slot.item, "lost", _message(error))
        except RayError as error:
            return self._lost(index, error)
        slot.pending = None
        if not slot.ready:
            slot.ready, slot.process = True, value
            self._failed_starts = 0
            self._report("worker_started", slot=index, generation=slot.generation, **value._asdict())
            return None
        return Outcome(index, slot.item, "done", value)

    def _lost(self, index: int, error: RayError) -> Outcome | None:
        slot = self.slots[index]
        message = _message(error)
        self._report("worker_lost", slot=index, generation=slot.generation, **_place(slot), reason=message)
        outcome = Outcome(index, slot.item, "lost", message) if slot.ready else None
        if not slot.ready:
            self._failed_starts += 1
            if self._failed_starts > self._max_restarts:
                raise RuntimeError(f"{self._failed_starts} worker processes in a row could not start: {message}")
        self._replace(index)
        return outcome

    def _overdue(self) -> list[Outcome]:
        now, outcomes = time.monotonic(), []
        for index, slot in enumerate(self.slots):
            if slot.ready and slot.pending is not None and now - slot.started > self._deadline_seconds:
                message = f"no answer within {self._deadline_seconds:g} s"
                self._report("worker_hung", slot=index, generation=slot.generation, **_place(slot), reason=message)
                outcomes.append(Outcome(index, slot.item, "hung", message))
                self._end_by_force(slot)
                self._replace(index)
        return outcomes

    def _end_by_force(self, slot: Slot) -> None:
        """Kills a process by a `Killer` on the same node."""
        assert slot.process is not None
        options: Any = {"scheduling_strategy": NodeAffinitySchedulingStrategy(slot.process.node, soft=False)}
        killer = ray.remote(num_cpus=0, **options)(Killer).remote(slot.process.number)
        self._killers = [*self._killers[-9:], killer]  # an actor without a reference might not start

    def _replace(self, index: int) -> None:
        slot = self.slots[index]
        ray.kill(slot.handle)
        self.slots[index] = self._launch(index, slot.generation + 1)

    def close(self) -> None:
        """Kills the processes of the pool."""
        for slot in self.slots:
            ray.kill(slot.handle)


def _message(error: RayError) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def _place(slot: Slot) -> dict[str, Any]:
    return slot.process._asdict() if slot.process is not None else {}
