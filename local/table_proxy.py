"""A proxy before Azurite that counts calls and fails on demand: `python -m local.table_proxy --target PORT`.

Shared-key signatures cover the path and not the host, so requests pass unchanged. For the control paths see
`local.faults`; operations are counted as "METHOD table", and transactions as "BATCH table".
"""

import argparse
import json
import re
import time
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from local.faults import CONTROL_PREFIX, Fault, Faults

_TABLE = re.compile(r"/devstoreaccount1/(\w+)")
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, target: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.target = target
        self.faults = Faults()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        faults, path = self.server.faults, urlsplit(self.path).path
        if path.startswith(CONTROL_PREFIX):
            status, answer = faults.control(self.command, path, body)
            self._answer(status, {"Content-Type": "application/json"}, answer)
            return
        operation = _operation(self.command, path, body)
        faults.count(operation)
        fault = faults.next_for(self.command, f"{path} {operation}")
        if fault is None or not self._struck(fault, body):
            self._answer(*self._forward(body))

    do_GET = do_POST = do_PUT = do_PATCH = do_MERGE = do_DELETE = _handle  # noqa: N815 - http.server's names

    def _struck(self, fault: Fault, body: bytes) -> bool:
        """Fail as told; say whether that is all there is to do."""
        match fault.kind:
            case "delay":
                time.sleep(fault.seconds)
                return False
            case "cut":
                self.close_connection = True
            case "lose_answer":
                self._forward(body)
                self.close_connection = True
            case "status":
                retry = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                error = {"odata.error": {"code": "InjectedFault", "message": {"lang": "en", "value": ""}}}
                self._answer(
                    fault.status, retry | {"Content-Type": "application/json"}, json.dumps(error).encode()
                )
        return True

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        with closing(HTTPConnection("127.0.0.1", self.server.target)) as azurite:
            azurite.request(self.command, self.path, body, dict(self.headers))
            response = azurite.getresponse()
            answer = response.read()
        headers = {k: v for k, v in response.getheaders() if k.lower() not in _HOP_BY_HOP}
        return response.status, headers, answer

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _operation(method: str, path: str, body: bytes) -> str:
    if path.endswith("/$batch"):
        method, path = "BATCH", body.decode(errors="replace")
    table = _TABLE.search(path)
    return f"{method} {table[1]}" if table else method


def main() -> None:
    """Serve until the process is ended; prints one line of JSON with the port when ready."""
    parser = argparse.ArgumentParser(prog="python -m local.table_proxy")
    parser.add_argument("--target", type=int, required=True, help="Azurite's port")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    server = _Server(arguments.port, arguments.target)
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
