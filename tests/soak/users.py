"""Concurrent users of the same functions, each with their own sign-ins and jobs."""

import json
from concurrent.futures import ThreadPoolExecutor

from tests.lab import AuthorizationServer, ProtectedServer
from tests.support import as_user, connect, own_tables, script, user_entry

from .attack import Attack

NAMES = ["ada", "grace", "joan", "mary"]


class Users(Attack):
    name = "users"

    def __init__(self, world, rng):
        super().__init__(world, rng)
        auth = AuthorizationServer(token_with={"expires_in": 4})
        self.asked = self.backend([user_entry(ProtectedServer(auth))], **own_tables(world))
        self.asked.environment["AGENT_PROCESSOR_FUNCTION"] = self.asked.function("AgentProcessorFunctionArn")
        for name in NAMES:
            connect(self.asked, "notes", name, sub=f"sub-{name}")
        self.jobs: list[tuple[str, str]] = []  # user name and job id

    def once(self):
        names = [self.rng.choice(NAMES) for _ in range(4)]
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(self.as_one, names, [self.rng.choice(["list", "run", "look"]) for _ in names]))

    def as_one(self, name: str, does: str):
        if does == "list":
            [agent] = self.asked.agents(as_user(name))
            self.check(agent["status"] == "available", name, "cannot list:", agent)
        elif does == "run":
            query = script({"call": "read_notes", "with": {"of": name}}, {"say": "{result}"})
            event = self.asked.submit(query, ["notes"], user=name, sub={"S": f"sub-{name}"})
            self.asked.process(event)
            job = self.asked.job(event)
            self.check(job["status"] == "COMPLETED", name, "cannot run:", job)
            said = json.loads(json.loads(job["result"])["content"])
            self.check((said["user"], said["arguments"]["of"]) == (name, name), name, "ran as another:", said)
            self.jobs.append((name, event["jobId"]))
        elif self.jobs:
            owner, job_id = self.rng.choice(self.jobs)
            status, _ = self.asked.http("GET", f"/jobs/{job_id}", user=name, sub=f"sub-{name}", api="AgentJobs")
            self.check(status == (200 if owner == name else 404), name, "looks at a job of", owner, "and sees", status)
        self.counts[does] += 1
