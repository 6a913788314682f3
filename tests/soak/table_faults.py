"""Injects every fault into every write of a job, once, and for the whole run."""

import itertools
import time
import uuid

from tests.support import Failed, script

from .attack import Attack, Runs

FOR_EVER = 1_000_000
THROTTLED = {
    "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
    "message": "The level of configured provisioned throughput for the table was exceeded",
}
BROKEN = {"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "Internal server error"}
FAULTS = {
    "dropped": {},
    "late": {"late": 1.5, "is_heard": True},
    "throttled": {"error": THROTTLED},
    "500": {"error": BROKEN, "status": 500},
}
RUN_WRITES = {
    "claim": ("UpdateItem", "ADD attempt"),
    "renewal": ("UpdateItem", ':"leaseUntil"'),
    "effect": ("UpdateItem", ':"effect"'),
    "record": ("UpdateItem", ':"agent_messages"'),
    "end": ("UpdateItem", "completedAt"),
}
API_WRITES = {
    "quota": ("UpdateItem", "quota#"),
    "submission": ("TransactWriteItems", "agent#"),
    "deletion": ("DeleteItem", "agent#"),
    "pieces' deletion": ("DeleteItem", "transcript#"),
}
SWEEP_WRITES = {"abandoned": ("UpdateItem", "was cut off"), "started again": ("UpdateItem", "startedAgainAt")}


class TableFaults(Attack):
    name = "table faults"

    def __init__(self, world, rng):
        super().__init__(world, rng)
        self.runs = Runs(self, MAX_JOBS_PER_DAY_PER_USER="3")
        self.asked = self.runs.backend
        self.asked.environment["AGENT_PROCESSOR_FUNCTION"] = self.asked.function("AgentProcessorFunctionArn")
        self.left: list = []

    def once(self):
        if not self.left:
            writes = [*RUN_WRITES, *API_WRITES, *SWEEP_WRITES]
            self.left = list(itertools.product(writes, FAULTS, (1, FOR_EVER)))
            self.rng.shuffle(self.left)
            self.counts["rounds begun"] += 1
        write, fault, times = self.left.pop()
        self.tried = f"{write} {fault} {'once' if times == 1 else 'for ever'}"
        operation, containing = (RUN_WRITES | API_WRITES | SWEEP_WRITES)[write]
        self.asked.add_fault(operation, containing, times=times, **FAULTS[fault])
        try:
            if write in RUN_WRITES:
                self.run()
            elif write == "submission" or write == "quota":
                self.submission()
            elif write in API_WRITES:
                self.deletion()
            else:
                self.sweep()
        finally:
            self.asked.remove_faults()
        self.counts["tried"] += 1

    def check(self, holds, *told):
        super().check(holds, f"({self.tried})", *told)

    def run(self):
        acts = self.rng.random() < 0.5
        # Long enough for the lease to be renewed.
        mark, event = self.runs.submit(acts, wait_ms=400)
        was_answered = self.runs.deliver(event)
        self.asked.remove_faults()
        self.runs.must_end(mark, event, acts, was_answered)

    def http(self, user: str, method: str, path: str, body=None, **headers):
        return self.asked.http(method, path, body, user=user, group="Viewer", api="AgentJobs", **headers)

    def items(self, partition: str) -> list:
        answer = self.world.dynamodb.query(
            TableName=self.asked.table,
            KeyConditionExpression="PK = :pk",
            ExpressionAttributeValues={":pk": {"S": partition}},
            ConsistentRead=True,
        )
        return answer["Items"]

    def submission(self):
        user, key = f"soak-{uuid.uuid4().hex[:8]}", {"idempotency-key": "key"}
        body = {"query": script({"say": "Done"}), "agentIds": ["helper"]}
        status, answer = self.http(user, "POST", "/jobs", body, **key)
        self.check(status in (202, 503), "a submission is answered", status, answer)
        self.asked.remove_faults()
        again, job = self.http(user, "POST", "/jobs", body, **key)
        self.check(again == 202, "a submission that is sent again is answered", again, job)
        self.check(status != 202 or answer["jobId"] == job["jobId"], "one key, two jobs:", answer, job)
        [item] = self.items(f"agent#{user}")
        self.check(item["SK"]["S"] == job["jobId"], "the job is another one:", item, job)
        self.ends(user, job)
        # The submission was counted twice at most: once when it was answered with 503, once when it succeeded.
        taken = [self.http(user, "POST", "/jobs", body)[0] for _ in range(3)]
        self.check(taken.count(202) in (1, 2) and taken[-1] == 429, "it was counted otherwise:", taken)

    def ends(self, user: str, job: dict):
        give_up = time.monotonic() + 30
        while (now := self.http(user, "GET", f"/jobs/{job['jobId']}")[1])["status"] != "COMPLETED":
            self.check(time.monotonic() < give_up and now["status"] != "FAILED", "it does not end well:", now)
            time.sleep(0.1)

    def deletion(self):
        user = f"soak-{uuid.uuid4().hex[:8]}"
        event = self.asked.submit("hi", ["helper"], user=user, status={"S": "COMPLETED"})
        for n in range(2):
            piece = {"PK": {"S": f"transcript#{event['jobId']}"}, "SK": {"S": f"{user}#000001#{n:06}"}}
            self.world.dynamodb.put_item(TableName=self.asked.table, Item=piece)
        path = f"/jobs/{event['jobId']}"
        status, _ = self.http(user, "DELETE", path)
        self.check(status in (204, 503), "a deletion is answered", status)
        left = self.items(f"agent#{user}") + self.items(f"transcript#{event['jobId']}")
        self.check(status != 204 or not left, "it is said to be deleted, and there:", left)
        self.asked.remove_faults()
        again, _ = self.http(user, "DELETE", path)
        self.check(again in (204, 404), "a repeated deletion is answered", again)
        left = self.items(f"agent#{user}") + self.items(f"transcript#{event['jobId']}")
        self.check(not left, "it is deleted, and there:", left)

    def sweep(self):
        long_ago = {"N": str(int((time.time() - 400) * 1000))}
        abandoned = [
            self.asked.submit(
                "hi", ["helper"], status={"S": "PROCESSING"}, unfinished={"S": "PROCESSING"}, leaseUntil=long_ago
            )
            for _ in range(3)
        ]
        mark, pending = self.runs.submit(acts=True, unfinished={"S": "PENDING"})
        for is_mended in (False, True):
            try:
                self.asked.invoke("AgentJobsFunctionArn", {"source": "aws.events"})
            except Failed as failed:
                self.check(not is_mended, "the sweep fails though nothing is broken:", failed)
            self.asked.remove_faults()
        for event in abandoned:
            job = self.asked.job(event)
            self.check(job["status"] == "FAILED" and "was cut off" in job["error"], "an abandoned job is left:", job)
        give_up = time.monotonic() + 30
        while self.asked.job(pending)["status"] != "COMPLETED":
            self.check(time.monotonic() < give_up, "a pending job was not started again:", self.asked.job(pending))
            time.sleep(0.1)
        self.check(self.runs.calls(mark, "act") == 1, "it was not run once")
