/* The system: names, limits, identity, scheduling, prctl, terminals, System V and POSIX IPC. */
#include "check.h"
#include <fcntl.h>
#include <grp.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

static void names(char *machine) {
    struct utsname u; EQUAL(uname(&u), 0); EQUAL(strcmp(u.sysname, "Linux"), 0); EQUAL(strcmp(u.machine, machine), 0); CHECK(u.release[0] >= '4');
    struct sysinfo s; EQUAL(sysinfo(&s), 0); CHECK(s.totalram / 1024.0 * s.mem_unit > 1000); CHECK(s.uptime > 0); CHECK(s.procs > 0);
    char a[40] = {0}, b[40] = {0}; EQUAL(getrandom(a, 40, 0), 40); getrandom(b, 40, GRND_NONBLOCK); CHECK(memcmp(a, b, 40)); EQUAL(getrandom((void *)8, 40, 0), -1); EQUAL(errno, EFAULT);
    EQUAL(prctl(PR_SET_NAME, "a name longer than 15"), 0); char n[16]; EQUAL(prctl(PR_GET_NAME, n), 0); EQUAL(strcmp(n, "a name longer t"), 0);
    EQUAL(prctl(PR_SET_PDEATHSIG, SIGUSR2), 0); int g = 0; EQUAL(prctl(PR_GET_PDEATHSIG, &g), 0); EQUAL(g, SIGUSR2); prctl(PR_SET_PDEATHSIG, 0);
    EQUAL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0); EQUAL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1); EQUAL(prctl(987654), -1); EQUAL(errno, EINVAL);
    EQUAL(syscall(100000), -1); EQUAL(errno, ENOSYS); EQUAL(syscall(425, 4, 0), -1); /* io_uring_setup */
}

static void limits(void) {
    struct rlimit r, o; EQUAL(getrlimit(RLIMIT_NOFILE, &r), 0); CHECK(r.rlim_cur > 0); o = r; r.rlim_cur = 64; EQUAL(setrlimit(RLIMIT_NOFILE, &r), 0); getrlimit(RLIMIT_NOFILE, &r); EQUAL(r.rlim_cur, 64);
    EQUAL(fcntl(0, F_DUPFD, 64), -1); CHECK(errno == EINVAL || errno == EMFILE); setrlimit(RLIMIT_NOFILE, &o);
    EQUAL(getrlimit(RLIMIT_STACK, &r), 0); CHECK(r.rlim_cur >= 1 << 20); r.rlim_cur = 1 << 22; EQUAL(setrlimit(RLIMIT_STACK, &r), 0); r.rlim_cur = 0; getrlimit(RLIMIT_STACK, &r); EQUAL(r.rlim_cur, 1 << 22);
    r.rlim_cur = 2; r.rlim_max = 1; EQUAL(setrlimit(RLIMIT_CPU, &r), -1); EQUAL(errno, EINVAL); EQUAL(getrlimit(99, &r), -1); EQUAL(errno, EINVAL);
    int nice0 = getpriority(PRIO_PROCESS, 0), step = nice0 < 17 ? 3 : 0; errno = 0;
    EQUAL(nice(step), nice0 + step); EQUAL(getpriority(PRIO_PROCESS, 0), nice0 + step);
    cpu_set_t c; EQUAL(sched_getaffinity(0, sizeof c, &c), 0); CHECK(CPU_COUNT(&c) >= 1); EQUAL(sched_setaffinity(0, sizeof c, &c), 0); CHECK(sched_getcpu() >= 0);
    EQUAL(syscall(SYS_sched_getscheduler, 0), SCHED_OTHER); EQUAL(sched_get_priority_max(SCHED_FIFO), 99); struct timespec t; EQUAL(sched_rr_get_interval(0, &t), 0);
}

