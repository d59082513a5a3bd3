/* Descriptors that tell of events, and waiting for them: with signals, time limits and masks. */
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

static volatile int handled;
static volatile sigset_t during;
static void handler(int n) { handled++; sigset_t s; pthread_sigmask(SIG_BLOCK, 0, &s); during = s; }
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
/* A child that sends a signal in a moment, again and again until it is killed. */
static pid_t sender(int n) { pid_t c = fork(); if (!c) { for (;;) { usleep(30000); kill(getppid(), n); } } return c; }
static void stop(pid_t c) { kill(c, SIGKILL); waitpid(c, 0, 0); }

static void polling(void) {
    int p[2]; pipe(p);
    struct pollfd f[3] = {{p[0], POLLIN}, {p[1], POLLOUT}, {-1, POLLIN}};
    EQUAL(poll(f, 3, 0), 1); EQUAL(f[1].revents, POLLOUT); EQUAL(f[0].revents, 0);
    double t = now(); EQUAL(poll(f, 1, 40), 0); CHECK(now() - t >= .04);
    write(p[1], "x", 1); EQUAL(poll(f, 3, -1), 2); EQUAL(f[0].revents, POLLIN);
    close(p[1]); char c; read(p[0], &c, 1); EQUAL(poll(f, 1, 0), 1); EQUAL(f[0].revents, POLLHUP);
    f[0].fd = 999; EQUAL(poll(f, 1, 0), 1); EQUAL(f[0].revents, POLLNVAL); close(p[0]);
    pipe(p); f[0] = (struct pollfd){p[0], POLLIN};
    handled = 0; pid_t s = sender(SIGUSR1); EQUAL(poll(f, 1, -1), -1); EQUAL(errno, EINTR); CHECK(handled >= 1); stop(s);
    /* blocked but in ppoll: the handler runs there and nowhere else, with the mask of the wait */
    sigset_t block, none, old; sigemptyset(&none); sigemptyset(&block); sigaddset(&block, SIGUSR1); sigaddset(&none, SIGUSR2); sigprocmask(SIG_BLOCK, &block, &old);
    handled = 0; kill(getpid(), SIGUSR1); EQUAL(handled, 0); EQUAL(ppoll(f, 1, 0, &none), -1); EQUAL(errno, EINTR); EQUAL(handled, 1);
    sigset_t d = during; CHECK(sigismember(&d, SIGUSR2)); CHECK(sigismember(&d, SIGUSR1));
    sigprocmask(SIG_BLOCK, 0, &d); CHECK(sigismember(&d, SIGUSR1)); CHECK(!sigismember(&d, SIGUSR2));
    struct timespec z = {0, 20000000}; EQUAL(ppoll(f, 1, &z, &none), 0);
    kill(getpid(), SIGUSR1); struct timespec l = {5, 0}; EQUAL(pselect(0, 0, 0, 0, &l, &none), -1); EQUAL(errno, EINTR); EQUAL(handled, 2);
    sigprocmask(SIG_SETMASK, &old, 0);
    close(p[0]); close(p[1]);
}

static void selecting(void) {
    int p[2]; pipe(p); int high = fcntl(p[1], F_DUPFD, 500);
    fd_set r, w; FD_ZERO(&r); FD_ZERO(&w); FD_SET(p[0], &r); FD_SET(high, &w);
    struct timeval t = {1, 0}; EQUAL(select(501, &r, &w, 0, &t), 1); CHECK(FD_ISSET(high, &w)); CHECK(!FD_ISSET(p[0], &r));
    write(high, "x", 1); FD_SET(p[0], &r); EQUAL(select(p[0] + 1, &r, 0, 0, 0), 1); CHECK(FD_ISSET(p[0], &r));
    FD_ZERO(&r); FD_SET(400, &r); EQUAL(select(401, &r, 0, 0, &t), -1); EQUAL(errno, EBADF);
    t = (struct timeval){0, 30000}; double b = now(); EQUAL(select(0, 0, 0, 0, &t), 0); CHECK(now() - b >= .03);
    close(p[0]); close(p[1]); close(high);
}

static void *later(void *a) { usleep(30000); write(*(int *)a, "x", 1); return 0; }
static void epolling(void) {
    int e = epoll_create1(EPOLL_CLOEXEC), p[2], q[2]; pipe(p); pipe(q);
    struct epoll_event v = {EPOLLIN, {.u64 = 0x1122334455667788}}, got[4];
    EQUAL(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &v), 0); EQUAL(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &v), -1); EQUAL(errno, EEXIST);
    v.data.u64 = ~0ull; v.events = EPOLLIN | EPOLLET; EQUAL(epoll_ctl(e, EPOLL_CTL_ADD, q[0], &v), 0);
    EQUAL(epoll_wait(e, got, 4, 0), 0);
    pthread_t t; pthread_create(&t, 0, later, &p[1]); EQUAL(epoll_wait(e, got, 4, -1), 1); pthread_join(t, 0);
    CHECK(got[0].data.u64 == 0x1122334455667788); EQUAL(got[0].events, EPOLLIN);
    write(q[1], "y", 1); EQUAL(epoll_wait(e, got, 4, -1), 2); EQUAL(epoll_wait(e, got, 4, -1), 1);
    EQUAL(epoll_ctl(e, EPOLL_CTL_DEL, p[0], 0), 0); handled = 0; pid_t s = sender(SIGUSR1);
    EQUAL(epoll_wait(e, got, 4, -1), -1); EQUAL(errno, EINTR); CHECK(handled > 0); stop(s);
    EQUAL(epoll_wait(e, got, 0, 0), -1); EQUAL(errno, EINVAL); EQUAL(epoll_wait(e, (void *)8, 4, 0), 0);
    close(e); close(p[0]); close(p[1]); close(q[0]); close(q[1]);
}

