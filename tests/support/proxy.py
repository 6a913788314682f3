"""A proxy between the functions and the local AWS. It counts calls, and makes them fail where a test asks for it."""

import contextlib
import http.server
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass


class CountingProxy:
    """Forwards to the local AWS and counts calls by caller and operation.

    A function whose service endpoint is `/{caller}` below the proxy's URL calls through the proxy. `faults` lists the
    faults to inject.
    """

    def __init__(self, endpoint: str):
        self.calls = Counter()
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        proxy, calls = self, self.calls

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                caller = self.path.strip("/").split("/")[0]
                operation = self.headers.get("x-amz-target", "").split(".")[-1]
                calls[caller, operation] += 1
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                fault = proxy.fault(caller, operation, body)
                if fault:
                    time.sleep(fault.late)
                if fault and fault.answer:
                    return self.say(fault.status, {"content-type": "application/x-amz-json-1.0"}, fault.answer)
                try:
                    answer = urllib.request.urlopen(urllib.request.Request(endpoint, body, headers))
                except urllib.error.HTTPError as error:
                    answer = error
                with answer:
                    content = answer.read()
                    if fault and not fault.is_delivered:  # the call has been made, but its answer is lost
                        self.close_connection = True
                        return
                    self.say(answer.status, answer.headers, content)

            def say(self, status, headers, content):
                self.send_response(status)
                for name in ("content-type", "x-amzn-errortype", "x-amzn-requestid"):
                    if headers.get(name):
                        self.send_header(name, headers[name])
                self.send_header("content-length", str(len(content)))
                with contextlib.suppress(ConnectionError):  # the caller may have gone
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def fault(self, caller: str, operation: str, body: bytes) -> "Fault | None":
        with self.lock:
            for fault in self.faults:
                if fault.times and (fault.caller, fault.operation) == (caller, operation) and fault.containing in body:
                    fault.times -= 1
                    return fault
        return None

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Fault:
    """A fault of the next `times` calls of an operation whose body contains `containing`.

    With `answer`, the proxy returns it with `status`, and does not make the call. Otherwise it makes the call and loses
    the answer. `late` delays the call by this many seconds. With `is_delivered`, the answer is not lost.
    """

    caller: str
    operation: str
    containing: bytes = b""
    times: int = 1
    status: int = 400
    answer: bytes | None = None
    late: float = 0
    is_delivered: bool = False
