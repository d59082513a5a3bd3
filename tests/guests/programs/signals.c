/* Signals: handlers, masks, queueing, faults, restart, alternate stacks, waiting. */
#include "check.h"
#include "machine.h"
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

static volatile int count, last, depth, deepest;
static siginfo_t seen[16];
static sigjmp_buf back;

static void note(int n, siginfo_t *i, void *c) { if (count < 16) seen[count] = *i; count++; last = n; }
static void plain(int n) { count++; last = n; }
static void escape(int n, siginfo_t *i, void *c) { seen[0] = *i; count++; siglongjmp(back, 1); }

static void on(int n, void (*f)(int, siginfo_t *, void *), int flags) {
    struct sigaction a = {0};
    a.sa_sigaction = f; a.sa_flags = SA_SIGINFO | flags;
    CHECK(sigaction(n, &a, 0) == 0);
    count = 0;
}

static void information(void) {
    union sigval v = {.sival_int = 4711};
    on(SIGUSR1, note, 0);
    kill(getpid(), SIGUSR1);
    EQUAL(count, 1); EQUAL(seen[0].si_signo, SIGUSR1); EQUAL(seen[0].si_code, SI_USER);
    EQUAL(seen[0].si_pid, getpid()); EQUAL(seen[0].si_uid, getuid());
    raise(SIGUSR1);
    EQUAL(count, 2); EQUAL(seen[1].si_code, SI_TKILL);
    sigqueue(getpid(), SIGUSR1, v);
    EQUAL(count, 3); EQUAL(seen[2].si_code, SI_QUEUE); EQUAL(seen[2].si_value.sival_int, 4711);
}

static void masks(void) {
    sigset_t block, old, pending;
    union sigval v;
    sigemptyset(&block); sigaddset(&block, SIGUSR1); sigaddset(&block, SIGRTMIN + 1); sigaddset(&block, SIGRTMIN + 2);
    on(SIGUSR1, note, 0); on(SIGRTMIN + 1, note, 0); on(SIGRTMIN + 2, note, 0);
    sigprocmask(SIG_BLOCK, &block, &old);
    kill(getpid(), SIGUSR1); kill(getpid(), SIGUSR1);
    for (int i = 0; i < 3; i++) { v.sival_int = i; sigqueue(getpid(), SIGRTMIN + 2, v); v.sival_int = 10 + i; sigqueue(getpid(), SIGRTMIN + 1, v); }
    EQUAL(count, 0);
    sigpending(&pending);
    CHECK(sigismember(&pending, SIGUSR1) && sigismember(&pending, SIGRTMIN + 1) && !sigismember(&pending, SIGUSR2));
    sigprocmask(SIG_SETMASK, &old, 0);
    EQUAL(count, 7);  /* standard signals do not queue, real-time signals do */
    int order[3], n = 0;
    for (int i = 0; i < 7; i++) if (seen[i].si_signo == SIGRTMIN + 1) order[n++] = seen[i].si_value.sival_int;
    CHECK(n == 3 && order[0] == 10 && order[1] == 11 && order[2] == 12);
}

static void nest(int n) { depth++; if (depth > deepest) deepest = depth; if (deepest < 3) raise(n); depth--; }

static void flags(void) {
    struct sigaction a = {0}, was;
    a.sa_handler = nest; a.sa_flags = SA_NODEFER;
    sigaction(SIGUSR2, &a, 0); depth = deepest = 0;
    raise(SIGUSR2); EQUAL(deepest, 3);
    a.sa_handler = plain; a.sa_flags = SA_RESETHAND;
    sigaction(SIGUSR2, &a, 0); count = 0;
    raise(SIGUSR2); EQUAL(count, 1);
    sigaction(SIGUSR2, 0, &was);
    CHECK(was.sa_handler == SIG_DFL);
    signal(SIGUSR2, SIG_IGN); raise(SIGUSR2);
    EQUAL(sigaction(SIGKILL, &a, 0), -1); EQUAL(errno, EINVAL);
    signal(SIGUSR2, SIG_DFL);
}

