"""Starts and stops Balefire on this machine, for the Terraform module `local`.

local.py start|stop, with BALEFIRE_LOCAL = {"binaries", "data_dir", "nats_nodes", "ports", "partitions", "flags"}
in the environment. What it started is in DATA_DIR/run; stop ends exactly that, by its process ids."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

READY_S = 60
STOP_S = 30


class Failed(Exception):
    pass


def wait_for(condition, what, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise Failed(f"waited {seconds} s for {what}")


def started_at(pid):
    """When a process started, in clock ticks; None where it is none, or has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


class Place:
    def __init__(self, spec):
        self.spec = spec
        self.data = Path(spec["data_dir"]).resolve()
        self.run = self.data / "run"
        self.binaries = Path(spec["binaries"]).resolve()

    def binary(self, name):
        path = self.binaries / name
        if not path.exists():
            raise Failed(f"{path} is not there; build it with `cargo build --release --bins`, or set `binaries`")
        return str(path)

    def spawn(self, name, command, env=None):
        """Starts a program that outlives this one, and notes which it is."""
        out, log = self.run / f"{name}.out", self.run / f"{name}.log"
        with open(out, "wb") as stdout, open(log, "ab") as stderr:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
                                     cwd=self.data, env=os.environ | (env or {}))
        (self.run / f"{name}.pid").write_text(f"{child.pid} {started_at(child.pid)}")
        return child, out, log

    def serve(self, name, command):
        """Starts one of ours and waits until it can serve."""
        child, out, log = self.spawn(name, command)

        def ready():
            if child.poll() is not None:
                raise Failed(f"{name} ended with {child.returncode}:\n{log.read_text()[-2000:]}")
            return any(line.startswith("ready") for line in out.read_text().splitlines())

        wait_for(ready, f"{name} to be ready; see {log}", READY_S)

    def start(self):
        self.run.mkdir(parents=True, exist_ok=True)
        self.stop()
        ports, flags = self.spec["ports"], self.spec["flags"]
        nodes = self.spec["nats_nodes"]
        if nodes == 0:
            self.serve("balefire", [self.binary("balefire"), "up", "--data-dir", str(self.data / "balefire"),
                                    "--partitions", str(self.spec["partitions"]), "--grpc-addr", f"127.0.0.1:{ports['grpc']}",
                                    "--http-addr", f"127.0.0.1:{ports['http']}", *flags["balefire"]])
            return
        urls = self.cluster(nodes, ports["nats"])
        broker = ["--nats-url", urls, "--credentials", str(self.data / "credentials"), "--nats-sync-confirmed"]
        self.provision(broker, nodes)
        for offset, service in enumerate(("ingest", "rule-engine", "correlator", "notifier")):
            ports_of = ["--grpc-addr", f"127.0.0.1:{ports['grpc'] + offset}", "--http-addr", f"127.0.0.1:{ports['http'] + offset}"]
            self.serve(service, [self.binary(f"balefire-{service}"), *broker, "--data-dir", str(self.data / service), *ports_of,
                                 *flags[service]])

    def cluster(self, nodes, port):
        """Starts the nats-servers; their addresses."""
        server = self.spec.get("nats_server") or shutil.which("nats-server")
        if not server:
            raise Failed("no nats-server on PATH; set `nats_server`")
        name = lambda node: f"nats-{node}"  # noqa: E731
        routes = ", ".join(f'"nats://127.0.0.1:{port + 100 + node}"' for node in range(nodes))
        for node in range(nodes):
            conf = self.run / f"{name(node)}.conf"
            made = subprocess.run([self.binary("balefire"), "nats-config", "--credentials", str(self.data / "credentials"),
                                   "--partitions", str(self.spec["partitions"]), "--listen", f"127.0.0.1:{port + node}",
                                   "--store-dir", str(self.data / name(node))], check=True, capture_output=True, text=True)
            text = f"server_name: {name(node)}\n{made.stdout}"
            if nodes > 1:
                text += f'cluster {{\n  name: balefire\n  listen: "127.0.0.1:{port + 100 + node}"\n  routes: [{routes}]\n}}\n'
            conf.touch(mode=0o600)
            conf.write_text(text)
            self.spawn(name(node), [server, "-c", str(conf)], {"GOMAXPROCS": "16"})
        return ",".join(f"nats://127.0.0.1:{port + node}" for node in range(nodes))

    def provision(self, broker, replicas):
        """Makes the streams, as soon as the cluster has a leader."""
        command = [self.binary("balefire"), "provision", *broker, "--partitions", str(self.spec["partitions"]), "--replicas", str(replicas)]
        last = {}

        def made():
            done = subprocess.run(command, capture_output=True, text=True)
            last["said"] = done.stderr
            return done.returncode == 0

        try:
            wait_for(made, "the streams", READY_S)
        except Failed as error:
            raise Failed(f"{error}:\n{last['said'][-2000:]}") from None

    def stop(self):
        """Ends what was started, the services before the broker."""
        order = ("balefire", "notifier", "ingest", "correlator", "rule-engine")
        files = {file.stem: file for file in self.run.glob("*.pid")}
        for name in [*(n for n in order if n in files), *sorted(n for n in files if n not in order)]:
            pid, began = files[name].read_text().split()
            gone = lambda pid=pid, began=began: started_at(pid) != began  # noqa: E731
            if not gone():
                os.kill(int(pid), signal.SIGTERM)
                try:
                    wait_for(gone, name, STOP_S)
                except Failed:
                    os.kill(int(pid), signal.SIGKILL)
                    wait_for(gone, f"{name} after SIGKILL", STOP_S)
            files[name].unlink()


def main():
    place = Place(json.loads(os.environ["BALEFIRE_LOCAL"]))
    if sys.argv[1:] == ["stop"]:
        place.stop()
        return 0
    try:
        place.start()
    except Failed as error:
        place.stop()
        print(f"local: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
