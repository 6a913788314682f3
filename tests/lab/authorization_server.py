"""An OAuth authorization server for tests. It follows the standards by default; its attributes configure faults."""

import base64
import hashlib
import secrets
import time
import uuid
from dataclasses import dataclass, field
from urllib.parse import unquote, urlencode

from cryptography.exceptions import InvalidSignature

from .jwt import base64url_encode, unverified_claims, verified_claims
from .loopback import Answer, LoopbackServer, Request, with_overrides

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass
class Client:
    id: str
    method: str = "none"
    secret: str | None = None
    redirect_uris: tuple[str, ...] | None = None  # None: any
    public_key: bytes | None = None  # PEM, for private_key_jwt


@dataclass
class Grant:
    """A grant of a user, or of a client for itself. Every code and token belongs to one grant."""

    sub: str
    client_id: str
    scope: str
    resource: str | None
    revoked: bool = False


@dataclass
class IssuedToken:
    """A code or a token that the server has issued."""

    grant: Grant
    scope: str
    expires: float
    used: bool = False
    request: dict = field(default_factory=dict)  # for a code: the parameters of the authorization request


class OAuthError(Exception):
    """An error response of an endpoint (RFC 6749, section 5.2)."""

    def __init__(self, error: str, error_description: str = "", status: int = 400):
        super().__init__(error)
        self.error, self.description, self.status = error, error_description, status


