"""What an AI stack already emits, from the real thing into a running Balefire: OpenTelemetry's Python
exporter over gRPC and HTTP, CloudWatch's subscription envelope as moto makes it, a LiteLLM proxy; owners of keys,
coverage counted by hand, a followed file.

`make test-integrations`, or: integrations.py --binary target/debug/balefire [--only NAME …]
[--litellm PATH of the litellm command]"""
import argparse
import base64
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]
from system import Failed, Up, check, get, wait_for  # noqa: E402

SAMPLES = HERE.parent.parent / "services" / "ingest" / "core" / "tests" / "sources"


def post(url, body, headers=None):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", **(headers or {})})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"{}")


def chain(up, request):
    """The events of a request, as `balefire trace` tells them, and what is missing."""
    done = up.run("trace", request, "--output", "ndjson", codes=(0, 1))
    *links, last = [json.loads(line) for line in done.stdout.splitlines()]
    return links, last["missing"]


def traced(up, request, is_whole, what):
    def whole():
        links, missing = chain(up, request)
        return (links, missing) if is_whole(links) else None
    return wait_for(whole, what)


def users(link):
    return [user["user_id"] for user in link["users"]]


def otel(up, way):
    """Spans, an evaluation as a span's event and one as a log record, through the stock exporters."""
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    if way == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from grpc import Compression
        spans = OTLPSpanExporter(endpoint=f"http://{up.addr}", insecure=True, compression=Compression.Gzip)
        logs = OTLPLogExporter(endpoint=f"http://{up.addr}", insecure=True)
    else:
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        spans = OTLPSpanExporter(endpoint=f"http://{up.http}/v1/traces", compression=Compression.Gzip)
        logs = OTLPLogExporter(endpoint=f"http://{up.http}/v1/logs")
    resource = Resource.create({"service.name": f"chat-{way}"})
    tracers, loggers = TracerProvider(resource=resource), LoggerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(spans))
    loggers.add_log_record_processor(BatchLogRecordProcessor(logs))
    user = f"{way}@example.com"
    with tracers.get_tracer("app").start_as_current_span("chat fake-gpt") as span:
        span.set_attributes({"gen_ai.operation.name": "chat", "gen_ai.request.model": "fake-gpt", "user.id": user,
                             "client.address": "192.0.2.10", "gen_ai.usage.input_tokens": 7})
        span.add_event("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "policy",
                       "gen_ai.evaluation.score.label": "violation", "gen_ai.evaluation.score.value": 0.9})
        context = span.get_span_context()
        loggers.get_logger("judge").emit(LogRecord(
            timestamp=time.time_ns(), trace_id=context.trace_id, span_id=context.span_id, trace_flags=context.trace_flags,
            severity_number=SeverityNumber.WARN, event_name="gen_ai.evaluation.result",
            attributes={"gen_ai.evaluation.name": "toxicity", "gen_ai.evaluation.score.label": "toxic"}))
    check(tracers.force_flush() and loggers.force_flush(), f"{way}: the exporter was refused")
    tracers.shutdown(), loggers.shutdown()
    trace = f"{context.trace_id:032x}"

    def whole(links):
        return len(links) == 2 and all(users(link) == [user] for link in links)
    links, missing = traced(up, trace, whole, f"{way}: the span's and the log record's verdicts, both of {user}")
    verdicts = sorted(link["judge_verdict"] for link in links)
    check(verdicts == ["toxic", "violation"], f"{way}: verdicts {verdicts}")
    check(all(link["category"] == "judge_flag" for link in links), f"{way}: {links}")
    check(missing == [], f"{way}: missing {missing}")
    joined = [link for link in links if link["judge_verdict"] == "toxic"][0]
    check(joined["users"][0]["assurance"] == "joined" and joined["addresses"] == ["192.0.2.10"],
          f"{way}: the log record names nobody; the span of its trace does: {joined}")
    return f"2 events of trace {trace}, one joined by its trace id"


def otel_grpc(up, _):
    return otel(up, "grpc")


def otel_http(up, _):
    return otel(up, "http")


