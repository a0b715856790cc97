// SPDX-License-Identifier: Apache-2.0
// One open file system and everything about it: store, core, locks, sessions, and what is under way. All of
// it belongs to its shard's thread. Private to the data plane: hosted.c, client.c, welcome.c, attached.c,
// grace.c, keep.c, leases.c, turn.c, sync.c, dispatch.c, op_*.c, shard.c, census.c.
#ifndef BERTH_SERVER_HOSTED_H
#define BERTH_SERVER_HOSTED_H

#include "fs/core/core.h"
#include "fs/core/locks.h"
#include "server/attach.h"
#include "server/conn.h"
#include "server/debt.h"
#include "server/session.h"
#include "server/shard.h"

#define HOSTED_SESSIONS_MAX 16384u  // of one file system
#define HOSTED_OPENS_MAX    524288u // of all its sessions
#define HOSTED_ROOT_SLOTS   1024u
#define HOSTED_COURTESY_MS \
    (24u * 60u * 60u * 1000u) // how long a silent session is kept when nobody needs its place

struct hosted {
    struct list node; // in its shard
    struct shard *shard;
    struct place *place;
    char id[FS_ID_SIZE];
    bool log_continuous; // what was acknowledged before it was opened is all there
    bool marked;         // run_marker.h: it is open
    struct store *store;
    struct core *core;
    struct lock_table *locks;
    struct table sessions; // struct attached; key: session id_low
    size_t n_opens;
    uint32_t n_rooted[HOSTED_ROOT_SLOTS]; // sessions, by their root's number modulo this
    // work
    struct list ready;    // clients with frames that may run
    struct list unsent;   // clients with replies to send
    struct list fresh;    // opens made in the turn that has not committed
    struct list accessed; // see accessed.c
    struct list turn; // struct request: the turn's replies and events, in the order in which they came about
    bool settling;    // `turn` is being emptied
    struct list resumed;     // struct request: parked ones that may run again
    struct request *running; // whose changes core asks about
    struct recall recall;
    size_t n_leases_told;    // to the metrics
    struct debts kept_debts; // bytes kept over the restart, which pages written before it may have made old
    bool upkeep_due, usage_due;
    bool reap_due;      // orphans of an earlier run that nobody can claim any more
    uint64_t ticked_ms; // loop time of the last tick
    // grace
    bool grace;              // calls that change something wait for those who were here before the start
    uint64_t grace_until_ms; // loop time
    size_t n_unclaimed;      // sessions from before the start that have not claimed what they held
    struct table relocked;   // inodes locked since by others, as long as there are such sessions
    bool missed_told;        // they all have `missed`
    bool unsettled_before;   // at the start others may have kept what written pages had made old
    struct table forgotten;  // sessions that ended, by id, whose records are still in the store
    struct list changed;     // sessions whose records in the store are not what they should be
    // --durability strict: replies wait for a sync that covers them
    struct list held, covered; // struct request
    bool dirty, syncing;       // written since the last sync was prepared; one is running
    unsigned n_jobs;           // off the loop
    bool closing;
    const char *closing_why;
    void (*closed)(struct hosted *hosted, void *context); // then; frees nothing itself
    void *closed_context;
};

// What a session held when the server stopped is in the client's memory alone.
enum attached_claim {
    CLAIM_DONE,     // nothing to claim, or all claimed
    CLAIM_AWAITED,  // the client has not come back
    CLAIM_UNDERWAY, // it is here, and at it
};

// A session here, and the connection it has at the moment. A session of which nothing was heard for a lease
// time has expired: it keeps what it holds until somebody needs that, or its place, and is then revoked.
struct attached {
    struct table_node node; // key: session->id_low
    struct hosted *hosted;
    struct session *session;
    struct client *client; // NULL: disconnected
    enum attached_claim claim;
    char client_name[SESSION_TEXT_SIZE]; // as of its last hello here; "" before
    char peer[ADDRESS_TEXT_SIZE];
    uint64_t hello_ns; // server's clock
    bool lost;         // by a power loss: cannot be resumed, its client may claim under a new session
    bool expired;
    bool missed;         // while it was away after a restart, others locked what it may have held
    bool missed_before;  // that was in an earlier run, and nobody knows what they locked
    bool unsettled;      // others may keep bytes that pages which it wrote have made old
    bool unsettled_then; // that was in an earlier run: who kept them over the start does not know of it
    bool kept_expired, kept_missed, kept_unsettled; // as the store has it, or is owed it
    struct list changed;                            // in hosted->changed
    uint64_t heard_ms;                              // loop time
    size_t owed;                                    // reply bytes made and not yet given to a connection
    unsigned n_requests;                            // that point here
    struct lease_holder *holder;                    // owned; NULL: it keeps nothing
    struct debts debts;
    struct list parked;  // struct request: waiting for others to drop something, or resumed
    size_t parked_bytes; // of their frames
    bool said_bye;
    bool ended; // gone for everybody; freed when no request points here
};

