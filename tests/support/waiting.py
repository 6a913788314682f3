"""Waiting for what happens by itself, and doing things at the same time."""

import time
from concurrent.futures import ThreadPoolExecutor


def wait_for(condition, seconds: float = 20, every: float = 0.1):
    """Waits until `condition` gives something, and gives that."""
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, "it did not come to pass in time"
        time.sleep(every)
    return found


def at_once(count: int, work):
    """Runs `work` that many times at the same time."""
    with ThreadPoolExecutor(count) as threads:
        return [future.result() for future in [threads.submit(work) for _ in range(count)]]