static void identity(void) {
    uid_t a, b, c; EQUAL(getresuid(&a, &b, &c), 0); EQUAL(a, getuid()); EQUAL(b, geteuid()); EQUAL(getpgid(0), getpgrp()); CHECK(getsid(0) >= 0);
    gid_t g[100]; int n = getgroups(0, 0); EQUAL(getgroups(100, g), n); EQUAL(setpgid(0, 0) == 0 || errno == EPERM, 1);
    if (getuid() == 0) { pid_t p = fork(); if (!p) { gid_t q[2] = {5, 6}; int bad = setgroups(2, q) || setresgid(7, 7, 7) || setresuid(8, 8, 8) || getuid() != 8 || getgroups(2, q) != 2 || q[1] != 6 || !setuid(0); _exit(bad); } int s; waitpid(p, &s, 0); EQUAL(s, 0); }
    pid_t p = fork(); if (!p) _exit(setsid() != getpid() || getpgrp() != getpid()); int s; waitpid(p, &s, 0); EQUAL(s, 0);
}

static void terminal(void) {
    int m = posix_openpt(O_RDWR | O_NOCTTY); CHECK(m >= 0); EQUAL(grantpt(m), 0); EQUAL(unlockpt(m), 0); char n[64]; EQUAL(ptsname_r(m, n, 64), 0); int s = open(n, O_RDWR | O_NOCTTY); CHECK(isatty(s));
    struct termios t, u; EQUAL(tcgetattr(s, &t), 0); CHECK(t.c_lflag & ICANON); EQUAL(t.c_cc[VINTR], 3); u = t; cfmakeraw(&u); EQUAL(tcsetattr(s, TCSANOW, &u), 0);
    write(m, "ab", 2); char b[8]; EQUAL(read(s, b, 8), 2); int k; EQUAL(ioctl(s, FIONREAD, &k), 0); EQUAL(k, 0);
    struct winsize w = {40, 100}; EQUAL(ioctl(m, TIOCSWINSZ, &w), 0); w.ws_row = 0; EQUAL(ioctl(s, TIOCGWINSZ, &w), 0); EQUAL(w.ws_row, 40); tcsetattr(s, TCSADRAIN, &t);
    pid_t p = fork();
    if (!p) { setsid(); signal(SIGINT, SIG_DFL); int bad = ioctl(s, TIOCSCTTY, 0) || tcgetpgrp(s) != getpid() || tcgetsid(s) != getpid(); if (bad) _exit(9); write(s, "go", 2); for (;;) pause(); }
    EQUAL(read(m, b, 8), 2); write(m, "\3", 1); int e; waitpid(p, &e, 0); CHECK(WIFSIGNALED(e)); EQUAL(WTERMSIG(e), SIGINT); EQUAL(isatty(m), 1); close(s); close(m); EQUAL(ioctl(0, 0xabcdef, 0), -1); EQUAL(errno, ENOTTY);
}

static volatile int notified;
static void told(union sigval v) { notified = v.sival_int; }

