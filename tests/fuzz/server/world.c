// SPDX-License-Identifier: Apache-2.0
// See world.h. Stands in for hosting.c and shard.c, and calls the shard's work in order. Judged are the
// frames that the server sends, its bounds, and that nothing is left of sessions that have ended.
#include "tests/fuzz/server/world.h"
#include "fs/base/check.h"
#include "fs/base/log.h"
#include "fs/store/store_fault.h"
#include "fs/store/store_model.h"
#include "server/keep.h"
#include "server/listener.h"
#include "tests/unit/wire_codecs.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define LEASE_MS  10000u
#define MAX_LOCKS 1000u

struct peer_end {
    int fd;
    bool deaf;
    uint64_t session_high, session_low;
    uint8_t nonce[WIRE_NONCE_SIZE];
    uint8_t *bytes; // of WIRE_FRAME_MAX: the frame that is coming
    size_t got;
};

static struct {
    char directory[64];
    struct env env;
    uint64_t random, now_ns;
    struct catalogue *catalogue;
    struct credentials *credentials;
    char key[64];
    struct access_point aps[WORLD_ACCESS_POINTS];
    struct file_system fs;
    struct shard shard;
    struct hosting_options options;
    struct place place;
    struct hosted hosted;
    struct store *store; // makes commits fail on demand
    struct listener *listener;
    struct peer_end peers[WORLD_PEERS];
} world;

// --- time and chance ---

static uint64_t tick(void *context UNUSED)
{
    return world.now_ns += 1000;
}

static void draw(void *context UNUSED, void *out, size_t n)
{
    uint8_t *bytes = out;
    for (size_t i = 0; i < n; i++) {
        world.random = world.random * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(world.random >> 56);
    }
}

// --- once ---

static void remove_directory(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", world.directory);
    if (world.directory[0] && system(command) != 0)
        perror(world.directory);
}

static void make_access_points(void)
{
    static const char *const paths[WORLD_ACCESS_POINTS] = {"/", "/", "/sub"};
    strcpy(world.fs.creation_token, "t");
    strcpy(world.fs.performance_mode, "generalPurpose");
    strcpy(world.fs.throughput_mode, "bursting");
    fs_assert(catalogue_add_file_system(world.catalogue, &world.fs) == 0);
    fs_assert(catalogue_set_state(world.catalogue, world.fs.id, CATALOGUE_AVAILABLE) == 0);
    for (size_t i = 0; i < WORLD_ACCESS_POINTS; i++) {
        struct access_point *ap = &world.aps[i];
        memcpy(ap->file_system_id, world.fs.id, sizeof(ap->file_system_id));
        snprintf(ap->client_token, sizeof(ap->client_token), "%zu", i);
        strcpy(ap->path, paths[i]);
        ap->has_user = i != 1;
        ap->has_creation_info = i == 2;
        ap->permissions = 0755;
        fs_assert(catalogue_add_access_point(world.catalogue, ap) == 0);
    }
}

static void read_key(void)
{
    char path[128], line[256];
    snprintf(path, sizeof(path), "%s/credentials", world.directory);
    FILE *file = fopen(path, "r");
    fs_assert(file);
    while (!world.key[0] && fgets(line, sizeof(line), file))
        (void)sscanf(line, "aws_access_key_id = %63s", world.key);
    fclose(file);
    fs_assert(world.key[0]);
}

static void listen_there(void)
{
    struct listener_options options = {
        .loop = &world.shard.loop,
        .catalogue = world.catalogue,
        .credentials = world.credentials,
        .env = &world.env,
        .n_fds = 1,
    };
    fs_assert(listen_unix(world.directory, "data.sock", &options.fds[0]) == 0);
    fs_assert(listener_start(&options, &world.listener) == 0);
}

static void open_once(void)
{
    if (world.directory[0])
        return;
    log_setup("fuzz", LOG_ERROR, false);
    strcpy(world.directory, "/tmp/berth-fuzz-XXXXXX");
    fs_assert(mkdtemp(world.directory));
    fs_assert(atexit(remove_directory) == 0);
    world.env = (struct env){.monotonic_ns = tick, .realtime_ns = tick, .random_bytes = draw};
    world.options = (struct hosting_options){
        .data_directory = world.directory, .env = &world.env, .lease_ms = LEASE_MS, .max_locks = MAX_LOCKS};
    world.shard.options = &world.options;
    list_init(&world.shard.hosted);
    list_init(&world.shard.clients);
    fs_assert(uv_loop_init(&world.shard.loop) == 0);
    fs_assert(uv_idle_init(&world.shard.loop, &world.shard.idle) == 0);
    fs_assert(uv_timer_init(&world.shard.loop, &world.shard.again) == 0);
    fs_assert(catalogue_open(world.directory, &world.env, &world.catalogue) == 0);
    fs_assert(credentials_open(world.directory, &world.env, &world.credentials) == 0);
    make_access_points();
    read_key();
    listen_there();
    for (size_t i = 0; i < WORLD_PEERS; i++) {
        world.peers[i].fd = -1;
        world.peers[i].bytes = malloc(WIRE_FRAME_MAX);
        fs_assert(world.peers[i].bytes);
    }
}

