/* A signal that arrives while a process forks or executes another program is not lost: its handler runs, or it ends the new program. */
#include "check.h"
#include <signal.h>
#include <sys/wait.h>

static void handled(int n) { _exit(7); }

int main(int argc, char **argv) {
    if (argc > 2) { sleep(5); return 0; }
    int rounds = argc > 1 ? atoi(argv[1]) : 60;
    unsigned random = 1;
    for (int k = 0; k < rounds; k++) {
        int ready[2], status, pid;
        CHECK(pipe(ready) == 0);
        if (k & 1) signal(SIGUSR1, handled);
        if ((pid = fork()) == 0) {
            signal(SIGUSR1, handled);
            CHECK(write(ready[1], "x", 1) == 1);
            execl("/proc/self/exe", argv[0], "1", "asleep", (char *)0);
            _exit(1);
        }
        signal(SIGUSR1, SIG_DFL);
        char c;
        if (!(k & 1)) CHECK(read(ready[0], &c, 1) == 1); /* it has its handler; otherwise it inherited one */
        random = random * 1103515245 + 12345;
        usleep(random >> 8 & 0x3fff);
        CHECK(kill(pid, SIGUSR1) == 0);
        CHECK(waitpid(pid, &status, 0) == pid);
        if (!(WIFEXITED(status) && WEXITSTATUS(status) == 7)) EQUAL(WIFSIGNALED(status) ? WTERMSIG(status) : -status - 1, SIGUSR1);
        close(ready[0]);
        close(ready[1]);
    }
    printf("%d failures\n", failures);
    return failures != 0;
}
