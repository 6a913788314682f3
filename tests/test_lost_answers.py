"""Jobs whose table loses answers, throttles, or refuses an item. A proxy before the table injects these faults.

A write that was made counts as made when it is repeated. A write that was not made is never reported as made.
"""

import gzip
import json
import time
import uuid

import pytest

from tests.support import Failed, script, tool

FOR_EVER = 1_000
CONFLICT = {
    "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
    "message": "Transaction cancelled, please refer cancellation reasons for specific reasons",
    "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}],
}
TOO_LARGE = {
    "__type": "com.amazon.coral.validate#ValidationException",
    "message": "Item size to update has exceeded the maximum allowed size",
}
CLAIM, END = "ADD attempt", "completedAt"


@pytest.fixture
def asked(backend, server):
    """A backend with one agent, and a user of its own for jobs that no process runs."""
    asked = backend([{"mcp_url": server().url, "agent_name": "helper"}], AGENT_PROCESSOR_FUNCTION="nobody")
    asked.user = f"user-{uuid.uuid4().hex[:8]}"
    return asked


def items(asked, partition: str) -> list[dict]:
    answer = asked.world.dynamodb.query(
        TableName=asked.table,
        KeyConditionExpression="PK = :pk",
        ExpressionAttributeValues={":pk": {"S": partition}},
        ConsistentRead=True,
    )
    return answer["Items"]


def http(asked, method: str, path: str, body=None, **headers):
    return asked.http(method, path, body, user=asked.user, group="Viewer", api="AgentJobs", **headers)


def keep_piece(asked, event: dict, attempt: int, *messages: dict):
    """Writes a piece of a transcript, as a run stores it in addition to its job."""
    piece = {
        "PK": {"S": f"transcript#{event['jobId']}"},
        "SK": {"S": f"{event['userId']}#{attempt:06}#000000"},
        "messages": {"B": gzip.compress(json.dumps(messages).encode())},
    }
    asked.world.dynamodb.put_item(TableName=asked.table, Item=piece)


# A run


@pytest.mark.parametrize("write", [CLAIM, END])
@pytest.mark.parametrize("times", [1, FOR_EVER])
def test_a_job_runs_and_ends_where_the_answer_to_a_write_is_lost(asked, write, times):
    asked.add_fault("UpdateItem", write, times=times)
    answer, job = asked.ask(script({"call": "echo", "with": {"text": "hi"}}, {"say": "Got {result}"}), ["helper"])
    assert job["status"] == "COMPLETED" and json.loads(job["result"])["content"] == 'Got {"text":"hi"}'
    assert answer["status"] == "COMPLETED" and answer["result"] == job["result"]
    assert job["attempt"] == "1"
    assert not [line for line in asked.log_lines() if "could not be written" in line or "could not be claimed" in line]


def test_a_claim_of_another_delivery_is_not_taken_for_ones_own(asked):
    event = asked.submit(script({"say": "hi"}), ["helper"])
    asked.process(event)
    first = asked.job(event)
    asked.add_fault("UpdateItem", CLAIM)
    assert asked.process(event)["status"] == "COMPLETED"
    assert asked.job(event) == first, "nothing is written by a delivery that finds the job ended"


