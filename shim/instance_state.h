// SPDX-License-Identifier: Apache-2.0
// The states of one instance and which event leads where. Pure; instance.c acts on it.
//
//   STARTING   its mount and process come up; nobody has asked for an invocation yet
//   IDLE       its runtime waits in invocation/next
//   BUSY       an invocation is delivered and has no result yet
//   RETURNING  the result is in; the runtime has not asked for the next one yet
//   STOPPING   killed, or about to be; it never comes back
#ifndef BERTH_SHIM_INSTANCE_STATE_H
#define BERTH_SHIM_INSTANCE_STATE_H

enum instance_state {
    INSTANCE_STARTING,
    INSTANCE_IDLE,
    INSTANCE_BUSY,
    INSTANCE_RETURNING,
    INSTANCE_STOPPING
};

enum instance_event {
    INSTANCE_NEXT,       // the runtime asked for an invocation
    INSTANCE_DISPATCH,   // an invocation goes to it
    INSTANCE_RESULT,     // its response or error, with the right id
    INSTANCE_INIT_ERROR, // its runtime says that it cannot start
    INSTANCE_DEADLINE,   // the state's own time limit ran out
    INSTANCE_EXIT,       // the process ended
    INSTANCE_STOP,       // we want it gone
};

#define INSTANCE_STATES 5
#define INSTANCE_EVENTS 7

const char *instance_state_name(enum instance_state state);
const char *instance_event_name(enum instance_event event);

// 0 and the state after the event, or -EPROTO: not allowed now (a runtime gets 403 for it).
int instance_step(enum instance_state state, enum instance_event event, enum instance_state *ret_state);

#endif
