// SPDX-License-Identifier: Apache-2.0
// Slots, opens and lock waits of a session, against docs/PROTOCOL.md and the limits of session.h.
#include "fs/base/check.h"
#include "server/session.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct session *new_session(void)
{
    struct session_identity identity = {.access_point = "fsap-1", .how = WIRE_IDENTITY_CALLER};
    struct session *session;
    assert_int_equal(session_create(&identity, &session), 0);
    return session;
}

static enum session_verdict admit(struct session *session, uint16_t op, uint16_t slot, uint32_t seq,
                                  uint64_t connection, struct out **ret_kept)
{
    struct wire_header header = {.op = op, .slot = slot, .seq = seq};
    const char *why = NULL;
    enum session_verdict verdict = session_admit(session, &header, connection, ret_kept, &why);
    assert_int_equal(verdict == SESSION_WRONG, why != NULL);
    return verdict;
}

static void finish(struct session *session, uint16_t op, uint16_t slot, size_t body_length)
{
    struct out *out = out_new(body_length);
    assert_non_null(out);
    memset(out_body(out), slot, body_length);
    out = out_seal(out, (struct wire_header){.op = op, .slot = slot}, body_length);
    session_finish(session, slot, out);
    out_unref(out);
}

// --- slots ---

static void only_the_next_number_is_run(void **state UNUSED)
{
    struct session *session = new_session();
    struct out *kept;
    assert_int_equal(admit(session, WIRE_MAKE, 1, 0, 1, &kept), SESSION_WRONG);
    assert_int_equal(admit(session, WIRE_MAKE, 1, 2, 1, &kept), SESSION_WRONG);
    assert_int_equal(admit(session, WIRE_MAKE, 1, UINT32_MAX, 1, &kept), SESSION_WRONG);
    for (uint32_t seq = 1; seq < 50; seq++) {
        assert_int_equal(admit(session, WIRE_MAKE, 1, seq, 1, &kept), SESSION_RUN);
        finish(session, WIRE_MAKE, 1, 8);
        assert_int_equal(admit(session, WIRE_MAKE, 1, seq + 2, 1, &kept), SESSION_WRONG);
        assert_int_equal(admit(session, WIRE_MAKE, 1, seq - 1, 1, &kept), SESSION_WRONG);
    }
    session_destroy(session);
}

static void numbers_wrap(void **state UNUSED)
{
    struct session *session = new_session();
    struct out *kept;
    assert_int_equal(admit(session, WIRE_PING, 1, 1, 1, &kept), SESSION_RUN);
    finish(session, WIRE_PING, 1, 8);
    session->slots[1].seq = UINT32_MAX;
    assert_int_equal(admit(session, WIRE_PING, 1, 0, 1, &kept), SESSION_RUN);
    finish(session, WIRE_PING, 1, 8);
    assert_int_equal(admit(session, WIRE_PING, 1, 0, 1, &kept), SESSION_REPLAY);
    assert_int_equal(admit(session, WIRE_PING, 1, 1, 1, &kept), SESSION_RUN);
    session_destroy(session);
}

static void slots_are_numbered_from_one_and_independent(void **state UNUSED)
{
    struct session *session = new_session();
    struct out *kept;
    assert_int_equal(admit(session, WIRE_PING, 0, 1, 1, &kept), SESSION_WRONG);
    assert_int_equal(admit(session, WIRE_PING, SESSION_SLOTS + 1, 1, 1, &kept), SESSION_WRONG);
    assert_int_equal(admit(session, WIRE_PING, UINT16_MAX, 1, 1, &kept), SESSION_WRONG);
    for (uint16_t slot = 1; slot <= SESSION_SLOTS; slot++)
        assert_int_equal(admit(session, WIRE_PING, slot, 1, 1, &kept), SESSION_RUN);
    session_destroy(session);
}

