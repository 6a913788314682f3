"""HTTP servers in threads of the test's process, on free loopback ports. This file has no OAuth."""

import contextlib
import http.client
import http.server
import json
import socket
import threading
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit


class Request:
    """A received request. `endpoint` is the server's name for the endpoint that handles it."""

    def __init__(self, method: str, path: str, headers: http.client.HTTPMessage, body: bytes):
        self.method = method
        self.path = path  # raw, with its query
        self.headers = headers  # names are not case-sensitive
        self.body = body
        self.endpoint: str | None = None
        parts = urlsplit(path)
        self.route = parts.path
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))

    def __repr__(self):
        return f"{self.method} {self.path}"

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def bearer(self) -> str | None:
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        return token if kind.lower() == "bearer" else None


@dataclass
class Answer:
    status: int
    body: dict | list | str | bytes | None = None  # str is sent as HTML, bytes unchanged
    headers: dict[str, str | None] = field(default_factory=dict)


class LoopbackServer:
    """An HTTP server in threads of this process. `seen` has every request, the oldest first."""

    def __init__(self):
        self.seen: list[Request] = []
        self.lock = threading.RLock()
        self._connections = set()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.base = f"http://127.0.0.1:{self._server.server_port}"

    def _start(self, settings: dict):
        """Applies the settings, then starts to serve, so that no request arrives before the settings are applied."""
        for name, value in settings.items():
            if name not in vars(self):
                self._server.server_close()
                raise TypeError(f"{type(self).__name__} has no setting {name}")
            setattr(self, name, value)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Stops the server, and closes open HTTP connections too."""
        self._server.shutdown()
        self._server.server_close()
        with self.lock:
            for connection in self._connections:
                _hang_up(connection)

    def requests(self, endpoint: str, **form: str) -> list[Request]:
        """Returns the requests to an endpoint whose form has these values."""
        with self.lock:
            found = [request for request in self.seen if request.endpoint == endpoint]
        return [request for request in found if form.items() <= request.form.items()] if form else found

    def answer(self, request: Request) -> Answer | None:
        """Returns the answer to a request. None closes the HTTP connection without an answer."""
        raise NotImplementedError


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # many requests may arrive at the same moment


def _hang_up(connection):
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _handler(owner: LoopbackServer):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes; the second must not wait

        def setup(self):
            super().setup()
            with owner.lock:
                owner._connections.add(self.connection)

        def finish(self):
            with owner.lock:
                owner._connections.discard(self.connection)
            super().finish()

        def work(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            request = Request(self.command, self.path, self.headers, body)
            with owner.lock:
                owner.seen.append(request)
            answer = owner.answer(request)
            if answer is None:
                self.close_connection = True
                return _hang_up(self.connection)
            self.send(answer)

        do_GET = do_POST = do_PUT = do_DELETE = work

        def send(self, answer: Answer):
            html = isinstance(answer.body, str)
            if isinstance(answer.body, bytes):
                content = answer.body
            else:
                content = b"" if answer.body is None else (answer.body if html else json.dumps(answer.body)).encode()
            headers = {"content-type": "text/html; charset=utf-8" if html else "application/json"} | answer.headers
            self.send_response(answer.status)
            for name, value in headers.items():
                if value is not None:  # None omits a header
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def handle(self):
            with contextlib.suppress(OSError):  # the client has gone
                super().handle()

        def log_message(self, *_):
            pass

    return Handler


def with_overrides(right: dict, wrong: dict) -> dict:
    """Returns `right` with the values of `wrong` replacing its own. None omits a field."""
    return {name: value for name, value in (right | wrong).items() if value is not None}
