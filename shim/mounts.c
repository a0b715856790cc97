// SPDX-License-Identifier: Apache-2.0
// See mounts.h. One mount goes
//
//   DOWN → STARTING (child runs, its directory is watched) → UP → CLEANING (child is gone) → DOWN
//
// and from any of them, at the end, to STOPPING, which ends in its directory's removal. What may block
// (looking at a mount, unmounting, connecting) runs on libuv's threads.
#include "shim/mounts.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define WATCH_MS      5     // between two looks at a mountpoint
#define START_MS      10000 // a mount that has not answered by then has failed
#define STOP_MS       5000  // after SIGTERM; then SIGKILL
#define PROBE_SECONDS 2

#define AP_ID_SIZE    32

enum mount_state { MOUNT_DOWN, MOUNT_STARTING, MOUNT_UP, MOUNT_CLEANING, MOUNT_STOPPING };

struct mount {
    struct mounts *mounts;
    const char *access_point_id;
    char *directory;
    enum mount_state state;
    struct list users; // waiting for it, or using it when UP
    struct child *child;
    uv_timer_t timer;
    uv_fs_t look;
    uv_work_t work;
    bool looking, working, timed_out, was_up;
    bool reachable; // what the probe found
    uint64_t deadline_ms;
};

// libuv needs a process handle until it is closed, which may be after the next child has started.
struct child {
    uv_process_t process;
    struct mount *mount;
};

struct access_point {
    struct list link;
    char id[AP_ID_SIZE];
    unsigned next; // copy for the next user
    struct mount copies[];
};

struct mounts {
    struct mounts_options options;
    struct list access_points;
    size_t n_mounts;
    uint64_t parent_dev;
    bool stopping;
    void (*done)(void *context);
    void *done_context;
};

// --- errors ---

void mount_error_of(enum mount_failure why, const char *arn, struct mount_error *ret_error)
{
    switch (why) {
    case MOUNT_REFUSED:
        ret_error->status = 403;
        ret_error->name = "EFSMountFailureException";
        snprintf(ret_error->message, sizeof(ret_error->message),
                 "The function could not mount the EFS file system with access point %s.", arn);
        break;
    case MOUNT_UNREACHABLE:
        ret_error->status = 408;
        ret_error->name = "EFSMountConnectivityException";
        snprintf(ret_error->message, sizeof(ret_error->message),
                 "The function couldn't connect to the Amazon EFS file system with access point %s. Check "
                 "your network "
                 "configuration and try again.",
                 arn);
        break;
    case MOUNT_TIMED_OUT:
        ret_error->status = 408;
        ret_error->name = "EFSMountTimeoutException";
        snprintf(
            ret_error->message, sizeof(ret_error->message),
            "The function could not mount the EFS file system with access point {%s} due to mount time out.",
            arn);
        break;
    }
}

// --- users ---

// Moves the users to a list of their own: what they do when told may bring new ones to the mount.
static void take_users(struct mount *mount, struct list *ret_users)
{
    list_init(ret_users);
    for (struct list *link; (link = list_pop(&mount->users));)
        list_push(ret_users, link);
}

static void fail_users(struct mount *mount, enum mount_failure why)
{
    struct list users;
    take_users(mount, &users);
    for (struct list *link; (link = list_pop(&users));) {
        struct mount_use *use = LIST_ENTRY(link, struct mount_use, link);
        use->mount = NULL;
        use->failed(use, why);
    }
}

static void lose_users(struct mount *mount)
{
    struct list users;
    take_users(mount, &users);
    for (struct list *link; (link = list_pop(&users));) {
        struct mount_use *use = LIST_ENTRY(link, struct mount_use, link);
        use->mount = NULL;
        use->lost(use);
    }
}

static void tell_users_ready(struct mount *mount)
{
    struct list users;
    take_users(mount, &users);
    for (struct list *link; (link = list_pop(&users));) {
        struct mount_use *use = LIST_ENTRY(link, struct mount_use, link);
        list_push(&mount->users, link);
        use->ready(use, mount->directory);
    }
}

// --- what runs on libuv's threads ---

static int unmount_as_user(const char *directory)
{
    const char *argv[] = {"fusermount3", "-u", "-z", "-q", directory, NULL};
    pid_t pid;
    int rc = posix_spawnp(&pid, argv[0], NULL, NULL, (char **)(uintptr_t)argv, environ);
    if (rc != 0)
        return -rc;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return 0;
}

static bool connects(const struct sockaddr *address, socklen_t size)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    const struct timeval limit = {.tv_sec = PROBE_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    bool ok = connect(fd, address, size) == 0;
    close(fd);
    return ok;
}

