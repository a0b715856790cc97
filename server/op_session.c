// SPDX-License-Identifier: Apache-2.0
// The calls about the session itself. On the file system's shard.
#include "server/call.h"
#include "server/keep.h"
#include <errno.h>

// A hello on a connection that has a session never gets here: dispatch.c takes it for malformed.
int op_hello(struct call *call)
{
    return call_malformed(call);
}

int op_ping(struct call *call)
{
    CALL_DECODE(ping);
    struct wire_ping_reply reply = {.server_time_ns = env_realtime_ns(call->hosted->shard->options->env)};
    return call_reply_ping(call, &reply);
}

int op_reclaimed(struct call *call)
{
    CALL_DECODE(reclaimed);
    if (call->request->attached->claim == CLAIM_UNDERWAY) {
        leases_reclaimed(call->request->attached);
        grace_claimed(call->request->attached);
    }
    return call_reply_reclaimed(call, &(struct wire_reclaimed_reply){});
}

// The session ends when the reply leaves: request_finish(). Its record goes with this turn, so that after the
// reply no start waits for the client.
int op_bye(struct call *call)
{
    CALL_DECODE(bye);
    call->request->attached->said_bye = true;
    keep_forget(call->hosted, call->session);
    return call_reply_bye(call, &(struct wire_bye_reply){});
}
