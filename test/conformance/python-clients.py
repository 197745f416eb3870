"""Sends what RunPod's two Python clients send, call by call (docs/job-api.md), to the base URL given; prints what they would read.

Standard library only: the packages themselves are not installed by the tests.
"""

import json
import sys
import time
import urllib.error
import urllib.request
import uuid

base, endpoint, key = sys.argv[1:4]
ENDS_WAIT = {"COMPLETED", "FAILED", "TIMED_OUT"}
ENDS_STATUS = ENDS_WAIT | {"CANCELLED"}


class Sync:
    """The plain client: a status of 400 and above is an error, the one of 401 a special one."""

    headers = {}

    def call(self, method, path, body=None, timeout=10):
        data = None if method == "GET" else b"" if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{base}/{endpoint}/{path}", data=data, method=method)
        for name, value in {"Content-Type": "application/json", "Authorization": f"Bearer {key}", **self.headers}.items():
            request.add_header(name, value)
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return self.read(answer)

    def read(self, answer):
        return json.load(answer)

    def run(self, value):
        body = value if value.get("input") else {"input": value}
        return self.call("POST", "run", body)["id"]

    def run_sync(self, value, timeout=86400):
        body = value if value.get("input") else {"input": value}
        job = self.call("POST", "runsync", body, timeout)
        if job["status"] in ENDS_WAIT:
            return job.get("output")
        return self.output(job["id"], timeout)

    def status(self, job):
        return self.call("GET", f"status/{job}")["status"]

    def output(self, job, timeout):
        end = time.monotonic() + timeout
        while self.status(job) not in ENDS_STATUS:
            if time.monotonic() > end:
                raise TimeoutError(job)
            time.sleep(1)
        return self.call("GET", f"status/{job}").get("output")

    def stream(self, job):
        while True:
            time.sleep(1)
            part = self.call("GET", f"stream/{job}")
            for chunk in part["stream"]:
                yield chunk["output"]
            if part["status"] in ENDS_WAIT and not part["stream"]:
                return

    def cancel(self, job):
        return self.call("POST", f"cancel/{job}", timeout=3)

    def health(self):
        return self.call("GET", "health", timeout=3)

    def purge_queue(self):
        return self.call("POST", "purge-queue", timeout=3)


class Asyncio(Sync):
    """The asyncio client: always wraps the input, names each request, and reads only answers whose type is JSON, whatever their status."""

    def __init__(self):
        self.headers = {"X-Request-ID": str(uuid.uuid4())}

    def run(self, value):
        return self.call("POST", "run", {"input": value})["id"]

    def read(self, answer):
        kind = answer.headers.get_content_type()
        if kind != "application/json":
            raise TypeError(f"answered with {kind}")
        return json.load(answer)


def failure_of(work):
    try:
        work()
    except urllib.error.HTTPError as error:
        return [error.code, error.headers.get_content_type(), "error" in json.load(error)]
    return None


def use(client):
    finished = client.run({"value": "by run"})
    streamed = client.run({"count": 3})
    result = {
        "output": client.output(finished, 30),
        "stream": list(client.stream(streamed)),
        "status": client.status(finished),
        "health": sorted(client.health()),
        "unknown": failure_of(lambda: client.status("no-such-job")),
    }
    long = client.run({"sleepMs": 60000})
    queued = client.run({"value": "never"})
    while client.status(long) != "IN_PROGRESS":
        time.sleep(0.1)
    result["purged"] = client.purge_queue()
    result["cancelled"] = client.cancel(long)["status"]
    result["ended"] = [client.status(long), client.status(queued)]
    return result


sync = Sync()
answers = {"sync": use(sync), "asyncio": use(Asyncio())}
answers["run_sync"] = sync.run_sync({"input": {"value": "by run_sync"}})
answers["wrapped twice"] = sync.run_sync({"input": {}})
answers["failed"] = sync.run_sync({"fail": "as asked"})
key = "wrong"
answers["refused"] = failure_of(lambda: sync.health())
print(json.dumps(answers))
