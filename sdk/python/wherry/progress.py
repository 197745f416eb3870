"""Progress values, posted from a thread of their own: a slow server does not slow the handler."""

from threading import Condition, Thread

# A progress value is not repeated: the next one says more. The server has this long to answer.
POST_LIMIT_S = 10


class Progress:
    """Keeps the newest value of each job until it is posted; one post at a time."""

    def __init__(self, worker, is_open):
        self.worker = worker
        self.is_open = is_open
        self.waiting = {}
        self.sending = None
        self.changed = Condition()
        Thread(target=self._run, daemon=True).start()

    def update(self, job_id, body):
        with self.changed:
            # Asked under the lock: after settle() nothing of that job is taken any more.
            if self.is_open(job_id):
                self.waiting[job_id] = body
                self.changed.notify_all()

    def settle(self, job_id):
        """Forgets what waits of the job and lets what is on its way arrive."""
        with self.changed:
            self.waiting.pop(job_id, None)
            self.changed.wait_for(lambda: self.sending != job_id, timeout=POST_LIMIT_S)

    def _run(self):
        channel = self.worker.channel()
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting)
                job_id = next(iter(self.waiting))
                body = self.waiting.pop(job_id)
                self.sending = job_id
            channel.ask("POST", self.worker.done_path(job_id), POST_LIMIT_S, body)
            with self.changed:
                self.sending = None
                self.changed.notify_all()
