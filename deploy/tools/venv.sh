#!/usr/bin/env bash
# Makes .venv/NAME once with the pinned packages of a requirements file, and prints its bin folder.
# usage: venv.sh NAME REQUIREMENTS
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=".venv/$1"
if ! cmp -s "$2" "$dir/requirements.txt" 2>/dev/null; then
  rm -rf "$dir"
  python3 -m venv "$dir"
  "$dir/bin/pip" install --quiet --disable-pip-version-check -r "$2" 1>&2
  cp "$2" "$dir/requirements.txt"
fi
echo "$PWD/$dir/bin"
