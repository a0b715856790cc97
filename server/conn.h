// SPDX-License-Identifier: Apache-2.0
// One connection: a socket, the frame being received, the frames being sent. It lives on one loop at a time
// and can move to another thread's. Bodies are received straight into their frame; a turn's replies leave
// with one sendmsg.
//
// Back-pressure: nothing is read while the peer has more than CONN_HELD_MAX bytes of requests
// (CONN_HELD_LITTLE when all peers together have CONN_HELD_TOTAL_MAX) or CONN_OUT_MAX bytes of unread replies
// here; conn_may_run() tells the owner to leave requests waiting for the latter.
//
// Life: conn_open() … conn_close(), which calls ops->closed once, at once; the memory goes when the loop has
// let go of the handle. Until then calls are harmless and do nothing.
#ifndef BERTH_SERVER_CONN_H
#define BERTH_SERVER_CONN_H

#include "server/address.h"
#include "server/frame.h"
#include <uv.h>

#define CONN_HELD_MAX       (8u * 1024u * 1024u)   // request bytes received and not yet executed
#define CONN_HELD_TOTAL_MAX (512u * 1024u * 1024u) // the same of all connections; past it each has but
#define CONN_HELD_LITTLE    (64u * 1024u)
#define CONN_PARKED_TOTAL_MAX \
    (256u * 1024u * 1024u) // bytes of parked requests of all connections; past it each has CONN_HELD_MAX
#define CONN_OUT_MAX       (4u * 1024u * 1024u) // reply bytes the peer has not taken; one reply may exceed it
#define CONN_STALL_SECONDS 60u                  // a peer that takes nothing for so long is gone

struct conn;

struct conn_ops {
    uint32_t frame_max;                                    // bytes; who sends more is expelled
    void (*frame)(struct conn *conn, struct frame *frame); // a whole frame, now the owner's
    void (*drained)(struct conn *conn);                    // conn_may_run() has become true again
    void (*closed)(struct conn *conn, const char *why);    // never again a call for this conn
};

struct conn {
    uv_poll_t poll;
    int events; // that it waits for
    int fd;
    const struct conn_ops *ops;
    void *owner;
    struct peer peer;
    // receiving
    uint8_t header[WIRE_HEADER_SIZE];
    size_t header_got;
    struct frame *frame; // its header is here, `frame_got` bytes of its body too
    size_t frame_got;
    size_t held;   // bytes of frames given to the owner and neither freed nor parked
    size_t parked; // bytes of requests that wait for other peers, who may be waiting for this one's answers
    // sending
    struct list out;
    size_t out_length; // bytes in `out`
    size_t out_sent;   // bytes of the first one that have left
    uint64_t moved_ms; // loop time when bytes last left, or the queue was last empty
    // state
    bool closing;
    bool last_words; // closes when `out` is empty
    const char *last_why;
    void (*left)(struct conn *conn); // set: leaving its loop
};

// Takes fd (owned from success on), not blocking.
int conn_open(uv_loop_t *loop, int fd, const struct peer *peer, const struct conn_ops *ops, void *owner,
              struct conn **ret_conn);
void conn_close(struct conn *conn, const char *why);
// The same for who breaks the rules: counted.
void conn_expel(struct conn *conn, const char *why);
// Sends what is queued, reads nothing more, then closes.
void conn_close_when_sent(struct conn *conn, const char *why);

// From within ops->frame only: leaves the loop once the callback has returned, and calls `left` from there;
// bytes that came behind that frame close the connection instead. Then conn_join() on another loop's thread,
// or conn_abandon().
void conn_leave(struct conn *conn, void (*left)(struct conn *conn));
int conn_join(struct conn *conn, uv_loop_t *loop, const struct conn_ops *ops, void *owner);
void conn_abandon(struct conn *conn); // closes and frees a connection that is on no loop

// Queues (takes the caller's reference); conn_flush() sends.
void conn_send(struct conn *conn, struct out *out);
void conn_flush(struct conn *conn);
void conn_frame_free(struct conn *conn, struct frame *frame);
// A frame that waits for other peers does not stop the reading, and may outlive its connection. It is freed
// with the connection that its owner has then, or NULL.
void conn_frame_park(struct conn *conn, struct frame *frame);
void conn_parked_free(struct conn *conn, struct frame *frame);
void conn_set_parked(struct conn *conn, size_t n); // what its owner has parked already

// owed: bytes of replies that are made and not queued yet.
static inline bool conn_may_run(const struct conn *conn, size_t owed)
{
    return conn->out_length + owed < CONN_OUT_MAX;
}
// Connections of the process, on any loop or none. Any thread.
unsigned conn_count(void);
// Has the peer left replies unread for too long?
bool conn_stalled(const struct conn *conn);

#endif
