// SPDX-License-Identifier: Apache-2.0
// The rpc against a server that the test plays (rpc_fixture.h): slots and sequence numbers, resending on the
// same session, what a new session gets, reconnection, silence, refusal, farewell.
#include "tests/unit/rpc_fixture.h"

static void test_hello_then_calls(void **state)
{
    struct fixture *f = *state;
    static struct probe before;
    rpc_start(f->rpc);
    assert_int_equal(f->connects, 1);
    submit(f, &before, WIRE_FSYNC, 5);
    shake_hands(f);
    assert_int_equal(f->hello.session_low, 0);
    assert_int_equal(f->hello.proof.length, 0);
    assert_int_equal(f->n_seen, 0);
    welcome(f, false, 77, 4);
    assert_int_equal(f->firsts, 1);
    assert_int_equal(f->reclaims, 0);
    serve(f, 1);
    struct seen seen = next(f);
    assert_int_equal(seen.header.op, WIRE_FSYNC);
    assert_int_equal(seen.header.seq, 1);
    assert_in_range(seen.header.slot, 1, 4);
    assert_int_equal(seen.open_id, 5);
    answer(f, seen, 0);
    assert_int_equal(before.done, 1);
    assert_int_equal(before.result, 0);
}

static void test_credential_brings_a_proof(void **state)
{
    struct fixture *f = *state;
    rpc_start(f->rpc);
    shake_hands(f);
    assert_int_equal(f->hello.access_key.length, 4);
    assert_int_equal(f->hello.proof.length, WIRE_PROOF_SIZE);
    assert_int_equal(((const uint8_t *)f->hello.proof.bytes)[0], 4);
}

static void test_a_slot_carries_one_call_and_counts(void **state)
{
    struct fixture *f = *state;
    static struct probe probes[6];
    uint32_t last_seq[4] = {0};
    attach(f, 3);
    for (size_t i = 0; i < ARRAY_LEN(probes); i++)
        submit(f, &probes[i], WIRE_FSYNC, i);
    for (size_t answered = 0; answered < ARRAY_LEN(probes);) {
        serve(f, 7);
        assert_in_range(f->n_seen, 1, 3);
        bool busy[4] = {0};
        for (size_t i = 0; i < f->n_seen; i++) {
            uint16_t slot = f->seen[i].header.slot;
            assert_in_range(slot, 1, 3);
            assert_false(busy[slot]);
            busy[slot] = true;
        }
        struct seen seen = next(f);
        assert_int_equal(seen.open_id, answered);
        assert_int_equal(seen.header.seq, ++last_seq[seen.header.slot]);
        answer(f, seen, 0);
        assert_int_equal(probes[answered++].done, 1);
    }
}

static void test_errors_of_the_server_reach_the_caller(void **state)
{
    struct fixture *f = *state;
    static struct probe probe;
    attach(f, 4);
    submit(f, &probe, WIRE_UNLINK, 0);
    serve(f, SIZE_MAX);
    answer(f, next(f), ENOENT);
    assert_int_equal(probe.result, -ENOENT);
    submit(f, &probe, WIRE_UNLINK, 0);
    serve(f, SIZE_MAX);
    answer(f, next(f), 1u << 31); // no errno of Linux
    assert_int_equal(probe.result, -EIO);
}

static void test_urgent_calls_have_slots_of_their_own(void **state)
{
    struct fixture *f = *state;
    static struct probe many[40], urgent;
    attach(f, 2 * RPC_SLOTS_RESERVED + 4);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        submit(f, &many[i], WIRE_FSYNC, i);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, RPC_SLOTS_RESERVED + 4);
    f->n_seen = 0;
    prepare(&urgent, WIRE_RELEASE, 99);
    urgent.call.class = RPC_URGENT;
    rpc_submit(f->rpc, &urgent.call);
    serve(f, SIZE_MAX);
    assert_int_equal(next(f).open_id, 99);
}

