/* Takes memory and uses it, until there is no more for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    for (int taken = 0;; taken += 4) {
        char *block = malloc(4 << 20);
        if (block == NULL) abort(); /* refused: the limit again */
        memset(block, 1, 4 << 20);
        if (taken == 0) {
            puts("hungry");
            fflush(stdout);
        }
    }
}
