"""Counts the words of its input and prints the most frequent ones."""

import collections
import re
import sys

words = re.findall(r"\w+", sys.stdin.read().lower())
for word, count in collections.Counter(words).most_common(3):
    print(f"{count:3} {word}")
