"""The vendors' own Python clients judge our fakes: they must understand what each answers, good and bad. Then the fakes
judge Balefire: an episode's whole life to each of them, over TLS, and none may refuse anything.

Part of `make judges`."""
import json
import logging
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).parent.resolve()
known = sys.path[:]
sys.path[:] = [place for place in known if Path(place).resolve() != HERE]
import packaging.version  # noqa: E402,F401  the vendors' clients mean this one, not the file of this folder
sys.path[:] = known

import vendors  # noqa: E402
from fakes import certificate, tls  # noqa: E402
from system import Up, check, wait_for  # noqa: E402


def refused(call, errors, what):
    """The client says that it was refused."""
    try:
        call()
    except errors as error:
        return error
    check(False, f"{what} was not refused")


def splunk(fake, cert):
    """splunk-handler: Splunk's logging handler sends log records as events."""
    from splunk_handler import SplunkHandler

    def send(token, words):
        handler = SplunkHandler(host="127.0.0.1", port=fake.port, token=token, index="main", verify=str(cert), flush_interval=0, force_keep_ahead=True,
                                retry_count=0, sourcetype="balefire:test")
        log = logging.getLogger(f"judge-{token}")
        log.propagate = False
        log.addHandler(handler)
        log.warning(words)
        handler.close()
    send(fake.token, "hello")
    wait_for(lambda: len(fake.events) == 1, "splunk-handler's event", 20)
    check("hello" in json.dumps(fake.events[0]["event"]) and fake.events[0]["index"] == "main", f"{fake.events}")
    send("wrong", "never")
    check(len(fake.events) == 1 and json.loads(fake.refused[-1][2])["code"] == 4, f"{fake.refused}")


