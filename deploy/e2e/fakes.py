"""Receivers for tests: over TLS or not, that keep what came, and fail as a script says."""
import hashlib
import json
import random
import socket
import ssl
import struct
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY_MAX = 4 << 20


def certificate(folder):
    """A certificate for this host that is its own root; paths of it and of its key."""
    cert, key = folder / "fake.pem", folder / "fake.key"
    if not cert.exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
                       check=True, capture_output=True)
    return cert, key


def tls(folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(folder))
    return context


class Fake:
    """An HTTP receiver. `answer(path, headers, body)` gives status, headers, body; a script may spoil it on the way."""

    def __init__(self, context=None, spoil=None):
        self.calls, self.lock = [], threading.Condition()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def call(self):
                size = int(self.headers.get("content-length", 0))
                if size > BODY_MAX:
                    self.close_connection = True
                    return self.send_error(413)
                body = self.rfile.read(size)
                self.headers[":method"] = self.command
                how = spoil(self.path, self.headers, body) if spoil else ("fine",)
                if how[0] == "reset":                      # nothing was taken
                    return self.reset()
                if how[0] == "status":                     # refused, maybe for a while
                    return self.say(how[1], how[2] if len(how) > 2 else {}, b"no")
                if how[0] == "delay":
                    time.sleep(how[1])
                code, headers, text = fake.take(self.path, self.headers, body)
                if how[0] == "taken_reset":                # taken, and the answer is cut in its middle
                    self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-le")
                    self.wfile.flush()
                    return self.reset()
                if how[0] == "taken_silent":               # taken, and no answer comes in time
                    time.sleep(how[1])
                    return self.reset()
                if how[0] == "drip":
                    whole = f"HTTP/1.1 {code} X\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text
                    for byte in whole:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        time.sleep(how[1])
                    return None
                if how[0] == "twice":                      # one answer too many, at once or later
                    self.say(code, headers, text)
                    time.sleep(how[1])
                    self.close_connection = True
                return self.say(code, headers, text)

            do_GET = do_POST = do_PATCH = do_PUT = call

            def say(self, code, headers, text):
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def reset(self):
                self.close_connection = True
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                raise ConnectionResetError

            def log_message(self, *_):
                pass

            def handle(self):
                try:
                    super().handle()
                except (ConnectionError, ssl.SSLError, OSError, ValueError):
                    pass      # a sender that was killed, or we that cut it off

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def get_request(self):
                stream, address = super().get_request()
                if context:
                    stream = context.wrap_socket(stream, server_side=True, do_handshake_on_connect=False)
                return stream, address

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, headers, body):
        with self.lock:
            self.calls.append((path, dict(headers), body))
            self.lock.notify_all()
        return self.answer(path, headers, body)

    def answer(self, path, headers, body):
        return 202, {}, b"{}"

    def bodies(self):
        with self.lock:
            return [json.loads(body) for _, _, body in self.calls]

    def wait(self, condition, seconds=60):
        with self.lock:
            return self.lock.wait_for(lambda: condition(self.calls), seconds)


class Script:
    """Faults by chance, the same for the same seed and order of attempts of one id."""

    def __init__(self, seed, share, permanent, name):
        self.seed, self.share, self.permanent, self.name = seed, share, permanent, name
        self.tries, self.lock = {}, threading.Lock()
        self.ambiguous, self.done = {}, {}
        self.healed = False

    def __call__(self, path, headers, body):
        key = self.name(headers, body)
        with self.lock:
            number = self.tries[key] = self.tries.get(key, 0) + 1
        chance = random.Random(hashlib.sha256(f"{self.seed} {key} {number}".encode()).digest())
        if self.healed:
            return ("fine",)
        if random.Random(hashlib.sha256(f"{self.seed} {key}".encode()).digest()).random() < self.permanent:
            return ("status", 400)
        if chance.random() >= self.share:
            return ("fine",)
        how = chance.choice([("status", 500), ("status", 503, {"retry-after": "1"}), ("status", 429, {"retry-after": "1"}),
                             ("delay", 0.2), ("reset",), ("taken_reset",), ("drip", 0.004), ("twice", chance.choice([0, 0.02]))])
        if how[0] == "taken_reset":
            with self.lock:
                self.ambiguous[key] = self.ambiguous.get(key, 0) + 1
        return how
