"""The image, the units and the compose file: what can run here runs, the rest is linted.

packaging.py --binary target/debug/balefire --nats-server PATH"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "deploy/image")]
import build as image  # noqa: E402
from system import Failed, check, wait_for  # noqa: E402

EXPOSURE_MAX = 20                          # of 100, as systemd-analyze counts
SHELLS = ("sh", "bash", "dash", "busybox", "python3", "perl")


def units(args, folder):
    """The units are what systemd knows, and hardened."""
    if not shutil.which("systemd-analyze"):
        return "not run: no systemd-analyze here"
    binaries = Path(args.binary).resolve().parent
    made = []
    for unit in sorted((ROOT / "deploy/systemd").glob("*.service")):
        # verify wants the programs where the unit says they are.
        text = unit.read_text().replace("/usr/bin/", f"{binaries}/")
        names = [unit.name] if "@" not in unit.name else [unit.name.replace("@", f"@{service}") for service in ("ingest", "rule-engine")]
        (folder / unit.name).write_text(text)
        for name in names:
            if name != unit.name:
                (folder / name).write_text(text)
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(folder / name)], capture_output=True, text=True)
            said = [line for line in done.stderr.splitlines() if str(folder) in line or unit.stem in line]
            check(done.returncode == 0 and not said, f"systemd-analyze verify {name}: {done.stderr}")
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(unit)],
                              capture_output=True, text=True)
        check(done.returncode == 0, f"{unit.name} is exposed: {done.stdout[-400:]}{done.stderr}")
        made.append(unit.name)
    check(len(made) == 2, f"units: {made}")
    return ", ".join(made)


def unpack(layout, root):
    """The layer's files, and the manifest's config."""
    blob = lambda descriptor: layout / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")  # noqa: E731
    manifest = json.loads(blob(json.loads((layout / "index.json").read_text())["manifests"][0]).read_text())
    with tarfile.open(blob(manifest["layers"][0])) as tar:
        tar.extractall(root, filter="fully_trusted")
    return json.loads(blob(manifest["config"]).read_text())["config"]


def the_image(args, folder):
    """Made twice it is the same; it has no shell; it serves as nobody on a root that it cannot write."""
    binaries, server = Path(args.binary).resolve().parent, Path(args.nats_server)
    digests = {image.build(binaries, server, folder / f"layout{n}") for n in (1, 2)}
    check(len(digests) == 1, f"two builds differ: {digests}")
    root = folder / "root"
    config = unpack(folder / "layout1", root)
    shells = [str(path) for path in root.rglob("*") if path.name in SHELLS]
    check(not shells, f"there is a shell: {shells}")
    check(config["User"] == f"{image.USER}:{image.USER}", f"it runs as {config['User']}")
    (root / "dev").mkdir()
    (root / "proc").mkdir()
    inside = f'mount --bind "{root}" "{root}" && mount --bind /dev "{root}/dev" && mount -t proc proc "{root}/proc" && ' \
             f'mount -t tmpfs -o mode=0700,uid={image.USER},gid={image.USER} tmpfs "{root}/{image.DATA}" && ' \
             f'mount -t tmpfs tmpfs "{root}/tmp" && mount -o remount,ro,bind "{root}" && ' \
             f'exec chroot --userspec={image.USER}:{image.USER} "{root}" /usr/bin/balefire "$@"'
    command = ["unshare", "-m", "sh", "-c", inside, "sh"]
    env = {"PATH": "/usr/bin:/usr/sbin:/bin:/sbin", "BALEFIRE_DATA_DIR": f"/{image.DATA}"}
    tried = subprocess.run([*command, "--version"], capture_output=True, text=True, env=env)
    if os.geteuid() != 0 or "unshare failed" in tried.stderr or "permission denied" in tried.stderr.lower():
        return f"{digests.pop()[:19]}; not started: {tried.stderr.strip() or 'needs root'}"
    check(tried.returncode == 0 and tried.stdout.startswith("balefire "), f"balefire --version: {tried.stdout}{tried.stderr}")
    out = folder / "up.out"
    with open(out, "wb") as stdout, open(folder / "up.log", "wb") as stderr:
        child = subprocess.Popen([*command, "up", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"], stdout=stdout, stderr=stderr, env=env)
    try:
        wait_for(lambda: child.poll() is not None or out.read_text().startswith("ready"), "the image to serve", 60)
        check(child.poll() is None, f"it ended: {(folder / 'up.log').read_text()[-2000:]}")
        user = next(line for line in Path(f"/proc/{child.pid}/status").read_text().splitlines() if line.startswith("Uid:"))
        check(user.split()[1:] == [str(image.USER)] * 4, f"it runs as {user}")
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(40)
    check(child.returncode == 0, f"it ended with {child.returncode}: {(folder / 'up.log').read_text()[-2000:]}")
    return digests.pop()[:19]


def compose(_args, _folder):
    """The compose file names only what the image has; nothing here can run it."""
    import yaml
    service = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["balefire"]
    check(service["read_only"] and service["cap_drop"] == ["ALL"] and service["user"] == f"{image.USER}:{image.USER}", "it is not confined")
    check(any(str(volume).endswith(f":/{image.DATA}") for volume in service["volumes"]), "the log is on no volume")
    check(all(str(port).startswith("127.0.0.1:") for port in service["ports"]), "a port is open to the network")
    check("--keys" in service["command"], "it serves without keys")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", required=True)
    arguments.add_argument("--nats-server", required=True)
    args = arguments.parse_args()
    failed = 0
    for scenario in (units, the_image, compose):
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="balefire-packaging-") as folder:
            try:
                told = scenario(args, Path(folder))
                print(f"ok   {scenario.__name__:10} {time.monotonic() - start:6.1f} s  {told or ''}", flush=True)
            except Failed as error:
                failed += 1
                print(f"FAIL {scenario.__name__}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