def test_no_effect_begins_after_the_lease_and_the_run_stops(backend, server):
    called = server(pages=[[tool("act")]])
    asked = backend([{"mcp_url": called.url, "agent_name": "helper"}], JOB_LEASE_SECONDS="6")
    broken = {"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "oh"}
    asked.add_fault("UpdateItem", ':"leaseUntil"', times=FOR_EVER, error=broken, status=500)
    event = asked.submit(script({"call": "act", "wait_ms": 400, "repeat": 60}, {"say": "Done"}), ["helper"])
    with pytest.raises(Failed) as failed:
        asked.process(event)
    assert failed.value.type == "JobTable" and "was not renewed in time" in str(failed.value)
    # The job has not ended. The next delivery finds the note of the call, and does not repeat the call.
    assert asked.job(event)["status"] == "PROCESSING"
    calls = len(called.seen["calls"])
    assert 1 <= calls < 60
    time.sleep(2)
    asked.world.proxy.faults.clear()
    assert "it had called act" in asked.process(event)["body"]
    assert len(called.seen["calls"]) == calls


# Submission


def test_a_job_is_counted_once_where_the_answer_is_lost(asked):
    asked.environment["MAX_JOBS_PER_DAY_PER_USER"] = "2"
    asked.add_fault("UpdateItem", f"quota#{asked.user}", times=2)
    # The processor does not exist. The job stays counted.
    statuses = [http(asked, "POST", "/jobs", {"query": "hi", "agentIds": ["helper"]})[0] for _ in range(3)]
    assert statuses == [503, 503, 429]


@pytest.mark.parametrize("key", [{}, {"idempotency-key": "a-key"}])
def test_a_submission_whose_answer_is_lost_is_one_job(asked, key):
    asked.add_fault("TransactWriteItems")
    # The processor does not exist, so the job stays or is deleted again.
    status, answer = http(asked, "POST", "/jobs", {"query": "hi", "agentIds": ["helper"]}, **key)
    assert (status, answer["error"]) == (503, "unavailable")
    assert len(items(asked, f"agent#{asked.user}")) == len(key), "with a key a repetition starts it"
    assert len(items(asked, f"idempotency#{asked.user}")) == len(key)


def test_a_busy_table_is_asked_again_and_never_called_another_query(asked):
    body = {"query": "hi", "agentIds": ["helper"]}
    asked.add_fault("TransactWriteItems", times=2, error=CONFLICT)
    http(asked, "POST", "/jobs", body, **{"idempotency-key": "once"})
    assert len(items(asked, f"agent#{asked.user}")) == 1
    asked.add_fault("TransactWriteItems", times=FOR_EVER, error=CONFLICT)
    status, answer = http(asked, "POST", "/jobs", body, **{"idempotency-key": "busy"})
    assert (status, answer["error"]) == (503, "unavailable")
    assert len(items(asked, f"agent#{asked.user}")) == 1


@pytest.mark.parametrize(
    ("submission", "field"),
    [
        ({"query": "ü" * 100_000, "agentIds": ["helper"]}, None),
        ({"query": "x" * 100_000, "agentIds": ["a" * 256] * 64}, None),
        ({"query": "字" * 66_667, "agentIds": ["helper"]}, "query is larger than 200000 bytes"),
        ({"query": "x", "agentIds": ["a" * 257]}, "agentIds: an id has at most 256 bytes"),
        ({"query": "x", "agentIds": ["a\u0001"]}, "agentIds: an id has at most 256 bytes, and no control characters"),
        ({"query": "x", "agentIds": ["helper"] * 65}, "agentIds may name at most 64"),
    ],
)
def test_a_job_too_large_to_be_ended_is_refused(asked, submission, field):
    status, answer = http(asked, "POST", "/jobs", submission, **{"idempotency-key": "large"})
    jobs = items(asked, f"agent#{asked.user}")
    if field:
        assert status == 400 and field in answer["message"] and not jobs
    else:
        assert status == 503 and len(jobs) == 1


def test_the_largest_job_that_is_taken_ends_with_its_answer(asked):
    # Control characters: six bytes each in the result and in the transcript.
    asks = script({"say": "\u0001" * 30_000})
    event = asked.submit(asks + " " * (200_000 - len(asks)), ["helper"])
    asked.process(event)
    job = asked.job(event)
    assert job["status"] == "COMPLETED" and json.loads(job["result"])["content"].startswith("\u0001" * 1_000)


# Deletion


def test_a_deletion_whose_answer_is_lost_is_told_as_one(asked):
    event = asked.submit("hi", ["helper"], user=asked.user)
    keep_piece(asked, event, 1, {"role": "user"})
    asked.add_fault("DeleteItem")
    assert http(asked, "DELETE", f"/jobs/{event['jobId']}")[0] == 204
    assert not items(asked, f"agent#{asked.user}") and not items(asked, f"transcript#{event['jobId']}")
    assert http(asked, "DELETE", f"/jobs/{event['jobId']}")[0] == 404


def test_a_deletion_that_was_cut_off_before_the_transcript_is_finished_by_the_next(asked):
    event = asked.submit("hi", ["helper"], user=asked.user)
    keep_piece(asked, event, 1, {"role": "user"})
    # Another user's job with the same id has its own pieces.
    keep_piece(asked, event | {"userId": "another"}, 1, {"role": "user"})
    broken = {"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "oh"}
    asked.add_fault("DeleteItem", f"transcript#{event['jobId']}", times=3, error=broken, status=500)
    assert http(asked, "DELETE", f"/jobs/{event['jobId']}")[0] == 503
    assert len(items(asked, f"transcript#{event['jobId']}")) == 2
    asked.world.proxy.faults.clear()
    assert http(asked, "DELETE", f"/jobs/{event['jobId']}")[0] == 204
    [left] = items(asked, f"transcript#{event['jobId']}")
    assert left["SK"]["S"].startswith("another#")


def test_an_id_that_no_job_can_have_is_not_there(asked):
    for method, path in (("GET", ""), ("GET", "/messages"), ("DELETE", "")):
        assert http(asked, method, f"/jobs/{'x' * 1_025}{path}")[0] == 404


# Transcripts


def test_pieces_of_an_interrupted_attempt_are_not_in_the_transcript(asked):
    on_item = [{"role": "user", "content": "of the second attempt", "sequence_number": 1}]
    ended = {"status": {"S": "COMPLETED"}, "attempt": {"N": "2"}, "agent_messages": {"S": json.dumps(on_item)}}
    event = asked.submit("hi", ["helper"], user=asked.user, **ended)
    keep_piece(asked, event, 1, {"role": "user", "content": "of the first"})
    assert http(asked, "GET", f"/jobs/{event['jobId']}/messages") == (200, {"messages": on_item})
    whole = asked.submit("hi", ["helper"], user=asked.user, **ended, transcriptOf={"N": "2"})
    keep_piece(asked, whole, 1, {"content": "of the first"})
    keep_piece(asked, whole, 2, {"content": "the whole of the second"})
    assert http(asked, "GET", f"/jobs/{whole['jobId']}/messages") == (
        200,
        {"messages": [{"content": "the whole of the second"}]},
    )


# The sweep


def test_the_sweep_goes_on_past_a_job_that_cannot_be_ended(asked):
    stuck, *others = (asked.submit_interrupted(-400, user=asked.user) for _ in range(5))
    asked.add_fault("UpdateItem", stuck["jobId"], times=FOR_EVER, error=TOO_LARGE)
    swept = asked.sweep()
    assert swept["notEnded"] == 1 and swept["ended"] >= 4
    assert {asked.job(each)["status"] for each in others} == {"FAILED"}
    assert asked.job(stuck)["status"] == "PROCESSING"
    assert [
        json.loads(line)["JobsNotEnded"] for line in asked.log_lines() if "JobsNotEnded" in line and "_aws" in line
    ] == [1]
    asked.world.proxy.faults.clear()
    asked.sweep()
    assert asked.job(stuck)["status"] == "FAILED"


def test_a_job_without_room_for_its_end_is_ended_without_its_transcript(asked):
    full = asked.submit_interrupted(-400, user=asked.user, agent_messages={"S": "[]"})
    asked.add_fault("UpdateItem", full["jobId"], error=TOO_LARGE)
    swept = asked.sweep()
    assert swept["notEnded"] == 0
    job = asked.job(full)
    assert job["status"] == "FAILED" and "was cut off" in job["error"] and "agent_messages" not in job


# Metrics


def test_agents_that_do_not_exist_make_no_metrics(asked):
    answer, job = asked.ask("hi", [f"made-up-{uuid.uuid4().hex}"])
    assert job["status"] == "FAILED"
    [metric] = [json.loads(line) for line in asked.log_lines() if "ModelTurns" in line and "_aws" in line]
    assert metric["agent"] == "unknown"
