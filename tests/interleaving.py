"""Instances that share a store, stepped through their calls in a chosen order: no sleeping, no luck."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Semaphore, Thread, local

from tests.memory import MemoryStore


def run_interleaved(
    store: MemoryStore, tasks: list[Callable[[], None]], choose: Callable[[int], int]
) -> None:
    """Run each task on a thread of its own; before each call to the store, `choose(n)` picks who goes next.

    `choose` is given how many are waiting and answers a number below that. A task must not raise.
    """
    events: SimpleQueue[tuple[int, bool]] = SimpleQueue()
    go = [Semaphore(0) for _ in tasks]
    thread = local()

    def pause() -> None:
        events.put((thread.number, True))
        go[thread.number].acquire()

    def run(number: int) -> None:
        thread.number = number
        try:
            tasks[number]()
        finally:
            events.put((number, False))

    store.before = pause
    threads = [Thread(target=run, args=(number,), daemon=True) for number in range(len(tasks))]
    for each in threads:
        each.start()
    waiting = sorted(number for number, pausing in (events.get() for _ in tasks) if pausing)
    while waiting:
        go[waiting.pop(choose(len(waiting)))].release()
        number, pausing = events.get()
        if pausing:
            waiting.append(number)
    for each in threads:
        each.join()
    store.before = lambda: None
