// SPDX-License-Identifier: Apache-2.0
// See network.h. Stands in for server/conn.c, whose functions are defined here again, and for the client's
// transport. Invariant: a link lives until nothing that is under way points at it.
#include "tests/sim/network.h"
#include "tests/sim/world.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct link {
    unsigned client;
    unsigned refs;        // the client's end, the server's, and what is under way
    struct conn *conn;    // NULL: the server's end is closed
    unsigned server_life; // that it is of
    bool client_open;
    bool broken; // nothing arrives any more
    // To the client and to the server:
    uint64_t last_us[2]; // when the last thing sent arrives
    struct list held[2]; // struct message that has arrived where nobody moves, in order
    bool thaws[2];       // they are looked at when somebody does
};

// Of the server's side: a conn that the server code knows, with its link.
struct sim_conn {
    struct conn conn; // first
    struct link *link;
};

struct message {
    struct list node; // in link->held
    struct link *link;
    bool to_server, closes;
    size_t n;
    uint8_t bytes[];
};

static struct link *links[NETWORK_CLIENTS]; // the current one of each client
static unsigned attempts[NETWORK_CLIENTS];  // the last one of each; an older one is given up
static bool parted[NETWORK_CLIENTS];

// Not inlined: the compiler would take a second reference being put for a use of freed memory.
static __attribute__((noinline)) void link_put(struct link *link)
{
    if (--link->refs == 0)
        free(link);
}

static bool server_end_lives(const struct link *link)
{
    return link->conn && server_is_up() && link->server_life == server_life();
}

static uint64_t delay_us(void)
{
    return world_chance(5) ? world_between(5 * SIM_MS, 400 * SIM_MS) : world_between(20, 2 * SIM_MS);
}

// --- what is under way ---

static void close_client_end(struct link *link, int error)
{
    if (!link->client_open)
        return;
    link->client_open = false;
    if (links[link->client] == link)
        links[link->client] = NULL;
    client_lost(link->client, error);
    link_put(link);
}

static void take_frames(struct sim_conn *own, const uint8_t *bytes, size_t n)
{
    struct conn *conn = &own->conn;
    while (n > 0 && !conn->closing) {
        struct wire_header header;
        fs_assert(n >= WIRE_HEADER_SIZE && wire_get_header(bytes, &header) == 0 && header.length <= n);
        if (!conn->ops) {
            server_hello(conn, &header,
                         reader_on(bytes + WIRE_HEADER_SIZE, header.length - WIRE_HEADER_SIZE));
        } else {
            struct frame *frame = frame_new(&header);
            fs_assert(frame);
            memcpy(frame->body, bytes + WIRE_HEADER_SIZE, frame->body_length);
            conn->held += header.length;
            conn->ops->frame(conn, frame);
        }
        bytes += header.length;
        n -= header.length;
    }
}

static void deliver_to_server(struct message *message)
{
    struct link *link = message->link;
    if (!server_end_lives(link))
        return;
    if (message->closes)
        conn_close(link->conn, "closed by the peer");
    else
        take_frames((struct sim_conn *)link->conn, message->bytes, message->n);
    server_worked();
}

static void deliver_to_client(struct message *message)
{
    struct link *link = message->link;
    if (!link->client_open)
        return;
    if (message->closes)
        close_client_end(link, -ECONNRESET);
    else
        client_received(link->client, message->bytes, message->n);
}

static void deliver(struct message *message)
{
    struct link *link = message->link;
    if (!link->broken && message->to_server)
        deliver_to_server(message);
    else if (!link->broken)
        deliver_to_client(message);
    free(message);
    link_put(link);
}

static void thaw_client(void *context);
static void thaw_server(void *context);