def sentinel(fake, cert):
    """azure-identity buys the token, azure-monitor-ingestion splits, packs and uploads."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
    from azure.identity import ClientSecretCredential
    from azure.monitor.ingestion import LogsIngestionClient

    def client(secret):
        credential = ClientSecretCredential(fake.tenant, fake.client, secret, authority=fake.url, disable_instance_discovery=True, connection_verify=str(cert))
        return LogsIngestionClient(fake.url, credential, connection_verify=str(cert), retry_total=0)
    good = client(fake.secret)
    rows = [{"TimeGenerated": "2026-02-11T14:30:00.123456789Z", "EscalationId": str(number), "Title": "x" * 1000, "NoSuchColumn": 1} for number in range(2500)]
    good.upload(fake.dcr, fake.stream, rows)
    check([row["EscalationId"] for row in fake.rows] == [row["EscalationId"] for row in rows], f"{len(fake.rows)} rows of {len(rows)}")
    check(len(fake.calls) > 3 and fake.dropped == {"NoSuchColumn"}, "it was not split, or a column was kept")
    refused(lambda: good.upload("dcr-0", fake.stream, rows[:1]), HttpResponseError, "another rule")
    refused(lambda: good.upload(fake.dcr, fake.stream, [{"EscalationId": "1"}]), HttpResponseError, "a row without its time")
    refused(lambda: client("wrong").upload(fake.dcr, fake.stream, rows[:1]), ClientAuthenticationError, "another secret")


def elastic(fake, cert):
    """elasticsearch: the bulk helper tells what was made, what is there, what was refused."""
    from elasticsearch import AuthenticationException, Elasticsearch
    from elasticsearch.helpers import streaming_bulk
    client = Elasticsearch(fake.url, api_key=fake.key, ca_certs=str(cert), max_retries=0)
    check(client.info()["version"]["number"].startswith("9."), "no version")

    def action(name, op="create", **document):
        return {"_op_type": op, "_index": "logs-balefire.escalations-default", "_id": name, "@timestamp": "2026-02-11T14:30:00.123456789Z", **document}
    told = [result["create" if "create" in result else "index"]["status"] for _, result in streaming_bulk(
        client, [action("a"), action("b"), action("a"), action("c", "index"), {**action("d"), "@timestamp": "no time"}], raise_on_error=False)]
    check(told == [201, 201, 409, 400, 400], f"{told}")
    check({name for _, name in fake.documents} == {"a", "b"}, f"{list(fake.documents)}")
    refused(Elasticsearch(fake.url, api_key="d3Jvbmc=", ca_certs=str(cert), max_retries=0).info, AuthenticationException, "another key")


def pager(fake, cert):
    """pagerduty: trigger, acknowledge, resolve by one key."""
    import pagerduty
    client = pagerduty.EventsApiV2Client(fake.key, base_url=fake.url, verify=str(cert))
    key = client.trigger("Prompt attack", "balefire", dedup_key="one", severity="critical", custom_details={"user": "eve"})
    check(key == client.acknowledge("one") == client.resolve("one") == "one", "another key came back")
    check(client.trigger("Another", "balefire"), "no key was made")
    check([event["event_action"] for event in fake.alerts["one"]] == ["trigger", "acknowledge", "resolve"], f"{fake.alerts}")
    refused(lambda: client.trigger("x" * 1025, "balefire"), pagerduty.Error, "a long summary")
    refused(lambda: client.trigger("x", "balefire", severity="bad"), pagerduty.Error, "a severity that is none")
    stranger = pagerduty.EventsApiV2Client("R" * 32, base_url=fake.url, verify=str(cert))
    refused(lambda: stranger.trigger("x", "balefire"), pagerduty.Error, "another routing key")


def jira(fake, cert):
    """jira: an issue is made, found by its label, commented, moved to its end."""
    import jira as client_of
    options = {"server": fake.url, "verify": str(cert), "rest_api_version": "3"}
    client = client_of.JIRA(options=options, basic_auth=(fake.user, fake.token), max_retries=0)
    words = {"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": [{"type": "text", "text": "seen"}]}]}
    fields = {"project": {"key": fake.project}, "issuetype": {"name": "Task"}, "summary": "Prompt attack", "labels": ["balefire-1"], "description": words}
    made = client.create_issue(fields=fields)
    found = client.enhanced_search_issues('labels = "balefire-1"', maxResults=1)
    check([one.key for one in found] == [made.key] == ["SEC-1"], f"{found}")
    client.add_comment(made, words)
    check([one["name"] for one in client.transitions(made)] == ["Done"], "no transition")
    client.transition_issue(made, fake.done)
    check(client.issue(made.key).fields.status.name == "Done", "it is not done")
    for name, value in (("summary", "x" * 256), ("labels", ["two words"]), ("description", "plain text")):
        error = refused(lambda: client.create_issue(fields={**fields, name: value}), client_of.JIRAError, name)
        check(error.status_code == 400 and name in json.dumps(json.loads(error.response.text)["errors"]), f"{error}")
    refused(lambda: client_of.JIRA(options=options, basic_auth=(fake.user, "wrong"), max_retries=0).fields(), client_of.JIRAError, "another token")


def slack(fake, cert):
    """slack_sdk: an incoming webhook, and a bot that posts and edits."""
    import ssl
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError
    from slack_sdk.models.blocks import HeaderBlock, SectionBlock
    from slack_sdk.webhook import WebhookClient
    context = ssl.create_default_context(cafile=str(cert))
    blocks = [HeaderBlock(text="Prompt attack"), SectionBlock(text="What was seen: …")]
    hook = WebhookClient(f"{fake.url}/services/{fake.hook}", ssl=context)
    said = hook.send(text="Prompt attack", blocks=blocks)
    check((said.status_code, said.body) == (200, "ok"), said.body)
    check(hook.send(text="x", blocks=[{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]).body == "invalid_blocks", "a long header was taken")
    check(WebhookClient(f"{fake.url}/services/T/B/gone", ssl=context).send(text="x").status_code == 404, "a webhook that is gone took it")
    bot = WebClient(fake.token, base_url=f"{fake.url}/api/", ssl=context)
    check(bot.auth_test()["user"] == "balefire", "who am I?")
    ts = bot.chat_postMessage(channel=fake.channel, text="Prompt attack", blocks=blocks)["ts"]
    check(bot.chat_update(channel=fake.channel, ts=ts, text="It ended")["ts"] == ts and len(fake.messages[ts]) == 2, f"{fake.messages}")
    for call, error in ((lambda: bot.chat_update(channel=fake.channel, ts="1.2", text="x"), "message_not_found"),
                        (lambda: bot.chat_postMessage(channel="C0", text="x"), "channel_not_found"),
                        (lambda: WebClient("xoxb-wrong", base_url=f"{fake.url}/api/", ssl=context).auth_test(), "invalid_auth")):
        check(refused(call, SlackApiError, error).response["error"] == error, error)


def servicenow(fake, cert):
    """pysnow: an incident is made, found by its correlation id, noted, resolved; an event is taken."""
    import pysnow
    import requests

    def client(password):
        session = requests.Session()
        # Else what the environment trusts goes before what is said here.
        session.auth, session.verify, session.trust_env = (fake.user, password), str(cert), False
        return pysnow.Client(host=f"127.0.0.1:{fake.port}", session=session)
    good = client(fake.password)
    incidents = good.resource(api_path="/table/incident")
    check(incidents.get(query={"correlation_id": "one"}).one_or_none() is None, "an incident before there is any")
    fields = {"short_description": "Prompt attack", "impact": "1", "urgency": "1", "correlation_id": "one"}
    made = incidents.create(payload=fields)
    check(incidents.create(payload={**fields, "correlation_id": "two"})["sys_id"] != made["sys_id"], "the same incident twice")
    found = incidents.get(query={"correlation_id": "one"}, fields=["sys_id", "number"]).one()
    check(found == {name: made[name] for name in ("sys_id", "number")}, f"{found}")
    check(len(incidents.get(query={}, limit=1).all()) == 1 and len(incidents.get(query={}).all()) == 2, "a limit is not kept")
    check(incidents.get(query={}, stream=True).first()["number"] == made["number"], "no first incident")
    said = incidents.update(query={"correlation_id": "one"}, payload={"work_notes": "seen again"}).one()
    check(said["sys_id"] == made["sys_id"] and fake.incidents[made["sys_id"]]["notes"] == ["seen again"], f"{said}")
    end = {"state": "6", "close_code": "Resolved by caller", "close_notes": "it ended"}
    for name in ("close_code", "close_notes"):
        error = refused(lambda: incidents.update(query={"correlation_id": "one"}, payload={**end, name: ""}).one(), requests.HTTPError, f"an end without {name}")
        check(error.response.status_code == 403, f"{error}")
    check(incidents.update(query={"correlation_id": "one"}, payload=end).one()["state"] == "6", "it is not resolved")
    refused(lambda: incidents.update(query={"correlation_id": "none"}, payload=end), pysnow.exceptions.NoResults, "the end of what is not there")
    refused(lambda: incidents.create(payload={**fields, "short_description": "x" * 161}).one(), requests.HTTPError, "a long headline")
    error = refused(lambda: client("wrong").resource(api_path="/table/incident").get(query={}).all(), requests.HTTPError, "another password")
    check(error.response.status_code == 401, f"{error}")
    events = good.resource(base_path="/api/global", api_path="/em/jsonv2")
    event = {"source": "Balefire", "message_key": "one", "severity": "1", "additional_info": "{}"}
    check("1 events" in json.dumps(events.create({"records": [event]}).one()) and fake.events == [event], f"{fake.events}")
    refused(lambda: events.create({"records": [{**event, "severity": "9"}]}).one(), requests.HTTPError, "a severity that is none")


KINDS = {servicenow: vendors.ServiceNow, splunk: vendors.Hec, sentinel: vendors.LogsIngestion, elastic: vendors.Bulk, pager: vendors.Pager, jira: vendors.Jira, slack: vendors.Slack}


def clients(world):
    """Each vendor's client against our fake of it."""
    folder = world.folder / "clients"
    folder.mkdir(parents=True, exist_ok=True)
    cert, _ = certificate(folder)
    for judge, fake in KINDS.items():
        judge(fake(tls(folder)), cert)
    return ", ".join(judge.__doc__.split(":")[0].split(" buys")[0] for judge in KINDS)


