"""Makes the container image as an OCI layout, with nothing but Python: the same bytes from the same files.

build.py --binaries target/release --nats-server PATH --out DIR   prints the image's digest

In it: the programs, the nats-server, the libraries they are linked with, the roots of TLS, a user. No shell."""
import argparse
import gzip
import hashlib
import io
import json
import platform
import re
import subprocess
import sys
import tarfile
from pathlib import Path

PROGRAMS = ("balefire", "balefire-ingest", "balefire-correlator", "balefire-rule-engine", "balefire-notifier")
USER = 65532
DATA = "var/lib/balefire"
ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
FILES = {
    "etc/passwd": f"balefire:x:{USER}:{USER}::/{DATA}:/nonexistent\n",
    "etc/group": f"balefire:x:{USER}:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


def libraries(program):
    """What a program is linked with, as paths that the loader looks for."""
    told = subprocess.run(["ldd", str(program)], capture_output=True, text=True)
    if told.returncode != 0:
        return set()                       # linked with nothing
    return set(re.findall(r"(/\S+\.so\S*)", told.stdout))


def contents(binaries, nats_server):
    """Bytes and mode by path in the image."""
    files = {f"usr/bin/{name}": (binaries / name, 0o755) for name in PROGRAMS}
    files["usr/bin/nats-server"] = (nats_server, 0o755)
    for source, _ in list(files.values()):
        for library in libraries(source):
            files[library.lstrip("/")] = (Path(library), 0o755)
    if ROOTS.exists():
        files[str(ROOTS).lstrip("/")] = (ROOTS, 0o644)
    read = {path: (source.read_bytes(), mode) for path, (source, mode) in files.items()}
    return read | {path: (text.encode(), 0o644) for path, text in FILES.items()}


def layer(files):
    """A tar of the files: sorted, of nobody's time."""
    out = io.BytesIO()
    folders = {DATA, "tmp"}
    for path in files:
        folders.update(str(parent) for parent in Path(path).parents if str(parent) != ".")
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folders | set(files) | {str(parent) for parent in Path(DATA).parents if str(parent) != "."}):
            entry = tarfile.TarInfo(path)
            if path in files:
                data, entry.mode = files[path]
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
                continue
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            if path in (DATA, "tmp"):
                entry.uid = entry.gid = USER
                entry.mode = 0o700 if path == DATA else 0o1777
            tar.addfile(entry)
    return out.getvalue()


class Layout:
    """An OCI layout being written."""

    def __init__(self, out):
        self.blobs = out / "blobs/sha256"
        self.out = out
        self.blobs.mkdir(parents=True, exist_ok=True)

    def blob(self, data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        (self.blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def json(self, value, media_type):
        return self.blob(json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), media_type)


def build(binaries, nats_server, out):
    """Writes the layout; the digest of the image."""
    tar = layer(contents(binaries, nats_server))
    layout = Layout(out)
    packed = gzip.compress(tar, compresslevel=1, mtime=0)
    one = layout.blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip")
    config = layout.json({
        "architecture": MACHINES[platform.machine()], "os": "linux", "created": "1970-01-01T00:00:00Z",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
        "config": {
            "User": f"{USER}:{USER}", "Entrypoint": ["/usr/bin/balefire"], "Cmd": ["up"], "WorkingDir": f"/{DATA}",
            "Env": ["PATH=/usr/bin", f"BALEFIRE_DATA_DIR=/{DATA}"], "StopSignal": "SIGTERM",
            "ExposedPorts": {"7400/tcp": {}, "7480/tcp": {}}, "Volumes": {f"/{DATA}": {}},
        },
    }, "application/vnd.oci.image.config.v1+json")
    manifest = layout.json({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [one]},
                           "application/vnd.oci.image.manifest.v1+json")
    index = {"schemaVersion": 2, "manifests": [manifest | {"annotations": {"org.opencontainers.image.ref.name": "balefire:latest"}}]}
    (out / "index.json").write_text(json.dumps(index, sort_keys=True, separators=(",", ":")))
    (out / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return manifest["digest"]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binaries", type=Path, required=True)
    arguments.add_argument("--nats-server", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    args = arguments.parse_args()
    print(build(args.binaries, args.nats_server, args.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
