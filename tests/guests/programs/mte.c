/* Memory tags: instructions, checks, PROT_MTE, prctl and signals, and an allocator that uses them.  Outcomes as the architecture manual
   (chapter D10, Memory Tagging Extension) and the kernel's memory-tagging-extension.rst have them. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <sys/wait.h>

#define P 4096
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define PROT_BTI 0x10
#define PROT_MTE 0x20
#define SYNC 2
#define ASYNC 4
#define TAGS(mask) ((unsigned long)(mask) << 3)
#define CONTROL(value) prctl(55, (unsigned long)(value) | 1, 0, 0, 0)
#define TAG(p) ((unsigned)((uintptr_t)(p) >> 56) & 15)
#define WITH(p, tag) ((void *)(((uintptr_t)(p) & ~(15ul << 56)) | (uintptr_t)(tag) << 56))

static void *irg(void *p, uint64_t exclude) { void *r; __asm__ volatile("irg %0, %1, %2" : "=r"(r) : "r"(p), "r"(exclude)); return r; }
static uint64_t gmi(void *p, uint64_t mask) { uint64_t r; __asm__("gmi %0, %1, %2" : "=r"(r) : "r"(p), "r"(mask)); return r; }
static int64_t subp(void *a, void *b) { int64_t r; __asm__("subp %0, %1, %2" : "=r"(r) : "r"(a), "r"(b)); return r; }
static void *ldg(void *p) { void *r = p; __asm__ volatile("ldg %0, [%1]" : "+r"(r) : "r"(p) : "memory"); return r; }
static void stg(void *p) { __asm__ volatile("stg %0, [%0]" :: "r"(p) : "memory"); }
static void st2g(void *p) { __asm__ volatile("st2g %0, [%0]" :: "r"(p) : "memory"); }
static void stzg(void *p) { __asm__ volatile("stzg %0, [%0]" :: "r"(p) : "memory"); }
static void stz2g(void *p) { __asm__ volatile("stz2g %0, [%0]" :: "r"(p) : "memory"); }
static void tco(int on) { if (on) __asm__ volatile("msr tco, #1"); else __asm__ volatile("msr tco, #0"); }

static sigjmp_buf back;
static volatile int count;
static siginfo_t seen;
static uint64_t syndrome, tco_inside;

static void note(siginfo_t *i, void *c) {
    ucontext_t *u = c;
    seen = *i; count++; syndrome = 0;
    for (uint8_t *r = (uint8_t *)u->uc_mcontext.__reserved; *(uint32_t *)r; r += ((uint32_t *)r)[1])
        if (*(uint32_t *)r == 0x45535201) syndrome = *(uint64_t *)(r + 8);
    __asm__ volatile("mrs %0, tco" : "=r"(tco_inside));
}
static void escape(int n, siginfo_t *i, void *c) { note(i, c); siglongjmp(back, 1); }
static void stay(int n, siginfo_t *i, void *c) { note(i, c); }
static void on(void (*f)(int, siginfo_t *, void *), int flags) {
    struct sigaction a = {0};
    a.sa_sigaction = f; a.sa_flags = SA_SIGINFO | flags;
    sigaction(SIGSEGV, &a, 0); count = 0;
}
#define FAULTS(access) (sigsetjmp(back, 1) ? 1 : ((void)(access), 0))

static char *tagged(size_t pages) { return mmap(0, pages * P, PROT_READ | PROT_WRITE | PROT_MTE, ANON, -1, 0); }

static void controls(void) {
    CHECK(getauxval(AT_HWCAP2) >> 18 & 1);
    EQUAL(prctl(56, 0, 0, 0, 0), 0);
    EQUAL(CONTROL(SYNC | TAGS(0xfffe)), 0);
    EQUAL(prctl(56, 0, 0, 0, 0), 1 | SYNC | TAGS(0xfffe));
    EQUAL(prctl(55, 1ul << 40, 0, 0, 0), -1); EQUAL(errno, EINVAL);
    EQUAL(prctl(55, 1, 1, 0, 0), -1); EQUAL(errno, EINVAL);
    EQUAL(prctl(56, 1, 0, 0, 0), -1); EQUAL(errno, EINVAL);
}

static void instructions(void) {
    char *m = tagged(2);
    int used = 0;
    CONTROL(SYNC | TAGS(0xfffe));
    for (int i = 0; i < 500; i++) used |= 1 << TAG(irg(m, 0));
    EQUAL(used & 1, 0); CHECK(__builtin_popcount(used) > 10);  /* tag 0 is excluded by GCR_EL1 */
    for (int i = 0; i < 100; i++) EQUAL(TAG(irg(m, 0xfff7)), 3);
    EQUAL(TAG(irg(m, 0xffff)), 0);
    void *a; __asm__("addg %0, %1, #32, #2" : "=r"(a) : "r"(WITH(m, 3))); CHECK(a == WITH(m + 32, 5));
    __asm__("subg %0, %1, #16, #1" : "=r"(a) : "r"(WITH(m + 64, 9))); CHECK(a == WITH(m + 48, 10));
    __asm__("addg %0, %1, #0, #1" : "=r"(a) : "r"(WITH(m, 15))); EQUAL(TAG(a), 1);  /* 0 is left out */
    EQUAL(gmi(WITH(m, 7), 1), 0x81);
    EQUAL(subp(WITH(m + 100, 4), WITH(m, 9)), 100);
    uint64_t flags; __asm__("subps xzr, %1, %2\n mrs %0, nzcv" : "=r"(flags) : "r"(WITH(m, 4)), "r"(WITH(m, 9)) : "cc");
    EQUAL(flags >> 28, 6);
    memset(m, 0xff, 256);
    stg(WITH(m, 4)); EQUAL(TAG(ldg(m)), 4); EQUAL(TAG(ldg(m + 15)), 4); EQUAL(TAG(ldg(m + 16)), 0);
    CHECK(*(char *)WITH(m, 4) == (char)0xff);
    st2g(WITH(m + 32, 6)); EQUAL(TAG(ldg(m + 32)), 6); EQUAL(TAG(ldg(m + 48)), 6); EQUAL(TAG(ldg(m + 64)), 0);
    stzg(WITH(m + 64, 5)); CHECK(*(char *)WITH(m + 64, 5) == 0 && *(char *)WITH(m + 79, 5) == 0 && m[80] == (char)0xff);
    stz2g(WITH(m + 96, 8)); CHECK(*(char *)WITH(m + 127, 8) == 0 && m[128] == (char)0xff);
    uint64_t x[2] = {1, 2}; char *q = WITH(m + 128, 9);
    __asm__ volatile("stgp %1, %2, [%0]" :: "r"(q), "r"(x[0]), "r"(x[1]) : "memory");
    CHECK(TAG(ldg(m + 128)) == 9 && ((uint64_t *)q)[0] == 1 && ((uint64_t *)q)[1] == 2);
    char *w = WITH(m + 160, 3);
    __asm__ volatile("stg %0, [%0], #16\n stg %0, [%0, #16]!" : "+r"(w) :: "memory");
    CHECK(w == WITH(m + 192, 3)); CHECK(TAG(ldg(m + 160)) == 3 && TAG(ldg(m + 176)) == 0 && TAG(ldg(m + 192)) == 3);
    char *z = WITH(m + P, 11);
    __asm__ volatile("dc gva, %0" :: "r"(z) : "memory");
    uint64_t block; __asm__("mrs %0, dczid_el0" : "=r"(block)); block = 4 << (block & 15);
    for (int i = 0; i < block; i += 16) EQUAL(TAG(ldg(m + P + i)), 11);
    EQUAL(TAG(ldg(m + P + block)), 0);
    memset(m + P + block, 1, block);
    __asm__ volatile("dc gzva, %0" :: "r"(WITH(m + P + block, 2)) : "memory");
    CHECK(TAG(ldg(m + P + block)) == 2 && *(uint64_t *)WITH(m + P + block, 2) == 0);
    char *plain = mmap(0, P, PROT_READ | PROT_WRITE, ANON, -1, 0);
    stg(WITH(plain, 5)); EQUAL(TAG(ldg(plain)), 0);  /* no PROT_MTE, no tags */
    CHECK(*(char *)WITH(plain, 5) == 0);             /* and no checks */
    on(escape, 0);
    CHECK(FAULTS(stg(WITH(8, 1)))); EQUAL(seen.si_code, SEGV_MAPERR);
    __asm__ volatile(".arch_extension memtag");
    if (!sigsetjmp(back, 1)) {  /* EL1's instructions */
        struct sigaction s = {0}; s.sa_sigaction = escape; s.sa_flags = SA_SIGINFO; sigaction(SIGILL, &s, 0);
        __asm__ volatile("stzgm %0, [%0]" :: "r"(m) : "memory"); CHECK(0);
    }
    EQUAL(seen.si_signo, SIGILL);
    if (!sigsetjmp(back, 1)) { __asm__ volatile("ldgm x1, [%0]" :: "r"(m) : "x1", "memory"); CHECK(0); }
    EQUAL(seen.si_signo, SIGILL);
    signal(SIGILL, SIG_DFL);
    munmap(m, 2 * P); munmap(plain, P);
}

