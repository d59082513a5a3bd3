/* Threads: creation, locks, conditions, cancellation, robust mutexes, signals to threads, the leader's end. */
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static long total;
static atomic_long fast;
static __thread int mine;

static void *adder(void *a) {
    mine = (int)(long)a;
    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(&lock); total++; pthread_mutex_unlock(&lock);
        atomic_fetch_add(&fast, 3);
    }
    CHECK(mine == (int)(long)a);
    return a;
}

static void counting(void) {
    pthread_t t[16]; void *r;
    for (long i = 0; i < 16; i++) CHECK(pthread_create(&t[i], 0, adder, (void *)i) == 0);
    for (long i = 0; i < 16; i++) { CHECK(pthread_join(t[i], &r) == 0); CHECK(r == (void *)i); }
    EQUAL(total, 32000); EQUAL(fast, 96000);
}

static int turn;
static void *player(void *a) {
    int me = (int)(long)a;
    for (int i = 0; i < 200; i++) {
        pthread_mutex_lock(&lock);
        while (turn != me) pthread_cond_wait(&changed, &lock);
        turn = (me + 1) % 3;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    pthread_barrier_wait(&barrier);
    return 0;
}

static void conditions(void) {
    pthread_t t[3];
    pthread_barrier_init(&barrier, 0, 4);
    for (long i = 0; i < 3; i++) pthread_create(&t[i], 0, player, (void *)i);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 3; i++) pthread_join(t[i], 0);
    struct timespec when;
    clock_gettime(CLOCK_REALTIME, &when);
    when.tv_nsec += 20000000; if (when.tv_nsec >= 1000000000) { when.tv_sec++; when.tv_nsec -= 1000000000; }
    pthread_mutex_lock(&lock);
    EQUAL(pthread_cond_timedwait(&changed, &lock, &when), ETIMEDOUT);
    pthread_mutex_unlock(&lock);
}

static void *sleeper(void *a) { for (;;) pause(); }
static void *spinner(void *a) { for (;;) { atomic_fetch_add(&fast, 1); pthread_testcancel(); } }

static void cancelling(void) {
    pthread_t t; void *r;
    pthread_create(&t, 0, sleeper, 0); usleep(10000);
    pthread_cancel(t); pthread_join(t, &r); CHECK(r == PTHREAD_CANCELED);
    pthread_create(&t, 0, spinner, 0);
    pthread_cancel(t); pthread_join(t, &r); CHECK(r == PTHREAD_CANCELED);
}

static pthread_mutex_t robust;
static void *dies(void *a) { pthread_mutex_lock(&robust); return 0; }

static void robustness(void) {
    pthread_mutexattr_t attr; pthread_t t;
    pthread_mutexattr_init(&attr); pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attr);
    pthread_create(&t, 0, dies, 0); pthread_join(t, 0);
    EQUAL(pthread_mutex_lock(&robust), EOWNERDEAD);
    EQUAL(pthread_mutex_consistent(&robust), 0);
    EQUAL(pthread_mutex_unlock(&robust), 0);
}

static atomic_int got; static pthread_t who;
static sem_t posted;
static void handler(int n) { who = pthread_self(); got++; }
static void *target(void *a) {
    struct timespec t = {10, 0};
    sem_post(&posted);
    EQUAL(nanosleep(&t, 0), -1); EQUAL(errno, EINTR);
    return (void *)(long)syscall(SYS_gettid);
}
static void *busy(void *a) { while (!got) ; return 0; }

static void signalling(void) {
    pthread_t t; void *tid;
    struct sigaction a = {.sa_handler = handler};
    sigaction(SIGUSR1, &a, 0);
    sem_init(&posted, 0, 0);
    pthread_create(&t, 0, target, 0);
    sem_wait(&posted); usleep(50000);
    pthread_kill(t, SIGUSR1);
    pthread_join(t, &tid);
    EQUAL(got, 1); CHECK(who == t); CHECK((long)tid != getpid());
    got = 0;  /* a thread that makes no calls is interrupted too */
    pthread_create(&t, 0, busy, 0); usleep(20000);
    pthread_kill(t, SIGUSR1); pthread_join(t, 0);
    EQUAL(got, 1); CHECK(who == t);
    got = 0;  /* a process's signal goes to a thread that does not block it */
    sigset_t set; sigemptyset(&set); sigaddset(&set, SIGUSR1);
    pthread_create(&t, 0, busy, 0);
    pthread_sigmask(SIG_BLOCK, &set, 0);
    kill(getpid(), SIGUSR1); pthread_join(t, 0);
    EQUAL(got, 1); CHECK(who == t);
    pthread_sigmask(SIG_UNBLOCK, &set, 0);
}

static unsigned words[2];
static void *waiter(void *a) { return (void *)syscall(SYS_futex, &words[0], FUTEX_WAIT, 0, 0, 0, 0); }

static void futexes(void) {
    pthread_t t[4]; struct timespec soon = {0, 10000000};
    EQUAL(syscall(SYS_futex, &words[0], FUTEX_WAIT, 1, 0, 0, 0), -1); EQUAL(errno, EAGAIN);
    EQUAL(syscall(SYS_futex, &words[0], FUTEX_WAIT, 0, &soon, 0, 0), -1); EQUAL(errno, ETIMEDOUT);
    EQUAL(syscall(SYS_futex, (void *)3, FUTEX_WAKE, 1, 0, 0, 0), -1); EQUAL(errno, EINVAL);
    EQUAL(syscall(SYS_futex, (void *)-4096, FUTEX_WAIT, 0, 0, 0, 0), -1); EQUAL(errno, EFAULT);
    for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, waiter, 0);
    usleep(200000);
    EQUAL(syscall(SYS_futex, &words[0], FUTEX_CMP_REQUEUE, 1, (void *)3, &words[1], 0), 4);
    EQUAL(syscall(SYS_futex, &words[0], FUTEX_WAKE, 9, 0, 0, 0), 0);
    EQUAL(syscall(SYS_futex, &words[1], FUTEX_WAKE, 9, 0, 0, 0), 3);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    unsigned pi = 0;
    EQUAL(syscall(SYS_futex, &pi, FUTEX_LOCK_PI, 0, 0, 0, 0), 0); EQUAL(pi, syscall(SYS_gettid));
    EQUAL(syscall(SYS_futex, &pi, FUTEX_UNLOCK_PI, 0, 0, 0, 0), 0); EQUAL(pi, 0);
}

static void *last_one(void *a) { usleep(50000); printf("%d failures\n", failures); exit(failures != 0); }

int main(void) {
    counting(); conditions(); cancelling(); robustness(); signalling(); futexes();
    pthread_t t[100];
    for (long i = 0; i < 100; i++) CHECK(pthread_create(&t[i], 0, adder, (void *)i) == 0);
    for (long i = 0; i < 100; i++) pthread_join(t[i], 0);
    pid_t child = fork();
    if (!child) { pthread_create(&t[0], 0, adder, 0); pthread_join(t[0], 0); _exit(9); }
    int status; waitpid(child, &status, 0); EQUAL(WEXITSTATUS(status), 9);
    child = fork();  /* exit_group while others run */
    if (!child) { for (int i = 0; i < 5; i++) pthread_create(&t[i], 0, i & 1 ? spinner : sleeper, 0); _exit(11); }
    waitpid(child, &status, 0); EQUAL(WEXITSTATUS(status), 11);
    pthread_create(&t[0], 0, last_one, 0);
    pthread_exit(0);
}
