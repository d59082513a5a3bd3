/* Sockets: TCP, UDP, Unix, messages with descriptors, options. */
#include "check.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

static int opt(int f, int level, int name) { int v = -1; socklen_t n = sizeof v; EQUAL(getsockopt(f, level, name, &v, &n), 0); return v; }
static void *serve(void *a) { int c = accept(*(int *)a, 0, 0); char b[100]; int n = read(c, b, 100); write(c, b, n); shutdown(c, SHUT_WR); close(c); return 0; }

static void tcp(int family) {
    struct sockaddr_storage a = {0}, b; socklen_t n = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6), m = sizeof b;
    struct sockaddr_in *i = (void *)&a; struct sockaddr_in6 *s = (void *)&a;
    if (family == AF_INET) { i->sin_family = family; i->sin_addr.s_addr = htonl(INADDR_LOOPBACK); } else { s->sin6_family = family; s->sin6_addr = in6addr_loopback; }
    int l = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0); if (l < 0 && family == AF_INET6) return;
    EQUAL(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &(int){1}, 4), 0); EQUAL(opt(l, SOL_SOCKET, SO_REUSEADDR), 1); EQUAL(opt(l, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    if (bind(l, (void *)&a, n) && family == AF_INET6) { close(l); return; }
    EQUAL(listen(l, 3), 0); EQUAL(opt(l, SOL_SOCKET, SO_ACCEPTCONN), 1); EQUAL(getsockname(l, (void *)&a, &n), 0); CHECK(i->sin_port);
    pthread_t t; pthread_create(&t, 0, serve, &l);
    int c = socket(family, SOCK_STREAM, 0); EQUAL(connect(c, (void *)&a, n), 0); EQUAL(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &(int){1}, 4), 0);
    EQUAL(getpeername(c, (void *)&b, &m), 0); EQUAL(memcmp(&a, &b, n), 0); EQUAL(send(c, "ping", 4, MSG_NOSIGNAL), 4);
    char x[100]; EQUAL(recv(c, x, 100, MSG_WAITALL), 4); EQUAL(memcmp(x, "ping", 4), 0); EQUAL(read(c, x, 1), 0); pthread_join(t, 0);
    struct tcp_info info; m = sizeof info; EQUAL(getsockopt(c, IPPROTO_TCP, TCP_INFO, &info, &m), 0); CHECK(m > 100);
    close(c); c = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0); EQUAL(fcntl(c, F_GETFL) & O_NONBLOCK, O_NONBLOCK); close(l);
    int r = connect(c, (void *)&a, n); CHECK(r < 0 && (errno == EINPROGRESS || errno == ECONNREFUSED));
    if (errno == EINPROGRESS) { struct pollfd p = {c, POLLOUT}; EQUAL(poll(&p, 1, 5000), 1); EQUAL(opt(c, SOL_SOCKET, SO_ERROR), ECONNREFUSED); }
    close(c);
}

