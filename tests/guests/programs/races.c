/* What other threads do to memory while one works in it: atomics on a page whose rights change, or that goes away and comes back. */
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define P 4096
static atomic_int *words, stop, faults;
static void retry(int n) { faults++; sched_yield(); }

static void *adder(void *p) {
    long done = 0;
    while (!stop) { atomic_fetch_add(&words[7], 1); int seen = 5; atomic_compare_exchange_strong(&words[9], &seen, 6); done++; }
    return (void *)done;
}

int main(int count, char **v) {
    int rounds = count > 1 ? atoi(v[1]) : 1500;
    struct sigaction a = {.sa_handler = retry}; sigaction(SIGSEGV, &a, 0);
    words = mmap(0, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t t[2];
    for (int i = 0; i < 2; i++) EQUAL(pthread_create(&t[i], 0, adder, 0), 0);
    for (int i = 0; i < rounds; i++) {
        EQUAL(mprotect((void *)words, P, i & 1 ? PROT_NONE : PROT_READ), 0);
        EQUAL(mprotect((void *)words, P, PROT_READ | PROT_WRITE), 0);
        if (i % 16 == 0) CHECK(mmap((void *)words, P, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (void *)words);
        if (i % 16 == 0) CHECK(mmap((void *)words, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (void *)words);
    }
    stop = 1;
    void *done; for (int i = 0; i < 2; i++) { pthread_join(t[i], &done); CHECK((long)done > 0); }
    EQUAL(mprotect((void *)words, P, PROT_READ), 0); /* what the races left is in order */
    stop = faults; signal(SIGSEGV, SIG_DFL);
    int pid = fork(), s; if (!pid) { ((volatile int *)words)[0] = 1; _exit(0); }
    extern int waitpid(int, int *, int); waitpid(pid, &s, 0); CHECK(s != 0);
    printf("%d failures\n", failures);
    return failures != 0;
}