static void test_resumed_session_gets_the_same_calls_again(void **state)
{
    struct fixture *f = *state;
    static struct probe a, b, c;
    attach(f, 4);
    submit(f, &a, WIRE_APPEND, 1);
    submit(f, &b, WIRE_READ, 2);
    serve(f, SIZE_MAX);
    struct seen first[2] = {next(f), next(f)};
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    assert_int_equal(f->downs, 1);
    submit(f, &c, WIRE_FSYNC, 3);
    come_back(f);
    assert_int_equal(f->hello.session_high, 77);
    assert_int_equal(f->hello.session_low, 77);
    welcome(f, true, 77, 4);
    assert_int_equal(f->reclaims, 0);
    serve(f, SIZE_MAX);
    for (size_t i = 0; i < 2; i++) {
        struct seen again = next(f);
        assert_memory_equal(&again.header, &first[i].header, sizeof(again.header));
        answer(f, again, 0);
    }
    assert_int_equal(next(f).open_id, 3);
    assert_int_equal(a.done + b.done, 2);
    assert_int_equal(c.done, 0);
}

static void test_connection_lost_amid_a_frame(void **state)
{
    struct fixture *f = *state;
    static struct probe a;
    struct iovec part;
    attach(f, 4);
    submit(f, &a, WIRE_APPEND, 1);
    assert_int_equal(rpc_output(f->rpc, &part, 1), 1);
    rpc_written(f->rpc, 5);
    rpc_lost(f->rpc, -EPIPE, "broken");
    assert_int_equal(rpc_output(f->rpc, &part, 1), 0);
    come_back(f);
    welcome(f, true, 77, 4);
    serve(f, SIZE_MAX);
    assert_int_equal(next(f).header.op, WIRE_APPEND); // whole
}

static void test_new_session_repeats_only_what_is_harmless(void **state)
{
    struct fixture *f = *state;
    static struct probe append, read_1, queued, read_2;
    attach(f, 3);
    submit(f, &append, WIRE_APPEND, 1);
    submit(f, &read_1, WIRE_READ, 2);
    submit(f, &read_2, WIRE_READ, 3);
    submit(f, &queued, WIRE_APPEND, 4); // never sent: no slot
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 3);
    f->n_seen = 0;
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    come_back(f);
    welcome(f, false, 88, 3);
    assert_int_equal(append.done, 1);
    assert_int_equal(append.result, -EIO);
    assert_int_equal(f->fences, 1);
    assert_int_equal(f->firsts, 1);
    serve(f, SIZE_MAX);
    static const uint64_t order[] = {2, 3, 4};
    for (size_t i = 0; i < 3; i++) {
        struct seen seen = next(f);
        assert_int_equal(seen.open_id, order[i]);
        assert_int_equal(seen.header.seq, 1); // the session's first
        answer(f, seen, 0);
    }
    assert_int_equal(read_1.done + read_2.done + queued.done, 3);
}

static void test_revoked_session_fences(void **state)
{
    struct fixture *f = *state;
    static struct probe append;
    attach(f, 4);
    submit(f, &append, WIRE_APPEND, 9);
    serve(f, SIZE_MAX);
    f->n_seen = 0;
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    come_back(f);
    welcome(f, false, 88, 4);
    assert_int_equal(append.result, -EIO);
    assert_int_equal(f->fences, 1);
    assert_int_equal(f->reclaims, 0);
    assert_int_equal(rpc_state(f->rpc), RPC_READY);
}

static void test_withdraw_only_what_was_not_sent(void **state)
{
    struct fixture *f = *state;
    static struct probe sent, queued;
    attach(f, 1);
    submit(f, &sent, WIRE_APPEND, 1);
    submit(f, &queued, WIRE_APPEND, 2);
    assert_false(rpc_withdraw(f->rpc, &sent.call));
    assert_true(rpc_withdraw(f->rpc, &queued.call));
    serve(f, SIZE_MAX);
    answer(f, next(f), 0);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 0);
    assert_int_equal(sent.done, 1);
    assert_int_equal(queued.done, 0);
}

static void test_attempts_back_off_and_do_not_end(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    uint64_t pause_ms = RPC_BACKOFF_FIRST_MS;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t due = rpc_tick(f->rpc);
        assert_int_equal(due, f->now_ns + pause_ms * MS);
        f->now_ns = due - 1;
        assert_int_equal(rpc_tick(f->rpc), due);
        assert_int_equal(f->connects, 1 + i);
        f->now_ns = due;
        rpc_tick(f->rpc);
        assert_int_equal(f->connects, 2 + i);
        rpc_lost(f->rpc, -ECONNREFUSED, "refused");
        pause_ms = MIN(2 * pause_ms, RPC_BACKOFF_MAX_MS);
    }
    assert_int_equal(f->down_error, -ECONNREFUSED);
}

