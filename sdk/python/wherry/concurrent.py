"""Serves async handlers, and several jobs at once, on one event loop. HTTP goes through threads: the loop is the handlers'."""

import json
import time

from wherry.channel import path_of, post_chunk
from wherry.results import (
    ASYNC_GENERATOR,
    COROUTINE,
    GENERATOR,
    Chunks,
    describe,
    encode,
    flags_of,
    run_generator,
    run_handler,
)
from wherry.serverless import POLL_LIMIT_S, Patience, log, parse_jobs, start_pings

# A stop poll that was held so long may be repeated at once; a quicker answer would make a tight loop.
SHORTEST_POLL_S = 1


def serve(worker, state):
    """Runs until SIGTERM or a refresh; what is held is finished. A handler that ends the process ends it at once."""
    server = _Server(worker, state)
    # On its way before asyncio is loaded: that takes longer than the answer.
    server.poll = server.ask_for(server.wanted())
    import asyncio

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    server.asyncio, server.loop = asyncio, loop
    try:
        loop.run_until_complete(server.run())
    except SystemExit:
        # Not through asyncio's orderly end, which would wait for the other jobs.
        loop.set_exception_handler(lambda *_: None)
        raise


class _Held:
    """A job in this worker's hands."""

    def __init__(self, job):
        self.job = job
        self.id = job["id"]
        self.work = None
        self.is_stopped = False

    def stop(self):
        """Once: a second cancellation would interrupt the handler's own clean-up."""
        if self.is_stopped or self.work is None:
            return False
        self.is_stopped = True
        self.work.cancel()
        return True


class _Server:
    def __init__(self, worker, state):
        self.worker = worker
        self.state = state
        self.held = {}
        self.tasks = set()
        self.take = worker.channel()
        self.flags = flags_of(worker.handler)
        self.limit = 1
        self.is_over = False
        self.poll = None
        self.patience = Patience()

    async def run(self):
        self.state["abort"] = self.take.abort
        side = None
        while not self._is_ending():
            need = self.wanted() - len(self.held)
            if need <= 0:
                await self.asyncio.wait(self.tasks, return_when=self.asyncio.FIRST_COMPLETED)
                continue
            status, text = await self._answer(need)
            side = side or self._start_side()
            for job in parse_jobs(text) if status == 200 else ():
                self._start(job)
            if not self._is_ending():
                await self._rest(status)
        if self.tasks:
            await self.asyncio.wait(self.tasks)
        side and side.cancel()

    def _is_ending(self):
        return self.state["stopping"] or self.is_over

    def wanted(self):
        """The wanted number of jobs at once; asked on every turn, as RunPod's SDK does."""
        if self.worker.modifier is not None:
            try:
                self.limit = max(1, int(self.worker.modifier(self.limit)))
            except Exception as error:
                log("ERROR", f"concurrency_modifier failed: {error}")
        return self.limit

    def ask_for(self, need):
        """Sends a take; what it returns waits for the answer. Status 0 when nothing answered."""
        path = self.take.path + f"&job_in_progress={1 if self.held else 0}"
        if need > 1:
            path = path.replace("/job-take/", "/job-take-batch/", 1) + f"&batch_size={need}"
        return self.take.begin("GET", path, POLL_LIMIT_S)

    def _answer(self, need):
        poll, self.poll = self.poll, None
        return self._in_thread(poll or (lambda: self.ask_for(need)()))

    async def _rest(self, status):
        waits = []
        self.patience.heard(status, sleep=waits.append)
        if waits:
            await self.asyncio.sleep(waits[0])

    def _start_side(self):
        """Pings, and the stop channel when the handler can be stopped: after the first answer, for a quick first job."""
        start_pings(self.worker)
        can_stop = self.flags & (COROUTINE | ASYNC_GENERATOR) and "/job-take/" in self.worker.take_url
        return self.loop.create_task(self._listen() if can_stop else self.asyncio.sleep(0))

    def _in_thread(self, function):
        """Awaitable result of a blocking function. A daemon thread: the process may end while it waits."""
        from threading import Thread

        future = self.loop.create_future()

        def settle(is_error, value):
            if not future.done():
                (future.set_exception if is_error else future.set_result)(value)

        def run():
            try:
                outcome = False, function()
            except BaseException as error:
                outcome = True, error
            self.loop.call_soon_threadsafe(settle, *outcome)

        Thread(target=run, daemon=True).start()
        return future

    def _start(self, job):
        held = _Held(job)
        self.held[held.id] = held
        self.state["jobs"] = tuple(self.held)
        task = self.loop.create_task(self._serve(held))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve(self, held):
        channel = self.worker.channel()
        try:
            outcome = await self._outcome(held, channel)
            if outcome is None:
                log("INFO", f"job {held.id} was stopped")
                return
            body, last = outcome
            if last:
                # Before the result: a job that comes meanwhile would be run here although the worker is used up.
                self.is_over = True
                self.take.abort()
            is_stream = bool(self.flags & (GENERATOR | ASYNC_GENERATOR))
            await self._in_thread(lambda: self.worker.finish(channel, held.id, body, is_stream))
        finally:
            channel.close()
            self.held.pop(held.id, None)
            self.state["jobs"] = tuple(self.held)
            self.worker.forget(held.id)

    async def _outcome(self, held, channel):
        """Body and whether the worker ends; None for a job that was stopped, whatever its handler made of that."""
        held.work = self.loop.create_task(self._run(held.job, channel))
        if not self.flags & (COROUTINE | ASYNC_GENERATOR):
            return await held.work
        try:
            outcome = await held.work
            return None if held.is_stopped else outcome
        except self.asyncio.CancelledError as error:
            return None if held.is_stopped else encode({"error": describe(error)}, self.worker.refresh)

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
            send = post_chunk(channel, worker.stream_path(job["id"]))
            return await self._in_thread(lambda: run_generator(worker.handler, job, send, worker.aggregate, worker.refresh))
        return await self._in_thread(lambda: run_handler(worker.handler, job, worker.refresh))

    async def _stream(self, job, channel):
        chunks = Chunks(self.worker.aggregate, self.worker.refresh)
        send = post_chunk(channel, self.worker.stream_path(job["id"]))
        try:
            values = self.worker.handler(job)
            try:
                async for value in values:
                    body = chunks.add(value)
                    if body is None:
                        break
                    await self._in_thread(lambda: send(body))  # noqa: B023 (awaited in this very turn)
            finally:
                # Its own clean-up runs before the job ends, also when it is stopped or ended by an error.
                await values.aclose()
        except Exception as error:
            return chunks.failed(error)
        return chunks.end()

    async def _listen(self):
        """Asks which jobs to stop, as long as the worker runs."""
        channel = self.worker.channel()
        path = path_of(self.worker.take_url).replace("/job-take/", "/job-stop/", 1)
        while True:
            asked_at = time.monotonic()
            status, text = await self._in_thread(lambda: channel.ask("GET", path, POLL_LIMIT_S))
            named = _named(text) if status == 200 else []
            stopped = [self.held[job_id].stop() for job_id in named if job_id in self.held]
            is_quick = not any(stopped) and time.monotonic() - asked_at < SHORTEST_POLL_S
            if status == 429 or is_quick:
                await self.asyncio.sleep(5 if status == 429 else 1)


def _named(text):
    try:
        return [job_id for job_id in json.loads(text)["jobsToStop"] if isinstance(job_id, str)]
    except (ValueError, KeyError, TypeError):
        return []
