"""The local AWS with the deployed stack, and the stand-ins; all tests of a process share them."""

import json
import urllib.request
import uuid

from local.aws import LocalAws, UserPool
from local.processes import StandIn
from local.stack import deploy, place_bootstraps
from tests.support.entries import CANARY
from tests.support.proxy import CountingProxy


class World:
    """The local AWS, the stack deployed on it, and the stand-ins for a model and for MCP servers."""

    def __init__(self):
        self.model = StandIn("model")
        self.faulty = StandIn("faulty")
        self.aws = LocalAws({"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.model.url})
        bootstraps = place_bootstraps(self.aws.folder / "bootstraps")
        self.outputs = deploy(self.aws, bootstraps, AllowPrivateMcpServers="true")
        self.lambdas = self.aws.client("lambda")
        self.secrets = self.aws.client("secretsmanager")
        self.dynamodb = self.aws.client("dynamodb")
        self.logs = self.aws.client("logs")
        self.proxy = CountingProxy(self.aws.endpoint)
        self._code = {}
        self.aws.client("s3").create_bucket(Bucket="copies")

    def stop(self):
        self.proxy.stop()
        self.aws.stop()
        self.faulty.stop()
        self.model.stop()

    def server(self, **behaviour) -> "Server":
        return Server(self.faulty.url, behaviour)

    def pool(self, password: str = CANARY, **options) -> UserPool:
        return UserPool(self.aws, password, **options)

    def configuration(self, output: str) -> dict:
        return self.lambdas.get_function_configuration(FunctionName=self.outputs[output])

    def table(self) -> str:
        """Creates an empty table for connections and tool lists, without items of servers that had the same port."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        self.dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "PK", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}],
        )
        return name

    def code(self, output: str) -> dict:
        """Copies a deployed function's code to a bucket, and returns its location there."""
        if output not in self._code:
            location = self.lambdas.get_function(FunctionName=self.outputs[output])["Code"]["Location"]
            with urllib.request.urlopen(location) as code:
                self.aws.client("s3").put_object(Bucket="copies", Key=output, Body=code.read())
            self._code[output] = {"S3Bucket": "copies", "S3Key": output}
        return self._code[output]


class Server:
    """An MCP server of the stand-in `faulty`."""

    def __init__(self, base: str, behaviour: dict):
        self.control = f"{base}/{uuid.uuid4().hex}"
        self.url = f"{self.control}/mcp"
        self.behave(**behaviour)

    def behave(self, **behaviour):
        self._send("PUT", self.control, behaviour)

    def revoke(self):
        """Makes the server refuse every token that it has seen so far."""
        self._send("POST", f"{self.control}/revoke")

    @property
    def seen(self) -> dict:
        with urllib.request.urlopen(self.control) as answer:
            return json.load(answer)

    @property
    def requests(self) -> int:
        return sum(self.seen["requests"].values())

    @staticmethod
    def _send(method, url, body=None):
        data = json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
        urllib.request.urlopen(request).close()
