// SPDX-License-Identifier: Apache-2.0
// The session with the kernel: mounting, INIT, requests taken from /dev/fuse, unmounting. Loop's thread.
// Requests are answered where the server's replies arrive, in any order.
#include "client/fuse_abort.h"
#include "client/fuse_ops.h"
#include "client/fuse_statx.h"
#include "client/locks.h"
#include "client/mountinfo.h"
#include "fs/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FUSE_BUFFER_SIZE (FS_IO_MAX + 64u * 1024u) // a WRITE with its headers
#define REQUESTS_A_TURN  256u                      // before the server gets its turn
#define MAX_BACKGROUND   128u
#define STOP_TRIES       50u
#define STOP_WAIT_MS     10

// Younger than the headers that libfuse 3.14 comes with.
#define INIT_DIRECT_IO_ALLOW_MMAP  (1ull << 36)
#define INIT_MINOR_PARALLEL_WRITES 38u

// --- INIT ---

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    static const unsigned wanted =
        FUSE_CAP_ASYNC_READ | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_ATOMIC_O_TRUNC |
        FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_DIO |
        FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_DONT_MASK | FUSE_CAP_CACHE_SYMLINKS;
    const struct mount *mount = userdata;
    // Only these: no AUTO_INVAL_DATA (the server says what changed), no write-back cache (the kernel would
    // trust its own sizes), no splicing (requests come through our own buffer).
    conn->want = conn->capable & wanted;
    // Where the kernel checks permissions, it has to know access lists.
    if (mount->identity == WIRE_IDENTITY_CALLER)
        conn->want |= conn->capable & FUSE_CAP_POSIX_ACL;
    conn->max_write = FS_IO_MAX;
    conn->max_readahead = FS_IO_MAX;
    conn->max_background = MAX_BACKGROUND;
    conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
}

static const struct fuse_lowlevel_ops ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .symlink = op_symlink,
    .rename = op_rename,
    .link = op_link,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .flush = op_flush,
    .release = op_release,
    .fsync = op_fsync,
    .fallocate = op_fallocate,
    .lseek = op_lseek,
    .copy_file_range = op_copy_file_range,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .releasedir = op_release,
    .fsyncdir = op_fsync,
    .statfs = op_statfs,
    .getxattr = op_getxattr,
    .setxattr = op_setxattr,
    .listxattr = op_listxattr,
    .removexattr = op_removexattr,
    .access = op_access,
    .create = op_create,
    .getlk = op_getlk,
    .setlk = op_setlk,
    .flock = op_flock,
};

// What libfuse does not know, told as what it does. The body of TMPFILE is CREATE's, with the name "/", and
// so is its reply; the body of STATX starts with GETATTR's, and request_reply_statx() answers it.
static void translate(struct mount *mount, char *bytes)
{
    struct fuse_in_header header;
    memcpy(&header, bytes, sizeof(header));
    if (header.opcode == FUSE_TMPFILE)
        header.opcode = FUSE_CREATE;
    mount->wants_btime = header.opcode == FUSE_STATX;
    if (mount->wants_btime)
        header.opcode = FUSE_GETATTR;
    memcpy(bytes, &header, sizeof(header));
}

// What the kernel offers is in its INIT request.
static void look_at_init(struct mount *mount, const char *bytes, size_t n)
{
    struct fuse_in_header header;
    struct fuse_init_in init = {0};
    memcpy(&header, bytes, sizeof(header));
    if (header.opcode != FUSE_INIT)
        return;
    memcpy(&init, bytes + sizeof(header), MIN(n - sizeof(header), sizeof(init)));
    uint64_t flags = init.flags | (init.flags & FUSE_INIT_EXT ? (uint64_t)init.flags2 << 32 : 0);
    mount->offers_mmap = flags & INIT_DIRECT_IO_ALLOW_MMAP;
    mount->kernel_minor = init.minor;
    mount->offers_parallel_writes = init.minor >= INIT_MINOR_PARALLEL_WRITES;
    mount->init_unique = header.unique;
}

// Adds to the INIT reply what libfuse cannot ask for. Where the kernel checks no permissions, it would take
// set-id bits before a write by setting a mode that lacks the sticky bit: the server takes them by itself.
static void add_to_init(const struct mount *mount, struct fuse_init_out *init)
{
    if (mount->identity != WIRE_IDENTITY_CALLER)
        init->flags |= FUSE_HANDLE_KILLPRIV;
    if (!mount->offers_mmap)
        return;
    init->flags |= FUSE_INIT_EXT;
    init->flags2 |= (uint32_t)(INIT_DIRECT_IO_ALLOW_MMAP >> 32);
}

