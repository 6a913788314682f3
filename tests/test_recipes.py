"""The recipes of docs/entries.md, exactly as written there, with stand-ins that behave like the services.

Without a field that a recipe needs, the sign-in fails.
"""

import json
import re
from urllib.parse import urlencode, urlsplit

import pytest

from local.processes import ROOT
from tests.lab import Answer, AuthorizationServer, ProtectedServer, follow
from tests.lab.authorization_server import OAuthError
from tests.support import CANARY

SECRET = f"{CANARY}-secret"


class Service(AuthorizationServer):
    """A stand-in for a service: an authorization server with one client that is registered by hand."""

    path = ""

    def __init__(self):
        super().__init__(self.path, registers=False, sends_iss=False, rotates=False)
        self.scopes = ["openid", "email", "mcp:read", "mcp/read", "api://APP/mcp.read", "repo", "read:org"]
        self.scopes += ["search:read", "offline_access"]
        self.add_client("client", SECRET, "client_secret_post")
        self.steer()

    def steer(self):
        pass

    def _authenticate(self, request):
        # These services accept a secret in the header as well as in the form.
        client = self.clients["client"]
        has_header = request.headers.get("authorization", "").startswith("Basic ")
        client.method = "client_secret_basic" if has_header else "client_secret_post"
        return super()._authenticate(request)

    def redirected(self, request, error) -> Answer:
        query = urlencode({"error": error, "state": request.query["state"]})
        return Answer(302, None, {"location": f"{request.query['redirect_uri']}?{query}"})

    def refuses_resource(self, request) -> bool:
        return "resource" in request.query or "resource" in request.form


class EntraID(Service):
    path = "/tenant/v2.0"

    def steer(self):
        self.metadata = {"code_challenge_methods_supported": None}
        self.refresh_tokens = "offline_access"

    def answer(self, request):
        if "/common/" in request.route:
            request.endpoint = "metadata"
            return self._template()
        return super().answer(request)

    def _template(self):
        issuer = f"{self.base}/{{tenantid}}/v2.0"
        endpoints = {"authorization_endpoint": f"{self.issuer}/authorize", "token_endpoint": f"{self.issuer}/token"}
        return Answer(200, {"issuer": issuer, "response_types_supported": ["code"]} | endpoints)

    def _authorize(self, request):
        return (
            self.redirected(request, "invalid_target")
            if self.refuses_resource(request)
            else super()._authorize(request)
        )

    def _token(self, request):
        if self.refuses_resource(request):
            raise OAuthError("invalid_target", "AADSTS9010010: the resource does not match the scopes")
        return super()._token(request)


class Google(Service):
    def _authorize(self, request):
        return (
            Answer(400, "<h1>invalid_request</h1>") if self.refuses_resource(request) else super()._authorize(request)
        )

    def _by_code(self, client, form):
        asked = self._codes[form["code"]].request
        grant, scope, token = super()._by_code(client, form)
        offline = asked.get("access_type") == "offline" and asked.get("prompt") == "consent"
        return grant, scope, token if offline else None


class Okta(Service):
    path = "/oauth2/default"

    def steer(self):
        self.registers, self.refresh_tokens = True, "offline_access"
        self.registration_answer = Answer(403, {"errorCode": "E0000006", "errorSummary": "You do not have permission"})

    def _authorize(self, request):
        return super()._authorize(request) if request.query.get("scope") else self.redirected(request, "invalid_scope")


class GitHub(Service):
    path = "/login/oauth"

    def steer(self):
        self.locations = []
        self.refresh_tokens = "never"

    def _token(self, request):
        try:
            answer = super()._token(request)
        except OAuthError as refused:
            answer = Answer(200, {"error": refused.error, "error_description": refused.description})
        fields = {name: value for name, value in answer.body.items() if name != "expires_in"}
        if "scope" in fields:
            fields["scope"] = fields["scope"].replace(" ", ",")
        if request.headers.get("accept") == "application/json":
            return Answer(200, fields)
        form = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        return Answer(200, urlencode({name: value for name, value in fields.items() if value}), form)


class Slack(Service):
    def steer(self):
        self.locations = []

    def _authorize(self, request):
        scopes = request.query.get("user_scope")
        return super()._authorize(request) if scopes else Answer(400, "<h1>invalid_scope</h1>")

    def _token(self, request):
        try:
            answer = super()._token(request)
        except OAuthError as refused:
            return Answer(200, {"ok": False, "error": refused.error})
        given = answer.body | {"id": "U1", "token_type": "user", "scope": "search:read"}
        if request.form["grant_type"] == "refresh_token":
            return Answer(200, {"ok": True} | given)
        return Answer(200, {"ok": True, "app_id": "A1", "team": {"id": "T1"}, "authed_user": given})


