"""The executor on Ray: idle processes compute the logical workers' next steps."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from meta_train import environment, ray_worker, worker
from meta_train.executor import Account, Executor, WorkerStates
from meta_train.learner import Contribution, Failure
from meta_train.ray_pool import Outcome, Pool
from meta_train.ray_worker import RayWorker
from meta_train.set_aside import Report, SetAside
from meta_train.settings import MetaTraining
from tasks import ray_start
from tasks.family import TaskFamily

WAIT_SECONDS = 1.0
"""Longest wait for an outcome before deadlines are checked."""
MAX_VALIDATION_ATTEMPTS = 3
MAX_SKIPPED = 100
"""Tasks set aside that an outer step may skip, per worker, before an asynchronous run gives up."""
PATIENCE_TURNS = 4
"""Turns by which a worker may be ahead of the others if the idle process has compiled its task."""
PATIENCE_SECONDS = 60.0
"""Time without any worker process after which the log says which resources are missing."""


@dataclass
class Logical:
    """The driver's view of a logical worker. Its state is a reference into the object store, or arrays after a restore.

    A state that is lost with its node is computed again, to the same bits, from the last one that the driver held
    (`base`) and the thetas of the steps since.
    """

    next: int = 0  # step whose contribution comes next
    cursor: int = 0  # step that `state` is ready for; behind `next` while it is replayed
    state: Any = ()
    base: tuple[int, Any] = (0, ())
    thetas: list[Any] = field(default_factory=list)  # references, of the steps from base to next
    in_flight: bool = False
    family: tuple[int, Any] = (-1, None)  # the task and the step at which it was taken up
    turns: int = 0  # contributions that it has made since the run was started or resumed
    attempts: float = 0.0  # at its task that ended with the loss of a process


class RayExecutor(Executor):
    """Gives every idle process a worker's next step, preferably one whose architecture it has compiled."""

    worker_class: type = RayWorker

    def __init__(self, settings: MetaTraining, report: Report = lambda kind, **facts: None):
        self._settings = settings
        self._report = report
        self._set_aside = SetAside(report)
        self._synchronous = settings.max_staleness == 0
        self._workers = [Logical() for _ in range(settings.num_workers)]
        self._lengths = np.ones(settings.num_workers)
        self._seconds: dict[Any, float] = {}  # of an inner step, by family, at the last contribution
        self._compiled: set[TaskFamily] = set()  # by some process, which may be gone by now
        self._arrived: list[Contribution] = []
        self._validations: dict[str, float | str | None] = {}
        self._account = Account()
        self._step, self._theta = 0, None
        self._running_since = time.monotonic()
        self._connect()
        execution = settings.execution
        self._pool = Pool(
            self._start_worker,
            min(execution.num_processes, settings.num_workers),
            deadline_seconds=execution.deadline_seconds,
            max_restarts=execution.max_restarts,
            report=report,
        )

    def _start_worker(self, slot: int) -> Any:
        """The handle of a new actor for a slot of the pool. Ray starts it when there is room."""
        del slot
        execution = self._settings.execution
        options: Any = {"num_cpus": execution.cpus_per_process, "num_gpus": execution.gpus_per_process}
        actor = ray.remote(max_restarts=0, max_task_retries=0, **options)(self.worker_class)
        return actor.remote(ray_worker.pack(self._settings))

    def _connect(self) -> None:
        execution = self._settings.execution
        num_processes = min(execution.num_processes, self._settings.num_workers)
        ray_start.start(
            execution.address or "local",
            num_cpus=math.ceil(num_processes * execution.cpus_per_process),
            runtime_env={
                "env_vars": environment.worker_environment(execution.gpus_per_process),
                "worker_process_setup_hook": ray_worker.SETUP_HOOK,
            },
        )

    def compute(self, theta, step):
        """Gives work to idle processes until the contributions of the outer step have arrived."""
        self._step, self._theta = step, ray.put(theta)
        if self._synchronous:
            self._lengths = worker.lengths(self._settings, step)
        while not self._complete():
            self._pump()
        taken = self._take()
        account, self._account = self._account, Account()
        account.used = len(taken)
        account.in_flight = sum(logical.in_flight for logical in self._workers) + len(self._arrived)
        return taken, account

    def _complete(self) -> bool:
        if self._synchronous:
            return all(logical.next > self._step for logical in self._workers)
        fresh = sum(self._step - c.theta_step <= self._settings.max_staleness for c in self._arrived)
        return fresh >= self._settings.num_workers

    def _take(self) -> list[Contribution]:
        """The first `num_workers` contributions that arrived. Those that are too old by now are dropped and counted."""
        taken, rest = [], []
        for contribution in self._arrived:
            if self._step - contribution.theta_step > self._settings.max_staleness:
                self._account.stale += 1
            elif len(taken) < self._settings.num_workers:
                taken.append(contribution)
            else:
                rest.append(contribution)
        self._arrived = rest
        return taken

    def _pump(self) -> None:
        """Gives work to idle processes and handles the outcomes that have arrived."""
        self._dispatch()
        for outcome in self._pool.wait(WAIT_SECONDS):
            self._settle(outcome)
        self._warn_without_processes()
        under_way = any(logical.in_flight for logical in self._workers)
        if self._account.skipped > MAX_SKIPPED * len(self._workers) and not under_way:
            raise RuntimeError(f"every task is set aside, such as {next(iter(self._set_aside.reasons.items()))}")

    def _dispatch(self) -> None:
        idle = self._pool.idle()
        waiting = (
            [index for index, logical in enumerate(self._workers) if self._wants_work(index, logical)] if idle else []
        )
        for slot in idle:
            if not waiting:
                return
            index = self._choose(slot, waiting)
            waiting.remove(index)
            self._submit(slot, index)

    def _family(self, index: int, step: int) -> TaskFamily:
        """`worker.family_of`, cached for each worker, since it is called often."""
        logical, start = self._workers[index], worker.family_start(self._settings, step)
        if logical.family[0] != start:
            logical.family = start, worker.family_of(self._settings, index, step)
        return logical.family[1]

    def _submit(self, slot: int, index: int) -> None:
        logical, handle = self._workers[index], self._pool.slots[slot].handle
        replayed = logical.cursor < logical.next
        theta = logical.thetas[logical.cursor - logical.base[0]] if replayed else self._theta
        step = logical.cursor
        if self._settings.estimator.persistent:
            if not replayed:
                if step == worker.family_start(self._settings, step):
                    logical.base, logical.thetas = (step, ()), []
                logical.thetas[step - logical.base[0] :] = [theta]
            call = handle.compute.options(num_returns=2)
            reference, state = call.remote(theta, self._step, step, index, logical.state)
        else:
            reference, state = handle.compute_stateless.remote(theta, self._step, step, index), ()
        logical.in_flight = True
        self._account.dispatched += 1
        family = self._family(index, step)
        self._pool.slots[slot].holds.add(family)
        self._compiled.add(family)
        self._pool.submit(slot, (index, step, state), reference)

    def _choose(self, slot: int, waiting: list[int]) -> int:
        """The logical worker whose step an idle process takes next.

        A process prefers a family that it has compiled, then one that no process has compiled: so each is compiled
        once, unless a process would be idle. Among equals, a synchronous run takes the longest contribution first,
        since it waits for the last. An asynchronous run takes the worker with the fewest turns, but lets one whose
        family is compiled here be `PATIENCE_TURNS` ahead.
        """
        here = self._pool.slots[slot].holds

        def rank(index: int) -> tuple:
            family = self._family(index, self._workers[index].cursor)
            place = 0 if family in here else 1 if family not in self._compiled else 2
            if self._synchronous:
                return place, -self._seconds.get(family, math.inf) * self._lengths[index], index
            return self._workers[index].turns - (PATIENCE_TURNS if place == 0 else 0), place, index

        return min(waiting, key=rank)

    def _wants_work(self, index: int, logical: Logical) -> bool:
        """Whether a worker has a step to do. Skips steps whose task is set aside."""
        if logical.in_flight:
            return False
        if logical.cursor < logical.next:
            return True
        if self._synchronous and logical.next > self._step:
            return False
        if self._family(index, logical.next) in self._set_aside:
            self._account.skipped += 1
            self._pass_over(logical)
            return False
        return True

    def _pass_over(self, logical: Logical) -> None:
        """Skips to the worker's next outer step; in an asynchronous run, to its next task."""
        start = worker.family_start(self._settings, logical.next)
        logical.next = logical.next + 1 if self._synchronous else start + self._settings.family_steps
        logical.cursor, logical.state, logical.base, logical.thetas = logical.next, (), (logical.next, ()), []

    def _settle(self, outcome: Outcome) -> None:
        if isinstance(outcome.item, str):
            self._validations[outcome.item] = outcome.value if outcome.kind == "done" else None
            return
        index, step, state = outcome.item
        logical = self._workers[index]
        logical.in_flight = False
        family = self._family(index, step)
        if outcome.kind != "done":
            self._account.lost += 1
            self._count_attempt(index, logical, outcome)
            return
        if step != logical.cursor:  # its state was found to be lost meanwhile
            self._account.lost += 1
            return
        logical.attempts = 0.0
        replayed = logical.cursor < logical.next
        if not replayed or isinstance(outcome.value, Failure):
            self._set_aside.judge(family, outcome.value)
        if isinstance(outcome.value, Failure):
            self._account.poisoned += 1
            self._pass_over(logical)
            return
        if replayed:
            self._account.replayed += 1
            logical.cursor, logical.state = logical.cursor + 1, state
            return
        self._seconds[family] = outcome.value.seconds / max(1, outcome.value.num_inner_steps)
        self._arrived.append(outcome.value)
        logical.next = logical.cursor = logical.cursor + 1
        logical.state = state
        logical.turns += 1

    def _count_attempt(self, index: int, logical: Logical, outcome: Outcome) -> None:
        """Sets a task aside that keeps killing processes. For any other, fetches the state to submit it again."""
        limit = self._settings.execution.max_attempts
        logical.attempts += limit / 2 if outcome.kind == "hung" else 1
        family = self._family(index, logical.cursor)
        if logical.attempts >= limit:
            logical.attempts = 0.0
            self._set_aside.add(family, f"took several worker processes with it, at last: {outcome.value}")
            self._pass_over(logical)
            return
        self._fetch(index, logical)

    def _fetch(self, index: int, logical: Logical) -> bool:
        """Fetches a worker's state from the object store; False if it is lost and must be computed again."""
        if not isinstance(logical.state, ray.ObjectRef):
            return True
        try:
            logical.state = ray.get(logical.state)
        except RayError as error:
            self._report("state_lost", worker=index, step=logical.cursor, reason=type(error).__name__)
            logical.cursor, logical.state = logical.base
            return False
        return True

    def _warn_without_processes(self) -> None:
        now = time.monotonic()
        if self._pool.num_running:
            self._running_since = now
        elif now - self._running_since > PATIENCE_SECONDS:
            self._running_since = now
            asked, there = self._settings.execution, ray.cluster_resources()
            self._report(
                "no_workers",
                reason=f"no worker process could start for {PATIENCE_SECONDS:.0f} s: each takes "
                f"{asked.cpus_per_process:g} CPUs and {asked.gpus_per_process:g} GPUs, the cluster has "
                f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}",
            )

    def validate(self, theta, names):
        """One task for each idle process; a task that kills several processes is given up."""
        theta = ray.put(theta)
        self._validations = dict.fromkeys(names)
        attempts = dict.fromkeys(names, 0)
        while any(loss is None for loss in self._validations.values()):
            under_way = {slot.item for slot in self._pool.slots if slot.pending is not None}
            waiting = [name for name in names if self._validations[name] is None and name not in under_way]
            for slot, name in zip(self._pool.idle(), waiting, strict=False):
                attempts[name] += 1
                if attempts[name] > MAX_VALIDATION_ATTEMPTS:
                    self._validations[name] = "took several worker processes with it"
                    continue
                self._pool.submit(slot, name, self._pool.slots[slot].handle.validate.remote(theta, name))
            for outcome in self._pool.wait(WAIT_SECONDS):
                self._settle(outcome)
        return {name: loss for name, loss in self._validations.items() if loss is not None}

    def process_ids(self) -> list[int]:
        """Process identifiers of the worker processes that run."""
        return [slot.process.number for slot in self._pool.slots if slot.ready and slot.process]

    def snapshot(self):
        """Fetches the states from the object store, and computes again those that were lost with a node."""
        while [index for index, logical in enumerate(self._workers) if not self._fetch(index, logical)]:
            while any(logical.cursor < logical.next for logical in self._workers):
                self._pump()
        for logical in self._workers:
            if not logical.in_flight:
                logical.base, logical.thetas = (logical.next, logical.state), []
        return WorkerStates(
            [logical.next for logical in self._workers],
            [logical.state for logical in self._workers],
            self._set_aside.to_json(),
        )

    def restore(self, snapshot):
        """Starts every worker at its step and state."""
        self._workers = [
            Logical(next=step, cursor=step, state=state, base=(step, state))
            for step, state in zip(snapshot.steps, snapshot.states, strict=True)
        ]
        self._set_aside.restore(snapshot.set_aside)

    def close(self):
        """Ends the processes and leaves the cluster."""
        if ray.is_initialized():
            self._pool.close()
            ray.shutdown()
