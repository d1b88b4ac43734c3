#!/bin/sh
# Makes a virtual environment and a client from proto/, both in a temporary folder, and sends one
# event. BALEFIRE_ADDR says where to (127.0.0.1:7400), BALEFIRE_TOKEN is sent where it is set.
# VENV=DIR keeps the virtual environment for the next run.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
proto="$here/../../../proto"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

venv=${VENV:-$work/venv}
stamp="$venv/.requirements"
if ! cmp -s "$stamp" "$here/requirements.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$stamp"
fi

mkdir "$work/client"
"$venv/bin/python" -m grpc_tools.protoc \
    --proto_path="$proto" \
    --python_out="$work/client" \
    --grpc_python_out="$work/client" \
    "$proto/balefire/event/v1/event.proto" \
    "$proto/balefire/join/v1/join.proto" \
    "$proto/balefire/ingest/v1/ingest.proto"

PYTHONPATH="$work/client" "$venv/bin/python" "$here/send_event.py" "$@"