static void deliver_held(struct link *link, bool to_server)
{
    struct list *held = &link->held[to_server];
    link->refs++;
    while (!list_empty(held)) {
        uint64_t frozen_us = to_server ? server_frozen_until_us() : client_frozen_until_us(link->client);
        if (frozen_us <= world_now_us() || link->broken) {
            deliver(LIST_ENTRY(list_pop(held), struct message, node));
            continue;
        }
        if (!link->thaws[to_server]) {
            link->thaws[to_server] = true;
            link->refs++;
            world_after(frozen_us - world_now_us(), to_server ? thaw_server : thaw_client, link);
        }
        break;
    }
    link_put(link);
}

static void thaw(struct link *link, bool to_server)
{
    link->thaws[to_server] = false;
    deliver_held(link, to_server);
    link_put(link);
}

static void thaw_client(void *context)
{
    thaw(context, false);
}

static void thaw_server(void *context)
{
    thaw(context, true);
}

static void arrive(void *context)
{
    struct message *message = context;
    list_push(&message->link->held[message->to_server], &message->node);
    deliver_held(message->link, message->to_server);
}

static void put_under_way(struct link *link, bool to_server, bool closes, const uint8_t *bytes, size_t n)
{
    struct message *message = malloc(sizeof(*message) + n);
    fs_assert(message);
    *message = (struct message){.link = link, .to_server = to_server, .closes = closes, .n = n};
    if (n > 0)
        memcpy(message->bytes, bytes, n);
    link->refs++;
    uint64_t soonest_us = world_now_us() + delay_us();
    uint64_t at_us = MAX(soonest_us, link->last_us[to_server]);
    link->last_us[to_server] = at_us;
    world_after(at_us - world_now_us(), arrive, message);
}

// --- the client's end ---

static void attempt(void *context)
{
    unsigned client = (unsigned)((uintptr_t)context % NETWORK_CLIENTS);
    if ((uintptr_t)context / NETWORK_CLIENTS != attempts[client])
        return;
    if (client_frozen_until_us(client) > world_now_us()) {
        world_after(client_frozen_until_us(client) - world_now_us(), attempt, context);
        return;
    }
    if (parted[client] || !server_is_up()) {
        client_lost(client, -ECONNREFUSED);
        return;
    }
    struct link *link = calloc(1, sizeof(*link));
    struct sim_conn *own = calloc(1, sizeof(*own));
    fs_assert(link && own && !links[client]);
    *link = (struct link){
        .client = client, .refs = 2, .conn = &own->conn, .server_life = server_life(), .client_open = true};
    list_init(&link->held[false]);
    list_init(&link->held[true]);
    own->link = link;
    own->conn.fd = -1;
    list_init(&own->conn.out);
    snprintf(own->conn.peer.text, sizeof(own->conn.peer.text), "client %u", client);
    links[client] = link;
    client_connected(client);
    server_accept(&own->conn);
}

void network_connect(unsigned client)
{
    world_after(delay_us(), attempt, (void *)((uintptr_t)++attempts[client] * NETWORK_CLIENTS + client));
}

void network_disconnect(unsigned client)
{
    struct link *link = links[client];
    attempts[client]++;
    if (!link)
        return;
    links[client] = NULL;
    link->client_open = false;
    put_under_way(link, true, true, NULL, 0);
    link_put(link);
}

void network_send(unsigned client, const uint8_t *bytes, size_t n)
{
    if (links[client])
        put_under_way(links[client], true, false, bytes, n);
}

// --- faults ---

static void client_notices(void *context)
{
    struct link *link = context;
    uint64_t frozen_us = client_frozen_until_us(link->client);
    if (frozen_us > world_now_us()) {
        world_after(frozen_us - world_now_us(), client_notices, link);
        return;
    }
    close_client_end(link, -ECONNRESET);
    link_put(link);
}

static void server_notices(void *context)
{
    struct link *link = context;
    if (server_end_lives(link)) {
        conn_close(link->conn, "connection reset");
        server_worked();
    }
    link_put(link);
}