static void faults(void) {
    char *none = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *page = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    on(SIGSEGV, escape, 0); on(SIGBUS, escape, 0); on(SIGILL, escape, 0); on(SIGTRAP, escape, 0);
    if (!sigsetjmp(back, 1)) { *(volatile char *)(none + 5) = 1; CHECK(0); }
    EQUAL(seen[0].si_code, SEGV_ACCERR); CHECK(seen[0].si_addr == none + 5);
    if (!sigsetjmp(back, 1)) { *(volatile char *)(page + 7) = 1; CHECK(0); }
    EQUAL(seen[0].si_code, SEGV_ACCERR); CHECK(seen[0].si_addr == page + 7);
    munmap(none, 4096);
    if (!sigsetjmp(back, 1)) { count = *(volatile int *)none; CHECK(0); }
    EQUAL(seen[0].si_code, SEGV_MAPERR); CHECK(seen[0].si_addr == none);
    if (!sigsetjmp(back, 1)) { ((void (*)(void))page)(); CHECK(0); }
    EQUAL(seen[0].si_code, SEGV_ACCERR); CHECK(seen[0].si_addr == page);
    if (!sigsetjmp(back, 1)) { ((void (*)(void))0x12345678)(); CHECK(0); }
    EQUAL(seen[0].si_code, SEGV_MAPERR); CHECK(seen[0].si_addr == (void *)0x12345678);
    int fd = open("/proc/self/exe", O_RDONLY);
    off_t size = lseek(fd, 0, SEEK_END);
    char *file = mmap(0, size + 8192, PROT_READ, MAP_PRIVATE, fd, 0);
    if (!sigsetjmp(back, 1)) { count = *(volatile char *)(file + size + 4096); CHECK(0); }
    EQUAL(seen[0].si_signo, SIGBUS); EQUAL(seen[0].si_code, BUS_ADRERR);
    close(fd);
    if (!sigsetjmp(back, 1)) { __asm__ volatile(".word 0"); CHECK(0); }
    EQUAL(seen[0].si_signo, SIGILL);
    if (!sigsetjmp(back, 1)) { __asm__ volatile(BREAK); CHECK(0); }
    EQUAL(seen[0].si_signo, SIGTRAP); EQUAL(seen[0].si_code, TRAP_BRKPT);
    munmap(page, 4096); munmap(file, size + 8192);
}

static volatile double kept = 1.5;
static void spoil(int n, siginfo_t *i, void *c) {
    ucontext_t *u = c;
    for (int k = 0; k < 100; k++) kept = kept * 1.01 + k;
    CHECK(PC(u) != 0);
    count++;
}

static void registers(void) {
    double sum = 0, expected = 0;
    for (int i = 1; i <= 200000; i++) expected += 1.0 / i;
    on(SIGALRM, spoil, 0);
    struct itimerval t = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &t, 0);
    for (int round = 0; round < 100 && count < 20; round++) {
        sum = 0;
        for (int i = 1; i <= 200000; i++) sum += 1.0 / i;
        CHECK(sum == expected);
    }
    setitimer(ITIMER_REAL, &off, 0);
    CHECK(count >= 20);
}

static void skip(int n, siginfo_t *i, void *c) { PC((ucontext_t *)c) += 4; count++; }

static void resumed(void) {
    on(SIGILL, skip, 0);
    __asm__ volatile(".word 0");
    EQUAL(count, 1);
    signal(SIGILL, SIG_DFL);
}

static void restart(void) {
    int p[2]; char b[8];
    pipe(p);
    struct itimerval soon = {{0, 0}, {0, 50000}};
    on(SIGALRM, note, 0);
    setitimer(ITIMER_REAL, &soon, 0);
    EQUAL(read(p[0], b, 8), -1); EQUAL(errno, EINTR); EQUAL(count, 1);
    on(SIGALRM, note, SA_RESTART);
    pid_t child = fork();
    if (!child) { usleep(200000); write(p[1], "late", 4); _exit(0); }
    setitimer(ITIMER_REAL, &soon, 0);
    EQUAL(read(p[0], b, 8), 4); EQUAL(count, 1);
    waitpid(child, 0, 0);
    count = 0;
    setitimer(ITIMER_REAL, &soon, 0);
    struct pollfd f = {p[0], POLLIN};
    EQUAL(poll(&f, 1, 5000), -1); EQUAL(errno, EINTR); EQUAL(count, 1);
    setitimer(ITIMER_REAL, &soon, 0);
    struct timespec t = {5, 0}, rest;
    EQUAL(nanosleep(&t, &rest), -1); EQUAL(errno, EINTR); CHECK(rest.tv_sec == 4); EQUAL(count, 2);
    signal(SIGALRM, SIG_IGN);  /* no handler: nothing is interrupted */
    setitimer(ITIMER_REAL, &soon, 0);
    EQUAL(poll(&f, 1, 200), 0);
    close(p[0]); close(p[1]);
}

static char stack[65536] __attribute__((aligned(16)));
static void where(int n, siginfo_t *i, void *c) {
    char here; stack_t now;
    CHECK(&here > stack && &here < stack + sizeof stack);
    sigaltstack(0, &now);
    EQUAL(now.ss_flags, SS_ONSTACK);
    now.ss_flags = 0;
    EQUAL(sigaltstack(&now, 0), -1); EQUAL(errno, EPERM);
    count++;
    if (n == SIGSEGV) siglongjmp(back, 1);
}
static int overflow(int n) { volatile char room[4096]; room[0] = n; return overflow(n + 1) + room[0]; }

