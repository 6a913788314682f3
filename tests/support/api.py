"""Calls the deployed jobs API over HTTP, as its users do."""

import json
import urllib.error
import urllib.request
import uuid

from tests.support.entries import CANARY
from tests.support.world import World


class Api:
    """A client of the deployed jobs API that sends one user's token."""

    def __init__(self, world: World, token: str | None):
        self.base = world.aws.endpoint
        self.host = f"{world.outputs['JobsApiId']}.execute-api.localhost:{world.aws.port}"
        self.token = token

    def send(self, method: str, path: str, body=None, **headers) -> tuple[int, dict | list | None]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"host": self.host, "content-type": "application/json"} | headers
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(f"{self.base}{path}", data, headers, method=method)
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            content = answer.read()
            return answer.status, json.loads(content) if content else None


def sign_up(world: World, name: str, group: str | None) -> Api:
    """Creates a user in the stack's own user pool, signs the user in, and returns an API client with the token."""
    cognito = world.aws.client("cognito-idp")
    pool, client = world.outputs["UserPoolId"], world.outputs["UserPoolClientId"]
    name = f"{name}-{uuid.uuid4().hex[:6]}"
    cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=CANARY, Permanent=True)
    if group:
        cognito.admin_add_user_to_group(UserPoolId=pool, Username=name, GroupName=group)
    flow = {"USERNAME": name, "PASSWORD": CANARY}
    signed_in = cognito.initiate_auth(AuthFlow="USER_PASSWORD_AUTH", ClientId=client, AuthParameters=flow)
    tokens = signed_in["AuthenticationResult"]
    api = Api(world, tokens["AccessToken"])
    api.id_token = tokens["IdToken"]
    api.user = name
    return api
