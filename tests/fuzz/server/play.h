// SPDX-License-Identifier: Apache-2.0
// The inputs of fuzz_server_frames: steps, each a u8 (what to do, times 4, plus which peer) and what it
// needs.
#ifndef BERTH_TESTS_FUZZ_SERVER_PLAY_H
#define BERTH_TESTS_FUZZ_SERVER_PLAY_H

#define PLAY_BODY_MAX 4096u

enum play_step {
    PLAY_HELLO, // u8 how: see world.h
    PLAY_CALL,  // u8 op, u8 slot (bit 7: with credentials), u16 n, n bytes of a body: the slot's next request
    PLAY_AGAIN, // the same under the slot's last number
    PLAY_RAW,   // u16 n, n bytes as they are
    PLAY_CLOSE,
    PLAY_TURN,
    PLAY_SILENCE,
    PLAY_RESTART,
    PLAY_FAIL_COMMIT,
    PLAY_EVICT,
    PLAY_DEAFEN,
    PLAY_STEPS
};

#endif