static void break_link(struct link *link)
{
    link->broken = true;
    if (world_chance(70)) {
        link->refs++;
        world_after(world_between(0, 3 * SIM_SECOND), client_notices, link);
    }
    if (world_chance(50)) {
        link->refs++;
        world_after(world_between(0, 4 * SIM_SECOND), server_notices, link);
    }
}

void network_break(unsigned client)
{
    if (links[client] && !links[client]->broken)
        break_link(links[client]);
}

void network_vanish(unsigned client)
{
    struct link *link = links[client];
    attempts[client]++;
    if (!link)
        return;
    links[client] = NULL;
    link->client_open = false;
    break_link(link);
    link_put(link);
}

void network_partition(unsigned client, bool is_parted)
{
    parted[client] = is_parted;
    if (is_parted)
        network_break(client);
}

void network_server_died(void)
{
    for (unsigned client = 0; client < NETWORK_CLIENTS; client++) {
        struct link *link = links[client];
        if (!link)
            continue;
        link->broken = true;
        link->refs++;
        world_after(world_between(0, 50 * SIM_MS), client_notices, link);
    }
}

void network_begin(void)
{
    memset(links, 0, sizeof(links));
    memset(attempts, 0, sizeof(attempts));
    memset(parted, 0, sizeof(parted));
}

void network_end(void)
{
    // Links and messages under way are left to the end of the process: a run is short.
    memset(links, 0, sizeof(links));
}

// --- the server's end: server/conn.h again ---

int conn_join(struct conn *conn, uv_loop_t *loop UNUSED, const struct conn_ops *ops, void *owner)
{
    conn->ops = ops;
    conn->owner = owner;
    return 0;
}

static void free_later(void *context)
{
    struct conn *conn = context;
    struct list *node;
    while ((node = list_pop(&conn->out)))
        out_unref(LIST_ENTRY(node, struct out, node));
    free(conn);
}

static void leave_link(struct conn *conn)
{
    struct link *link = ((struct sim_conn *)conn)->link;
    link->conn = NULL;
    if (link->client_open && !link->broken && server_is_up())
        put_under_way(link, false, true, NULL, 0);
    link_put(link);
    world_after(0, free_later, conn);
}

void conn_abandon(struct conn *conn)
{
    conn->closing = true;
    leave_link(conn);
}

void conn_close(struct conn *conn, const char *why)
{
    if (conn->closing)
        return;
    conn->closing = true;
    leave_link(conn);
    if (conn->ops)
        conn->ops->closed(conn, why);
}

void conn_expel(struct conn *conn, const char *why)
{
    world_violation("the server expelled a client that keeps the rules: %s", why);
    conn_close(conn, why);
}

void conn_close_when_sent(struct conn *conn, const char *why)
{
    conn_flush(conn);
    conn_close(conn, why);
}

void conn_frame_free(struct conn *conn, struct frame *frame)
{
    conn->held -= frame->header.length;
    free(frame);
}

void conn_frame_park(struct conn *conn, struct frame *frame)
{
    conn->held -= frame->header.length;
    conn->parked += frame->header.length;
}

void conn_parked_free(struct conn *conn, struct frame *frame)
{
    if (conn)
        conn->parked -= frame->header.length;
    free(frame);
}

void conn_set_parked(struct conn *conn, size_t n)
{
    conn->parked = n;
}

void conn_send(struct conn *conn, struct out *out)
{
    if (conn->closing)
        out_unref(out);
    else
        list_push(&conn->out, &out->node);
}

void conn_flush(struct conn *conn)
{
    struct link *link = ((struct sim_conn *)conn)->link;
    struct list *node;
    while (!conn->closing && (node = list_pop(&conn->out))) {
        struct out *out = LIST_ENTRY(node, struct out, node);
        put_under_way(link, false, false, out->bytes, out->length);
        out_unref(out);
    }
}

bool conn_stalled(const struct conn *conn UNUSED)
{
    return false;
}
