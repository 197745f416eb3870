"""The worker loop. Standard library only, and as little of it as possible: it is on the cold path.

One synchronous job at a time is served here; asynchronous handlers and several jobs at once are served by
:mod:`wherry.concurrent`, which is loaded only then.
"""

import json
import os
import sys
import time

from wherry.channel import Channel, path_of, post, post_chunk, post_head
from wherry.results import ASYNC_GENERATOR, COROUTINE, GENERATOR, flags_of, run_generator, run_handler

POLL_LIMIT_S = 90
GIVE_UP_S = 300

_state = {"started": False, "stopping": False, "polling": False, "jobs": (), "ended": set(), "checks": [], "worker": None, "progress": None, "abort": None}


class _Stop(Exception):
    """Raised by the signal handler to leave a waiting poll."""


def start(config):
    """Serves jobs until SIGTERM or a refresh.

    ``config["handler"]`` gets the job as a dict with ``id`` and ``input``; it may be a function, a generator, or an async one
    of both. Other keys: ``return_aggregate_stream``, ``refresh_worker``, ``concurrency_modifier`` (a function of the
    present number of jobs at once that gives the wanted one).
    """
    config = dict(config) if isinstance(config, dict) else {"handler": config}
    _state["started"] = True
    env = os.environ
    if not env.get("RUNPOD_WEBHOOK_GET_JOB") or any(argument.split("=")[0] == "--test_input" for argument in sys.argv[1:]):
        from wherry.local import run_once

        run_once(config)
        return
    _serve(config, env)


def register_fitness_check(check):
    """Decorator: a function (plain or async) that is run before the first job; when it raises, the worker says so and ends."""
    if not callable(check):
        raise TypeError(f"register_fitness_check needs a function, not {type(check).__name__}")
    _state["checks"].append(check)
    return check


def progress_update(job, value):
    """Shows a value as the job's ``output`` while it runs. Never fails the job and never comes after its result."""
    if _state["worker"] is None:
        return
    try:
        # Now, not when it is sent: the handler may go on changing the value.
        body = json.dumps({"status": "IN_PROGRESS", "output": value}, allow_nan=False)
        if _state["progress"] is None:
            # Loaded on first use: most handlers tell no progress.
            from wherry.progress import Progress

            _state["progress"] = Progress(_state["worker"], _is_open)
        _state["progress"].update(job["id"], body)
    except Exception as error:
        log("ERROR", f"a progress value cannot be sent: {error}")


def _is_open(job_id):
    return job_id in _state["jobs"] and job_id not in _state["ended"]


def _serve(config, env):
    worker = Worker(config, env)
    _catch_signals()
    if _state["checks"]:
        from wherry.fitness import run_checks

        run_checks(_state["checks"], worker.ping)
    _state["worker"] = worker
    if config.get("concurrency_modifier") or flags_of(config["handler"]) & (COROUTINE | ASYNC_GENERATOR):
        from wherry.concurrent import serve

        serve(worker, _state)
    else:
        _serve_one_by_one(worker)
    sys.exit(0)


