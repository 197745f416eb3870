"""One kept connection to the server, and posts that are repeated until the server has them."""

import http.client
import time

# Longer than workers live without a server: a result is not given up while anybody could still take it.
POST_LIMIT_S = 300
# Longer than the server holds an answer that brings the next job.
POST_TRY_S = 60
# A connection that another thread closed shows as one of the middle two.
_FAILURES = (OSError, ValueError, AttributeError, http.client.HTTPException)


class Channel:
    """A connection for one request at a time; made on first use and after each failure."""

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

    def ask(self, method, path, limit, body=None):
        """Status and body; status 0 when nothing answered."""
        return self.begin(method, path, limit, body)()

    def begin(self, method, path, limit, body=None):
        """Sends at once; what it returns waits for the answer, as :meth:`ask` gives it."""
        try:
            self.send(method, path, limit, body)
        except _FAILURES:
            self.close()
            return lambda: (0, b"")
        return self._wait

    def _wait(self):
        try:
            return self.receive()
        except _FAILURES:
            self.close()
            return 0, b""

    def close(self):
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def abort(self):
        """Ends a wait that another thread is in."""
        import socket

        connection = self.connection
        if connection is not None and connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def path_of(url):
    return "/" + url.split("://", 1)[1].split("/", 1)[1]


def post(channel, path, body):
    """The server's status, or 0 when it stayed away: (job, worker) makes a repeated post harmless, so a restarting server loses no result."""
    response = post_head(channel, lambda: path, body)
    if response is None:
        return 0
    try:
        response.read()
    except _FAILURES:
        channel.close()
    return response.status


def post_head(channel, path, body):
    """The answer with its head read, which says that the post is taken; its body is the caller's to read. None as `post` gives 0.

    `path()` is asked anew for each try.
    """
    end = time.monotonic() + POST_LIMIT_S
    wait = 0.05
    while True:
        response = _try_post(channel, path(), body)
        if response is not None and 200 <= response.status < 500:
            return response
        if time.monotonic() > end:
            return None
        time.sleep(wait)
        wait = min(2, wait * 2)


def _try_post(channel, path, body):
    try:
        channel.send("POST", path, POST_TRY_S, body)
        response = channel.connection.getresponse()
        if response.status >= 500:
            response.read()
        return response
    except _FAILURES:
        channel.close()
        return None


def post_chunk(channel, path):
    """`send(body)` for the chunks of one job. A chunk that is not taken ends the stream: it would have a gap.

    Each carries its number, so that one whose answer was lost can be posted again without being there twice.
    """
    sent = 0

    def send(body):
        nonlocal sent
        sent += 1
        status = post(channel, f"{path}&chunk={sent}", body)
        if not 200 <= status < 300:
            raise RuntimeError(f"the server did not take a chunk ({status or 'no answer'})")

    return send
