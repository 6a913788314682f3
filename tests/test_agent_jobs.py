"""The deployed jobs API: over HTTP behind its authorizer, as resolver fields, and the sweep."""

import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest

from tests.support import Api, Failed, at_once, script, sign_up, wait_for

SECRET = "mcp-agents/external-mcp-agents/credentials"
SUMMARY = {"jobId", "status", "query", "agentIds", "createdAt", "completedAt", "result", "error"}
ALICE = {"username": "alice", "sub": "s-1", "claims": {"cognito:groups": ["Author"]}}


@pytest.fixture(scope="module")
def helper(world):
    """The stack's own secret with one agent, `helper`."""
    server = world.server()
    world.secrets.put_secret_value(
        SecretId=SECRET, SecretString=json.dumps([{"mcp_url": server.url, "agent_name": "helper"}])
    )
    return server


@pytest.fixture(scope="module")
def alice(world, helper):
    return sign_up(world, "alice", "Author")


@pytest.fixture(scope="module")
def mallory(world, helper):
    return sign_up(world, "mallory", "Admin")


def submit(api, query=None, **headers):
    body = {"query": query or script({"say": "Hello"}), "agentIds": ["helper"]}
    status, job = api.send("POST", "/jobs", body, **headers)
    assert status == 202, job
    return job


def ended(api, job):
    def look():
        status, now = api.send("GET", f"/jobs/{job['jobId']}")
        assert status == 200
        return now if now["status"] in ("COMPLETED", "FAILED") else None

    return wait_for(look)


# Over HTTP


def test_a_job_from_submission_to_deletion(alice):
    query = script({"call": "echo", "with": {"text": "hi"}}, {"say": "It said {result}"})
    job = submit(alice, query)
    assert set(job) == SUMMARY
    assert (job["status"], job["query"], json.loads(job["agentIds"])) == ("PENDING", query, ["helper"])
    done = ended(alice, job)
    assert json.loads(done["result"])["content"] == 'It said {"text":"hi"}'
    assert json.loads(done["usage"])["modelTurns"] == 2
    status, told = alice.send("GET", f"/jobs/{job['jobId']}/messages")
    assert status == 200 and told["messages"] == json.loads(done["agent_messages"])
    assert [m["role"] for m in told["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert alice.send("DELETE", f"/jobs/{job['jobId']}") == (204, None)
    status, error = alice.send("GET", f"/jobs/{job['jobId']}")
    assert (status, error["error"]) == (404, "not_found")


def test_agents_are_listed(alice, helper):
    status, agents = alice.send("GET", "/agents?refresh=true")
    assert status == 200
    assert [(agent["agent_id"], agent["tools"]) for agent in agents] == [("helper", ["echo"])]


def test_jobs_expire(alice, world):
    job = submit(alice)
    key = {"PK": {"S": f"agent#{alice.user}"}, "SK": {"S": job["jobId"]}}
    item = world.dynamodb.get_item(TableName=world.outputs["AgentTableName"], Key=key)["Item"]
    days = (int(item["ExpiresAfter"]["N"]) - time.time()) / 86_400
    assert 29.9 < days < 30.1


def test_callers_need_a_token_and_a_group(world, alice):
    for token in (None, "garbage", alice.token[:-4] + "AAAA"):
        assert Api(world, token).send("GET", "/jobs")[0] == 401, token
    status, error = sign_up(world, "guest", None).send("GET", "/jobs")
    assert (status, error["error"]) == (403, "forbidden")
    assert Api(world, None).send("GET", "/openapi.json")[0] == 200


def test_another_users_job_is_not_there_on_any_route(alice, mallory):
    job = submit(alice)
    ended(alice, job)
    for method, path in (("GET", ""), ("GET", "/messages"), ("DELETE", "")):
        assert mallory.send(method, f"/jobs/{job['jobId']}{path}")[0] == 404
    assert job["jobId"] not in [each["jobId"] for each in mallory.send("GET", "/jobs?limit=100")[1]["items"]]
    assert alice.send("GET", f"/jobs/{job['jobId']}")[0] == 200, "it is still there for its owner"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Query is required"),
        ({"query": " ", "agentIds": ["helper"]}, "Query is required"),
        ({"query": "x" * 100_001, "agentIds": ["helper"]}, "100,000 characters"),
        ({"query": "hi", "agentIds": []}, "At least one agent ID is required"),
        ({"query": "hi"}, "At least one agent ID is required"),
        ([], "not a JSON object"),
    ],
)
def test_a_wrong_submission_says_what_is_wrong(alice, body, message):
    status, error = alice.send("POST", "/jobs", body)
    assert (status, error["error"]) == (400, "invalid_request") and message in error["message"]


