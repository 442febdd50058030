#pragma once
#include <stddef.h>

/* How many primes there are up to `most`; the largest of them is written to `*largest`. */
size_t count_primes(size_t most, size_t *largest);