static void test_no_greeting_in_time(void **state)
{
    struct fixture *f = *state;
    rpc_start(f->rpc);
    rpc_connected(f->rpc);
    f->now_ns += RPC_GREETING_MAX_MS * MS;
    rpc_tick(f->rpc);
    assert_int_equal(f->disconnects, 1);
    assert_int_equal(f->down_error, -ETIMEDOUT);
}

static void test_not_a_berth_server(void **state)
{
    struct fixture *f = *state;
    rpc_start(f->rpc);
    rpc_connected(f->rpc);
    greet(f, 0x50545448, 1);
    assert_int_equal(f->down_error, -EPROTO);
    assert_non_null(strstr(f->why, "not a Berth server"));
}

static void test_no_common_version(void **state)
{
    struct fixture *f = *state;
    rpc_start(f->rpc);
    rpc_connected(f->rpc);
    greet(f, WIRE_MAGIC, WIRE_VERSION_MAX + 1);
    assert_int_equal(f->down_error, -EPROTO);
    assert_non_null(strstr(f->why, "version"));
}

static void test_pings_keep_the_lease_and_notice_silence(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    uint64_t due = rpc_tick(f->rpc);
    assert_int_equal(due, f->now_ns + LEASE_MS * MS / 3);
    f->now_ns = due;
    rpc_tick(f->rpc);
    serve(f, SIZE_MAX);
    struct seen ping = next(f);
    assert_int_equal(ping.header.op, WIRE_PING);
    answer(f, ping, 0);
    assert_int_equal(rpc_tick(f->rpc), f->now_ns + LEASE_MS * MS / 3);
    f->now_ns += LEASE_MS * MS / 3;
    due = rpc_tick(f->rpc);
    assert_int_equal(due, f->now_ns + LEASE_MS * MS * 2 / 3);
    f->now_ns = due;
    rpc_tick(f->rpc);
    assert_int_equal(f->down_error, -ETIMEDOUT);
    assert_int_equal(f->disconnects, 1);
}

static void test_refusal_fails_calls_until_it_is_taken_back(void **state)
{
    struct fixture *f = *state;
    static struct probe before, during, after;
    attach(f, 4);
    submit(f, &before, WIRE_APPEND, 1);
    serve(f, SIZE_MAX);
    f->n_seen = 0;
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    come_back(f);
    refuse(f, ENOENT, "access point fsap-1 does not exist");
    assert_string_equal(rpc_refusal(f->rpc), "access point fsap-1 does not exist");
    assert_int_equal(before.result, -ESTALE);
    submit(f, &during, WIRE_READ, 2);
    assert_int_equal(during.result, -ESTALE);
    come_back(f);
    assert_int_equal(f->hello.session_low, 0);
    welcome(f, false, 88, 4);
    assert_null(rpc_refusal(f->rpc));
    assert_int_equal(f->fences, 1);
    submit(f, &after, WIRE_READ, 3);
    serve(f, SIZE_MAX);
    assert_int_equal(next(f).open_id, 3);
}

static void test_another_identity_is_a_refusal(void **state)
{
    struct fixture *f = *state;
    static struct probe waiting;
    attach(f, 4);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    submit(f, &waiting, WIRE_READ, 1);
    come_back(f);
    welcome_as(f, WIRE_IDENTITY_CALLER, false, 88, 4);
    assert_int_equal(f->welcomes, 1);
    assert_int_equal(waiting.result, -ESTALE);
    assert_non_null(strstr(rpc_refusal(f->rpc), "identity"));
}

static void test_refused_for_now_waits(void **state)
{
    struct fixture *f = *state;
    static struct probe waiting;
    attach(f, 4);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    submit(f, &waiting, WIRE_READ, 1);
    come_back(f);
    refuse(f, EUSERS, "too many sessions");
    assert_null(rpc_refusal(f->rpc));
    assert_int_equal(waiting.done, 0);
}

static void test_first_refusal_tells_the_servers_reason(void **state)
{
    struct fixture *f = *state;
    rpc_start(f->rpc);
    shake_hands(f);
    refuse(f, EACCES, "a credential is needed");
    assert_int_equal(f->down_error, -EACCES);
    assert_string_equal(f->why, "a credential is needed");
}

