/* Files and directories, in the folder that the first argument names. */
#define _GNU_SOURCE
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <utime.h>

static void reading(void) {
    int f = open("a", O_CREAT | O_RDWR | O_EXCL | O_CLOEXEC, 0640);
    CHECK(f >= 0);
    EQUAL(write(f, "hello world", 11), 11);
    char b[32] = {0}, c[32] = {0};
    EQUAL(pread(f, b, 5, 6), 5); CHECK(!strcmp(b, "world"));
    EQUAL(pwrite(f, "W", 1, 6), 1);
    struct iovec v[2] = {{b, 3}, {c, 20}};
    EQUAL(lseek(f, 2, SEEK_SET), 2);
    EQUAL(readv(f, v, 2), 9); CHECK(!memcmp(b, "llo", 3)); CHECK(!memcmp(c, " World", 6));
    EQUAL(preadv(f, v, 1, 8), 3); CHECK(!memcmp(b, "rld", 3));
    EQUAL(pwritev(f, (struct iovec[]){{"xy", 2}, {"z", 1}}, 2, 1LL << 33), 3);
    struct stat s; EQUAL(fstat(f, &s), 0);
    EQUAL(s.st_size, (1LL << 33) + 3); EQUAL(s.st_mode & 07777, 0640); EQUAL(s.st_nlink, 1); CHECK(s.st_blocks < 100);
    EQUAL(lseek(f, 0, SEEK_END), (1LL << 33) + 3);
    EQUAL(lseek(f, -1, SEEK_SET), -1); EQUAL(errno, EINVAL);
    EQUAL(ftruncate(f, 1LL << 32), 0); EQUAL(fstat(f, &s), 0); EQUAL(s.st_size, 1LL << 32);
    EQUAL(truncate("a", 20), 0); EQUAL(stat("a", &s), 0); EQUAL(s.st_size, 20);
    EQUAL(posix_fallocate(f, 1 << 20, 4096), 0); EQUAL(fstat(f, &s), 0); EQUAL(s.st_size, (1 << 20) + 4096);
    EQUAL(posix_fadvise(f, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
    EQUAL(fsync(f), 0); EQUAL(fdatasync(f), 0); EQUAL(sync_file_range(f, 0, 4096, SYNC_FILE_RANGE_WRITE), 0);
    EQUAL(fcntl(f, F_GETFD), FD_CLOEXEC);
    EQUAL(fcntl(f, F_GETFL) & (O_ACCMODE | O_APPEND), O_RDWR);
    EQUAL(fcntl(f, F_SETFL, O_APPEND), 0); EQUAL(fcntl(f, F_GETFL) & O_APPEND, O_APPEND);
    lseek(f, 0, SEEK_SET); EQUAL(read(f, (void *)8, 5), -1); EQUAL(errno, EFAULT);
    EQUAL(close(f), 0); EQUAL(close(f), -1); EQUAL(errno, EBADF);
    EQUAL(open("a", O_CREAT | O_EXCL, 0), -1); EQUAL(errno, EEXIST);
    EQUAL(open("a", O_DIRECTORY), -1); EQUAL(errno, ENOTDIR);
    symlink("a", "la"); EQUAL(open("la", O_NOFOLLOW), -1); EQUAL(errno, ELOOP);
    f = open(".", O_TMPFILE | O_RDWR, 0600); CHECK(f >= 0); close(f);
    f = open(".", O_PATH | O_DIRECTORY); CHECK(f >= 0);
    int g = openat(f, "a", O_RDONLY); CHECK(g >= 0); close(g); close(f);
}

static void names(void) {
    EQUAL(mkdir("d", 0755), 0); EQUAL(mkdir("d", 0755), -1); EQUAL(errno, EEXIST);
    for (int i = 0; i < 200; i++) { char n[32]; sprintf(n, "d/file-%03d", i); close(open(n, O_CREAT | O_WRONLY, 0600)); }
    DIR *d = opendir("d"); int seen = 0, kinds = 0; struct dirent *e;
    while ((e = readdir(d))) { seen++; kinds += e->d_type == DT_REG; }
    EQUAL(seen, 202); EQUAL(kinds, 200);
    char n[300]; rewinddir(d); CHECK(readdir(d)); long where = telldir(d); e = readdir(d); strcpy(n, e->d_name);
    if (sizeof(long) == 8) { seekdir(d, where); EQUAL(strcmp(readdir(d)->d_name, n), 0); } /* ext4 tells a 63-bit hash */
    closedir(d);
    EQUAL(link("d/file-000", "hard"), 0);
    struct stat a, b; stat("hard", &a); stat("d/file-000", &b); EQUAL(a.st_ino, b.st_ino); EQUAL(a.st_nlink, 2);
    EQUAL(symlink("to/nowhere", "soft"), 0);
    char t[64]; EQUAL(readlink("soft", t, 5), 5); EQUAL(memcmp(t, "to/no", 5), 0); EQUAL(readlink("hard", t, 5), -1); EQUAL(errno, EINVAL);
    EQUAL(lstat("soft", &a), 0); CHECK(S_ISLNK(a.st_mode)); EQUAL(stat("soft", &a), -1); EQUAL(errno, ENOENT);
    EQUAL(rename("hard", "d/harder"), 0); EQUAL(syscall(SYS_renameat2, AT_FDCWD, "soft", AT_FDCWD, "d/harder", 1), -1); EQUAL(errno, EEXIST);
    EQUAL(syscall(SYS_renameat2, AT_FDCWD, "soft", AT_FDCWD, "d/harder", 2), 0); EQUAL(lstat("d/harder", &a), 0); CHECK(S_ISLNK(a.st_mode));
    EQUAL(unlink("soft"), 0); EQUAL(unlink("d"), -1); CHECK(errno == EISDIR || errno == EPERM);
    EQUAL(rmdir("d"), -1); EQUAL(errno, ENOTEMPTY);
    char cwd[PATH_MAX], sub[PATH_MAX + 2]; CHECK(getcwd(cwd, sizeof cwd)); EQUAL(chdir("d"), 0);
    sprintf(sub, "%s/d", cwd); CHECK(!strcmp(getcwd(t, 1) ? t : "", "")); EQUAL(errno, ERANGE);
    char now[PATH_MAX]; getcwd(now, sizeof now); EQUAL(strcmp(now, sub), 0); EQUAL(chdir(".."), 0);
    int f = open(cwd, O_RDONLY); EQUAL(fchdir(f), 0); close(f);
    EQUAL(mkfifo("pipe", 0600), 0); stat("pipe", &a); CHECK(S_ISFIFO(a.st_mode));
}

static void attributes(void) {
    close(open("m", O_CREAT | O_WRONLY, 0600));
    struct stat s;
    EQUAL(chmod("m", 0751), 0); stat("m", &s); EQUAL(s.st_mode & 0777, 0751);
    EQUAL(fchmodat(AT_FDCWD, "m", 0644, 0), 0); EQUAL(chown("m", -1, -1), 0);
    EQUAL(access("m", R_OK | W_OK), 0); EQUAL(access("none", F_OK), -1); EQUAL(errno, ENOENT); EQUAL(faccessat(AT_FDCWD, "m", R_OK, AT_EACCESS), 0);
    struct timespec t[2] = {{1000000000, 123456789}, {5000000000LL, 987654321}};
    EQUAL(utimensat(AT_FDCWD, "m", t, 0), 0); stat("m", &s);
    EQUAL(s.st_atim.tv_sec, 1000000000); EQUAL(s.st_atim.tv_nsec, 123456789); EQUAL(s.st_mtim.tv_sec, 5000000000LL); EQUAL(s.st_mtim.tv_nsec, 987654321);
    struct timeval v[2] = {{7, 8}, {9, 10}}; EQUAL(utimes("m", v), 0); stat("m", &s); EQUAL(s.st_mtim.tv_nsec, 10000);
    t[0].tv_nsec = UTIME_OMIT; t[1].tv_nsec = UTIME_NOW; EQUAL(utimensat(AT_FDCWD, "m", t, 0), 0); stat("m", &s); EQUAL(s.st_atim.tv_sec, 7); CHECK(s.st_mtim.tv_sec > 1600000000);
    t[0].tv_nsec = -5; EQUAL(utimensat(AT_FDCWD, "m", t, 0), -1); EQUAL(errno, EINVAL);
    struct statx x; EQUAL(statx(AT_FDCWD, "m", 0, STATX_ALL, &x), 0); EQUAL(x.stx_ino, s.st_ino); EQUAL(x.stx_mode, s.st_mode); EQUAL(x.stx_atime.tv_sec, 7);
    EQUAL(makedev(x.stx_dev_major, x.stx_dev_minor), s.st_dev);
    if (!setxattr("m", "user.k", "value", 5, 0)) {
        char b[64]; EQUAL(getxattr("m", "user.k", b, 64), 5); EQUAL(memcmp(b, "value", 5), 0); EQUAL(getxattr("m", "user.k", b, 2), -1); EQUAL(errno, ERANGE);
        CHECK(listxattr("m", b, 64) >= 7); EQUAL(setxattr("m", "user.k", "v", 1, XATTR_CREATE), -1); EQUAL(errno, EEXIST); EQUAL(removexattr("m", "user.k"), 0);
    }
    struct statfs q; EQUAL(statfs(".", &q), 0); CHECK(q.f_bsize >= 512 && q.f_blocks > 0 && q.f_namelen == 255);
    struct statvfs w; EQUAL(statvfs("/proc", &w), 0);
    stat("/dev/null", &s); CHECK(S_ISCHR(s.st_mode)); EQUAL(major(s.st_rdev), 1); EQUAL(minor(s.st_rdev), 3);
}

static void copying(void) {
    int a = open("src", O_CREAT | O_RDWR, 0600), b = open("dst", O_CREAT | O_RDWR, 0600), p[2]; char t[64] = {0};
    write(a, "0123456789abcdef", 16); EQUAL(pipe2(p, O_NONBLOCK), 0);
    off_t o = 2; EQUAL(sendfile(b, a, &o, 4), 4); EQUAL(o, 6);
    off_t i = 8, z = 4; EQUAL(copy_file_range(a, &i, b, &z, 4, 0), 4); EQUAL(i, 12); EQUAL(z, 8);
    EQUAL(pread(b, t, 64, 0), 8); EQUAL(memcmp(t, "234589ab", 8), 0);
    i = 10; EQUAL(splice(a, &i, p[1], 0, 3, 0), 3); EQUAL(i, 13); int r[2]; pipe(r); EQUAL(tee(p[0], r[1], 2, 0), 2);
    EQUAL(read(p[0], t, 9), 3); EQUAL(memcmp(t, "abc", 3), 0); EQUAL(read(r[0], t, 9), 2);
    EQUAL(vmsplice(p[1], &(struct iovec){"hello", 5}, 1, 0), 5); EQUAL(read(p[0], t, 9), 5);
    EQUAL(read(p[0], t, 9), -1); EQUAL(errno, EAGAIN);
    int n; write(p[1], "xyz", 3); EQUAL(ioctl(p[0], FIONREAD, &n), 0); EQUAL(n, 3);
    close(a); close(b); close(p[0]); close(p[1]);
}

static void locks(void) {
    int f = open("lock", O_CREAT | O_RDWR, 0600), go[2], up[2]; pipe(go); pipe(up);
    pid_t child = fork();
    if (!child) { struct flock l = {.l_type = F_WRLCK, .l_start = 10, .l_len = 5}; fcntl(f, F_SETLK, &l); write(up[1], "x", 1); char c; read(go[0], &c, 1); _exit(0); }
    char c; read(up[0], &c, 1);
    struct flock l = {.l_type = F_WRLCK}; EQUAL(fcntl(f, F_GETLK, &l), 0); EQUAL(l.l_pid, child); EQUAL(l.l_start, 10); EQUAL(l.l_len, 5);
    l = (struct flock){.l_type = F_RDLCK, .l_start = 12, .l_len = 1}; EQUAL(fcntl(f, F_SETLK, &l), -1); CHECK(errno == EAGAIN || errno == EACCES);
    write(go[1], "x", 1); waitpid(child, 0, 0); l.l_pid = 0; EQUAL(fcntl(f, F_SETLKW, &l), 0);
    l = (struct flock){.l_type = F_WRLCK, .l_start = 50, .l_len = 1}; EQUAL(fcntl(f, F_OFD_SETLK, &l), 0);
    EQUAL(flock(f, LOCK_EX | LOCK_NB), 0); int g = open("lock", O_RDWR); EQUAL(flock(g, LOCK_EX | LOCK_NB), -1); EQUAL(errno, EWOULDBLOCK);
    int d = fcntl(f, F_DUPFD_CLOEXEC, 100); CHECK(d >= 100); EQUAL(dup2(d, 90), 90); EQUAL(dup3(90, 90, 0), -1); EQUAL(errno, EINVAL);
    EQUAL(syscall(436, 90, 91, 0), 0); EQUAL(fcntl(90, F_GETFD), -1); EQUAL(errno, EBADF);
}

static void own_proc(char **argv) {
    char line[4096], exe[PATH_MAX] = {0}, real[PATH_MAX]; int found = 0, stack = 0;
    unsigned long start, end, here = (unsigned long)own_proc;
    FILE *f = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, f)) { sscanf(line, "%lx-%lx", &start, &end); found += here >= start && here < end && strstr(line, "r-x"); stack += !!strstr(line, "[stack]"); }
    fclose(f); EQUAL(found, 1); EQUAL(stack, 1);
    CHECK(readlink("/proc/self/exe", exe, sizeof exe - 1) > 0); CHECK(realpath(argv[0], real)); EQUAL(strcmp(exe, real), 0);
    struct stat a, b; EQUAL(stat("/proc/self/exe", &a), 0); stat(argv[0], &b); EQUAL(a.st_ino, b.st_ino);
    f = fopen("/proc/self/cmdline", "r"); size_t n = fread(line, 1, sizeof line, f); fclose(f);
    EQUAL(strcmp(line, argv[0]), 0); EQUAL(strcmp(line + strlen(argv[0]) + 1, argv[1]), 0); size_t all = 0; for (char **a = argv; *a; a++) all += strlen(*a) + 1; EQUAL(n, all);
    f = fopen("/proc/self/stat", "r"); int pid; char name[64]; EQUAL(fscanf(f, "%d (%63[^)]", &pid, name), 2); fclose(f); EQUAL(pid, getpid());
    EQUAL(strncmp(name, strrchr(argv[0], '/') + 1, 15), 0);
    sprintf(line, "/proc/%d/auxv", getpid()); f = fopen(line, "r"); unsigned long pair[2]; int page = 0;
    while (fread(pair, sizeof pair, 1, f) == 1 && pair[0]) page |= pair[0] == 6 && pair[1] == 4096;
    fclose(f); CHECK(page);
}

int main(int argc, char **argv) {
    CHECK(!chdir(argv[1])); umask(0);
    reading(); names(); attributes(); copying(); locks(); own_proc(argv);
    printf("%d failures\n", failures);
    return !!failures;
}
