// SPDX-License-Identifier: Apache-2.0
// See watcher.h. What is taken away is the mount that was there when the daemon said that it had mounted, and
// no later one at the same place.
#include "client/watcher.h"
#include "client/detach.h"
#include "client/fuse_abort.h"
#include "client/mountinfo.h"
#include "fs/base/check.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

// The daemon's main thread holds `alive` as long as it lives; the kernel lets go of it then, also when
// another of its threads waits in the kernel for what only the end of the mount can bring, and keeps the pipe
// open.
struct watched {
    pthread_mutex_t alive;
};

#define MOUNTED       'm'
#define DISMISS       'd'

#define MNT_ID_UNIQUE 0x00004000u // STATX_MNT_ID_UNIQUE, younger than our C library's headers

// Which mount it is: its number is given out again, its id (Linux 6.8) never is.
struct identity {
    unsigned fuse_number;
    uint64_t id; // 0: this kernel does not tell
};

// False: no mount of ours is there. Asks the kernel alone.
static bool identify(const char *mountpoint, struct identity *ret_identity)
{
    struct mountinfo info;
    struct statx it;
    if (!mountinfo_find(mountpoint, &info) || !info.is_berth)
        return false;
    ret_identity->fuse_number = info.fuse_number;
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
    bool told = statx(AT_FDCWD, mountpoint, flags, MNT_ID_UNIQUE, &it) == 0 && (it.stx_mask & MNT_ID_UNIQUE);
    ret_identity->id = told ? it.stx_mnt_id : 0;
    return true;
}

struct watching {
    int fd; // does not block
    const char *mountpoint;
    pthread_mutex_t lock; // of what follows; whoever acts keeps it
    bool is_mounted;
    struct identity mounted;
    int abort_fd;
};

// Locked by the caller.
static _Noreturn void take_away(struct watching *watching)
{
    struct identity there;
    char said[256];
    // Before the abort, after which the kernel does not tell the id.
    bool is_there = watching->is_mounted && identify(watching->mountpoint, &there) &&
                    there.fuse_number == watching->mounted.fuse_number && there.id == watching->mounted.id;
    fuse_abort(watching->abort_fd); // also when somebody else has detached it: its callers still wait
    if (is_there)
        detach(watching->mountpoint, true, said, sizeof(said));
    _exit(0);
}

// What the daemon has said until now. Locked by the caller. False: it has closed the pipe.
static bool hear(struct watching *watching)
{
    char word;
    ssize_t n;
    while ((n = read(watching->fd, &word, 1)) > 0) {
        if (word == DISMISS)
            _exit(0);
        if (word != MOUNTED)
            continue;
        watching->is_mounted = identify(watching->mountpoint, &watching->mounted);
        watching->abort_fd = watching->is_mounted ? fuse_abort_open(watching->mounted.fuse_number) : -1;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void *listen_to(void *context)
{
    struct watching *watching = context;
    struct pollfd readable = {.fd = watching->fd, .events = POLLIN};
    for (;;) {
        poll(&readable, 1, -1);
        pthread_mutex_lock(&watching->lock);
        if (!hear(watching))
            take_away(watching);
        pthread_mutex_unlock(&watching->lock);
    }
}

static _Noreturn void watch(int fd, const char *mountpoint, struct watched *watched)
{
    struct watching watching = {.fd = fd, .mountpoint = mountpoint, .abort_fd = -1};
    pthread_t listener;
    pthread_mutex_init(&watching.lock, NULL);
    // Without a thread what the pipe tells has to do.
    if (pthread_create(&listener, NULL, listen_to, &watching) != 0)
        listen_to(&watching);
    pthread_mutex_lock(&watched->alive);
    pthread_mutex_lock(&watching.lock);
    hear(&watching); // its last words may wait
    take_away(&watching);
}

// Held by the calling thread. NULL: no memory.
static struct watched *hold_alive(void)
{
    struct watched *watched =
        mmap(NULL, sizeof(*watched), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attributes;
    if (watched == MAP_FAILED)
        return NULL;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&watched->alive, &attributes);
    pthread_mutexattr_destroy(&attributes);
    pthread_mutex_lock(&watched->alive);
    return watched;
}

// A process of its own, which no signal meant for the daemon or its terminal reaches, and which holds nothing
// open.
static int settle(int fd, const char *mountpoint, struct watcher_title title)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
    setsid();
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        signal(ignored[i], SIG_IGN);
    prctl(PR_SET_NAME, "berth-watcher");
    memset(title.words, 0, title.size);
    snprintf(title.words, title.size, "watcher of %s", mountpoint);
    int null = open("/dev/null", O_RDWR);
    for (int standard = 0; standard <= 2; standard++)
        dup2(null, standard);
    fd = dup2(fd, 3);
    close_range(4, ~0u, 0);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return chdir("/") < 0 ? -errno : fd;
}

int watcher_start(const char *mountpoint, struct watcher_title title, struct watcher *ret_watcher)
{
    int ends[2];
    struct watched *watched = hold_alive();
    if (!watched)
        return -ENOMEM;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid_t child = fork();
    if (child == 0) {
        int fd = settle(ends[0], mountpoint, title);
        if (fd >= 0)
            watch(fd, mountpoint, watched);
        _exit(0);
    }
    int result = child < 0 ? -errno : 0;
    close(ends[0]);
    if (result < 0)
        close(ends[1]);
    else
        *ret_watcher = (struct watcher){.fd = ends[1], .pid = child};
    return result;
}

static void tell(const struct watcher *watcher, char word)
{
    ssize_t n = watcher->fd >= 0 ? write(watcher->fd, &word, 1) : 0;
    (void)n; // a watcher that somebody killed is missed when the daemon dies, not before
}

void watcher_mounted(struct watcher *watcher)
{
    tell(watcher, MOUNTED);
}

void watcher_dismiss(struct watcher *watcher)
{
    if (watcher->fd < 0)
        return;
    tell(watcher, DISMISS);
    closep(&watcher->fd);
    while (waitpid(watcher->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