static void test_answers_to_nothing_end_the_connection(void **state)
{
    struct fixture *f = *state;
    static struct probe probe;
    attach(f, 4);
    submit(f, &probe, WIRE_READ, 1);
    serve(f, SIZE_MAX);
    struct seen seen = next(f), wrong[5] = {seen, seen, seen, seen, seen};
    wrong[0].header.seq++;
    wrong[1].header.slot = (uint16_t)(seen.header.slot % 4 + 1);
    wrong[2].header.slot = 5;
    wrong[3].header.slot = UINT16_MAX;
    wrong[4].header.op = WIRE_FSYNC;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        answer(f, wrong[i], 0);
        assert_int_equal(f->disconnects, i + 1);
        assert_int_equal(f->down_error, -EPROTO);
        come_back(f);
        welcome(f, true, 77, 4);
        serve(f, SIZE_MAX);
        assert_int_equal(next(f).header.seq, seen.header.seq);
    }
    assert_int_equal(probe.done, 0);
    answer(f, seen, 0);
    assert_int_equal(probe.done, 1);
    answer(f, seen, 0); // a second time
    assert_int_equal(f->disconnects, ARRAY_LEN(wrong) + 1);
}

static void test_answer_before_the_request_was_written(void **state)
{
    struct fixture *f = *state;
    static struct probe probe;
    struct iovec part;
    attach(f, 4);
    submit(f, &probe, WIRE_READ, 1);
    assert_int_equal(rpc_output(f->rpc, &part, 1), 1);
    rpc_written(f->rpc, part.iov_len - 1);
    answer(f, (struct seen){.header = {.op = WIRE_READ, .slot = probe.call.slot, .seq = 1}}, 0);
    assert_int_equal(f->down_error, -EPROTO);
    assert_int_equal(probe.done, 0);
}

static void test_events_reach_the_host(void **state)
{
    struct fixture *f = *state;
    uint8_t body[8] = {42};
    attach(f, 4);
    say(f, (struct wire_header){.op = WIRE_GRANTED}, body, sizeof(body));
    assert_int_equal(f->granted, 42);
    uint8_t invalidate[64];
    struct writer writer = writer_on(invalidate, sizeof(invalidate));
    wire_put_invalidate_event(&writer, &(struct wire_invalidate_event){.number = 43, .ino = 2});
    say(f, (struct wire_header){.op = WIRE_INVALIDATE}, invalidate, sizeof(invalidate) - writer.left);
    assert_int_equal(f->invalidated, 43);
    say(f, (struct wire_header){.op = WIRE_GRANTED}, body, 7);
    assert_int_equal(f->down_error, -EPROTO);
}

static void test_what_is_told_has_no_slot_and_is_not_told_twice(void **state)
{
    struct fixture *f = *state;
    uint8_t body[8] = {9};
    rpc_start(f->rpc);
    assert_int_equal(rpc_tell(f->rpc, WIRE_DROPPED, body, sizeof(body)), -ENOTCONN);
    shake_hands(f);
    welcome(f, false, 77, 4);
    assert_int_equal(rpc_tell(f->rpc, WIRE_DROPPED, body, sizeof(body)), 0);
    serve(f, 5);
    struct seen told = next(f);
    assert_int_equal(told.header.op, WIRE_DROPPED);
    assert_int_equal(told.header.slot, 0);
    assert_int_equal(told.header.seq, 0);
    assert_int_equal(told.header.length, WIRE_HEADER_SIZE + sizeof(body));
    // What has not left when the connection is lost is lost: the server asks again.
    assert_int_equal(rpc_tell(f->rpc, WIRE_DROPPED, body, sizeof(body)), 0);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    come_back(f);
    welcome(f, true, 77, 4);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 0);
}

