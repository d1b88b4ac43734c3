#!/usr/bin/env bash
# Refuses a change of proto/ that breaks readers or writers of the last release, whose image is
# proto/baseline.binpb (WIRE_JSON rules of proto/buf.yaml). First it shows that it can fail: a copy
# with one field removed must be refused.
set -euo pipefail
cd "$(dirname "$0")/../.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r proto/. "$copy"
sed -i.before '/uint32 key_epoch = 6;/d' "$copy/balefire/log/v1/log.proto"
if found=$(deploy/tools/buf.sh breaking "$copy" --against proto/baseline.binpb); then
  echo "breaking.sh: a removed field was not noticed" >&2
  exit 1
elif ! grep -q '"key_epoch" on message "Header" was deleted' <<<"$found"; then
  echo "breaking.sh: the removed field is not what was found: $found" >&2
  exit 1
fi
deploy/tools/buf.sh breaking proto --against proto/baseline.binpb
