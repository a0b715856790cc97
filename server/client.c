// SPDX-License-Identifier: Apache-2.0
// The connections of a shard that have said hello: their frames, until a turn takes them, and their loss. On
// the shard's thread. Invariant: a client is in its shard's list until its connection has closed; it and its
// attached session point at each other or not at all.
#include "fs/base/log.h"
#include "server/hosted.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

// The session keeps all it has: see struct attached.
static void disconnect(struct client *client, const char *why)
{
    struct attached *attached = client->attached;
    if (!attached)
        return;
    log_info("disconnect", "session=%u peer=%s why=%s", attached->session->number, client->conn->peer.text,
             why);
    attached->client = NULL;
    client->attached = NULL;
}

static void client_closed(struct conn *conn, const char *why)
{
    struct client *client = conn->owner;
    disconnect(client, why);
    struct list *node;
    while ((node = list_pop(&client->frames)) || (node = list_pop(&client->parked)))
        conn_frame_free(conn, LIST_ENTRY(node, struct frame, node));
    list_remove(&client->ready);
    list_remove(&client->unsent);
    list_remove(&client->node);
    free(client);
}

void client_wake(struct client *client)
{
    const struct attached *attached = client->attached;
    if (!attached || list_empty(&client->frames) || !list_empty(&client->ready))
        return;
    if (!conn_may_run(client->conn, attached->owed))
        return;
    list_push(&attached->hosted->ready, &client->ready);
}

// These wait for nothing: requests of others wait for them.
static bool is_of_leases(uint16_t op)
{
    return op == WIRE_DROPPED || op == WIRE_CLEARED || op == WIRE_KEPT || op == WIRE_CLOSED ||
           op == WIRE_ACCESSED;
}

static const char *frame_refused(const struct client *client, const struct frame *frame)
{
    if (!client->attached)
        return "a request without a session";
    if (!client->welcomed)
        return "a request before the answer to hello";
    bool waits = frame->header.slot != 0 || !is_of_leases(frame->header.op);
    return waits && client->n_frames == SESSION_SLOTS ? "more requests than slots" : NULL;
}

static void client_frame(struct conn *conn, struct frame *frame)
{
    struct client *client = conn->owner;
    const char *why = frame_refused(client, frame);
    if (why) {
        conn_frame_free(conn, frame);
        conn_expel(conn, why);
        return;
    }
    attached_heard(client->attached);
    if (frame->header.slot == 0 && is_of_leases(frame->header.op)) {
        bool well_formed = leases_frame(client->attached, frame);
        conn_frame_free(conn, frame);
        if (!well_formed)
            conn_expel(conn, "a malformed event");
        return;
    }
    list_push(&client->frames, &frame->node);
    client->n_frames++;
    client_wake(client);
}

void client_unpark(struct client *client)
{
    struct list *node;
    while ((node = list_pop(&client->frames)))
        list_push(&client->parked, node);
    while ((node = list_pop(&client->parked)))
        list_push(&client->frames, node);
    client_wake(client);
}

static void client_drained(struct conn *conn)
{
    struct client *client = conn->owner;
    client_wake(client);
    if (client->attached)
        shard_work(client->attached->hosted->shard);
}

static const struct conn_ops client_ops = {
    .frame_max = WIRE_FRAME_MAX,
    .frame = client_frame,
    .drained = client_drained,
    .closed = client_closed,
};

struct client *client_new(struct shard *shard, struct conn *conn)
{
    struct client *client = calloc(1, sizeof(*client));
    int result = client ? conn_join(conn, &shard->loop, &client_ops, client) : -ENOMEM;
    if (result < 0) {
        log_warn("connection", "peer=%s error=%s", conn->peer.text, strerror(-result));
        free(client);
        conn_abandon(conn);
        return NULL;
    }
    client->conn = conn;
    client->number = ++shard->n_clients_ever;
    list_init(&client->ready);
    list_init(&client->unsent);
    list_init(&client->frames);
    list_init(&client->parked);
    list_init(&client->node);
    list_push(&shard->clients, &client->node);
    return client;
}

void client_link(struct client *client, struct attached *attached)
{
    client->attached = attached;
    attached->client = client;
    conn_set_parked(client->conn, attached->parked_bytes);
}
