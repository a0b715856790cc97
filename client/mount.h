// SPDX-License-Identifier: Apache-2.0
// One mount: its options, its connection, its session with the kernel. One process, one event-loop thread
// that owns all of it: FUSE requests and replies of the server are handled where they arrive, and nothing
// waits.
#ifndef BERTH_CLIENT_MOUNT_H
#define BERTH_CLIENT_MOUNT_H

#include "client/address.h"
#include "client/aws_profile.h"
#include "client/first_bytes.h"
#include "client/kept_opens.h"
#include "client/lease.h"
#include "client/nodes.h"
#include "client/notify.h"
#include "client/rpc.h"
#include "client/transport.h"
#include "client/walks.h"
#include "client/watcher.h"
#include "client/whole_dirs.h"
#include <limits.h>
#include <uv.h>

#define MOUNT_REASON_SIZE (WIRE_TEXT_MAX + PATH_MAX)
#define MOUNT_EPOCH_MINOR \
    44u // of the kernel's FUSE protocol 7, since which names can be dropped without waiting

struct fuse_session;

struct mount_options {
    char access_point[FS_ID_SIZE];
    struct server_address address;
    const char *spec;          // both, as given
    char mountpoint[PATH_MAX]; // absolute, no symlinks
    bool foreground, read_only, allow_other, no_lease;
    bool soft;
    uint32_t timeo_s;
    char extra[32]; // "-o…" for the kernel, or ""
    struct watcher_title title;
    char access_key[AWS_PROFILE_VALUE_SIZE], secret[AWS_PROFILE_VALUE_SIZE]; // "" without a credential
};

struct mount {
    struct mount_options options;
    struct env env;
    uv_loop_t loop;
    struct transport *transport;
    struct rpc *rpc;
    struct rpc_host host;
    uv_timer_t timer;
    uv_check_t check;
    uv_signal_t signals[4];

    struct fuse_session *fuse; // NULL before the first welcome
    uv_poll_t fuse_poll;
    bool fuse_open; // fuse_poll is in the loop
    int abort_fd;   // see fuse_abort.h; -1: none
    char *fuse_buffer;
    uint64_t init_unique;        // of the INIT request under way, 0: none
    bool offers_mmap;            // the kernel can map files that are open for direct I/O
    uint32_t kernel_minor;       // of its FUSE protocol
    bool offers_parallel_writes; // the kernel can have several direct writes to one file under way
    bool opens_direct;           // what is replied right now is an open for direct I/O
    bool init_done;
    bool wants_btime; // the GETATTR being taken was a STATX

    struct nodes nodes;
    struct kept_opens kept_opens;
    struct first_bytes first_bytes;
    struct list requests; // with a caller that waits, the oldest first
    struct list killable; // those of them that were interrupted, not answered
    struct table waits;   // struct lock_wait by ticket
    uint64_t last_ticket;
    struct walks walks;

    struct lease lease;
    uint64_t attr_clock; // see attr_cache.h
    struct whole_dirs whole;
    struct notify *notify;
    uint64_t forgotten_since_ns; // when there was last nothing in lease.forgotten
    struct list recalls;         // see recall.c
    size_t n_sweeps;             // of them that drop everything
    size_t n_unswept; // of these, where the kernel may still show something of what is to be dropped
    uint64_t n_recalls, n_cache_hits;

    // From the latest welcome.
    uint8_t identity;
    bool read_only;
    uint32_t lease_ms;
    uint64_t incarnation;
    int64_t server_ahead_ns; // of our monotonic clock
    char file_system[FS_ID_SIZE];

    bool was_up;
    uint64_t since_ns;               // of start
    uint64_t down_ns;                // when the connection was lost; 0: it is up
    char trouble[MOUNT_REASON_SIZE]; // what the last attempt failed with
    uint64_t n_requests, n_lost_opens, n_lost_locks;

    struct watcher watcher;
    int report_fd; // to the process that waits for the mount, or -1
    bool ending;
    int exit_code;
};

// Can the kernel be told to drop names without waiting? Else none are kept.
static inline bool mount_knows_epochs(const struct mount *mount)
{
    return mount->kernel_minor >= MOUNT_EPOCH_MINOR;
}

// Mounts and serves until unmounted or told to end; the daemon's whole life. The reason of a failure goes to
// report_fd.
int mount_serve(const struct mount_options *options, int report_fd);

// Begins the end: unmounts, says bye. Reported as the reason when the mount is not ready yet.
void mount_fail(struct mount *mount, const char *format, ...) PRINTF_LIKE(2, 3);
void mount_end(struct mount *mount);
void mount_ready(struct mount *mount); // the kernel's INIT was answered

// The kernel's side (fuse_session.c).
int fuse_start(struct mount *mount, char *reason, size_t reason_size);
void fuse_stop(struct mount *mount); // unmounts if still mounted; idempotent

// What the server forgot is claimed again (recover.c).
void recover_claim(struct mount *mount);
void recover_fenced(struct mount *mount);
void recover_down(struct mount *mount);

// {"access_point": …}: at most size - 1 bytes and a NUL; returns the length.
size_t status_json(const struct mount *mount, char *out, size_t size);

#endif
