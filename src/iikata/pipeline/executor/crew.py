"""The head's side: workers join, take jobs, hand back messages; what one leaves undone when it ends goes to another."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from iikata.core.errors import IikataError
from iikata.pipeline.events import OnEvent, Told, Warned
from iikata.pipeline.executor import cluster
from iikata.pipeline.executor.messages import About, Ended, Failed, Inputs, Job
from iikata.pipeline.machine import Machine

MOST_ENDS = 3
"""Workers that may end while they load the model, or over one job, before the fault is taken to lie there."""
PAUSE = 0.2
"""Seconds after which a signal is looked for."""
WAIT = 30.0
"""Seconds without any device after which it is told what is waited for."""
PARTING = 10.0
"""Seconds that workers have to clear up, which Ray runs behind all else on a busy machine."""
Note = Callable[[Mapping[str, Any]], None]


@dataclass(eq=False)
class _Hand:
    actor: Any
    reply: Any
    """What it was asked for last: to join, or what comes next of its job."""
    about: About | None = None
    job: Job | None = None
    seeds: set[int | None] = field(default_factory=set)
    """Whose arms it has made."""


class Crew:
    """The workers of a run; started when first needed, gone when left."""

    def __init__(
        self, where: str, worker: type, inputs: Callable[[], tuple[Inputs, str]], mixed: bool, emit: OnEvent, note: Note
    ) -> None:
        self._where, self._worker, self._inputs, self._mixed = where, worker, inputs, mixed
        self._emit, self._note = emit, note
        self.most: int | None = None
        """How many devices may have work at once; all of them where this is not set."""
        self.peak_bytes = 0
        """The most memory that a worker has taken."""
        self._stack = ExitStack()
        self._hands: list[_Hand] = []
        self._begun: set[int | None] = set()
        self._unready = 0
        self._waiting_since = time.monotonic()
        self._warned: set[str] = set()
        self._ray: Any = None
        self._hire: Callable[[], Any] = lambda: None
        self._first: About | None = None

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            hands, self._hands = self._hands, []
            closing = [hand.actor.close.options(concurrency_group="control").remote() for hand in hands]
            if closing:
                self._ray.wait(closing, num_returns=len(closing), timeout=PARTING)
            for hand in hands:
                self._ray.kill(hand.actor, no_restart=True)

    @property
    def machine(self) -> Machine:
        """What the run's signature says of the devices."""
        self.start()
        assert self._first is not None
        return self._first.machine

    @property
    def size(self) -> int:
        """How many devices a stage's work is cut for: those that are there or have been asked for."""
        self.start()
        return len(self._hands[: self.most])

    def ask(self, method: str, *given: Any) -> Any:
        """Return what the device with the least free memory answers: shapes that it fits fit all."""
        self.start()
        hand = min((hand for hand in self._hands if hand.about), key=lambda one: one.about.free if one.about else 0)
        return self._told(self._ray.get(getattr(hand.actor, method).remote(*given)))

    def work(self, jobs: Sequence[Job], stop: Callable[[], bool] = lambda: False) -> Iterator[tuple[Job, About, Any]]:
        """Yield what workers hand back, as (job, device, message); a job's last is Ended.

        Where `stop` says so, steps in hand end and no more begin. Raises IikataError where a worker cannot go on, or
        where three ended over one job.
        """
        self.start()
        queue, stopping = list(jobs), False
        while queue or any(hand.job for hand in self._hands):
            if stop() and not stopping:
                stopping, queue = True, []
                for hand in self._hands:
                    hand.actor.stop.options(concurrency_group="control").remote()
            self._give_out(queue)
            for hand, reply in self._heard():
                job, about = hand.job, hand.about
                if job is None or about is None:
                    continue
                if reply is None:
                    queue[:0] = [] if stopping else [self._again(job, about)]
                    continue
                if isinstance(reply[-1], Ended):
                    hand.job, self.peak_bytes = None, max(self.peak_bytes, reply[-1].peak_bytes)
                else:
                    hand.reply = hand.actor.more.remote()
                for message in reply:
                    if (told := self._told(message)) is not None:
                        yield job, about, told

    @property
    def ready(self) -> int:
        """How many devices have loaded the model."""
        return sum(hand.about is not None for hand in self._hands)

    def wait(self) -> None:
        """Let workers join for a moment."""
        list(self._heard())

    def start(self) -> None:
        """Have a first worker ready; the others join as they come."""
        if self._ray is None:
            self._ray = self._stack.enter_context(cluster.connected(self._where))
            inputs, self._weights = self._inputs()
            takes, count = cluster.kinds(self._ray, inputs.threads)
            remote = self._ray.remote(**takes, max_restarts=0, concurrency_groups={"control": 1})(self._worker)
            given = self._ray.put(inputs)
            self._hire = lambda: remote.remote(given)
            self._hands = [self._hired() for _ in range(count)]
        while self._first is None:
            self.wait()

    def _hired(self) -> _Hand:
        actor = self._hire()
        return _Hand(actor, actor.join.remote())

    def _give_out(self, queue: list[Job]) -> None:
        for hand in self._hands[: self.most]:
            if hand.about is None or hand.job is not None or not queue:
                continue
            hand.job = job = self.choose(hand, queue)
            order, about = job.order(), hand.about
            hand.reply = hand.actor.do.remote(order)
            self._emit(Told(f"{order.stage}: {job.name} on {about.called}"))
            arms = [arm.name for arm in order.arms]
            self._note({"stage": order.stage, "arms": arms, "device": about.machine.name, "place": about.called})

    def choose(self, hand: _Hand, queue: list[Job]) -> Job:
        """Take from the queue what a worker is to do: of a seed that is its own, else of nobody's, else anything."""
        own = (i for i, job in enumerate(queue) if job.seed is not None and job.seed in hand.seeds)
        fresh = (i for i, job in enumerate(queue) if job.seed not in self._begun)
        job = queue.pop(next(own, next(fresh, 0)))
        hand.seeds.add(job.seed)
        self._begun.add(job.seed)
        return job

    def _heard(self) -> Iterator[tuple[_Hand, Any]]:
        """Yield each worker that answers, with None where it has ended; another is asked for in its place."""
        asked = {hand.reply: hand for hand in self._hands if hand.reply is not None}
        ready, _ = self._ray.wait(list(asked), timeout=PAUSE)
        for reply in ready:
            hand = asked[reply]
            hand.reply = None
            try:
                found = self._ray.get(reply)
            except self._ray.exceptions.RayActorError as error:
                self._replace(hand, str(error))
                yield hand, None
            else:
                if hand.about is None:
                    self._join(hand, found)
                else:
                    yield hand, found
        now = time.monotonic()
        if any(hand.about for hand in self._hands):
            self._waiting_since = now
        elif now - self._waiting_since > WAIT:
            self._waiting_since = now
            self._emit(Warned(f"no device is free; {len(self._hands)} asked of the cluster, the first is waited for"))

    def _replace(self, hand: _Hand, error: str) -> None:
        self._unready += hand.about is None
        if self._unready >= MOST_ENDS:
            raise IikataError(f"devices: {MOST_ENDS} workers ended while they loaded the model; the last said: {error}")
        self._ray.kill(hand.actor, no_restart=True)  # one that cannot be reached may still be there
        self._hands[self._hands.index(hand)] = self._hired()

    def _again(self, job: Job, about: About) -> Job:
        job.ended.append(about.called)
        if len(job.ended) >= MOST_ENDS:
            raise IikataError(
                f"{job.name}: {MOST_ENDS} workers ended over it ({', '.join(job.ended)}). A process that is killed "
                "without a word has mostly run out of memory. What is saved is kept."
            )
        self._emit(Warned(f"{about.called} is lost; {job.name} goes on from its last state where a device is free"))
        return job

    def _join(self, hand: _Hand, found: Any) -> None:
        hand.about = about = self._told(found)
        self._first = self._first or about
        self._unready = 0
        if about.weights != self._weights:
            raise IikataError(
                f"node {about.node}: the model there has other weights ({about.weights}) than here ({self._weights}). "
                "Give every node the same files under the same path, or name the model by its hub id."
            )
        wanted = self._first.software
        if odd := [
            f"{name} {it} where it is {wanted[name]}" for name, it in about.software.items() if it != wanted[name]
        ]:
            raise IikataError(
                f"node {about.node}: {', '.join(odd)} on {self._first.node}. Install the same versions on every node."
            )
        if about.machine != self._first.machine and not self._mixed:
            raise IikataError(
                f"{about.called} is {about.machine.name} ({about.machine.dtype}), {self._first.called} is "
                f"{self._first.machine.name} ({self._first.machine.dtype}): what a device does to an arm would look "
                "like a template's effect. Use one kind, or declare it: mixed_devices: true."
            )

    def _told(self, message: Any) -> Any:
        """Return the message. Raises IikataError where it is a failure; passes a warning on, once."""
        if isinstance(message, Failed):
            raise IikataError(message.message)
        if isinstance(message, Warned | Told):
            if message.message not in self._warned:
                self._warned.add(message.message)
                self._emit(message)
            return None
        return message
