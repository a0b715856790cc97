// SPDX-License-Identifier: Apache-2.0
// What the fuzzer of the server starts mutations from: a session that sends each call, and longer plays of
// two clients; on each access point.
#include "tests/fuzz/server/play.h"
#include "fs/base/check.h"
#include "fs/core/core.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/server/world.h"
#include <string.h>
#include <sys/stat.h>

static size_t access_point; // that the play is on

static wire_handle root(void)
{
    return world_handle(access_point, FS_ROOT_INO);
}

static wire_handle file(void)
{
    return world_handle(access_point, FS_ROOT_INO + 1);
}

// --- steps ---

static void put_step(struct writer *script, enum play_step what, size_t peer)
{
    write_u8(script, (uint8_t)(what << 2 | peer));
}

static void put_hello(struct writer *script, size_t peer, unsigned how)
{
    put_step(script, PLAY_HELLO, peer);
    write_u8(script, (uint8_t)(access_point | how));
}

static void put_call(struct writer *script, size_t peer, uint16_t op, uint8_t slot, const uint8_t *body,
                     size_t n)
{
    bool with_cred = access_point == 1 && op != WIRE_PING && op != WIRE_BYE && op != WIRE_RECLAIMED;
    put_step(script, PLAY_CALL, peer);
    write_u8(script, (uint8_t)op);
    write_u8(script, (uint8_t)(slot | (with_cred ? 0x80 : 0)));
    write_u16(script, (uint16_t)n);
    write_bytes(script, body, n);
}

