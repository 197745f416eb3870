"""The worker loop, for one job at a time. Standard library only, and as little of it as possible: it is on the cold path."""

import http.client
import json
import os
import sys
import time

POLL_LIMIT_S = 90
POST_LIMIT_S = 60
GIVE_UP_S = 300

_state = {"started": False, "stopping": False, "polling": False, "job": None}


class _Stop(Exception):
    """Raised by the signal handler to leave a waiting poll."""


def start(config):
    """Serves jobs until SIGTERM or a refresh. ``config["handler"]`` gets the job as a dict with ``id`` and ``input``."""
    handler = config["handler"] if isinstance(config, dict) else config
    _state["started"] = True
    env = os.environ
    if not env.get("RUNPOD_WEBHOOK_GET_JOB") or "--test_input" in sys.argv:
        from wherry.local import run_once

        run_once(handler)
        return
    refresh = bool(config.get("refresh_worker")) if isinstance(config, dict) else False
    _serve(handler, env, refresh)


def _serve(handler, env, refresh):
    worker = env.get("RUNPOD_POD_ID", "")
    key = env.get("RUNPOD_AI_API_KEY", "")
    take = _Channel(env["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", worker), key)
    done = env.get("RUNPOD_WEBHOOK_POST_OUTPUT", "").replace("$RUNPOD_POD_ID", worker)
    _catch_signals()
    pings = False
    failures = 0
    answered_at = time.monotonic()
    while not _state["stopping"]:
        status, text = _poll(take, start_pings=None if pings else lambda: _start_pings(env, worker, key))
        pings = True
        if status in (200, 204):
            failures, answered_at = 0, time.monotonic()
        elif not _state["stopping"]:
            if time.monotonic() - answered_at > GIVE_UP_S:
                _log("ERROR", f"no answer from the server for {GIVE_UP_S} s")
                sys.exit(1)
            time.sleep(5 if status == 429 else min(2, 0.05 * 2**failures))
            failures = min(failures + 1, 10)
        job = _parse_job(text) if status == 200 else None
        if job is None:
            continue
        _state["job"] = job["id"]
        body, last = run_handler(handler, job)
        _post(take, _path_of(done.replace("$ID", job["id"])) + "&isStream=false", body)
        _state["job"] = None
        if last or refresh:
            break
    sys.exit(0)


def _poll(channel, start_pings):
    _state["polling"] = True
    try:
        if _state["stopping"]:
            return 0, b""
        channel.send("GET", channel.path + "&job_in_progress=0", POLL_LIMIT_S)
        if start_pings:
            start_pings()
        return channel.receive()
    except _Stop:
        channel.close()
        return 0, b""
    except (OSError, http.client.HTTPException):
        channel.close()
        return 0, b""
    finally:
        _state["polling"] = False


def run_handler(handler, job):
    """Runs the handler; gives the body to post as text and whether the worker ends after it."""
    try:
        value = handler(job)
        if hasattr(value, "__await__"):
            import asyncio

            value = asyncio.run(_await(value))
    except Exception as error:
        return json.dumps({"error": _describe(error)}), False
    return _encode(value)


async def _await(value):
    return await value


def _encode(value):
    body, last = {}, False
    if isinstance(value, dict):
        rest = {name: item for name, item in value.items() if name not in ("error", "refresh_worker")}
        if rest:
            body["output"] = rest
        if value.get("error"):
            body["error"] = value["error"]
        if value.get("refresh_worker"):
            body["stopPod"] = last = True
    else:
        body["output"] = value
    try:
        return json.dumps(body, allow_nan=False), last
    except (TypeError, ValueError, RecursionError) as error:
        return json.dumps({"error": f"the handler's value cannot be sent as JSON: {error}"}), last


def _describe(error):
    import traceback

    return json.dumps(
        {
            "error_type": str(type(error)),
            "error_message": str(error),
            "error_traceback": traceback.format_exc(),
            "hostname": os.environ.get("RUNPOD_POD_HOSTNAME", "unknown"),
            "worker_id": os.environ.get("RUNPOD_POD_ID", "unknown"),
            "runpod_version": "wherry-python",
        }
    )


def _post(channel, path, body):
    """Posts until the server has it: (job, worker) makes a repeated post harmless, so a restarting server loses no result."""
    end = time.monotonic() + POST_LIMIT_S
    wait = 0.05
    while True:
        try:
            channel.send("POST", path, 30, body)
            status, _ = channel.receive()
        except (OSError, http.client.HTTPException):
            channel.close()
            status = 0
        if 200 <= status < 500:
            return
        if time.monotonic() > end:
            _log("ERROR", f"a result could not be delivered for {POST_LIMIT_S} s; giving it up")
            return
        time.sleep(wait)
        wait = min(2, wait * 2)


class _Channel:
    """One kept connection to the server."""

    def __init__(self, url, key):
        scheme, rest = url.split("://", 1)
        self.host, path = rest.split("/", 1)
        self.path = "/" + path
        self.kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        self.headers = {"Authorization": key, "Content-Type": "application/json"}
        self.connection = None

    def send(self, method, path, limit, body=None):
        if self.connection is None:
            self.connection = self.kind(self.host, timeout=limit)
        elif self.connection.sock is not None:
            self.connection.sock.settimeout(limit)
        self.connection.request(method, path, body=None if body is None else body.encode(), headers=self.headers)

    def receive(self):
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _path_of(url):
    return "/" + url.split("://", 1)[1].split("/", 1)[1]


def _start_pings(env, worker, key):
    url = env.get("RUNPOD_WEBHOOK_PING", "").replace("$RUNPOD_POD_ID", worker)
    if not (url and key and worker):
        return
    from threading import Thread

    interval = max(1, int(env.get("RUNPOD_PING_INTERVAL") or 10000) // 1000)
    Thread(target=_ping_forever, args=(_Channel(url, key), interval), daemon=True).start()


def _ping_forever(channel, interval):
    while True:
        job = _state["job"]
        try:
            channel.send("GET", channel.path + (f"&job_id={job}" if job else ""), 2 * interval)
            channel.receive()
        except Exception:
            channel.close()
        time.sleep(interval)


def _catch_signals():
    import signal

    def stop(_number, _frame):
        _state["stopping"] = True
        if _state["polling"]:
            raise _Stop

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _parse_job(text):
    try:
        job = json.loads(text)
        if isinstance(job, dict) and isinstance(job.get("id"), str) and "input" in job:
            return job
    except ValueError:
        pass
    _log("ERROR", "the server answered something that is no job")
    return None


def _log(level, message):
    sys.stderr.write(json.dumps({"requestId": _state["job"], "message": message, "level": level}) + "\n")
    sys.stderr.flush()
