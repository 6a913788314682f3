"""Passwords, keys, client secrets, codes and tokens must not appear in any log, error, answer or record."""

import base64
import gzip
import json
from urllib.parse import quote, quote_plus

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.lab import AuthorizationServer, ProtectedServer, follow
from tests.support import CANARY, Failed, as_user, connect, script


def everything(backend, *answers) -> str:
    """Returns all output of the functions: answers, logs, and items of tables."""
    texts = [json.dumps(answers), *backend.log_lines()]
    for table in (backend.table, backend.world.outputs["CatalogTableName"]):
        for page in backend.world.dynamodb.get_paginator("scan").paginate(TableName=table):
            for item in page["Items"]:
                texts += [text for value in item.values() for text in readable(value)]
    return "\n".join(texts)


def readable(value) -> list[str]:
    """Returns the value of an attribute, decompressed if necessary."""
    if "B" not in value:
        return [repr(value)]
    try:
        return [gzip.decompress(value["B"]).decode()]
    except (OSError, EOFError):
        return []


def test_canaries_show_nowhere(backend, server, world):
    """Successes and failures with detailed logging, and a server that quotes requests in its answers."""
    pool = world.pool(client_secret=True)
    good, refusing = server(require_auth=True), server(status=401)
    quoting = server(
        calls={"echo": {"error": {"code": -32000, "message": f"bad password {CANARY}"}}},
        quote_token=True,
    )
    repeating = server(quote_token=True)
    entries = [
        pool.entry(good.url, agent_name="good"),
        pool.entry(refusing.url, agent_name="refusing"),
        pool.entry(quoting.url, agent_name="quoting"),
        pool.entry(repeating.url, agent_name="repeating"),
        pool.entry(good.url, agent_name="wrong", cognito_password=f"{CANARY}wrong"),
        pool.entry("https://no-such-host.invalid/?key=" + CANARY, agent_name="nowhere"),
        pool.entry("not a url " + CANARY),
        {"mcp_url": f"https://user:{CANARY}@a.example/mcp"},
        {CANARY[:3]: CANARY},
    ]
    tried = backend(entries, LOG_LEVEL="TRACE")
    listed = tried.agents()
    assert {a["agent_name"]: a["status"] for a in listed}["good"] == "available"
    ran = [
        tried.ask(script({"call": "echo"}, {"say": "Done: {result}"}), [name])
        for name in ("good", "quoting", "repeating", "wrong")
    ]
    out = everything(tried, listed, ran)
    assert len(tried.log_lines()) > 10, "there are logs to look into"
    assert "you sent Bearer [credential]" in out, "what a server quotes is looked into too"
    for canary in (CANARY, pool.client_secret):
        assert canary not in out
    assert "eyJ" not in out, "no token either"


def test_a_canary_in_a_broken_secret_shows_nowhere(backend):
    broken = backend('[{"cognito_password": "%s", "x": }]' % CANARY, LOG_LEVEL="TRACE")
    with pytest.raises(Failed) as failed:
        broken.agents()
    event = broken.submit("hi", ["helper"])
    answer = broken.process(event)
    assert CANARY not in everything(broken, str(failed.value), answer, broken.job(event))


# Signing in with OAuth

SECRET = "Canary/secret 1!x"


