"""Trains a small linear model of texts and writes its weights as JSON: ``train.py SENTENCES.csv WEIGHTS.json``."""

import csv
import json
import math
import os
import re
import sys

ROUNDS = 300
RATE = 0.2


def words_of(text):
    # Sorted, so that the sums, and with them the weights, are the same in every run.
    return sorted(set(re.findall(r"[a-z']+", text.lower())))


def train(rows):
    """Logistic regression by gradient descent; a word's weight says how much it speaks for ``positive``."""
    weights, bias = {}, 0.0
    for _ in range(ROUNDS):
        for words, label in rows:
            score = bias + sum(weights.get(word, 0.0) for word in words)
            step = RATE * (label - 1 / (1 + math.exp(-score)))
            bias += step
            for word in words:
                weights[word] = weights.get(word, 0.0) + step
    return {"bias": round(bias, 4), "weights": {word: round(weight, 4) for word, weight in sorted(weights.items())}}


def main(source, target):
    with open(source, encoding="utf-8", newline="") as file:
        rows = [(words_of(row["text"]), row["label"] == "positive") for row in csv.DictReader(file)]
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "w", encoding="utf-8") as file:
        json.dump(train(rows), file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
