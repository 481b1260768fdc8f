"""What the doubles of foreign systems share: an HTTP server on loopback with a mood.

`mood` says how it behaves: ``well``; ``lies`` (answers 200 to every change and makes none);
``conflict`` (refuses the next changes, `conflicts` of them, with 409); ``broken`` (500),
``busy`` (429), ``html``, ``huge`` (over 1 MiB), ``deep``, ``moved`` (a redirect), ``silent`` (takes
the request and never answers), ``drip`` (a byte now and then, for ever).
"""

import contextlib
import http.server
import json
import threading

MOODS = ("broken", "busy", "html", "huge", "deep", "moved", "silent", "drip", "empty", "list")
_CHANGES = frozenset(("POST", "PUT", "PATCH", "DELETE"))


class RefusedError(Exception):
    """An answer other than the usual one."""

    def __init__(self, status, body=None):
        super().__init__(status)
        self.status = status
        self.body = {"message": f"status {status}"} if body is None else body


class Double:
    """Subclass it and write `answer`: it gives a body (None for 204) or raises `RefusedError`."""

    def __init__(self):
        self.mood = "well"
        self.conflicts = 0
        self.latency_s = 0.0
        self.seen = []
        self.lock = threading.RLock()
        self.let_go = threading.Event()

    def answer(self, method, path, headers, body):
        raise NotImplementedError

    def reads(self, method, path, body):
        """Say whether a request changes nothing, so that a liar still answers it truly."""
        return method not in _CHANGES

    def lie(self, body):
        """Give what says that a change was made."""
        return {}

    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def serving(self, context=None):
        double = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _any(self):
                with contextlib.suppress(OSError):
                    double.respond(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None
        if context is not None:
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.let_go.set()
            server.shutdown()
            thread.join(20)
            server.server_close()

    def respond(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.seen.append((handler.command, handler.path, dict(handler.headers), body))
        if self.latency_s:
            self.let_go.wait(self.latency_s)
        status, answer, headers = self._status(handler.command, handler.path, handler.headers, body)
        if status is None:
            return
        data = b"" if answer is None else answer if isinstance(answer, bytes) else _json(answer)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        if self.mood == "drip":
            for byte in data:
                handler.wfile.write(bytes((byte,)))
                handler.wfile.flush()
                if self.let_go.wait(0.05):
                    break
            return
        handler.wfile.write(data)
        handler.close_connection = True

    def _status(self, method, path, headers, body):
        moods = {
            "broken": (500, {"message": "internal error"}, {}),
            "busy": (429, {"message": "slow down"}, {}),
            "html": (200, b"<html>a proxy's page</html>", {}),
            "huge": (200, b'"' + b"x" * (1 << 20) + b'"', {}),
            "deep": (200, b"[" * 100_000, {}),
            "moved": (307, {}, {"Location": "http://127.0.0.1:9/elsewhere"}),
            "empty": (200, b"", {}),
            "list": (200, [[1, "no object"]], {}),
            "drip": (200, b" " * 100_000, {}),
        }
        if self.mood in moods:
            return moods[self.mood]
        if self.mood == "silent":
            self.let_go.wait(30)
            return None, None, {}
        changes = not self.reads(method, path, body)
        if self.mood == "lies" and changes:
            return 200, self.lie(body), {}
        if self.conflicts and changes:
            self.conflicts -= 1
            return 409, {"reason": "Conflict", "message": "the object has been modified"}, {}
        try:
            with self.lock:
                answer = self.answer(method, path, headers, body)
        except RefusedError as refused:
            return refused.status, refused.body, {}
        return (204 if answer is None else 200), answer, {}


def _json(value):
    return json.dumps(value).encode()
