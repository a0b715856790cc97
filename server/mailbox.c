// SPDX-License-Identifier: Apache-2.0
// Messages between threads. Invariant: every message posted before mailbox_close() is run exactly once, in
// order, on the loop's thread; the lock is never held while one runs.
#include "server/mailbox.h"

static struct message *take(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    struct list *node = list_pop(&mailbox->messages);
    pthread_mutex_unlock(&mailbox->lock);
    return node ? LIST_ENTRY(node, struct message, node) : NULL;
}

static void run_all(struct mailbox *mailbox)
{
    struct message *message;
    while ((message = take(mailbox)))
        message->run(message);
}

static void on_async(uv_async_t *async)
{
    run_all(CONTAINER_OF(async, struct mailbox, async));
}

int mailbox_init(struct mailbox *mailbox, uv_loop_t *loop)
{
    int result = uv_async_init(loop, &mailbox->async, on_async);
    if (result < 0)
        return result;
    pthread_mutex_init(&mailbox->lock, NULL);
    list_init(&mailbox->messages);
    return 0;
}

void mailbox_post(struct mailbox *mailbox, struct message *message, void (*run)(struct message *message))
{
    message->run = run;
    list_init(&message->node);
    pthread_mutex_lock(&mailbox->lock);
    list_push(&mailbox->messages, &message->node);
    pthread_mutex_unlock(&mailbox->lock);
    fs_assert(uv_async_send(&mailbox->async) == 0);
}

static void on_closed(uv_handle_t *handle)
{
    struct mailbox *mailbox = CONTAINER_OF(handle, struct mailbox, async);
    pthread_mutex_destroy(&mailbox->lock);
    if (mailbox->closed)
        mailbox->closed(mailbox->closed_context);
}

void mailbox_close(struct mailbox *mailbox, void (*closed)(void *context), void *context)
{
    run_all(mailbox);
    mailbox->closed = closed;
    mailbox->closed_context = context;
    uv_close((uv_handle_t *)&mailbox->async, on_closed);
}
