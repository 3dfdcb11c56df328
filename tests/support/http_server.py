"""A web server of this machine for the files of a folder, that counts what it is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Server:
    url: str = ""
    asked: list[str] = field(default_factory=list)
    """The paths of the files that were read, one for each request."""
    ranges: bool = True
    """Whether it knows ranges of bytes."""
    failures: int = 0
    """So many of the next requests get the status 503."""
    short: bool = False
    """Whether it breaks off in the middle of a file."""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serves `folder` as long as it is open."""
    server = Server()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = Path(self.translate_path(self.path))
            if server.failures:
                server.failures -= 1
                self.send_error(503)
            elif path.is_dir() or not path.exists():
                super().do_GET() if self.command == "GET" else super().do_HEAD()
            else:
                self.send(path)

        def send(self, path: Path) -> None:
            whole = data = path.read_bytes()
            wanted = self.headers.get("Range") if server.ranges else None
            if wanted:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                data = whole[int(first) : int(last) + 1]
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
            self.end_headers()
            if self.command == "GET":
                server.asked.append(self.path)
                self.wfile.write(data[: len(data) // 2] if server.short else data)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        server.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            httpd.shutdown()
            thread.join()