#define PUT(script, peer, slot, NAME, name, ...)                                                 \
    do {                                                                                         \
        uint8_t put_body[PLAY_BODY_MAX];                                                         \
        struct writer put_writer = writer_on(put_body, sizeof(put_body));                        \
        wire_put_##name##_request(&put_writer, &(struct wire_##name##_request){__VA_ARGS__});    \
        put_call(script, peer, WIRE_##NAME, slot, put_body, sizeof(put_body) - put_writer.left); \
        put_step(script, PLAY_TURN, 0);                                                          \
    } while (0)

// --- every call once: a value for every field, by its type and name, beside the file "f" with open 1 ---

static wire_u8 sample_u8(const char *name UNUSED)
{
    return 0;
}

static wire_u16 sample_u16(const char *name UNUSED)
{
    return 1;
}

static wire_u32 sample_u32(const char *name)
{
    return strcmp(name, "mode") == 0 ? S_IFDIR | 0755 : strcmp(name, "umask") == 0 ? 022 : 1;
}

static wire_u64 sample_u64(const char *name)
{
    return strcmp(name, "open_id") == 0 || strcmp(name, "from_open_id") == 0 ? 1
           : strcmp(name, "n") == 0 || strcmp(name, "ticket") == 0           ? 7
                                                                             : 0;
}

static wire_handle sample_handle(const char *name)
{
    return strcmp(name, "handle") == 0 ? file() : root();
}

static wire_name sample_name(const char *name)
{
    return fs_name_of(strcmp(name, "new_name") == 0 ? "h" : "g");
}

static wire_lookup_name sample_lookup_name(const char *name UNUSED)
{
    return fs_name_of("f");
}

static wire_text sample_text(const char *name UNUSED)
{
    return (wire_text){"user.a", 6};
}

static wire_bytes sample_bytes(const char *name UNUSED)
{
    return (wire_bytes){(const uint8_t *)"some bytes", 10};
}

static wire_time sample_time(const char *name UNUSED)
{
    return (wire_time){.sec = 1};
}

static wire_lock sample_lock(const char *name UNUSED)
{
    return (wire_lock){.kind = FS_LOCK_FCNTL, .type = FS_LOCK_WRITE, .end = 99, .owner = 1, .pid = 2};
}

#define SAMPLE(type, name) .name = sample_##type(#name),
#define PUT_SAMPLE(NAME, name, number, repeatable)                    \
    static void put_one_##name(struct writer *script)                 \
    {                                                                 \
        PUT(script, 0, 2, NAME, name, WIRE_##NAME##_REQUEST(SAMPLE)); \
    }
WIRE_CALLS(PUT_SAMPLE)

#define SAMPLE_ROW(NAME, name, number, repeatable) put_one_##name,
static void (*const samples[])(struct writer *) = {WIRE_CALLS(SAMPLE_ROW)};

// --- plays ---

static void put_file(struct writer *script, size_t peer)
{
    PUT(script, peer, 1, CREATE, create, .parent = root(), .name = fs_name_of("f"), .open_id = 1,
        .mode = 0666, .flags = FS_OPEN_READ | FS_OPEN_WRITE);
}

static void put_lock(struct writer *script, size_t peer, uint8_t slot, uint64_t ticket, uint8_t how)
{
    const struct fs_lock lock = {
        .kind = FS_LOCK_FLOCK, .type = FS_LOCK_WRITE, .end = INT64_MAX, .owner = slot};
    PUT(script, peer, slot, SETLK, setlk, .open_id = 1, .lock = lock, .ticket = ticket, .how = how);
}

static void put_two_and_a_lock(struct writer *script)
{
    put_hello(script, 0, 0);
    put_hello(script, 1, 0);
    put_file(script, 0);
    put_file(script, 1);
    put_lock(script, 0, 2, 0, 0);
    put_lock(script, 1, 2, 5, 0);
    put_lock(script, 0, 3, 6, 0);
}

static void put_return(struct writer *script, size_t peer)
{
    put_hello(script, peer, WORLD_RESUME);
    PUT(script, peer, 4, REOPEN, reopen, .handle = file(), .open_id = 1,
        .flags = FS_OPEN_READ | FS_OPEN_WRITE);
    put_lock(script, peer, 2, 0, WIRE_SETLK_RECLAIM);
    PUT(script, peer, 4, RECLAIMED, reclaimed, );
}

static void play_restart(struct writer *script)
{
    put_two_and_a_lock(script);
    put_step(script, PLAY_RESTART, 0);
    put_return(script, 1);
    PUT(script, 1, 5, MAKE, make, .parent = root(), .name = fs_name_of("d"), .mode = S_IFDIR | 0755);
    put_return(script, 0);
}

static void play_silence(struct writer *script)
{
    put_two_and_a_lock(script);
    put_step(script, PLAY_SILENCE, 0);
    put_lock(script, 0, 5, 8, 0);
    put_lock(script, 1, 5, 8, 0);
    put_hello(script, 0, WORLD_RESUME);
    put_file(script, 0);
}

// What waits for the end of grace runs when its session has expired.
static void play_parked(struct writer *script)
{
    put_two_and_a_lock(script);
    put_step(script, PLAY_RESTART, 0);
    put_return(script, 0);
    put_lock(script, 0, 7, 9, 0);
    put_step(script, PLAY_SILENCE, 0);
    put_step(script, PLAY_TURN, 0);
    put_return(script, 1);
}

static void play_late(struct writer *script)
{
    put_two_and_a_lock(script);
    put_step(script, PLAY_RESTART, 0);
    put_step(script, PLAY_SILENCE, 0);
    put_return(script, 1);
    put_lock(script, 1, 3, 0, 0);
    put_return(script, 0);
}

static void play_failing(struct writer *script)
{
    put_two_and_a_lock(script);
    put_step(script, PLAY_FAIL_COMMIT, 0);
    PUT(script, 0, 5, APPEND, append, .open_id = 1, .data = {(const uint8_t *)"x", 1});
    put_step(script, PLAY_FAIL_COMMIT, 0);
    put_step(script, PLAY_EVICT, 0);
    put_step(script, PLAY_TURN, 0);
    put_file(script, 0);
}

static void play_farewell(struct writer *script)
{
    put_two_and_a_lock(script);
    PUT(script, 1, 6, FSYNC, fsync, .open_id = 1);
    PUT(script, 0, 6, BYE, bye, );
    put_step(script, PLAY_CLOSE, 1);
    put_hello(script, 1, WORLD_RESUME | WORLD_READ_ONLY);
    put_hello(script, 1, WORLD_RESUME);
    PUT(script, 1, 6, CANCEL, cancel, .ticket = 5);
}

static void play_proof(struct writer *script)
{
    put_hello(script, 0, WORLD_PROVE);
    put_step(script, PLAY_DEAFEN, 0);
    put_file(script, 0);
    PUT(script, 0, 1, WRITE, write, .open_id = 1, .offset = FS_IO_MAX, .data = {(const uint8_t *)"x", 1});
    for (uint8_t slot = 2; slot < 10; slot++)
        PUT(script, 0, slot, READ, read, .open_id = 1, .n = FS_IO_MAX);
}

static void (*const plays[])(struct writer *) = {play_restart, play_silence,  play_late, play_parked,
                                                 play_failing, play_farewell, play_proof};

static void play(struct writer *script, size_t i)
{
    if (i < ARRAY_LEN(plays)) {
        plays[i](script);
        return;
    }
    put_hello(script, 0, 0);
    put_file(script, 0);
    samples[i - ARRAY_LEN(plays)](script);
}

size_t fuzz_seed(size_t i, uint8_t *out, size_t out_size)
{
    const size_t n = ARRAY_LEN(plays) + ARRAY_LEN(samples);
    if (i >= n * WORLD_ACCESS_POINTS)
        return 0;
    struct writer script = writer_on(out, out_size);
    access_point = i / n;
    play(&script, i % n);
    fs_assert(!script.failed);
    return out_size - script.left;
}