// In the place of hosting.c's: there is one file system, on this loop. Named by the linker.
void __wrap_hosting_attach(struct hosting *hosting, struct attach *attach, struct conn *conn);       // NOLINT
void __wrap_hosting_attach(struct hosting *hosting UNUSED, struct attach *attach, struct conn *conn) // NOLINT
{
    welcome(&world.shard, &world.hosted, attach, conn);
}

wire_handle world_handle(size_t access_point, fs_ino ino)
{
    uint8_t key[SIPHASH_KEY_SIZE];
    open_once();
    attach_handle_key(world.fs.key, world.aps[access_point].key, key);
    return attach_handle(key, ino);
}

// --- what the server sends ---

static const struct wire_codec *codec_of(uint16_t op, bool call)
{
    for (size_t i = 0; i < ARRAY_LEN(wire_codecs); i++) {
        const char *suffix = strrchr(wire_codecs[i].name, '_');
        if (wire_codecs[i].op == op && strcmp(suffix, call ? "_reply" : "_event") == 0)
            return &wire_codecs[i];
    }
    return NULL;
}

static void learn(struct peer_end *peer, uint16_t op, const union wire_any_message *message)
{
    if (op == WIRE_GREETING) {
        memcpy(peer->nonce, message->greeting_event.nonce.bytes, sizeof(peer->nonce));
    } else if (op == WIRE_HELLO) {
        peer->session_high = message->hello_reply.session_high;
        peer->session_low = message->hello_reply.session_low;
    }
}

static void judge_frame(struct peer_end *peer, const struct wire_header *header)
{
    struct reader body = reader_on(peer->bytes + WIRE_HEADER_SIZE, header->length - WIRE_HEADER_SIZE);
    bool event = header->slot == 0 && (header->op == WIRE_GREETING || header->op == WIRE_GRANTED);
    fs_assert(header->slot <= SESSION_SLOTS);
    if (header->status != 0) {
        uint16_t n = read_u16(&body);
        fs_assert(header->status < 4096 && !event && read_bytes(&body, n) && body.left == 0);
        return;
    }
    const struct wire_codec *codec = codec_of(header->op, !event);
    union wire_any_message message;
    fs_assert(codec && codec->get(&body, &message) == 0);
    learn(peer, header->op, &message);
}

// Takes one frame; false: no whole one is there.
static bool take_frame(struct peer_end *peer)
{
    struct wire_header header;
    for (;;) {
        bool headed = peer->got >= WIRE_HEADER_SIZE;
        fs_assert(!headed || wire_get_header(peer->bytes, &header) == 0);
        size_t want = headed ? header.length : WIRE_HEADER_SIZE;
        fs_assert(want <= WIRE_FRAME_MAX);
        if (headed && peer->got == want)
            break;
        ssize_t n = recv(peer->fd, peer->bytes + peer->got, want - peer->got, MSG_DONTWAIT);
        if (n <= 0)
            return false;
        peer->got += (size_t)n;
    }
    peer->got = 0;
    judge_frame(peer, &header);
    return true;
}

static void take_frames(void)
{
    for (size_t i = 0; i < WORLD_PEERS; i++) {
        struct peer_end *peer = &world.peers[i];
        while (peer->fd >= 0 && !peer->deaf && take_frame(peer))
            ;
    }
}

// --- the server ---

static void judge_bounds(void)
{
    size_t n_opens = 0;
    list_for_each (node, &world.shard.clients) {
        const struct client *client = LIST_ENTRY(node, struct client, node);
        fs_assert(client->conn->out_length <= CONN_OUT_MAX + WIRE_FRAME_MAX);
        fs_assert(client->conn->held <= CONN_HELD_MAX + WIRE_FRAME_MAX);
    }
    for (struct table_node *node = table_first(&world.hosted.sessions); node;
         node = table_next(&world.hosted.sessions, node))
        n_opens += CONTAINER_OF(node, struct attached, node)->session->opens.count;
    fs_assert(n_opens == world.hosted.n_opens && list_empty(&world.hosted.turn));
}

static void run_loop(void)
{
    for (unsigned i = 0; i < 6 || world.hosted.n_jobs > 0; i++) {
        uv_run(&world.shard.loop, UV_RUN_NOWAIT);
        turn_run(&world.hosted);
        take_frames();
    }
}

void world_turn(void)
{
    run_loop();
    judge_bounds();
}

static void start(void)
{
    hosted_init(&world.hosted, &world.shard, &world.place, true);
    fs_assert(hosted_start(&world.hosted, world.store, world.now_ns) == 0);
    core_upkeep(world.hosted.core, &(bool){false});
}

// Without its end: the store is as it was.
static void stop(void)
{
    struct table_node *node;
    run_loop();
    store_fault_arm(world.store, "commit", 0, -EIO);
    world.hosted.closing = true;
    while ((node = table_first(&world.hosted.sessions)))
        attached_leave(CONTAINER_OF(node, struct attached, node), "the server stops");
    grace_free(&world.hosted);
    lock_table_destroy(world.hosted.locks);
    core_destroy(world.hosted.core);
    table_free(&world.hosted.sessions);
    keep_free(&world.hosted);
    memset(&world.hosted, 0, sizeof(world.hosted));
}

