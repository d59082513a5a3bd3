/* Loops that get hot, and what happens to them: other loops, signals, threads, other code in their place, a fault. */
#include "check.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/time.h>

#define P 4096
#define AWAY __attribute__((noinline, noclone, aligned(256)))
static long rounds = 5000000;

/* Leaves that use no other address: they may be copied. */
AWAY static uint64_t first(uint64_t n) {
    uint64_t a = 1, b = n;
    for (uint64_t i = 0; i < n; i++) { a = a * 5 + i; b ^= a >> 7; __asm__ volatile("" : "+r"(a)); }
    return a + b;
}
AWAY static uint64_t second(uint64_t n) {
    uint64_t a = 3, b = 0;
    for (uint64_t i = 0; i < n; i++) { a ^= a << 13; a ^= a >> 7; a ^= a << 17; b += a & i; __asm__ volatile("" : "+r"(a)); }
    return a - b;
}
AWAY static uint64_t five(uint64_t n) { return 5; }
AWAY static uint64_t six(uint64_t n) { return 6; }
AWAY static double third(long n, const double *data) {
    double sum = 0.5;
    for (long i = 0; i < n; i++) sum = sum * data[i & 63] + (double)(i & 1023);
    return sum;
}

/* What they give, step by step through another loop each time. */
static uint64_t slow_first(uint64_t n) {
    uint64_t a = 1, b = n;
    for (volatile uint64_t i = 0; i < n; i++) { a = a * 5 + i; b ^= a >> 7; }
    return a + b;
}
static uint64_t slow_second(uint64_t n) {
    uint64_t a = 3, b = 0;
    for (volatile uint64_t i = 0; i < n; i++) { a ^= a << 13; a ^= a >> 7; a ^= a << 17; b += a & i; }
    return a - b;
}

static uint64_t expected_first, expected_second;

static void phases(void) {
    for (int k = 0; k < 3; k++) {
        EQUAL(first(rounds), expected_first);
        EQUAL(second(rounds), expected_second);
    }
}

static volatile int alarms;
static volatile double noise;
static void alarmed(int n, siginfo_t *info, void *context) { alarms++; noise = noise * 1.5 + alarms; slow_second(30); }

static void interrupted(void) {
    static double data[64];
    for (int i = 0; i < 64; i++) data[i] = 1.0 / (i + 2);
    double expected = third(rounds, data);
    struct sigaction action = {.sa_sigaction = alarmed, .sa_flags = SA_SIGINFO};
    struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0}};
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &often, 0);
    for (int k = 0; k < 3; k++) {
        EQUAL(first(rounds), expected_first);
        CHECK(third(rounds, data) == expected);
    }
    setitimer(ITIMER_REAL, &never, 0);
    CHECK(alarms > 10);
}

static void *both(void *p) {
    for (int k = 0; k < 2; k++) EQUAL((long)p & 1 ? first(rounds) : second(rounds), (long)p & 1 ? expected_first : expected_second);
    return p;
}

static void threads(void) {
    pthread_t t[4];
    for (long i = 0; i < 4; i++) EQUAL(pthread_create(&t[i], 0, both, (void *)i), 0);
    for (long i = 0; i < 4; i++) { void *p; pthread_join(t[i], &p); EQUAL((long)p, i); }
}

static sigjmp_buf back;
static void refused(int n) { siglongjmp(back, 1); }
static uint64_t (*volatile code)(uint64_t);
static void *until_replaced(void *p) { uint64_t n = 0; while (code(0) == 5) n++; return (void *)n; }

static void replaced(void) {
    char *room = mmap(0, P, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    code = (void *)room;
    for (int k = 0; k < 3; k++) { /* written over */
        memcpy(room, (void *)(k & 1 ? second : first), 256);
        __builtin___clear_cache(room, room + 256);
        EQUAL(code(rounds), k & 1 ? expected_second : expected_first);
    }
    for (int k = 0; k < 2; k++) { /* another page in its place: nobody says that code changed */
        char *other = mmap(0, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(other, (void *)(k & 1 ? first : second), 256);
        CHECK(mprotect(other, P, PROT_READ | PROT_EXEC) == 0);
        CHECK(mremap(other, P, P, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
        EQUAL(code(rounds), k & 1 ? expected_first : expected_second);
    }
    struct sigaction action = {.sa_handler = refused}; /* rights taken away and given back */
    sigaction(SIGSEGV, &action, 0);
    for (int k = 0; k < 3; k++) {
        volatile int caught = 0;
        if (sigsetjmp(back, 1)) caught = 1;
        else { mprotect(room, P, k == 1 ? PROT_NONE : PROT_READ); code(1000); }
        EQUAL(caught, 1);
        mprotect(room, P, PROT_READ | PROT_EXEC);
        EQUAL(code(rounds), expected_first);
    }
    char *other = mmap(0, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* under a running thread: either is whole */
    mprotect(room, P, PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(room, (void *)five, 64);
    __builtin___clear_cache(room, room + 64);
    memcpy(other, (void *)six, 64);
    mprotect(other, P, PROT_READ | PROT_EXEC);
    pthread_t t;
    EQUAL(pthread_create(&t, 0, until_replaced, 0), 0);
    usleep(300000);
    CHECK(mremap(other, P, P, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
    void *count;
    pthread_join(t, &count); /* it sees the new code */
    CHECK((long)count > 0);
    EQUAL(code(0), 6);
}

int main(int argc, char **argv) {
    if (argc > 2) rounds = atol(argv[2]);
    expected_first = slow_first(rounds);
    expected_second = slow_second(rounds);
    const char *what = argc > 1 ? argv[1] : "";
    if (!*what || !strcmp(what, "phases")) phases();
    if (!*what || !strcmp(what, "interrupted")) interrupted();
    if (!*what || !strcmp(what, "threads")) threads();
    if (!*what || !strcmp(what, "replaced")) replaced();
    printf("%d failures\n", failures);
    return failures != 0;
}