static bool tcp_reachable(const char *server)
{
    const char *colon = strrchr(server, ':');
    if (!colon)
        return false;
    bool bracketed = server[0] == '[' && colon > server && colon[-1] == ']';
    _cleanup_(freep) char *host = strndup(server + bracketed, (size_t)(colon - server) - 2 * bracketed);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (!host || getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return false;
    bool ok = false;
    for (const struct addrinfo *it = found; it && !ok; it = it->ai_next)
        ok = connects(it->ai_addr, it->ai_addrlen);
    freeaddrinfo(found);
    return ok;
}

static bool server_reachable(const char *server)
{
    static const char prefix[] = "unix:";
    if (strncmp(server, prefix, strlen(prefix)) != 0)
        return tcp_reachable(server);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", server + strlen(prefix));
    return connects((struct sockaddr *)&address, sizeof(address));
}

// The child is gone: leave no dead mount behind, and find out whether the server was there at all.
static void clean_on_thread(uv_work_t *work)
{
    struct mount *mount = work->data;
    if (geteuid() == 0)
        umount2(mount->directory, MNT_DETACH | UMOUNT_NOFOLLOW); // EINVAL: it unmounted itself
    else
        unmount_as_user(mount->directory);
    mount->reachable = mount->was_up || mount->timed_out || server_reachable(mount->mounts->options.server);
}

// --- one mount ---

static void start(struct mount *mount);
static void finish_stop(struct mount *mount);

static void on_clean(uv_work_t *work, int status UNUSED)
{
    struct mount *mount = work->data;
    mount->working = false;
    if (mount->state == MOUNT_STOPPING) {
        finish_stop(mount);
        return;
    }
    mount->state = MOUNT_DOWN;
    if (mount->was_up) { // who came since then wants a new one
        if (!list_empty(&mount->users))
            start(mount);
        return;
    }
    enum mount_failure why = mount->reachable ? MOUNT_REFUSED : MOUNT_UNREACHABLE;
    fail_users(mount, mount->timed_out ? MOUNT_TIMED_OUT : why);
}

static void clean(struct mount *mount)
{
    mount->working = true;
    int rc = uv_queue_work(mount->mounts->options.loop, &mount->work, clean_on_thread, on_clean);
    fs_assert(rc == 0);
}

static void on_child_closed(uv_handle_t *handle)
{
    free(LIST_ENTRY(handle, struct child, process));
}

static void on_child_exit(uv_process_t *process, int64_t status, int signal_number)
{
    struct child *child = LIST_ENTRY(process, struct child, process);
    struct mount *mount = child->mount;
    uv_close((uv_handle_t *)process, on_child_closed);
    mount->child = NULL;
    uv_timer_stop(&mount->timer);
    mount->was_up = mount->state == MOUNT_UP;
    if (mount->state != MOUNT_STOPPING) {
        log_warn("mount-down", "access_point=%s up=%d status=%d signal=%d", mount->access_point_id,
                 mount->was_up, (int)status, signal_number);
        mount->state = MOUNT_CLEANING;
    }
    if (mount->was_up)
        lose_users(mount);
    clean(mount);
}

static void on_look(uv_fs_t *look)
{
    struct mount *mount = look->data;
    bool mounted = look->result == 0 && look->statbuf.st_dev != mount->mounts->parent_dev;
    uv_fs_req_cleanup(look);
    mount->looking = false;
    if (mount->state == MOUNT_STOPPING)
        finish_stop(mount);
    if (mount->state != MOUNT_STARTING || !mounted || !mount->child || mount->timed_out)
        return;
    uv_timer_stop(&mount->timer);
    mount->state = MOUNT_UP;
    log_info("mount-up", "access_point=%s directory=%s", mount->access_point_id, mount->directory);
    tell_users_ready(mount);
}

static void on_watch(uv_timer_t *timer)
{
    struct mount *mount = timer->data;
    uv_loop_t *loop = mount->mounts->options.loop;
    if (uv_now(loop) >= mount->deadline_ms) {
        mount->timed_out = true;
        uv_process_kill(&mount->child->process, SIGKILL);
        uv_timer_stop(timer);
        return;
    }
    if (mount->looking)
        return;
    mount->look.data = mount;
    mount->looking = uv_fs_stat(loop, &mount->look, mount->directory, on_look) == 0;
}

static int spawn(struct mount *mount)
{
    const struct mounts_options *options = &mount->mounts->options;
    _cleanup_(freep) char *target = NULL;
    struct child *child = calloc(1, sizeof(*child));
    fs_assert(child && asprintf(&target, "%s@%s", mount->access_point_id, options->server) > 0);
    // With setpriv the mount ends even when we are killed.
    const char *argv[] = {"setpriv", "--pdeathsig",    "TERM", options->berth, "mount", "-f",
                          target,    mount->directory, NULL};
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
    };
    const uv_process_options_t spawned = {.file = argv[0],
                                          .args = (char **)(uintptr_t)argv,
                                          .flags = UV_PROCESS_DETACHED,
                                          .stdio = stdio,
                                          .stdio_count = ARRAY_LEN(stdio),
                                          .exit_cb = on_child_exit};
    int rc = uv_spawn(options->loop, &child->process, &spawned);
    child->mount = mount;
    if (rc == 0)
        mount->child = child;
    else
        uv_close((uv_handle_t *)&child->process, on_child_closed);
    return rc;
}

