/* The adversary's hands: one system call an argument, said as it ends.
 *
 * `attack WHAT [ARGUMENTS]` prints `WHAT: got it` and exits with 0 when the kernel let it, or
 * `WHAT: <errno's words>` and exits with 1. What is not known exits with 2, so that a misspelt
 * attack cannot pass for a repelled one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *what;

static int verdict(long result) {
    if (result >= 0) {
        printf("%s: got it\n", what);
        return 0;
    }
    printf("%s: %s\n", what, strerror(errno));
    return 1;
}

static long open_it(const char *path, int flags) { return open(path, flags | O_CLOEXEC, 0600); }

static long connect_to(const char *address, int port) {
    struct sockaddr_storage storage = {0};
    socklen_t length;
    int family = strchr(address, ':') ? AF_INET6 : AF_INET;
    if (family == AF_INET6) {
        struct sockaddr_in6 *to = (void *)&storage;
        to->sin6_family = AF_INET6;
        to->sin6_port = htons(port);
        inet_pton(AF_INET6, address, &to->sin6_addr);
        length = sizeof *to;
    } else {
        struct sockaddr_in *to = (void *)&storage;
        to->sin_family = AF_INET;
        to->sin_port = htons(port);
        inet_pton(AF_INET, address, &to->sin_addr);
        length = sizeof *to;
    }
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    if (connect(fd, (void *)&storage, length) == 0) return 0;
    if (errno != EINPROGRESS) return -1;
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (poll(&ready, 1, 1500) == 0) {
        errno = ETIMEDOUT;
        return -1;
    }
    socklen_t size = sizeof errno;
    int error = 0;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    errno = error;
    return error ? -1 : 0;
}

static long unix_connect(const char *name, int is_abstract) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    memcpy(to.sun_path + is_abstract, name, length);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return connect(fd, (void *)&to, offsetof(struct sockaddr_un, sun_path) + is_abstract + length);
}

static long listen_at(const char *address, int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    inet_pton(AF_INET, address, &at.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
    return bind(fd, (void *)&at, sizeof at) < 0 ? -1 : listen(fd, 1);
}

static long bind_socket(const char *path) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strncpy(at.sun_path, path, sizeof at.sun_path - 1);
    return bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, sizeof at);
}

static long clone_with(unsigned long flags) {
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid(pid, 0, 0);
    return pid;
}

/* clone3, which a filter cannot look into. */
static long clone3_with(uint64_t flags) {
    struct { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls; } how = {flags, 0, 0, 0, SIGCHLD};
    long pid = syscall(SYS_clone3, &how, sizeof how);
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid(pid, 0, 0);
    return pid;
}

#ifdef __x86_64__
/* getpid of a 32-bit program. */
static long old_getpid(void) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
    return result;
}
#else
static long old_getpid(void) { raise(SIGSYS); return 0; }
#endif

/* A thread that goes on when the first one has ended. */
static char stack[1 << 16];
static int count(void *path) {
    for (;;) {
        int fd = open((char *)path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (fd < 0 || write(fd, "x", 1) < 0) continue;
        close(fd);
        usleep(1000);
    }
}

/* Adds 4 KiB to a file of its own below a folder. */
static void add_to(const char *folder, long number) {
    static char block[4096];
    char path[128];
    snprintf(path, sizeof path, "%s/%ld", folder, number);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (write(fd, block, sizeof block) < 0) usleep(1000);
    close(fd);
}

/* Has the kernel, or others like it, wake it whenever it was stopped, and writes on. */
static void awake(const char *how, const char *folder) {
    signal(SIGCONT, SIG_DFL);
    if (strcmp(how, "timer") == 0) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT};
        struct itimerspec often = {{0, 1000000}, {0, 1000000}};
        timer_t timer;
        if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) timer_settime(timer, 0, &often, 0);
    }
    if (strcmp(how, "event") == 0) {
        int fd = inotify_init1(IN_NONBLOCK);
        inotify_add_watch(fd, folder, IN_CREATE | IN_DELETE);
        fcntl(fd, F_SETOWN, getpid());
        if (fcntl(fd, F_SETSIG, SIGCONT) == 0) fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK);
    }
    int others = strcmp(how, "others") == 0;
    for (int i = 0; others && i < 6; i++)
        if (fork() == 0) break;
    for (long number = getpid();;) {
        if (others) kill(-1, SIGCONT);
        add_to(folder, number);
    }
}

