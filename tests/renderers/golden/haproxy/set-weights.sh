#!/usr/bin/env bash
# Gives a running HAProxy the weights of this folder's plan (weights.txt) without a reload. Needs python3.
# Nothing is changed where a reload is needed: for a model that came or left, or for a server that HAProxy does not know.
# A server that left the plan gets weight 0: it takes no new request.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
exec python3 - haproxy.sock weights.txt <<'PYTHON'
import socket
import sys


def ask(command):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(sys.argv[1])
        connection.sendall(command.encode() + b"\n")
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()


try:
    # the first line is the version of the table, the second its columns; a backend without servers has no line
    lines = [line.split() for line in ask("show servers state").splitlines()[2:] if line.strip()]
except OSError as error:
    sys.exit(f"HAProxy cannot be asked at {sys.argv[1]}: {error}")
running = {f"{line[1]}/{line[3]}" for line in lines}
with open(sys.argv[2], encoding="utf-8") as file:
    wished = dict(line.split() for line in file if not line.startswith("#"))
backends = [{name.partition("/")[0] for name in names} for names in (running, wished)]
unknown = sorted({*(set(wished) - running), *(backends[0] ^ backends[1])})
if unknown:
    sys.exit(f"nothing was changed: HAProxy must read the configuration again, because of {', '.join(unknown)}")
# those that grow come first: in between, no model is without a server
for name in sorted(running, key=lambda name: (wished.get(name, "0") == "0", name)):
    said = ask(f"set server {name} weight {wished.get(name, '0')}").strip()
    if said:
        sys.exit(f"{name}: {said}")
print(f"{len(wished)} weights set, {len(running - set(wished))} servers without new requests")
PYTHON
