/* Memory: mmap and family, brk, protections, the map, code that changes. */
#include "check.h"
#include "machine.h"
#include <fcntl.h>
#include <signal.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define P 4096
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
static sigjmp_buf back;
static void escape(int n) { siglongjmp(back, 1); }
static int writable(volatile char *p) { if (sigsetjmp(back, 1)) return 0; *p = *p; return 1; }
static int readable(volatile char *p) { if (sigsetjmp(back, 1)) return 0; (void)*p; return 1; }

static void protections(void) {
    char *m = mmap(0, 4 * P, PROT_READ | PROT_WRITE, ANON, -1, 0);
    EQUAL(mprotect(m + P, P, PROT_READ), 0);
    EQUAL(mprotect(m + 2 * P, P, PROT_NONE), 0);
    CHECK(writable(m)); CHECK(!writable(m + P)); CHECK(readable(m + P)); CHECK(!readable(m + 2 * P)); CHECK(writable(m + 3 * P));
    EQUAL(munmap(m + P, P), 0);
    EQUAL(mprotect(m, 4 * P, PROT_READ), -1); EQUAL(errno, ENOMEM);
    EQUAL(syscall(SYS_mprotect, m + 1, P, PROT_READ), -1); EQUAL(errno, EINVAL);
    int p[2]; pipe(p); write(p[1], "hello", 5);
    EQUAL(read(p[0], m + 2 * P, 5), -1); EQUAL(errno, EFAULT);
    EQUAL(read(p[0], (char *)-100, 5), -1); EQUAL(errno, EFAULT);
    EQUAL(write(p[1], (char *)8, 5), -1); EQUAL(errno, EFAULT);
    EQUAL(open((char *)8, O_RDONLY), -1); EQUAL(errno, EFAULT);
    close(p[0]); close(p[1]); munmap(m, 4 * P);
}

static void fixed(void) {
    char *m = mmap(0, 4 * P, PROT_READ | PROT_WRITE, ANON, -1, 0);
    m[P] = 7;
    CHECK(mmap(m + P, P, PROT_READ, ANON | 0x100000, -1, 0) == MAP_FAILED); EQUAL(errno, EEXIST);
    CHECK(mmap(m + P, P, PROT_READ, ANON | MAP_FIXED, -1, 0) == m + P); EQUAL(m[P], 0);
    CHECK(mmap((void *)1, P, PROT_READ, ANON | MAP_FIXED, -1, 0) == MAP_FAILED); EQUAL(errno, EINVAL);
    CHECK(mmap(0, 0, PROT_READ, ANON, -1, 0) == MAP_FAILED); EQUAL(errno, EINVAL);
    CHECK(mmap(0, P, PROT_READ, MAP_PRIVATE, 999, 0) == MAP_FAILED); EQUAL(errno, EBADF);
    CHECK(mmap(0, (size_t)3 << (sizeof(long) * 8 - 2), PROT_READ, ANON, -1, 0) == MAP_FAILED); EQUAL(errno, ENOMEM);
    munmap(m, 4 * P);
}

static void moving(void) {
    char *m = mmap(0, 2 * P, PROT_READ | PROT_WRITE, ANON, -1, 0), *n;
    strcpy(m, "first"); strcpy(m + P, "second");
    n = mremap(m, 2 * P, 64 * P, MREMAP_MAYMOVE); CHECK(n != MAP_FAILED);
    CHECK(!strcmp(n, "first") && !strcmp(n + P, "second") && n[63 * P] == 0);
    CHECK(mremap(n, 64 * P, P, 0) == n); CHECK(!readable(n + P));
    char *to = mmap(0, 8 * P, PROT_NONE, ANON, -1, 0);
    CHECK(mremap(n, P, P, MREMAP_MAYMOVE | MREMAP_FIXED, to + 2 * P) == to + 2 * P);
    CHECK(!strcmp(to + 2 * P, "first")); CHECK(!readable(n)); CHECK(!readable(to));
    CHECK(mremap((void *)(P * 3), P, 2 * P, MREMAP_MAYMOVE) == MAP_FAILED); EQUAL(errno, EFAULT);
    munmap(to, 8 * P);
}

