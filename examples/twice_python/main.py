"""The sum of a million terms. Each replica adds them up in another order, as machines with other
libraries or other numbers of cores would: the last digits differ, the results agree.
"""

import os

TERMS = 1_000_000

terms = [1 / n**1.5 for n in range(1, TERMS + 1)]
if int(os.environ.get("ACCORD_REPLICA", "0")) % 2:
    terms.reverse()

total = 0.0
for term in terms:
    total += term
print("zeta(3/2) is about", repr(total))
