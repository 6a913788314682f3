"""A reverse proxy in the test's process that records the requests to a peer and its responses."""

import http.client
import http.server
import json
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from .loopback import Request

# Headers of one HTTP connection (RFC 9110, section 7.6.1), or headers that the proxy sets itself.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Exchange(Request):
    """A request and its response. `endpoint` is an OAuth endpoint, "metadata" or an MCP method."""

    def __init__(self, *request):
        super().__init__(*request)
        self.endpoint = self._endpoint()
        self.status: int | None = None
        self.answered = b""

    def _endpoint(self) -> str:
        last = self.route.rstrip("/").rsplit("/", 1)[-1]
        if "/.well-known/" in self.route:
            return "metadata"
        if self.method == "POST" and last == "mcp":
            return self.json.get("method", "answer")
        # RFC 7009 lets a server revoke at its token endpoint.
        return "revoke" if last == "token" and "grant_type" not in self.form else last

    @property
    def answer(self) -> dict:
        return json.loads(self.answered)


class Recorder:
    """Listens on a free loopback port and forwards each request to `upstream`, with its original Host header.

    The peer must be configured with the recorder's `base` as its public URL. Responses are forwarded while they arrive,
    streams too. `seen` has every exchange, the oldest first. `before` maps an endpoint to a function that is called
    once, before the next request to that endpoint is forwarded.
    """

    def __init__(self):
        self.upstream: str | None = None
        self.seen: list[Exchange] = []
        self.before: dict[str, Callable] = {}
        self.lock = threading.Lock()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def requests(self, endpoint: str, **form: str) -> list[Exchange]:
        """Returns the finished exchanges of an endpoint whose form has these values."""
        with self.lock:
            found = [each for each in self.seen if each.endpoint == endpoint and each.status]
        return [each for each in found if form.items() <= each.form.items()] if form else found

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


def _handler(recorder: Recorder):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def pass_on(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            exchange = Exchange(self.command, self.path, self.headers, body)
            with recorder.lock:
                recorder.seen.append(exchange)
                first = recorder.before.pop(exchange.endpoint, None)
            if first:
                first()
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            peer = http.client.HTTPConnection(urlsplit(recorder.upstream).netloc, timeout=30)
            try:
                peer.request(self.command, self.path, body or None, headers)
                self.give_back(exchange, peer.getresponse())
            finally:
                peer.close()

        do_GET = do_POST = do_DELETE = pass_on

        def give_back(self, exchange: Exchange, answer: http.client.HTTPResponse):
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            has_body = answer.status not in (204, 304)
            self.send_header(*("transfer-encoding", "chunked") if has_body else ("content-length", "0"))
            self.end_headers()
            while has_body and (part := answer.read1(65536)):
                exchange.answered += part
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            # Set before the end is sent, so that it is there when the client has the whole response.
            exchange.status = answer.status
            if has_body:
                self.wfile.write(b"0\r\n\r\n")

        def handle(self):
            try:
                super().handle()
            except (OSError, http.client.HTTPException):
                self.close_connection = True  # one side has closed: close the other side too

        def log_message(self, *_):
            pass

    return Handler
