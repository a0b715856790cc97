// SPDX-License-Identifier: Apache-2.0
// How threads speak to a loop: messages in the order they were posted, run on the loop's thread.
#ifndef BERTH_SERVER_MAILBOX_H
#define BERTH_SERVER_MAILBOX_H

#include "fs/base/list.h"
#include <pthread.h>
#include <uv.h>

// First member of every message's own struct. `run` owns the message from then on.
struct message {
    struct list node;
    void (*run)(struct message *message);
};

struct mailbox {
    uv_async_t async;
    pthread_mutex_t lock; // guards `messages`
    struct list messages;
    void (*closed)(void *context);
    void *closed_context;
};

int mailbox_init(struct mailbox *mailbox, uv_loop_t *loop); // on the loop's thread, or before it runs
void mailbox_post(struct mailbox *mailbox, struct message *message,
                  void (*run)(struct message *message)); // any thread

// On the loop's thread, when nobody posts any more: runs what is left, then lets go of the loop and calls
// closed (NULL is allowed); until then the mailbox must live.
void mailbox_close(struct mailbox *mailbox, void (*closed)(void *context), void *context);

#endif