static void test_what_the_server_has_heard_is_what_it_answers(void **state)
{
    struct fixture *f = *state;
    static struct probe a, b;
    uint8_t granted[8] = {0};
    attach(f, 4);
    uint64_t attached_ns = f->now_ns;
    assert_int_equal(rpc_answered_ns(f->rpc), attached_ns);
    f->now_ns += 10 * MS;
    submit(f, &a, WIRE_READ, 1);
    uint64_t sent_ns = f->now_ns;
    f->now_ns += 10 * MS;
    submit(f, &b, WIRE_READ, 2);
    serve(f, SIZE_MAX);
    struct seen first = next(f), second = next(f);
    f->now_ns += 10 * MS;
    // An event says nothing of what the server has heard.
    say(f, (struct wire_header){.op = WIRE_GRANTED}, granted, sizeof(granted));
    assert_int_equal(rpc_answered_ns(f->rpc), attached_ns);
    answer(f, second, 0);
    assert_int_equal(rpc_answered_ns(f->rpc), sent_ns + 10 * MS);
    answer(f, first, 0);
    assert_int_equal(rpc_answered_ns(f->rpc), sent_ns + 10 * MS);
    assert_int_equal(rpc_tick(f->rpc), sent_ns + 10 * MS + LEASE_MS * MS / 3);
}

static void test_a_call_knows_that_it_was_sent_again(void **state)
{
    struct fixture *f = *state;
    static struct probe a, b;
    attach(f, 4);
    submit(f, &a, WIRE_READ, 1);
    serve(f, SIZE_MAX);
    next(f);
    assert_false(a.call.again);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    submit(f, &b, WIRE_READ, 2);
    come_back(f);
    uint64_t back_ns = f->now_ns;
    welcome(f, true, 77, 4);
    serve(f, SIZE_MAX);
    assert_true(a.call.again);
    assert_false(b.call.again);
    answer(f, next(f), 0);
    assert_int_equal(rpc_answered_ns(f->rpc), back_ns);
    answer(f, next(f), 0);
}

static void test_farewell(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    rpc_end(f->rpc);
    serve(f, SIZE_MAX);
    struct seen bye = next(f);
    assert_int_equal(bye.header.op, WIRE_BYE);
    assert_int_equal(f->ended, 0);
    answer(f, bye, 0);
    rpc_tick(f->rpc);
    assert_int_equal(f->ended, 1);
    assert_int_equal(f->downs, 0);
}

static void test_farewell_is_not_waited_for_long(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    rpc_end(f->rpc);
    f->now_ns += RPC_FAREWELL_MAX_MS * MS;
    rpc_tick(f->rpc);
    assert_int_equal(f->ended, 1);
}

static void test_nobody_to_say_farewell_to(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    rpc_end(f->rpc);
    assert_int_equal(f->ended, 1);
}

static void test_what_is_left_is_done_at_the_end(void **state)
{
    struct fixture *f = *state;
    static struct probe sent, queued;
    attach(f, 1);
    submit(f, &sent, WIRE_APPEND, 1);
    submit(f, &queued, WIRE_APPEND, 2);
    rpc_destroy(f->rpc);
    f->rpc = NULL;
    assert_int_equal(sent.done + queued.done, 2);
    assert_int_equal(sent.result, -ENOTCONN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hello_then_calls),
        cmocka_unit_test_setup_teardown(test_credential_brings_a_proof, setup_with_key, teardown),
        TEST(test_a_slot_carries_one_call_and_counts),
        TEST(test_errors_of_the_server_reach_the_caller),
        TEST(test_urgent_calls_have_slots_of_their_own),
        TEST(test_resumed_session_gets_the_same_calls_again),
        TEST(test_connection_lost_amid_a_frame),
        TEST(test_new_session_repeats_only_what_is_harmless),
        TEST(test_revoked_session_fences),
        TEST(test_withdraw_only_what_was_not_sent),
        TEST(test_attempts_back_off_and_do_not_end),
        TEST(test_no_greeting_in_time),
        TEST(test_not_a_berth_server),
        TEST(test_no_common_version),
        TEST(test_pings_keep_the_lease_and_notice_silence),
        TEST(test_refusal_fails_calls_until_it_is_taken_back),
        TEST(test_another_identity_is_a_refusal),
        TEST(test_refused_for_now_waits),
        TEST(test_first_refusal_tells_the_servers_reason),
        TEST(test_answers_to_nothing_end_the_connection),
        TEST(test_answer_before_the_request_was_written),
        TEST(test_events_reach_the_host),
        TEST(test_what_is_told_has_no_slot_and_is_not_told_twice),
        TEST(test_what_the_server_has_heard_is_what_it_answers),
        TEST(test_a_call_knows_that_it_was_sent_again),
        TEST(test_farewell),
        TEST(test_farewell_is_not_waited_for_long),
        TEST(test_nobody_to_say_farewell_to),
        TEST(test_what_is_left_is_done_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
