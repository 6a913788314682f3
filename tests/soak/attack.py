"""The base class of attacks, and the jobs that they share."""

import random
import threading
import time
import uuid
from collections import Counter

from tests.support import Backend, Failed, Server, World, script, tool

LEASE = 2
READS = {"annotations": {"readOnlyHint": True}}


class WrongOutcome(Exception):
    """An outcome that violates a guarantee."""


class Attack:
    """An attack. `once` makes one attempt; `counts` counts the outcomes of all attempts."""

    name = ""

    def __init__(self, world: World, rng: random.Random):
        self.world, self.rng = world, rng
        self.counts = Counter()

    def backend(self, entries, **environment) -> Backend:
        return Backend(self.world, entries, {"JOB_LEASE_SECONDS": str(LEASE)} | environment)

    def once(self):
        raise NotImplementedError

    def check(self, holds: bool, *told):
        if not holds:
            raise WrongOutcome(f"{self.name}: {' '.join(str(each) for each in told)}")


class Runs:
    """A backend with one agent, which has a read-only tool `look` and a tool `act` with effects. Checks its jobs."""

    def __init__(self, attack: Attack, **environment):
        self.attack = attack
        self.server: Server = attack.world.server(pages=[[tool("look", **READS), tool("act")]])
        self.backend = attack.backend([{"mcp_url": self.server.url, "agent_name": "helper"}], **environment)

    def submit(self, acts: bool, wait_ms: int = 150, user: str = "alice", **fields) -> tuple[str, dict]:
        """Submits a job that calls `look`, `act` if `acts`, and `look` again. Returns its mark and the event."""
        mark = uuid.uuid4().hex

        def call(name):
            return {"call": name, "with": {"mark": mark, "tool": name}, "wait_ms": wait_ms}

        steps = [call("look"), *([call("act")] if acts else []), call("look"), {"say": f"Done {mark}"}]
        return mark, self.backend.submit(script(*steps), ["helper"], user=user, **fields)

    def deliver(self, event: dict) -> bool:
        """Delivers an event once, and returns whether it succeeded. Lambda delivers a failed event again."""
        try:
            self.backend.process(event)
            return True
        except Failed as failed:
            self.attack.check(failed.type in ("JobTable", "Runtime.ExitError", "Unhandled"), failed.type, failed)
            return False

    def deliver_beside(self, event: dict) -> threading.Thread:
        thread = threading.Thread(target=self.deliver, args=(event,), daemon=True)
        thread.start()
        return thread

    def calls(self, mark: str, name: str) -> int:
        return self.server.seen["calls"].count({"mark": mark, "tool": name})

    def must_end(self, mark: str, event: dict, acts: bool, was_answered: bool = False):
        """Delivers the job again as Lambda does, at most twice, each time after its lease, and checks how it ends."""
        check, deliveries = self.attack.check, 1
        while (job := self.backend.job(event))["status"] not in ("COMPLETED", "FAILED"):
            check(not was_answered, "its delivery was answered, and it has not ended:", job)
            check(deliveries < 3, "it does not end in three deliveries:", job)
            time.sleep(LEASE + 0.3)
            was_answered, deliveries = self.deliver(event), deliveries + 1
        acted = self.calls(mark, "act")
        check(acted <= 1, "what may have had an effect was done", acted, "times:", job)
        if job["status"] == "COMPLETED":
            check(f"Done {mark}" in job["result"] and acted == int(acts), "the result is not its own:", job, acted)
        else:
            # A call that may have an effect is not made if the note on the job cannot be written.
            is_unnoted = acted == 0 and "could not be written" in job["error"]
            is_cut_off = acts and ("had called act" in job["error"] or is_unnoted)
            check(is_cut_off, "failed for another reason than its effect:", job)
        check("unfinished" not in job and "leaseUntil" not in job, "it has ended and is still held:", job)
        self.attack.counts[job["status"].lower()] += 1