@pytest.fixture
def oauth(backend, world, server):
    """Entries of every OAuth sign-in, with authorization servers that repeat requests in their refusals.

    The first server takes secrets in the form, the second in a header. Returns the backend, both servers, the MCP
    server of the first, and the secrets that must not appear, in addition to the servers' own.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    posted = {"token_endpoint_auth_methods_supported": ["none", "client_secret_post", "private_key_jwt"]}
    with (
        AuthorizationServer(echoes_secrets=True, metadata=posted) as a,
        AuthorizationServer(echoes_secrets=True) as b,
        ProtectedServer(a) as notes,
        ProtectedServer(b) as others,
    ):
        a.add_client("posting", SECRET, "client_secret_post")
        a.add_client("other", "not the canary", "client_secret_post")
        b.add_client("basic", SECRET)
        b.add_client("another", "not the canary")
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        a.add_client("signing", method="private_key_jwt", public_key=public)
        machine = {"mcp_url": notes.url, "auth_type": "oauth2", "grant_type": "client_credentials"}
        basic = machine | {"mcp_url": others.url, "client_id": "basic", "client_secret": SECRET}
        quoting = {"mcp_url": server(quote_token=True).url}
        entries = {
            "users": {"mcp_url": notes.url, "auth_type": "oauth2"},
            "posting": machine | {"client_id": "posting", "client_secret": SECRET},
            "wrong posting": machine | {"client_id": "other", "client_secret": SECRET},
            "basic": basic,
            "wrong basic": basic | {"client_id": "another"},
            "signing": machine | {"client_id": "signing", "private_key": pem},
            "quoting": basic | quoting | {"token_url": f"{b.issuer}/token"},
            "keyed": quoting | {"auth_type": "api_key", "credentials": f"Token {CANARY}key"},
            "extra": quoting
            | {"auth_type": "api_key", "credentials": CANARY, "extra_headers": {"x-key": f"{CANARY}extra"}},
        }
        table = world.table()
        tables = {"CONNECTIONS_TABLE": table, "CATALOG_TABLE": table}
        named = [entry | {"agent_name": name} for name, entry in entries.items()]
        made = backend(named, **tables, TOOL_CACHE_TTL_SECONDS="0.001", LOG_LEVEL="TRACE")
        yield made, (a, b), notes, {SECRET, CANARY, pem.splitlines()[1]}


def forms(secret: str) -> set[str]:
    """Returns the forms in which a secret may be written."""
    pairs = {f"{id}:{escape(secret)}" for id in ("basic", "another") for escape in (str, quote_plus, escaped)}
    encoded = {base64.b64encode(text.encode()).decode().rstrip("=") for text in {secret, *pairs}}
    return {secret, quote(secret), escaped(secret), quote_plus(secret)} | encoded


def escaped(text: str) -> str:
    return quote(text, safe="")


def sealed(backend) -> str:
    """Returns the items of the connections table, with encrypted bytes as text."""
    items = backend.world.dynamodb.scan(TableName=backend.environment["CONNECTIONS_TABLE"])["Items"]
    values = [value for item in items for value in item.values()]
    return "\n".join(value["B"].decode("latin-1") if "B" in value else repr(value) for value in values)


def test_secrets_of_oauth_sign_ins_show_nowhere(oauth):
    """Users and clients, successes and failures, with detailed logging."""
    backend, (a, b), notes, canaries = oauth
    said = []

    def ask(name, user="ada"):
        event = backend.submit(
            script({"call": "echo"}, {"call": "read_notes"}, {"say": "Done: {results}"}), [name], user=user
        )
        said.append((backend.process(event), backend.job(event)))

    connect(backend, "users")
    listed = {agent["agent_id"]: agent for agent in backend.agents(as_user("ada"))}
    said.append(listed)
    good = {name for name, agent in listed.items() if agent["status"] == "available"}
    assert good == set(listed) - {"wrong_posting", "wrong_basic"}
    assert "invalid_client: wrong secret grant_type=" in listed["wrong_posting"]["status_reason"]
    assert "Basic " in listed["wrong_basic"]["status_reason"], "what a server repeats is looked into"
    for name in listed:
        ask(name)
    notes.refuse_all()
    said.append(backend.agents(as_user("ada")))
    assert a.requests("token", grant_type="refresh_token")
    # A refused code; the refusal repeats the code and its verifier.
    a.code_seconds = -1
    _, started = backend.http("POST", "/oauth/start", {"agent_id": "users"}, "grace")
    said.append(started)
    said.append(backend.http("GET", "/oauth/callback", user=None, query=follow(started["authorization_url"])))
    status, refused = backend.http("POST", "/oauth/complete", {"state": started["state"]}, "grace")
    assert status == 502 and "invalid_grant" in refused["message"]
    said.append(refused)
    said.append(backend.http("GET", "/oauth/connections"))
    a.revoke_all()
    said.append(backend.agents(as_user("ada")))
    ask("users")
    said.append(backend.http("DELETE", "/oauth/users"))
    out = everything(backend, said) + sealed(backend)
    assert len(backend.log_lines()) > 50 and "[credential]" in out
    given = a.secrets | b.secrets
    assert len(given) > 10 and any(secret.startswith("refresh-") for secret in given)
    shown = {secret: [form for form in forms(secret) if form in out] for secret in canaries | given}
    assert not any(shown.values()), {secret: found for secret, found in shown.items() if found}
    assertions = [
        request.form["client_assertion"] for request in a.requests("token") if "client_assertion" in request.form
    ]
    assert assertions and not any(assertion.split(".")[2] in out for assertion in assertions)


def test_stored_sign_ins_are_sealed(oauth):
    backend, (a, _), *_ = oauth
    connect(backend, "users")
    kept = backend.world.dynamodb.scan(TableName=backend.environment["CONNECTIONS_TABLE"])["Items"]
    grants = [item for item in kept if item["PK"]["S"].startswith("grant#")]
    [grant] = grants
    assert (grant["owner"]["S"], grant["issuer"]["S"]) == ("user:ada", a.issuer)
    assert len(grant["sealed"]["B"]) > 200 and len(grant["dataKey"]["B"]) > 20
    assert not any(secret in sealed(backend) for secret in a.secrets)


def test_a_sealed_item_is_good_for_its_owner_and_place_alone(oauth):
    """A person who can write to the table cannot give one user another user's sign-in."""
    backend, *_ = oauth
    dynamodb, table = backend.world.dynamodb, backend.environment["CONNECTIONS_TABLE"]

    def told(user):
        """Returns a tool's result in this user's job, from a new environment."""
        backend.go_cold()
        event = backend.submit(script({"call": "read_notes"}, {"say": "{result}"}), ["users"], user=user)
        backend.process(event)
        return backend.job(event).get("result", "")

    for user in ("ada", "mallory"):
        connect(backend, "users", user)
        assert f'\\"user\\": \\"{user}\\"' in told(user)
    items = {
        item["owner"]["S"]: item
        for item in dynamodb.scan(TableName=table)["Items"]
        if item["PK"]["S"].startswith("grant#")
    }
    adas, mallorys = items["user:ada"], items["user:mallory"]
    for changed in (adas | {"PK": mallorys["PK"]}, adas | {"PK": mallorys["PK"], "owner": mallorys["owner"]}):
        dynamodb.put_item(TableName=table, Item=changed)
        assert told("mallory") == ""
    dynamodb.put_item(TableName=table, Item=mallorys)
    assert "mallory" in told("mallory")
