"""The Terraform provider under the real `terraform`, against real processes: `make test-terraform`,
or: terraform.py --binary target/debug/balefire [--only NAME …] [--required]

Without a `terraform` on PATH it says so and passes; with --required it fails."""
import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(ROOT / "deploy/tools"))
import terraform_docs  # noqa: E402
from system import Client, Failed, check, wait_for  # noqa: E402
from terraform_effects import effects, limited  # noqa: E402
from terraform_lab import COMMAND_S, RULES, Lab, Workspace  # noqa: E402

TERRAFORM_MIN = (1, 11)                    # write-only attributes
TOKEN = "a-token-that-nobody-may-find-anywhere"
NEWCOMER_S = 300                           # from nothing to the first escalation, behind the build
BY_HAND = ("--managed-by", "hand", "--reason", "by hand")


def objects(up, folder):
    """Files of every control object, by name."""
    shutil.rmtree(folder, ignore_errors=True)
    up.run("export", str(folder))
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(Path(folder).rglob("*.*"))}


def written(folder, files):
    """A folder of such files and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in files.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


def by_hand(up, folder, files, *flags, codes=(0,)):
    """Applies files as an operator would."""
    return up.run("apply", written(folder, files), *BY_HAND, *flags, codes=codes)


def nothing_runs(lab):
    """No provider is left, and no socket of one."""
    left = [str(path) for path in lab.plugins.iterdir()]
    check(not left, f"the provider left {left}")
    name = b"terraform-provider-balefire"
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, env = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        check(not (name in command and str(lab.folder).encode() in env), f"process {process.name} is left: {command!r}")


def hidden(text, where):
    for secret in (TOKEN, TOKEN + "-2"):
        check(secret not in text, f"the token is in {where}")


def whole_life(lab):
    """Every kind: apply, empty plan, drift, stale plan, owner, import, generated configuration, secrets, destroy."""
    up = lab.up("life")
    place = lab.folder / "files"
    try:
        before = objects(up, place)
        work = Workspace(lab, "every-kind", HERE / "terraform/every-kind", up.addr, {"token": TOKEN})
        work.init()
        work.run("validate")
        check("9 added" in work.apply(), "not nine objects were added")
        work.nothing_to_do("after apply")
        outputs = work.outputs()
        check(outputs == {"ready": True, "receivers": ["soc"], "receiver_owner": "terraform"}, f"outputs: {outputs}")
        made = objects(up, place)
        check(len(made) - len(before) == 9, f"exported: {sorted(set(made) - set(before))}")
        check("gt: 99" in made["rule/flags.yml"], "the rule is not what was applied")

        # A change in place; what is told after it.
        said = work.apply(threshold=50)
        check("1 changed" in said, f"the threshold was not changed in place\n{said[-2000:]}")
        check("gt: 50" in objects(up, place)["rule/flags.yml"], "the rule was not changed")
        work.nothing_to_do("after a change", threshold=50)
        work.apply()

        drift(work, up, place)
        owners(lab, work, up, place)
        stale(work, up, place)
        secrets(work, up, place)
        imported(lab, work, up)
        faults(lab, work, up)

        protected = work.apply(deletion_allowed="false")
        check("1 changed" in protected, "the protection was not set")
        refused = work.destroy(codes=(1,), deletion_allowed="false")
        check("deletion_allowed" in refused, f"a protected tenant was deleted, or nobody said why not\n{refused[-2000:]}")
        work.apply()
        work.destroy()
        check(objects(up, place) == before, "destroy left something")
        nothing_runs(lab)
    finally:
        up.stop()
    return "9 kinds"


def drift(work, up, place):
    """What was changed by hand is seen and mended; by hand it is refused unless overridden, and the audit has it."""
    changed = {"receiver/soc.toml": 'url = "https://elsewhere.example/hook"\n'}
    refused = by_hand(up, place, changed, codes=(1,))
    check(b"terraform" in refused.stderr, f"nobody said whose it is: {refused.stderr.decode()}")
    work.nothing_to_do("after a refused change")
    by_hand(up, place, changed, "--override")
    changes = [json.loads(line) for line in up.run("changes", "--kind", "receiver", "--output", "ndjson").stdout.splitlines()]
    check(changes[-1]["overridden"] and changes[-1]["reason"] == "by hand", f"the audit does not tell of the override: {changes[-1]}")
    said = work.plan((2,))
    check('"https://elsewhere.example/hook" -> "https://soc.example/hook"' in said, f"the drift is not shown\n{said[-3000:]}")
    work.apply()
    work.nothing_to_do("after the drift was mended")
    # Deleted behind Terraform's back.
    by_hand(up, place, {"silence/move.toml": 'ends_at = "2098-01-02T00:00:00Z"\nreason = "x"\n'}, "--override")
    up.run("delete", str(place), *BY_HAND, "--override")
    said = work.plan((2,))
    check("1 to add" in said, f"a deleted object is not planned anew\n{said[-2000:]}")
    work.apply()
    work.nothing_to_do("after it was made anew")


def owners(lab, work, up, place):
    """What another tool owns is taken over only where the provider block says so."""
    by_hand(up, place, {"receiver/theirs.toml": 'url = "https://theirs.example/hook"\n'})
    folder = lab.folder / "owners-source"
    folder.mkdir()
    head = 'terraform {\n  required_providers {\n    balefire = {\n      source = "balefire/balefire"\n    }\n  }\n}\n'
    body = '\nresource "balefire_receiver" "theirs" {\n  name = "theirs"\n  url  = "https://ours.example/hook"\n}\n'
    (folder / "main.tf").write_text(head + body)
    other = Workspace(lab, "owners", folder, up.addr)
    other.init()
    other.run("import", "-input=false", "balefire_receiver.theirs", "theirs")
    refused = other.apply(codes=(1,))
    check("override" in refused and "hand" in refused, f"nobody said whose it is\n{refused[-2000:]}")
    (other.dir / "main.tf").write_text(head + '\nprovider "balefire" {\n  override = true\n}\n' + body)
    other.apply()
    other.nothing_to_do("after it was taken over")
    other.destroy()


def stale(work, up, place):
    """A saved plan of an older revision is refused, and says so."""
    work.plan((2,), "-out=stale.plan", threshold=40)
    yaml = (HERE / "terraform/every-kind/flags.yml").read_text().replace("${threshold}", "41")
    by_hand(up, place, {"rule/flags.yml": yaml}, "--override")
    said = work.run("apply", "-input=false", "stale.plan", codes=(1,))
    check("Changed since the plan was made" in said, f"the stale plan: {said[-2000:]}")
    check("gt: 41" in objects(up, place)["rule/flags.yml"], "a stale plan changed the rule")
    up.run("delete", written(place, {"rule/flags.yml": yaml}), *BY_HAND, "--override")
    work.apply()


def secrets(work, up, place):
    """The token is in no state, no plan, no export, no log; another version makes another digest."""
    digest = json.loads(work.run("show", "-json"))
    of = lambda shown: next(r["values"] for r in shown["values"]["root_module"]["resources"] if r["type"] == "balefire_api_key")  # noqa: E731
    first = of(digest)
    check(first["token_wo"] is None and len(first["token_blake3"]) == 64, f"the key in the state: {first}")
    work.nothing_to_do("with another token of the same version", token=TOKEN + "-2")
    work.plan((2,), "-out=key.plan", token=TOKEN + "-2", token_version=2)
    with zipfile.ZipFile(work.dir / "key.plan") as plan:
        for name in plan.namelist():
            hidden(plan.read(name).decode("utf-8", "replace"), f"the plan ({name})")
    work.run("apply", "-input=false", "-var", f"token={TOKEN}-2", "key.plan")
    second = of(json.loads(work.run("show", "-json")))
    check(second["token_blake3"] != first["token_blake3"], "another token has the same digest")
    work.nothing_to_do("after another token", token=TOKEN + "-2", token_version=2)
    work.variables |= {"token": TOKEN + "-2", "token_version": "2"}
    for file in work.dir.glob("terraform.tfstate*"):
        hidden(file.read_text(), file.name)
    for name, text in objects(up, place).items():
        hidden(text, f"the export ({name})")
    hidden(up.run("changes", "--output", "ndjson").stdout.decode(), "the audit")
    for file in up.data.rglob("*"):
        if file.is_file():
            hidden(file.read_bytes().decode("latin-1"), f"the log ({file.name})")


def imported(lab, work, up):
    """Import by name; a configuration made of what is there; both plan nothing after."""
    for address, name in (("balefire_rule.flags", "flags"), ("balefire_receiver.soc", "soc"), ("balefire_source.gateway", "litellm")):
        work.run("state", "rm", address)
        work.run("import", "-input=false", address, name)
    # What is in no object, such as an empty list, comes back with the first apply.
    said = work.apply()
    check("0 added" in said and "0 destroyed" in said, f"after import: {said[-2000:]}")
    work.nothing_to_do("after import")
    missing = work.run("import", "-input=false", "balefire_rule.none", "none", codes=(1,))
    check("none" in missing, "an import of nothing")
    folder = lab.folder / "generated-source"
    folder.mkdir()
    kinds = {"rule": "flags", "receiver": "soc", "route": "flags", "silence": "move", "source": "litellm", "severity_map": "gateway",
             "identity_alias": "ada", "tenant": "red"}
    blocks = "\n".join(f'import {{\n  to = balefire_{kind}.it\n  id = "{name}"\n}}\n' for kind, name in kinds.items())
    head = 'terraform {\n  required_providers {\n    balefire = {\n      source = "balefire/balefire"\n    }\n  }\n}\n\n'
    (folder / "main.tf").write_text(head + blocks)
    other = Workspace(lab, "generated", folder, up.addr)
    other.init()
    other.run("plan", "-input=false", "-generate-config-out=generated.tf")
    other.run("fmt", "-check", "generated.tf")
    said = other.apply()
    check(f"{len(kinds)} imported, 0 added, 0 changed, 0 destroyed" in said, f"the generated configuration changes something\n{said[-3000:]}")
    other.nothing_to_do("with a generated configuration")


def faults(lab, work, up):
    """What is wrong is told on its line; rules with faults and wrong tokens too."""
    folder = lab.folder / "faults-source"
    folder.mkdir()
    head = 'terraform {\n  required_providers {\n    balefire = {\n      source = "balefire/balefire"\n    }\n  }\n}\n'
    (folder / "main.tf").write_text(head + '\nresource "balefire_receiver" "r" {\n  name = "r"\n  url  = "ftp://x"\n}\n')
    other = Workspace(lab, "faults", folder, up.addr)
    other.init()
    said = other.run("validate", codes=(1,))
    check("on main.tf line 11" in said and "spec.url" in said, f"the fault is not on its line\n{said}")
    (other.dir / "main.tf").write_text(head + '\nresource "balefire_rule" "r" {\n  name = "r"\n  yaml = "title: [x"\n}\n')
    said = other.apply(codes=(1,))
    check("on main.tf line 11" in said and "spec.yaml" in said, f"a faulty rule is not told on its line\n{said}")
    (other.dir / "main.tf").write_text(head + '\nresource "balefire_tenant" "again" {\n  name = "red"\n  title = "x"\n}\n')
    said = other.apply(codes=(1,))
    check("import" in said.lower(), f"an object that is there: {said}")
    other.env["BALEFIRE_ADDR"] = "http://127.0.0.1:9"
    said = other.apply(codes=(1,))
    check("does not answer" in said and "endpoint" in said, f"nobody answers: {said}")


def previewed(lab):
    """A rule that is planned is tried out on the log: the data source counts, the plan warns."""
    up = lab.up("preview")
    try:
        now = time.time()
        stamp = lambda n: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 60 + n))  # noqa: E731
        flag = lambda user, n: json.dumps({"event_type": "ai_security", "event_id": f"{user}{n}", "timestamp": stamp(n),  # noqa: E731
                                           "category": "judge_flag", "severity": "low", "user_id": user})
        lines = [flag("ada", n) for n in range(5)] + [flag("bob", n) for n in range(3)] + [flag("eve", n) for n in range(2)]
        up.run("send", "-", "--wait", data="\n".join(lines).encode() + b"\n")
        check(up.escalations() == [], "low flags raise something")
        work = Workspace(lab, "preview", HERE / "terraform/preview", up.addr)
        work.init()
        said = " ".join(work.plan((2,)).replace("│", " ").split())
        check("What the rule tried would have raised" in said and "2 added, 0 removed, 0 unchanged" in said, f"no warning: {said[-3000:]}")
        check("user_id=ada" in said and "user_id=bob" in said and "user_id=eve" not in said, f"whom it would have raised: {said[-3000:]}")
        said = " ".join(work.apply(threshold=4).replace("│", " ").split())
        check("1 added, 0 removed" in said, f"another threshold: {said[-3000:]}")
        outputs = work.outputs()
        check(outputs["added"] == 1 and len(outputs["examples"]) == 1 and "user_id=ada" in outputs["examples"][0], f"outputs: {outputs}")
        work.nothing_to_do("after a preview", threshold=4)
        work.destroy()
    finally:
        up.stop()
    return "2 of 3 users, then 1"


def many_rules(lab):
    """Many rules at parallelism 10: no conflict, an empty plan, all gone at the end."""
    up = lab.up("many")
    try:
        work = Workspace(lab, "many-rules", HERE / "terraform/many-rules", up.addr, {"rules": lab.rules})
        work.init()
        took = {}
        for name, call in (("apply", lambda: work.apply("-parallelism=10")), ("plan", lambda: work.nothing_to_do("after apply")),
                           ("change", lambda: work.apply("-parallelism=10", severity="medium")), ("destroy", work.destroy)):
            start = time.monotonic()
            said = call()
            took[name] = time.monotonic() - start
            if name == "apply":
                check(f"{lab.rules} added" in said, f"not all were added\n{said[-2000:]}")
            if name == "change":
                check(f"{lab.rules} changed" in said, f"not all were changed\n{said[-2000:]}")
        rules = up.run("rules", "list", "--output", "ndjson").stdout.splitlines()
        check(len(rules) == 4, f"{len(rules)} rules are left")
        nothing_runs(lab)
    finally:
        up.stop()
    return f"{lab.rules}: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items())


def free_ports(count):
    """The first of so many ports in a row that nobody has now."""
    for first in range(20000, 32000, 50):
        taken = []
        try:
            for port in range(first, first + count):
                taken.append(socket.socket())
                taken[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for one in taken:
                one.close()
    raise Failed("no free ports")


def running(data):
    """Processes that have a folder in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(data) in command and process.name != str(os.getpid()):
            found.append(command)
    return found


