/* Becomes a program in a box, with its limits: the short way for the init, which then need not fork.

   starter FOLDER LIMITS ARGV...

   FOLDER is the descriptor of the work directory; LIMITS is "number:soft:hard," for each. What it
   does, and says, is what the init's own child does where there is no compiler (init.py). */

#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BUSY_TRIES 50

extern char **environ;

static int failed(const char *what)
{
    dprintf(2, "accord: the program could not be started: %s: %s\n", what, strerror(errno));
    return 126;
}

/* Never above the hard limit that is there. */
static int limited(const char *text)
{
    char *end;
    while (*text) {
        struct rlimit now, wanted;
        int number = (int)strtol(text, &end, 10);
        wanted.rlim_cur = strtoull(end + 1, &end, 10);
        wanted.rlim_max = strtoull(end + 1, &end, 10);
        text = end + 1;
        if (getrlimit(number, &now) != 0)
            return 0;
        if (now.rlim_max < wanted.rlim_max)
            wanted.rlim_max = now.rlim_max;
        if (wanted.rlim_max < wanted.rlim_cur)
            wanted.rlim_cur = wanted.rlim_max;
        if (setrlimit(number, &wanted) != 0)
            return 0;
    }
    return 1;
}

static int run(const char *path, char **argv)
{
    for (int tries = 0; tries < BUSY_TRIES; tries++) {
        execve(path, argv, environ);
        if (errno != ETXTBSY)
            break;
    }
    return errno;
}

/* Along PATH; a name that is there but cannot be run says more than one that is not. No shell is
   asked about files without a format. */
static int search(char **argv)
{
    const char *at = getenv("PATH");
    size_t name = strlen(argv[0]);
    int missing = ENOENT, worse = 0;
    if (strchr(argv[0], '/') || !name)
        return run(argv[0], argv);
    if (!at)
        at = "/bin:/usr/bin";
    for (;;) {
        char path[PATH_MAX];
        size_t length = strcspn(at, ":");
        int error = ENAMETOOLONG;
        if (length + name + 2 <= sizeof path) {
            memcpy(path, at, length);
            if (length && path[length - 1] != '/')
                path[length++] = '/';
            memcpy(path + length, argv[0], name + 1);
            error = run(path, argv);
        }
        if (error == ENOENT || error == ENOTDIR)
            missing = error;
        else if (!worse)
            worse = error;
        at += strcspn(at, ":");
        if (!*at++)
            return worse ? worse : missing;
    }
}

/* The C library's posix_spawn leaves its two own signals ignored, and lets nobody change that but by
   the bare system call. All zero is the default, on every architecture. */
static void forget_internal_signals(void)
{
    static const unsigned long fresh[8];
    for (int number = 32; number <= 33; number++)
        syscall(SYS_rt_sigaction, number, fresh, NULL, 8);
}

int main(int argc, char **argv)
{
    int folder, error;
    if (argc < 4)
        return 126;
    forget_internal_signals();
    umask(022);
    setsid();
    folder = atoi(argv[1]);
    if (!limited(argv[2]))
        return failed("limits");
    if (fchdir(folder) != 0)
        return failed("work directory");
    close(folder);
    error = search(argv + 3);
    dprintf(2, "accord: cannot run '%s': %s\n", argv[3], strerror(error));
    return error == ENOENT ? 127 : 126;
}
