// SPDX-License-Identifier: Apache-2.0
// The rpc after a restart of the server: what was held is claimed before anything else is sent, over further
// lost connections and restarts, and the server is told when all is claimed. See rpc_fixture.h.
#include "tests/unit/rpc_fixture.h"

// What the host claims when it is asked to, with one call.
static void will_claim(struct fixture *f, struct probe *claim)
{
    prepare(claim, WIRE_FSYNC, 1);
    claim->call.class = RPC_RECLAIM;
    f->claims = &claim->call;
    f->n_claims = 1;
}

static void test_claims_go_first_and_alone(void **state)
{
    struct fixture *f = *state;
    static struct probe append, later, claims[2];
    attach(f, 4);
    submit(f, &append, WIRE_APPEND, 9);
    serve(f, SIZE_MAX);
    struct seen first = next(f);
    for (size_t i = 0; i < 2; i++) {
        prepare(&claims[i], WIRE_FSYNC, 100 + i);
        claims[i].call.class = RPC_RECLAIM;
    }
    restart_server(f);
    submit(f, &later, WIRE_READ, 10);
    come_back(f);
    f->claims = &claims[0].call;
    f->n_claims = 1;
    welcome(f, true, 77, 4);
    rpc_submit(f->rpc, &claims[1].call);
    assert_int_equal(rpc_state(f->rpc), RPC_RECLAIMING);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 2);
    answer(f, next(f), 0);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 1);
    answer(f, next(f), ESTALE);
    assert_int_equal(claims[1].result, -ESTALE);
    answer_reclaimed(f);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 2);
    assert_int_equal(f->fences, 0);
    // What was unanswered: the same request on the same slot.
    struct seen again = next(f);
    assert_memory_equal(&again, &first, sizeof(first));
    assert_int_equal(next(f).open_id, 10);
    assert_int_equal(append.done, 0);
}

static void test_claims_also_find_slots_when_all_are_taken(void **state)
{
    struct fixture *f = *state;
    static struct probe calls[64], claim;
    attach(f, 32);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        prepare(&calls[i], WIRE_APPEND, i);
        calls[i].call.class = i % 2 ? RPC_URGENT : RPC_ORDINARY;
        rpc_submit(f->rpc, &calls[i].call);
    }
    serve(f, SIZE_MAX);
    f->n_seen = 0;
    will_claim(f, &claim);
    restart_server(f);
    come_back(f);
    welcome(f, true, 77, 32);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 1);
    answer(f, next(f), 0);
    answer_reclaimed(f);
}

// What the client keeps of before a power loss others may change as soon as it has said that all is claimed.
static void test_nothing_is_said_of_claims_before_the_host_allows_it(void **state)
{
    struct fixture *f = *state;
    static struct probe claim, waiting;
    attach(f, 4);
    restart_server(f);
    submit(f, &waiting, WIRE_READ, 9);
    come_back(f);
    will_claim(f, &claim);
    f->host_waits = true;
    welcome(f, false, 78, 4);
    rpc_claimed(f->rpc); // nothing has been answered yet
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 1);
    answer(f, next(f), 0);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 0);
    assert_int_equal(rpc_state(f->rpc), RPC_RECLAIMING);
    f->host_waits = false;
    rpc_claimed(f->rpc);
    answer_reclaimed(f);
    rpc_claimed(f->rpc); // harmless
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 1);
    assert_int_equal(next(f).header.op, WIRE_READ);
}

static void test_a_host_that_waits_is_asked_again_on_the_next_connection(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    restart_server(f);
    come_back(f);
    f->host_waits = true;
    welcome(f, true, 77, 4);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    f->host_waits = false;
    rpc_claimed(f->rpc); // there is nobody to tell
    come_back(f);
    welcome(f, true, 77, 4);
    answer_reclaimed(f);
}

static void test_a_second_restart_cancels_claims(void **state)
{
    struct fixture *f = *state;
    static struct probe claim;
    attach(f, 4);
    restart_server(f);
    come_back(f);
    will_claim(f, &claim);
    welcome(f, true, 77, 4);
    serve(f, SIZE_MAX);
    f->n_seen = 0;
    restart_server(f);
    f->n_claims = 0;
    come_back(f);
    welcome(f, true, 77, 4);
    assert_int_equal(claim.done, 1);
    assert_int_equal(claim.result, -ECANCELED);
    assert_int_equal(f->reclaims, 2);
    answer_reclaimed(f);
}

static void test_interrupted_claims_go_on_when_resumed(void **state)
{
    struct fixture *f = *state;
    static struct probe claim, waiting;
    attach(f, 4);
    restart_server(f);
    submit(f, &waiting, WIRE_READ, 9);
    come_back(f);
    will_claim(f, &claim);
    welcome(f, true, 77, 4);
    serve(f, SIZE_MAX);
    f->n_seen = 0;
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    come_back(f);
    welcome(f, true, 77, 4);
    assert_int_equal(f->reclaims, 1);
    assert_int_equal(rpc_state(f->rpc), RPC_RECLAIMING);
    serve(f, SIZE_MAX);
    assert_int_equal(f->n_seen, 1);
    answer(f, next(f), 0);
    answer_reclaimed(f);
    serve(f, SIZE_MAX);
    assert_int_equal(next(f).open_id, 9);
}

static void test_power_loss_lets_claim_under_a_new_session(void **state)
{
    struct fixture *f = *state;
    static struct probe append, claim;
    attach(f, 4);
    submit(f, &append, WIRE_APPEND, 9);
    serve(f, SIZE_MAX);
    f->n_seen = 0;
    restart_server(f);
    come_back(f);
    will_claim(f, &claim);
    welcome(f, false, 88, 4);
    assert_int_equal(append.result, -EIO);
    assert_int_equal(f->fences, 0);
    serve(f, SIZE_MAX);
    answer(f, next(f), 0);
    answer_reclaimed(f);
}

// The server's grace counts from its start: who is slow to claim may be too late with it.
static void test_nothing_is_renewed_before_all_is_claimed(void **state)
{
    struct fixture *f = *state;
    attach(f, 4);
    uint64_t attached_ns = f->now_ns;
    restart_server(f);
    come_back(f);
    uint64_t back_ns = f->now_ns;
    welcome(f, true, 77, 4);
    assert_int_equal(rpc_answered_ns(f->rpc), attached_ns);
    rpc_lost(f->rpc, -ECONNRESET, "reset");
    assert_int_equal(rpc_answered_ns(f->rpc), attached_ns);
    come_back(f);
    assert_true(f->now_ns > back_ns);
    welcome(f, true, 77, 4);
    answer_reclaimed(f);
    assert_int_equal(rpc_answered_ns(f->rpc), f->now_ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_claims_go_first_and_alone),
        TEST(test_claims_also_find_slots_when_all_are_taken),
        TEST(test_nothing_is_said_of_claims_before_the_host_allows_it),
        TEST(test_a_host_that_waits_is_asked_again_on_the_next_connection),
        TEST(test_a_second_restart_cancels_claims),
        TEST(test_interrupted_claims_go_on_when_resumed),
        TEST(test_power_loss_lets_claim_under_a_new_session),
        TEST(test_nothing_is_renewed_before_all_is_claimed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
