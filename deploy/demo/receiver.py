"""A webhook receiver that believes nothing: it checks each Standard Webhooks signature with the
standard library, keeps what came, and prints it for people.

Alone: `python3 receiver.py --secret whsec_… [--port 9000] [--out deliveries.ndjson]`."""
import argparse
import base64
import hashlib
import hmac
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY_MAX = 1 << 20


def signature(secret, message_id, stamp, body):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()).decode()


class Receiver:
    def __init__(self, secret=None, port=0, out=None, show=print):
        self.secret, self.show = secret, show
        self.out = open(out, "ab", buffering=0) if out else None
        self.lock = threading.Condition()
        self.deliveries = []      # (webhook-id, payload)
        self.refused = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                size = int(self.headers.get("content-length", 0))
                if size > BODY_MAX:
                    self.close_connection = True
                    self.send_error(413)
                    return
                code = receiver.take(self.headers, self.rfile.read(size))
                self.send_response(code)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

            def handle(self):
                try:
                    super().handle()
                except ConnectionError:
                    pass      # a sender that was killed

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, headers, body):
        message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if self.secret:
            given = headers.get("webhook-signature", "").split(" ")
            want = signature(self.secret, message_id, stamp, body)
            if not any(hmac.compare_digest(want, one) for one in given) or abs(time.time() - int(stamp or 0)) > 300:
                with self.lock:
                    self.refused.append(message_id)
                return 401
        payload = json.loads(body)
        if self.out:
            self.out.write(json.dumps({"webhook_id": message_id, "at": time.time(), "body": payload}).encode() + b"\n")
        with self.lock:
            self.deliveries.append((message_id, payload))
            self.lock.notify_all()
        self.tell(payload)
        return 204

    def tell(self, payload):
        data = payload["data"]
        who = ", ".join(f"{k}={v}" for k, v in sorted(data.get("key", {}).items())) or "-"
        actions = ", ".join(action["name"] for action in data.get("recommended_actions", [])) or "nothing"
        self.show(f"  webhook  {data['severity']:<8} {data['rule']:<30} {who}\n"
                  f"           {data.get('event_count', 1)} event(s); recommended, not enforced: {actions}")

    def wait(self, count, seconds):
        with self.lock:
            return self.lock.wait_for(lambda: len(self.deliveries) >= count, seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--secret")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    receiver = Receiver(arguments.secret, arguments.port, arguments.out, lambda line: print(line, flush=True))
    print(f"listening on {receiver.url}", file=sys.stderr, flush=True)
    threading.Event().wait()
