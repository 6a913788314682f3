"""Kills processors at random points, and delivers the job again."""

import contextlib
import os
import signal
import time

from .attack import LEASE, Attack, Runs


class Kills(Attack):
    name = "kills"

    def __init__(self, world, rng):
        super().__init__(world, rng)
        self.runs = Runs(self)

    def once(self):
        acts = self.rng.random() < 0.5
        mark, event = self.runs.submit(acts)
        for _ in range(self.rng.choice([1, 1, 2])):
            delivery = self.runs.deliver_beside(event)
            time.sleep(self.rng.uniform(0, 1.2))
            self.kill()
            delivery.join(30)
            self.check(not delivery.is_alive(), "a delivery to a killed process is never answered")
            # Lambda waits one minute, which is longer than any lease.
            time.sleep(LEASE + 0.3)
        self.runs.must_end(mark, event, acts)

    def kill(self):
        for process in self.runs.backend.processes("AgentProcessorFunctionArn"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
                self.counts["kills"] += 1
