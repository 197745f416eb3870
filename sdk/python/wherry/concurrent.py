"""Serves async handlers, and several jobs at once, on one event loop. HTTP goes through threads: the loop is the handlers'."""

import asyncio
import json

from wherry.channel import path_of, post
from wherry.results import (
    ASYNC_GENERATOR,
    COROUTINE,
    GENERATOR,
    chunk_error,
    describe,
    describe_stream,
    encode,
    encode_stream,
    flags_of,
    run_generator,
    run_handler,
)
from wherry.serverless import POLL_LIMIT_S, Patience, log, parse_jobs, start_pings


def serve(worker, state):
    """Runs until SIGTERM or a refresh; what is held is finished."""
    asyncio.run(_Server(worker, state).run())


class _Server:
    def __init__(self, worker, state):
        self.worker = worker
        self.state = state
        self.held = {}
        self.take = worker.channel()
        self.stops = worker.channel()
        self.flags = flags_of(worker.handler)
        self.limit = 1
        self.is_over = False
        self.patience = Patience()

    async def run(self):
        from concurrent.futures import ThreadPoolExecutor

        loop = asyncio.get_running_loop()
        # Two for the polls; a job needs one while it posts, and a plain function one while it runs.
        loop.set_default_executor(ThreadPoolExecutor(max_workers=256))
        self.state["abort"] = self._abort
        listener = None
        while not self._is_ending():
            self._resize()
            need = self.limit - len(self.held)
            if need <= 0:
                await asyncio.wait(self.held.values(), return_when=asyncio.FIRST_COMPLETED)
                continue
            status, text = await asyncio.to_thread(self._poll, need)
            if listener is None:
                start_pings(self.worker)
                listener = asyncio.ensure_future(self._listen()) if self.flags & (COROUTINE | ASYNC_GENERATOR) else False
            for job in parse_jobs(text) if status == 200 else []:
                self._start(job)
            if status != 200 and not self._is_ending():
                await asyncio.to_thread(self.patience.heard, status)
            elif status == 200:
                self.patience.heard(200)
        if self.held:
            await asyncio.wait(self.held.values())
        self._abort()
        self._leave()

    def _is_ending(self):
        return self.state["stopping"] or self.is_over

    def _abort(self):
        for channel in (self.take, self.stops):
            channel.abort()

    def _leave(self):
        # Not by the end of the loop, which would wait for threads that still hold polls.
        import os
        import sys

        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    def _resize(self):
        """The wanted number of jobs at once; asked on every turn, as RunPod's SDK does."""
        if self.worker.modifier is None:
            return
        try:
            self.limit = max(1, int(self.worker.modifier(self.limit)))
        except Exception as error:
            log("ERROR", f"concurrency_modifier failed: {error}")

    def _poll(self, need):
        path = self.take.path + f"&job_in_progress={1 if self.held else 0}"
        if need > 1:
            path = path.replace("/job-take/", "/job-take-batch/", 1) + f"&batch_size={need}"
        return self.take.ask("GET", path, POLL_LIMIT_S)

    def _start(self, job):
        task = asyncio.ensure_future(self._serve(job))
        self.held[job["id"]] = task
        self.state["jobs"] = tuple(self.held)
        task.add_done_callback(lambda _: self._end(job["id"]))

    def _end(self, job_id):
        self.held.pop(job_id, None)
        self.state["jobs"] = tuple(self.held)

    async def _serve(self, job):
        channel = self.worker.channel()
        is_stream = bool(self.flags & (GENERATOR | ASYNC_GENERATOR))
        try:
            body, last = await self._run(job, channel)
            # From here on a stop comes too late: the result is posted.
            await asyncio.shield(asyncio.to_thread(self.worker.finish, channel, job["id"], body, is_stream))
            if last:
                self.is_over = True
                self.take.abort()
        except asyncio.CancelledError:
            log("INFO", f"job {job['id']} was stopped")
        finally:
            channel.close()

    async def _run(self, job, channel):
        worker = self.worker
        if self.flags & ASYNC_GENERATOR:
            return await self._stream(job, channel)
        if self.flags & COROUTINE:
            try:
                return encode(await worker.handler(job), worker.refresh)
            except Exception as error:
                return encode({"error": describe(error)}, worker.refresh)
        if self.flags & GENERATOR:
            path = worker.stream_path(job["id"])
            send = lambda body: post(channel, path, body)  # noqa: E731
            return await asyncio.to_thread(run_generator, worker.handler, job, send, worker.aggregate, worker.refresh)
        return await asyncio.to_thread(run_handler, worker.handler, job, worker.refresh)

    async def _stream(self, job, channel):
        worker = self.worker
        path = worker.stream_path(job["id"])
        outputs = []
        try:
            async for chunk in worker.handler(job):
                error = chunk_error(chunk)
                if error is not None:
                    return encode_stream(None, error, worker.refresh)
                await asyncio.to_thread(post, channel, path, json.dumps({"output": chunk}, allow_nan=False))
                if worker.aggregate:
                    outputs.append(chunk)
        except Exception as error:
            return encode_stream(None, describe_stream(error), worker.refresh)
        return encode_stream(outputs, None, worker.refresh)

    async def _listen(self):
        """Asks which jobs to stop, as long as the worker runs."""
        path = path_of(self.worker.take_url).replace("/job-take/", "/job-stop/", 1)
        while True:
            status, text = await asyncio.to_thread(self.stops.ask, "GET", path, POLL_LIMIT_S)
            for job_id in _named(text) if status == 200 else ():
                task = self.held.get(job_id)
                if task is not None:
                    task.cancel()
            if status != 200:
                await asyncio.sleep(5 if status == 429 else 1)


def _named(text):
    try:
        return [job_id for job_id in json.loads(text)["jobsToStop"] if isinstance(job_id, str)]
    except (ValueError, KeyError, TypeError):
        return []
