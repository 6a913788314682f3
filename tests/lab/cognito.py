"""Cognito as an OAuth authorization server, on the local AWS."""

import json
import time
import urllib.request
import uuid

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from local.aws import REGION, LocalAws

from .authorization_server import AuthorizationServer
from .browser import follow
from .jwt import base64url_decode, verified_claims


class CognitoOAuth:
    """A Cognito user pool of the local AWS for OAuth, with a domain, scopes, a user and two app clients.

    `client_id` is for users (authorization code), `machine_client_id` for the client itself (client credentials): in
    Cognito, no client may use both. The local AWS serves a pool's metadata with the issuer in AWS, which differs from
    the local URL. So `issuer` is a server of this class, whose metadata names itself as issuer, and the local AWS's
    endpoints. Like Cognito's metadata, it announces neither PKCE nor registration, and redirects have no `iss`.
    The local AWS does not support rotation of refresh tokens, resources, or immediate revocation of access tokens.
    """

    SCOPES = ("mcp/read", "mcp/write")

    def __init__(
        self,
        aws: LocalAws,
        redirect_uris=("https://agents.example.com/callback",),
        access_token_seconds: int = 3600,
        region: str = REGION,
    ):
        self.access_token_seconds = access_token_seconds
        cognito = aws.client("cognito-idp", region)
        self.user_pool_id = cognito.create_user_pool(PoolName="oauth")["UserPool"]["Id"]
        self.username, self.password = "ada", "Canary-Pass-1!x"
        cognito.create_user_pool_domain(UserPoolId=self.user_pool_id, Domain=f"oauth-{uuid.uuid4().hex[:12]}")
        cognito.create_resource_server(
            UserPoolId=self.user_pool_id,
            Identifier="mcp",
            Name="mcp",
            Scopes=[{"ScopeName": name, "ScopeDescription": name} for name in ("read", "write")],
        )
        self.client_id, self.client_secret = self._client(
            cognito, ["code"], ["openid", *self.SCOPES], CallbackURLs=list(redirect_uris)
        )
        self.machine_client_id, self.machine_client_secret = self._client(
            cognito, ["client_credentials"], list(self.SCOPES)
        )
        cognito.admin_create_user(UserPoolId=self.user_pool_id, Username=self.username, MessageAction="SUPPRESS")
        cognito.admin_set_user_password(
            UserPoolId=self.user_pool_id, Username=self.username, Password=self.password, Permanent=True
        )
        self.cognito = cognito
        self.endpoint = aws.endpoint
        path = f"/{self.user_pool_id}"
        self.front = AuthorizationServer(
            path,
            locations=[f"{path}/.well-known/openid-configuration"],
            sends_iss=False,
            registers=False,
            metadata={
                "authorization_endpoint": f"{aws.endpoint}/oauth2/authorize",
                "token_endpoint": f"{aws.endpoint}/oauth2/token",
                # Cognito has a revocation endpoint; the local AWS has none.
                "revocation_endpoint": None,
                "jwks_uri": f"{aws.endpoint}{path}/.well-known/jwks.json",
                "grant_types_supported": None,
                "code_challenge_methods_supported": None,
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "token_endpoint_auth_signing_alg_values_supported": None,
                "scopes_supported": ["openid", "email", "phone", "profile"],
            },
        )
        self.issuer = self.front.issuer

    def _client(self, cognito, flows: list[str], scopes: list[str], **options) -> tuple[str, str]:
        client = cognito.create_user_pool_client(
            UserPoolId=self.user_pool_id,
            ClientName=flows[0],
            GenerateSecret=True,
            AllowedOAuthFlows=flows,
            AllowedOAuthFlowsUserPoolClient=True,
            AllowedOAuthScopes=scopes,
            SupportedIdentityProviders=["COGNITO"],
            AccessTokenValidity=self.access_token_seconds,
            TokenValidityUnits={"AccessToken": "seconds"},
            **options,
        )["UserPoolClient"]
        return client["ClientId"], client["ClientSecret"]

    def follow(self, url: str) -> dict[str, str]:
        """Signs the user in at the pool's login page, and returns the query parameters of the redirect."""
        return follow(url, form={"username": self.username, "password": self.password})

    def revoke(self, refresh_token: str):
        """Revokes a refresh token. Access tokens stay valid, because servers check them without asking the pool."""
        self.cognito.revoke_token(Token=refresh_token, ClientId=self.client_id, ClientSecret=self.client_secret)

    def introspect(self, token: str) -> dict:
        """Checks an access token with the pool's key, as an MCP server does. Cognito's tokens have no audience."""
        try:
            claims = verified_claims(token, self._key(token))
        except (InvalidSignature, ValueError, KeyError, StopIteration):
            return {"active": False}
        if claims.get("token_use") != "access" or claims["exp"] <= time.time():
            return {"active": False}
        sub = claims.get("username") or claims["client_id"]
        return {"active": True, "sub": sub, "client_id": claims["client_id"], "scope": claims.get("scope"), "aud": None}

    def _key(self, token: str):
        with urllib.request.urlopen(f"{self.endpoint}/{self.user_pool_id}/.well-known/jwks.json") as answer:
            keys = json.load(answer)["keys"]
        kid = json.loads(base64url_decode(token.split(".")[0]))["kid"]
        key = next(key for key in keys if key["kid"] == kid)
        numbers = [int.from_bytes(base64url_decode(key[name]), "big") for name in ("e", "n")]
        return rsa.RSAPublicNumbers(*numbers).public_key()

    def stop(self):
        self.front.stop()
