"""The floor's own floor: a loop over stdin."""

import json
import sys

for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        reply = {"jsonrpc": "2.0", "id": message["id"], "result": {}}
        sys.stdout.write(json.dumps(reply) + "\n")  # noqa: TID251 - a contestant, not the project
        sys.stdout.flush()  # noqa: TID251 - a contestant, not the project