class Worker:
    """What every way of serving needs of the configuration and the environment."""

    def __init__(self, config, env):
        self.id = env.get("RUNPOD_POD_ID", "")
        self.key = env.get("RUNPOD_AI_API_KEY", "")
        self.handler = config["handler"]
        self.aggregate = bool(config.get("return_aggregate_stream"))
        self.refresh = bool(config.get("refresh_worker"))
        self.modifier = config.get("concurrency_modifier")
        self.take_url = env["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", self.id)
        self.done_url = env.get("RUNPOD_WEBHOOK_POST_OUTPUT", "").replace("$RUNPOD_POD_ID", self.id)
        self.stream_url = env.get("RUNPOD_WEBHOOK_POST_STREAM", "").replace("$RUNPOD_POD_ID", self.id)
        self.ping_url = env.get("RUNPOD_WEBHOOK_PING", "").replace("$RUNPOD_POD_ID", self.id)
        self.interval = max(1, int(env.get("RUNPOD_PING_INTERVAL") or 10000) // 1000)

    def channel(self, url=None):
        return Channel(url or self.take_url, self.key)

    def done_path(self, job_id, is_stream=False):
        return f"{path_of(self.done_url.replace('$ID', job_id))}&isStream={'true' if is_stream else 'false'}"

    def stream_path(self, job_id):
        return path_of(self.stream_url.replace("$ID", job_id)) + "&isStream=false"

    def finish(self, channel, job_id, body, is_stream=False):
        """Posts the end of a job."""
        self.end(job_id)
        if not post(channel, self.done_path(job_id, is_stream), body):
            log("ERROR", "a result could not be delivered; giving it up")

    def end(self, job_id):
        """Progress that still waits is dropped, what is on its way comes first."""
        _state["ended"].add(job_id)
        if _state["progress"] is not None:
            _state["progress"].settle(job_id)

    def forget(self, job_id):
        """The job is no longer held: called when it is off the list of the pings."""
        _state["ended"].discard(job_id)
        if _state["progress"] is not None:
            _state["progress"].settle(job_id)

    def ping(self, more=""):
        if self.ping_url and self.key and self.id:
            self.channel(self.ping_url).ask("GET", path_of(self.ping_url) + more, 2)


def _serve_one_by_one(worker):
    channel = worker.channel()
    is_generator = bool(flags_of(worker.handler) & GENERATOR)
    pings = False
    patience = Patience()
    jobs = []
    while jobs or not _state["stopping"]:
        if not jobs:
            status, text = _poll(channel, start_pings=None if pings else lambda: start_pings(worker))
            pings = True
            if not _state["stopping"]:
                patience.heard(status)
            jobs = parse_jobs(text) if status == 200 else []
        for job in jobs[:1]:
            _state["jobs"] = (job["id"],)
            body, last = _run(worker, channel, job, is_generator)
            worker.end(job["id"])
            path = worker.done_path(job["id"], is_generator)
            text = _deliver(channel, path, body, last)
            if text is not None:
                patience.heard(200)
            _state["jobs"] = ()
            _state["ended"].clear()
            if last:
                return
            jobs = parse_jobs(text) if text and b'"input"' in text else []


def _deliver(channel, path, body, last):
    """Posts a result and asks for the next job with it, which spares a request (ADR 11); gives what came after the answer's head,
    or None when the server stayed away.

    The head says that the result is taken. From then on there is only a wait, which a signal may end.
    """
    response = post_head(channel, lambda: path if last or _state["stopping"] else path + "&next=1", body)
    if response is None:
        log("ERROR", "a result could not be delivered; giving it up")
        return None
    _state["jobs"] = ()
    return _wait(channel, response.read) or b""


def _run(worker, channel, job, is_generator):
    if not is_generator:
        return run_handler(worker.handler, job, worker.refresh)
    path = worker.stream_path(job["id"])
    return run_generator(worker.handler, job, post_chunk(channel, path), worker.aggregate, worker.refresh)


def _poll(channel, start_pings):
    def ask():
        channel.send("GET", channel.path + "&job_in_progress=0", POLL_LIMIT_S)
        if start_pings:
            start_pings()
        return channel.receive()

    return _wait(channel, ask) or (0, b"")


def _wait(channel, work):
    """What `work` gives; None when a signal or a failure ended it."""
    answer = None
    _state["polling"] = True
    try:
        # A signal that came before would not end what begins now.
        if not _state["stopping"]:
            answer = work()
        _state["polling"] = False
    except Exception:
        _state["polling"] = False
    if answer is None:
        channel.close()
    return answer


class Patience:
    """Waits between polls that were refused, longer and longer, and ends the worker when the server stays away."""

    def __init__(self):
        self.failures = 0
        self.failing_since = None

    def heard(self, status, sleep=time.sleep):
        if status in (200, 204):
            self.failures, self.failing_since = 0, None
            return
        # From the first failure on: time in which this process was suspended says nothing about the server.
        if self.failing_since is None:
            self.failing_since = time.monotonic()
        if time.monotonic() - self.failing_since > GIVE_UP_S:
            log("ERROR", f"no answer from the server for {GIVE_UP_S} s")
            os._exit(1)
        # The first time not at all: a connection that was kept may have ended while this process was suspended.
        wait = 5 if status == 429 else min(2, 0.05 * 2**self.failures) if self.failures else 0
        self.failures = min(self.failures + 1, 10)
        if wait:
            sleep(wait)


def start_pings(worker):
    if not (worker.ping_url and worker.key and worker.id):
        return
    from threading import Thread

    Thread(target=_ping_forever, args=(worker,), daemon=True).start()


def _ping_forever(worker):
    from random import uniform
    from urllib.parse import quote

    channel = worker.channel(worker.ping_url)
    # Workers that began together would ping together for ever, and hold each other up.
    pause = worker.interval * uniform(0.5, 1)
    while True:
        jobs = ",".join(_state["jobs"])
        channel.ask("GET", channel.path + (f"&job_id={quote(jobs)}" if jobs else ""), 2 * worker.interval)
        time.sleep(pause)
        pause = worker.interval


def _catch_signals():
    import signal

    def stop(_number, _frame):
        _state["stopping"] = True
        if _state["abort"] is not None:
            _state["abort"]()
        elif _state["polling"]:
            raise _Stop

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def parse_jobs(text):
    """The jobs of a take's answer: an object or a list of them; empty, with a line in the log, when it is neither."""
    try:
        found = json.loads(text)
        named = found if isinstance(found, list) else [found]
        jobs = [job for job in named if isinstance(job, dict) and isinstance(job.get("id"), str) and "input" in job]
        if len(jobs) < len(named):
            log("ERROR", "the server answered something that is no job")
        return jobs
    except ValueError:
        log("ERROR", "the server answered something that is no job")
        return []


def log(level, message):
    jobs = _state["jobs"]
    sys.stderr.write(json.dumps({"requestId": jobs[0] if len(jobs) == 1 else None, "message": message, "level": level}) + "\n")
    sys.stderr.flush()
