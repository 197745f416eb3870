"""Counts the words of a text: plain work for a CPU, one job at a time."""

import re
from collections import Counter

import runpod


def handler(job):
    """How many words ``input.text`` has, how many different ones, and the ``input.top`` most frequent (three when absent)."""
    given = job["input"]
    text = given.get("text")
    if not isinstance(text, str):
        return {"error": "input.text is not a text"}
    words = re.findall(r"[\w']+", text.lower())
    frequent = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))
    return {"words": len(words), "different": len(frequent), "top": dict(frequent[: given.get("top", 3)])}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