static void answered_once_and_again_from_memory(void **state UNUSED)
{
    struct session *session = new_session();
    struct out *kept = NULL;
    assert_int_equal(admit(session, WIRE_APPEND, 3, 1, 1, &kept), SESSION_RUN);
    finish(session, WIRE_APPEND, 3, 100);
    for (uint64_t connection = 1; connection < 4; connection++) {
        kept = NULL;
        assert_int_equal(admit(session, WIRE_APPEND, 3, 1, connection, &kept), SESSION_REPLAY);
        assert_non_null(kept);
        assert_int_equal(kept->length, WIRE_HEADER_SIZE + 100);
        assert_int_equal(out_body(kept)[99], 3);
    }
    session_destroy(session);
}

static void large_replies_are_not_kept(void **state UNUSED)
{
    struct session *session = new_session();
    struct out *kept;
    const size_t limit = SESSION_REPLY_KEPT_MAX - WIRE_HEADER_SIZE;
    assert_int_equal(admit(session, WIRE_READ, 1, 1, 1, &kept), SESSION_RUN);
    finish(session, WIRE_READ, 1, limit);
    assert_int_equal(admit(session, WIRE_READ, 1, 1, 2, &kept), SESSION_REPLAY);
    assert_int_equal(admit(session, WIRE_READ, 1, 2, 2, &kept), SESSION_RUN);
    finish(session, WIRE_READ, 1, limit + 1);
    assert_int_equal(admit(session, WIRE_READ, 1, 2, 3, &kept), SESSION_RUN);
    session_destroy(session);
}

static void one_request_at_a_time(void **state UNUSED)
{
    struct session *session = new_session();
    struct out *kept;
    assert_int_equal(admit(session, WIRE_FSYNC, 1, 1, 1, &kept), SESSION_RUN);
    assert_int_equal(admit(session, WIRE_FSYNC, 1, 1, 1, &kept), SESSION_WRONG);
    assert_int_equal(admit(session, WIRE_FSYNC, 1, 2, 1, &kept), SESSION_WRONG);
    // Sent again over a new connection while the first copy is still running: its reply will do.
    assert_int_equal(admit(session, WIRE_FSYNC, 1, 1, 2, &kept), SESSION_DROP);
    assert_int_equal(session->slots[1].connection, 2);
    assert_int_equal(admit(session, WIRE_FSYNC, 1, 1, 2, &kept), SESSION_WRONG);
    finish(session, WIRE_FSYNC, 1, 0);
    assert_int_equal(admit(session, WIRE_FSYNC, 1, 1, 2, &kept), SESSION_REPLAY);
    session_destroy(session);
}

static void another_call_under_a_used_number(void **state UNUSED)
{
    struct session *session = new_session();
    struct out *kept;
    assert_int_equal(admit(session, WIRE_UNLINK, 1, 1, 1, &kept), SESSION_RUN);
    finish(session, WIRE_UNLINK, 1, 0);
    assert_int_equal(admit(session, WIRE_RMDIR, 1, 1, 2, &kept), SESSION_WRONG);
    assert_int_equal(admit(session, WIRE_UNLINK, 1, 1, 2, &kept), SESSION_REPLAY);
    session_destroy(session);
}

// --- who may resume ---

static struct out *kept_reply(uint16_t op, uint16_t slot, uint32_t seq)
{
    struct out *out = out_new(8);
    assert_non_null(out);
    return out_seal(out, (struct wire_header){.op = op, .slot = slot, .seq = seq}, 8);
}

