// SPDX-License-Identifier: Apache-2.0
// The conversation with the server, without sockets or clocks: slots, sequence numbers, resending,
// reconnection. Connection events, frames and time go in; bytes to send and requests to the host come out.
// One owner thread.
//
// A call is submitted once and done once. Until then its frame is kept, so that it can be sent again: on the
// same session whatever it is, on a new session only if that does no harm; else it is done with -EIO. Calls
// wait for a connection as long as it takes. After a restart of the server the client claims what it held
// (the server kept the session, not the opens and locks) before anything is sent again.
#ifndef BERTH_CLIENT_RPC_H
#define BERTH_CLIENT_RPC_H

#include "fs/base/env.h"
#include "fs/base/list.h"
#include "fs/wire/wire.h"
#include <sys/uio.h>

#define RPC_SLOTS_MAX        1024u // of those that a server offers
#define RPC_SLOTS_RESERVED   8u    // for urgent calls, unless the server offers hardly any
#define RPC_SLOTS_RECLAIMING 2u    // of these, not even for urgent calls
#define RPC_BACKOFF_FIRST_MS 20u
#define RPC_BACKOFF_MAX_MS   1000u
#define RPC_GREETING_MAX_MS  1500u  // from the connection attempt to the greeting
#define RPC_HELLO_MAX_MS     10000u // the server may have a file system to open first
#define RPC_FAREWELL_MAX_MS  1000u

enum rpc_state {
    RPC_WAITING,    // for the next attempt
    RPC_CONNECTING, // the host is at it
    RPC_GREETING,   // connected; the server speaks first
    RPC_HELLO,      // hello is on its way
    RPC_RECLAIMING, // the server restarted; only reclaiming calls are sent
    RPC_READY,
    RPC_ENDING, // bye is on its way
    RPC_ENDED,
};

enum rpc_class {
    RPC_RECLAIM, // claims what was held before a restart; -ECANCELED when the server restarts again
    RPC_URGENT,  // frees what others wait for
    RPC_ORDINARY,
    RPC_CLASSES
};

// Embedded in what the caller keeps about it; zero but for the first group, which the caller sets.
struct rpc_call {
    uint8_t *frame;  // malloc'd, room for the header in front; owned by the call from submit to done
    uint32_t length; // of the whole frame
    uint16_t op;
    bool with_cred;
    bool repeatable; // may be sent again on a new session
    enum rpc_class class;
    // Exactly once, unless the call is withdrawn. result: 0, and body is the reply's; or a negative errno.
    // The frame is gone. May submit, and may free the call.
    void (*done)(struct rpc_call *call, int result, struct reader *body);

    struct list node; // in a queue or among the sent
    struct list out;  // in what is to be written
    uint16_t slot;
    uint32_t seq;
    uint64_t sent_ns;
    bool again; // sent once more on the same session: its answer may be of old
};

struct rpc_host {
    void *context;
    // Answered by rpc_connected() or rpc_lost(), not from inside.
    void (*connect)(void *context);
    void (*disconnect)(void *context); // no answer; harmless when there is no connection
    // The proof for a hello; only when options.access_key is set.
    void (*prove)(void *context, wire_bytes nonce, const struct wire_hello_request *hello,
                  uint8_t proof[WIRE_PROOF_SIZE]);
    void (*welcome)(void *context, const struct wire_hello_reply *reply, bool first);
    // The server has restarted and knows of no opens and locks: submit RPC_RECLAIM calls.
    void (*reclaim)(void *context);
    // All claims have been answered. May the server be told so? From then on it lets others change what was
    // not claimed. False: rpc_claimed() is called when it may.
    bool (*may_be_told)(void *context);
    // The session was revoked, and this new one has nothing: what was open and locked is given up.
    void (*fenced)(void *context);
    // An attempt failed, or the connection is gone. error: negative errno.
    void (*down)(void *context, int error, const char *why);
    void (*granted)(void *context, uint64_t ticket);
    void (*invalidate)(void *context, const struct wire_invalidate_event *event);
    void (*ended)(void *context);
};

struct rpc_options {
    const struct env *env;
    const struct rpc_host *host; // not owned; outlives the rpc
    const char *access_point;    // these are not owned and outlive the rpc
    const char *access_key;      // "" without a credential
    const char *client_name;
    bool want_read_only, want_leases;
};

struct rpc_counts {
    uint64_t calls, replies, connections, resumed, sessions, failed_attempts;
};

struct rpc;

int rpc_create(const struct rpc_options *options, struct rpc **ret_rpc);
// Calls that are left are done with -ENOTCONN. NULL is allowed.
void rpc_destroy(struct rpc *rpc);
void rpc_start(struct rpc *rpc);
// Says bye if there is anybody to say it to, then host->ended(), perhaps from inside.
void rpc_end(struct rpc *rpc);

void rpc_submit(struct rpc *rpc, struct rpc_call *call);
void rpc_hurry(struct rpc *rpc, struct rpc_call *call); // an ordinary call is urgent by now
// True: the call had never been sent; it is not done, and its frame is gone. False: nothing changed.
bool rpc_withdraw(struct rpc *rpc, struct rpc_call *call);

// What kept the host from saying that all is claimed is over. Harmless at any time.
void rpc_claimed(struct rpc *rpc);

// Tells the server something outside of the slots. -ENOTCONN: there is nobody to tell, -ENOMEM: likewise.
int rpc_tell(struct rpc *rpc, uint16_t op, const void *body, size_t n);

void rpc_connected(struct rpc *rpc);
void rpc_lost(struct rpc *rpc, int error, const char *why);
// A frame from the server. The connection may be gone afterwards.
void rpc_frame(struct rpc *rpc, const struct wire_header *header, struct reader body);
// What to write: at most `max` parts; returns how many. Then how much of it was written.
size_t rpc_output(struct rpc *rpc, struct iovec *parts, size_t max);
void rpc_written(struct rpc *rpc, size_t n);

// Does what is due; returns when to call again (env's monotonic time), UINT64_MAX for never.
uint64_t rpc_tick(struct rpc *rpc);

enum rpc_state rpc_state(const struct rpc *rpc);
// Calls can be sent now.
static inline bool rpc_is_up(const struct rpc *rpc)
{
    return rpc_state(rpc) == RPC_READY;
}
// The server turned the client away for good (its access point is deleted, …): calls fail with -ESTALE until
// it changes its mind. The text is the server's, or NULL.
const char *rpc_refusal(const struct rpc *rpc);
// When the latest request that the server has answered was sent: it has heard of us since. 0: none was. After
// a restart the server does not wait for longer than for who had been heard of just before it, so that
// nothing counts until all is claimed.
uint64_t rpc_answered_ns(const struct rpc *rpc);
size_t rpc_in_flight(const struct rpc *rpc);
size_t rpc_queued(const struct rpc *rpc);
const struct rpc_counts *rpc_counts(const struct rpc *rpc);

#endif