def local_variables(lab, name):
    port = free_ports(8)
    return {"binaries": Path(lab.binary).parent, "data_dir": lab.folder / f"{name}-data", "grpc_port": port, "http_port": port + 4}


def newcomer():
    """The commands of docs/terraform.md from nothing to an escalation, behind the build."""
    page = (ROOT / "docs/terraform.md").read_text()
    block = re.search(r"^## From nothing to an escalation\n+```\n(.+?)^```", page, re.M | re.S)
    check(block, "docs/terraform.md has no commands from nothing to an escalation")
    commands = block.group(1).splitlines()
    check(commands[:2] == ["cargo build --release --bins", "cd deploy/terraform/examples/quickstart"], f"the docs begin otherwise: {commands[:2]}")
    return commands[2:]


def quickstart(lab):
    """From nothing to the first escalation, by the commands of the docs; destroy leaves nothing running, and the log."""
    variables = local_variables(lab, "quickstart")
    work = Workspace(lab, "quickstart", ROOT / "deploy/terraform", "127.0.0.1:9", variables, "examples/quickstart")
    # A newcomer types yes.
    env = work.env | {"TF_CLI_ARGS_apply": "-auto-approve -input=false"} | {f"TF_VAR_{name}": str(value) for name, value in variables.items()}
    start = time.monotonic()
    try:
        for command in newcomer():
            done = subprocess.run(command, shell=True, cwd=work.dir, env=env, capture_output=True, text=True, timeout=COMMAND_S)
            check(done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        took = time.monotonic() - start
        check("prompt_attack" in done.stdout, f"no escalation: {done.stdout}{done.stderr}")
        check(took < NEWCOMER_S, f"the first escalation came after {took:.0f} s; a newcomer waits {NEWCOMER_S} s at most")
        check(work.outputs()["ready"], "not every service can serve")
        work.nothing_to_do("after the quickstart")
        check(running(variables["data_dir"]), "nothing runs")
    finally:
        work.destroy()
    check(not running(variables["data_dir"]), f"left running: {running(variables['data_dir'])}")
    check((variables["data_dir"] / "balefire/nats/store").is_dir(), "the log did not stay")
    nothing_runs(lab)
    return f"first escalation after {took:.1f} s"


def cluster(lab):
    """Three nats-servers and each service a process of its own."""
    port = free_ports(120)
    variables = {"binaries": Path(lab.binary).parent, "data_dir": lab.folder / "cluster-data", "grpc_port": port, "http_port": port + 4,
                 "nats_port": port + 10, "nats_nodes": 3}
    work = Workspace(lab, "cluster", ROOT / "deploy/terraform/modules/local", "127.0.0.1:9", variables)
    work.init()
    try:
        work.apply()
        outputs = work.outputs()
        cluster_serves(lab, outputs, variables)
    finally:
        work.destroy()
    check(not running(variables["data_dir"]), f"left running: {running(variables['data_dir'])}")
    return "3 nats-servers, 4 services"


def cluster_serves(lab, outputs, variables):
    """An event sent to one service is an escalation of another."""
    ingest = outputs["ingest_endpoint"].removeprefix("http://")
    client = Client(lab.binary, outputs["control_endpoint"].removeprefix("http://"))
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {"event_type": "ai_security", "timestamp": now, "category": "prompt_attack", "severity": "high", "user_id": "ada@example.com"}
    client.run("send", "-", data=json.dumps(event).encode() + b"\n", addr=ingest)
    wait_for(lambda: len(client.escalations()) == 1, "the escalation")
    count = len(running(variables["data_dir"]))
    check(count == 7, f"{count} processes run: {running(variables['data_dir'])}")


def tests_of_modules(lab):
    """terraform test of every module and example."""
    told = []
    for tests in sorted((ROOT / "deploy/terraform").rglob("tests")):
        below = tests.parent.relative_to(ROOT / "deploy/terraform")
        name = f"test-{below.name}"
        variables = local_variables(lab, name) if below.parts[0] == "examples" else {}
        if below.name == "two-tenants":
            variables["keys_file"] = "keys.toml"
        work = Workspace(lab, name, ROOT / "deploy/terraform", "127.0.0.1:9", variables, below)
        work.init()
        said = work.run("test")
        passed = re.search(r"Success! (\d+) passed, 0 failed", said)
        check(passed and int(passed.group(1)) > 0, f"terraform test in {below}:\n{said[-3000:]}")
        told.append(f"{below.name}: {passed.group(1)}")
        if variables:
            check(not running(variables["data_dir"]), f"left running: {running(variables['data_dir'])}")
    check(len(told) == 4, f"not every module has tests: {told}")
    nothing_runs(lab)
    return ", ".join(told)


def documented(lab):
    """The reference page is what the provider says of itself."""
    work = Workspace(lab, "documented", HERE / "terraform/every-kind", "127.0.0.1:9", {"token": TOKEN})
    work.init()
    made = terraform_docs.page(json.loads(work.run("providers", "schema", "-json")))
    there = terraform_docs.PAGE.read_text() if terraform_docs.PAGE.exists() else ""
    if made != there and lab.write_docs:
        terraform_docs.PAGE.write_text(made)
    else:
        check(made == there, f"{terraform_docs.PAGE.name} is not what the provider says; run this with --write-docs")


def formatted(lab):
    """Every file is formatted as terraform fmt does."""
    done = subprocess.run(["terraform", "fmt", "-check", "-recursive", "-diff", str(ROOT / "deploy")], capture_output=True, text=True,
                          env=os.environ | {"TF_CLI_CONFIG_FILE": str(lab.config)})
    check(done.returncode == 0, f"terraform fmt:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")


SCENARIOS = [formatted, documented, whole_life, effects, previewed, limited, many_rules, quickstart, cluster, tests_of_modules]


def found():
    """Whether there is a terraform that is new enough; else why not."""
    path = shutil.which("terraform")
    if not path:
        return "no terraform on PATH"
    told = subprocess.run([path, "version", "-json"], capture_output=True, text=True,
                          env=os.environ | {"CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull})
    version = json.loads(told.stdout)["terraform_version"]
    if tuple(int(part) for part in version.split(".")[:2]) < TERRAFORM_MIN:
        return f"terraform {version} is older than {'.'.join(map(str, TERRAFORM_MIN))}"
    return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True, help="balefire; the provider lies beside it")
    arguments.add_argument("--only", nargs="*", default=[])
    arguments.add_argument("--required", action="store_true", help="fail where there is no terraform")
    arguments.add_argument("--rules", type=int, default=RULES, help="how many rules many_rules makes")
    arguments.add_argument("--write-docs", action="store_true", help="write the reference page instead of checking it")
    args = arguments.parse_args()
    missing = found()
    if missing:
        print(f"terraform: not run: {missing}. Get 1.11 or later from https://developer.hashicorp.com/terraform/install", flush=True)
        return 1 if args.required else 0
    failed = 0
    with tempfile.TemporaryDirectory(prefix="balefire-terraform-") as folder:
        lab = Lab(str(Path(args.binary).resolve()), folder, args.rules, args.write_docs)
        for scenario in SCENARIOS:
            if args.only and scenario.__name__ not in args.only:
                continue
            start = time.monotonic()
            try:
                told = scenario(lab)
                print(f"ok   {scenario.__name__:16} {time.monotonic() - start:6.1f} s  {told or ''}", flush=True)
            except (Failed, subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"FAIL {scenario.__name__}: {error}", flush=True)
            except Exception:
                failed += 1
                print(f"FAIL {scenario.__name__}", flush=True)
                traceback.print_exc()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
