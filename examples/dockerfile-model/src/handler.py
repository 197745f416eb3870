"""Judges texts with a model whose weights are in the image."""

import json
import math
import re

import runpod

# Once a worker: jobs find it loaded.
with open("/model/weights.json", encoding="utf-8") as file:
    MODEL = json.load(file)


def handler(job):
    """Whether ``input.text`` is positive or negative, and how sure the model is."""
    text = job["input"].get("text")
    if not isinstance(text, str):
        return {"error": "input.text is not a text"}
    words = set(re.findall(r"[a-z']+", text.lower()))
    score = MODEL["bias"] + math.fsum(MODEL["weights"].get(word, 0.0) for word in words)
    confidence = 1 / (1 + math.exp(-abs(score)))
    return {"label": "positive" if score > 0 else "negative", "confidence": round(confidence, 2)}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