void world_begin(void)
{
    struct store *model;
    open_once();
    world.random = 1;
    world.now_ns = 1000000000u;
    fs_assert(store_model_open(&model) == 0);
    fs_assert(store_fault_open(model, &world.store) == 0);
    world.shard.incarnation = 1;
    start();
}

void world_restart(void)
{
    stop();
    for (size_t i = 0; i < WORLD_PEERS; i++)
        world_close(i);
    world.shard.incarnation++;
    start();
}

void world_end(void)
{
    struct table_node *node;
    for (size_t i = 0; i < WORLD_PEERS; i++) {
        world_close(i);
        world.peers[i].deaf = false;
        world.peers[i].session_high = world.peers[i].session_low = 0;
    }
    world_turn();
    fs_assert(list_empty(&world.shard.clients) && conn_count() == 0);
    store_fault_arm(world.store, "commit", 0, -EIO);
    while ((node = table_first(&world.hosted.sessions)))
        attached_end(CONTAINER_OF(node, struct attached, node), "evict", "the input ends");
    world_turn();
    hosted_pay(&world.hosted);
    fs_assert(lock_count(world.hosted.locks) == 0);
    fs_assert(world.hosted.n_opens == 0);
    fs_assert(!keep_owes(&world.hosted));
    stop();
    store_close(world.store);
}

void world_silence(void)
{
    for (struct table_node *node = table_first(&world.hosted.sessions); node;
         node = table_next(&world.hosted.sessions, node)) {
        struct attached *attached = CONTAINER_OF(node, struct attached, node);
        attached->heard_ms -= MIN(attached->heard_ms, LEASE_MS);
    }
    world.hosted.ticked_ms = uv_now(&world.shard.loop);
    world.hosted.grace_until_ms -= MIN(world.hosted.grace_until_ms, LEASE_MS);
    hosted_tick(&world.hosted);
}

void world_fail_commit(void)
{
    store_fault_arm(world.store, "commit", 1, -EIO);
}

void world_evict(size_t peer)
{
    struct attached *attached = attached_get(&world.hosted, world.peers[peer].session_low);
    if (attached)
        attached_end(attached, "evict", "the input wants it");
}

// --- the peers ---

void world_close(size_t peer)
{
    struct peer_end *end = &world.peers[peer];
    if (end->fd >= 0)
        close(end->fd);
    end->fd = -1;
    end->got = 0;
}

void world_deafen(size_t peer)
{
    world.peers[peer].deaf = true;
}

void world_send(size_t peer, const void *bytes, size_t n)
{
    struct peer_end *end = &world.peers[peer];
    if (end->fd >= 0 && send(end->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        world_close(peer);
}

static void connect_there(struct peer_end *end)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/data.sock", world.directory);
    end->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fs_assert(end->fd >= 0);
    fs_assert(connect(end->fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
}

static void prove(const struct peer_end *end, struct wire_hello_request *hello, uint8_t proof[HMAC_SIZE])
{
    uint8_t input[WIRE_HELLO_PROOF_INPUT_MAX];
    hello->access_key = (wire_text){world.key, (uint16_t)strlen(world.key)};
    size_t n =
        wire_hello_proof_input(input, (wire_bytes){end->nonce, sizeof(end->nonce)}, (wire_bytes){0}, hello);
    const char *secret = credentials_secret(world.credentials, world.key, strlen(world.key));
    fs_assert(n > 0 && secret);
    hmac_sha256(secret, strlen(secret), input, n, proof);
    hello->proof = (wire_bytes){proof, HMAC_SIZE};
}

void world_hello(size_t peer, unsigned how)
{
    struct peer_end *end = &world.peers[peer];
    const struct access_point *ap = &world.aps[(how & 3u) % WORLD_ACCESS_POINTS];
    uint8_t proof[HMAC_SIZE], bytes[512];
    world_close(peer);
    end->deaf = false;
    connect_there(end);
    run_loop(); // the greeting brings the nonce
    struct wire_hello_request hello = {
        .version = WIRE_VERSION_MAX,
        .access_point = {ap->id, (uint16_t)strlen(ap->id)},
        .session_high = how & WORLD_RESUME ? end->session_high : 0,
        .session_low = how & WORLD_RESUME ? end->session_low : 0,
        .want_read_only = (how & WORLD_READ_ONLY) != 0,
    };
    if (how & WORLD_PROVE)
        prove(end, &hello, proof);
    struct writer writer = writer_on(bytes + WIRE_HEADER_SIZE, sizeof(bytes) - WIRE_HEADER_SIZE);
    wire_put_hello_request(&writer, &hello);
    struct wire_header header = {.length = (uint32_t)(sizeof(bytes) - writer.left), .op = WIRE_HELLO};
    wire_put_header(bytes, &header);
    world_send(peer, bytes, header.length);
    run_loop();
}