static void counters(void) {
    uint64_t n; int e = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
    EQUAL(read(e, &n, 8), 8); EQUAL(n, 1); n = 5; EQUAL(write(e, &n, 8), 8); for (int i = 0; i < 7; i++) read(e, &n, 8);
    EQUAL(read(e, &n, 8), -1); EQUAL(errno, EAGAIN); EQUAL(read(e, &n, 4), -1); EQUAL(errno, EINVAL); close(e);
    int t = timerfd_create(CLOCK_MONOTONIC, 0); struct itimerspec i = {{0, 10000000}, {0, 20000000}}, o;
    EQUAL(timerfd_settime(t, 0, &i, 0), 0); EQUAL(read(t, &n, 8), 8); CHECK(n >= 1); EQUAL(timerfd_gettime(t, &o), 0); EQUAL(o.it_interval.tv_nsec, 10000000);
    i.it_value.tv_nsec = 1000000000; EQUAL(timerfd_settime(t, 0, &i, 0), -1); EQUAL(errno, EINVAL); close(t);
    sigset_t s, old; sigemptyset(&s); sigaddset(&s, SIGUSR2); sigaddset(&s, SIGRTMIN + 3); sigprocmask(SIG_BLOCK, &s, &old);
    int f = signalfd(-1, &s, SFD_CLOEXEC | SFD_NONBLOCK); struct signalfd_siginfo g;
    EQUAL(read(f, &g, sizeof g), -1); EQUAL(errno, EAGAIN);
    kill(getpid(), SIGUSR2); EQUAL(read(f, &g, sizeof g), sizeof g); EQUAL(g.ssi_signo, SIGUSR2); EQUAL(g.ssi_pid, getpid());
    sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 77}); EQUAL(read(f, &g, sizeof g), sizeof g); EQUAL(g.ssi_signo, SIGRTMIN + 3); EQUAL(g.ssi_int, 77);
    close(f); sigprocmask(SIG_SETMASK, &old, 0);
}

static void watching(void) {
    int i = inotify_init1(IN_NONBLOCK | IN_CLOEXEC); char b[4096]; mkdir("w", 0700);
    int w = inotify_add_watch(i, "w", IN_CREATE | IN_DELETE | IN_CLOSE_WRITE); CHECK(w > 0);
    EQUAL(read(i, b, sizeof b), -1); EQUAL(errno, EAGAIN);
    close(open("w/f", O_CREAT | O_WRONLY, 0600)); unlink("w/f");
    int n = read(i, b, sizeof b); CHECK(n > 0); unsigned seen = 0;
    for (char *p = b; p < b + n;) { struct inotify_event *e = (void *)p; EQUAL(e->wd, w); EQUAL(strcmp(e->name, "f"), 0); seen |= e->mask; p += sizeof *e + e->len; }
    EQUAL(seen, IN_CREATE | IN_DELETE | IN_CLOSE_WRITE); EQUAL(inotify_rm_watch(i, w), 0);
    EQUAL(inotify_add_watch(i, "none", IN_CREATE), -1); EQUAL(errno, ENOENT); close(i);
    int d = syscall(434, getpid(), 0); CHECK(d >= 0); EQUAL(syscall(424, d, 0, 0, 0), 0); close(d); /* pidfd_open, pidfd_send_signal */
    int m = syscall(SYS_memfd_create, "name", 3); CHECK(m >= 0); EQUAL(fcntl(m, F_ADD_SEALS, F_SEAL_GROW), 0); EQUAL(fcntl(m, F_GET_SEALS), F_SEAL_GROW); close(m);
}

/* A reading call is interrupted or goes on, as the handler's flags say. */
static void interrupting(void) {
    int p[2]; pipe(p); char c; struct sigaction a = {.sa_handler = handler}, old; sigaction(SIGUSR1, &a, &old);
    handled = 0; pid_t s = sender(SIGUSR1); EQUAL(read(p[0], &c, 1), -1); EQUAL(errno, EINTR); CHECK(handled > 0); stop(s);
    a.sa_flags = SA_RESTART; sigaction(SIGUSR1, &a, 0); handled = 0; s = sender(SIGUSR1);
    pthread_t t; pthread_create(&t, 0, later, &p[1]); EQUAL(read(p[0], &c, 1), 1); pthread_join(t, 0); stop(s);
    handled = 0; s = sender(SIGUSR1); pid_t child = fork(); if (!child) { usleep(100000); _exit(5); }
    int w; EQUAL(waitpid(child, &w, 0), child); EQUAL(WEXITSTATUS(w), 5); CHECK(handled > 0);
    EQUAL(poll(0, 0, 5000), -1); EQUAL(errno, EINTR); stop(s); sigaction(SIGUSR1, &old, 0); close(p[0]); close(p[1]);
}

int main(int argc, char **argv) {
    CHECK(!chdir(argv[1])); signal(SIGUSR1, handler); alarm(60);
    polling(); selecting(); epolling(); counters(); watching(); interrupting();
    printf("%d failures\n", failures);
    return failures != 0;
}