// A connection that has said hello. `attached` is NULL when it was refused or has said bye: only last words
// go out.
struct client {
    struct list node;   // in its shard
    struct list ready;  // in hosted->ready
    struct list unsent; // in hosted->unsent
    struct conn *conn;
    struct attached *attached;
    uint64_t number;
    bool welcomed; // the answer to its hello has been queued; nothing else leaves before
    struct list frames;
    struct list parked; // frames that wait for the end of grace, or of the session's claims
    size_t n_frames;    // in both
};

// A request from admission to its reply's leaving; or an event or a welcome, which have a reply alone.
struct request {
    struct list node;
    struct list parked; // in attached->parked
    struct recall_wait wait;
    bool waits; // it was undone, and is to run again when its wait goes on
    bool pages; // a write that waits for nobody
    struct attached *attached;
    struct frame *frame; // until its turn is over
    struct conn *conn;   // that the frame came over; as long as the frame, NULL once it was parked
    uint16_t op, slot;   // slot 0: not an answer to a slot's request
    uint32_t seq;
    uint64_t welcomes; // a welcome: the number of the client that it is for, else 0
    struct out *reply; // NULL: no memory for one
    size_t owed;       // what it added to attached->owed
    bool malformed;
    bool ran;        // and must not run again should the turn fail
    bool wrote;      // the store may have changed
    fs_ino sync_ino; // what is synced before the reply leaves, else 0
};

// --- hosted.c: life, clock ---

// Without its parts. log_continuous: as far as is known of the run before.
void hosted_init(struct hosted *hosted, struct shard *shard, struct place *place, bool log_continuous);
// Makes its parts on a store, which is owned from then on, and begins grace. start_ns: when opening began. On
// failure the parts there are stay, to be closed.
int hosted_start(struct hosted *hosted, struct store *store, uint64_t start_ns);
// reason: for people, on failure.
int hosted_open(struct shard *shard, struct place *place, struct hosted **ret_hosted, char *reason,
                size_t reason_size);
// Lets running jobs end, cuts everybody off, closes the store, calls closed, frees.
void hosted_close(struct hosted *hosted, const char *why,
                  void (*closed)(struct hosted *hosted, void *context), void *context);
int hosted_commit(struct hosted *hosted); // the turn, and with it what keep.h owes to the store
void hosted_pay(struct hosted *hosted);   // the latter alone; outside of a turn
void hosted_job_done(struct hosted *hosted);
void hosted_tick(struct hosted *hosted);                // every SHARD_TICK_MS
uint64_t hosted_paused_ms(const struct hosted *hosted); // that the server was stopped since the last tick
bool hosted_upkeep(struct hosted *hosted);              // a piece of it; true: more to do
static inline bool hosted_may_run(const struct hosted *hosted) // a turn has something to do
{
    return !hosted->closing &&
           (!list_empty(&hosted->ready) || !list_empty(&hosted->resumed) || !list_empty(&hosted->accessed));
}
void hosted_count(struct hosted *hosted); // tells its place the usage

// --- client.c: connections ---

// Puts the connection on this loop; NULL, and the connection is gone, when that fails.
struct client *client_new(struct shard *shard, struct conn *conn);
void client_link(struct client *client, struct attached *attached);
void client_wake(struct client *client);   // its frames may be able to run
void client_unpark(struct client *client); // its parked frames come first

// --- welcome.c: from hello to session ---

void welcome(struct shard *shard, struct hosted *hosted, struct attach *attach,
             struct conn *conn); // owns both
void welcome_refuse(struct shard *shard, struct attach *attach, struct conn *conn, int error,
                    const char *reason); // owns both

// --- attached.c: sessions, from their making to their end ---

