"""Sends one AI-security event to Balefire and prints what became of it.

Exits with 0 only if the event was accepted: it is durable then, and will be evaluated.
Run it with run.sh, which makes the generated modules first.
"""

import os
import random
import sys
import time
import uuid

import grpc

from balefire.event.v1 import event_pb2
from balefire.ingest.v1 import ingest_pb2, ingest_pb2_grpc

DEADLINE_SECONDS = 10
ATTEMPTS_MAX = 6
TRY_AGAIN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)


def blocked_request() -> ingest_pb2.NativeEvent:
    """A guardrail stopped a user's request."""
    event = ingest_pb2.NativeEvent(
        # Given once, before the first attempt: sending the event again is harmless.
        event_id=str(uuid.uuid4()),
        category=event_pb2.CATEGORY_GUARDRAIL_BLOCK,
        severity=event_pb2.SEVERITY_MEDIUM,
        request_id=str(uuid.uuid4()),
        user_id="jgill@example.com",
        model="gpt-4o",
        policy_violated="no-customer-data",
        guardrail_result="blocked",
        endpoint="/v1/chat/completions",
        labels={"application": "support-chat"},
    )
    event.timestamp.GetCurrentTime()
    return event


def append(stub, request, metadata):
    """Sends, and tries again what the server could not take just now."""
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            return stub.Append(request, timeout=DEADLINE_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() not in TRY_AGAIN or attempt == ATTEMPTS_MAX:
                raise
            time.sleep(random.uniform(0, min(5.0, 0.1 * 2**attempt)))
    raise AssertionError("the loop returns or raises")


def main() -> int:
    address = os.environ.get("BALEFIRE_ADDR", "127.0.0.1:7400").removeprefix("http://")
    token = os.environ.get("BALEFIRE_TOKEN")
    metadata = [("authorization", f"Bearer {token}")] if token else []
    request = ingest_pb2.AppendRequest(events=[blocked_request()])
    with grpc.insecure_channel(address) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        try:
            response = append(stub, request, metadata)
        except grpc.RpcError as error:
            print(f"{address}: {error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    result = response.results[0]
    status = ingest_pb2.AppendStatus.Name(result.status).removeprefix("APPEND_STATUS_")
    line = f"{status} event_id={request.events[0].event_id}"
    if result.status == ingest_pb2.APPEND_STATUS_ACCEPTED:
        place = result.place
        print(f"{line} stream={place.stream} sequence={place.sequence} index={place.index}")
        return 0
    if result.HasField("violation"):
        wrong = result.violation
        line += f" field={wrong.field} reason={wrong.reason}: {wrong.description}"
    print(line)
    return 1


if __name__ == "__main__":
    sys.exit(main())