static ssize_t reply_to_init(const struct mount *mount, int fd, const struct iovec *parts, int n_parts)
{
    char reply[sizeof(struct fuse_out_header) + sizeof(struct fuse_init_out)];
    struct fuse_init_out init;
    size_t n = 0;
    for (int i = 0; i < n_parts && n + parts[i].iov_len <= sizeof(reply); i++) {
        memcpy(reply + n, parts[i].iov_base, parts[i].iov_len);
        n += parts[i].iov_len;
    }
    if (n == sizeof(reply)) {
        memcpy(&init, reply + sizeof(struct fuse_out_header), sizeof(init));
        add_to_init(mount, &init);
        memcpy(reply + sizeof(struct fuse_out_header), &init, sizeof(init));
    }
    return n == sizeof(reply) ? write(fd, reply, n) : writev(fd, parts, n_parts);
}

// Writes within the file need not wait for each other: each is atomic on the server, whatever their order.
// The kernel itself sends appends, and writes past the end, one at a time. The reply to an open or create
// ends with what libfuse has made of its flags.
static void allow_parallel_writes(const struct iovec *last)
{
    struct fuse_open_out out;
    uint8_t *end = (uint8_t *)last->iov_base + last->iov_len - sizeof(out);
    memcpy(&out, end, sizeof(out));
    out.open_flags |= FOPEN_PARALLEL_DIRECT_WRITES;
    memcpy(end, &out, sizeof(out));
}

static ssize_t io_writev(int fd, struct iovec *parts, int n_parts, void *userdata)
{
    struct mount *mount = userdata;
    const struct fuse_out_header *header = parts[0].iov_base;
    if (header->unique == 0) // no reply: a notification, from any thread
        return writev(fd, parts, n_parts);
    if (mount->opens_direct && mount->offers_parallel_writes && header->error == 0)
        allow_parallel_writes(&parts[n_parts - 1]);
    if (header->unique != mount->init_unique)
        return writev(fd, parts, n_parts);
    ssize_t n = reply_to_init(mount, fd, parts, n_parts);
    mount->init_unique = 0;
    mount->init_done = n > 0 && header->error == 0;
    return n;
}

static ssize_t io_read(int fd, void *buffer, size_t n, void *userdata)
{
    (void)userdata;
    return read(fd, buffer, n);
}

// --- requests ---

static void kernel_gone(struct mount *mount)
{
    if (!mount->init_done)
        mount_fail(mount, "the kernel ended the mount at %s", mount->options.mountpoint);
    mount_end(mount);
}

// False: nothing more to read now.
static bool take_request(struct mount *mount)
{
    ssize_t n = read(fuse_session_fd(mount->fuse), mount->fuse_buffer, FUSE_BUFFER_SIZE);
    if (n < 0)
        return errno == EINTR || errno == ENOENT; // ENOENT: interrupted before it was read
    if ((size_t)n < sizeof(struct fuse_in_header))
        return false;
    if (!mount->init_done)
        look_at_init(mount, mount->fuse_buffer, (size_t)n);
    mount->n_requests++;
    translate(mount, mount->fuse_buffer);
    struct fuse_buf buffer = {.mem = mount->fuse_buffer, .size = (size_t)n};
    fuse_session_process_buf(mount->fuse, &buffer);
    return true;
}

static void on_fuse(uv_poll_t *poll, int status, int events)
{
    struct mount *mount = poll->data;
    bool was_done = mount->init_done;
    (void)events;
    errno = 0;
    for (unsigned i = 0; i < REQUESTS_A_TURN && take_request(mount); i++)
        errno = 0;
    if (mount->init_done && !was_done) {
        notify_start(mount->notify, mount->fuse);
        mount_ready(mount);
    }
    // Unmounted or aborted: read says ENODEV (ECONNABORTED), and libuv an error without anything to read.
    if (errno == ENODEV || errno == ECONNABORTED || status < 0 || fuse_session_exited(mount->fuse))
        kernel_gone(mount);
}

// --- mounting ---

static char last_words[512]; // libfuse's latest message; this process has one mount

static void remember_log(enum fuse_log_level level, const char *format, va_list args)
{
    (void)level;
    vsnprintf(last_words, sizeof(last_words), format, args);
    last_words[strcspn(last_words, "\n")] = '\0';
}

// Commas and backslashes separate and escape mount options.
static void escape(char *out, size_t size, const char *label, const char *text)
{
    size_t n = (size_t)snprintf(out, size, "%s", label);
    for (; *text && n + 3 < size; text++) {
        if (*text == ',' || *text == '\\')
            out[n++] = '\\';
        out[n++] = *text;
    }
    out[n] = '\0';
}