static void synchronous(void) {
    char *m = tagged(1), *p = WITH(m, 7);
    stg(p);
    CONTROL(SYNC | TAGS(0xfffe));
    on(escape, 0);
    CHECK(!FAULTS(*p = 1));
    CHECK(FAULTS(*(volatile char *)m)); EQUAL(seen.si_code, 9); CHECK(seen.si_addr == m);
    EQUAL(syndrome >> 26, 0x24); EQUAL(syndrome & 0x7f, 0x11);
    CHECK(FAULTS(*m = 2)); EQUAL(syndrome & 0x7f, 0x51); EQUAL(*p, 1);
    CHECK(FAULTS(p[16] = 1)); CHECK(seen.si_addr == m + 16);  /* beyond the end of what has the tag */
    CHECK(FAULTS(*(volatile uint64_t *)(p + 12)));             /* half of it */
    CHECK(!FAULTS(m[16] = 1));
    on(escape, 0x800);  /* SA_EXPOSE_TAGBITS */
    CHECK(FAULTS(*(volatile char *)WITH(m, 3))); CHECK(seen.si_addr == WITH(m, 3));
    on(escape, 0);
    tco(1); CHECK(!FAULTS(*(volatile char *)m)); tco(0);
    CHECK(FAULTS(*(volatile char *)m));
    uint64_t v[2];
    CHECK(FAULTS(({ __asm__ volatile("ldp %0, %1, [%2]" : "=r"(v[0]), "=r"(v[1]) : "r"(p + 8) : "memory"); })));
    CHECK(FAULTS(({ __asm__ volatile("ld1 {v0.16b}, [%0]" :: "r"(m) : "v0", "memory"); })));
    CHECK(FAULTS(({ __asm__ volatile("ldaxr %0, [%1]" : "=r"(v[0]) : "r"(m) : "memory"); })));
    CHECK(FAULTS(({ __asm__ volatile("swp %0, %0, [%1]" : "+r"(v[0]) : "r"(m) : "memory"); })));
    __asm__ volatile("prfm pldl1keep, [%0]" :: "r"(m));  /* never checked */
    int fds[2]; pipe(fds);
    EQUAL(write(fds[1], p, 4), 4); EQUAL(read(fds[0], p, 4), 4);
    EQUAL(syscall(SYS_write, fds[1], m, 4), -1); EQUAL(errno, EFAULT);  /* system calls are checked too */
    close(fds[0]); close(fds[1]);
    CONTROL(0);
    CHECK(!FAULTS(*(volatile char *)m));
    CONTROL(SYNC | TAGS(0xfffe));
    munmap(m, P);
}

