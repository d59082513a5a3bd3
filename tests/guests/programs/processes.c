/* Processes: fork, execve and all its ways, waiting. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;
static char *self;

static int status_of(pid_t child) { int s = -1; EQUAL(waitpid(child, &s, 0), child); return s; }

static void forking(void) {
    int x = 1;
    pid_t child = fork();
    if (!child) { x++; _exit(getppid() > 0 && x == 2 ? 42 : 1); }
    EQUAL(WEXITSTATUS(status_of(child)), 42); EQUAL(x, 1);
    siginfo_t i; child = fork();
    if (!child) _exit(300);
    EQUAL(waitid(P_PID, child, &i, WEXITED | WNOWAIT), 0); EQUAL(i.si_status, 300 & 255); EQUAL(i.si_code, CLD_EXITED);
    struct rusage u; int s; EQUAL(wait4(child, &s, 0, &u), child); EQUAL(WEXITSTATUS(s), 44);
    EQUAL(waitpid(-1, &s, 0), -1); EQUAL(errno, ECHILD);
    EQUAL(waitpid(-1, &s, 0x40000000 | 0x8), -1); CHECK(errno == EINVAL || errno == ECHILD);
    for (int k = 0; k < 20; k++) { child = fork(); if (!child) { if (k & 1) _exit(k); child = fork(); if (!child) _exit(k); _exit(WEXITSTATUS(status_of(child))); } EQUAL(WEXITSTATUS(status_of(child)), k); }
}

static pid_t run(char **argv, char **envp, const char *path) {
    pid_t child = fork();
    if (!child) { execve(path, argv, envp); _exit(100 + (errno & 63)); }
    return child;
}

static void executing(void) {
    char *args[] = {"name", "echo", "a b", "", "c", 0}, *env[] = {"ONE=1", "TWO=", 0}, *none[] = {0};
    int p[2]; char b[200] = {0};
    pipe(p);
    pid_t child = fork();
    if (!child) { dup2(p[1], 1); execve(self, args, env); _exit(1); }
    EQUAL(WEXITSTATUS(status_of(child)), 5);
    int n = read(p[0], b, sizeof b); b[n > 0 ? n : 0] = 0;
    CHECK(!strcmp(b, "[name][echo][a b][][c]{ONE=1}{TWO=}\n"));
    EQUAL(WEXITSTATUS(status_of(run(args, env, "/nonexistent"))), 100 + ENOENT);
    EQUAL(WEXITSTATUS(status_of(run(args, env, "/tmp"))), 100 + EACCES);
    EQUAL(WEXITSTATUS(status_of(run(args, env, "/etc/passwd"))), 100 + EACCES);
    char script[] = "/tmp/tinamou-script-XXXXXX", text[400];
    int fd = mkstemp(script);
    n = snprintf(text, sizeof text, "#! %s echo \n", self); write(fd, text, n); fchmod(fd, 0755); close(fd);
    char *sargs[] = {"x", "arg", 0};
    child = fork();
    if (!child) { dup2(p[1], 1); execve(script, sargs, env); _exit(1); }
    EQUAL(WEXITSTATUS(status_of(child)), 4);
    n = read(p[0], b, sizeof b); b[n > 0 ? n : 0] = 0;
    n = snprintf(text, sizeof text, "[%s][echo][%s][arg]{ONE=1}{TWO=}\n", self, script);
    CHECK(!strcmp(b, text));
    fd = open(script, O_WRONLY | O_TRUNC); write(fd, "\177ELF garbage", 12); close(fd);
    EQUAL(WEXITSTATUS(status_of(run(sargs, env, script))), 100 + ENOEXEC);
    fd = open(script, O_WRONLY | O_TRUNC); write(fd, "#!/nonexistent/x\n", 17); close(fd);
    EQUAL(WEXITSTATUS(status_of(run(sargs, env, script))), 100 + ENOENT);
    fd = open(script, O_WRONLY | O_TRUNC); close(fd);
    EQUAL(WEXITSTATUS(status_of(run(sargs, env, script))), 100 + ENOEXEC);
    unlink(script);
    static char *huge[40]; static char big[100000];
    memset(big, 'x', sizeof big - 1);
    for (int i = 0; i < 39; i++) huge[i] = big;
    EQUAL(WEXITSTATUS(status_of(run(huge, env, self))), 100 + E2BIG);
    close(p[0]); close(p[1]);
}

static void inherited(void) {
    int keep = dup(0), gone = fcntl(0, F_DUPFD_CLOEXEC, 50);
    char a[20], b[20];
    sprintf(a, "%d", keep); sprintf(b, "%d", gone);
    struct sigaction act = {0}; act.sa_handler = (void (*)(int))inherited;
    sigaction(SIGUSR1, &act, 0); signal(SIGUSR2, SIG_IGN);
    sigset_t set; sigemptyset(&set); sigaddset(&set, SIGTERM); sigprocmask(SIG_BLOCK, &set, 0);
    char *args[] = {"x", "state", a, b, 0};
    pid_t child = fork();
    if (!child) { char mypid[20]; sprintf(mypid, "%d", getpid()); char *more[] = {"x", "state", a, b, mypid, 0}; execve(self, more, environ); _exit(1); }
    EQUAL(WEXITSTATUS(status_of(child)), 0);
    sigprocmask(SIG_UNBLOCK, &set, 0); signal(SIGUSR1, SIG_DFL); signal(SIGUSR2, SIG_DFL);
    close(keep); close(gone);
}

static int state(char **v) {
    struct sigaction act; sigset_t set;
    CHECK(fcntl(atoi(v[2]), F_GETFD) >= 0); CHECK(fcntl(atoi(v[3]), F_GETFD) < 0);
    sigaction(SIGUSR1, 0, &act); CHECK(act.sa_handler == SIG_DFL);
    sigaction(SIGUSR2, 0, &act); CHECK(act.sa_handler == SIG_IGN);
    sigprocmask(SIG_BLOCK, 0, &set); CHECK(sigismember(&set, SIGTERM) && !sigismember(&set, SIGHUP));
    if (v[4]) { EQUAL(getpid(), atoi(v[4])); EQUAL(syscall(SYS_gettid), getpid()); }
    return failures;
}

static void *from_thread(void *a) {
    char pid[20]; sprintf(pid, "%d", getpid());
    char *args[] = {"x", "pid", pid, 0};
    execve(self, args, environ);
    return 0;
}
static void *forever(void *a) { if (a) for (;;) ; for (;;) pause(); }

static void threads(void) {
    pthread_t t;
    pid_t child = fork();
    if (!child) {
        pthread_create(&t, 0, forever, 0); pthread_create(&t, 0, forever, (void *)1);
        pthread_create(&t, 0, from_thread, 0);
        for (;;) pause();
    }
    EQUAL(WEXITSTATUS(status_of(child)), 77);
    child = fork();
    if (!child) { pthread_create(&t, 0, forever, 0); pthread_create(&t, 0, forever, (void *)1); usleep(1000); from_thread(0); _exit(1); }
    EQUAL(WEXITSTATUS(status_of(child)), 77);
}

static void spawning(void) {
    pid_t child; char pid[] = "0", *args[] = {"x", "exit", "9", 0};
    EQUAL(posix_spawn(&child, self, 0, 0, args, environ), 0);
    EQUAL(WEXITSTATUS(status_of(child)), 9);
    child = vfork();
    if (!child) { execve(self, args, environ); _exit(1); }
    EQUAL(WEXITSTATUS(status_of(child)), 9);
    EQUAL(WEXITSTATUS(system("exit 6")), 6);
    FILE *f = popen("echo through a pipe", "r"); char b[100] = {0}; fgets(b, 100, f);
    CHECK(!strcmp(b, "through a pipe\n")); EQUAL(pclose(f), 0);
}

int main(int c, char **v) {
    self = "/proc/self/exe";
    static char path[4096]; ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    CHECK(n > 0); if (n > 0) { path[n] = 0; self = path; }
    if (c > 1 && !strcmp(v[1], "echo")) {
        for (int i = 0; i < c; i++) printf("[%s]", v[i]);
        for (char **e = environ; *e; e++) printf("{%s}", *e);
        printf("\n"); return c;
    }
    if (c > 1 && !strcmp(v[1], "state")) return state(v);
    if (c > 1 && !strcmp(v[1], "pid")) return getpid() == atoi(v[2]) && syscall(SYS_gettid) == getpid() ? 77 : 1;
    if (c > 1 && !strcmp(v[1], "exit")) return atoi(v[2]);
    forking(); executing(); inherited(); threads(); spawning();
    printf("%d failures\n", failures);
    return failures != 0;
}
