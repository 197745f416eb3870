"""Yields an answer in parts, as a language model yields its tokens."""

import time

import runpod


def handler(job):
    """The words of ``input.text`` one by one, ``input.delay_ms`` apart. Each is in /stream as soon as it is yielded."""
    given = job["input"]
    for index, word in enumerate(given["text"].split()):
        time.sleep(given.get("delay_ms", 0) / 1000)
        yield {"index": index, "text": word}


if __name__ == "__main__":
    # With the second setting /status and /runsync have all parts as a list, too.
    runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
