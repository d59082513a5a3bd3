/* Pointer authentication and guarded pages, as a program sees them: prctl, HWCAP, PROT_BTI, and what the checks do. */
#include "check.h"
#include "machine.h"
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <ucontext.h>

#define P 4096
#define PROT_BTI 0x10
#define BTI_C 0xd503245f
#define BTI_J 0xd503249f
#define BTI_JC 0xd50324df
#define PACIASP 0xd503233f
#define AUTIASP 0xd50323bf

static sigjmp_buf back;
static siginfo_t seen;
static uint64_t at;
static void escape(int n, siginfo_t *i, void *c) { seen = *i; at = PC((ucontext_t *)c); siglongjmp(back, 1); }
static void on(int n) { struct sigaction a = {0}; a.sa_sigaction = escape; a.sa_flags = SA_SIGINFO; sigaction(n, &a, 0); }

static uint64_t pacia(uint64_t p, uint64_t m) { __asm__ volatile(".arch_extension pauth\n pacia %0, %1" : "+r"(p) : "r"(m)); return p; }
static uint64_t autia(uint64_t p, uint64_t m) { __asm__ volatile(".arch_extension pauth\n autia %0, %1" : "+r"(p) : "r"(m)); return p; }
static uint64_t pacdb(uint64_t p, uint64_t m) { __asm__ volatile(".arch_extension pauth\n pacdb %0, %1" : "+r"(p) : "r"(m)); return p; }
static uint64_t pacga(uint64_t p, uint64_t m) { uint64_t r; __asm__ volatile(".arch_extension pauth\n pacga %0, %1, %2" : "=r"(r) : "r"(p), "r"(m)); return r; }

static void authentication(void) {
    uint64_t p = (uint64_t)&authentication, a = pacia(p, 1), d = pacdb(p, 1), g = pacga(p, 1);
    CHECK((getauxval(AT_HWCAP) >> 30 & 3) == 3);
    int differ = 0;
    for (int i = 0; i < 100; i++) differ += pacia(p, i) != p;
    CHECK(differ > 90);  /* some signatures may be zero */
    EQUAL(autia(a, 1), p); CHECK(autia(a, 2) != p);
    EQUAL(prctl(54, 1, 0, 0, 0), 0);  /* PR_PAC_RESET_KEYS: APIA */
    int same = 0;
    for (int i = 0; i < 8; i++) same += autia(a, 1) == p, prctl(54, 1, 0, 0, 0);
    CHECK(same < 8); EQUAL(pacdb(p, 1), d); EQUAL(pacga(p, 1), g);
    EQUAL(prctl(54, 0, 0, 0, 0), 0); CHECK(pacga(p, 1) != g);
    EQUAL(prctl(54, 32, 0, 0, 0), -1); EQUAL(errno, EINVAL);
    EQUAL(prctl(54, 1, 1, 0, 0), -1); EQUAL(errno, EINVAL);
    EQUAL(prctl(61, 0, 0, 0, 0), 15);
    EQUAL(prctl(60, 1, 0, 0, 0), 0); EQUAL(prctl(61, 0, 0, 0, 0), 14); EQUAL(pacia(p, 1), p);  /* APIA off: as if it were not there */
    EQUAL(prctl(60, 1, 1, 0, 0), 0); EQUAL(prctl(61, 0, 0, 0, 0), 15);
    EQUAL(prctl(60, 2, 1, 0, 0), -1); EQUAL(errno, EINVAL);
    EQUAL(prctl(60, 16, 0, 0, 0), -1); EQUAL(errno, EINVAL);
    on(SIGSEGV);
    if (!sigsetjmp(back, 1)) { ((void (*)(void))(autia(pacia(p, 1) ^ 1ul << 50, 1)))(); CHECK(0); }
    EQUAL(seen.si_signo, SIGSEGV);
}

static uint32_t *page;
/* Jump to the second instruction of a guarded page in three ways, from ordinary and from guarded memory. */
static int call(void *f) { int r; __asm__ volatile("blr %1\n mov %w0, w0" : "=r"(r) : "r"(f) : "x30", "x0", "memory"); return r; }
static int jump(void *f) { int r; __asm__ volatile("adr x30, 1f\n mov x9, %1\n br x9\n1: mov %w0, w0" : "=r"(r) : "r"(f) : "x9", "x30", "x0", "memory"); return r; }
static int long_call(void *f) { int r; __asm__ volatile("adr x30, 1f\n mov x16, %1\n br x16\n1: mov %w0, w0" : "=r"(r) : "r"(f) : "x16", "x30", "x0", "memory"); return r; }

static int lands(int (*how)(void *), uint32_t first) {
    mprotect(page, P, PROT_READ | PROT_WRITE);
    page[0] = first; page[1] = first == PACIASP ? AUTIASP : 0xd503201f; page[2] = RESULT(7); page[3] = RETURN;
    mprotect(page, P, PROT_READ | PROT_EXEC | PROT_BTI);
    if (sigsetjmp(back, 1)) return 0;
    return how(page) == 7;
}

static void guarded(void) {
    CHECK(getauxval(AT_HWCAP2) >> 17 & 1);
    on(SIGILL);
    page = mmap(0, P, PROT_READ | PROT_EXEC | PROT_BTI, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    CHECK(lands(call, BTI_C)); CHECK(lands(call, BTI_JC)); CHECK(lands(call, PACIASP)); CHECK(!lands(call, BTI_J)); CHECK(!lands(call, 0xd503201f));
    EQUAL(seen.si_signo, SIGILL); EQUAL(seen.si_code, ILL_ILLOPC); CHECK(seen.si_addr == page); EQUAL(at, (uintptr_t)page);
    CHECK(lands(long_call, BTI_C)); CHECK(lands(long_call, BTI_J)); CHECK(!lands(long_call, 0xd503201f));
    CHECK(lands(jump, BTI_C)); CHECK(lands(jump, BTI_J)); CHECK(!lands(jump, 0xd503201f));  /* BR from memory that is not guarded: any */
    mprotect(page, P, PROT_READ | PROT_WRITE);
    page[0] = 0xd503201f; page[1] = RESULT(7); page[2] = RETURN;
    mprotect(page, P, PROT_READ | PROT_EXEC);  /* no longer guarded */
    EQUAL(call(page), 7);
    /* From the guarded page itself: br x9 to page[8] */
    mprotect(page, P, PROT_READ | PROT_WRITE);
    page[0] = BTI_C; page[1] = 0x100000e9; page[2] = 0xd61f0120;  /* adr x9, +28; br x9 */
    for (int kind = 0; kind < 3; kind++) {
        mprotect(page, P, PROT_READ | PROT_WRITE);
        page[8] = (uint32_t[]){BTI_J, BTI_JC, BTI_C}[kind]; page[9] = RESULT(8); page[10] = RETURN;
        mprotect(page, P, PROT_READ | PROT_EXEC | PROT_BTI);
        if (!sigsetjmp(back, 1)) { EQUAL(call(page), 8); CHECK(kind < 2); }
        else CHECK(kind == 2);
    }
}

int main(void) {
    authentication();
    if (!sigsetjmp(back, 1)) { on(SIGSEGV); guarded(); }
    printf("%d failures\n", failures);
    return failures != 0;
}
