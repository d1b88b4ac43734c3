"""Receivers as their vendors answer: what each takes, what it refuses and in which words, as strict as the documents are.

judges.py lets the vendors' own clients judge them, and then lets them judge what Balefire sends. Each keeps what it took."""
import base64
import gzip
import json
import re
import threading
import urllib.parse
from datetime import datetime
from pathlib import Path

from fakes import Fake

MIB = 1 << 20


def answer(status, value, **headers):
    text = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return status, {"content-type": "application/json", **headers}, text


def moment(text):
    """A time that a parser of RFC 3339 takes; nanoseconds are cut for Python's."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.replace("Z", "+00:00")))


class Vendor(Fake):
    """One answer at a time, as if it had one database. `refused`: what it did not take, with its reason."""

    def __init__(self, context=None, spoil=None):
        self.one, self.refused = threading.Lock(), []
        super().__init__(context, spoil)

    def answer(self, path, headers, body):
        parts = urllib.parse.urlsplit(path)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(parts.query, keep_blank_values=True).items()}
        with self.one:
            status, more, text = self.serve(headers[":method"], parts.path, query, headers, body)
            if status >= 400:
                self.refused.append((status, path, text.decode(errors="replace")))
            return status, more, text


class Hec(Vendor):
    """Splunk HTTP Event Collector, event endpoint."""
    token, acks = "11111111-2222-3333-4444-555555555555", False

    def __init__(self, context=None, spoil=None):
        self.events = []
        super().__init__(context, spoil)

    def say(self, status, code, text, **more):
        return answer(status, {"text": text, "code": code, **more})

    def serve(self, method, path, query, headers, body):
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if not token:
            return self.say(401, 2, "Token is required")
        if scheme != "Splunk":
            return self.say(401, 3, "Invalid authorization")
        if token != self.token:
            return self.say(403, 4, "Invalid token")
        channel = headers.get("x-splunk-request-channel") or query.get("channel")
        if self.acks and not channel:
            return self.say(400, 10, "Data channel is missing")
        if channel and not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", channel):
            return self.say(400, 11, "Invalid data channel")
        if path == "/services/collector/ack":
            return self.indexed(method, channel, body)
        if path not in ("/services/collector/event", "/services/collector"):
            return answer(404, {"text": "The requested URL was not found on this server.", "code": 404})
        return self.events_of(channel, body)

    def indexed(self, method, channel, body):
        return self.say(400, 14, "ACK is disabled")

    def events_of(self, channel, body):
        text, at, number, decoder = body.decode("utf-8", "replace"), 0, 0, json.JSONDecoder()
        if not text.strip():
            return self.say(400, 5, "No data")
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            at_number = {"invalid-event-number": number}
            try:
                event, at = decoder.raw_decode(text, at)
            except ValueError:
                return self.say(400, 6, "Invalid data format", **at_number)
            if not isinstance(event, dict) or not isinstance(event.get("time", 0), (int, float, str)):
                return self.say(400, 6, "Invalid data format", **at_number)
            if "event" not in event:
                return self.say(400, 12, "Event field is required", **at_number)
            if event["event"] in ("", None):
                return self.say(400, 13, "Event field cannot be blank", **at_number)
            if not all(isinstance(value, (str, int, float, list)) for value in event.get("fields", {}).values()):
                return self.say(400, 15, "Error in handling indexed fields", **at_number)
            self.events.append(event)
            number += 1
        return self.took(channel)

    def took(self, channel):
        return self.say(200, 0, "Success")


class HecAcks(Hec):
    """The same with a token that has indexer acknowledgement. What it took is indexed when it is asked a second time; it
    says so once and forgets, as Splunk does. `lost`: so many calls are taken and never indexed."""
    acks = True

    def __init__(self, context=None, spoil=None, lost=0):
        self.lost, self.given, self.open, self.confirmed = lost, {}, {}, 0
        super().__init__(context, spoil)

    def took(self, channel):
        number = self.given[channel] = self.given.get(channel, -1) + 1
        self.lost -= 1
        self.open[channel, number] = 0 if self.lost < 0 else None
        return self.say(200, 0, "Success", ackId=number)

    def indexed(self, method, channel, body):
        try:
            numbers = json.loads(body)["acks"]
            good = method == "POST" and isinstance(numbers, list) and all(type(number) is int for number in numbers)
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            return self.say(400, 6, "Invalid data format")
        return answer(200, {"acks": {str(number): self.ask(channel, number) for number in numbers}})

    def ask(self, channel, number):
        """Whether that is indexed. Nothing is known of numbers of other channels, and of what was said before."""
        if self.open.get((channel, number)) is None:
            return False
        self.open[channel, number] += 1
        if self.open[channel, number] < 2:
            return False
        del self.open[channel, number]
        self.confirmed += 1
        return True


class Lake(Vendor):
    """A gateway that takes OCSF over HTTP: what ocsf-json-schema calls no Detection Finding of 1.8.0 it refuses."""
    token = "ocsf-token"

    def __init__(self, context=None, spoil=None):
        import jsonschema
        from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
        self.findings = []
        self.judge = jsonschema.Draft202012Validator(OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0")).get_class_schema("detection_finding"))
        super().__init__(context, spoil)

    def faults(self, finding):
        return [f"{'/'.join(map(str, fault.path))}: {fault.message[:200]}" for fault in self.judge.iter_errors(finding)]

    def serve(self, method, path, query, headers, body):
        if headers.get("authorization") != f"Bearer {self.token}":
            return answer(401, {"error": "unauthorized"})
        if method != "POST" or "application/json" not in headers.get("content-type", ""):
            return answer(415, {"error": "a finding is posted as JSON"})
        try:
            finding = json.loads(body)
        except ValueError:
            return answer(400, {"error": "no JSON"})
        if faults := self.faults(finding):
            return answer(400, {"error": faults[:5]})
        self.findings.append(finding)
        return answer(202, {})


class LogsIngestion(Vendor):
    """Azure's Logs Ingestion API, and the login that sells its tokens."""
    tenant, client, secret, dcr, stream = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000", "s&cret+ä", "dcr-0123456789abcdef0123456789abcdef", "Custom-Balefire_CL"
    columns = {"TimeGenerated", "EscalationId", "EpisodeId", "Kind", "Tenant", "Rule", "Title", "Severity", "Category", "Subject",
               "EventCount", "WhatWasSeen", "WhyItMatters", "WhatToDoFirst", "Query"}

    def __init__(self, context=None, spoil=None):
        self.rows, self.dropped, self.sold = [], set(), 0
        super().__init__(context, spoil)

    def fault(self, status, code, message):
        return answer(status, {"error": {"code": code, "message": message}})

    def serve(self, method, path, query, headers, body):
        login = f"{self.url}/{self.tenant}"
        if path == f"/{self.tenant}/v2.0/.well-known/openid-configuration":
            return answer(200, {"issuer": f"{login}/v2.0", "authorization_endpoint": f"{login}/oauth2/v2.0/authorize", "token_endpoint": f"{login}/oauth2/v2.0/token"})
        if path == f"/{self.tenant}/oauth2/v2.0/token":
            return self.sell(body)
        if headers.get("authorization") != f"Bearer token-{self.sold}" or not self.sold:
            return self.fault(401, "InvalidToken", "The token is not valid")
        place = re.fullmatch(r"/dataCollectionRules/([^/]+)/streams/([^/]+)", path)
        if method != "POST" or not place or query.get("api-version") != "2023-01-01":
            return self.fault(404, "NotFound", "No such operation")
        if place.groups() != (self.dcr, self.stream):
            return self.fault(404, "NotFound", f"Data collection rule with immutable Id '{place[1]}' not found.")
        return self.take_rows(headers, body)

    def sell(self, body):
        form = dict(urllib.parse.parse_qsl(body.decode()))
        if form.get("grant_type") != "client_credentials" or not form.get("scope", "").endswith("/.default"):
            return answer(400, {"error": "invalid_request", "error_description": "AADSTS900144: The request body must contain 'grant_type' and 'scope'."})
        if (form.get("client_id"), form.get("client_secret")) != (self.client, self.secret):
            return answer(401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided.", "error_codes": [7000215]})
        self.sold += 1
        return answer(200, {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": f"token-{self.sold}"})

    def take_rows(self, headers, body):
        packed = len(body)
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        try:
            rows = json.loads(body)
            # Azure's own client counts rows, without what stands between them.
            if packed > MIB or sum(len(json.dumps(row, ensure_ascii=False).encode()) for row in rows) > MIB:
                return self.fault(413, "ContentLengthLimitExceeded", "Maximum allowed content length: 1048576 bytes (1 MB).")
            good = isinstance(rows, list) and all(isinstance(row, dict) and moment(row["TimeGenerated"]) for row in rows)
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            return self.fault(400, "InvalidJson", "The body is no array of objects with TimeGenerated")
        for row in rows:
            self.dropped |= row.keys() - self.columns
            self.rows.append({name: value for name, value in row.items() if name in self.columns})
        return 204, {}, b""


class EventsIngestion(LogsIngestion):
    """The same for the feed's table."""
    stream = "Custom-BalefireEvents_CL"
    columns = {column["name"] for column in json.loads((Path(__file__).parent.parent / "sentinel/template.json").read_text())["resources"][1]["properties"]["schema"]["columns"]}


class Bulk(Vendor):
    """Elasticsearch: `_bulk` into data streams."""
    key = base64.b64encode(b"id:key").decode()

    def __init__(self, context=None, spoil=None):
        self.documents = {}
        super().__init__(context, spoil)

    def serve(self, method, path, query, headers, body):
        kind = headers.get("accept", "")
        own = {"x-elastic-product": "Elasticsearch", "content-type": kind.split(",")[0] if "elasticsearch+json" in kind else "application/json"}
        if headers.get("authorization") != f"ApiKey {self.key}":
            return answer(401, {"error": {"type": "security_exception", "reason": "missing authentication credentials"}, "status": 401}, **own)
        if (method, path) == ("GET", "/"):
            return answer(200, {"name": "fake", "cluster_name": "fake", "version": {"number": "9.2.1", "build_flavor": "default"}, "tagline": "You Know, for Search"}, **own)
        if not path.endswith("/_bulk") or method not in ("POST", "PUT"):
            return answer(404, {"error": {"type": "resource_not_found_exception", "reason": path}, "status": 404}, **own)
        if "x-ndjson" not in headers.get("content-type", "") and "json" not in headers.get("content-type", ""):
            return answer(406, {"error": {"type": "media_type_header_exception", "reason": "Content-Type"}, "status": 406}, **own)
        if not body.endswith(b"\n"):
            return answer(400, {"error": {"type": "illegal_argument_exception", "reason": "The bulk request must be terminated by a newline [\\n]"}, "status": 400}, **own)
        try:
            lines = [json.loads(line) for line in body.splitlines() if line]
            items = [self.item(action, document) for action, document in zip(lines[::2], lines[1::2], strict=True)]
        except (ValueError, KeyError, TypeError) as error:
            return answer(400, {"error": {"type": "illegal_argument_exception", "reason": str(error)}, "status": 400}, **own)
        errors = any("error" in one for item in items for one in item.values())
        if "filter_path" in query:
            items = [{op: {name: ({"type": value["type"]} if name == "error" else value) for name, value in one.items() if name in ("status", "error")}
                      for op, one in item.items()} for item in items]
            return answer(200, {"errors": errors, "items": items}, **own)
        return answer(200, {"errors": errors, "took": 1, "items": items}, **own)

    def item(self, action, document):
        (op, meta), = action.items()
        place = (meta["_index"], meta.get("_id") or f"made-{len(self.documents)}")
        said = {"_index": place[0], "_id": place[1]}

        def fault(status, kind, reason):
            return {op: {**said, "status": status, "error": {"type": kind, "reason": reason}}}
        if op != "create":
            return fault(400, "illegal_argument_exception", "only write ops with an op_type of create are allowed in data streams")
        if place in self.documents:
            return fault(409, "version_conflict_engine_exception", f"[{place[1]}]: version conflict, document already exists")
        try:
            moment(document["@timestamp"])
        except (KeyError, TypeError, ValueError):
            return fault(400, "document_parsing_exception", "data stream timestamp field [@timestamp] is missing")
        self.documents[place] = document
        return {op: {**said, "_version": 1, "result": "created", "status": 201}}


class Pager(Vendor):
    """PagerDuty, Events API v2."""
    key = "R0123456789ABCDEF0123456789ABCDE"

    def __init__(self, context=None, spoil=None):
        self.alerts = {}
        super().__init__(context, spoil)

    def serve(self, method, path, query, headers, body):
        if (method, path) != ("POST", "/v2/enqueue"):
            return answer(404, {"status": "not found"})
        if len(body) > MIB // 2:
            return answer(413, {"status": "too large"})
        try:
            event = json.loads(body)
            faults = self.faults(event)
        except ValueError:
            faults = ["JSON parse error"]
        if faults:
            return answer(400, {"status": "invalid event", "message": "Event object is invalid", "errors": faults})
        key = event.get("dedup_key") or f"made-{len(self.alerts)}"
        told = self.alerts.setdefault(key, [])
        told.append(event)
        return answer(202, {"status": "success", "message": "Event processed", "dedup_key": key})

    def faults(self, event):
        if not isinstance(event, dict) or event.get("routing_key") != self.key:
            return ["'routing_key' is invalid"]
        action, key = event.get("event_action"), event.get("dedup_key")
        found = []
        if action not in ("trigger", "acknowledge", "resolve"):
            found.append("'event_action' is invalid (must be one of: trigger, acknowledge, resolve)")
        if action != "trigger" and not key:
            found.append("'dedup_key' is missing or blank")
        if key and len(key) > 255:
            found.append("Length of 'dedup_key' is greater than 255")
        if action == "trigger":
            payload = event.get("payload")
            if not isinstance(payload, dict):
                return [*found, "'payload' is missing or blank"]
            found += [f"'payload.{name}' is missing or blank" for name in ("summary", "source", "severity") if not isinstance(payload.get(name), str) or not payload[name]]
            if payload.get("severity") not in ("critical", "error", "warning", "info"):
                found.append("'payload.severity' is invalid (must be one of: critical, warning, error, info)")
            if len(payload.get("summary", "")) > 1024:
                found.append("Length of 'payload.summary' is greater than 1024")
            try:
                moment(payload.get("timestamp", "2026-01-01T00:00:00Z"))
            except ValueError:
                found.append("'payload.timestamp' is invalid")
        return found


ADF = {"doc": {"paragraph", "codeBlock", "heading", "bulletList", "rule"}, "paragraph": {"text", "hardBreak"}, "codeBlock": {"text"}, "heading": {"text"}}


def adf(node, kind="doc"):
    """What is wrong with a document of Atlassian's format; None: nothing."""
    if not isinstance(node, dict) or node.get("type") != kind:
        return f"no {kind}"
    if kind == "doc" and node.get("version") != 1:
        return "version"
    if kind == "text":
        good = isinstance(node.get("text"), str) and node["text"] and all(mark.get("type") in ("strong", "em", "code", "link") for mark in node.get("marks", []))
        return None if good else "text"
    for child in node.get("content", []):
        allowed = ADF.get(kind, set())
        if child.get("type") not in allowed:
            return f"{child.get('type')} within {kind}"
        if fault := adf(child, child["type"]):
            return fault
    return None


class Jira(Vendor):
    """Jira Cloud, REST v3."""
    user, token, project, done = "bot@soc.example", "jira-token", "SEC", "31"

    def __init__(self, context=None, spoil=None):
        self.issues = {}
        super().__init__(context, spoil)

    def fault(self, status, *messages, **errors):
        return answer(status, {"errorMessages": list(messages), "errors": errors})

    def serve(self, method, path, query, headers, body):
        if headers.get("authorization") != "Basic " + base64.b64encode(f"{self.user}:{self.token}".encode()).decode():
            return answer(401, b"Basic authentication with passwords is deprecated.", **{"x-seraph-loginreason": "AUTHENTICATED_FAILED"})
        place = path.removeprefix("/rest/api/3/")
        try:
            value = json.loads(body) if body else {}
        except ValueError:
            return self.fault(400, "There was an error parsing JSON. Check that your request body is valid.")
        if (method, place) == ("GET", "serverInfo"):
            return answer(200, {"baseUrl": self.url, "version": "1001.0.0-SNAPSHOT", "versionNumbers": [1001, 0, 0], "deploymentType": "Cloud", "buildNumber": 100291})
        if (method, place) == ("GET", "field"):
            return answer(200, [{"id": name, "key": name, "name": name, "custom": False, "clauseNames": [name], "schema": {"type": "string", "system": name}} for name in ("summary", "labels", "description")])
        if (method, place) == ("POST", "issue"):
            return self.make(value)
        if place == "search/jql":
            return self.search(value if method == "POST" else query)
        found = re.fullmatch(r"issue/([A-Z]+-\d+)(/comment|/transitions)?", place)
        issue = found and self.issues.get(found[1])
        if not issue:
            return self.fault(404, "Issue does not exist or you do not have permission to see it.")
        return self.of_issue(method, issue, found[2], value)

    def make(self, value):
        fields = value.get("fields", {})
        errors = {}
        if fields.get("project", {}).get("key") != self.project:
            errors["project"] = "valid project is required"
        if fields.get("issuetype", {}).get("name") != "Task":
            errors["issuetype"] = "Specify a valid issue type"
        summary = fields.get("summary", "")
        if not summary or len(summary) > 255 or "\n" in summary:
            errors["summary"] = "Summary must be less than 255 characters." if summary else "You must specify a summary of the issue."
        if any(" " in label or len(label) > 255 for label in fields.get("labels", [])):
            errors["labels"] = "The label can't contain spaces."
        if fault := adf(fields.get("description", {"type": "doc", "version": 1, "content": []})):
            errors["description"] = f"Operation value must be an Atlassian Document (see the Atlassian Document Format): {fault}"
        if errors:
            return self.fault(400, **errors)
        key = f"{self.project}-{len(self.issues) + 1}"
        issue = self.issues[key] = {"id": str(10000 + len(self.issues)), "key": key, "self": f"{self.url}/rest/api/3/issue/{10000 + len(self.issues)}",
                                    "fields": {**fields, "status": {"name": "To Do"}, "comments": []}}
        return answer(201, {name: issue[name] for name in ("id", "key", "self")})

    def search(self, asked):
        label = re.fullmatch(r'labels ?= ?"([^"]+)"', asked.get("jql", ""))
        if not label:
            return self.fault(400, "Error in the JQL Query")
        found = [issue for issue in self.issues.values() if label[1] in issue["fields"].get("labels", [])]
        return answer(200, {"issues": [{name: issue[name] for name in ("id", "key", "self")} | {"fields": {}} for issue in found], "isLast": True})

    def of_issue(self, method, issue, what, value):
        if what == "/comment" and method == "POST":
            if fault := adf(value.get("body")):
                return self.fault(400, comment=f"Comment body is not valid! {fault}")
            issue["fields"]["comments"].append(value["body"])
            number = str(len(issue["fields"]["comments"]))
            return answer(201, {"id": number, "self": f"{issue['self']}/comment/{number}", "body": value["body"]})
        if what == "/transitions" and method == "GET":
            return answer(200, {"transitions": [{"id": self.done, "name": "Done", "to": {"name": "Done"}}]})
        if what == "/transitions":
            if str(value.get("transition", {}).get("id")) != self.done:
                return self.fault(400, "It is not on the appropriate workflow step, or the transition does not exist.")
            issue["fields"]["status"] = {"name": "Done"}
            return 204, {}, b""
        return answer(200, issue)


def blocks_fault(blocks):
    """What Slack's Block Kit refuses; None: nothing."""
    def text(value, most):
        return isinstance(value, dict) and value.get("type") in ("plain_text", "mrkdwn") and 0 < len(value.get("text", "")) <= most
    if not isinstance(blocks, list) or len(blocks) > 50:
        return "blocks"
    for block in blocks:
        kind = block.get("type")
        if kind == "header":
            good = text(block.get("text"), 150) and block["text"]["type"] == "plain_text"
        elif kind == "section":
            fields = block.get("fields")
            good = (text(block.get("text"), 3000) or fields) and (fields is None or 0 < len(fields) <= 10 and all(text(field, 2000) for field in fields))
        elif kind == "actions":
            good = all(one.get("type") == "button" and text(one.get("text"), 75) and len(one.get("action_id", "")) <= 255 and len(one.get("value", "")) <= 2000
                       for one in block.get("elements", [None]))
        else:
            good = kind == "divider"
        if not good:
            return kind
    return None


class Slack(Vendor):
    """Slack: one incoming webhook, and the Web API for one bot in one channel."""
    hook, token, channel = "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX", "xoxb-fake", "C0123456789"

    def __init__(self, context=None, spoil=None):
        self.posted, self.messages = [], {}
        super().__init__(context, spoil)

    def serve(self, method, path, query, headers, body):
        if path.startswith("/services/"):
            return self.webhook(path, body)
        if not path.startswith("/api/"):
            return 404, {}, b"no such page"
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if (scheme, token) != ("Bearer", self.token):
            return answer(200, {"ok": False, "error": "invalid_auth" if token else "not_authed"})
        # Slack's own client calls forms and empty bodies JSON too.
        try:
            asked = json.loads(body)
        except ValueError:
            asked = dict(urllib.parse.parse_qsl(body.decode()))
        return answer(200, self.call(path.removeprefix("/api/"), asked))

    def webhook(self, path, body):
        plain = {"content-type": "text/plain"}
        if path != f"/services/{self.hook}":
            return 404, plain, b"no_service"
        try:
            message = json.loads(body)
        except ValueError:
            return 400, plain, b"invalid_payload"
        if not message.get("text") and not message.get("blocks"):
            return 400, plain, b"no_text"
        if blocks_fault(message.get("blocks", [])):
            return 400, plain, b"invalid_blocks"
        self.posted.append(message)
        return 200, plain, b"ok"

    def call(self, name, asked):
        if name == "auth.test":
            return {"ok": True, "url": self.url, "team": "SOC", "user": "balefire", "team_id": "T1", "user_id": "U1", "bot_id": "B1"}
        if name not in ("chat.postMessage", "chat.update"):
            return {"ok": False, "error": "unknown_method"}
        if asked.get("channel") != self.channel:
            return {"ok": False, "error": "channel_not_found"}
        blocks = asked.get("blocks", [])
        blocks = json.loads(blocks) if isinstance(blocks, str) else blocks
        if not asked.get("text") and not blocks:
            return {"ok": False, "error": "no_text"}
        if fault := blocks_fault(blocks):
            return {"ok": False, "error": "invalid_blocks", "response_metadata": {"messages": [f"[ERROR] {fault}"]}}
        ts = asked.get("ts")
        if name == "chat.update" and ts not in self.messages:
            return {"ok": False, "error": "message_not_found"}
        if name == "chat.postMessage":
            ts = f"1770820200.{len(self.messages) + 1:06}"
            self.messages[ts] = []
        self.messages[ts].append({"text": asked.get("text"), "blocks": blocks})
        return {"ok": True, "channel": self.channel, "ts": ts, "message": {"type": "message", "text": asked.get("text"), "ts": ts, "blocks": blocks}}


class ServiceNow(Vendor):
    """ServiceNow: the incident table and Event Management."""
    user, password = "balefire", "pass:word"

    def __init__(self, context=None, spoil=None):
        self.incidents, self.events = {}, []
        super().__init__(context, spoil)

    def serve(self, method, path, query, headers, body):
        if headers.get("authorization") != "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode():
            return answer(401, {"error": {"message": "User Not Authenticated", "detail": "Required to provide Auth information"}, "status": "failure"})
        table = "/api/now/table/incident"
        if (method, path) == ("POST", "/api/global/em/jsonv2"):
            records = json.loads(body)["records"]
            if not all(record.get("source") and record.get("message_key") and record.get("severity") in list("012345") and isinstance(json.loads(record["additional_info"]), dict) for record in records):
                return answer(400, {"error": {"message": "Invalid event"}})
            self.events += records
            return answer(201, {"result": {"Default Bulk Endpoint": f"{len(records)} events were inserted"}})
        if (method, path) == ("GET", table):
            return self.search(query)
        if (method, path) == ("POST", table):
            incident = json.loads(body)
            if len(incident.get("short_description", "")) not in range(1, 161) or incident.get("impact") not in list("123") or incident.get("urgency") not in list("123"):
                return answer(400, {"error": {"message": "Invalid record"}})
            sys_id = f"{len(self.incidents) + 1:032x}"
            self.incidents[sys_id] = {**incident, "sys_id": sys_id, "number": f"INC{len(self.incidents) + 1:07}", "state": "1", "notes": []}
            return answer(201, {"result": self.incidents[sys_id]})
        incident = self.incidents.get(path.removeprefix(f"{table}/"))
        if method not in ("PATCH", "PUT") or not incident:
            return answer(404, {"error": {"message": "No Record found", "detail": "Record doesn't exist or ACL restricts the record retrieval"}, "status": "failure"})
        change = json.loads(body)
        if change.get("state") == "6" and not (change.get("close_code") and change.get("close_notes")):
            return answer(403, {"error": {"message": "Operation Failed", "detail": "The following mandatory fields are not filled in: Resolution code, Resolution notes"}})
        incident["notes"] += [change.pop("work_notes")] if "work_notes" in change else []
        incident.update(change)
        return answer(200, {"result": incident})

    def search(self, query):
        """Those of which each field is as asked."""
        wanted = [part.partition("=")[::2] for part in query.get("sysparm_query", "").split("^") if part]
        found = [one for one in self.incidents.values() if all(one.get(name) == value for name, value in wanted)]
        names = [name for name in query.get("sysparm_fields", "").split(",") if name]
        first, most = int(query.get("sysparm_offset") or 0), int(query.get("sysparm_limit") or 10_000)
        said = [{name: one[name] for name in names or one if name in one} for one in found[first:first + most]]
        return answer(200, {"result": said}, **{"x-total-count": str(len(found))})