static void asynchronous(void) {
    char *m = tagged(1), *p = WITH(m, 7);
    stg(p);
    on(stay, 0);
    CONTROL(ASYNC | TAGS(0xfffe));
    EQUAL(prctl(56, 0, 0, 0, 0), 1 | ASYNC | TAGS(0xfffe));
    *m = 5; EQUAL(count, 0); EQUAL(*(volatile char *)m, 5);  /* done, and told of later */
    EQUAL(getppid() > 0, 1);
    EQUAL(count, 1); EQUAL(seen.si_signo, SIGSEGV); EQUAL(seen.si_code, 8); CHECK(seen.si_addr == 0);
    getppid(); EQUAL(count, 1);
    sigset_t set, old; sigemptyset(&set); sigaddset(&set, SIGSEGV);
    sigprocmask(SIG_BLOCK, &set, &old);
    *m = 6; getppid(); EQUAL(count, 1);
    sigprocmask(SIG_SETMASK, &old, 0); EQUAL(count, 2);
    CONTROL(SYNC | ASYNC | TAGS(0xfffe));
    *m = 7; getppid(); EQUAL(count, 3);  /* the CPU prefers asynchronous checks */
    CONTROL(SYNC | TAGS(0xfffe));
    munmap(m, P);
}

static void mappings(void) {
    char *m = mmap(0, 4 * P, PROT_READ | PROT_WRITE, ANON, -1, 0);
    m[0] = 1;
    EQUAL(mprotect(m, 2 * P, PROT_READ | PROT_WRITE | PROT_MTE), 0);
    EQUAL(m[0], 1);
    stg(WITH(m, 5)); stg(WITH(m + P, 6)); EQUAL(TAG(ldg(m)), 5);
    EQUAL(mprotect(m, P, PROT_READ | PROT_WRITE), 0); EQUAL(TAG(ldg(m)), 5);  /* it stays */
    on(escape, 0); CHECK(FAULTS(*(volatile char *)m));
    pid_t child = fork();
    if (!child) {
        stg(WITH(m + 16, 9));
        _exit(TAG(ldg(m)) == 5 && FAULTS(*(volatile char *)m) && seen.si_code == 9 ? 0 : 1);
    }
    int status; waitpid(child, &status, 0); EQUAL(status, 0); EQUAL(TAG(ldg(m + 16)), 0);
    char *n = mremap(m, 2 * P, 2 * P, MREMAP_MAYMOVE | MREMAP_FIXED, m + 2 * P);
    CHECK(n == m + 2 * P); EQUAL(TAG(ldg(n)), 5); EQUAL(TAG(ldg(n + P)), 6); EQUAL(*(char *)WITH(n, 5), 1);
    EQUAL(madvise(n, P, MADV_DONTNEED), 0); EQUAL(TAG(ldg(n)), 0); EQUAL(TAG(ldg(n + P)), 6);
    EQUAL(munmap(WITH(n + P, 3), P), 0);  /* pointers may be tagged */
    char *again = mmap(n + P, P, PROT_READ | PROT_WRITE | PROT_MTE, ANON | MAP_FIXED, -1, 0);
    CHECK(again == n + P); EQUAL(TAG(ldg(again)), 0);
    int fd = open("/proc/self/exe", 0);
    CHECK(mmap(0, P, PROT_READ | PROT_MTE, MAP_PRIVATE, fd, 0) == MAP_FAILED); EQUAL(errno, EINVAL);
    close(fd);
    int shared = syscall(SYS_memfd_create, "tags", 0); ftruncate(shared, P);
    CHECK(mmap(0, P, PROT_READ | PROT_MTE, MAP_SHARED, shared, 0) != MAP_FAILED);
    close(shared);
    char *top = (char *)((syscall(SYS_brk, 0) + P - 1) & -P); syscall(SYS_brk, top + P);
    EQUAL(mprotect(top, P, PROT_READ | PROT_WRITE | PROT_MTE), 0);  /* the heap */
    munmap(n, 2 * P);
}