static void alternate(void) {
    stack_t s = {.ss_sp = stack, .ss_size = sizeof stack}, was;
    EQUAL(sigaltstack(&s, &was), 0); EQUAL(was.ss_flags, SS_DISABLE);
    on(SIGUSR1, where, SA_ONSTACK); raise(SIGUSR1); EQUAL(count, 1);
    on(SIGSEGV, where, SA_ONSTACK);
    if (!sigsetjmp(back, 1)) { overflow(0); CHECK(0); }
    EQUAL(count, 1);
    s.ss_flags = SS_DISABLE; EQUAL(sigaltstack(&s, 0), 0);
    s.ss_flags = 0; s.ss_size = 100; EQUAL(sigaltstack(&s, 0), -1); EQUAL(errno, ENOMEM);
    signal(SIGSEGV, SIG_DFL);
}

static void waiting(void) {
    sigset_t set, none, old; siginfo_t i; union sigval v = {.sival_int = 99};
    struct timespec soon = {0, 20000000};
    sigemptyset(&set); sigaddset(&set, SIGUSR1); sigaddset(&set, SIGCHLD); sigemptyset(&none);
    on(SIGUSR1, note, 0); signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_BLOCK, &set, &old);
    EQUAL(sigtimedwait(&set, &i, &soon), -1); EQUAL(errno, EAGAIN);
    sigqueue(getpid(), SIGUSR1, v);
    EQUAL(sigwaitinfo(&set, &i), SIGUSR1); EQUAL(i.si_value.sival_int, 99); EQUAL(count, 0);
    kill(getpid(), SIGUSR1);
    EQUAL(sigsuspend(&none), -1); EQUAL(errno, EINTR); EQUAL(count, 1);
    sigprocmask(SIG_BLOCK, 0, &none); CHECK(sigismember(&none, SIGUSR1));
    sigemptyset(&none);
    kill(getpid(), SIGUSR1);
    struct timespec five = {5, 0};
    EQUAL(ppoll(0, 0, &five, &none), -1); EQUAL(errno, EINTR); EQUAL(count, 2);
    pid_t child = fork();
    if (!child) _exit(7);
    EQUAL(sigwaitinfo(&set, &i), SIGCHLD);
    EQUAL(i.si_pid, child); EQUAL(i.si_status, 7); EQUAL(i.si_code, CLD_EXITED);
    waitpid(child, 0, 0);
    sigprocmask(SIG_SETMASK, &old, 0);
}

static void children(void) {
    static const int deadly[] = {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGSEGV, SIGUSR1, SIGPIPE, SIGTERM, SIGSYS, 34, 64};
    for (int k = 0; k < sizeof deadly / sizeof *deadly; k++) {
        int status;
        pid_t child = fork();
        if (!child) { signal(deadly[k], SIG_DFL); kill(getpid(), deadly[k]); for (;;) pause(); }
        EQUAL(waitpid(child, &status, 0), child);
        CHECK(WIFSIGNALED(status)); EQUAL(WTERMSIG(status), deadly[k]);
    }
    int status;
    pid_t child = fork();
    if (!child) { *(volatile int *)0 = 0; _exit(0); }
    waitpid(child, &status, 0); EQUAL(WTERMSIG(status), SIGSEGV);
    child = fork();  /* a fault that is blocked kills */
    if (!child) { sigset_t s; sigfillset(&s); sigprocmask(SIG_BLOCK, &s, 0); on(SIGSEGV, note, 0); *(volatile int *)0 = 0; _exit(0); }
    waitpid(child, &status, 0); EQUAL(WTERMSIG(status), SIGSEGV);
    int p[2]; pipe(p);
    child = fork();
    if (!child) { char b; raise(SIGSTOP); close(p[1]); while (read(p[0], &b, 1)) ; _exit(3); }
    EQUAL(waitpid(child, &status, WUNTRACED), child); CHECK(WIFSTOPPED(status)); EQUAL(WSTOPSIG(status), SIGSTOP);
    kill(child, SIGCONT);
    EQUAL(waitpid(child, &status, WCONTINUED), child); CHECK(WIFCONTINUED(status));
    close(p[1]); close(p[0]);
    EQUAL(waitpid(child, &status, 0), child); EQUAL(WEXITSTATUS(status), 3);
    on(SIGCHLD, note, SA_NOCLDSTOP);
    child = fork();
    if (!child) _exit(5);
    while (!count) usleep(1000);
    EQUAL(seen[0].si_pid, child); EQUAL(seen[0].si_status, 5); EQUAL(seen[0].si_code, CLD_EXITED);
    waitpid(child, 0, 0);
    signal(SIGCHLD, SIG_IGN);
    child = fork();
    if (!child) _exit(5);
    EQUAL(waitpid(child, 0, 0), -1); EQUAL(errno, ECHILD);
    signal(SIGCHLD, SIG_DFL);
}

int main(void) {
    information(); masks(); flags(); faults(); registers(); resumed(); restart(); alternate(); waiting(); children();
    printf("%d failures\n", failures);
    return failures != 0;
}
