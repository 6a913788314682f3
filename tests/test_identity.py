"""Who is calling: the functions verify the credential of an HTTP request themselves."""

import base64
import json
import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.lab.jwt import base64url_encode, unverified_claims
from tests.support import Api, Failed, sign_up

ROUTES = [
    ("GET", "/agents"),
    ("GET", "/jobs"),
    ("POST", "/jobs"),
    ("GET", "/jobs/none"),
    ("DELETE", "/jobs/none"),
    ("GET", "/jobs/none/messages"),
    ("POST", "/oauth/start"),
    ("POST", "/oauth/complete"),
    ("POST", "/oauth/regenerate"),
    ("GET", "/oauth/connections"),
    ("DELETE", "/oauth"),
    ("DELETE", "/oauth/some/agent"),
]


@pytest.fixture(scope="module")
def ada(world):
    return sign_up(world, "ada", "Author")


def signed(claims: dict, **header) -> str:
    """A token with these claims, signed with a key of this test's own."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    head = {"alg": "RS256", "kid": "made-up"} | header
    text = ".".join(base64url_encode(json.dumps(part).encode()) for part in (head, claims))
    return f"{text}.{base64url_encode(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def header_of(token: str) -> dict:
    head = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_request_without_a_caller_is_401_in_our_body(method, path, world):
    status, body = Api(world, None).send(method, path, {} if method == "POST" else None)
    assert (status, body["error"]) == (401, "unauthenticated")
    assert body["message"] == "the request carries no credential" and "Bearer" in body["remedy"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token", "TOKEN"])
def test_either_scheme_is_taken_in_any_case(scheme, world, ada):
    status, _ = Api(world, None).send("GET", "/jobs", authorization=f"{scheme} {ada.token}")
    assert status == 200


def test_an_id_token_is_taken_as_well(world, ada):
    assert Api(world, ada.id_token).send("GET", "/jobs")[0] == 200
    assert Api(world, ada.id_token).send("GET", "/oauth/connections")[0] == 200


def test_what_does_not_verify_is_refused_with_the_reason_and_is_not_quoted(world, ada):
    claims = unverified_claims(ada.token)
    head, payload, signature = ada.token.split(".")
    kid = header_of(ada.token)["kid"]
    for credential, reason in (
        ("Bearer", "neither `Bearer TOKEN` nor `Token TOKEN`"),
        (f"Basic {ada.token}", "neither `Bearer TOKEN`"),
        ("Bearer canary", "not a JSON Web Token"),
        (f"Bearer {head}.{payload}.{signature[::-1]}", "its signature is wrong"),
        (f"Bearer {signed(claims, kid=kid)}", "its signature is wrong"),
        (f"Bearer {signed(claims)}", "its signing key is not one of the user pool"),
        (f"Bearer {signed(claims, alg='HS256')}", "not signed with RS256"),
        (f"Bearer {signed(claims | {'exp': int(time.time()) - 1}, kid=kid)}", "it has expired"),
        (f"Bearer {signed(claims | {'iss': 'https://evil.example'}, kid=kid)}", "not of this stack's user pool"),
        (f"Bearer {signed(claims | {'client_id': 'other'}, kid=kid)}", "not for an app client of this stack"),
        (f"Bearer {signed(claims | {'token_use': 'refresh'}, kid=kid)}", "neither an access token nor an ID token"),
    ):
        status, body = Api(world, None).send("GET", "/jobs", authorization=credential)
        assert (status, body["error"]) == (401, "unauthenticated"), credential
        assert reason in body["message"], body
        assert "canary" not in json.dumps(body) and payload not in json.dumps(body)


def test_nothing_in_aws_is_asked_for_a_request_that_has_no_caller(backend, ada):
    asked = backend([])
    # The first request of an environment may read the signing keys, which lie at the pool.
    assert asked.http("GET", "/jobs", user=None, api="AgentJobs", authorization=f"Bearer {ada.token}")[0] == 200
    before = asked.all_calls()
    for credential in (None, "Bearer x", f"Bearer {signed(unverified_claims(ada.token))}"):
        headers = {"authorization": credential} if credential else {}
        assert asked.http("GET", "/jobs", user=None, api="AgentJobs", **headers)[0] == 401
    assert asked.all_calls() == before


def test_a_function_without_a_pool_takes_claims_of_an_event_and_no_tokens(backend, ada):
    asked = backend([], USER_POOL_ID="", USER_POOL_CLIENT_IDS="")
    status, body = asked.http("GET", "/jobs", user=None, api="AgentJobs", authorization=f"Bearer {ada.token}")
    assert status == 401 and "accepts no tokens of a user pool" in body["message"]
    assert asked.http("GET", "/jobs", api="AgentJobs")[0] == 200


def test_a_user_in_no_group_is_403(world):
    stranger = sign_up(world, "stranger", None)
    assert [stranger.send("GET", path)[0] for path in ("/jobs", "/agents", "/oauth/connections")] == [403] * 3


def of_groups(asked, groups: str, path="/jobs", api="AgentJobs", query=None, method="GET", body=None):
    return asked.http(method, path, body, group=groups, api=api, query=query)


def test_a_request_is_about_the_callers_only_tenant_or_the_one_it_names(backend):
    asked = backend([])
    several = "Viewer org/acme org/globex/admin"
    for api, path in (("AgentJobs", "/jobs"), ("AgentJobs", "/agents"), ("ConnectionsApi", "/oauth/connections")):
        for groups, query, status in (
            ("Viewer", None, 200),
            ("Viewer", {"org": "main"}, 200),
            ("Viewer", {"org": "acme"}, 404),
            ("Viewer org/acme", None, 200),
            ("Viewer org/acme", {"org": "main"}, 404),
            (several, {"org": "globex"}, 200),
            (several, None, 400),
            (f"{several} org/main", None, 200),
            ("org/acme", None, 403),
        ):
            assert of_groups(asked, groups, path, api, query)[0] == status, (path, groups, query)
    status, body = of_groups(asked, several)
    assert (
        (status, body["error"]) == (400, "org_needed") and "acme, globex" in body["message"] and body["errors"]["org"]
    )
    unknown = [of_groups(asked, "Viewer", query={"org": org}) for org in ("acme", "No Name!", "nowhere")]
    assert unknown[0] == unknown[1] == unknown[2], "nothing says which tenants there are"


def test_a_job_is_of_the_tenant_that_the_request_is_about(backend, world):
    asked = backend([{"mcp_url": "https://127.0.0.1:9/mcp", "agent_name": "helper"}])
    asked.environment["AGENT_PROCESSOR_FUNCTION"] = asked.function("AgentProcessorFunctionArn")
    wanted = {"query": "hi", "agentIds": ["helper"]}

    def org_of(job: dict) -> str:
        key = {"PK": {"S": "agent#ada"}, "SK": {"S": job["jobId"]}}
        return world.dynamodb.get_item(TableName=asked.table, Key=key)["Item"]["org"]["S"]

    for groups, query, org in (
        ("Author", None, "main"),
        ("Author org/acme", None, "acme"),
        ("Author org/acme org/globex", {"org": "globex"}, "globex"),
    ):
        status, job = of_groups(asked, groups, query=query, method="POST", body=wanted)
        assert status == 202 and org_of(job) == org

    identity = {"username": "ada", "claims": {"cognito:groups": ["Author", "org/acme", "org/globex"]}}
    with pytest.raises(Failed) as needed:
        asked.resolve("submitAgentQuery", wanted, identity)
    assert needed.value.type == "ValueError" and "acme, globex" in str(needed.value)
    job = asked.resolve("submitAgentQuery", wanted | {"org": "globex"}, identity)
    assert org_of(job) == "globex"
    with pytest.raises(Failed) as unknown:
        asked.resolve("submitAgentQuery", wanted | {"org": "main"}, identity)
    assert unknown.value.type == "NotFound"
