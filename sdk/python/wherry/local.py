"""Local mode: no server; one job from ``--test_input '<json>'`` or test_input.json, the result on stdout, exit 0 or 1."""

import json
import sys

from wherry.serverless import run_handler


def run_once(handler):
    """Runs the handler once and ends the process."""
    job = {"id": "local_test", **_read_input()}
    if job.get("input") is None:
        sys.exit("the test input has no 'input'")
    body, _ = run_handler(handler, job)
    print(body)
    sys.exit(1 if "error" in json.loads(body) else 0)


def _read_input():
    try:
        if "--test_input" in sys.argv:
            return json.loads(sys.argv[sys.argv.index("--test_input") + 1])
        with open("test_input.json", encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, IndexError) as error:
        sys.exit(f"no test input: {error}; pass --test_input '{{\"input\": …}}' or write test_input.json")