static void udp(void) {
    struct sockaddr_in a = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}}, b; socklen_t n = sizeof a;
    int s = socket(AF_INET, SOCK_DGRAM, 0), r = socket(AF_INET, SOCK_DGRAM, 0); EQUAL(bind(r, (void *)&a, n), 0); getsockname(r, (void *)&a, &n);
    EQUAL(sendto(s, "one", 3, 0, (void *)&a, n), 3); char x[64]; n = sizeof b; EQUAL(recvfrom(r, x, 64, 0, (void *)&b, &n), 3); EQUAL(n, sizeof b); EQUAL(b.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    EQUAL(setsockopt(r, IPPROTO_IP, IP_PKTINFO, &(int){1}, 4), 0); EQUAL(setsockopt(r, IPPROTO_IP, IP_RECVTTL, &(int){1}, 4), 0); EQUAL(setsockopt(r, SOL_SOCKET, SO_TIMESTAMP, &(int){1}, 4), 0);
    EQUAL(connect(s, (void *)&a, sizeof a), 0); EQUAL(write(s, "two", 3), 3);
    char c[512]; struct iovec v = {x, 64}; struct msghdr h = {.msg_name = &b, .msg_namelen = sizeof b, .msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof c};
    EQUAL(recvmsg(r, &h, 0), 3); EQUAL(h.msg_namelen, sizeof b); EQUAL(h.msg_flags, 0); int seen = 0;
    for (struct cmsghdr *m = CMSG_FIRSTHDR(&h); m; m = CMSG_NXTHDR(&h, m)) {
        if (m->cmsg_level == IPPROTO_IP && m->cmsg_type == IP_TTL) { seen |= 1; EQUAL(*(int *)CMSG_DATA(m), 64); EQUAL(m->cmsg_len, CMSG_LEN(4)); }
        if (m->cmsg_level == IPPROTO_IP && m->cmsg_type == IP_PKTINFO) { seen |= 2; struct in_pktinfo *p = (void *)CMSG_DATA(m); EQUAL(p->ipi_ifindex, if_nametoindex("lo")); EQUAL(p->ipi_addr.s_addr, htonl(INADDR_LOOPBACK)); }
        if (m->cmsg_level == SOL_SOCKET && m->cmsg_type == SCM_TIMESTAMP) { seen |= 4; struct timeval t; memcpy(&t, CMSG_DATA(m), sizeof t); CHECK(llabs(t.tv_sec - time(0)) < 5); }
    }
    EQUAL(seen, 7);
    struct mmsghdr q[3]; struct iovec w[3]; char y[3][8]; memset(q, 0, sizeof q);
    for (int i = 0; i < 3; i++) { w[i] = (struct iovec){y[i], 8}; q[i].msg_hdr.msg_iov = &w[i]; q[i].msg_hdr.msg_iovlen = 1; memcpy(y[i], "bulk....", 8); }
    EQUAL(sendmmsg(s, q, 3, 0), 3); EQUAL(q[2].msg_len, 8); w[0].iov_len = 4; EQUAL(recvmmsg(r, q, 3, MSG_DONTWAIT, 0), 3); EQUAL(q[0].msg_len, 4); CHECK(q[0].msg_hdr.msg_flags & MSG_TRUNC);
    EQUAL(setsockopt(r, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0, 30000}, sizeof(struct timeval)), 0); EQUAL(recv(r, x, 64, 0), -1); EQUAL(errno, EAGAIN);
    struct timeval t; n = sizeof t; EQUAL(getsockopt(r, SOL_SOCKET, SO_RCVTIMEO, &t, &n), 0); EQUAL(n, sizeof t); CHECK(t.tv_usec >= 30000 && t.tv_usec < 50000);
    close(s); close(r);
}

