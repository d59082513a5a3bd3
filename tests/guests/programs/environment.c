/* What the command line gives to a program. */
#include "check.h"
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>

extern char **environ;

static int recurse(int megabytes) {
    volatile char room[1 << 20];
    for (int i = 0; i < sizeof room; i += 4096) room[i] = i;
    return megabytes > 1 ? recurse(megabytes - 1) + 1 + (room[4096] & 0) : 1;
}

int main(int c, char **v) {
    const char *what = c > 1 ? v[1] : "";
    if (!strcmp(what, "arguments")) { for (int i = 0; i < c; i++) printf("[%s]", v[i]); printf("\n"); return 0; }
    if (!strcmp(what, "environment")) { for (char **e = environ; *e; e++) puts(*e); return 0; }
    if (!strcmp(what, "calls")) {
        struct timespec t = {0, 1};
        open("/nonexistent", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        mkdir("/", 0755); close(-1);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &t, 0);
        return 7;
    }
    if (!strcmp(what, "unknown")) { syscall(9999); return errno; }
    if (!strcmp(what, "release")) { struct utsname u; uname(&u); puts(u.release); return 0; }
    if (!strcmp(what, "recurse")) { printf("%d\n", recurse(atoi(v[2]))); return 0; }
    if (!strcmp(what, "random")) { unsigned char *r = (void *)getauxval(AT_RANDOM); for (int i = 0; i < 16; i++) printf("%02x", r[i]); puts(""); return 0; }
    if (!strcmp(what, "wait")) { puts("ready"); fflush(stdout); for (;;) pause(); }
    if (!strcmp(what, "descriptors")) { for (int i = 0; i < 100; i++) if (fcntl(i, F_GETFD) >= 0) return 1; return 0; }
    return 1;
}
