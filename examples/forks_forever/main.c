/* Makes processes until it is not allowed any more, then waits with them all: the platform must
   get rid of every one of them when the time is over. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    puts("multiplying");
    fflush(stdout);
    for (;;) {
        if (fork() < 0) pause();
    }
}