class AuthorizationServer(LoopbackServer):
    """A small OAuth authorization server. By default it follows the standards.

    `path` is the path of its issuer. `requests`, `fail`, `delays` and `lost` take these names of endpoints: metadata,
    authorize, token, register, revoke, introspect (for its clients). The authorization endpoint asks nothing: it signs
    in the user in `login_hint`, or ada, and redirects at once.
    """

    def __init__(self, path: str = "", **settings):
        super().__init__()
        self.path = path
        self.issuer = self.base + path
        # Paths of its metadata: all three well-known paths, or two without a path. Other paths return 404.
        self.locations = [f"/.well-known/oauth-authorization-server{path}", f"/.well-known/openid-configuration{path}"]
        self.locations += [f"{path}/.well-known/openid-configuration"] if path else []
        self.metadata: dict = {}  # replaces fields of the correct metadata; None omits a field
        self.metadata_answer: Answer | None = None  # returned instead of the metadata, such as HTML
        self.delays: dict[str, float] = {}  # by endpoint: seconds between processing a request and the answer
        self.lost: dict[str, int] = {}  # by endpoint: number of answers that are lost after the request was processed
        # Authorization
        self.redirect_with: dict = {}  # replaces code, state and iss; None omits one; an error omits the code
        self.sends_iss = True  # and announces it in the metadata
        self.code_seconds = 60.0
        self.scopes = ["mcp:read", "mcp:write", "offline_access"]
        self.default_scope = "mcp:read"  # for a request without `scope`
        self.accepts_client_documents = False  # client ids that are https URLs; the documents are not fetched
        # Tokens
        self.access_token_seconds = 3600.0
        self.refresh_tokens = "always"  # or "offline_access": only for that scope; or "never"
        self.rotates = True  # a refresh token works once; if it is used again, its grant is revoked
        self.token_with: dict = {}  # replaces fields of a token response
        self.token_error: dict | None = None  # error, error_description and status of every token response
        self.token_answers: dict[str, Answer] = {}  # by grant type: the answer instead of the correct one
        self.unknown_client: Answer | None = None  # the answer to an unknown client, at all endpoints except authorize
        self.authorizes_anybody = False  # authorize accepts unknown clients; the token endpoint does not
        self.wants_client_id_in_form = False  # with Basic too, like the MCP Python SDK
        self.refuses_client_id_beside_basic = False  # as two authentication methods
        self.secret_goes_by: str | None = None  # the only method that is accepted, whatever a client registered
        self.echoes_secrets = False  # error descriptions repeat the request, with its secrets
        self.assertion_audiences = [self.issuer]
        # Registration
        self.registers = True
        self.registration_answer: Answer | None = None  # the answer to all registrations: announced, but closed
        self.registration_with: dict = {}  # replaces fields of the answer and of the registered client
        self.registration_error: dict | None = None
        self.registration_judge = lambda asked: None  # returns an Answer to refuse a registration

        self.clients: dict[str, Client] = {}
        self.reuses = 0  # number of requests with a used refresh token
        self._codes: dict[str, IssuedToken] = {}
        self._access_tokens: dict[str, IssuedToken] = {}
        self._refresh_tokens: dict[str, IssuedToken] = {}
        self._assertions: set[str] = set()
        self._faults: dict[str, list[Answer]] = {}
        self._start(settings)

    # For tests

    def fail(self, endpoint: str, times: int = 1, status: int = 503, headers: dict | None = None):
        """Answers the next `times` requests to an endpoint with this status, without processing them."""
        with self.lock:
            answer = Answer(status, {"error": "server_error"}, headers or {})
            self._faults.setdefault(endpoint, []).extend([answer] * times)

    def add_client(
        self,
        id: str,
        secret: str | None = None,
        method: str | None = None,
        redirect_uris=None,
        public_key: bytes | None = None,
    ):
        """Registers a client. The default of `method` is client_secret_basic with a secret, and none without."""
        method = method or ("client_secret_basic" if secret else "none")
        self.clients[id] = Client(id, method, secret, redirect_uris and tuple(redirect_uris), public_key)

    def purge_clients(self):
        """Deletes all clients, as after a restart or a clean-up. Their codes and tokens stay."""
        with self.lock:
            self.clients.clear()

    def introspect(self, token: str) -> dict:
        """Returns `{"active": False}`, or `active`, `sub`, `client_id`, `scope` and `aud` (RFC 7662)."""
        with self.lock:
            given = self._access_tokens.get(token)
            if not given or given.used or given.grant.revoked or given.expires <= time.time():
                return {"active": False}
            who = {"sub": given.grant.sub, "client_id": given.grant.client_id}
            return {"active": True, **who, "scope": given.scope, "aud": given.grant.resource}

    def has_issued(self, token: str) -> bool:
        """Returns whether this server has issued this access token."""
        return token in self._access_tokens

    def revoke_all(self):
        """Revokes all grants, and so all codes, access tokens and refresh tokens."""
        with self.lock:
            for given in [*self._codes.values(), *self._access_tokens.values(), *self._refresh_tokens.values()]:
                given.grant.revoked = True

    def expire_access_tokens(self):
        """Makes all access tokens expire. Refresh tokens stay valid."""
        with self.lock:
            for given in self._access_tokens.values():
                given.expires = 0

    @property
    def secrets(self) -> set[str]:
        """All secrets that it has issued or received. They must not appear in any output."""
        with self.lock:
            given = {*self._codes, *self._access_tokens, *self._refresh_tokens}
            given |= {client.secret for client in self.clients.values() if client.secret}
            shown = {request.form.get("code_verifier") for request in self.requests("token")}
            return given | shown - {None}

    # Endpoints

    def answer(self, request: Request) -> Answer | None:
        endpoint = "metadata" if "/.well-known/" in request.route else request.route.removeprefix(f"{self.path}/")
        endpoints = {
            "metadata": self._metadata,
            "authorize": self._authorize,
            "token": self._token,
            "register": self._register,
            "revoke": self._revoke,
            "introspect": self._introspect,
        }
        if endpoint not in endpoints:
            return Answer(404, "<h1>Not Found</h1>")
        request.endpoint = endpoint
        with self.lock:
            if faults := self._faults.get(endpoint):
                return faults.pop(0)
            try:
                answer = endpoints[endpoint](request)
            except OAuthError as refused:
                answer = self._refusal(refused, request)
            lost = self.lost.get(endpoint, 0) > 0
            if lost:
                self.lost[endpoint] -= 1
        time.sleep(self.delays.get(endpoint, 0))
        return None if lost else answer

    def _refusal(self, refused: OAuthError, request: Request) -> Answer:
        description = refused.description
        if self.echoes_secrets:
            description += f" {request.body.decode()} {request.headers.get('authorization', '')}"
        headers = {"www-authenticate": "Basic"} if refused.status == 401 else {}
        return Answer(refused.status, {"error": refused.error, "error_description": description}, headers)

    def _metadata(self, request: Request) -> Answer:
        if request.path not in self.locations:
            return Answer(404, "<h1>Not Found</h1>")
        if self.metadata_answer:
            return self.metadata_answer
        right = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "registration_endpoint": f"{self.issuer}/register" if self.registers else None,
            "revocation_endpoint": f"{self.issuer}/revoke",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": [
                "none",
                "client_secret_basic",
                "client_secret_post",
                "private_key_jwt",
            ],
            "token_endpoint_auth_signing_alg_values_supported": ["ES256", "RS256", "PS256"],
            "scopes_supported": list(self.scopes),
            "authorization_response_iss_parameter_supported": self.sends_iss or None,
            "client_id_metadata_document_supported": self.accepts_client_documents or None,
        }
        if "openid-configuration" in request.route:
            right |= {
                "jwks_uri": f"{self.issuer}/jwks",
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        return Answer(200, with_overrides(right, self.metadata))

    def _authorize(self, request: Request) -> Answer:
        asked = request.query
        client = self._client(asked.get("client_id"))
        if self.authorizes_anybody:
            client = client or Client(asked.get("client_id", ""))
        redirect_uri = asked.get("redirect_uri", "")
        # Nothing is sent to an unregistered redirect URI, not even an error (RFC 6749, section 4.1.2.1).
        if not client or not redirect_uri or redirect_uri not in (client.redirect_uris or [redirect_uri]):
            return Answer(400, "<h1>This client or its redirect URI is not known here</h1>")
        params = {"state": asked.get("state"), "iss": self.issuer if self.sends_iss else None}
        if asked.get("response_type") != "code":
            params["error"] = "unsupported_response_type"
        elif asked.get("code_challenge_method") != "S256" or len(asked.get("code_challenge", "")) != 43:
            params |= {"error": "invalid_request", "error_description": "a code challenge of S256 is required"}
        elif not set(asked.get("scope", "").split()) <= set(self.scopes):
            params["error"] = "invalid_scope"
        elif "error" not in self.redirect_with:
            params["code"] = self._issue_code(client, asked)
        query = urlencode(with_overrides(params, self.redirect_with))
        location = f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{query}"
        return Answer(302, None, {"location": location})

    def _issue_code(self, client: Client, asked: dict) -> str:
        scope = asked.get("scope") or self.default_scope
        grant = Grant(asked.get("login_hint", "ada"), client.id, scope, asked.get("resource"))
        code = f"code-{secrets.token_urlsafe(24)}"
        self._codes[code] = IssuedToken(grant, scope, time.time() + self.code_seconds, request=asked)
        return code

    def _token(self, request: Request) -> Answer:
        if self.token_error:
            raise OAuthError(**self.token_error)
        if answer := self.token_answers.get(request.form.get("grant_type")):
            return answer
        client = self._authenticate(request)
        if isinstance(client, Answer):
            return client
        grants = {
            "authorization_code": self._by_code,
            "refresh_token": self._by_refresh_token,
            "client_credentials": self._by_client,
        }
        form = request.form
        if form.get("grant_type") not in grants:
            raise OAuthError("unsupported_grant_type")
        grant, scope, refresh_token = grants[form["grant_type"]](client, form)
        if form.get("resource") and form["resource"] != grant.resource:
            raise OAuthError("invalid_target", "this grant is for another resource")
        access_token = f"access-{secrets.token_urlsafe(24)}"
        self._access_tokens[access_token] = IssuedToken(grant, scope, time.time() + self.access_token_seconds)
        right = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": int(self.access_token_seconds),
            "scope": scope,
            "refresh_token": refresh_token,
        }
        return Answer(200, with_overrides(right, self.token_with), {"cache-control": "no-store"})

    def _by_code(self, client: Client, form: dict) -> tuple[Grant, str, str | None]:
        given = self._codes.get(form.get("code"))
        if not given or given.grant.client_id != client.id or given.expires <= time.time() or given.grant.revoked:
            raise OAuthError("invalid_grant", "the code is unknown or over")
        if given.used:
            given.grant.revoked = True
            raise OAuthError("invalid_grant", "the code was used already")
        given.used = True
        if form.get("redirect_uri") != given.request["redirect_uri"]:
            raise OAuthError("invalid_grant", "not the redirect URI of the authorization")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64url_encode(digest) != given.request["code_challenge"]:
            raise OAuthError("invalid_grant", "the code verifier does not match")
        wanted = self.refresh_tokens == "always" or (
            self.refresh_tokens == "offline_access" and "offline_access" in given.scope.split()
        )
        return given.grant, given.scope, self._issue_refresh_token(given.grant) if wanted else None

    def _by_refresh_token(self, client: Client, form: dict) -> tuple[Grant, str, str | None]:
        given = self._refresh_tokens.get(form.get("refresh_token"))
        if not given or given.grant.client_id != client.id:
            raise OAuthError("invalid_grant", "the refresh token is unknown")
        if given.used:
            self.reuses += 1
            given.grant.revoked = True
            raise OAuthError("invalid_grant", "the refresh token was used already")
        if given.grant.revoked:
            raise OAuthError("invalid_grant", "the grant was revoked")
        scope = form.get("scope") or given.scope
        if not set(scope.split()) <= set(given.scope.split()):
            raise OAuthError("invalid_scope")
        if not self.rotates:
            return given.grant, scope, None
        given.used = True
        return given.grant, scope, self._issue_refresh_token(given.grant)

    def _by_client(self, client: Client, form: dict) -> tuple[Grant, str, None]:
        if client.method == "none":
            raise OAuthError("unauthorized_client", "a public client cannot act for itself")
        scope = form.get("scope") or self.default_scope
        if not set(scope.split()) <= set(self.scopes):
            raise OAuthError("invalid_scope")
        return Grant(client.id, client.id, scope, form.get("resource")), scope, None

    def _issue_refresh_token(self, grant: Grant) -> str:
        token = f"refresh-{secrets.token_urlsafe(24)}"
        self._refresh_tokens[token] = IssuedToken(grant, grant.scope, time.time() + 86400)
        return token

    def _register(self, request: Request) -> Answer:
        if self.registration_answer:
            return self.registration_answer
        if not self.registers:
            return Answer(404, {"error": "not_found"})
        if self.registration_error:
            raise OAuthError(**self.registration_error)
        asked = request.json
        if answer := self.registration_judge(asked):
            return answer
        if not asked.get("redirect_uris"):
            raise OAuthError("invalid_redirect_uri")
        # RFC 7591, section 2: the default is client_secret_basic.
        method = asked.get("token_endpoint_auth_method", "client_secret_basic")
        right = asked | {
            "client_id": f"client-{uuid.uuid4().hex}",
            "client_secret": None if method in ("none", "private_key_jwt") else f"secret-{secrets.token_urlsafe(24)}",
            "client_secret_expires_at": None if method in ("none", "private_key_jwt") else 0,
            "token_endpoint_auth_method": method,
        }
        holds = with_overrides(right, self.registration_with)
        self.add_client(
            holds["client_id"],
            holds.get("client_secret"),
            holds.get("token_endpoint_auth_method", "client_secret_basic"),
            holds["redirect_uris"],
        )
        return Answer(201, holds, {"cache-control": "no-store"})

    def _revoke(self, request: Request) -> Answer:
        client = self._authenticate(request)
        if isinstance(client, Answer):
            return client
        token = request.form.get("token")
        if given := self._refresh_tokens.get(token):
            given.grant.revoked = True
        if given := self._access_tokens.get(token):
            given.used = True
        return Answer(200)

    def _introspect(self, request: Request) -> Answer:
        self._authenticate(request)
        return Answer(200, with_overrides(self.introspect(request.form.get("token")), {}))

    # Clients

    def _client(self, id: str | None) -> Client | None:
        if self.accepts_client_documents and (id or "").startswith("https://"):
            return self.clients.get(id, Client(id))
        return self.clients.get(id)

    def _authenticate(self, request: Request) -> Client | Answer:
        form, header = request.form, request.headers.get("authorization", "")
        if header.startswith("Basic "):
            id, _, secret = base64.b64decode(header[6:]).decode().partition(":")
            used, id, secret = "client_secret_basic", unquote(id), unquote(secret)
            if self.wants_client_id_in_form and form.get("client_id") != id:
                raise OAuthError("invalid_client", "Missing client_id", 401)
            if self.refuses_client_id_beside_basic and "client_id" in form:
                raise OAuthError("invalid_request", "Client must not use multiple authentication methods")
        elif "client_assertion" in form:
            used, secret = "private_key_jwt", None
            id = form.get("client_id") or unverified_claims(form["client_assertion"]).get("sub")
        else:
            used = "client_secret_post" if "client_secret" in form else "none"
            id, secret = form.get("client_id"), form.get("client_secret")
        client = self._client(id)
        if not client and self.unknown_client:
            return self.unknown_client
        if not client:
            raise OAuthError("invalid_client", "no such client", 401)
        method = self.secret_goes_by or client.method
        if used != method:
            raise OAuthError("invalid_client", f"this client authenticates by {method}, not by {used}", 401)
        if used == "private_key_jwt":
            self._check_assertion(client, form)
        elif used != "none" and secret != client.secret:
            raise OAuthError("invalid_client", "wrong secret", 401)
        return client

    def _check_assertion(self, client: Client, form: dict):
        if form.get("client_assertion_type") != JWT_BEARER:
            raise OAuthError("invalid_client", "client_assertion_type", 401)
        try:
            claims = verified_claims(form["client_assertion"], client.public_key)
        except (InvalidSignature, ValueError, KeyError):
            raise OAuthError("invalid_client", "the assertion's signature", 401) from None
        audiences = claims.get("aud")
        audiences = audiences if isinstance(audiences, list) else [audiences]
        now = time.time()
        wrong = [
            claim
            for claim, right in {
                "iss": claims.get("iss") == client.id,
                "sub": claims.get("sub") == client.id,
                "aud": bool(set(audiences) & set(self.assertion_audiences)),
                "exp": now < claims.get("exp", 0) <= now + 600,
                "jti": bool(claims.get("jti")) and claims["jti"] not in self._assertions,
            }.items()
            if not right
        ]
        if wrong:
            raise OAuthError("invalid_client", f"the assertion's {', '.join(wrong)}", 401)
        self._assertions.add(claims["jti"])
