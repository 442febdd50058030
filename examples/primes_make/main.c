#include <stdio.h>
#include <stdlib.h>

#include "sieve.h"

int main(int argc, char **argv) {
    size_t most = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
    size_t largest = 0;
    size_t count = count_primes(most, &largest);
    printf("%zu primes up to %zu, the largest is %zu\n", count, most, largest);
    return 0;
}
