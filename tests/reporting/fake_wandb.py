"""A W&B server that knows one run, in a process that can be killed."""

import http.server
import json
import sys

BUCKET = {
    "id": "1",
    "name": "run",
    "displayName": "run",
    "description": "",
    "config": "{}",
    "sweepName": None,
    "summaryMetrics": "{}",
    "historyLineCount": 0,
    "eventsLineCount": 0,
    "logLineCount": 0,
    "historyTail": "[]",
    "eventsTail": "[]",
    "project": {"id": "1", "name": "paperzoo", "entity": {"id": "1", "name": "me"}},
}
ANSWER = {
    "data": {
        "viewer": {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}},
        "serverInfo": {"cliVersionInfo": {}, "latestLocalVersionInfo": None, "features": []},
        "upsertBucket": {"bucket": BUCKET, "inserted": True},
        "model": {"bucket": None},
        "project": {"run": None},
        "createRunFiles": {"runID": "1", "uploadHeaders": [], "files": []},
    }
}


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = json.dumps(ANSWER if self.path == "/graphql" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_PUT = do_POST  # noqa: N815 - the names are http.server's


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    print(server.server_address[1], flush=True)
    sys.exit(server.serve_forever())
