"""Waits for conditions, and runs work in parallel."""

import time
from concurrent.futures import ThreadPoolExecutor


def wait_for(condition, seconds: float = 20, every: float = 0.1):
    """Calls `condition` until it returns a true value, and returns that value."""
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, f"the condition was not met within {seconds} s"
        time.sleep(every)
    return found


def at_once(count: int, work):
    """Runs `work` in `count` threads at the same time, and returns the results."""
    with ThreadPoolExecutor(count) as threads:
        return [future.result() for future in [threads.submit(work) for _ in range(count)]]