// After a restart the server knows of each slot only the last reply that it kept.
static void restored_slots_answer_again_and_go_on(void **state UNUSED)
{
    struct session *session = new_session();
    struct out *kept = NULL;
    struct out *reply = kept_reply(WIRE_APPEND, 1, 7);
    struct wire_header header;
    assert_int_equal(wire_get_header(reply->bytes, &header), 0);
    session_loosen(session);
    session_restore(session, &header, reply);
    // Its own request, sent again, is given the same answer; then its numbers go on without gaps.
    assert_int_equal(admit(session, WIRE_READ, 1, 7, 1, &kept), SESSION_WRONG);
    assert_int_equal(admit(session, WIRE_APPEND, 1, 7, 1, &kept), SESSION_RUN);
    assert_ptr_equal(session_restored(session, 1), reply);
    finish(session, WIRE_APPEND, 1, 8);
    assert_int_equal(admit(session, WIRE_APPEND, 1, 7, 2, &kept), SESSION_REPLAY);
    assert_int_equal(admit(session, WIRE_READ, 1, 9, 2, &kept), SESSION_WRONG);
    assert_int_equal(admit(session, WIRE_READ, 1, 8, 2, &kept), SESSION_RUN);
    assert_null(session_restored(session, 1));
    // A slot that carried calls nobody kept goes on wherever the client is.
    assert_int_equal(admit(session, WIRE_READ, 2, 3000000000u, 1, &kept), SESSION_RUN);
    assert_null(session_restored(session, 2));
    finish(session, WIRE_READ, 2, 8);
    assert_int_equal(admit(session, WIRE_READ, 2, 3000000002u, 1, &kept), SESSION_WRONG);
    session_destroy(session);
}

static void only_the_same_resumes(void **state UNUSED)
{
    uint32_t groups[] = {1, 2}, others[] = {1, 3};
    struct session_identity identity = {.access_point = "fsap-1",
                                        .principal = "AKIA",
                                        .how = WIRE_IDENTITY_FIXED,
                                        .uid = 5,
                                        .gid = 6,
                                        .n_groups = 2,
                                        .groups = groups};
    struct session session = {.id_high = 7, .id_low = 8, .identity = identity};
    assert_true(session_may_resume(&session, 7, 8, &identity));
    assert_false(session_may_resume(&session, 6, 8, &identity));
    assert_false(session_may_resume(&session, 7, 9, &identity));
    struct session_identity wrong[7];
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        wrong[i] = identity;
    strcpy(wrong[0].access_point, "fsap-2");
    strcpy(wrong[1].principal, "");
    wrong[2].how = WIRE_IDENTITY_CALLER;
    wrong[3].uid = 0;
    wrong[4].gid = 0;
    wrong[5].read_only = true;
    wrong[6].groups = others;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_false(session_may_resume(&session, 7, 8, &wrong[i]));
}

// --- opens ---

static struct core_file *file_of(uint64_t id)
{
    return (struct core_file *)(uintptr_t)(id * 16);
}

static void opens_up_to_the_limit(void **state UNUSED)
{
    struct session *session = new_session();
    struct session_open *open;
    assert_int_equal(session_open_add(session, 0, file_of(1), &open), -EINVAL);
    for (uint64_t id = 1; id <= SESSION_OPENS_MAX; id++)
        assert_int_equal(session_open_add(session, id, file_of(id), &open), 0);
    assert_int_equal(session_open_check(session, SESSION_OPENS_MAX + 1), -EMFILE);
    assert_int_equal(session_open_add(session, SESSION_OPENS_MAX + 1, file_of(1), &open), -EMFILE);
    assert_int_equal(session_open_add(session, 1, file_of(1), &open), -EEXIST);
    session_open_remove(session, session_open_get(session, 77));
    assert_null(session_open_get(session, 77));
    assert_int_equal(session_open_add(session, SESSION_OPENS_MAX + 1, file_of(1), &open), 0);
    for (uint64_t id = 1; id <= SESSION_OPENS_MAX + 1; id++) {
        open = session_open_get(session, id);
        assert_int_equal(open != NULL, id != 77);
        if (open)
            session_open_remove(session, open);
    }
    session_destroy(session);
}

