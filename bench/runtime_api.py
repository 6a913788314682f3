"""Lambda's Runtime API on a loopback port, for one process; it measures the time of each call.

Hands out one event at a time and receives its answer, as described in
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html. The variable `AWS_LAMBDA_RUNTIME_API` of the measured
process has its address.
"""

import contextlib
import http.server
import json
import queue
import threading
import time
import uuid
from dataclasses import dataclass

# The timeout of ListAvailableAgents in template.yaml.
FUNCTION_TIMEOUT_SECONDS = 30
FUNCTION_ARN = "arn:aws:lambda:us-east-1:000000000000:function:ListAvailableAgents"


@dataclass(frozen=True)
class Answer:
    """The answer to a call. Times are seconds of `time.perf_counter()`."""

    payload: object
    handed_out_at: float
    arrived_at: float

    @property
    def seconds(self) -> float:
        """The time from handing out the event until the whole answer has arrived, both HTTP exchanges included."""
        return self.arrived_at - self.handed_out_at


class FunctionFailed(Exception):
    """The process answered with an error, or failed to initialise."""


class RuntimeApi:
    """A running Runtime API for one process. The constructor starts it; `stop` ends it."""

    def __init__(self):
        self.events = queue.Queue()
        self.outcomes = queue.Queue()
        self.handed_out_at = 0.0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.api = self
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def put(self, event):
        """Queues an event for the process's next request."""
        self.events.put(json.dumps(event).encode())

    def answer(self, within_seconds: float) -> Answer:
        """Waits for the answer to the queued event, and returns it."""
        try:
            outcome = self.outcomes.get(timeout=within_seconds)
        except queue.Empty:
            raise TimeoutError(f"no answer within {within_seconds} s") from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def call(self, event, within_seconds: float = FUNCTION_TIMEOUT_SECONDS) -> Answer:
        """Sends one event to the process and returns its answer."""
        self.put(event)
        return self.answer(within_seconds)

    def stop(self):
        # Releases a request that still waits for an event.
        self.events.put(None)
        self.server.shutdown()
        self.server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # With Nagle's algorithm, an answer in two writes waits 40 ms for a delayed acknowledgement.
    disable_nagle_algorithm = True

    def handle(self):
        # A process that is stopped while it waits for an event breaks its TCP connection. Every process ends like this.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self):
        event = self.server.api.events.get()
        if event is None:
            self.close_connection = True
            return
        deadline_ms = round((time.time() + FUNCTION_TIMEOUT_SECONDS) * 1000)
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": str(uuid.uuid4()),
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": FUNCTION_ARN,
        }
        self.server.api.handed_out_at = time.perf_counter()
        self._send(200, headers, event)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        arrived_at = time.perf_counter()
        self._send(202, {"Content-Type": "application/json"}, b'{"status":"OK"}')
        api = self.server.api
        if self.path.endswith("/response"):
            api.outcomes.put(Answer(json.loads(body), api.handed_out_at, arrived_at))
        else:
            api.outcomes.put(FunctionFailed(f"{self.path}: {body.decode(errors='replace')[:2000]}"))

    def _send(self, status: int, headers: dict[str, str], body: bytes):
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
