"""Local mode: no server; one job from ``--test_input '<json>'`` or test_input.json, the result on stdout, exit 0 or 1."""

import json
import sys

from wherry.results import ASYNC_GENERATOR, GENERATOR, dump, flags_of, run_generator, run_handler


def run_once(config):
    """Runs the handler once and ends the process. A generator is read to its end, and its chunks are the output."""
    handler = config["handler"]
    job = {"id": "local_test", **_read_input()}
    if job.get("input") is None:
        sys.exit("the test input has no 'input'")
    if flags_of(handler) & (GENERATOR | ASYNC_GENERATOR):
        source = _collect(handler) if flags_of(handler) & ASYNC_GENERATOR else handler
        body, _ = run_generator(source, job, lambda _chunk: None, aggregate=True)
    else:
        body, _ = run_handler(handler, job)
    print(dump(json.loads(body)))
    sys.exit(1 if "error" in json.loads(body) else 0)


def _collect(handler):
    import asyncio

    async def read(job):
        return [chunk async for chunk in handler(job)]

    return lambda job: asyncio.run(read(job))


def _read_input():
    try:
        for place, argument in enumerate(sys.argv[1:], 1):
            flag, _, value = argument.partition("=")
            if flag == "--test_input":
                return json.loads(value or sys.argv[place + 1])
        with open("test_input.json", encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, IndexError) as error:
        sys.exit(f"no test input: {error}; pass --test_input '{{\"input\": …}}' or write test_input.json")