static void start(struct mount *mount)
{
    mount->timed_out = mount->was_up = false;
    mount->state = MOUNT_STARTING;
    mount->deadline_ms = uv_now(mount->mounts->options.loop) + START_MS;
    int rc = mkdir(mount->directory, 0700) < 0 && errno != EEXIST ? -errno : spawn(mount);
    if (rc == 0) {
        uv_timer_start(&mount->timer, on_watch, 0, WATCH_MS);
        return;
    }
    log_error("mount-start", "access_point=%s error=\"%s\"", mount->access_point_id, strerror(-rc));
    mount->state = MOUNT_DOWN;
    fail_users(mount, MOUNT_REFUSED);
}

// --- the end ---

static void free_all(struct mounts *mounts)
{
    for (struct list *link; (link = list_pop(&mounts->access_points));) {
        struct access_point *access_point = LIST_ENTRY(link, struct access_point, link);
        for (unsigned i = 0; i < mounts->options.copies; i++)
            free(access_point->copies[i].directory);
        free(access_point);
    }
    void (*done)(void *) = mounts->done;
    void *context = mounts->done_context;
    free(mounts);
    done(context);
}

static void on_stopped(uv_handle_t *handle)
{
    struct mount *mount = handle->data;
    struct mounts *mounts = mount->mounts;
    if (--mounts->n_mounts == 0)
        free_all(mounts);
}

// Called whenever one of the things it waits for has ended.
static void finish_stop(struct mount *mount)
{
    if (mount->child || mount->working || mount->looking || uv_is_closing((uv_handle_t *)&mount->timer))
        return;
    if (rmdir(mount->directory) < 0 && errno != ENOENT)
        log_warn("mount-leftover", "directory=%s error=\"%s\"", mount->directory, strerror(errno));
    uv_close((uv_handle_t *)&mount->timer, on_stopped);
}

static void on_stop_late(uv_timer_t *timer)
{
    struct mount *mount = timer->data;
    if (mount->child)
        uv_process_kill(&mount->child->process, SIGKILL);
}

static void stop(struct mount *mount)
{
    mount->state = MOUNT_STOPPING;
    fs_assert(list_empty(&mount->users));
    if (mount->child) {
        uv_process_kill(&mount->child->process, SIGTERM);
        uv_timer_start(&mount->timer, on_stop_late, STOP_MS, 0);
    }
    finish_stop(mount);
}

void mounts_stop(struct mounts *mounts, void (*done)(void *context), void *context)
{
    mounts->stopping = true;
    mounts->done = done;
    mounts->done_context = context;
    if (mounts->n_mounts == 0) {
        free_all(mounts);
        return;
    }
    list_for_each_safe (it, after, &mounts->access_points)
        for (unsigned i = 0; i < mounts->options.copies; i++)
            stop(&LIST_ENTRY(it, struct access_point, link)->copies[i]);
}

// --- for users ---

static struct access_point *new_access_point(struct mounts *mounts, const char *id)
{
    unsigned copies = mounts->options.copies;
    struct access_point *made = calloc(1, sizeof(*made) + copies * sizeof(made->copies[0]));
    fs_assert(made && strlen(id) < sizeof(made->id));
    snprintf(made->id, sizeof(made->id), "%s", id);
    for (unsigned i = 0; i < copies; i++) {
        struct mount *mount = &made->copies[i];
        mount->mounts = mounts;
        mount->access_point_id = made->id;
        list_init(&mount->users);
        uv_timer_init(mounts->options.loop, &mount->timer);
        mount->timer.data = mount->work.data = mount;
        fs_assert(asprintf(&mount->directory, "%s/%s-%u", mounts->options.directory, id, i) > 0);
    }
    mounts->n_mounts += copies;
    list_push(&mounts->access_points, &made->link);
    return made;
}

static struct mount *next_mount(struct mounts *mounts, const char *id)
{
    struct access_point *found = NULL;
    list_for_each (it, &mounts->access_points) {
        struct access_point *access_point = LIST_ENTRY(it, struct access_point, link);
        if (strcmp(access_point->id, id) == 0)
            found = access_point;
    }
    if (!found)
        found = new_access_point(mounts, id);
    return &found->copies[found->next++ % mounts->options.copies];
}

void mounts_acquire(struct mounts *mounts, struct mount_use *use, const char *access_point_id)
{
    fs_assert(!mounts->stopping && !use->mount);
    struct mount *mount = next_mount(mounts, access_point_id);
    use->mount = mount;
    list_init(&use->link);
    list_push(&mount->users, &use->link);
    if (mount->state == MOUNT_UP)
        use->ready(use, mount->directory);
    else if (mount->state == MOUNT_DOWN)
        start(mount);
}

void mounts_release(struct mount_use *use)
{
    if (!use->mount)
        return;
    list_remove(&use->link);
    use->mount = NULL;
}

struct mounts *mounts_new(const struct mounts_options *options)
{
    struct stat st;
    struct mounts *mounts = calloc(1, sizeof(*mounts));
    fs_assert(mounts && options->copies >= 1 && options->copies <= MOUNTS_COPIES_MAX);
    mounts->options = *options;
    mounts->parent_dev = stat(options->directory, &st) == 0 ? st.st_dev : 0;
    list_init(&mounts->access_points);
    return mounts;
}
