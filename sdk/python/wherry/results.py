"""What a handler does with a job, as the bodies that go to the server (worker-protocol: result bodies)."""

import json
import os

GENERATOR, COROUTINE, ASYNC_GENERATOR = 0x20, 0x80, 0x200


def flags_of(handler):
    """The code flags of the function behind a callable; detection is by the kind of function, not by what it returns."""
    while hasattr(handler, "func"):
        handler = handler.func
    code = getattr(handler, "__code__", None) or getattr(getattr(type(handler), "__call__", None), "__code__", None)
    return code.co_flags if code else 0


def dump(body):
    """JSON text; what JSON cannot hold becomes an error that says so."""
    try:
        return json.dumps(body, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return json.dumps({"error": f"the handler's value cannot be sent as JSON: {error}"})


def encode(value, refresh=False):
    """The body for what a handler returned, and whether the worker ends after it."""
    body, last = {}, refresh
    if isinstance(value, dict):
        rest = {name: item for name, item in value.items() if name not in ("error", "refresh_worker")}
        if rest:
            body["output"] = rest
        if value.get("error"):
            body["error"] = value["error"]
        last = last or bool(value.get("refresh_worker"))
    else:
        body["output"] = value
    return _sealed(dump(body), last), last


def _sealed(text, last):
    return text if not last else json.dumps({**json.loads(text), "stopPod": True})


def describe(error):
    """A raised exception as RunPod's SDK words it: JSON in a string."""
    import traceback

    return json.dumps(
        {
            "error_type": str(type(error)),
            "error_message": str(error),
            "error_traceback": "".join(traceback.format_exception(type(error), error, error.__traceback__)),
            "hostname": os.environ.get("RUNPOD_POD_HOSTNAME", "unknown"),
            "worker_id": os.environ.get("RUNPOD_POD_ID", "unknown"),
            "runpod_version": "wherry-python",
        }
    )


class Chunks:
    """What a generator yields, as bodies; :meth:`end` and :meth:`failed` give the last body and whether the worker ends."""

    def __init__(self, aggregate, refresh):
        self.aggregate, self.refresh = aggregate, refresh
        self.outputs, self.error = [], None

    def add(self, value):
        """The body of a chunk; None when the value is an error, which ends the job and is not streamed."""
        if isinstance(value, dict) and value.get("error"):
            self.error = str(value["error"])
            return None
        text = json.dumps({"output": value}, allow_nan=False)
        if self.aggregate:
            # A copy: a generator may yield one object again and again, changed.
            self.outputs.append(json.loads(text)["output"])
        return text

    def end(self):
        body = {"output": self.outputs} if self.error is None else {"error": self.error}
        return _sealed(dump(body), self.refresh), self.refresh

    def failed(self, error):
        import traceback

        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.error = f"handler: {error} \ntraceback: {trace}"
        return self.end()


def run_handler(handler, job, refresh=False):
    """Runs a plain or async function; gives the body as text and whether the worker ends after it."""
    try:
        value = handler(job)
        if hasattr(value, "__await__"):
            import asyncio

            value = asyncio.run(_await(value))
    except Exception as error:
        return _sealed(json.dumps({"error": describe(error)}), refresh), refresh
    return encode(value, refresh)


async def _await(value):
    return await value


def run_generator(handler, job, send, aggregate=False, refresh=False):
    """Runs a generator function; `send` gets the body of each chunk before the next one is made."""
    chunks = Chunks(aggregate, refresh)
    try:
        for value in handler(job):
            body = chunks.add(value)
            if body is None:
                break
            send(body)
    except Exception as error:
        return chunks.failed(error)
    return chunks.end()