def test_unmatched_routes_are_answered_with_the_error_body(world, alice):
    for api in (alice, Api(world, None)):
        for method, path, status, code in (
            ("GET", "/", 404, "not_found"),
            ("GET", "/jobs/a/b/c", 404, "not_found"),
            ("GET", "/nothing", 404, "not_found"),
            ("PATCH", "/jobs", 405, "method_not_allowed"),
            ("PUT", "/oauth/an/agent", 405, "method_not_allowed"),
            ("POST", "/oauth/callback", 405, "method_not_allowed"),
        ):
            answered, error = api.send(method, path)
            assert (answered, error["error"]) == (status, code) and error["remedy"], (method, path, error)
    status, page = alice.send("GET", "/jobs/")
    assert status == 200 and page["items"] is not None, "a slash at the end means nothing"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json; charset=utf-8", 202),
        ("application/vnd.example+json", 202),
        ("application/x-www-form-urlencoded", 202),
        ("text/plain", 415),
        ("application/xml", 415),
    ],
)
def test_a_json_body_is_accepted_with_curls_content_type(alice, content_type, status):
    body = {"query": script({"say": "Hello"}), "agentIds": ["helper"]}
    answered, answer = alice.send("POST", "/jobs", body, **{"content-type": content_type})
    assert answered == status, answer
    assert status == 202 or answer["error"] == "unsupported_media_type"


def test_a_body_that_is_too_large_is_refused(alice):
    status, error = alice.send("POST", "/jobs", {"query": "x" * 1_000_001, "agentIds": ["helper"]})
    assert (status, error["error"]) == (413, "body_too_large")


def test_a_repeated_submission_is_one_job(alice):
    key = uuid.uuid4().hex
    first, second = submit(alice, **{"idempotency-key": key}), submit(alice, **{"idempotency-key": key})
    assert first["jobId"] == second["jobId"]
    status, error = alice.send("POST", "/jobs", {"query": "else", "agentIds": ["helper"]}, **{"idempotency-key": key})
    assert (status, error["error"]) == (409, "conflict")


def test_an_idempotency_key_is_the_users_own(alice, mallory):
    key = {"idempotency-key": uuid.uuid4().hex}
    assert submit(alice, **key)["jobId"] != submit(mallory, **key)["jobId"]


def test_jobs_are_listed_newest_first_page_by_page(world, helper):
    bob, eve = sign_up(world, "bob", "Viewer"), sign_up(world, "eve", "Viewer")
    submitted = [submit(bob)["jobId"] for _ in range(5)]
    listed, token, pages = [], "", 0
    while token is not None:
        suffix = f"&nextToken={token}" if token else ""
        status, page = bob.send("GET", f"/jobs?limit=2{suffix}")
        assert status == 200 and len(page["items"]) <= 2
        assert all(set(item) == SUMMARY for item in page["items"])
        listed += [item["jobId"] for item in page["items"]]
        pages, stolen, token = pages + 1, token or None, page["nextToken"]
    assert listed == submitted[::-1] and pages == 3
    theirs = eve.send("GET", f"/jobs?nextToken={stolen}")[1]["items"]
    assert theirs == [], "another's token leads to nothing of theirs"
    for garbled in ("x", "eyJQSyI6IngifQ", "%00"):
        assert bob.send("GET", f"/jobs?nextToken={garbled}")[0] == 400
    for limit in ("0", "101", "-1", "many"):
        assert bob.send("GET", f"/jobs?limit={limit}")[0] == 400


def test_deleting_a_running_job_cancels_it(alice, helper):
    job = submit(alice, script({"call": "echo", "with": {}, "wait_ms": 300, "repeat": 50}))
    before = wait_for(lambda: len(helper.seen["calls"]))
    assert alice.send("DELETE", f"/jobs/{job['jobId']}")[0] == 204
    time.sleep(2.5)
    calls = len(helper.seen["calls"])
    time.sleep(1.5)
    assert len(helper.seen["calls"]) == calls, "its run has ended"
    assert calls - before < 20 and alice.send("GET", f"/jobs/{job['jobId']}")[0] == 404


