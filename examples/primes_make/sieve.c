#include "sieve.h"

#include <stdlib.h>

size_t count_primes(size_t most, size_t *largest) {
    unsigned char *composite = calloc(most + 1, 1);
    size_t count = 0;
    if (composite == NULL) abort();
    for (size_t n = 2; n <= most; n++) {
        if (composite[n]) continue;
        count++;
        *largest = n;
        for (size_t multiple = n * n; multiple <= most; multiple += n) composite[multiple] = 1;
    }
    free(composite);
    return count;
}