class Auth0(Service):
    def steer(self):
        self.refresh_tokens = "offline_access"

    def _authorize(self, request):
        # Auth0 ignores `resource`.
        request.query["resource"] = request.query.get("audience", f"{self.issuer}/userinfo")
        return super()._authorize(request)

    def _token(self, request):
        request.body = urlencode({k: v for k, v in request.form.items() if k != "resource"}).encode()
        return super()._token(request)


class Keycloak(Service):
    path = "/realms/main"

    def steer(self):
        self.registers = True
        policy = "Policy 'Trusted Hosts' rejected request to client-registration service."
        self.registration_answer = Answer(403, {"error": "insufficient_scope", "error_description": policy})


class Cognito(Service):
    path = "/us-east-1_AbCdEf123"

    def steer(self):
        self.metadata = {"code_challenge_methods_supported": None}
        self.locations = [f"{self.path}/.well-known/openid-configuration"]


SERVICES = {
    "Entra ID": EntraID,
    "Google": Google,
    "Okta": Okta,
    "GitHub": GitHub,
    "Slack": Slack,
    "Auth0": Auth0,
    "Keycloak": Keycloak,
    "Cognito": Cognito,
}


def recipes() -> dict[str, dict]:
    section = (ROOT / "docs" / "entries.md").read_text().split("## Recipes")[1]
    entries = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", section, re.DOTALL)]
    return {entry["agent_name"]: entry for entry in entries}


@pytest.fixture
def cooked(stands):
    """Returns a stand-in, an MCP server, and the recipe's entry with the stand-in's URLs in place of the service's."""

    def make(name: str):
        service = stands(SERVICES[name])
        server = stands(ProtectedServer, service)
        if name == "Entra ID":
            server.metadata = {"authorization_servers": [f"{service.base}/common/v2.0"]}
        entry = recipes()[name] | {"mcp_url": server.url, "agent_name": "notes"}
        entry |= {"client_id": "client", "client_secret": SECRET}
        places = {"issuer": "", "authorization_url": "/authorize", "token_url": "/token"}
        for field, path in places.items():
            if field in entry:
                query = urlsplit(entry[field]).query
                entry[field] = service.issuer + path + (f"?{query}" if query else "")
        if "audience" in entry:
            entry["audience"] = server.url
        return service, server, entry

    return make


def sign_in(line):
    pending = line.start("login", "notes")
    pending.open_redirect_uri(follow(pending.url))
    done = pending.done()
    assert done.returncode == 0, done.stderr


def test_every_service_has_a_recipe():
    assert set(recipes()) == set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_a_recipe_signs_in_and_stays_signed_in(line, cooked, name):
    service, server, entry = cooked(name)
    line.put(entry)
    sign_in(line)
    assert line.run("tools", "notes").returncode == 0
    if service.refresh_tokens == "never":
        return
    server.refuse_all()
    done = line.run("tools", "notes")
    assert done.returncode == 0, done.stderr
    assert len(service.requests("token", grant_type="refresh_token")) == 1


@pytest.mark.parametrize(
    ("name", "without", "reason"),
    [
        ("Entra ID", "issuer", "tenant"),
        ("Entra ID", "authorization_url", "pkce_not_supported"),
        ("Okta", "client_id", "client_needed"),
        ("GitHub", "token_url", "no_metadata"),
        ("Keycloak", "client_id", "client_needed"),
    ],
)
def test_a_recipe_without_a_needed_field_fails(line, cooked, name, without, reason):
    _, _, entry = cooked(name)
    entry.pop(without)
    if without == "client_id":
        entry.pop("client_secret")
    line.put(entry)
    done = line.run("login", "notes", "--no-browser")
    assert done.returncode != 0 and reason in done.stderr, done.stderr


def test_entra_id_refuses_a_resource(line, cooked):
    _, _, entry = cooked("Entra ID")
    line.put({field: value for field, value in entry.items() if field != "resource"})
    pending = line.start("login", "notes")
    pending.open_redirect_uri(follow(pending.url))
    done = pending.done()
    assert done.returncode != 0 and "omit" in done.stderr, done.stderr


def test_google_issues_no_refresh_token_without_the_recipes_parameters(line, cooked):
    service, server, entry = cooked("Google")
    entry.pop("authorization_url")
    line.put(entry)
    sign_in(line)
    assert line.run("tools", "notes").returncode == 0
    server.refuse_all()
    assert line.run("tools", "notes").returncode != 0
    assert not service.requests("token", grant_type="refresh_token")


def test_auth0_issues_a_token_for_another_resource_without_an_audience(line, cooked):
    _, _, entry = cooked("Auth0")
    entry.pop("audience")
    line.put(entry)
    sign_in(line)
    assert line.run("tools", "notes").returncode != 0
