/* Estimates pi by throwing points at a square and counting those inside its circle. */
#include <stdint.h>
#include <stdio.h>

static uint64_t state = 88172645463325252ULL; /* a fixed seed: every run agrees */

static double uniform(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.0;
}

int main(void) {
    const int points = 20000000;
    int inside = 0;
    for (int i = 0; i < points; i++) {
        double x = uniform(), y = uniform();
        inside += x * x + y * y < 1.0;
    }
    printf("pi is about %.2f\n", 4.0 * inside / points);
    return 0;
}