RULES = """title: Guardrail block
id: 0b2f0f64-3b36-4b5c-9d0c-2a4b1f0e7b01
name: block
detection: {s: {category: guardrail_block}, condition: s}
level: low
---
title: Burst of guardrail blocks
id: 0b2f0f64-3b36-4b5c-9d0c-2a4b1f0e7b02
name: burst
correlation: {type: event_count, rules: [block], group-by: [user_id], timespan: 2s, condition: {gt: 2}}
level: high
balefire: {rearm: 2s}
"""

USER = 'eve"]<script>&amp;\\ *bold* {{x}} \u202e\U0001f525'


def receivers(fakes, cert):
    """One table for each, all over TLS, all told of everything that becomes of an escalation."""
    def sentinel(azure):
        return f'sentinel]\ndcr = "{azure.dcr}"\nstream = "{azure.stream}"\ntenant_id = "{azure.tenant}"\nclient_id = "{azure.client}"\nlogin_url = "{azure.url}"'
    own = {
        "splunk": ("FAKE_SPLUNK", "splunk]"),
        "splunk-acks": ("FAKE_SPLUNK", "splunk]\nack = true"),
        "lake": ("FAKE_LAKE", "ocsf]"),
        "sentinel": ("FAKE_SENTINEL", sentinel(fakes["sentinel"])),
        "elastic": ("FAKE_ELASTIC", "elastic]"),
        "pager": ("FAKE_PAGER", "pagerduty]"),
        "jira": ("FAKE_JIRA", 'jira]\nproject = "SEC"\nresolve_transition = "31"'),
        "slack-hook": ("FAKE_HOOK", "slack_webhook]"),
        "slack-bot": ("FAKE_BOT", f'slack_bot]\nchannel = "{vendors.Slack.channel}"'),
        "incident": ("FAKE_SNOW", "servicenow_incident]"),
        "event": ("FAKE_SNOW", "servicenow_event]"),
    }
    urls = {name: fakes[name].url + ("/services" if name == "slack-hook" else "") for name in own}
    told = "".join(f'[[receiver]]\nname = "{name}"\nurl = "{urls[name]}"\nca_file = "{cert}"\nallow_loopback = true\nupdates = true\nsecret_env = "{secret}"\n[receiver.target.{target}\n\n'
                   for name, (secret, target) in own.items())
    fed = "".join(f'[[receiver]]\nname = "{name}"\nurl = "{fakes[name].url}"\nca_file = "{cert}"\nallow_loopback = true\nfeed = true\nsecret_env = "{secret}"\n[receiver.target.{target}\n\n'
                  for name, (secret, target) in {"splunk-feed": ("FAKE_SPLUNK", "splunk]\nack = true"), "elastic-feed": ("FAKE_ELASTIC", "elastic]"),
                                                     "sentinel-feed": ("FAKE_SENTINEL", sentinel(fakes["sentinel-feed"]))}.items())
    return told + fed


