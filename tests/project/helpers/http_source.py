"""A server on this machine that delivers a file well or badly, as its path says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serve `content`, and count the requests for each path."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.requests: list[str] = []
        self.stop = threading.Event()

    def url(self, behaviour: str) -> str:
        """One of good, missing, truncated, altered, longer, stalling, silent, slow."""
        return f"http://127.0.0.1:{self.server_port}/{behaviour}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        behaviour = self.path.strip("/")
        content, stop = self.server.content, self.server.stop
        self.server.requests.append(behaviour)
        if behaviour == "missing":
            self.send_error(404)
            return
        if behaviour == "silent":  # not even headers
            stop.wait()
            return
        self.send_response(200)
        self.end_headers()
        if behaviour == "good":
            self.wfile.write(content)
        elif behaviour == "truncated":
            self.wfile.write(content[: len(content) // 2])
        elif behaviour == "altered":
            self.wfile.write(content[:-1] + bytes([content[-1] ^ 1]))
        elif behaviour == "longer":
            self.wfile.write(content + b"more")
        elif behaviour == "stalling":
            self.wfile.write(content[:1000])
            self.wfile.flush()
            stop.wait()
        elif behaviour == "slow":  # 4 s
            for start in range(0, len(content), 500):
                self.wfile.write(content[start : start + 500])
                self.wfile.flush()
                if stop.wait(0.04):
                    return

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(content: bytes) -> Iterator[Server]:
    """Serve `content` while the block runs."""
    server = Server(content)
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        server.shutdown()
        thread.join()
        server.server_close()