def test_the_api_does_what_its_document_says(world, alice):
    """The served document against the running API, with generated requests good and bad."""
    forwarder = forward(alice)
    # A query of 100,000 characters can exceed the limit of a body, if each character is two escape sequences.
    refusals = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
    config = world.aws.folder / "schemathesis.toml"
    config.write_text(f"[checks]\nnegative_data_rejection.expected-statuses = {json.dumps(refusals)}\n")
    command = [
        Path(sys.executable).parent / "schemathesis",
        "--config-file",
        config,
        "run",
        f"{forwarder.url}/openapi.json",
        "--header",
        f"Authorization: Bearer {alice.token}",
        "--max-examples",
        "15",
        "--seed",
        "1",
        "--phases",
        "examples,coverage,fuzzing",
        # The gateway checks tokens and methods. An invented nextToken is refused, which is correct.
        "--exclude-checks",
        "ignored_auth,unsupported_method,positive_data_acceptance",
    ]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, cwd=world.aws.folder
    )
    forwarder.shutdown()
    assert done.returncode == 0, done.stdout[-6000:]


def forward(api):
    """A proxy that sets the Host header that the gateway needs."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def forward(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")
            }
            request = urllib.request.Request(
                f"{api.base}{self.path}", body or None, headers | {"host": api.host}, method=self.command
            )
            try:
                answer = urllib.request.urlopen(request)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                content = answer.read()
                self.send_response(answer.status)
                self.send_header("content-type", answer.headers.get("content-type") or "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = do_OPTIONS = do_HEAD = do_TRACE = do_QUERY = forward

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


# As resolver fields


def test_the_resolver_fields_have_the_originals_shapes(backend, server):
    asked = backend([{"mcp_url": server().url, "agent_name": "helper"}])
    query = script({"say": "Hello"})
    job = asked.resolve("submitAgentQuery", {"query": query, "agentIds": ["helper"]}, ALICE)
    assert (job["status"], job["query"], json.loads(job["agentIds"])) == ("PENDING", query, ["helper"])

    def look():
        return asked.resolve("getAgentJobStatus", {"jobId": job["jobId"]}, ALICE)

    done = wait_for(lambda: look() if look()["status"] == "COMPLETED" else None)
    assert set(done) == SUMMARY | {"agent_messages", "usage"}
    assert json.loads(done["result"])["content"] == "Hello"
    listed = asked.resolve("listAgentJobs", {"limit": 100}, ALICE)
    assert set(listed) == {"items", "nextToken"} and set(listed["items"][0]) == SUMMARY
    assert job["jobId"] in [item["jobId"] for item in listed["items"]]
    assert asked.resolve("deleteAgentJob", {"jobId": job["jobId"]}, ALICE) is True
    assert look() is None


def test_resolvers_refuse_by_type(backend):
    asked = backend()
    submission = {"query": "hi", "agentIds": ["helper"]}
    guest = ALICE | {"claims": {}}
    for identity, arguments, error, message in (
        (None, submission, "Unauthorized", "Unauthorized: sign in first"),
        (guest, submission, "Unauthorized", "Unauthorized: this needs membership"),
        (ALICE, {}, "ValueError", "Query parameter is required"),
        (
            ALICE,
            submission | {"query": "x" * 100_001},
            "ValueError",
            "Query exceeds maximum length of 100000 characters",
        ),
        (ALICE, submission | {"agentIds": []}, "ValueError", "At least one agent ID is required"),
    ):
        with pytest.raises(Failed) as failed:
            asked.resolve("submitAgentQuery", arguments, identity)
        assert failed.value.type == error and str(failed.value).startswith(message), failed.value
    for field, arguments in (
        ("getAgentJobStatus", {}),
        ("deleteAgentJob", {}),
        ("listAgentJobs", {"limit": 0}),
        ("noSuchField", {}),
    ):
        with pytest.raises(Failed) as failed:
            asked.resolve(field, arguments, ALICE)
        assert failed.value.type == "ValueError", field


def dispatched(failure: Failed) -> int:
    """Returns the status that the accelerator's dispatcher derives from a resolver's error type and message."""
    message = str(failure)
    if failure.type in ("PermissionError", "AuthorizationError") or message.startswith(("Unauthorized", "Forbidden")):
        return 403
    return {"ValueError": 400, "KeyError": 400, "ResourceNotFound": 404}.get(failure.type, 500)


def test_the_accelerators_dispatcher_makes_the_right_status_of_each_failure(backend):
    asked = backend()
    guest, key = ALICE | {"claims": {}}, None
    wrong = {"submitAgentQuery": {}, "getAgentJobStatus": {}, "deleteAgentJob": {}, "listAgentJobs": {"nextToken": "?"}}
    for field, arguments in wrong.items():
        for identity, status in ((guest, 403), (key, 403), (ALICE, 400)):
            with pytest.raises(Failed) as failed:
                asked.resolve(field, arguments, identity)
            assert dispatched(failed.value) == status, (field, failed.value)
    for identity in (guest, key):
        with pytest.raises(Failed) as failed:
            asked.agents({"info": {"fieldName": "listAvailableAgents"}, "arguments": {}, "identity": identity})
        assert dispatched(failed.value) == 403


def test_the_originals_jobs_are_listed_too(backend, server):
    asked = backend([{"mcp_url": server().url, "agent_name": "helper"}])
    user = ALICE | {"username": f"old-{uuid.uuid4().hex[:6]}"}
    event = asked.submit("an old query", ["helper"], user=user["username"])
    [listed] = asked.resolve("listAgentJobs", {}, user)["items"]
    assert (listed["jobId"], listed["query"]) == (event["jobId"], "an old query")


def test_a_processor_that_cannot_be_invoked_leaves_no_job(backend):
    asked = backend()
    asked.environment["AGENT_PROCESSOR_FUNCTION"] = "no-such-function"
    asked.function("AgentJobsFunctionArn")
    user = ALICE | {"username": f"new-{uuid.uuid4().hex[:6]}"}
    with pytest.raises(Failed, match="try again"):
        asked.resolve("submitAgentQuery", {"query": "hi", "agentIds": ["helper"]}, user)
    assert asked.resolve("listAgentJobs", {}, user)["items"] == []


# Quotas


@pytest.fixture
def limited(backend, server):
    """Creates a backend with quotas. Returns it and a function that sends requests as a new user.

    If jobs must not run, another function receives their events, and the jobs stay pending.
    """

    def make(processor="AgentProcessorFunctionArn", **quotas):
        asked = backend([{"mcp_url": server().url, "agent_name": "helper"}], **quotas)
        asked.environment["AGENT_PROCESSOR_FUNCTION"] = asked.function(processor)
        user = f"user-{uuid.uuid4().hex[:8]}"
        return lambda method, path, body=None, **more: asked.http(
            method, path, body, user=user, api="AgentJobs", **more
        )

    return make


LONG = {"query": script({"call": "echo", "with": {}, "wait_ms": 300, "repeat": 100}), "agentIds": ["helper"]}
SHORT = {"query": script({"say": "hi"}), "agentIds": ["helper"]}


def test_a_user_has_only_so_many_jobs_at_once(limited):
    send = limited(MAX_RUNNING_JOBS_PER_USER="2")
    jobs = [send("POST", "/jobs", LONG)[1] for _ in range(2)]
    status, error = send("POST", "/jobs", LONG)
    assert (status, error["error"]) == (429, "quota_exceeded")
    assert "2 of your jobs have not ended" in error["message"] and "when one of them has ended" in error["message"]
    assert send("DELETE", f"/jobs/{jobs[0]['jobId']}")[0] == 204
    status, third = send("POST", "/jobs", SHORT)
    assert status == 202
    wait_for(lambda: send("GET", f"/jobs/{third['jobId']}")[1]["status"] == "COMPLETED")
    assert send("POST", "/jobs", SHORT)[0] == 202, "what has ended does not count"
    assert send("DELETE", f"/jobs/{jobs[1]['jobId']}")[0] == 204


def test_a_user_submits_only_so_many_jobs_a_day(limited):
    send = limited(MAX_JOBS_PER_DAY_PER_USER="2")
    key = {"idempotency-key": "k"}
    first = send("POST", "/jobs", SHORT, **key)
    assert first[0] == 202 and send("POST", "/jobs", SHORT)[0] == 202
    status, error = send("POST", "/jobs", SHORT)
    assert (status, error["error"]) == (429, "quota_exceeded")
    assert "2 jobs today" in error["message"] and "T00:00:00Z on" in error["message"]
    status, again = send("POST", "/jobs", SHORT, **key)
    assert (status, again["jobId"]) == (202, first[1]["jobId"]), "a repeated submission is none"


def test_of_many_submissions_at_once_only_so_many_are_taken(limited):
    send = limited(processor="ListAvailableAgentsFunctionArn", MAX_RUNNING_JOBS_PER_USER="5")
    statuses = [status for status, _ in at_once(8, lambda: send("POST", "/jobs", LONG))]
    assert sorted(statuses) == [202] * 5 + [429] * 3
    for job in send("GET", "/jobs")[1]["items"]:
        assert send("DELETE", f"/jobs/{job['jobId']}")[0] == 204


def test_a_new_user_of_an_old_name_inherits_no_job(limited):
    send = limited(MAX_RUNNING_JOBS_PER_USER="1")
    job = send("POST", "/jobs", LONG, sub="one")[1]
    assert send("GET", "/jobs", sub="two")[1]["items"] == []
    for method, path in (("GET", ""), ("GET", "/messages"), ("DELETE", "")):
        assert send(method, f"/jobs/{job['jobId']}{path}", sub="two")[0] == 404
    status, theirs = send("POST", "/jobs", SHORT, sub="two")
    assert status == 202, "nor what counts against the quota"
    for sub, own in (("one", job), ("two", theirs)):
        assert [each["jobId"] for each in send("GET", "/jobs", sub=sub)[1]["items"]] == [own["jobId"]]
        assert send("DELETE", f"/jobs/{own['jobId']}", sub=sub)[0] == 204


# Jobs that no process runs any more


def test_the_sweep_ends_abandoned_jobs_and_no_others(backend):
    asked = backend()
    gone, recent, running, originals = (asked.submit_interrupted(lease) for lease in (-400, -100, 20, None))
    swept = asked.sweep()
    assert swept["swept"] and swept["ended"] >= 1
    assert asked.job(gone)["status"] == "FAILED" and "was cut off" in asked.job(gone)["error"]
    assert asked.job(gone)["completedAt"] and "unfinished" not in asked.job(gone)
    assert [asked.job(each)["status"] for each in (recent, running, originals)] == ["PROCESSING"] * 3


def test_a_job_that_was_never_invoked_is_started_again_once(backend, server):
    asked = backend([{"mcp_url": server().url, "agent_name": "helper"}])
    event = asked.submit(script({"say": "At last"}), ["helper"], unfinished={"S": "PENDING"})
    assert asked.sweep(asked.function("AgentProcessorFunctionArn"))["startedAgain"] >= 1
    wait_for(lambda: asked.job(event)["status"] == "COMPLETED")


def test_a_job_that_never_begins_is_ended(backend):
    asked = backend()

    def started_again(hours_ago):
        milliseconds = int((time.time() - hours_ago * 3600) * 1000)
        fields = {"unfinished": {"S": "PENDING"}, "startedAgainAt": {"N": str(milliseconds)}}
        return asked.submit("hi", ["helper"], **fields)

    old, young = started_again(7), started_again(6)
    asked.sweep()
    assert asked.job(old)["status"] == "FAILED" and "never began" in asked.job(old)["error"]
    assert asked.job(young)["status"] == "PENDING"
    key = {"PK": {"S": "agent#alice"}, "SK": {"S": young["jobId"]}}
    asked.world.dynamodb.delete_item(TableName=asked.table, Key=key)


def test_a_lease_too_far_in_the_future_counts_as_expired(backend, server):
    asked = backend([{"mcp_url": server().url, "agent_name": "helper"}])
    taken = asked.submit_interrupted(3_600)
    assert asked.process(taken)["status"] != "PROCESSING" and asked.job(taken)["attempt"] == "2"
    swept = asked.submit_interrupted(3_600)
    asked.sweep()
    assert asked.job(swept)["status"] == "FAILED"


def test_the_sweep_measures_the_oldest_pending_job(backend):
    asked = backend()
    event = asked.submit("hi", ["helper"], unfinished={"S": "PENDING"}, createdAt={"S": "2026-01-01T00:00:00.000000Z"})
    swept = asked.sweep()
    assert swept["oldestPendingSeconds"] > 86_400
    assert asked.job(event)["status"] == "PENDING"
    [metric] = [json.loads(line) for line in asked.log_lines() if "OldestPendingAge" in line and "_aws" in line]
    assert metric["OldestPendingAge"] == swept["oldestPendingSeconds"]
    key = {"PK": {"S": "agent#alice"}, "SK": {"S": event["jobId"]}}
    asked.world.dynamodb.delete_item(TableName=asked.table, Key=key)


def test_on_an_existing_table_an_abandoned_job_is_ended_when_it_is_read(backend):
    asked = backend(UNFINISHED_INDEX="")
    gone = asked.submit_interrupted(-400)
    assert asked.sweep() == {"swept": False}
    job = asked.resolve("getAgentJobStatus", {"jobId": gone["jobId"]}, ALICE)
    assert job["status"] == "FAILED" and "was cut off" in job["error"]