/* As many chains of processes, each of which writes, forks and is gone. */
static void chains(const char *folder, long number) {
    for (long i = 0; i < number; i++)
        if (fork() == 0)
            for (;;) {
                add_to(folder, i);
                pid_t next = fork();
                if (next > 0) _exit(0);
                if (next < 0) usleep(1000);
            }
    for (;;) pause();
}

static long enter(const char *path) {
    int fd = open_it(path, O_RDONLY);
    return fd < 0 ? -1 : setns(fd, 0);
}

static long read_memory_of(pid_t pid) {
    char byte;
    struct iovec local = {&byte, 1}, remote = {(void *)0x400000, 1};
    return process_vm_readv(pid, &local, 1, &remote, 1, 0);
}

static long steal_fd_of(pid_t pid) {
    long fd = syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -1 : syscall(SYS_pidfd_getfd, fd, 1, 0);
}

static long limit(pid_t pid, int which, rlim_t value) {
    struct rlimit to = {value, value};
    return prlimit(pid, which, &to, 0);
}

int main(int argc, char **argv) {
    what = argc > 1 ? argv[1] : "";
    const char *one = argc > 2 ? argv[2] : "", *two = argc > 3 ? argv[3] : "";
    long number = atol(two);
    setvbuf(stdout, 0, _IOLBF, 0);
#define IS(name) (strcmp(what, name) == 0)
    if (IS("open-read")) return verdict(open_it(one, O_RDONLY));
    if (IS("open-write")) return verdict(open_it(one, O_WRONLY));
    if (IS("create")) return verdict(open_it(one, O_WRONLY | O_CREAT | O_TRUNC));
    if (IS("link")) return verdict(link(one, two));
    if (IS("rename")) return verdict(rename(one, two));
    if (IS("unlink")) return verdict(unlink(one));
    if (IS("chmod")) return verdict(chmod(one, 04777));
    if (IS("chown-root")) return verdict(chown(one, 0, 0));
    if (IS("mknod-block")) return verdict(mknod(one, S_IFBLK | 0666, makedev(8, 0)));
    if (IS("mknod-char")) return verdict(mknod(one, S_IFCHR | 0666, makedev(1, 1)));
    if (IS("mount-tmpfs")) return verdict(mount("none", one, "tmpfs", 0, 0));
    if (IS("mount-proc")) return verdict(mount("proc", one, "proc", 0, 0));
    if (IS("mount-bind")) return verdict(mount("/", one, 0, MS_BIND, 0));
    if (IS("remount-rw")) return verdict(mount(0, "/", 0, MS_REMOUNT | MS_BIND, 0));
    if (IS("umount")) return verdict(umount2(one, MNT_DETACH));
    if (IS("fsopen")) return verdict(syscall(SYS_fsopen, "tmpfs", 0));
    if (IS("open-tree")) return verdict(syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    if (IS("pivot-root")) return verdict(syscall(SYS_pivot_root, "/workspace", "/workspace"));
    if (IS("chroot")) return verdict(chroot("/workspace"));
    if (IS("unshare-user")) return verdict(unshare(CLONE_NEWUSER));
    if (IS("unshare-mount")) return verdict(unshare(CLONE_NEWNS));
    if (IS("unshare-net")) return verdict(unshare(CLONE_NEWNET));
    if (IS("unshare-pid")) return verdict(unshare(CLONE_NEWPID));
    if (IS("clone-user")) return verdict(clone_with(CLONE_NEWUSER));
    if (IS("clone-mount")) return verdict(clone_with(CLONE_NEWNS));
    if (IS("clone3-user")) return verdict(clone3_with(CLONE_NEWUSER));
    if (IS("clone3-mount")) return verdict(clone3_with(CLONE_NEWNS));
    if (IS("x32")) return verdict(syscall(0x40000000 | 39));
    if (IS("int80")) return verdict(old_getpid());
    if (IS("no-random")) return verdict(personality(ADDR_NO_RANDOMIZE));
    if (IS("mount-setattr")) return verdict(syscall(442, AT_FDCWD, "/", 0x8000, 0, 0));
    if (IS("move-mount")) return verdict(syscall(429, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0));
    if (IS("realtime")) {
        struct sched_param most = {.sched_priority = 1};
        return verdict(sched_setscheduler(0, SCHED_FIFO, &most));
    }
    if (IS("type-into")) { /* what a terminal's owner would have typed */
        int terminal = *one ? open_it(one, O_RDWR) : 0;
        return terminal < 0 ? verdict(-1) : verdict(ioctl(terminal, TIOCSTI, "x"));
    }
    if (IS("fd")) return verdict(fcntl(atoi(one), F_GETFD));
    if (IS("headless")) {
        clone(count, stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD, (void *)one);
        verdict(0);
        syscall(SYS_exit, 0);
    }
    if (IS("vfork")) { /* waits for a child that never comes to an end */
        verdict(0);
        if (vfork() == 0)
            for (;;) usleep(1000);
    }
    if (IS("lock")) { /* held until killed */
        if (flock(open_it(one, O_RDONLY), LOCK_EX) < 0) return verdict(-1);
        verdict(0);
        pause();
    }
    if (IS("awake")) awake(one, two);
    if (IS("chains")) chains(one, number);
    if (IS("timer")) {
        timer_t timer;
        return verdict(timer_create(CLOCK_MONOTONIC, 0, &timer));
    }
    if (IS("signal-of-events")) return verdict(fcntl(open_it("/workspace", O_RDONLY), F_SETSIG, SIGCONT));
    if (IS("pair")) { /* sockets of a family: EOPNOTSUPP of one that has no pairs means it was asked */
        int both[2];
        return verdict(socketpair(atoi(one), two[0] == 'd' ? SOCK_DGRAM : SOCK_STREAM, 0, both));
    }
    if (IS("netlink")) return verdict(socket(AF_NETLINK, SOCK_RAW, atoi(one)));
    if (IS("allocate")) { /* a file of so many GiB */
        int fd = open_it(one, O_WRONLY | O_CREAT);
        signal(SIGXFSZ, SIG_IGN);
        return verdict(fallocate(fd, 0, 0, (off_t)number << 30));
    }
    if (IS("watchers")) { /* instances of inotify, until there are no more */
        for (long i = 0; i < number; i++)
            if (inotify_init1(0) < 0) return verdict(-1);
        return verdict(0);
    }
    if (IS("core")) {
        struct rlimit core;
        getrlimit(RLIMIT_CORE, &core);
        printf("%ld\n", (long)core.rlim_max);
        return 0;
    }
    if (IS("segments")) { /* megabytes of shared memory, held until killed */
        for (long i = 0; i < number; i++) {
            void *at = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            if (at == MAP_FAILED) return verdict(-1);
            memset(at, 1, 1 << 20);
        }
        return verdict(0);
    }
    if (IS("setns")) return verdict(enter(one));
    if (IS("setuid-root")) return verdict(setuid(0));
    if (IS("setgid-root")) return verdict(setgid(0));
    if (IS("ptrace-attach")) return verdict(ptrace(PTRACE_ATTACH, atoi(one), 0, 0));
    if (IS("ptrace-seize")) return verdict(ptrace(PTRACE_SEIZE, atoi(one), 0, 0));
    if (IS("read-memory")) return verdict(read_memory_of(atoi(one)));
    if (IS("steal-fd")) return verdict(steal_fd_of(atoi(one)));
    if (IS("handle")) {
        struct { struct file_handle head; uint64_t inode; } root = {{8, 1}, 2};
        int mount_fd = open_it("/workspace", O_RDONLY);
        return verdict(syscall(SYS_open_by_handle_at, mount_fd, &root, O_RDONLY));
    }
    if (IS("bpf")) return verdict(syscall(SYS_bpf, 0, 0, 0));
    if (IS("perf")) return verdict(syscall(SYS_perf_event_open, 0, 0, 0, 0, 0));
    if (IS("userfaultfd")) return verdict(syscall(SYS_userfaultfd, 0));
    if (IS("io-uring")) {
        char setup[256] = {0};
        return verdict(syscall(SYS_io_uring_setup, 1, setup));
    }
    if (IS("keyring")) return verdict(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1));
    if (IS("add-key")) return verdict(syscall(SYS_add_key, "user", "x", "x", 1, KEY_SPEC_USER_KEYRING));
    if (IS("load-module")) return verdict(syscall(SYS_init_module, "", 0, ""));
    if (IS("kernel-log")) return verdict(syscall(SYS_syslog, 10, 0, 0));
    if (IS("swap-on")) return verdict(syscall(SYS_swapon, "/workspace/x", 0));
    if (IS("reboot")) return verdict(reboot(RB_DISABLE_CAD));
    if (IS("set-time")) {
        struct timeval now;
        gettimeofday(&now, 0);
        return verdict(settimeofday(&now, 0));
    }
    if (IS("set-hostname")) return verdict(sethostname("x", 1));
    if (IS("io-ports")) return verdict(syscall(SYS_iopl, 3));
    if (IS("socket-raw")) return verdict(socket(AF_INET, SOCK_RAW, 1));
    if (IS("socket-packet")) return verdict(socket(AF_PACKET, SOCK_RAW, 0));
    if (IS("socket-vsock")) return verdict(socket(AF_VSOCK, SOCK_STREAM, 0));
    if (IS("socket-alg")) return verdict(socket(AF_ALG, SOCK_SEQPACKET, 0));
    if (IS("raise-limit")) return verdict(limit(0, RLIMIT_NOFILE, 1 << 20));
    if (IS("limit-1")) {
        int which = IS("limit-1") && strcmp(one, "cpu") == 0 ? RLIMIT_CPU
                    : strcmp(one, "as") == 0                 ? RLIMIT_AS
                                                             : RLIMIT_NOFILE;
        return verdict(limit(1, which, number));
    }
    if (IS("connect")) return verdict(connect_to(one, number));
    if (IS("unix")) return verdict(unix_connect(one, 0));
    if (IS("abstract")) return verdict(unix_connect(one, 1));
    if (IS("listen")) return verdict(listen_at(one, number));
    if (IS("bind")) return verdict(bind_socket(one));
    if (IS("kill-1")) return verdict(kill(1, atoi(one)));
    if (IS("files")) {
        char path[64];
        for (long i = 0; i < number; i++) {
            snprintf(path, sizeof path, "%s/%ld", one, i);
            int fd = open_it(path, O_WRONLY | O_CREAT);
            if (fd < 0) return verdict(-1);
            close(fd);
        }
        return verdict(0);
    }
    if (IS("unnamed")) { /* megabytes in a file that has no name any more, held until killed */
        static char block[1 << 20];
        memset(block, 'x', sizeof block);
        int fd = open_it(one, O_WRONLY | O_CREAT);
        unlink(one);
        for (long i = 0; i < number; i++)
            if (write(fd, block, sizeof block) < 0) return verdict(-1);
        verdict(0);
        pause();
    }
    /* In the launcher's place, with a PID 1 of its own: see embedded/run.rs. */
    if (IS("sandbox-enter")) {
        char byte;
        if (read(0, &byte, 1) == 1 && byte == 'h') {
            unshare(CLONE_NEWUSER);
            if (write(1, "m", 1) < 0 || read(0, &byte, 1) < 0) return 1;
        }
        if (fork()) {
            close(0), close(1), close(2);
            return wait(0) < 0;
        }
        static char plan[1 << 16];
        if (write(1, "p", 1) < 0 || read(0, plan, 4) < 0 || read(0, plan, sizeof plan - 1) < 0) return 1;
        const char *how = strstr(plan, "\"HOW\",\"");
        setenv("HOW", how ? strndup(how + 7, strcspn(how + 7, "\"")) : "", 1);
        what = "sandbox-init";
    }
    /* As somebody else's PID 1, which speaks to the host's multiplexer: see mux.rs. */
    if (IS("sandbox-init")) {
        const char *how = getenv("HOW");
        static unsigned char noise[1 << 16];
        if (strcmp(how, "zeros") == 0)
            for (;;)
                if (write(1, noise, sizeof noise) < 0) return 1;
        if (strcmp(how, "noise") == 0)
            for (uint32_t x = 2463534242u;;) {
                for (size_t i = 0; i < sizeof noise; i++) noise[i] = x ^= x << 13, x ^= x >> 17, x ^= x << 5;
                if (write(1, noise, sizeof noise) < 0) return 1;
            }
        /* version, kind, flags, stream, length */
        unsigned char header[12] = {0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff};
        if (strcmp(how, "huge") == 0) write(1, header, 12);
        if (strcmp(how, "half") == 0) write(1, header, 7);
        if (strcmp(how, "streams") == 0)
            for (unsigned i = 0;; i++) {
                unsigned char open[13] = {0, 0, 0, 1, 0, i >> 15, i >> 7, i << 1 | 1, 0, 0, 0, 1, 3};
                if (write(1, open, 13) < 0) return 1;
            }
        if (strcmp(how, "twice") == 0)
            for (unsigned i = 1; i < 9; i += 2) {
                unsigned char open[13] = {0, 0, 0, 1, 0, 0, 0, i, 0, 0, 0, 1, 1};
                write(1, open, 13);
            }
        if (strcmp(how, "drip") == 0)
            for (;; usleep(50000)) {
                unsigned char ping[12] = {0, 2, 0, 1};
                if (write(1, ping, 12) < 0) return 1;
            }
        if (strcmp(how, "closed") == 0) close(1), close(2);
        if (strcmp(how, "stderr") == 0)
            for (;;)
                if (write(2, noise, sizeof noise) < 0) return 1;
        for (;;) pause(); /* "silent", and what follows the others */
    }
    printf("%s: no such attack\n", what);
    return 2;
}
