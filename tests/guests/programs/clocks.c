/* Time: clocks, interrupted sleep, timers that send signals. */
#include "check.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static volatile int handled, value, code, overrun;
static void handler(int n, siginfo_t *i, void *u) { handled++; code = i->si_code; value = i->si_value.sival_int; }
static double of(struct timespec t) { return t.tv_sec + t.tv_nsec / 1e9; }
static double now(clockid_t c) { struct timespec t = {0}; EQUAL(clock_gettime(c, &t), 0); return of(t); }

static void clocks(void) {
    clockid_t all[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_BOOTTIME};
    for (int i = 0; i < sizeof all / sizeof *all; i++) { struct timespec r; CHECK(now(all[i]) > 0); EQUAL(clock_getres(all[i], &r), 0); CHECK(of(r) > 0 && of(r) < .1); }
    struct timeval v; struct timespec t; gettimeofday(&v, 0); CHECK(now(CLOCK_REALTIME) - (v.tv_sec + v.tv_usec / 1e6) < 1); CHECK(time(0) - v.tv_sec <= 1);
    EQUAL(clock_gettime(77, &t), -1); EQUAL(errno, EINVAL); EQUAL(syscall(SYS_getpid), getpid());
    clockid_t c; EQUAL(clock_getcpuclockid(getpid(), &c), 0); CHECK(now(c) > 0);
    struct tms m; CHECK(times(&m) != -1); struct rusage u; EQUAL(getrusage(RUSAGE_SELF, &u), 0); CHECK(u.ru_utime.tv_sec * 1000000ll + u.ru_utime.tv_usec + u.ru_stime.tv_usec > 0);
    struct timex x = {0}; CHECK(adjtimex(&x) >= 0); CHECK(llabs(x.time.tv_sec - time(0)) < 5); CHECK(x.tick > 0);
}

static void sleeping(void) {
    double t = now(CLOCK_MONOTONIC); struct timespec r = {0, 30000000}, left = {9, 9}; EQUAL(nanosleep(&r, &left), 0); CHECK(now(CLOCK_MONOTONIC) - t >= .03); EQUAL(left.tv_sec, 9);
    clock_gettime(CLOCK_MONOTONIC, &r); r.tv_nsec += 20000000; if (r.tv_nsec >= 1000000000) r.tv_sec++, r.tv_nsec -= 1000000000;
    EQUAL(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &r, 0), 0); CHECK(now(CLOCK_MONOTONIC) >= of(r));
    pid_t c = fork(); if (!c) { usleep(40000); kill(getppid(), SIGUSR1); _exit(0); }
    handled = 0; r = (struct timespec){20, 0}; EQUAL(nanosleep(&r, &left), -1); EQUAL(errno, EINTR); EQUAL(handled, 1); CHECK(of(left) > 15 && of(left) < 20); waitpid(c, 0, 0);
    r.tv_nsec = 1000000000; EQUAL(nanosleep(&r, 0), -1); EQUAL(errno, EINVAL);
}

static void timers(void) {
    timer_t t; struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2, .sigev_value.sival_int = 4711};
    EQUAL(timer_create(CLOCK_MONOTONIC, &e, &t), 0); struct itimerspec i = {{0, 5000000}, {0, 10000000}}, o; handled = 0;
    EQUAL(timer_settime(t, 0, &i, 0), 0); while (handled < 3) pause(); EQUAL(value, 4711); EQUAL(code, SI_TIMER);
    EQUAL(timer_gettime(t, &o), 0); EQUAL(o.it_interval.tv_nsec, 5000000); CHECK(timer_getoverrun(t) >= 0);
    i = (struct itimerspec){{0, 0}, {100, 0}}; EQUAL(timer_settime(t, 0, &i, &o), 0); EQUAL(o.it_interval.tv_nsec, 5000000); EQUAL(timer_delete(t), 0);
    struct itimerval v = {{0, 0}, {0, 20000}}, w; handled = 0; EQUAL(setitimer(ITIMER_REAL, &v, 0), 0); while (!handled) pause(); EQUAL(getitimer(ITIMER_REAL, &w), 0); EQUAL(w.it_value.tv_sec + w.it_value.tv_usec, 0);
    v.it_value.tv_usec = 10000; handled = 0; EQUAL(setitimer(ITIMER_VIRTUAL, &v, 0), 0); while (!handled) ; EQUAL(alarm(100), 0); CHECK(alarm(0) >= 99);
}

int main(int argc, char **argv) {
    struct sigaction a = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGUSR1, &a, 0); sigaction(SIGALRM, &a, 0); sigaction(SIGVTALRM, &a, 0); sigaction(SIGRTMIN + 2, &a, 0);
    clocks(); sleeping(); timers();
    printf("%d failures\n", failures);
    return failures != 0;
}
