"""A local AWS (ministack) on a free loopback port, without Docker and without an account."""

import os
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

from .processes import Process, free_port

REGION = "us-east-1"
READY_WITHIN_SECONDS = 60


class LocalAws:
    """A running emulator. The constructor starts it; `stop` ends it and deletes its files.

    `environment` is passed to the emulator, which passes it to the functions that it runs.
    """

    def __init__(self, environment: dict[str, str] | None = None):
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix="mcp-agents-aws-"))
        credentials = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
        }
        # The environment for programs that call this AWS, such as the SAM CLI and mcp-agents.
        self.environment = os.environ | credentials | {"SAM_CLI_TELEMETRY": "0"}
        server = self.environment | {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "TMPDIR": str(self.folder),
            "S3_DATA_DIR": str(self.folder / "s3"),
        }
        command = [Path(sys.executable).parent / "ministack"]
        self.process = Process(command, self.folder / "ministack.log", env=server | (environment or {}))
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self):
        give_up = time.monotonic() + READY_WITHIN_SECONDS
        while True:
            self.process.fail_if_ended("the local AWS")
            try:
                with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=1):
                    return
            except OSError:
                if time.monotonic() > give_up:
                    raise RuntimeError(f"the local AWS is not ready: see {self.process.log}") from None
                time.sleep(0.1)

    def client(self, service: str, region: str = REGION):
        """Returns a boto3 client for a service of this AWS."""
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 1}, read_timeout=120),
        )

    def stop(self):
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class UserPool:
    """A Cognito user pool with one app client and one service user."""

    def __init__(self, aws: LocalAws, password: str, region: str = REGION, client_secret: bool = False):
        cognito = aws.client("cognito-idp", region)
        self.id = cognito.create_user_pool(PoolName="mcp-servers")["UserPool"]["Id"]
        client = cognito.create_user_pool_client(
            UserPoolId=self.id,
            ClientName="mcp-agents",
            GenerateSecret=client_secret,
            ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
        )["UserPoolClient"]
        self.client_id = client["ClientId"]
        self.client_secret = client.get("ClientSecret")
        self.username = "mcp-service-user"
        self.password = password
        cognito.admin_create_user(
            UserPoolId=self.id,
            Username=self.username,
            TemporaryPassword="Temporary1!",
            MessageAction="SUPPRESS",
        )
        self.cognito = cognito
        self.jwks_url = f"{aws.endpoint}/{self.id}/.well-known/jwks.json"
        if password:
            self.set_password(password)

    def set_password(self, password: str):
        self.password = password
        self.cognito.admin_set_user_password(
            UserPoolId=self.id, Username=self.username, Password=password, Permanent=True
        )

    def entry(self, mcp_url: str, **fields) -> dict:
        """Returns an entry of the secret for an MCP server behind this pool."""
        entry = {
            "mcp_url": mcp_url,
            "cognito_user_pool_id": self.id,
            "cognito_client_id": self.client_id,
            "cognito_username": self.username,
            "cognito_password": self.password,
        }
        if self.client_secret:
            entry["cognito_client_secret"] = self.client_secret
        return entry | fields
