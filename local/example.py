"""The example that the demo and `make local` start: the stack, two MCP servers behind Cognito, a model.

Environment variables: `MODEL_URL` and `MODEL_ID` (the model; default: a scripted stand-in), `PROFILE` (`debug`, the
default, or `release`, which deploys the binaries of `make build`), `SERVERS` (`example`, the default, or `none`, which
leaves the secret an empty list).
"""

import json
import os
import secrets
import signal
import sys

from .aws import LocalAws, UserPool
from .processes import StandIn
from .stack import deploy, place_bootstraps

MODEL_URL = os.environ.get("MODEL_URL", "")
MODEL_ID = os.environ.get("MODEL_ID", "scripted-stand-in")
PROFILE = os.environ.get("PROFILE") or "debug"
SERVERS = os.environ.get("SERVERS") or "example"
# The signals that end this process: from Ctrl-C, from a supervisor, and from a terminal that is closed.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

STAND_IN_NOTICE = """\
NOTE: no model is configured, so a SCRIPTED STAND-IN answers. It is no model: it picks the tool that
shares most words with the question and retells what the tool gave. For a real one:
  Ollama        MODEL_URL=http://127.0.0.1:11434 MODEL_ID=qwen3 make demo
  llama.cpp     MODEL_URL=http://127.0.0.1:8080 MODEL_ID=any make demo
  Bedrock       deploy to AWS: `sam build && sam deploy --guided` (see README.md)"""


def say(text: str):
    """Prints a line and flushes it, so that a reader of a pipe sees it at once."""
    print(text, flush=True)


class Example:
    """The running example. The constructor starts all its parts; `stop` ends them."""

    def __init__(self):
        self.running = []
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        if PROFILE not in ("debug", "release"):
            raise RuntimeError(f"PROFILE is {PROFILE}: it is debug or release")
        if SERVERS not in ("example", "none"):
            raise RuntimeError(f"SERVERS is {SERVERS}: it is example or none")
        if MODEL_URL:
            model_url = MODEL_URL.rstrip("/").removesuffix("/v1")
            say(f"The model is {MODEL_ID} at {model_url}.")
        else:
            say(STAND_IN_NOTICE)
            model_url = self._keep(StandIn("model")).url
        self.model_url = model_url
        say("\n[1/4] Starting a local AWS ...")
        self.aws = self._keep(LocalAws({"MINISTACK_BEDROCK_PROXY_URL": model_url}))
        say(f"      ready at {self.aws.endpoint}")
        say("[2/4] Deploying template.yaml with `sam deploy` ...")
        bootstraps = place_bootstraps(self.aws.folder / "bootstraps", PROFILE)
        parameters = {"AllowPrivateMcpServers": "true", "BedrockModelId": MODEL_ID}
        self.outputs = deploy(self.aws, bootstraps, **parameters)
        say("      deployed: " + ", ".join(sorted(self.outputs)))
        if SERVERS == "none":
            say("[3/4] No MCP servers: SERVERS is none ...\n[4/4] The secret stays an empty list.\n")
            return
        say("[3/4] Starting two MCP servers, each behind a Cognito user pool of its own ...")
        entries = [
            self._server("calculator", "Calculator", "Does sums."),
            self._server("addresses", "Client Addresses", "Knows where clients live."),
        ]
        say("[4/4] Writing them into the secret ...")
        secret = self.outputs["ExternalMCPAgentsSecretArn"]
        self.aws.client("secretsmanager").put_secret_value(SecretId=secret, SecretString=json.dumps(entries))
        say("      done\n")

    def _keep(self, started):
        self.running.append(started)
        return started

    def _server(self, kind: str, name: str, description: str) -> dict:
        pool = UserPool(self.aws, password=f"{secrets.token_urlsafe(16)}aA1!")
        options = ["--server", kind, "--jwks-url", pool.jwks_url, "--client-id", pool.client_id]
        server = self._keep(StandIn("example", *options))
        say(f"      {name}: {server.url}/mcp")
        return pool.entry(f"{server.url}/mcp", agent_name=name, agent_description=description)

    def stop(self):
        for started in reversed(self.running):
            started.stop()


def main(show):
    """Starts the example, calls `show` with it, and stops all its parts, also on SIGINT, SIGTERM and SIGHUP."""
    for sign in ENDING:
        signal.signal(sign, _end)
    example = None
    try:
        example = Example()
        show(example)
    except KeyboardInterrupt:
        say("\nStopping ...")
    except RuntimeError as error:
        sys.exit(f"\nThis did not work: {error}")
    finally:
        # Stopping takes a limited time, and a second signal must not interrupt it.
        for sign in ENDING:
            signal.signal(sign, signal.SIG_IGN)
        if example:
            example.stop()


def _end(*_):
    raise KeyboardInterrupt