static void inside(int n, siginfo_t *i, void *c) { note(i, c); }
static void handlers(void) {
    on(inside, 0);
    tco(1); raise(SIGSEGV);
    uint64_t after; __asm__ volatile("mrs %0, tco" : "=r"(after)); tco(0);
    EQUAL(count, 1); EQUAL(tco_inside, 0); EQUAL(after, 1 << 25);  /* cleared for the handler, restored behind it */
}

static char *shared_page; static int other;
static void *thread(void *p) {
    other = prctl(56, 0, 0, 0, 0);  /* inherited */
    CONTROL(0);
    return (void *)(intptr_t)*(volatile char *)shared_page;
}
static void threads(void) {
    pthread_t t; void *result;
    shared_page = tagged(1); shared_page[0] = 3; stg(WITH(shared_page, 4));
    CONTROL(SYNC | TAGS(0xfffe)); on(escape, 0);
    pthread_create(&t, 0, thread, 0); pthread_join(t, &result);
    EQUAL(other, 1 | SYNC | TAGS(0xfffe)); EQUAL((intptr_t)result, 3);
    CHECK(FAULTS(*(volatile char *)shared_page));  /* the other thread's mode was its own */
}

/* An allocator: a tag for each block, other than its neighbours' and than that of whom had the block before. */
enum { BLOCK = 64, BLOCKS = 256 };
static char *pool, *last[BLOCKS]; static uint8_t busy[BLOCKS];
static void colour(char *p) { for (int i = 0; i < BLOCK; i += 16) stg(p + i); }
static void *allocate(void) {
    for (int n = 0; n < BLOCKS; n++) if (!busy[n]) {
        char *at = pool + n * BLOCK;
        uint64_t exclude = gmi(last[n], gmi(ldg(at), 1));
        if (n) exclude = gmi(ldg(at - BLOCK), exclude);
        if (n + 1 < BLOCKS) exclude = gmi(ldg(at + BLOCK), exclude);
        char *p = irg(at, exclude);
        colour(p); busy[n] = 1; last[n] = p;
        return p;
    }
    return 0;
}
static void release(void *p) {
    busy[subp(p, pool) / BLOCK] = 0;
    colour(irg(p, gmi(p, 1)));
}
static void allocator(void) {
    char *p[100];
    pool = tagged(BLOCKS * BLOCK / P);
    CONTROL(SYNC | TAGS(0xfffe)); on(escape, 0);
    for (int i = 0; i < 100; i++) { p[i] = allocate(); memset(p[i], i, BLOCK); }
    for (int i = 0; i < 100; i++) { CHECK(p[i][BLOCK - 1] == i); CHECK(TAG(p[i]) != 0); }
    for (int i = 0; i < 99; i++) CHECK(FAULTS(p[i][BLOCK] = 1));          /* overflow */
    for (int i = 1; i < 99; i++) CHECK(FAULTS(*(volatile char *)(p[i] - 1))); /* underflow */
    for (int i = 0; i < 100; i += 2) { release(p[i]); CHECK(FAULTS(*(volatile char *)p[i])); } /* use after free */
    for (int i = 0; i < 100; i += 2) { char *q = allocate(); memset(q, 1, BLOCK); CHECK(FAULTS(*(volatile char *)p[i])); }
}

int main(int n, char **v) {
    if (n > 1) { char *m = tagged(1); CONTROL(v[1][0] == 's' ? SYNC : ASYNC); stg(WITH(m, 1)); *m = 1; getppid(); return 0; }
    controls(); instructions(); synchronous(); asynchronous(); mappings(); handlers(); threads(); allocator();
    printf("%d failures\n", failures);
    return failures != 0;
}