def strict(world):
    """Fakes that the vendors' clients found true judge what Balefire sends of an episode: raised, continued, closed."""
    from told import event, receivers_file
    folder = world.folder / "strict"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules/rules.yml").write_text(RULES)
    cert, _ = certificate(folder)
    kinds = {"splunk": vendors.Hec, "sentinel": vendors.LogsIngestion, "elastic": vendors.Bulk, "pager": vendors.Pager, "jira": vendors.Jira,
             "slack-hook": vendors.Slack, "slack-bot": vendors.Slack, "incident": vendors.ServiceNow, "event": vendors.ServiceNow,
             "splunk-acks": vendors.HecAcks, "lake": vendors.Lake, "splunk-feed": vendors.HecAcks, "elastic-feed": vendors.Bulk, "sentinel-feed": vendors.EventsIngestion}
    fakes = {name: kind(tls(folder)) for name, kind in kinds.items()}
    os.environ.update(FAKE_SPLUNK=vendors.Hec.token, FAKE_SENTINEL=vendors.LogsIngestion.secret, FAKE_ELASTIC=vendors.Bulk.key, FAKE_PAGER=vendors.Pager.key, FAKE_LAKE=vendors.Lake.token,
                      FAKE_JIRA=f"{vendors.Jira.user}:{vendors.Jira.token}", FAKE_HOOK=vendors.Slack.hook, FAKE_BOT=vendors.Slack.token,
                      FAKE_SNOW=f"{vendors.ServiceNow.user}:{vendors.ServiceNow.password}")
    up = Up(world.binary, folder / "data", "--receivers", receivers_file(folder, receivers(fakes, cert)), "--rules", str(folder / "rules"), "--allowed-lateness", "5s")
    fakes["splunk-acks"].lost = 1
    try:
        begin_feeds(up, fakes)
        # Two slots one behind the other: the second continues the first.
        start = int(datetime.now(timezone.utc).timestamp()) // 2 * 2
        for slot in (0, 1):
            at = [datetime.fromtimestamp(start + 2 * slot + n / 4, timezone.utc) for n in range(5)]
            wait_for(lambda: datetime.now(timezone.utc) > at[-1], "the clock", 10)
            lines = [event(f"{slot}-{n}", "guardrail_block", USER, moment, policy_violated=USER, reason=USER, src_ip="192.0.2.1", model="m") for n, moment in enumerate(at)]
            up.run("send", "-", "--wait", data=b"\n".join(lines) + b"\n")
        ended = lambda: sum(event["event"]["kind"].lower() == "closed" for event in fakes["splunk"].events)  # noqa: E731
        # Ends are looked for once a minute.
        wait_for(lambda: ended() >= 2, "the end of both slots", 150)
        wait_for(up.settled, "the deliveries")
        for name, fake in fakes.items():
            check(not fake.refused, f"{name} refused: {fake.refused[:3]}")
        letters = [json.loads(line) for line in up.run("deadletters", "list", "--output", "ndjson").stdout.splitlines()]
        check(not letters, f"{letters[:2]}")
        episode = next(line["episode_id"] for line in up.escalations())
        told_whole(fakes, episode)
        indexed(fakes["splunk-acks"], fakes["splunk"])
        fed(fakes)
    finally:
        up.stop()
    return f"{sum(len(fake.calls) for fake in fakes.values())} calls to {len(fakes)} receivers, none refused"


