"""An authorizer by HTTP, with Python's own server: it lets in who has the header x-key: right.

The first line says where it listens, each further one what was asked.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Judge(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def judge(self):
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(length).decode()
        asked = {"method": self.command, "path": self.path, "host": self.headers["host"], "body": body}
        print(json.dumps({"asked": asked}), flush=True)
        known = self.headers.get("x-key") == "right"
        answer = b"" if known else b"pay first"
        self.send_response(200 if known else 402)
        self.send_header("content-length", str(len(answer)))
        self.send_header("x-user", "ada")
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = judge

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
print(json.dumps({"kind": "listening", "port": server.server_port}), flush=True)
server.serve_forever()