static void ipc(void) {
    int id = shmget(IPC_PRIVATE, 10000, IPC_CREAT | 0600); CHECK(id >= 0); char *a = shmat(id, 0, 0); CHECK(a != (void *)-1); strcpy(a, "shared"); a[9999] = 1;
    char *b = shmat(id, 0, SHM_RDONLY); CHECK(b != a); EQUAL(strcmp(b, "shared"), 0); struct shmid_ds d; EQUAL(shmctl(id, IPC_STAT, &d), 0); EQUAL(d.shm_nattch, 2); EQUAL(d.shm_segsz, 10000); EQUAL(d.shm_perm.mode & 0777, 0600);
    pid_t p = fork(); if (!p) { strcpy(a, "child"); shmdt(a); _exit(0); } waitpid(p, 0, 0); EQUAL(strcmp(b, "child"), 0); EQUAL(shmdt(a), 0); EQUAL(shmdt(a), -1); EQUAL(errno, EINVAL); EQUAL(shmdt(b), 0); EQUAL(shmctl(id, IPC_RMID, 0), 0);
    id = semget(IPC_PRIVATE, 2, IPC_CREAT | 0600); union { int v; unsigned short *a; struct semid_ds *d; } u; u.v = 3; EQUAL(semctl(id, 0, SETVAL, u), 0); EQUAL(semctl(id, 0, GETVAL), 3);
    unsigned short v[2] = {1, 0}; u.a = v; EQUAL(semctl(id, 0, SETALL, u), 0); struct sembuf o[2] = {{0, -1, 0}, {1, 2, 0}}; EQUAL(semop(id, o, 2), 0); v[1] = 9; EQUAL(semctl(id, 0, GETALL, u), 0); EQUAL(v[0], 0); EQUAL(v[1], 2);
    p = fork(); if (!p) { usleep(30000); struct sembuf g = {0, 1, 0}; semop(id, &g, 1); _exit(0); } struct sembuf l = {0, -1, 0}; EQUAL(semop(id, &l, 1), 0); waitpid(p, 0, 0);
    struct timespec t = {0, 10000000}; EQUAL(semtimedop(id, &l, 1, &t), -1); EQUAL(errno, EAGAIN); EQUAL(semctl(id, 0, IPC_RMID), 0);
    id = msgget(IPC_PRIVATE, IPC_CREAT | 0600); struct { long k; char t[16]; } x = {7, "seven"}, y; EQUAL(msgsnd(id, &x, 6, 0), 0); x.k = 5; EQUAL(msgsnd(id, &x, 6, 0), 0); EQUAL(msgrcv(id, &y, 16, 5, 0), 6); EQUAL(y.k, 5); EQUAL(msgrcv(id, &y, 16, -9, 0), 6); EQUAL(y.k, 7); EQUAL(strcmp(y.t, "seven"), 0);
    struct msqid_ds q; EQUAL(msgctl(id, IPC_STAT, &q), 0); EQUAL(q.msg_qnum, 0); EQUAL(q.msg_lspid, getpid()); EQUAL(msgrcv(id, &y, 16, 0, IPC_NOWAIT), -1); EQUAL(errno, ENOMSG); EQUAL(msgctl(id, IPC_RMID, 0), 0);
    char name[64]; sprintf(name, "/tinamou-%d", getpid()); struct mq_attr r = {0, 4, 32}; mqd_t m = mq_open(name, O_CREAT | O_RDWR | O_EXCL, 0600, &r); if (m == (mqd_t)-1 && errno == ENOSYS) return;
    CHECK(m >= 0); mq_unlink(name); EQUAL(mq_send(m, "low", 3, 1), 0); EQUAL(mq_send(m, "high", 4, 9), 0); unsigned w; char z[32]; EQUAL(mq_receive(m, z, 32, &w), 4); EQUAL(w, 9); EQUAL(mq_getattr(m, &r), 0); EQUAL(r.mq_curmsgs, 1); EQUAL(r.mq_maxmsg, 4);
    mq_receive(m, z, 32, &w); struct sigevent v2 = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = told, .sigev_value.sival_int = 42};
    EQUAL(mq_notify(m, &v2), 0); EQUAL(mq_send(m, "tell", 4, 1), 0); for (int i = 0; i < 5000 && !notified; i++) usleep(1000); EQUAL(notified, 42);
    mq_receive(m, z, 32, &w); clock_gettime(CLOCK_REALTIME, &t); t.tv_nsec += 10000000; if (t.tv_nsec >= 1000000000) t.tv_nsec -= 1000000000, t.tv_sec++; EQUAL(mq_timedreceive(m, z, 32, &w, &t), -1); EQUAL(errno, ETIMEDOUT); mq_close(m);
    int f = shm_open(name, O_CREAT | O_RDWR, 0600); CHECK(f >= 0); shm_unlink(name); EQUAL(ftruncate(f, 4096), 0); char *h = mmap(0, 4096, 3, MAP_SHARED, f, 0); p = fork(); if (!p) { *h = 5; _exit(0); } waitpid(p, 0, 0); EQUAL(*h, 5);
}

int main(int argc, char **argv) {
    alarm(60); names(argv[2]); limits(); identity(); terminal(); ipc();
    printf("%d failures\n", failures);
    return failures != 0;
}