static void owners_are_remembered_once(void **state UNUSED)
{
    struct session *session = new_session();
    struct session_open *open;
    assert_int_equal(session_open_add(session, 1, file_of(1), &open), 0);
    for (unsigned round = 0; round < 2; round++) {
        for (uint64_t owner = 0; owner < SESSION_OWNERS_MAX; owner++)
            assert_int_equal(session_open_owner(open, FS_LOCK_FLOCK, owner), 0);
    }
    assert_int_equal(open->n_owners, SESSION_OWNERS_MAX);
    assert_int_equal(session_open_owner(open, FS_LOCK_FCNTL, 0), -ENOLCK);
    session_open_remove(session, open);
    session_destroy(session);
}

// --- waits ---

static const struct fs_lock flock_1 = {
    .kind = FS_LOCK_FLOCK, .type = FS_LOCK_WRITE, .end = INT64_MAX, .owner = 1};

static void waits_end_by_grant_cancel_or_release(void **state UNUSED)
{
    struct session *session = new_session();
    assert_int_equal(session_wait_add(session, 0, 1, &flock_1), -EINVAL);
    for (uint64_t ticket = 1; ticket <= SESSION_WAITS_MAX; ticket++)
        assert_int_equal(session_wait_add(session, ticket, ticket % 2, &flock_1), 0);
    assert_int_equal(session_wait_add(session, 1, 1, &flock_1), -EINVAL);
    assert_int_equal(session_wait_add(session, SESSION_WAITS_MAX + 1, 1, &flock_1), -ENOLCK);
    session_grant(session, 2);
    assert_true(session_granted(session, 2));
    assert_int_equal(session_wait_add(session, SESSION_WAITS_MAX + 1, 1, &flock_1), 0);
    session_wait_drop(session, 1, FS_LOCK_FCNTL, 1);
    session_wait_drop(session, 1, FS_LOCK_FLOCK, 2);
    assert_int_equal(session->waits.count, SESSION_WAITS_MAX);
    session_wait_drop(session, 1, FS_LOCK_FLOCK, 1);
    assert_int_equal(session->waits.count, SESSION_WAITS_MAX / 2 - 1);
    for (uint64_t ticket = 4; ticket <= SESSION_WAITS_MAX; ticket += 2)
        session_wait_end(session, ticket);
    assert_int_equal(session->waits.count, 0);
    session_destroy(session);
}

static void a_ticket_used_again_is_a_new_wait(void **state UNUSED)
{
    struct session *session = new_session();
    assert_int_equal(session_wait_add(session, 5, 1, &flock_1), 0);
    session_grant(session, 5);
    assert_true(session_granted(session, 5));
    assert_int_equal(session_wait_add(session, 5, 1, &flock_1), 0);
    assert_false(session_granted(session, 5));
    session_wait_end(session, 5);
    session_destroy(session);
}

static void the_latest_grants_are_remembered(void **state UNUSED)
{
    struct session *session = new_session();
    for (uint64_t ticket = 1; ticket <= SESSION_GRANTS_KEPT + 10; ticket++)
        session_grant(session, ticket);
    for (uint64_t ticket = 1; ticket <= SESSION_GRANTS_KEPT + 10; ticket++)
        assert_int_equal(session_granted(session, ticket), ticket > 10);
    session_destroy(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_next_number_is_run),
        cmocka_unit_test(numbers_wrap),
        cmocka_unit_test(slots_are_numbered_from_one_and_independent),
        cmocka_unit_test(answered_once_and_again_from_memory),
        cmocka_unit_test(large_replies_are_not_kept),
        cmocka_unit_test(one_request_at_a_time),
        cmocka_unit_test(another_call_under_a_used_number),
        cmocka_unit_test(restored_slots_answer_again_and_go_on),
        cmocka_unit_test(only_the_same_resumes),
        cmocka_unit_test(opens_up_to_the_limit),
        cmocka_unit_test(owners_are_remembered_once),
        cmocka_unit_test(waits_end_by_grant_cancel_or_release),
        cmocka_unit_test(a_ticket_used_again_is_a_new_wait),
        cmocka_unit_test(the_latest_grants_are_remembered),
    };
    return cmocka_run_group_tests_name("server_session", tests, NULL, NULL);
}