static int add_options(struct fuse_args *args, const struct mount *mount)
{
    char name[2 * (FS_ID_SIZE + ADDRESS_TEXT_SIZE) + 16];
    escape(name, sizeof(name), "-ofsname=", mount->options.spec);
    const char *words[] = {
        "berth",
        "-osubtype=berth",
        name,
        mount->options.allow_other ? "-oallow_other" : NULL,
        mount->identity == WIRE_IDENTITY_CALLER ? "-odefault_permissions" : NULL,
        mount->read_only ? "-oro" : "-orw",
        mount->options.extra[0] ? mount->options.extra : NULL,
    };
    // Set-id bits and devices are without effect unless `extra` says otherwise: that is libfuse's default.
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (words[i] && fuse_opt_add_arg(args, words[i]) != 0)
            return -ENOMEM;
    }
    return 0;
}

// fusermount3 explains itself on stderr: into `said` instead.
static int mount_quietly(struct mount *mount, char *said, size_t size)
{
    int kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0), sink = memfd_create("berth-mount", MFD_CLOEXEC);
    if (sink >= 0)
        dup2(sink, STDERR_FILENO);
    int result = fuse_session_mount(mount->fuse, mount->options.mountpoint);
    ssize_t n = sink >= 0 ? pread(sink, said, size - 1, 0) : 0;
    said[n > 0 ? n : 0] = '\0';
    said[strcspn(said, "\n")] = '\0';
    if (kept >= 0)
        dup2(kept, STDERR_FILENO);
    closep(&kept);
    closep(&sink);
    return result == 0 ? 0 : -EIO;
}

static int open_session(struct mount *mount, char *reason, size_t reason_size)
{
    struct fuse_args args = {0};
    int result = add_options(&args, mount);
    if (result == 0) {
        mount->fuse = fuse_session_new(&args, &ops, sizeof(ops), mount);
        result = mount->fuse ? 0 : -EINVAL;
    }
    fuse_opt_free_args(&args);
    if (result < 0)
        snprintf(reason, reason_size, "libfuse: %s", last_words);
    return result;
}

int fuse_start(struct mount *mount, char *reason, size_t reason_size)
{
    static const struct fuse_custom_io io = {.writev = io_writev, .read = io_read};
    char said[256];
    struct mountinfo info;
    fuse_set_log_func(remember_log);
    mount->fuse_buffer = malloc(FUSE_BUFFER_SIZE);
    if (!mount->fuse_buffer)
        return -ENOMEM;
    int result = open_session(mount, reason, reason_size);
    if (result < 0)
        return result;
    result = mount_quietly(mount, said, sizeof(said));
    if (result < 0) {
        snprintf(reason, reason_size, "cannot mount at %s: %s", mount->options.mountpoint,
                 said[0] ? said : last_words);
        return result;
    }
    watcher_mounted(&mount->watcher);
    if (mountinfo_find(mount->options.mountpoint, &info))
        mount->abort_fd = fuse_abort_open(info.fuse_number);
    int fd = fuse_session_fd(mount->fuse);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fuse_session_custom_io(mount->fuse, &io, fd);
    result = uv_poll_init(&mount->loop, &mount->fuse_poll, fd);
    if (result == 0)
        result = uv_poll_start(&mount->fuse_poll, UV_READABLE, on_fuse);
    mount->fuse_poll.data = mount;
    mount->fuse_open = result == 0;
    if (result < 0)
        snprintf(reason, reason_size, "/dev/fuse: %s", uv_strerror(result));
    return result;
}

// A worker may wait for a page or a directory that a request under way holds: those are answered, also such
// as come meanwhile. What is left then only an abort of the connection can free.
static void stop_notifying(struct mount *mount)
{
    notify_stop(mount->notify);
    for (unsigned i = 0; i < STOP_TRIES && notify_is_working(mount->notify); i++) {
        struct pollfd readable = {.fd = fuse_session_fd(mount->fuse), .events = POLLIN};
        if (poll(&readable, 1, STOP_WAIT_MS) > 0 && !take_request(mount) && errno == ENODEV)
            return;
        requests_abandon(mount);
        locks_abandon(mount);
    }
    if (notify_is_working(mount->notify))
        fuse_abort(mount->abort_fd);
}

void fuse_stop(struct mount *mount)
{
    requests_abandon(mount);
    locks_abandon(mount);
    if (mount->init_done)
        stop_notifying(mount);
    if (mount->fuse_open) {
        uv_poll_stop(&mount->fuse_poll);
        uv_close((uv_handle_t *)&mount->fuse_poll, NULL);
    }
    mount->fuse_open = false;
    if (mount->fuse)
        fuse_session_unmount(mount->fuse); // nothing when it is unmounted already
}