static void files(void) {
    char name[] = "/tmp/tinamou-memory-XXXXXX", b[8] = {0};
    int fd = mkstemp(name);
    ftruncate(fd, 2 * P);
    char *s = mmap(0, 2 * P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *c = mmap(0, P, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, P);
    strcpy(s + P, "shared");
    EQUAL(msync(s, 2 * P, MS_SYNC), 0);
    pread(fd, b, 7, P); CHECK(!strcmp(b, "shared")); CHECK(!strcmp(c, "shared"));
    c[0] = 'S'; CHECK(s[P] == 's');
    pid_t child = fork();
    if (!child) { strcpy(s, "child"); c[1] = 'X'; _exit(0); }
    waitpid(child, 0, 0); CHECK(!strcmp(s, "child")); CHECK(c[1] == 'h');
    unsigned char core[2]; EQUAL(mincore(s, 2 * P, core), 0);
    close(fd); unlink(name); munmap(s, 2 * P); munmap(c, P);
}

static void heap(void) {
    char *a = sbrk(0), *b;
    CHECK((intptr_t)syscall(SYS_brk, 0) == (intptr_t)a);
    b = (char *)syscall(SYS_brk, a + 100000); CHECK(b == a + 100000); a[99999] = 1;
    CHECK((char *)syscall(SYS_brk, a) == a);
    CHECK((char *)syscall(SYS_brk, (char *)P) == a);
    char *m = mmap(0, P, PROT_READ | PROT_WRITE, ANON, -1, 0);
    m[5] = 9; EQUAL(madvise(m, P, MADV_DONTNEED), 0); EQUAL(m[5], 0);
    EQUAL(madvise(m, P, 12345), -1); EQUAL(errno, EINVAL);
    munmap(m, P);
    EQUAL(madvise(m, P, MADV_DONTNEED), -1); EQUAL(errno, ENOMEM);
    char *big[50];
    for (int i = 0; i < 50; i++) { big[i] = malloc(300000 + i * 1000); memset(big[i], i, 300000); }
    for (int i = 0; i < 50; i++) { big[i] = realloc(big[i], 600000); CHECK(big[i][299999] == i); }
    for (int i = 0; i < 50; i++) free(big[i]);
}

static void many(void) {
    static char *at[10000];
    for (int i = 0; i < 10000; i++) {
        at[i] = mmap(0, P, i & 1 ? PROT_READ : PROT_READ | PROT_WRITE, ANON, -1, 0);
        if (at[i] == MAP_FAILED) { CHECK(0); return; }
    }
    int lines = 0; FILE *f = fopen("/proc/self/maps", "r"); char line[400], *stack = 0;
    CHECK(f != 0);
    if (f) { while (fgets(line, sizeof line, f)) { lines++; if (strstr(line, "[stack]")) stack = line; } fclose(f); }
    CHECK(lines > 10000); CHECK(stack != 0);
    for (int i = 0; i < 10000; i++) EQUAL(munmap(at[i], P), 0);
}

static void code(void) {
    /* a function that gives a number */
    uint32_t *m = mmap(0, P, PROT_READ | PROT_WRITE | PROT_EXEC, ANON, -1, 0);
    int (*f)(void) = (int (*)(void))m;
    for (int i = 0; i < 50; i++) {
        m[0] = RESULT(i); m[1] = RETURN;
        __builtin___clear_cache((char *)m, (char *)(m + 2));
        EQUAL(f(), i);
    }
    mprotect(m, P, PROT_READ | PROT_WRITE);
    if (!sigsetjmp(back, 1)) { f(); CHECK(0); }
    m[0] = RESULT(77);
    mprotect(m, P, PROT_READ | PROT_EXEC);
    EQUAL(f(), 77);
    munmap(m, P);
    if (!sigsetjmp(back, 1)) { f(); CHECK(0); }
    uint32_t *n = mmap(m, P, PROT_READ | PROT_WRITE | PROT_EXEC, ANON | MAP_FIXED, -1, 0);
    n[0] = RESULT(78); n[1] = RETURN;
    EQUAL(((int (*)(void))n)(), 78);
}

int main(void) {
    signal(SIGSEGV, escape); signal(SIGBUS, escape);
    protections(); fixed(); moving(); files(); heap(); many(); code();
    printf("%d failures\n", failures);
    return failures != 0;
}
