/* Starts programs in a box, with their limits, for the init: it shares the init's memory until the
   program is there, so nothing is copied, and nothing but the program itself is executed.

   start(folder, in, out, err, limits, words, argc, envc) gives the program's pid, or -1. ``in`` is
   -1 for /dev/null; ``limits`` is "number:soft:hard," for each; ``words`` are argc arguments and
   then envc variables, each ended by a NUL. What it does, and says, is what the init's own child
   does where there is no compiler (init.py). */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BUSY_TRIES 50

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

static int run(const char *path, char **argv, char **env)
{
    for (int tries = 0; tries < BUSY_TRIES; tries++) {
        execve(path, argv, env);
        if (errno != ETXTBSY)
            break;
    }
    return errno;
}

static const char *path_of(char **env)
{
    for (; *env; env++)
        if (!strncmp(*env, "PATH=", 5))
            return *env + 5;
    return "/bin:/usr/bin";
}

/* Along the program's own PATH; a name that is there but cannot be run says more than one that is
   not. No shell is asked about files without a format. */
static int search(char **argv, char **env)
{
    const char *at = path_of(env);
    size_t name = strlen(argv[0]);
    int missing = ENOENT, worse = 0;
    if (strchr(argv[0], '/') || !name)
        return run(argv[0], argv, env);
    for (;;) {
        char path[PATH_MAX];
        size_t length = strcspn(at, ":");
        int error = ENAMETOOLONG;
        if (length + name + 2 <= sizeof path) {
            memcpy(path, at, length);
            if (length && path[length - 1] != '/')
                path[length++] = '/';
            memcpy(path + length, argv[0], name + 1);
            error = run(path, argv, env);
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

/* What the init treats otherwise than programs expect. Handlers end with the exec by themselves. */
static void forget_signals(void)
{
    static const unsigned long none[1];
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, NULL, 8);
}

/* In the child, which must not return, nor change what the init will look at. */
static int become(int folder, const int *fds, const char *limits, char **argv, char **env)
{
    int error;
    for (int number = 0; number < 3; number++)
        if (dup2(fds[number], number) < 0)
            return failed("descriptors");
    umask(022);
    setsid();
    if (!limited(limits))
        return failed("limits");
    if (fchdir(folder) != 0)
        return failed("work directory");
    forget_signals();
    error = search(argv, env);
    dprintf(2, "accord: cannot run '%s': %s\n", argv[0], strerror(error));
    return error == ENOENT ? 127 : 126;
}

static char **pointers(char **into, int count, const char **words)
{
    for (; count > 0; count--) {
        *into++ = (char *)*words;
        *words += strlen(*words) + 1;
    }
    *into++ = NULL;
    return into;
}

/* No handler of the init may run in the child, whose memory is the init's. */
static pid_t forked(int folder, const int *fds, const char *limits, char **argv, char **env)
{
    unsigned long all = ~0UL, before;
    pid_t pid;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8);
    pid = vfork();
    if (pid == 0)
        _exit(become(folder, fds, limits, argv, env));
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
    return pid;
}

int start(int folder, int in, int out, int err, const char *limits, const char *words, int argc,
          int envc)
{
    int null = in < 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;
    int fds[3] = {in < 0 ? null : in, out, err};
    char **argv = calloc(argc + envc + 2, sizeof *argv), **env;
    pid_t pid = -1;
    if (argv && argc > 0 && fds[0] >= 0) {
        env = pointers(argv, argc, &words);
        pointers(env, envc, &words);
        pid = forked(folder, fds, limits, argv, env);
    }
    if (null >= 0)
        close(null);
    free(argv);
    return pid;
}