// Takes identity->groups on success. -EUSERS when there are too many, -ENOMEM.
int attached_new(struct hosted *hosted, const struct session_identity *identity, uint64_t id_high,
                 uint64_t id_low, struct attached **ret_attached);
struct attached *attached_get(const struct hosted *hosted, uint64_t id_low); // NULL: none
void attached_set_root(struct attached *attached, fs_ino root);
void attached_discard(struct attached *attached); // one that never was, since its turn failed
// Outside of a turn: gives back all that it holds.
void attached_end(struct attached *attached, const char *event, const char *why);
void attached_revoke(struct attached *attached, const char *why); // the same inside of one
// The server stops: no trace in the file system, since the client will come back and claim.
void attached_leave(struct attached *attached, const char *why);
void attached_heard(struct attached *attached);
bool attached_changed(const struct attached *attached); // since its record was kept
void attached_keep(struct attached *attached);          // its record as it is when a turn commits next
bool attached_revoke_oldest(struct hosted *hosted); // of the expired; inside of a turn. False: there is none
// Inside of a turn: revokes expired sessions that hold locks in the way of this one.
void attached_clear_way(struct hosted *hosted, fs_ino ino, lock_session session, const struct fs_lock *lock);
void attached_tick(struct hosted *hosted); // expiry; outside of a turn
lock_granted attached_granted;             // context: the hosted
void attached_tell_grants_again(struct attached *attached);
void attached_put(struct attached *attached);                 // a request no longer points to it
bool hosted_root_attached(struct hosted *hosted, fs_ino ino); // of one that has not expired

// --- grace.c: after a restart ---

void grace_start(struct hosted *hosted, uint64_t opening_ms); // sessions have been loaded
void grace_tick(struct hosted *hosted);                       // ends it when that is due
void grace_free(struct hosted *hosted);                       // when nobody is attached any more
bool grace_parks(const struct attached *attached, const struct frame *frame);
void grace_claimed(struct attached *attached);        // it has claimed all, or nobody waits for it any more
void grace_locked(struct hosted *hosted, fs_ino ino); // somebody got a lock
// May the session still claim its lock on ino? -EAGAIN.
int grace_check_claim(const struct attached *attached, fs_ino ino);

// --- leases.c ---

void leases_init(struct hosted *hosted);
void leases_count(struct hosted *hosted); // tells the metrics
void leases_start(struct hosted *hosted); // core is there
// At a hello; `wanted`: by the client. Its session has a root and knows what it is to claim.
void leases_enter(struct attached *attached, bool wanted, bool resumed);
void leases_tell_again(struct attached *attached); // it has a connection again
// The session ends. `lingers`: its client does not know.
void leases_end(struct attached *attached, bool lingers);
void leases_expire(struct attached *attached);
void leases_reclaimed(struct attached *attached);
bool leases_unsettled(const struct attached *attached); // somebody has yet to drop what its pages made old
bool leases_frame(struct attached *attached, const struct frame *frame); // false: malformed

// --- accessed.c ---

bool accessed_frame(struct attached *attached, struct reader body); // false: malformed
bool accessed_mark(struct hosted *hosted);                          // inside of a turn; true: there were any
void accessed_free(struct hosted *hosted);

// --- op_open.c, op_lock.c ---

void open_forget(struct hosted *hosted, struct session_open *open); // core has closed it already
void open_close(struct hosted *hosted, struct session_open *open);  // one without locks
void open_drop_locks(struct attached *attached, struct session_open *open);

// --- dispatch.c ---

bool op_changes(uint16_t op); // it may write to the store

// --- turn.c ---

void turn_run(struct hosted *hosted);
// What a turn made outside of turn_run() owes: its events, and in strict mode the sync.
void turn_settle(struct hosted *hosted, bool wrote);
// A welcome to client number `welcomes`, or with 0 an event; leaves with the turn's replies. NULL: there was
// no memory for it, and the connection goes.
void turn_tell(struct attached *attached, uint16_t op, struct out *out, uint64_t welcomes);
void request_finish(struct request *request);          // keeps and sends the reply, frees
void request_fail(struct request *request, int error); // the reply is an error now
void hosted_flush(struct hosted *hosted);
void turn_drop_parked(struct attached *attached); // its parked requests, unanswered

// --- sync.c ---

void sync_file(struct request *request); // fsync: finishes it when its file is safe
void sync_held(struct hosted *hosted);   // strict: starts a sync when replies wait and none is running

#endif
