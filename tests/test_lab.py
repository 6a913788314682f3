"""Tests of the test servers in tests/lab. No product code runs here."""

import base64
import hashlib
import json
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from local.aws import LocalAws
from tests.conformance import run as conformance
from tests.lab import (
    AgentCoreServer,
    Answer,
    AuthorizationServer,
    CognitoOAuth,
    OidcProvider,
    ProtectedServer,
    Recorder,
    SseServer,
    follow,
)
from tests.lab.authorization_server import JWT_BEARER
from tests.lab.jwt import base64url_encode
from tests.peers import TOOLS

CALLBACK = "https://agents.example.com/callback"
RESOURCE = "http://127.0.0.1:9/mcp"


def send(method: str, url: str, body: bytes | None = None, **headers: str):
    """Sends a request. Returns the status, the JSON (or else the text), and the headers of the response."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, body, names, method=method), timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read().decode()
        is_json = text and "json" in answer.headers["content-type"]
        return answer.status, json.loads(text) if is_json else text, answer.headers


def get(url: str, **headers: str):
    return send("GET", url, **headers)


def post(url: str, form: dict, basic: tuple[str, str] | None = None):
    headers = {"content_type": "application/x-www-form-urlencoded"}
    if basic:
        headers["authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
    status, answer, _ = send("POST", url, urlencode(form).encode(), **headers)
    return status, answer


class SignIn:
    """A correct client: it runs the authorization code flow at a server that it has discovered."""

    def __init__(self, metadata: dict, client_id: str, secret: str | None = None):
        self.metadata, self.client_id, self.secret = metadata, client_id, secret
        self.verifier = secrets.token_urlsafe(48)
        self.state = secrets.token_urlsafe(8)

    def url(self, **params: str) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        params = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": CALLBACK,
            "state": self.state,
            "code_challenge": base64url_encode(digest),
            "code_challenge_method": "S256",
        } | params
        return f"{self.metadata['authorization_endpoint']}?{urlencode(params)}"

    def ask(self, **form: str):
        if self.secret:
            return post(self.metadata["token_endpoint"], form, (self.client_id, self.secret))
        return post(self.metadata["token_endpoint"], form | {"client_id": self.client_id})

    def exchange(self, code: str, **form: str):
        right = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        return self.ask(**right | {"code_verifier": self.verifier} | form)

    def refresh(self, token: str, **form: str):
        return self.ask(grant_type="refresh_token", refresh_token=token, **form)

    def tokens(self, **params: str) -> dict:
        """Signs in, for `resource` if it is given, and returns the token response."""
        params = {"resource": RESOURCE} | params
        status, answer = self.exchange(follow(self.url(**params))["code"], resource=params["resource"])
        assert status == 200, answer
        return answer


def discover(server) -> dict:
    path = server.issuer.removeprefix(server.origin if isinstance(server, OidcProvider) else server.base)
    status, metadata, _ = get(f"{server.issuer.removesuffix(path)}/.well-known/oauth-authorization-server{path}")
    assert status == 200
    return metadata


def register(metadata: dict, **fields) -> dict:
    asked = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"} | fields
    asked.setdefault("grant_types", ["authorization_code", "refresh_token"])
    body = json.dumps(asked).encode()
    status, client, _ = send("POST", metadata["registration_endpoint"], body, content_type="application/json")
    assert status == 201, client
    return client


def signed_up(server) -> SignIn:
    metadata = discover(server)
    return SignIn(metadata, register(metadata)["client_id"])


# oidc-provider


def test_the_certified_server_is_found_by_the_rules(stands):
    server = stands(OidcProvider)
    metadata = discover(server)
    assert metadata["issuer"] == server.issuer == f"{server.origin}/tenants/one"
    assert metadata["authorization_response_iss_parameter_supported"]
    assert {"mcp:read", "mcp:write", "offline_access"} <= set(metadata["scopes_supported"])
    assert get(f"{server.issuer}/.well-known/openid-configuration")[1] == metadata
    assert get(f"{server.origin}/.well-known/openid-configuration")[0] == 404


@pytest.mark.parametrize("form", ["opaque", "jwt"])
def test_the_certified_server_signs_users_in_for_a_resource(stands, form):
    server = stands(OidcProvider, access_token_format=form)
    client = signed_up(server)
    back = follow(client.url(scope="mcp:read mcp:write", login_hint="grace", resource=RESOURCE))
    assert (back["state"], back["iss"]) == (client.state, server.issuer)
    status, tokens = client.exchange(back["code"], resource=RESOURCE)
    assert (status, tokens["scope"], tokens["expires_in"]) == (200, "mcp:read mcp:write", 3600)
    assert tokens["access_token"].count(".") == (2 if form == "jwt" else 0)
    found = server.introspect(tokens["access_token"])
    assert found == {
        "active": True,
        "sub": "grace",
        "client_id": client.client_id,
        "scope": "mcp:read mcp:write",
        "aud": RESOURCE,
    }
    assert server.revoke_all() == 1
    assert server.introspect(tokens["access_token"]) == {"active": False}
    assert client.refresh(tokens["refresh_token"])[1]["error"] == "invalid_grant"
    seen = server.seen
    assert (seen["registration"], seen["token"]) == (1, 2)
    assert seen["token_by_grant"] == {"authorization_code": 1, "refresh_token": 1}
    assert [request["status"] for request in seen["token_requests"]] == [200, 400]


def test_the_certified_server_revokes_the_grant_of_a_reused_refresh_token(stands):
    server = stands(OidcProvider)
    client = signed_up(server)
    first = client.tokens()
    status, second = client.refresh(first["refresh_token"])
    assert status == 200 and second["refresh_token"] != first["refresh_token"]
    other = client.tokens()
    assert client.refresh(first["refresh_token"])[1]["error"] == "invalid_grant"
    assert client.refresh(second["refresh_token"])[1]["error"] == "invalid_grant"
    assert not server.introspect(second["access_token"])["active"]
    assert server.introspect(other["access_token"])["active"], "another sign-in is another grant"


def test_the_certified_server_refuses_what_it_should(stands):
    server = stands(OidcProvider, access_token_seconds=1)
    client = signed_up(server)
    refused = follow(client.url(login_hint="nobody"))
    assert (refused["error"], refused["iss"]) == ("access_denied", server.issuer)
    assert follow(client.url(code_challenge="", code_challenge_method=""))["error"] == "invalid_request"
    assert follow(client.url(resource="https://elsewhere.example.com"))["error"] == "invalid_target"
    code = follow(client.url())["code"]
    assert client.exchange(code, code_verifier="x" * 43)[1]["error"] == "invalid_grant"
    tokens = client.tokens()
    assert tokens["scope"] == "mcp:read", "who asks for no scope gets the default one"
    assert server.introspect(tokens["access_token"])["active"]
    time.sleep(1.5)
    assert not server.introspect(tokens["access_token"])["active"]


def test_the_certified_server_gives_refresh_tokens_by_its_own_rule_if_asked_to(stands):
    client = signed_up(stands(OidcProvider, refresh_tokens="offline_access"))
    assert "refresh_token" not in client.tokens(scope="mcp:read offline_access")
    assert "refresh_token" in client.tokens(scope="mcp:read offline_access", prompt="consent")


def test_the_certified_server_knows_clients_beforehand_and_by_their_documents(stands):
    machine = {
        "client_id": "machine",
        "client_secret": "machine-secret",
        "grant_types": ["client_credentials"],
        "redirect_uris": [],
        "response_types": [],
    }
    id = f"{CALLBACK}/client.json"
    documents = stands(AuthorizationServer)
    documents.metadata_answer = Answer(
        200,
        {
            "client_id": id,
            "client_name": "ours",
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        },
    )
    where = f"{documents.base}{documents.locations[0]}"
    server = stands(OidcProvider, clients=[machine], client_documents={id: where})
    metadata = discover(server)
    assert metadata["client_id_metadata_document_supported"]
    form = {"grant_type": "client_credentials", "scope": "mcp:read", "resource": RESOURCE}
    status, answer = post(metadata["token_endpoint"], form, ("machine", "machine-secret"))
    assert status == 200, answer
    assert server.introspect(answer["access_token"])["sub"] == "machine"
    assert server.introspect(SignIn(metadata, id).tokens()["access_token"])["client_id"] == id
    assert len(documents.requests("metadata")) == 1


# Our own authorization server


def test_our_server_is_right_as_it_starts(stands):
    server = stands(AuthorizationServer, path="/tenant")
    client = signed_up(server)
    back = follow(client.url(scope="mcp:read mcp:write", login_hint="grace", resource=RESOURCE))
    assert (back["state"], back["iss"]) == (client.state, server.issuer)
    status, tokens = client.exchange(back["code"], resource=RESOURCE)
    assert status == 200
    found = server.introspect(tokens["access_token"])
    assert (found["sub"], found["aud"], found["scope"]) == ("grace", RESOURCE, "mcp:read mcp:write")
    assert server.introspect("garbage") == {"active": False}
    assert client.exchange(back["code"])[1]["error"] == "invalid_grant"
    assert not server.introspect(tokens["access_token"])["active"], "a reused code revokes what it gave"
    assert [request.endpoint for request in server.seen] == ["metadata", "register", "authorize", "token", "token"]
    assert len(server.requests("token", resource=RESOURCE)) == 1
    assert {tokens["access_token"], tokens["refresh_token"], back["code"], client.verifier} <= server.secrets


def test_our_server_introspects_for_its_clients_alone(stands):
    server = stands(AuthorizationServer)
    server.add_client("proxy", "proxy-secret")
    token = signed_up(server).tokens(resource=RESOURCE)["access_token"]
    where = f"{server.issuer}/introspect"
    status, found = post(where, {"token": token}, ("proxy", "proxy-secret"))
    assert (status, found) == (200, server.introspect(token)) and found["active"]
    assert post(where, {"token": "garbage"}, ("proxy", "proxy-secret")) == (200, {"active": False})
    assert post(where, {"token": token}, ("proxy", "wrong"))[0] == 401


def test_our_server_checks_the_code(stands):
    server = stands(AuthorizationServer)
    client = signed_up(server)

    def refused(**form):
        status, answer = client.exchange(follow(client.url(resource=RESOURCE))["code"], **form)
        return answer.get("error")

    assert refused(code_verifier="x" * 43) == "invalid_grant"
    assert refused(code_verifier="") == "invalid_grant"
    assert refused(redirect_uri=f"{CALLBACK}/other") == "invalid_grant"
    assert refused(resource="http://127.0.0.1:9/other") == "invalid_target"
    assert follow(client.url(code_challenge_method="plain"))["error"] == "invalid_request"
    assert get(client.url(redirect_uri="https://evil.example.com"))[0] == 400
    server.code_seconds = -1
    assert refused() == "invalid_grant"


def test_our_server_rotates_and_revokes(stands):
    server = stands(AuthorizationServer)
    client = signed_up(server)
    first = client.tokens()
    second = client.refresh(first["refresh_token"])[1]
    assert client.refresh(first["refresh_token"])[1]["error"] == "invalid_grant"
    assert client.refresh(second["refresh_token"])[1]["error"] == "invalid_grant"
    assert server.reuses == 1 and not server.introspect(second["access_token"])["active"]

    server.rotates = False
    kept = client.tokens()
    again = client.refresh(kept["refresh_token"])[1]
    assert "refresh_token" not in again and server.introspect(again["access_token"])["active"]
    server.expire_access_tokens()
    assert not server.introspect(again["access_token"])["active"]
    assert client.refresh(kept["refresh_token"])[0] == 200
    server.revoke_all()
    assert client.refresh(kept["refresh_token"])[1]["error"] == "invalid_grant"


def test_our_server_can_be_wrong_in_its_metadata(stands):
    server = stands(AuthorizationServer, path="/tenant")
    changes = {"code_challenge_methods_supported": None, "issuer": "https://evil.example.com"}
    server.metadata = changes | {"token_endpoint": "http://169.254.169.254/token"}
    metadata = discover(server)
    assert "code_challenge_methods_supported" not in metadata
    assert (metadata["issuer"], metadata["token_endpoint"]) == (changes["issuer"], "http://169.254.169.254/token")

    server.metadata, server.locations = {}, ["/.well-known/openid-configuration"]
    paths = ["/.well-known/oauth-authorization-server/tenant", "/tenant/.well-known/openid-configuration"]
    assert [get(server.base + path)[0] for path in [*paths, *server.locations]] == [404, 404, 200]
    server.metadata_answer = Answer(200, "<html>hello</html>")
    status, page, headers = get(server.base + server.locations[0])
    assert (status, page, headers.get_content_type()) == (200, "<html>hello</html>", "text/html")
    server.fail("metadata", times=2, status=502)
    assert [get(server.base + server.locations[0])[0] for _ in range(3)] == [502, 502, 200]


def test_our_server_can_be_wrong_in_its_redirect(stands):
    server = stands(AuthorizationServer)
    client = signed_up(server)
    server.redirect_with = {"iss": "https://evil.example.com", "state": "another"}
    back = follow(client.url())
    assert (back["iss"], back["state"]) == ("https://evil.example.com", "another") and back["code"]
    server.redirect_with = {"iss": None}
    assert set(follow(client.url())) == {"code", "state"}
    server.redirect_with = {"error": "access_denied", "error_description": "<b>no</b>"}
    assert follow(client.url()) == server.redirect_with | {"state": client.state, "iss": server.issuer}


def test_our_server_can_be_wrong_at_its_token_endpoint(stands):
    server = stands(AuthorizationServer)
    client = signed_up(server)
    tokens = client.tokens()

    server.lost = {"token": 1}
    with pytest.raises(OSError):
        client.refresh(tokens["refresh_token"])
    assert client.refresh(tokens["refresh_token"])[1]["error"] == "invalid_grant", "the lost answer rotated it"

    server.fail("token", headers={"retry-after": "1"})
    tokens = client.exchange(follow(client.url())["code"])
    assert tokens[0] == 503
    server.token_with = {"expires_in": None, "token_type": "mac"}
    tokens = client.tokens()
    assert "expires_in" not in tokens and tokens["token_type"] == "mac"
    server.token_error = {"error": "invalid_grant", "error_description": "<b>no</b>", "status": 401}
    assert client.refresh("x") == (401, {"error": "invalid_grant", "error_description": "<b>no</b>"})
    server.token_error, server.echoes_secrets = None, True
    assert "refresh-of-mine" in client.refresh("refresh-of-mine")[1]["error_description"]

    server.delays = {"token": 0.3}
    before = time.monotonic()
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(client.refresh, ["a", "b", "c"]))
    assert 0.3 <= time.monotonic() - before < 0.9, "they are answered beside each other"


def test_our_server_authenticates_clients(stands):
    server = stands(AuthorizationServer)
    metadata = discover(server)
    server.add_client("basic", "s/e c:ret")
    server.add_client("posting", "secret", "client_secret_post")
    form = {"grant_type": "client_credentials", "scope": "mcp:write"}
    assert post(metadata["token_endpoint"], form, ("basic", "s%2Fe+c%3Aret".replace("+", "%20")))[0] == 200
    posted = form | {"client_id": "posting", "client_secret": "secret"}
    assert post(metadata["token_endpoint"], posted)[0] == 200
    assert post(metadata["token_endpoint"], posted | {"client_secret": "wrong"})[0] == 401
    assert post(metadata["token_endpoint"], form, ("posting", "secret"))[1]["error"] == "invalid_client"
    public = register(metadata)["client_id"]
    assert post(metadata["token_endpoint"], form | {"client_id": public})[1]["error"] == "unauthorized_client"

    server.registration_with = {"token_endpoint_auth_method": "client_secret_post", "client_secret": "given"}
    client = register(metadata)
    assert (client["client_secret"], server.clients[client["client_id"]].method) == ("given", "client_secret_post")
    server.registration_error = {"error": "invalid_client_metadata", "status": 400}
    body = json.dumps({"redirect_uris": [CALLBACK]}).encode()
    assert send("POST", metadata["registration_endpoint"], body)[0] == 400


def test_our_server_checks_a_signed_assertion(stands):
    server = stands(AuthorizationServer)
    key = ec.generate_private_key(ec.SECP256R1())
    server.add_client("signing", method="private_key_jwt", public_key=public_pem(key))

    def ask(signing_key=key, **claims):
        claims = {
            "iss": "signing",
            "sub": "signing",
            "aud": server.issuer,
            "exp": int(time.time()) + 60,
            "jti": secrets.token_hex(8),
        } | claims
        assertion = signed(signing_key, claims)
        form = {"client_assertion_type": JWT_BEARER, "client_assertion": assertion}
        status, answer = post(f"{server.issuer}/token", form | {"grant_type": "client_credentials"})
        return answer["error_description"] if status != 200 else "given"

    assert ask() == "given"
    assert ask(jti="once") == "given" and ask(jti="once") == "the assertion's jti"
    assert ask(aud=f"{server.issuer}/token") == "the assertion's aud"
    assert ask(exp=int(time.time()) - 1) == "the assertion's exp"
    assert ask(iss="another") == "the assertion's iss"
    assert ask(ec.generate_private_key(ec.SECP256R1())) == "the assertion's signature"


def public_pem(key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(key, claims: dict) -> str:
    parts = [base64url_encode(json.dumps(part).encode()) for part in ({"alg": "ES256"}, claims)]
    r, s = decode_dss_signature(key.sign(".".join(parts).encode(), ec.ECDSA(hashes.SHA256())))
    return ".".join([*parts, base64url_encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))])


def test_a_stopped_server_answers_no_request(stands):
    server = AuthorizationServer()
    assert discover(server)
    server.stop()
    with pytest.raises(OSError):
        discover(server)
    with pytest.raises(TypeError, match="has no setting rotate"):
        AuthorizationServer(rotate=False)


# Protected servers


def call(server, token: str | None, method: str, **params):
    headers = {"content_type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    return send("POST", server.url, body, **headers)


def access_token(server: AuthorizationServer, resource: str, **params) -> str:
    return signed_up(server).tokens(resource=resource, **params)["access_token"]


def test_a_protected_server_says_where_to_sign_in(stands):
    authorization = stands(AuthorizationServer)
    server = stands(ProtectedServer, authorization)
    status, _, headers = call(server, None, "initialize")
    where = f"{server.base}/.well-known/oauth-protected-resource/mcp"
    assert (status, headers["www-authenticate"]) == (401, f'Bearer resource_metadata="{where}"')
    metadata = {"resource": server.url, "authorization_servers": [authorization.issuer]}
    assert get(where)[1] == metadata
    assert get(server.base + server.root)[0] == 404

    server.challenge = {"resource_metadata": None, "scope": "mcp:read"}
    assert call(server, None, "initialize")[2]["www-authenticate"] == 'Bearer scope="mcp:read"'
    server.challenge_header = "x-amzn-remapped-www-authenticate"
    assert "www-authenticate" not in call(server, None, "initialize")[2]
    server.challenge_text = ""
    assert server.challenge_header not in call(server, None, "initialize")[2]
    server.locations, server.metadata = [server.root], {"resource": server.base, "scopes_supported": ["mcp:read"]}
    changed = metadata | {"resource": server.base, "scopes_supported": ["mcp:read"]}
    assert (get(where)[0], get(server.base + server.root)[1]) == (404, changed)
    assert server.unauthenticated == 4 == len(server.requests("initialize"))


def test_a_protected_server_takes_only_its_own_tokens(stands):
    authorization = stands(AuthorizationServer)
    server = stands(ProtectedServer, authorization)
    token = access_token(authorization, server.url)
    begun = call(server, token, "initialize", protocolVersion="2025-06-18")[1]["result"]
    assert begun["protocolVersion"] == "2025-06-18"
    assert [tool["name"] for tool in call(server, token, "tools/list")[1]["result"]["tools"]] == server.tools
    said = call(server, token, "tools/call", name="read_notes", arguments={"n": 1})[1]["result"]["content"][0]["text"]
    assert json.loads(said) == {"tool": "read_notes", "arguments": {"n": 1}, "user": "ada"}
    assert call(server, access_token(authorization, RESOURCE), "tools/list")[0] == 401
    assert call(server, "garbage", "tools/list")[0] == 401
    assert server.unauthenticated == 0
    server.refuse_all()
    assert call(server, token, "tools/list")[0] == 401


def test_a_protected_server_asks_for_more_scope(stands):
    authorization = stands(AuthorizationServer)
    server = stands(ProtectedServer, authorization, needs={"write_notes": "mcp:write"})
    token = access_token(authorization, server.url, scope="mcp:read")
    assert call(server, token, "tools/call", name="read_notes")[0] == 200
    status, _, headers = call(server, token, "tools/call", name="write_notes")
    assert status == 403
    assert headers["www-authenticate"].startswith('Bearer error="insufficient_scope", scope="mcp:write"')
    token = access_token(authorization, server.url, scope="mcp:read mcp:write")
    assert call(server, token, "tools/call", name="write_notes")[0] == 200
    server.never_enough = True
    assert call(server, token, "tools/call", name="write_notes")[0] == 403


def test_a_runtime_has_its_own_ways(stands):
    authorization = stands(AuthorizationServer)
    server = stands(AgentCoreServer, authorization)
    assert "/runtimes/arn%3Aaws%3Abedrock-agentcore%3A" in server.url and server.url.endswith("?qualifier=DEFAULT")
    status, _, headers = call(server, None, "initialize")
    where = server.url.replace("?", "/.well-known/oauth-protected-resource?")
    assert (status, headers["www-authenticate"]) == (401, f'Bearer resource_metadata="{where}"')
    assert get(where)[1]["resource"] == server.url
    path = server.target.split("?")[0]
    assert get(f"{server.base}/.well-known/oauth-protected-resource{path}")[0] == 404
    assert get(server.base + server.root)[0] == 404
    assert call(server, "garbage", "initialize")[0] == 403
    status, body, _ = call(server, access_token(authorization, RESOURCE), "initialize")
    assert (status, body["message"]) == (401, "Claim 'aud' value mismatch with configuration")
    token = access_token(authorization, server.url)
    status, _, headers = call(server, token, "initialize")
    assert status == 200 and headers["mcp-session-id"]
    assert server.seen[-1].path == server.target
    authorization.expire_access_tokens()
    assert call(server, token, "initialize")[0] == 401


def test_a_protected_server_stands_behind_the_certified_server(stands):
    authorization = stands(OidcProvider)
    server = stands(ProtectedServer, authorization)
    token = access_token(authorization, server.url)
    assert call(server, token, "tools/list")[0] == 200
    authorization.revoke_all()
    assert call(server, token, "tools/list")[0] == 401


# The Python SDK's server

CLIENT = """
import asyncio, sys
from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client

