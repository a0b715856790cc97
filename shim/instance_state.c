// SPDX-License-Identifier: Apache-2.0
// See instance_state.h.
#include "shim/instance_state.h"
#include <errno.h>

#define REFUSED (-1)

static const char *const state_names[INSTANCE_STATES] = {"starting", "idle", "busy", "returning", "stopping"};
static const char *const event_names[INSTANCE_EVENTS] = {"next",     "dispatch", "result", "init-error",
                                                         "deadline", "exit",     "stop"};

static const int steps[INSTANCE_STATES][INSTANCE_EVENTS] = {
    [INSTANCE_STARTING] =
        {
            [INSTANCE_NEXT] = INSTANCE_IDLE,
            [INSTANCE_DISPATCH] = REFUSED,
            [INSTANCE_RESULT] = REFUSED,
            [INSTANCE_INIT_ERROR] = INSTANCE_STOPPING,
            [INSTANCE_DEADLINE] = INSTANCE_STOPPING,
            [INSTANCE_EXIT] = INSTANCE_STOPPING,
            [INSTANCE_STOP] = INSTANCE_STOPPING,
        },
    [INSTANCE_IDLE] =
        {
            [INSTANCE_NEXT] = INSTANCE_IDLE, // the newer poll takes the older one's place
            [INSTANCE_DISPATCH] = INSTANCE_BUSY,
            [INSTANCE_RESULT] = REFUSED,
            [INSTANCE_INIT_ERROR] = REFUSED,
            [INSTANCE_DEADLINE] = INSTANCE_STOPPING,
            [INSTANCE_EXIT] = INSTANCE_STOPPING,
            [INSTANCE_STOP] = INSTANCE_STOPPING,
        },
    [INSTANCE_BUSY] =
        {
            [INSTANCE_NEXT] = REFUSED,
            [INSTANCE_DISPATCH] = REFUSED,
            [INSTANCE_RESULT] = INSTANCE_RETURNING,
            [INSTANCE_INIT_ERROR] = REFUSED,
            [INSTANCE_DEADLINE] = INSTANCE_STOPPING,
            [INSTANCE_EXIT] = INSTANCE_STOPPING,
            [INSTANCE_STOP] = INSTANCE_STOPPING,
        },
    [INSTANCE_RETURNING] =
        {
            [INSTANCE_NEXT] = INSTANCE_IDLE,
            [INSTANCE_DISPATCH] = REFUSED,
            [INSTANCE_RESULT] = REFUSED,
            [INSTANCE_INIT_ERROR] = REFUSED,
            [INSTANCE_DEADLINE] = INSTANCE_STOPPING,
            [INSTANCE_EXIT] = INSTANCE_STOPPING,
            [INSTANCE_STOP] = INSTANCE_STOPPING,
        },
    [INSTANCE_STOPPING] =
        {
            [INSTANCE_NEXT] = REFUSED,
            [INSTANCE_DISPATCH] = REFUSED,
            [INSTANCE_RESULT] = REFUSED,
            [INSTANCE_INIT_ERROR] = REFUSED,
            [INSTANCE_DEADLINE] = REFUSED,
            [INSTANCE_EXIT] = INSTANCE_STOPPING,
            [INSTANCE_STOP] = INSTANCE_STOPPING,
        },
};

const char *instance_state_name(enum instance_state state)
{
    return state_names[state];
}

const char *instance_event_name(enum instance_event event)
{
    return event_names[event];
}

int instance_step(enum instance_state state, enum instance_event event, enum instance_state *ret_state)
{
    int next = steps[state][event];
    if (next == REFUSED)
        return -EPROTO;
    *ret_state = (enum instance_state)next;
    return 0;
}
