"""A stand-in for W&B's server: enough of its GraphQL and file streams for wandb 0.31 to log, resume and sync runs."""

import gzip
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

STREAMS = {"wandb-history.jsonl": "history", "wandb-events.jsonl": "events", "output.log": "output"}


@dataclass
class OnlineRun:
    """What has arrived of a run."""

    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)  # groupName, jobType, displayName, tags, project, commit, …
    exit_code: int | None = None

    def epochs(self) -> list[int]:
        """The epochs of the history, in its order."""
        return [row["epoch"] for row in self.history]


class WandbServer:
    """The server, on a port of its own, as a context manager. `fault` makes it ill: an HTTP status that it answers
    everything with, or "hang", to answer nothing.
    """

    def __init__(self, fault: int | str | None = None) -> None:
        self.fault, self.dead = fault, False
        self.runs: dict[str, OnlineRun] = {}
        self.artifacts: list[dict[str, Any]] = []
        self.requests: list[str] = []  # names of operations, in their order
        self.lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_state": self}))
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # connections that break are what the tests are about
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """Answer nobody any more: the port is closed. Once more does nothing."""
        self.dead = True
        self._http.shutdown()
        self._http.server_close()

    def run(self, name: str) -> OnlineRun:
        """The run of that id, made if it is new."""
        return self.runs.setdefault(name, OnlineRun())

    # What a GraphQL operation answers, by its name.

    def Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "user", "entity": "local", "username": "local", "flags": "{}", "teams": {"edges": []}}}

    def ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def OrganizationCoreWeaveOrganizationID(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"organization": None}}

    def UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:
        new, run = given["name"] not in self.runs, self.run(given["name"])
        run.config |= {key: entry.get("value") for key, entry in json.loads(given.get("config") or "{}").items()}
        run.summary |= json.loads(given.get("summaryMetrics") or "{}")
        run.about |= {key: value for key, value in given.items() if value is not None}
        bucket = {
            "id": f"bucket-{given['name']}",
            "name": given["name"],
            "displayName": run.about.get("displayName") or given["name"],
            "config": "{}",
            "historyLineCount": len(run.history),
            "project": _project(given.get("project")),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": new}}

    def RunResumeStatus(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(given["name"])
        return {"model": _project(given["project"]) | {"bucket": run and self._resumed(given["name"], run)}}

    def CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/{given['run']}/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": f"bucket-{given['run']}", "uploadHeaders": [], "files": files}}

    def ArtifactType(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"artifact": None}}

    def CreateArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        about = given["input"]
        self.artifacts.append({"name": about["artifactCollectionName"], "files": [], "committed": False})
        artifact = {
            "id": str(len(self.artifacts) - 1),
            "state": "PENDING",
            "artifactSequence": {"latestArtifact": None},
        }
        return {"createArtifact": {"artifact": artifact}}

    def CreateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        name = "wandb_manifest.json"
        url = f"{self.url}/storage/artifact-{_artifact(given)}/{name}"
        file = {"id": "file", "name": name, "displayName": name, "uploadUrl": url, "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"manifest-{_artifact(given)}", "file": file}}}

    def CreateArtifactFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        nodes = []
        for file in given["input"]["artifactFiles"]:
            self.artifacts[int(file["artifactID"])]["files"].append(file["name"])
            url = f"{self.url}/storage/artifact-{file['artifactID']}/{file['name']}"
            node = {"storagePath": file["name"], "uploadUrl": url, "uploadHeaders": [], "uploadMultipartUrls": None}
            nodes.append({"node": node | {"artifact": {"id": file["artifactID"]}}})
        return {"createArtifactFiles": {"files": {"edges": nodes}}}

    def CommitArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[int(_artifact(given))]["committed"] = True
        return {"commitArtifact": {"artifact": {"id": _artifact(given), "digest": "digest"}}}

    def stream(self, name: str, given: dict[str, Any]) -> None:
        """Take a piece of a run's history and what else comes line by line."""
        run = self.run(name)
        for file, piece in (given.get("files") or {}).items():
            lines, offset = piece.get("content", []), piece.get("offset", 0)
            if file == "wandb-summary.json":
                run.summary = json.loads(lines[-1])
            elif file in STREAMS:
                rows = lines if file == "output.log" else [json.loads(line) for line in lines]
                getattr(run, STREAMS[file])[offset : offset + len(rows)] = rows
        if given.get("complete"):
            run.exit_code = given.get("exitcode")

    def _resumed(self, name: str, run: OnlineRun) -> dict[str, Any]:
        tails = {
            f"{key}Tail": json.dumps([json.dumps(row) for row in getattr(run, key)[-1:]]) for key in STREAMS.values()
        }
        return tails | {
            "id": f"bucket-{name}",
            "name": name,
            "displayName": run.about.get("displayName"),
            "summaryMetrics": json.dumps(run.summary),
            "historyLineCount": len(run.history),
            "eventsLineCount": len(run.events),
            "logLineCount": len(run.output),
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "tags": run.about.get("tags") or [],
            "wandbConfig": json.dumps({"t": {"value": 1}}),  # the sign by which wandb knows a run that has begun
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: WandbServer

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer({})

    def do_PUT(self) -> None:
        data, found = self._body(), re.fullmatch(r"/storage/([^/]+)/(.+)", self.path)
        if self._well() and found:
            with self.server_state.lock:
                self.server_state.run(found[1]).files[found[2]] = data
            self._answer({})

    def do_POST(self) -> None:
        data, state = self._body(), self.server_state
        if not self._well():
            return
        with state.lock:
            if found := re.fullmatch(r"/files/[^/]*/[^/]*/([^/]*)/file_stream", self.path):
                state.stream(found[1], json.loads(data))
                answer = {"limits": {}}
            elif self.path == "/graphql":
                query = json.loads(data)
                operation = query.get("operationName") or re.search(r"(?:query|mutation)\s+(\w+)", query["query"])[1]
                state.requests.append(operation)
                answer = {"data": getattr(state, operation)(query.get("variables") or {})}
            else:  # telemetry
                answer = {}
        self._answer(answer)

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _well(self) -> bool:
        """Whether to answer; otherwise the fault has done so."""
        state = self.server_state
        while state.fault == "hang" and not state.dead:
            time.sleep(0.1)
        if state.dead:
            raise ConnectionAbortedError
        if state.fault:
            self._answer({"errors": [{"message": "injected"}]}, int(state.fault))
        return not state.fault

    def _answer(self, value: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _project(name: str | None) -> dict[str, Any]:
    return {"id": "project", "name": name or "project", "entity": {"id": "entity", "name": "local"}}


def _artifact(given: dict[str, Any]) -> str:
    return given.get("artifactID") or given["artifactId"]