FEEDS = {"splunk-feed": lambda fake: [one["event"]["event_id"] for one in fake.events],
         "elastic-feed": lambda fake: [one["balefire"]["event_id"] for one in fake.documents.values()],
         "sentinel-feed": lambda fake: [one["event_id"] for one in fake.rows]}


def begin_feeds(up, fakes):
    """Sends until all feeds give: each begins with what comes behind its own start."""
    from told import event

    def begun(number=iter(range(1000))):
        up.run("send", "-", "--wait", data=event(f"first-{next(number)}", "anomaly", USER) + b"\n")
        return all(list_of(fakes[name]) for name, list_of in FEEDS.items())
    wait_for(begun, "the feeds to begin", 60)


def fed(fakes):
    """Each event went to each feed, once."""
    want = sorted(f"e{slot}-{n}" for slot in (0, 1) for n in range(5))
    for name, list_of in FEEDS.items():
        found = wait_for(lambda: len(came := sorted(one for one in list_of(fakes[name]) if not one.startswith("efirst"))) >= len(want) and came, name, 30)
        check(found == want, f"{name}: {found}")
    check(not fakes["sentinel-feed"].dropped, f"sentinel-feed dropped {fakes['sentinel-feed'].dropped}")
    acks = fakes["splunk-feed"]
    wait_for(lambda: not acks.open, "the feed to ask for all that is indexed", 30)
    check(acks.confirmed == sum(number + 1 for number in acks.given.values()), f"splunk-feed: {acks.confirmed} confirmed of {acks.given}")


