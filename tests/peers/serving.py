"""What the peers in Python share: a loopback port, a first line, and an end with the process that started them."""

import os
import socket
import threading
import time

import uvicorn


def listen() -> tuple[socket.socket, str]:
    """A listener on a free loopback port, and the URL that clients know the server by."""
    listener = socket.create_server(("127.0.0.1", 0))
    own = f"http://127.0.0.1:{listener.getsockname()[1]}"
    return listener, os.environ.get("PUBLIC_URL", own)


def serve(app, listener: socket.socket):
    """Prints where it listens, and serves until it is stopped."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    # Streams of clients that have gone must not hold up the end.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


def _end_with_parent():
    """The process that started this one may be killed without a chance to stop it."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