static void local(void) {
    int p[2]; EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0); int q[2]; pipe(q);
    char c[CMSG_SPACE(3 * sizeof(int))] = {0}, x = 'x'; struct iovec v = {&x, 1}; struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(2 * sizeof(int))};
    struct cmsghdr *m = CMSG_FIRSTHDR(&h); m->cmsg_level = SOL_SOCKET; m->cmsg_type = SCM_RIGHTS; m->cmsg_len = CMSG_LEN(2 * sizeof(int)); memcpy(CMSG_DATA(m), q, sizeof q);
    EQUAL(sendmsg(p[0], &h, 0), 1); memset(c, 0, sizeof c); h.msg_controllen = sizeof c; EQUAL(recvmsg(p[1], &h, MSG_CMSG_CLOEXEC), 1);
    m = CMSG_FIRSTHDR(&h); CHECK(m); EQUAL(m->cmsg_len, CMSG_LEN(2 * sizeof(int))); int f[2]; memcpy(f, CMSG_DATA(m), sizeof f); EQUAL(fcntl(f[0], F_GETFD), FD_CLOEXEC);
    write(f[1], "through", 7); char y[32]; EQUAL(read(q[0], y, 32), 7);
    /* no room for the message: it is cut, and said so */
    h.msg_control = c; h.msg_controllen = CMSG_SPACE(2 * sizeof(int)); m = CMSG_FIRSTHDR(&h); m->cmsg_level = SOL_SOCKET; m->cmsg_type = SCM_RIGHTS; m->cmsg_len = CMSG_LEN(2 * sizeof(int)); memcpy(CMSG_DATA(m), q, sizeof q);
    EQUAL(sendmsg(p[0], &h, 0), 1); h.msg_controllen = CMSG_LEN(sizeof(int)); EQUAL(recvmsg(p[1], &h, 0), 1); CHECK(h.msg_flags & MSG_CTRUNC);
    EQUAL(setsockopt(p[1], SOL_SOCKET, SO_PASSCRED, &(int){1}, 4), 0); write(p[0], "c", 1); h.msg_control = c; h.msg_controllen = sizeof c;
    EQUAL(recvmsg(p[1], &h, 0), 1); m = CMSG_FIRSTHDR(&h); EQUAL(m->cmsg_type, SCM_CREDENTIALS); struct ucred { int pid, uid, gid; } u; memcpy(&u, CMSG_DATA(m), sizeof u); EQUAL(u.pid, getpid()); EQUAL(u.uid, getuid());
    socklen_t n = sizeof u; EQUAL(getsockopt(p[0], SOL_SOCKET, SO_PEERCRED, &u, &n), 0); EQUAL(u.pid, getpid());
    struct linger g = {1, 7}; EQUAL(setsockopt(p[0], SOL_SOCKET, SO_LINGER, &g, sizeof g), 0); g.l_linger = 0; n = sizeof g; getsockopt(p[0], SOL_SOCKET, SO_LINGER, &g, &n); EQUAL(g.l_linger, 7);
    close(p[0]); EQUAL(read(p[1], y, 1), 0); signal(SIGPIPE, SIG_IGN); EQUAL(write(p[1], y, 1), -1); EQUAL(errno, EPIPE); close(p[1]);
    struct sockaddr_un a = {AF_UNIX, "name"}, b; int l = socket(AF_UNIX, SOCK_SEQPACKET, 0), d; n = sizeof a; EQUAL(bind(l, (void *)&a, n), 0); EQUAL(listen(l, 1), 0);
    if (!fork()) { int s = socket(AF_UNIX, SOCK_SEQPACKET, 0); connect(s, (void *)&a, sizeof a); send(s, "packet", 6, MSG_EOR); _exit(0); }
    n = sizeof b; d = accept4(l, (void *)&b, &n, SOCK_NONBLOCK | SOCK_CLOEXEC); CHECK(d >= 0); EQUAL(n, 2); EQUAL(b.sun_family, AF_UNIX); wait(0); EQUAL(recv(d, y, 32, MSG_TRUNC), 6); close(d); close(l);
    l = socket(AF_UNIX, SOCK_DGRAM, 0); memcpy(a.sun_path, "\0hidden", 7); EQUAL(bind(l, (void *)&a, 2 + 7), 0); n = sizeof b; EQUAL(getsockname(l, (void *)&b, &n), 0); EQUAL(n, 9); EQUAL(b.sun_path[1], 'h'); close(l);
    EQUAL(socket(AF_INET, 77, 0), -1); EQUAL(errno, EINVAL); EQUAL(socket(99, SOCK_STREAM, 0), -1); EQUAL(errno, EAFNOSUPPORT);
    EQUAL(listen(q[0], 1), -1); EQUAL(errno, ENOTSOCK); EQUAL(connect(q[0], (void *)8, 5), -1); CHECK(errno == EFAULT || errno == ENOTSOCK);
}

static void interfaces(void) {
    int s = socket(AF_INET, SOCK_DGRAM, 0); struct ifreq r; strcpy(r.ifr_name, "lo"); EQUAL(ioctl(s, SIOCGIFFLAGS, &r), 0); CHECK(r.ifr_flags & IFF_LOOPBACK);
    EQUAL(ioctl(s, SIOCGIFADDR, &r), 0); EQUAL(((struct sockaddr_in *)&r.ifr_addr)->sin_addr.s_addr, htonl(INADDR_LOOPBACK)); EQUAL(ioctl(s, SIOCGIFMTU, &r), 0); CHECK(r.ifr_mtu >= 1500);
    struct ifreq many[10]; struct ifconf c = {sizeof many, {(void *)many}}; EQUAL(ioctl(s, SIOCGIFCONF, &c), 0); int found = 0; for (int i = 0; i < c.ifc_len / (int)sizeof *many; i++) found += !strcmp(many[i].ifr_name, "lo"); EQUAL(found, 1);
    struct if_nameindex *l = if_nameindex(); CHECK(l); found = 0; for (int i = 0; l && l[i].if_name; i++) found += !strcmp(l[i].if_name, "lo"); EQUAL(found, 1); /* through netlink */
    close(s);
}

int main(int argc, char **argv) {
    CHECK(!chdir(argv[1])); alarm(60);
    tcp(AF_INET); tcp(AF_INET6); udp(); local(); interfaces();
    printf("%d failures\n", failures);
    return failures != 0;
}
