"""Python's own http.server, with as little more as it needs to read a body.

Says `port <number>`, then a line for each request that has come to its end: method, target, length of the body.
"""

import http.server
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        if "chunked" in self.headers.get("transfer-encoding", ""):
            length = self.chunks()
        else:
            length = len(self.rfile.read(int(self.headers.get("content-length", 0))))
            if length < int(self.headers.get("content-length", 0)):
                return
        print(self.command, self.path, length, flush=True)
        self.send_response(200)
        self.send_header("content-length", "4")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"seen")

    def chunks(self):
        length = 0
        while size := int(self.rfile.readline().split(b";")[0], 16):
            length += len(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return length

    def log_message(self, *_):
        pass


for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]:
    setattr(Handler, f"do_{method}", Handler.answer)


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request, client_address):
        print(sys.exc_info()[1], file=sys.stderr)


server = Server(("127.0.0.1", 0), Handler)
print("port", server.server_port, flush=True)
server.serve_forever()