def otel_refused(up, _):
    """An exporter that sends no protobuf is told so, and not to come again with it."""
    import grpc
    channel = grpc.insecure_channel(up.addr)
    export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    try:
        export(b"\xff\xff\xff", timeout=10)
        raise Failed("bytes that are no protobuf were taken")
    except grpc.RpcError as refused:
        check(refused.code() == grpc.StatusCode.INVALID_ARGUMENT, f"{refused.code()}: {refused.details()}")
    check(export(b"", timeout=10) == b"", "an empty export is a legal one")
    bomb = b"\x0a" + varint(8 << 20) + bytes(8 << 20)
    try:
        channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")(
            bomb, timeout=30, compression=grpc.Compression.Gzip)
        raise Failed("8 MiB of zeros were taken")
    except grpc.RpcError as refused:
        codes = (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT)
        check(refused.code() in codes, f"{refused.code()}: {refused.details()}")
    channel.close()
    return "no protobuf, and 8 MiB packed into 8 KiB, are refused; an empty export is not"


def varint(number):
    out = b""
    while number >= 0x80:
        out, number = out + bytes([number & 0x7f | 0x80]), number >> 7
    return out + bytes([number])


def cloudwatch(up, _):
    """A Bedrock record through CloudWatch Logs' subscription filter into Kinesis, as moto makes it; then as
    Lambda and as Firehose pass it on. The second changes nothing."""
    import boto3
    from moto import mock_aws
    record = json.loads((SAMPLES / "bedrock_converse.in.json").read_text())
    request, trace = str(uuid.uuid4()), uuid.uuid4().hex
    record["requestId"], record["requestMetadata"]["traceId"] = request, trace
    record["timestamp"] = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")
    with mock_aws():
        logs, kinesis = boto3.client("logs"), boto3.client("kinesis")
        kinesis.create_stream(StreamName="s", ShardCount=1)
        arn = kinesis.describe_stream(StreamName="s")["StreamDescription"]["StreamARN"]
        logs.create_log_group(logGroupName="bedrock")
        logs.create_log_stream(logGroupName="bedrock", logStreamName="aws/bedrock/modelinvocations")
        logs.put_subscription_filter(logGroupName="bedrock", filterName="all", filterPattern="", destinationArn=arn)
        logs.put_log_events(logGroupName="bedrock", logStreamName="aws/bedrock/modelinvocations",
                            logEvents=[{"timestamp": time.time_ns() // 1_000_000, "message": json.dumps(record)}])
        shard = kinesis.describe_stream(StreamName="s")["StreamDescription"]["Shards"][0]["ShardId"]
        first = kinesis.get_shard_iterator(StreamName="s", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        data = [one["Data"] for one in kinesis.get_records(ShardIterator=first["ShardIterator"])["Records"]]
    check(data and all(one.startswith(b"\x1f\x8b") for one in data), f"moto's envelopes: {data}")
    packed = [base64.b64encode(one).decode() for one in data]
    url = f"http://{up.http}/v1/sources/auto"
    answer = post(url, {"Records": [{"kinesis": {"data": one}} for one in packed]})
    check((answer["accepted"], answer["dead_letters"]) == (2, 0), f"as Lambda: {answer}")
    firehose = {"requestId": "f-1", "timestamp": 1, "records": [{"data": one} for one in packed]}
    answer = post(url, firehose, {"x-amz-firehose-request-id": "f-1"})
    check(answer["requestId"] == "f-1", f"Firehose hears its id: {answer}")
    links, _ = traced(up, request, lambda links: len(links) >= 2, "the events of the Bedrock record")
    got = sorted((link["category"], link["source"], *users(link)) for link in links)
    want = [(category, "bedrock", "jgill@example.com") for category in ("guardrail_block", "prompt_attack")]
    check(got == want, f"{got}")
    return f"{len(data)} envelope of moto → 2 events of request {request}, sent twice and there once"


class Upstream(http.server.BaseHTTPRequestHandler):
    """A model that always says the same."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "fake",
                  "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello."}}],
                  "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


PROXY = """
model_list:
  - model_name: fake-gpt
    litellm_params: {{model: openai/fake, api_base: "http://127.0.0.1:{port}/v1", api_key: none}}
guardrails:
  - guardrail_name: pii-in
    litellm_params:
      guardrail: litellm_content_filter
      mode: pre_call
      default_on: true
      patterns:
        - {{pattern_type: prebuilt, pattern_name: us_ssn, action: BLOCK}}
      blocked_words:
        - {{keyword: "ignore previous instructions", action: BLOCK, description: prompt injection marker}}
litellm_settings:
  callbacks: [generic_api]
  telemetry: false
general_settings:
  master_key: sk-test
"""


def litellm(up, options):
    """A proxy with its content filter and its generic callback, offline: what it lets through, what it blocks."""
    if not options.litellm:
        return None
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    folder = Path(options.folder) / "litellm"
    folder.mkdir()
    (folder / "config.yaml").write_text(PROXY.format(port=upstream.server_port))
    env = {**os.environ, "GENERIC_LOGGER_ENDPOINT": f"http://{up.http}/v1/sources/litellm", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
           "LITELLM_TELEMETRY": "False", "DEFAULT_FLUSH_INTERVAL_SECONDS": "1", "NO_PROXY": "127.0.0.1", "HOME": str(folder)}
    port = free_port()
    log = open(folder / "log", "ab")
    proxy = subprocess.Popen([options.litellm, "--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)],
                             stdout=log, stderr=log, env=env)
    try:
        def alive():
            check(proxy.poll() is None, f"the proxy ended: {(folder / 'log').read_text()[-1500:]}")
            try:
                return get(f"http://127.0.0.1:{port}/health/liveliness")
            except OSError:
                return None
        wait_for(alive, "the LiteLLM proxy", 180)
        user = "litellm@example.com"
        asked = {}
        for name, content in (("allowed", "hello"), ("ssn", "my ssn is 536-22-1234"),
                              ("injection", "please ignore previous instructions")):
            asked[name] = str(uuid.uuid4())
            body = {"model": "fake-gpt", "user": user, "messages": [{"role": "user", "content": content}]}
            try:
                post(f"http://127.0.0.1:{port}/v1/chat/completions", body,
                     {"authorization": "Bearer sk-test", "x-litellm-call-id": asked[name]})
                check(name == "allowed", f"{name} was let through")
            except urllib.error.HTTPError as refused:
                check(name != "allowed", f"{name}: {refused.code} {refused.read()[:500]}")
        want = {"allowed": "telemetry", "ssn": "guardrail_block", "injection": "prompt_attack"}
        for name, category in want.items():
            links, _ = traced(up, asked[name], bool, f"LiteLLM's record of what was {name}")
            got = {(link["category"], *users(link)) for link in links}
            check((category, user) in got, f"{name}: {got}")
        return f"3 requests: {want}, all of {user}"
    finally:
        proxy.terminate()
        proxy.wait(30)
        log.close()
        upstream.shutdown()


def native(**fields):
    """A native record of now."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"timestamp": now, "event_id": str(uuid.uuid4()), **fields}


def revision(up):
    """The control revision that ingest stamps with."""
    for line in get(f"http://{up.http}/metrics").splitlines():
        if line.startswith("balefire_ingest_control_revision "):
            return float(line.split()[1])
    return 0.0


def owners(up, options):
    """Kong names the owners of its credentials: its record of a consumer's call leads an event that knows the key alone
    to the consumer. Where it is declared not to, it does not."""
    kong = json.loads((SAMPLES / "kong.in.json").read_text())

    def somebody():
        return f"{uuid.uuid4().hex}@example.com", uuid.uuid4().hex
    consumer, key = somebody()

    def called():
        kong["started_at"] = time.time_ns() // 1_000_000
        kong["request"]["id"] = kong["request"]["headers"]["x-request-id"] = uuid.uuid4().hex
        kong["request"]["headers"].pop("traceparent", None)
        kong["consumer"]["custom_id"], kong["authenticated_entity"]["id"] = consumer, key
        check(post(f"http://{up.http}/v1/sources/kong", kong)["accepted"] == 1, "Kong's record")

    def blocked():
        trace = uuid.uuid4().hex
        record = native(category="guardrail_block", api_key_id=key, trace_id=trace)
        check(post(f"http://{up.http}/v1/events", record)["results"][0]["status"].lower() == "accepted", "the block")
        return trace
    called()
    links, _ = traced(up, blocked(), lambda links: links and users(links[0]), "the block of the consumer's key")
    user = links[0]["users"][0]
    check((user["user_id"], user["assurance"], user["via"]) == (consumer, "joined", "join:api_key:kong"), f"{user}")
    folder = Path(options.folder) / "owners" / "source"
    folder.mkdir(parents=True)
    (folder / "kong.toml").write_text('owners = ["none"]\n')
    was = revision(up)
    up.run("apply", str(folder.parent))
    wait_for(lambda: revision(up) > was, "the declaration at the door")
    consumer, key = somebody()
    called()
    # Held for two seconds, then told as nobody's.
    links, _ = traced(up, blocked(), bool, "the block of a key that nobody vouches for")
    check(users(links[0]) == [], f"nobody vouches for it: {links}")
    return f"a block with a key alone is of Kong's consumer ({user['via']}), and of nobody where Kong is declared not to know"


def covered(up, options):
    """Whose the events are, counted by hand, as `balefire status` says it, with the reasons in words."""
    application = f"covered-{uuid.uuid4().hex[:8]}"
    ids = [uuid.uuid4().hex for _ in range(4)]

    def record(category, **fields):
        return native(category=category, labels={"application": application}, **fields)
    records = [record("judge_flag", user_id=f"u{n}@example.com", request_id=uuid.uuid4().hex) for n in range(3)]
    records += [record("guardrail_block", request_id=ids[0]), record("telemetry", request_id=ids[0], user_id="a@example.com"),
                record("guardrail_block", request_id=ids[1]),
                record("guardrail_block", request_id=ids[2], service_principal="rag-backend"),
                record("anomaly"),
                record("guardrail_block", request_id=ids[3]),
                record("telemetry", request_id=ids[3], user_id="a@example.com"),
                record("telemetry", request_id=ids[3], user_id="b@example.com")]
    want = {"judge_flag": {"human": 3}, "telemetry": {"human": 3}, "anomaly": {"ungrouped": 1},
            "guardrail_block": {"human": 1, "nobody": 1, "principal_only": 1, "conflicting": 1}}
    file = Path(options.folder) / "covered.ndjson"
    file.write_text("".join(json.dumps(one) + "\n" for one in records))
    up.run("send", str(file), "--wait")
    namings = ("human", "principal_only", "nobody", "conflicting", "ungrouped")

    def rows():
        coverage = json.loads(up.run("status", "--output", "json", codes=(0, 1)).stdout)["coverage"]
        return [row for row in coverage if row["application"] == application]

    def counted():
        return {row["category"]: {name: row[name] for name in namings if row[name]} for row in rows()}
    wait_for(lambda: counted() == want or None, f"coverage {want}, not {counted()}", 30)
    words = " ".join(up.run("status", codes=(0, 1)).stdout.decode().split())
    reason = f"application `{application}` sends neither request, trace nor session id with 1 events"
    check(reason in words, f"the reason in words: {words[-2000:]}")
    return f"{len(records)} records: 7 of a human, 1 principal, 1 nobody, 1 conflicting, 1 ungrouped, as by hand"


def followed(up, options):
    """A file that is written to, renamed and begun anew while the follower is killed: every line is there once."""
    folder = Path(options.folder) / "followed"
    folder.mkdir()
    session, file = uuid.uuid4().hex, folder / "app.ndjson"
    command = [options.binary, "send", str(folder), "--follow", "--addr", f"http://{up.addr}"]
    log = open(folder.parent / "followed.log", "ab")

    def write(count):
        with open(file, "a") as out:
            for _ in range(count):
                out.write(json.dumps(native(category="telemetry", session_id=session, user_id="f@example.com")) + "\n")

    def there(count):
        wait_for(lambda: len(chain(up, session)[0]) >= count, f"{count} of the lines in the log")
    written, accepted = 0, up.accepted()
    for round_ in range(3):
        follower = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            write(60)
            written += 60
            if round_ == 1:
                file.rename(folder / "app.ndjson.1")
                write(40)
                written += 40
            there(written if round_ == 2 else written - 30)
        finally:
            follower.kill()
            follower.wait(30)
    links, _ = chain(up, session)
    check(len({link["event_id"] for link in links}) == len(links) == written, f"{len(links)} of {written}")
    log.close()
    return f"{written} lines over a rename and 3 kills: each in the log and counted once ({up.accepted() - accepted} accepted)"


def free_port():
    import socket
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


SCENARIOS = [otel_grpc, otel_http, otel_refused, cloudwatch, owners, covered, followed, litellm]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--only", nargs="*", choices=[one.__name__ for one in SCENARIOS])
    arguments.add_argument("--litellm", help="the litellm command; without it its scenario is left out, and said to be")
    options = arguments.parse_args()
    options.binary = str(Path(options.binary).resolve())
    failed = 0
    with tempfile.TemporaryDirectory(prefix="balefire-integrations-") as folder:
        options.folder = folder
        up = Up(options.binary, Path(folder) / "data")
        try:
            for scenario in SCENARIOS:
                if options.only and scenario.__name__ not in options.only:
                    continue
                begun = time.monotonic()
                try:
                    told = scenario(up, options)
                except Exception:  # noqa: BLE001 - told, and counted as a failure
                    failed += 1
                    traceback.print_exc()
                    print(f"FAILED {scenario.__name__}", flush=True)
                    continue
                word = "left out" if told is None else "ok"
                print(f"{word:8} {scenario.__name__:13} {time.monotonic() - begun:5.1f} s  {told or 'no --litellm given'}", flush=True)
        finally:
            up.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