def indexed(acks, plain):
    """What was taken and never indexed went again, byte for byte; all else was asked for until it was."""
    kinds = [event["event"]["kind"].lower() for event in acks.events]
    once = [event["event"]["kind"].lower() for event in plain.events]
    check(kinds[0] == "raised" and sorted(kinds) == sorted([*once, "raised"]), f"splunk-acks: {kinds}")
    first, again = [body for path, _, body in acks.calls if path.endswith("/event") and json.loads(body)["event"]["kind"].lower() == "raised"]
    check(first == again, "what was not indexed went again as something else")
    check(acks.confirmed == len(once) and list(acks.open.values()) == [None], f"splunk-acks: {acks.confirmed} confirmed of {len(kinds)}, open {acks.open}")


def told_whole(fakes, episode):
    """What each target has in the end: one open thing that ended, or a record of each step."""
    kinds = [event["event"]["kind"].lower() for event in fakes["splunk"].events]
    check(sorted(kinds) == ["closed", "closed", "continued", "raised"], f"splunk: {kinds}")
    rows = sorted(row["Kind"].lower() for row in fakes["sentinel"].rows)
    check(rows == sorted(kinds) and not fakes["sentinel"].dropped, f"sentinel: {rows}, dropped {fakes['sentinel'].dropped}")
    template = json.loads((HERE.parent / "sentinel/template.json").read_text())["resources"]
    columns = {column["name"] for column in template[0]["properties"]["schema"]["columns"]}
    check(columns == vendors.LogsIngestion.columns == set(fakes["sentinel"].rows[0]), "the template's table is another")
    check(any(headers.get("content-encoding") == "gzip" for _, headers, _ in fakes["sentinel"].calls), "sentinel: not packed")
    check(len(fakes["elastic"].documents) == 4, f"elastic: {list(fakes['elastic'].documents)}")
    (key, events), = fakes["pager"].alerts.items()
    check(key == episode and events[-1]["event_action"] == "resolve" and events[0]["event_action"] == "trigger", f"pager: {events}")
    (issue,) = fakes["jira"].issues.values()
    check(issue["fields"]["status"]["name"] == "Done" and issue["fields"]["comments"], f"jira: {issue}")
    check(len(fakes["slack-hook"].posted) == 4, f"slack: {len(fakes['slack-hook'].posted)} posts")
    (versions,) = fakes["slack-bot"].messages.values()
    check(len(versions) > 1, "slack: the message was never edited")
    (incident,) = fakes["incident"].incidents.values()
    check(incident["state"] == "6" and incident["correlation_id"] == episode and incident["notes"], f"servicenow: {incident}")
    check({one["message_key"] for one in fakes["event"].events} == {episode} and fakes["event"].events[-1]["severity"] == "0", f"{fakes['event'].events}")
    findings = fakes["lake"].findings
    check([one["activity_id"] for one in findings] == [1, 2, 3] or sorted(one["activity_id"] for one in findings) == [1, 2, 3, 3], f"lake: {[one['activity_name'] for one in findings]}")
    check({one["finding_info"]["uid"] for one in findings} == {episode} and findings[0]["activity_id"] == 1 and findings[-1]["activity_id"] == 3, f"lake: {findings}")
    check(fakes["lake"].faults(dict(findings[0], severity_id="high")), "the lake takes anything")