async def main(url, bearer):
    client = sse_client if url.endswith("/sse") else streamablehttp_client
    async with client(url, headers={"authorization": f"Bearer {bearer}"}) as streams:
        async with ClientSession(*streams[:2]) as session:
            await session.initialize()
            print(*[tool.name for tool in (await session.list_tools()).tools])
            print((await session.call_tool("add", {"a": 2, "b": 3})).content[0].text)
            print((await session.call_tool("slow", {"seconds": 0.01})).content[0].text)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("transport", ["sse", "streamable-http"])
def test_the_sdk_server_answers_its_own_client(stands, transport):
    server = stands(SseServer, transport, bearer="open-sesame")
    status, _, headers = get(server.url)
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    command = [TOOLS / "mcp-1.30" / "bin" / "python", "-c", CLIENT, server.url, "open-sesame"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    assert said.split("\n")[:3] == ["add slow", "5", "slept for 0.01 s"]
    method, path = ("POST", "/messages") if transport == "sse" else ("POST", "/mcp")
    assert server.seen["requests"][f"{method} {path}"] >= 4


def test_the_recorder_hands_on_what_is_said_and_keeps_it(stands):
    """The SDK's own client works through the recorder, with a stream that does not end."""
    server, recorder = stands(SseServer, "streamable-http", bearer="open-sesame"), stands(Recorder)
    recorder.upstream = server.base
    done = []
    recorder.before["tools/list"] = lambda: done.append(len(recorder.requests("tools/list")))
    command = [TOOLS / "mcp-1.30" / "bin" / "python", "-c", CLIENT, f"{recorder.base}/mcp", "open-sesame"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    assert said.split("\n")[:3] == ["add slow", "5", "slept for 0.01 s"]
    calls = recorder.requests("tools/call")
    assert [(call.status, call.bearer, call.json["params"]["name"]) for call in calls] == [
        (200, "open-sesame", "add"),
        (200, "open-sesame", "slow"),
    ]
    assert b"slept for 0.01 s" in calls[1].answered
    assert done == [0], "once, before the first was handed on"


# Cognito


@pytest.fixture(scope="module")
def aws():
    aws = LocalAws()
    yield aws
    aws.stop()


def test_cognito_signs_in_at_its_login_page(stands, aws):
    cognito = stands(CognitoOAuth, aws, redirect_uris=[CALLBACK], access_token_seconds=600)
    status, metadata, _ = get(f"{cognito.issuer}/.well-known/openid-configuration")
    assert (status, metadata["issuer"]) == (200, cognito.issuer)
    assert {"code_challenge_methods_supported", "registration_endpoint"}.isdisjoint(metadata)
    client = SignIn(metadata, cognito.client_id, cognito.client_secret)
    back = cognito.follow(client.url(scope="openid mcp/read"))
    assert set(back) == {"code", "state"} and back["state"] == client.state
    status, tokens = client.exchange(back["code"])
    assert (status, tokens["expires_in"]) == (200, 600)
    found = cognito.introspect(tokens["access_token"])
    assert (found["sub"], found["scope"], found["aud"]) == ("ada", "openid mcp/read", None)
    status, again = client.refresh(tokens["refresh_token"])
    assert status == 200 and "refresh_token" not in again
    assert cognito.introspect(again["access_token"])["active"]
    assert not cognito.introspect(again["access_token"][:-8] + "AAAAAAAA")["active"]
    cognito.revoke(tokens["refresh_token"])
    assert client.refresh(tokens["refresh_token"])[1]["error"] == "invalid_grant"
    refused = follow(client.url(scope="mcp/read offline_access"))
    assert (refused["error"], refused["error_description"]) == ("invalid_request", "invalid_scope")


def test_cognito_gives_a_machine_a_token(stands, aws):
    cognito = stands(CognitoOAuth, aws)
    secret = (cognito.machine_client_id, cognito.machine_client_secret)
    endpoint = f"{aws.endpoint}/oauth2/token"
    status, answer = post(endpoint, {"grant_type": "client_credentials", "scope": "mcp/read"}, secret)
    assert status == 200 and "refresh_token" not in answer
    found = cognito.introspect(answer["access_token"])
    assert (found["sub"], found["scope"]) == (cognito.machine_client_id, "mcp/read")
    assert post(endpoint, {"grant_type": "client_credentials"}, (secret[0], "wrong"))[1]["error"] == "invalid_client"


# The conformance suite's runner


@pytest.mark.parametrize(
    "entry, why",
    [
        ("auth/scope-step-up # no", "which must pass"),
        ("auth/nothing # no", "which the suite 0.1.16 does not have"),
        ("auth/dpop", "gives no reason"),
    ],
)
def test_a_baseline_excuses_only_what_may_fail(tmp_path, entry, why):
    baseline = tmp_path / "baseline.yml"
    baseline.write_text(f"client:\n  - {entry}\n")
    suite = conformance.Suite("0.1", "0.1.16", baseline, ())
    with pytest.raises(conformance.Unusable, match=why):
        conformance.expected_failures(suite, ["auth/scope-step-up", "auth/dpop"])


@pytest.mark.parametrize("suite", conformance.SUITES, ids=lambda suite: suite.version)
def test_the_suites_have_what_the_runner_and_the_baselines_name(suite):
    scenarios = suite.scenarios()
    assert len(scenarios) == {"0.1": 26, "0.2": 39}[suite.version]
    conformance.expected_failures(suite, scenarios)
    # This revision has neither a handshake nor a resumable stream.
    assert conformance.MUST_PASS - set(scenarios) == (set() if suite.version == "0.1" else {"initialize", "sse-retry"})


@pytest.mark.parametrize(
    "checks, output, code, failures, warnings",
    [
        ([("SUCCESS", "a")], "", 0, [], []),
        ([("INFO", "a"), ("SKIPPED", "b")], "", 0, ["nothing was checked"], []),
        ([("SUCCESS", "a"), ("WARNING", "b")], "", 1, [], ["b: said"]),
        ([("SUCCESS", "a"), ("FAILURE", "b")], "Client exited with code 1", 1, ["b: said"], []),
        ([("SUCCESS", "a")], "Client exited with code 3", 1, ["the client ended with 3"], []),
        ([("SUCCESS", "a")], "CLIENT TIMED OUT", 1, ["the client timed out"], []),
        ([], "", -9, ["the suite did not end by itself"], []),
    ],
)
def test_a_scenario_is_judged_by_all_that_was_seen(tmp_path, checks, output, code, failures, warnings):
    folder = tmp_path / "auth" / "some-2026"
    folder.mkdir(parents=True)
    found = [{"status": status, "id": id, "description": "said"} for status, id in checks]
    (folder / "checks.json").write_text(json.dumps(found))
    outcome = conformance.judge("auth/some", tmp_path, output, code)
    assert (outcome.failures, outcome.warnings) == (failures, warnings)
    assert outcome.passed == (not failures and not warnings)
