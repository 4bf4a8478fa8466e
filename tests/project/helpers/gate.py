"""A door between the client and the server: it can be slow, broken or closed, and it takes notes.

What openwandb does not store, a run's group and its exit code, is read from these notes.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import read_api
from sweep_controller import SweepController
from wandb_server import WandbServer

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}


class Gate:
    """Pass requests on to `server`, each after `delay` seconds; answers `error` itself, if set.

    `when_history_comes`, if set, is called once: when the first history lines of a run have been
    passed on.
    """

    def __init__(self, server: WandbServer) -> None:
        self.delay = 0.0
        self.error: int | None = None
        self.when_history_comes: Callable[[], object] | None = None
        self.upserted: dict[
            str, dict[str, Any]
        ] = {}  # by run id: the variables of its upsertBucket queries
        self.exit_codes: dict[str, int] = {}
        self.sweep: SweepController | None = None
        self._behind = server
        self._lock = threading.Lock()
        self._closing = threading.Event()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                try:
                    gate._pass_on(self)
                except OSError:  # the client has left, or the server has been killed
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_DELETE = pass_on  # noqa: N815 (http.server's names)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that hangs up is what these tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering; drop requests that are being delayed."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _pass_on(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if self._closing.wait(self.delay):
            raise ConnectionError
        if self.error is not None:
            self._answer(request, self.error, [], b'{"data":null}')
            return
        if request.path == "/graphql":
            groups = {
                run: upserted["groupName"]
                for run, upserted in self.upserted.items()
                if "groupName" in upserted
            }
            known = read_api.answer(self._behind, self.url, json.loads(body), groups)
            if known is None and self.sweep is not None:
                known = self.sweep.answer(json.loads(body))
            if known is not None:
                self._answer(request, 200, [], json.dumps({"data": known}).encode())
                return
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        connection = http.client.HTTPConnection("127.0.0.1", self._behind.port, timeout=60)
        try:
            connection.request(request.command, request.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        self._note(request.path, body)
        self._answer(request, answer.status, answer.getheaders(), content)

    @staticmethod
    def _answer(
        request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], content: bytes
    ) -> None:
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _note(self, path: str, body: bytes) -> None:
        if path == "/graphql":
            query = json.loads(body)
            if "upsertBucket" in query["query"]:
                upserted = {k: v for k, v in query["variables"].items() if v is not None}
                with self._lock:
                    self.upserted.setdefault(upserted.get("name", ""), {}).update(upserted)
        elif path.endswith("/file_stream"):
            streamed = json.loads(body)
            run_id = path.split("/")[-2]
            if "exitcode" in streamed:
                self.exit_codes[run_id] = streamed["exitcode"]
            with self._lock:
                act, self.when_history_comes = self.when_history_comes, None
            if act is not None:
                if "wandb-history.jsonl" in streamed.get("files", {}):
                    act()
                else:
                    self.when_history_comes = act
