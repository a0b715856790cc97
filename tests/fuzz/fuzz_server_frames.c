// SPDX-License-Identifier: Apache-2.0
// Fuzzes the server with what its peers send and do: hellos, frames, losses, silence, restarts, failing
// commits, through its own listener. The rules: it never fails, sends no frame that is malformed, keeps its
// bounds, and keeps nothing of a session that has ended.
//
// Input: steps, see tests/fuzz/server/play.h.
#include "fs/base/check.h"
#include "server/session.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/server/play.h"
#include "tests/fuzz/server/world.h"
#include <string.h>

#define STEPS_MAX 200u

static uint32_t seqs[WORLD_PEERS][256];

// --- running ---

static size_t put_credentials(uint8_t *bytes, size_t room)
{
    struct writer writer = writer_on(bytes, room);
    wire_put_cred(&writer, &(struct fs_cred){0});
    return room - writer.left;
}

static void send_call(size_t peer, struct reader *input, bool again)
{
    uint8_t frame[WIRE_HEADER_SIZE + PLAY_BODY_MAX + 64];
    uint16_t op = read_u8(input), slot = read_u8(input), n = read_u16(input);
    n = (uint16_t)MIN(n, MIN(input->left, PLAY_BODY_MAX));
    const uint8_t *body = read_bytes(input, n);
    bool with_cred = slot & 0x80;
    size_t at = WIRE_HEADER_SIZE;
    slot = slot == 0x7f ? SESSION_SLOTS : slot & 0x7f;
    if (with_cred)
        at += put_credentials(frame + at, sizeof(frame) - at);
    if (n > 0)
        memcpy(frame + at, body, n);
    seqs[peer][slot] += !again;
    struct wire_header header = {.length = (uint32_t)(at + n),
                                 .op = op,
                                 .slot = slot,
                                 .seq = seqs[peer][slot],
                                 .status = with_cred ? WIRE_WITH_CRED : 0};
    wire_put_header(frame, &header);
    world_send(peer, frame, header.length);
}

static void send_raw(size_t peer, struct reader *input)
{
    uint16_t n = read_u16(input);
    n = (uint16_t)MIN(n, input->left);
    world_send(peer, read_bytes(input, n), n);
}

static void hello(size_t peer, unsigned how)
{
    if (!(how & WORLD_RESUME))
        memset(seqs[peer], 0, sizeof(seqs[peer]));
    world_hello(peer, how);
}

static void step(enum play_step what, size_t peer, struct reader *input)
{
    switch (what) {
    case PLAY_HELLO:
        return hello(peer, read_u8(input));
    case PLAY_CALL:
    case PLAY_AGAIN:
        return send_call(peer, input, what == PLAY_AGAIN);
    case PLAY_RAW:
        return send_raw(peer, input);
    case PLAY_CLOSE:
        return world_close(peer);
    case PLAY_TURN:
        return world_turn();
    case PLAY_SILENCE:
        return world_silence();
    case PLAY_RESTART:
        return world_restart();
    case PLAY_FAIL_COMMIT:
        return world_fail_commit();
    case PLAY_EVICT:
        return world_evict(peer);
    case PLAY_DEAFEN:
        return world_deafen(peer);
    default:
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader input = reader_on(data, size);
    memset(seqs, 0, sizeof(seqs));
    world_begin();
    for (size_t n = 0; n < STEPS_MAX && input.left > 0; n++) {
        uint8_t byte = read_u8(&input);
        step((byte >> 2) % PLAY_STEPS, byte % WORLD_PEERS, &input);
    }
    world_turn();
    world_end();
    return 0;
}
